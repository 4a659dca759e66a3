"""Work folders that become an output in one step, and small files that are written in one."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from ganpipe.errors import UserError

# Inside a work folder: where workers leave notes, and the file that is locked.
WORK, LOCK = ".work", "lock"


@contextlib.contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A hidden sibling of `out`, removed at the end unless it was renamed to `out`.

    A lock is held on it; siblings whose lock nobody holds were left by killed runs and go.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{out.name}.preparing-"
        for old in out.parent.glob(f"{prefix}*"):
            with contextlib.suppress(OSError), open(old / LOCK) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(old, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=out.parent))
        scratch.chmod(0o777 & ~_umask())  # mkdtemp makes it private; the result should not be
        (scratch / WORK).mkdir()
    except OSError as error:
        raise UserError(f"--out={out}: cannot write beside it ({error})") from error
    with open(scratch / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomically(path: Path, text: str) -> None:
    """Writes a small text file that readers see whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    partial.write_text(text)
    os.replace(partial, path)


@contextlib.contextmanager
def counting(
    work: Path, patterns: str | list[str], total: int, verb: str, enabled: bool
) -> Iterator[None]:
    """A progress bar fed by the small files in which workers note (done, skipped) counts."""
    from tqdm import tqdm

    patterns = [patterns] if isinstance(patterns, str) else patterns
    stop = threading.Event()

    def totals() -> tuple[int, int]:
        done = skipped = 0
        for pattern in patterns:
            for path in work.glob(pattern):
                with contextlib.suppress(OSError, ValueError):
                    good, bad = path.read_text().split()
                    done, skipped = done + int(good), skipped + int(bad)
        return done, skipped

    def watch(bar: tqdm) -> None:
        while not stop.wait(0.25):
            done, skipped = totals()
            bar.update(done + skipped - bar.n)
            bar.set_postfix(skipped=skipped, refresh=False)

    with tqdm(total=total, desc=verb, unit=" images", disable=None if enabled else True) as bar:
        thread = threading.Thread(target=watch, args=(bar,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=5)
            done, skipped = totals()
            bar.update(done + skipped - bar.n)
