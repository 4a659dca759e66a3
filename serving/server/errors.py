"""One error type for both APIs, and how its code reads in gRPC and in HTTP."""

import re

# https://github.com/grpc/grpc/blob/master/doc/statuscodes.md; the same numbers as
# tensorflow.error.Code and absl::StatusCode.
CODES = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}
NAMES = {number: name for name, number in CODES.items()}

HTTP_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}

# gRPC sends the text in a header; TensorFlow Serving cuts it at the same length.
_LONGEST_GRPC_TEXT = 1024


class ServingError(Exception):
    """An answer that is not OK.

    Attributes:
      code: a key of `CODES`, such as "INVALID_ARGUMENT".
      message: one sentence for the caller.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """The HTTP status TensorFlow Serving's REST API gives for this code."""
        return HTTP_STATUS[self.code]

    @property
    def grpc_text(self) -> str:
        """The message, cut as TensorFlow Serving cuts it for gRPC."""
        if len(self.message) <= _LONGEST_GRPC_TEXT:
            return self.message
        return self.message[:_LONGEST_GRPC_TEXT] + "...TRUNCATED"


def invalid(message: str) -> ServingError:
    """An INVALID_ARGUMENT error: the request is at fault."""
    return ServingError("INVALID_ARGUMENT", message)


def not_found(message: str) -> ServingError:
    """A NOT_FOUND error: no such model or version."""
    return ServingError("NOT_FOUND", message)


def from_tensorflow(error) -> ServingError:
    """Turns a `tf.errors.OpError` into a `ServingError` with the same code and a readable text.

    TensorFlow wraps the failing op's own sentence in a Python stack trace and node names. What a
    caller can use is that sentence: of an assertion, its message and the values it prints.
    """
    return ServingError(NAMES.get(error.error_code, "UNKNOWN"), clean_message(error.message or ""))


def clean_message(text: str) -> str:
    """The failing op's own sentence out of a TensorFlow error text."""
    # Paths of server-side source files never help the caller.
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip()
        and not line.lstrip().startswith(("File ", "Detected at node", "<stack traces"))
        and line.strip() not in ("Graph execution error:", "Original stack trace for")
    ]
    text = " ".join(lines)
    text = re.sub(r"\s*\[\[\{\{.*?\}\}\]\]", "", text)
    text = re.sub(r"\s*\[Op:[^\]]*\]", "", text)
    text = re.sub(r"\{\{function_node [^}]*\}\}\s*", "", text)
    asserted = re.match(r"assertion failed: (\[.*\])$", text.strip())
    if asserted:
        parts = re.findall(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]", asserted.group(1))
        text = "assertion failed: " + " ".join(part.strip() for part in parts if part.strip())
    return text.strip() or "the model failed without a message"
