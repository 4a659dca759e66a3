"""What can go wrong when asking a server."""

from serving.command import UsageError


class ClientError(UsageError):
    """The server could not be asked, or refused.

    Attributes:
      code: a gRPC status name, such as "INVALID_ARGUMENT", "NOT_FOUND" or "UNAVAILABLE"; the same
        names over REST.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
