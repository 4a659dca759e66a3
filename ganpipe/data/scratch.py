"""Work folders that become an output in one step, and small files that are written in one."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ganpipe.errors import UserError

# Inside a work folder: where workers leave notes, and the file that is locked.
WORK, LOCK = ".work", "lock"


@contextlib.contextmanager
def folder_beside(out: Path, request: str) -> Iterator[Path]:
    """A hidden sibling of `out` for one request; removed at the end unless renamed to `out`.

    A lock is held on it, which goes with the process. What a killed run of the same request left is
    handed out again, so that the work goes on from there; what other killed runs left goes.

    Args:
      out: folder to be made.
      request: fingerprint (hex) of what is being made.

    An error with an attribute `keep_work` leaves the folder to the next run.

    Raises:
      UserError: no permission, no space, or another process is making the same.
    """
    place = out.parent / f".{out.name}.preparing-{request[:16]}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for old in out.parent.glob(f".{out.name}.preparing-*"):
            if old != place:
                with contextlib.suppress(OSError), open(old / LOCK) as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(old, ignore_errors=True)
        (place / WORK).mkdir(parents=True, exist_ok=True)
        lock = open(place / LOCK, "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f"--out={out}: cannot write beside it ({error})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(
                f"--out={out}: another process is preparing exactly this in {place}; wait for it"
            ) from error
        for partial in place.glob("*.partial-*"):  # shards that were being written
            partial.unlink(missing_ok=True)
        try:
            yield place
        except BaseException as error:
            if not getattr(error, "keep_work", False):
                shutil.rmtree(place, ignore_errors=True)
            raise
        else:
            shutil.rmtree(place, ignore_errors=True)


def write_atomically(path: Path, text: str) -> None:
    """Writes a small text file that readers see whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    partial.write_text(text)
    os.replace(partial, path)


def note(path: Path, done: int, skipped: Counter[str]) -> None:
    """Tells `counting` how far a worker is."""
    write_atomically(path, json.dumps({"done": done, "skipped": skipped}))


def no_space(error: OSError) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def counting(
    work: Path, patterns: str | list[str], total: int, verb: str, enabled: bool
) -> Iterator[None]:
    """A progress bar fed by the notes of workers: images/s, done, left, left out by reason."""
    from tqdm import tqdm

    patterns = [patterns] if isinstance(patterns, str) else patterns
    stop = threading.Event()

    def totals() -> tuple[int, Counter[str]]:
        done, skipped = 0, Counter()
        for pattern in patterns:
            for path in work.glob(pattern):
                with contextlib.suppress(OSError, ValueError, KeyError):
                    found = json.loads(path.read_text())
                    done += found["done"]
                    skipped.update(found["skipped"])
        return done, skipped

    def show(bar: tqdm) -> None:
        done, skipped = totals()
        bar.update(min(total, done + skipped.total()) - bar.n)
        reasons = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common(3))
        bar.set_postfix_str(f"left out: {reasons}" if reasons else "", refresh=False)

    def watch(bar: tqdm) -> None:
        while not stop.wait(0.25):
            show(bar)

    with tqdm(
        total=total, desc=verb, unit=" images", disable=None if enabled else True, smoothing=0.1
    ) as bar:
        if bar.disable:  # no terminal: nobody reads the notes
            yield
            return
        thread = threading.Thread(target=watch, args=(bar,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)
            show(bar)
