"""Fashion-MNIST (70,000 28x28 grey images, 10 classes, MIT licence), found without root or waiting.

Looked for in this order:

1. Debian's installed package `dataset-fashion-mnist`, under `/usr/share/datasets/fashion-mnist`;
2. our cache, `$GANPIPE_CACHE` or `~/.cache/ganpipe`, where an earlier run left it;
3. the same Debian package (31 MB) fetched with `apt-get download` and unpacked with `dpkg-deb -x`
   into the cache. No root is needed; on a machine whose package lists were never fetched,
   `apt-get update` is run into private folders inside the cache first;
4. tensorflow-datasets' own downloader, if its host answers at all.

Whatever was found counts only if the SHA-256 of all four decompressed files are the pinned ones.
"""

import contextlib
import fcntl
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ganpipe.errors import UserError

DEBIAN_DIR = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

# SHA-256 of the decompressed idx files (the .gz differ between Debian and the authors' server).
PINNED = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_PREFIX = {"train": "train", "test": "t10k"}

# Seconds. Offline, apt and the probe fail within a few of them.
_UPDATE_LIMIT, _DOWNLOAD_LIMIT, _PROBE_LIMIT, _TFDS_LIMIT = 90, 180, 8, 300


def cache_root() -> Path:
    """`$GANPIPE_CACHE`, else `~/.cache/ganpipe`."""
    return Path(os.environ.get("GANPIPE_CACHE") or Path.home() / ".cache" / "ganpipe")


def locate(say: Callable[[str], None] = print) -> Path:
    """The folder with the four .gz files, fetched into the cache if need be.

    Args:
      say: receives a line for everything that takes time.

    Raises:
      UserError: no way worked; the message tells what was tried and how to help.
    """
    tried = []
    for place in (DEBIAN_DIR, cache_root() / "fashion-mnist"):
        problem = check(place)
        if problem is None:
            return place
        if place.exists():
            tried.append(f"{place}: {problem}")
    target = cache_root() / "fashion-mnist"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock_path = target.parent / "fashion-mnist.lock"
        lock_path.touch()
    except OSError as error:
        raise UserError(
            f"fashion_mnist needs a cache folder and {target.parent} cannot be written "
            f"({error.strerror}); set GANPIPE_CACHE to a folder of yours"
        ) from error
    with open(lock_path, "w") as lock_file, _locked(lock_file, say):
        if check(target) is None:  # another process fetched it while we waited
            return target
        for label, fetch in (("Debian package", _from_debian), ("TFDS", _from_tfds)):
            # Beside the target, so that the final rename stays on one file system.
            scratch = Path(tempfile.mkdtemp(prefix="fashion-mnist.", dir=target.parent))
            try:
                found = fetch(scratch, say)
                problem = check(found)
                if problem is None:
                    shutil.rmtree(target, ignore_errors=True)
                    os.rename(found, target)
                    say(f"fashion_mnist: verified, kept in {target}")
                    return target
                tried.append(f"{label}: {problem}")
            except _FetchError as error:
                tried.append(f"{label}: {error}")
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    raise UserError(
        f"Fashion-MNIST was not found and could not be fetched ({'; '.join(tried)}). Install the "
        f"Debian package {PACKAGE}, put its four .gz files into {target}, or use another --source"
    )


def check(directory: Path) -> str | None:
    """What is wrong with a folder of the four files, or None when all are as pinned."""
    if not directory.is_dir():
        return "no such folder"
    for name, pinned in PINNED.items():
        try:
            payload = _payload(directory, name)
        except FileNotFoundError:
            return f"{name}.gz is missing"
        except (OSError, EOFError, zlib.error) as error:
            return f"{name}.gz cannot be decompressed ({error})"
        if hashlib.sha256(payload).hexdigest() != pinned:
            return f"{name}.gz does not have the pinned SHA-256"
    return None


