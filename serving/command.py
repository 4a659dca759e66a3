"""The manners shared by the two command lines: help that teaches, errors in one line.

`serving` imports nothing of `ganpipe`, so it keeps this small runner of its own. It imports no
TensorFlow either, so that a wrong flag is answered at once.
"""

import inspect
import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

_HELP = ("-h", "--help", "-help", "--helpfull", "--helpshort")


class UsageError(ValueError):
    """Something the user can put right: a flag, a file, a server that is not there."""


def run(
    main: Callable[[list[str]], int | None],
    flag_values: flags.FlagValues,
    argv: Sequence[str] | None = None,
) -> None:
    """Parses the flags, calls `main(positional_arguments)` and exits the process.

    Args:
      main: returns the exit status (None is 0). Its module's docstring heads `--help`.
      flag_values: the command's own flags, never absl's global ones. Parsed in place.
      argv: the command line without the program's name; `sys.argv[1:]` when None.

    Raises:
      SystemExit: always. 0 or what `main` returned; 2 for a bad flag or a `UsageError`; 130 after
        Ctrl-C. Any other exception passes through: it is our bug.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # TensorFlow's C++ start-up lines drown ours; its errors still show.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if any(argument in _HELP for argument in arguments):
        print(inspect.cleandoc(inspect.getmodule(main).__doc__ or ""))
        print("\nFlags:")
        print(flag_values.get_help(include_special_flags=False))
        sys.exit(0)
    try:
        status = main(flag_values(["", *arguments])[1:])
    except (UsageError, flags.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped by the user", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)
