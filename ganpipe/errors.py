"""The one exception that users are meant to see."""


class UserError(ValueError):
    """Input that cannot be used, told so that the reader can mend it.

    The message names what was found, what was expected and which flag or field to change.
    Command-line tools print it as one `error: ...` line and exit with status 2, without a
    traceback.
    """