def read(directory: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28, 1) uint8 and labels (N,) uint8 of `train` or `test`."""
    prefix = _PREFIX[split]
    labels = _payload(directory, f"{prefix}-labels-idx1-ubyte")
    pixels = _payload(directory, f"{prefix}-images-idx3-ubyte")
    # idx: big-endian magic number, then one 32-bit size per axis.
    height, width = np.frombuffer(pixels, ">u4", count=2, offset=8)
    images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, int(height), int(width), 1)
    return images, np.frombuffer(labels, np.uint8, offset=8)


def _payload(directory: Path, name: str) -> bytes:
    with gzip.open(directory / f"{name}.gz") as file:
        return file.read()


class _FetchError(Exception):
    """One way of fetching failed; the next is tried."""


@contextlib.contextmanager
def _locked(file, say: Callable[[str], None]) -> Iterator[None]:
    """Holds an advisory lock, so that two processes do not fetch at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("fashion_mnist: another process is fetching it; waiting")
        fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _run(command: list[str], cwd: Path, limit: int) -> str | None:
    """Runs a program for at most `limit` seconds; None if it succeeded, else its last line."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {limit} s"
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if done.returncode == 0:
        return None
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"{command[0]} ended with status {done.returncode}"


def _apt_options(private: Path | None) -> list[str]:
    """Options for apt-get: short waits, and our own folders when `private` is given."""
    options = {
        "Acquire::http::Timeout": "10",
        "Acquire::https::Timeout": "10",
        "Acquire::Retries": "1",
        "Acquire::Languages": "none",
        # As root, apt would drop to user _apt, who may not enter our cache.
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    if private is not None:
        options |= {
            "Dir::State::lists": f"{private}/lists",
            "Dir::Cache": f"{private}/cache",
            "Dir::Cache::archives": f"{private}/cache/archives",
            # Distributions hook cleaning jobs into update; they concern the system's folders.
            "APT::Update::Post-Invoke::": "true",
        }
    return ["-q", *(part for k, v in options.items() for part in ("-o", f"{k}={v}"))]


def _from_debian(scratch: Path, say: Callable[[str], None]) -> Path:
    """Fetches and unpacks the Debian package below `scratch`; returns the folder of the files."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise _FetchError(f"no {program} on this machine")
    say(f"fashion_mnist: fetching the Debian package {PACKAGE} (31 MB)")
    download = ["download", PACKAGE]
    problem = _run(["apt-get", *_apt_options(None), *download], scratch, _DOWNLOAD_LIMIT)
    if problem is not None:
        # No lists, stale lists, or lists we may not read: private ones.
        say("fashion_mnist: fetching package lists into a private folder")
        private = scratch / "apt"
        for folder in ("lists/partial", "cache/archives/partial"):
            (private / folder).mkdir(parents=True)
        options = _apt_options(private)
        # One unreachable third-party archive makes update fail as a whole: the download decides.
        update = _run(["apt-get", *options, "update"], scratch, _UPDATE_LIMIT)
        problem = _run(["apt-get", *options, *download], scratch, _DOWNLOAD_LIMIT)
        if problem is not None:
            raise _FetchError(problem if update is None else f"{problem} (update: {update})")
    archives = sorted(scratch.glob(f"{PACKAGE}_*.deb"))
    if not archives:
        raise _FetchError(f"apt-get download left no {PACKAGE}_*.deb")
    problem = _run(["dpkg-deb", "-x", str(archives[-1]), "root"], scratch, 60)
    if problem is not None:
        raise _FetchError(problem)
    return scratch / "root" / DEBIAN_DIR.relative_to("/")


def reachable(url: str, limit: float = _PROBE_LIMIT) -> bool:
    """Whether a server answers at all (with any status) within `limit` seconds."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "ganpipe"})
    try:
        with urllib.request.urlopen(request, timeout=limit):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500  # 5xx is what a proxy says that cannot get through
    except (OSError, ValueError):
        return False


def _from_tfds(scratch: Path, say: Callable[[str], None]) -> Path:
    """Fetches the authors' files with TFDS' downloader, in a process that can be stopped."""
    say("fashion_mnist: asking tensorflow-datasets' download server")
    out = scratch / "files"
    code = "import sys; from ganpipe.data import fashion_mnist as f; f.tfds_download(sys.argv[1])"
    # The child must import the ganpipe that is running, installed or not.
    root = str(Path(__file__).resolve().parents[2])
    problem = _run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}", str(out)],
        scratch,
        _TFDS_LIMIT,
    )
    if problem is not None:
        raise _FetchError(problem)
    return out


def tfds_download(out: str | Path) -> None:
    """Downloads the four files with tensorflow-datasets, which checks sizes and hashes, to `out`.

    Raises:
      ConnectionError: the server does not answer (asked first: TFDS itself retries for minutes).
    """
    import tensorflow_datasets as tfds

    out = Path(out)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        builder = tfds.builder("fashion_mnist", data_dir=scratch)
        urls = {Path(url).name: url for url in builder.url_infos}
        if not reachable(next(iter(urls.values()))):
            host = next(iter(urls.values())).split("/")[2]
            raise ConnectionError(f"{host} is not reachable")
        manager = tfds.download.DownloadManager(
            download_dir=scratch,
            url_infos=builder.url_infos,
            dataset_name="fashion_mnist",
            force_checksums_validation=True,
        )
        paths = manager.download(urls)
        out.mkdir()
        for name, path in paths.items():
            shutil.copyfile(path, out / name)
