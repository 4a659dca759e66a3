"""`idx:DIR` and `npz:FILE`: images that lie in arrays, as MNIST's family and Keras keep them.

`idx:DIR` reads `*images*idx3*` with `*labels*idx1*` beside it, plain or .gz; files with `t10k` or
`test` in their name are the test split. `npz:FILE` reads `x_train, y_train, x_test, y_test` as
Keras writes them, `train_images, train_labels, ...` as MedMNIST does, or one of `images`, `x`,
`data`, `arr_0` with `labels` or `y`.

They are unpacked once into a temporary folder ($TMPDIR) and mapped into memory from there, so that
memory stays flat and the workers of one machine share the pages.
"""

import atexit
import dataclasses
import functools
import gzip
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan
from ganpipe.errors import UserError

_IDX_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
# Names of (images, labels) in .npz files, per split; the first pair that is there is taken.
_NPZ_NAMES = {
    "train": (
        ("x_train", "y_train"),
        ("train_images", "train_labels"),
        ("images", "labels"),
        ("x", "y"),
        ("data", "labels"),
        ("arr_0", "arr_1"),
    ),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


@dataclasses.dataclass(frozen=True)
class ArrayRows:
    """Numbers of rows of one array; can be sliced."""

    split: str
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, where: slice) -> "ArrayRows":
        return ArrayRows(self.split, self.rows[where])


