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
import json
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ganpipe.errors import UserError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
DASK = "apache_beam.runners.dask.dask_runner.DaskRunner"


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
    arguments = [_spelled_out(word) for word in arguments]
    if not any(word.split("=")[0] == "--runner" for word in arguments):
        arguments.append(f"--runner={IN_PROCESS}")
    for word in arguments:
        if word.startswith("--runner="):
            _check_runner(word.partition("=")[2])  # imports it, and with it the flags it brings
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
    _check_runner(known["runner"])  # as Beam has understood it, "--runner NAME" included
    return options


def _spelled_out(word: str) -> str:
    """Short names of runners that Beam itself knows by their long ones only."""
    name = word.partition("=")[2] if word.startswith("--runner=") else ""
    return f"--runner={DASK}" if name.lower() in ("dask", "daskrunner") else word


def _check_runner(name: str) -> None:
    """UserError unless Beam can make this runner."""
    from apache_beam.runners import runner

    try:
        runner.create_runner(name)
    except (ValueError, AttributeError) as error:
        raise UserError(
            f"--runner={name}: Beam has no such runner; expected DirectRunner, DaskRunner, "
            "FlinkRunner, SparkRunner, DataflowRunner, PortableRunner or a full class name, and no "
            "--runner at all to work in this process"
        ) from error
    except ImportError as error:
        extra = "gcp" if "dataflow" in name.lower() else "dask" if "dask" in name.lower() else ""
        hint = f"install it with `pip install apache-beam[{extra}]`" if extra else str(error)
        raise UserError(f"--runner={name} cannot be imported ({error}); {hint}") from error


def run_over(
    elements: Sequence[Any],
    job: Callable[[Any], Any],
    options: "PipelineOptions | None",
    folder: Path | None = None,
) -> None:
    """Applies `job` to every element on whatever workers the options name, and waits.

    Args:
      elements: picklable; few and large (a shard's worth of work each), as every one has its cost.
      job: a module-level function or a `functools.partial` of one; leaves its result in a file.
      options: from `parse`; the in-process runner if None.
      folder: one that all workers see. Elements go to the workers through files in it then, and the
        job description that a cluster gets stays small however much there is to do.

    Raises:
      UserError: one that a worker raised, or a runner that cannot be reached or has failed.
      OSError: a worker could not read or write (full disk, missing folder).
    """
    if not elements:
        return
    beam = load_beam()
    options = options if options is not None else parse()
    # Bytes pass through every runner's coders unchanged; texts that are no UTF-8 do not.
    packed = [pickle.dumps((job, element)) for element in elements]
    if folder is not None:
        for number, content in enumerate(packed):
            path = folder / f"todo-{number:06d}.pkl"
            path.write_bytes(content)
            packed[number] = os.fsencode(path)
    try:
        with _quiet(), _importable_by_workers(), beam.Pipeline(options=options) as p:
            _ = p | beam.Create(packed) | beam.Reshuffle() | beam.Map(_work)
    except Exception as error:
        known = _from_worker(error)
        if known is not None:
            raise known from error
        runner = options.get_all_options()["runner"] or ""
        if runner == IN_PROCESS or "Direct" in runner:
            raise
        line = next((line for line in str(error).splitlines() if line.strip()), "")
        raise UserError(
            f"--beam=--runner={runner} failed: {type(error).__name__}: {line.strip()}"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps runners' logs out of ours: what goes wrong is raised, once, without their frames."""
    # Dask's own cluster says good-bye when the process ends, long after this: quiet for good.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    log = logging.getLogger("apache_beam")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


_MARK = "ganpipe worker: "


def _work(packed: bytes) -> None:
    """Runs one element in a worker; errors that users can mend cross every runner as one line."""
    if not packed.startswith(b"\x80"):  # no pickle: the name of a file with one
        packed = Path(os.fsdecode(packed)).read_bytes()
    job, element = pickle.loads(packed)
    try:
        job(element)
    except UserError as error:
        raise RuntimeError(f"{_MARK}{json.dumps([None, str(error)])}") from error
    except OSError as error:
        text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        raise RuntimeError(f"{_MARK}{json.dumps([error.errno, text])}") from error


def _from_worker(error: Exception) -> Exception | None:
    """The error that `_work` has put into a runner's exception, or its chain, if any."""
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if _MARK in text:
            with contextlib.suppress(ValueError):
                number, told = json.JSONDecoder().raw_decode(text.split(_MARK, 1)[1])[0]
                return UserError(told) if number is None else OSError(number, told)
        seen = seen.__cause__ or seen.__context__
    return None


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
