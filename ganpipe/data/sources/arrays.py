"""`idx:DIR` and `npz:FILE`: images that lie in arrays, as MNIST's family and Keras keep them.

`idx:DIR` reads `*images*idx3*` with `*labels*idx1*` beside it, plain or .gz; files with `t10k` or
`test` in their name are the test split. `npz:FILE` reads `x_train, y_train, x_test, y_test` as
Keras writes them, `train_images, train_labels, ...` as MedMNIST does, or one of `images`, `x`,
`data`, `arr_0` with `labels` or `y`.

`fetch` looks at headers alone: shapes and types are known, and errors told, before anything is
unpacked. `unpack` writes the arrays into the work folder of the run, which all workers see and
which goes with the run; they are mapped into memory from there, so that memory stays flat and the
workers of one machine share the pages.
"""

import dataclasses
import gzip
import hashlib
import math
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ganpipe.data import scratch
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan, Unsurveyed
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
class Arrays(Unsurveyed):
    """Images in the arrays of an idx folder or a .npz file.

    Attributes:
      kind: `idx` or `npz`.
      path: the folder or file.
      shapes: (split, shape of its images), once fetched.
      unpacked: (split, images .npy, labels .npy or ""), once unpacked.
    """

    kind: str
    path: str
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
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
        """Checks that the files are there, with shapes and types that can be used."""
        found = _idx_headers(self.path) if self.kind == "idx" else _npz_headers(self.path)
        for split, images, labels in found:
            self._check(split, images, labels)
            count, *rest = images.shape
            say(f"{self.path}: {split}: {count:,} images {'x'.join(map(str, rest))}")
        shapes = {split: images.shape for split, images, _ in found}
        if len({shape[3:] for shape in shapes.values()}) > 1:
            raise UserError(f"--source={self.spec}: its splits differ in channels ({shapes})")
        return dataclasses.replace(self, shapes=tuple(shapes.items()))

    def unpack(self, folder: Path) -> "Arrays":
        """The arrays as .npy files in a sub-folder `arrays` of `folder`.

        Raises:
          UserError: damaged, other contents than the header announces, labels out of range.
          OSError: the disk is full.
        """
        place = folder / "arrays"
        place.mkdir(parents=True, exist_ok=True)
        found = (
            _unpack_idx(self.path, place) if self.kind == "idx" else _unpack_npz(self.path, place)
        )
        for split, _, labels in found:
            if labels:
                self._check_labels(split, np.load(labels, mmap_mode="r"))
        return dataclasses.replace(self, unpacked=tuple(found))

    def _check(self, split: str, images: "Header", labels: "Header | None") -> None:
        where = f"--source={self.spec}: {split} images"
        axes = len(images.shape)
        if axes == 3:
            channels = 1
        elif axes == 4:
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
                "for example numpy.rint(x * 255).astype('uint8') for values in [0, 1]"
            )
        count = images.shape[0]
        if count == 0:
            raise UserError(f"{where}: there are none")
        if labels is None:
            return
        if math.prod(labels.shape) != count or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"--source={self.spec}: {split} labels have shape {labels.shape} and type "
                f"{labels.dtype}; expected {count} integers"
            )

    def _check_labels(self, split: str, labels: np.ndarray) -> None:
        if labels.min() < 0 or labels.max() > 1_000_000:
            raise UserError(
                f"--source={self.spec}: {split} labels go from {labels.min()} to {labels.max()}; "
                "expected class indices from 0"
            )

    def _arrays(self, split: str) -> tuple[np.ndarray, np.ndarray | None]:
        images, labels = next((i, t) for name, i, t in self.unpacked if name == split)
        # Not kept open: what maps a file keeps its space taken when the run has removed it.
        mapped = [np.load(path, mmap_mode="r") if path else None for path in (images, labels)]
        return mapped[0], mapped[1].reshape(-1) if labels else None

    def fixed_size(self) -> tuple[int, int] | None:
        """Known once fetched."""
        sizes = {shape[2:0:-1] for _, shape in self.shapes}
        return next(iter(sizes)) if len(sizes) == 1 else None

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


@dataclasses.dataclass(frozen=True)
class Header:
    """What an array file says of itself."""

    shape: tuple[int, ...]
    dtype: np.dtype


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


def _idx_headers(directory: str) -> list[tuple[str, Header, Header | None]]:
    """(split, images, labels) of the files that there are."""
    files = _idx_files(directory)
    found = {}
    for which, path in files.items():
        try:
            with _open_idx(path) as file:
                head = _idx_header(path, file.read(20))
            length = os.path.getsize(path)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
        if not path.endswith(".gz"):  # what a packed file holds is seen when it is unpacked
            _check_length(path, head, length)
        found[which] = head
    splits = [s for s in ("train", "test") if (s, "images") in found]
    return [(s, found[s, "images"], found.get((s, "labels"))) for s in splits]


