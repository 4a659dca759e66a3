"""How Apache Beam's own flags pass through our command lines.

Beam parses `sys.argv` when it is given no options, and silently drops what it does not know. So
options are always passed explicitly, made here from `--beam=--direct_num_workers=2` (repeatable).
Any runner that Beam knows can be named; without one the in-process runner is used, which downloads
nothing (Beam's default may pick Prism, a binary from the network). All workers must see the output
folder under the same path.
"""

import contextlib
import difflib
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ganpipe.errors import UserError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


class _NoApitools(logging.Filter):
    """Drops the remark on a Google client library that we do not use."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "apitools" not in record.getMessage()


def load_beam() -> ModuleType:
    """Imports Apache Beam (seconds, hence late) without its remark on missing cloud libraries."""
    quiet = _NoApitools()
    logging.getLogger().addFilter(quiet)
    try:
        import apache_beam
    finally:
        logging.getLogger().removeFilter(quiet)
    return apache_beam


def parse(arguments: Sequence[str] | None = None) -> "PipelineOptions":
    """Beam options from command-line words such as `["--direct_num_workers=2"]`.

    Raises:
      UserError: a word that is no flag, a flag that Beam does not know, a value it refuses.
    """
    load_beam()
    from apache_beam.options.pipeline_options import PipelineOptions

    arguments = list(arguments or ())
    if arguments and not arguments[0].startswith("-"):
        raise UserError(f"{arguments[0]!r} is no Beam flag; Beam flags look like --runner=NAME")
    if not any(word.split("=")[0] == "--runner" for word in arguments):
        arguments.append(f"--runner={IN_PROCESS}")
    # argparse prints its usage (hundreds of lines) and exits: keep the one line that matters.
    printed = io.StringIO()
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(printed):
            options = PipelineOptions(arguments)
            known = options.get_all_options()
            unknown = set(options.get_all_options(retain_unknown_options=True)) - set(known)
    except SystemExit:
        lines = printed.getvalue().strip().splitlines()
        reason = lines[-1].partition("error: ")[2] if lines else ""
        raise UserError(f"Beam refuses its flags: {reason or ' '.join(arguments)}") from None
    finally:
        logging.disable(level)
    if unknown:
        name = sorted(unknown)[0]
        close = difflib.get_close_matches(name, known, n=2)
        hint = f"; did you mean --{' or --'.join(close)}?" if close else ""
        raise UserError(f"Beam has no flag --{name}{hint}")
    return options


def run_over(
    elements: Sequence[Any], job: Callable[[Any], Any], options: "PipelineOptions | None"
) -> None:
    """Applies `job` to every element on whatever workers the options name, and waits.

    Args:
      elements: picklable; few and large (a shard's worth of work each), as every one has its cost.
      job: a module-level function or a `functools.partial` of one; leaves its result in a file.
      options: from `parse`; the in-process runner if None.

    Raises:
      UserError: a worker could not read or write a file (full disk, missing folder).
    """
    beam = load_beam()
    options = options if options is not None else parse()
    log = logging.getLogger("apache_beam")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what goes wrong is raised below, once, without Beam's frames
    try:
        with _importable_by_workers(), beam.Pipeline(options=options) as p:
            _ = p | beam.Create(list(elements)) | beam.Reshuffle() | beam.Map(job)
    except OSError as error:
        text = str(error).partition(" [while running")[0]
        raise UserError(f"a Beam worker could not read or write: {text}") from error
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _importable_by_workers() -> Iterator[None]:
    """Lets worker processes that Beam starts import this repository, installed or not."""
    root = str(Path(__file__).resolve().parents[1])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = root if not before else f"{root}{os.pathsep}{before}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
