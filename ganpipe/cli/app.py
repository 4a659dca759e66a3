"""Run an absl-flags command line: help that teaches, errors in one line, a plain exit status.

Each verb keeps its flags in its own `absl.flags.FlagValues`, never in absl's global one, so that
many verbs can be imported into one process (tests, notebooks) without their names colliding.
"""

import difflib
import importlib
import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Sequence

from absl import flags

from ganpipe.errors import UserError


def quiet() -> None:
    """Keeps TensorFlow's C++ log out of our output; call it before TensorFlow is imported.

    What matters reaches Python as an exception. TF_CPP_MIN_LOG_LEVEL=0 in the environment brings
    the log back.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines that its libraries print before their log is set up.

    A failing import raises as usual, after showing what was printed.
    """
    if "tensorflow" in sys.modules:
        return
    quiet()
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
            importlib.import_module("keras")
        except BaseException:
            held_back.seek(0)
            os.write(terminal, held_back.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _print_help(main: Callable, flag_values: flags.FlagValues) -> None:
    doc = inspect.getmodule(main).__doc__ or main.__doc__ or ""
    print(inspect.cleandoc(doc))
    print("\nFlags:")
    print(flag_values.get_help(include_special_flags=False))


def _refuse_unknown_flags(leftovers: Sequence[str], flag_values: flags.FlagValues) -> None:
    """Lets `--config.KEY=VALUE` through to `ganpipe.config.parse`; any other flag is an error."""
    for argument in leftovers:
        if not argument.startswith("-") or argument == "-":
            continue
        name = argument.lstrip("-").partition("=")[0]
        if not name:
            raise UserError(
                f"{argument!r} on the command line names no flag; expected --NAME=VALUE without a "
                "space after the dashes. --help lists the flags."
            )
        if name.startswith("config.") and "config" in flag_values:
            continue
        close = difflib.get_close_matches(name, list(flag_values), n=1)
        hint = f" Did you mean --{close[0]}?" if close else ""
        raise UserError(f"unknown flag --{name}.{hint} --help lists the flags.")


def run(
    main: Callable[[list[str]], int | None],
    flag_values: flags.FlagValues,
    argv: Sequence[str] | None = None,
) -> None:
    """Parses flags, calls `main(leftover_arguments)` and exits the process.

    Args:
      main: called with what is left on the command line after the flags (`--config.KEY=VALUE`
        among it, for `ganpipe.config.parse`); returns the exit status (None is 0). Its module's
        docstring is what `--help` prints above the flags.
      flag_values: the flags of this command. Parsed in place.
      argv: command line without the program's name; `sys.argv[1:]` when None.

    Raises:
      SystemExit: always. Status 0 or what `main` returned; 2 for a bad flag or a `UserError`;
        130 after Ctrl-C. Other exceptions pass through with their traceback: they are our bugs.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    quiet()
    if any(a in ("-h", "--help", "-help", "--helpfull", "--helpshort") for a in arguments):
        _print_help(main, flag_values)
        sys.exit(0)
    try:
        leftovers = flag_values(["", *arguments], known_only=True)[1:]
        _refuse_unknown_flags(leftovers, flag_values)
        status = main(leftovers)
    except (UserError, flags.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nstopped by the user", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)