def _unpack_idx(directory: str, place: Path) -> list[tuple[str, str, str]]:
    files = _idx_files(directory)
    made: dict[tuple[str, str], str] = {}
    for (split, what), path in files.items():
        target = place / f"{split}-{what}.npy"
        array = read_idx(path)
        with open(target, "wb") as file:  # np.save would not tell that the disk is full
            head = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(file, head)
            file.write(array.data)
        made[split, what] = str(target)
    splits = [s for s in ("train", "test") if (s, "images") in made]
    return [(s, made[s, "images"], made.get((s, "labels"), "")) for s in splits]


def _open_idx(path: str | Path):
    return (gzip.open if str(path).endswith(".gz") else open)(path, "rb")


def _idx_header(path: str | Path, data: bytes) -> Header:
    # idx: two zero bytes, a type, the number of axes, then one big-endian 32-bit size per axis.
    good = len(data) >= 4 and data[:2] == b"\0\0" and data[2] in _IDX_TYPES and 1 <= data[3] <= 4
    if not good or len(data) < 4 + 4 * data[3]:
        raise UserError(f"{path} is no idx file: it begins with {data[:4]!r}")
    shape = np.frombuffer(data, ">u4", count=data[3], offset=4).tolist()
    return Header(tuple(shape), np.dtype(_IDX_TYPES[data[2]]))


def _check_length(path: str | Path, head: Header, length: int) -> None:
    expected = math.prod(head.shape) * head.dtype.itemsize + 4 + 4 * len(head.shape)
    if length != expected:
        raise UserError(f"{path} holds {length} bytes, its header announces {expected}")


def read_idx(path: str | Path) -> np.ndarray:
    """The array of an idx file, plain or gzipped: uint8 (N, H, W) for images, (N,) for labels.

    Raises:
      UserError: cut short, damaged, or no idx file.
    """
    try:
        with _open_idx(path) as file:
            data = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read ({error}); fetch it again") from error
    head = _idx_header(path, data)
    _check_length(path, head, len(data))
    array = np.frombuffer(data, head.dtype, offset=4 + 4 * len(head.shape)).reshape(head.shape)
    return array.astype(head.dtype.newbyteorder("="))


# What damaged .npz files raise besides BadZipFile; RuntimeError: encrypted.
_DAMAGED = (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError)


def _npz_members(archive: zipfile.ZipFile, path: str) -> list[tuple[str, str, str]]:
    """(split, member of images, member of labels or "") of the splits that there are."""
    names = {Path(n).stem: n for n in archive.namelist() if n.endswith(".npy")}
    found = []
    for split, choices in _NPZ_NAMES.items():
        pair = next(((i, t) for i, t in choices if i in names), None)
        if pair:
            found.append((split, names[pair[0]], names.get(pair[1], "")))
    if not found or found[0][0] != "train":
        raise UserError(
            f"--source=npz:{path} holds {', '.join(sorted(names)) or 'no arrays'}; expected images "
            "as x_train, train_images, images, x, data or arr_0"
        )
    return found


def _npz_header(archive: zipfile.ZipFile, member: str) -> Header:
    """The head of a member; ValueError for what is no array of numbers."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            raise ValueError(f"{member} is of .npy version {version}")
    if dtype.hasobject:
        raise ValueError(f"{member} holds Python objects")
    return Header(shape, dtype)


def _npz_headers(path: str) -> list[tuple[str, Header, Header | None]]:
    """(split, images, labels) of the arrays that there are."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [
                (
                    split,
                    _npz_header(archive, images),
                    _npz_header(archive, labels) if labels else None,
                )
                for split, images, labels in _npz_members(archive, path)
            ]
    except UserError:
        raise
    except _DAMAGED as error:
        raise UserError(f"--source=npz:{path}: not a readable .npz of arrays ({error})") from error


def _unpack_npz(path: str, place: Path) -> list[tuple[str, str, str]]:
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for split, *members in _npz_members(archive, path):
                targets = ["", ""]
                for i, name in enumerate(members):
                    if name:
                        target = place / f"{split}-{('images', 'labels')[i]}.npy"
                        with archive.open(name) as member, open(target, "wb") as file:
                            shutil.copyfileobj(member, file, 1 << 20)
                        np.load(target, mmap_mode="r", allow_pickle=False)  # as long as it says
                        targets[i] = str(target)
                found.append((split, *targets))
    except UserError:
        raise
    except _DAMAGED as error:
        if isinstance(error, OSError) and scratch.no_space(error):
            raise
        raise UserError(f"--source=npz:{path}: not a readable .npz of arrays ({error})") from error
    return found