@dataclasses.dataclass(frozen=True)
class Arrays:
    """Images in the arrays of an idx folder or a .npz file.

    Attributes:
      kind: `idx` or `npz`.
      path: the folder or file.
      unpacked: split -> (images .npy, labels .npy or "") once fetched.
    """

    kind: str
    path: str
    unpacked: tuple[tuple[str, str, str], ...] = ()
    licence: str = ""
    credit: str = ""
    cheap_slices: bool = True

    @property
    def name(self) -> str:
        """The folder's or file's own name."""
        return Path(self.path).stem

    @property
    def spec(self) -> str:
        """With the absolute path."""
        return f"{self.kind}:{self.path}"

    def fingerprint(self) -> str:
        """Names, sizes and modification times of the files."""
        files = sorted(set(self._files().values())) if self.kind == "idx" else [self.path]
        stamps = [(Path(f).name, os.stat(f).st_size, os.stat(f).st_mtime_ns) for f in files]
        return f"{self.kind} {hashlib.sha256(repr(stamps).encode()).hexdigest()}"

    def _files(self) -> dict[tuple[str, str], str]:
        """{(split, images|labels): idx file}; UserError if there is nothing to use."""
        return _idx_files(self.path)

    def fetch(self, say: Callable[[str], None]) -> "Arrays":
        """Checks shapes and types, unpacks where needed."""
        place = Path(tempfile.mkdtemp(prefix="ganpipe-arrays-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        unpack = _unpack_idx if self.kind == "idx" else _unpack_npz
        found = unpack(self.path, place)
        shapes = set()
        for split, images, labels in found:
            array = np.load(images, mmap_mode="r")
            self._check(split, array, np.load(labels, mmap_mode="r") if labels else None)
            shapes.add(array.shape[1:])
            say(
                f"{self.path}: {split}: {len(array):,} images {'x'.join(map(str, array.shape[1:]))}"
            )
        if len({shape[2:] for shape in shapes}) > 1:
            raise UserError(f"--source={self.spec}: its splits differ in channels ({shapes})")
        return dataclasses.replace(self, unpacked=tuple(found))

    def _check(self, split: str, images: np.ndarray, labels: np.ndarray | None) -> None:
        where = f"--source={self.spec}: {split} images"
        if images.ndim == 3:
            channels = 1
        elif images.ndim == 4:
            channels = images.shape[3]
        else:
            raise UserError(
                f"{where} have shape {images.shape}; expected (N, H, W) or (N, H, W, C)"
            )
        if channels not in (1, 3, 4):
            hint = "; channels come last" if images.shape[1] in (1, 3, 4) else ""
            raise UserError(f"{where} have {channels} channels; expected 1, 3 or 4{hint}")
        if images.dtype != np.uint8:
            raise UserError(
                f"{where} are {images.dtype}; expected uint8, 0..255. Scale them before saving, "
                "for "
                "example numpy.rint(x * 255).astype('uint8') for values in [0, 1]"
            )
        if len(images) == 0:
            raise UserError(f"{where}: there are none")
        if labels is None:
            return
        if labels.size != len(images) or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"--source={self.spec}: {split} labels have shape {labels.shape} and type "
                f"{labels.dtype}; expected {len(images)} integers"
            )
        if labels.min() < 0 or labels.max() > 1_000_000:
            raise UserError(
                f"--source={self.spec}: {split} labels go from {labels.min()} to {labels.max()}; "
                "expected class indices from 0"
            )

    def _arrays(self, split: str) -> tuple[np.ndarray, np.ndarray | None]:
        images, labels = next((i, t) for name, i, t in self.unpacked if name == split)
        return _mapped(images), _mapped(labels).reshape(-1) if labels else None

    def fixed_size(self) -> tuple[int, int] | None:
        """Known once fetched."""
        if not self.unpacked:
            return None
        sizes = {self._arrays(split)[0].shape[2:0:-1] for split, _, _ in self.unpacked}
        return next(iter(sizes)) if len(sizes) == 1 else None

    def files_to_survey(self) -> list[str]:
        """None."""
        return []

    def survey(self, keys) -> Iterator[dict]:
        """Nothing."""
        return iter(())

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """The splits there are, or a seeded cut within each class, permuted by the seed."""
        del surveyed
        given = [split for split, _, _ in self.unpacked]
        images, labels = self._arrays("train")
        classes = max(
            (int(self._arrays(s)[1].max()) + 1 for s in given if self._arrays(s)[1] is not None),
            default=0,
        )
        rows = {}
        for number, split in enumerate(given):
            count = len(self._arrays(split)[0])
            rows[split] = ArrayRows(split, order.permutation(seed, number, count))
        if "test" not in rows:
            # Two copies of an image must not be on different sides, so the contents decide.
            digests = [
                hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images
            ]
            zeros = np.zeros(len(images), np.int64)
            test = order.held_out(digests, zeros if labels is None else labels, test_fraction)
            everything = rows["train"].rows
            rows["train"] = ArrayRows("train", everything[~test[everything]])
            if test.any():
                rows["test"] = ArrayRows("train", everything[test[everything]])
        channels = 1 if images.ndim == 3 or images.shape[3] == 1 else 3
        return Plan(
            tuple(map(str, range(classes))),
            geometry.channels or channels,
            rows,
            [],
            sum(map(len, rows.values())),
        )

    def batches(self, split: str, rows: ArrayRows, size: int, geometry) -> Iterator[Batch]:
        """Arrays."""
        del split, geometry
        images, labels = self._arrays(rows.split)
        for start in range(0, len(rows), size):
            part = rows.rows[start : start + size]
            pictures = np.asarray(images[part])
            pictures = pictures[..., None] if pictures.ndim == 3 else pictures
            keys = [f"{rows.split}/{i:07d}" for i in part]
            given = np.zeros(len(part), np.int64) if labels is None else labels[part]
            yield Batch(keys, np.asarray(given, np.int64), pictures)


@functools.lru_cache(maxsize=16)
def _mapped(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _idx_files(directory: str) -> dict[tuple[str, str], str]:
    root = Path(directory)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"--source=idx:{root}: this {what}; expected a folder of idx files")
    found: dict[tuple[str, str], str] = {}
    for path in sorted(root.iterdir()):
        name = path.name.lower()
        what = next((w for w in ("images", "labels") if w in name and "idx" in name), None)
        if what is None or not path.is_file():
            continue
        split = "test" if "t10k" in name or "test" in name else "train"
        other = found.setdefault((split, what), str(path))
        plain = [Path(p).name.removesuffix(".gz") for p in (other, str(path))]
        if plain[0] != plain[1]:
            raise UserError(
                f"--source=idx:{root} holds two files of {split} {what}: {Path(other).name} and "
                f"{path.name}; keep one set in a folder"
            )
    if ("train", "images") not in found:
        raise UserError(
            f"--source=idx:{root}: no file like train-images-idx3-ubyte(.gz) in it; found "
            f"{', '.join(sorted(p.name for p in root.iterdir())[:4]) or 'nothing'}"
        )
    return found


def _unpack_idx(directory: str, place: Path) -> list[tuple[str, str, str]]:
    files = _idx_files(directory)
    made: dict[tuple[str, str], str] = {}
    for (split, what), path in files.items():
        target = place / f"{split}-{what}.npy"
        np.save(target, read_idx(path))
        made[split, what] = str(target)
    splits = [s for s in ("train", "test") if (s, "images") in made]
    return [(s, made[s, "images"], made.get((s, "labels"), "")) for s in splits]


def read_idx(path: str | Path) -> np.ndarray:
    """The array of an idx file, plain or gzipped: uint8 (N, H, W) for images, (N,) for labels.

    Raises:
      UserError: cut short, damaged, or no idx file.
    """
    try:
        with (gzip.open if str(path).endswith(".gz") else open)(path, "rb") as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    # idx: two zero bytes, a type, the number of axes, then one big-endian 32-bit size per axis.
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not 1 <= data[3] <= 4:
        raise UserError(f"{path} is no idx file: it begins with {data[:4]!r}")
    axes = data[3]
    shape = np.frombuffer(data, ">u4", count=axes, offset=4).astype(np.int64)
    kind = np.dtype(_IDX_TYPES[data[2]])
    expected = int(shape.prod()) * kind.itemsize + 4 + 4 * axes
    if len(data) != expected:
        raise UserError(f"{path} holds {len(data)} bytes, its header announces {expected}")
    array = np.frombuffer(data, kind, offset=4 + 4 * axes).reshape(shape)
    return array.astype(kind.newbyteorder("="))


def _unpack_npz(path: str, place: Path) -> list[tuple[str, str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {Path(n).stem: n for n in archive.namelist() if n.endswith(".npy")}
            found = []
            for split, choices in _NPZ_NAMES.items():
                pair = next(((i, t) for i, t in choices if i in names), None)
                if pair is None:
                    continue
                targets = []
                for key in pair:
                    target = place / f"{split}-{len(targets)}.npy"
                    if key in names:
                        with archive.open(names[key]) as member, open(target, "wb") as file:
                            shutil.copyfileobj(member, file, 1 << 20)
                        np.load(target, mmap_mode="r", allow_pickle=False)
                    targets.append(str(target) if key in names else "")
                found.append((split, *targets))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise UserError(f"--source=npz:{path}: not a readable .npz of arrays ({error})") from error
    if not found or found[0][0] != "train":
        raise UserError(
            f"--source=npz:{path} holds {', '.join(sorted(names)) or 'no arrays'}; expected images "
            "as x_train, train_images, images, x, data or arr_0"
        )
    return found
