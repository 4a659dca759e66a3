"""Fashion-MNIST (70,000 28x28 grey images, 10 classes, MIT licence), found without root or waiting.

Looked for in this order:

1. Debian's installed package `dataset-fashion-mnist`, under `/usr/share/datasets/fashion-mnist`;
2. our cache, `$GANPIPE_CACHE` or `~/.cache/ganpipe`, where an earlier run left it;
3. the same Debian package (31 MB) fetched with `apt-get download` and unpacked with `dpkg-deb -x`
   into the cache (clients.py);
4. tensorflow-datasets' own downloader, if its host answers at all.

Whatever was found counts only if the SHA-256 of all four decompressed files are the pinned ones.
That is why it does not go through packages.py: the .gz of the authors and of Debian differ.
"""

import dataclasses
import gzip
import hashlib
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from ganpipe.data.sets import clients
from ganpipe.data.sets.clients import FetchError, reachable
from ganpipe.data.sets.named import NamedSet, parts
from ganpipe.data.sets.packages import Package, cache_root, locked
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan
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

# Seconds. Offline, the probe fails within a few of them.
_TFDS_LIMIT = 300


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
    with locked(target, "fashion_mnist", say):
        if check(target) is None:  # another process fetched it while we waited
            return target
        for label, fetch in (("Debian package", _from_debian), ("TFDS", _from_tfds)):
            # Beside the target, so that the final rename stays on one file system.
            scratch = Path(tempfile.mkdtemp(prefix=".fashion-mnist.", dir=target.parent))
            try:
                found = fetch(scratch, say)
                problem = check(found)
                if problem is None:
                    shutil.rmtree(target, ignore_errors=True)
                    os.rename(found, target)
                    say(f"fashion_mnist: verified, kept in {target}")
                    return target
                tried.append(f"{label}: {problem}")
            except FetchError as error:
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


def _from_debian(scratch: Path, say: Callable[[str], None]) -> Path:
    """Fetches and unpacks the Debian package below `scratch`; returns the folder of the files."""
    say(f"fashion_mnist: fetching the Debian package {PACKAGE} (31 MB)")
    # Whatever version the lists name: the contents decide.
    archive = clients.debian(PACKAGE, "", 31, scratch, say)
    problem = clients.run(["dpkg-deb", "-x", str(archive), "root"], scratch, 60)
    if problem is not None:
        raise FetchError(problem)
    return scratch / "root" / DEBIAN_DIR.relative_to("/")


def _from_tfds(scratch: Path, say: Callable[[str], None]) -> Path:
    """Fetches the authors' files with TFDS' downloader, in a process that can be stopped."""
    say("fashion_mnist: asking tensorflow-datasets' download server")
    out = scratch / "files"
    code = (
        "import sys; from ganpipe.data.sets import fashion_mnist as f; f.tfds_download(sys.argv[1])"
    )
    # The child must import the ganpipe that is running, installed or not.
    root = str(Path(__file__).resolve().parents[3])
    problem = clients.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {code}", str(out)],
        scratch,
        _TFDS_LIMIT,
    )
    if problem is not None:
        raise FetchError(problem)
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


@dataclasses.dataclass(frozen=True)
class FashionMnist(NamedSet):
    """The embedded default data set. Keys are `train/00000` and so on, in the official order.

    Attributes:
      directory: where the four files are; known once fetched.
    """

    directory: str = ""

    SET = "fashion_mnist"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """None that packages.py should fetch."""
        return ()

    def fingerprint(self) -> str:
        """The pinned hashes: the data cannot change."""
        return f"fashion_mnist {sorted(PINNED.items())}"

    def fetch(self, say: Callable[[str], None]) -> "FashionMnist":
        """Finds or fetches the files."""
        return dataclasses.replace(self, directory=str(locate(say)))

    def fixed_size(self) -> tuple[int, int] | None:
        """28x28."""
        return 28, 28

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """The official train and test splits, each permuted by the seed."""
        del test_fraction, surveyed
        splits = {}
        for number, split in enumerate(_PREFIX):
            count = len(_arrays(self.directory, split)[1])
            splits[split] = order.permutation(seed, number, count)
        total = sum(map(len, splits.values()))
        return Plan(CLASS_NAMES, geometry.channels or 1, splits, [], total)

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """28x28x1 arrays."""
        del geometry
        images, labels = _arrays(self.directory, split)
        for part in parts(rows, size):
            keys = [f"{split}/{i:05d}" for i in part]
            yield Batch(keys, labels[part].astype(np.int64), images[part])


@lru_cache(maxsize=2)
def _arrays(directory: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    return read(Path(directory), split)
