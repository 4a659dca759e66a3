"""`tfrecord:GLOB`: the record files of the official ProGAN and StyleGAN data tools.

A set is a folder of `NAME-rNN.tfrecords`, NN = log2 of the side from 02 up, one record per image in
the same order in every file: a `tf.train.Example` of `shape` (int64 [C, H, W]) and `data` (raw
uint8, channels first). Labels, if any, are `NAME-rxx.labels`, a .npy of float32 (N, L) one-hot
rows. The file of the largest side is read; the levels below are made anew and come out the same.

Records are found by their length fields alone, so a file of any size is indexed without being read,
and workers seek to their own. The little protocol-buffer reading needed is done here: preparing
data needs no TensorFlow.
"""

import dataclasses
import functools
import glob
import hashlib
import os
import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import numpy as np

from ganpipe.data import records
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan, Unsurveyed
from ganpipe.errors import UserError

_NAME = re.compile(r"^(?P<stem>.+)-r(?P<level>\d\d)\.tfrecords?$")


@dataclasses.dataclass(frozen=True)
class OffsetRows:
    """Records of a file by number and byte offset; can be sliced."""

    numbers: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, where: slice) -> "OffsetRows":
        return OffsetRows(self.numbers[where], self.offsets[where], self.labels[where])


def _matches(pattern: str) -> list[str]:
    """The files that a file's name, a folder or a glob stands for; names may hold brackets."""
    if os.path.isfile(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        return glob.glob(os.path.join(glob.escape(pattern), "*-r*.tfrecord*"))
    folder, name = os.path.split(pattern)
    folder = glob.escape(folder) if os.path.isdir(folder) else folder
    return glob.glob(os.path.join(folder, name)) or glob.glob(
        os.path.join(folder, name.replace("[", "[[]"))
    )


@dataclasses.dataclass(frozen=True)
class LodRecords(Unsurveyed):
    """One multi-level record set; `pattern` names a file, a glob or the folder."""

    pattern: str
    licence: str = ""
    credit: str = ""
    cheap_slices: bool = True

    @property
    def file(self) -> str:
        """The record file of the largest side; UserError if there is none, or more than one set.

        Looks at the folder every time: ask once, not per record.
        """
        paths = _matches(self.pattern)
        found: dict[str, list[tuple[int, str]]] = {}
        for path in sorted(paths):
            match = _NAME.match(path)
            if match:
                found.setdefault(match["stem"], []).append((int(match["level"]), path))
        if not found:
            other = f"; it matches {paths[0]}, whose name is not of that form" if paths else ""
            raise UserError(
                f"--source=tfrecord:{self.pattern}: no file like NAME-r07.tfrecords (or .tfrecord) "
                f"there{other}"
            )
        if len(found) > 1:
            raise UserError(
                f"--source=tfrecord:{self.pattern} matches {len(found)} sets "
                f"({', '.join(sorted(found)[:3])}); name one of them"
            )
        return max(next(iter(found.values())))[1]

    @property
    def _stem(self) -> str:
        return _NAME.match(self.file)["stem"]

    @property
    def name(self) -> str:
        """The set's own name."""
        return Path(self._stem).name

    @property
    def spec(self) -> str:
        """With the absolute path."""
        return f"tfrecord:{self.pattern}"

    @property
    def _labels_file(self) -> str | None:
        path = f"{self._stem}-rxx.labels"
        return path if os.path.isfile(path) else None

    def fingerprint(self) -> str:
        """Names, sizes and modification times of the files that are read."""
        files = [path for path in (self.file, self._labels_file) if path]
        stamps = [(Path(f).name, os.stat(f).st_size, os.stat(f).st_mtime_ns) for f in files]
        return f"tfrecord {hashlib.sha256(repr(stamps).encode()).hexdigest()}"

    @property
    def _shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the first record."""
        path = self.file
        try:
            with open(path, "rb") as file:
                return parse(_record(file, 0, path), path)[1].shape
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror})") from error

    def fetch(self, say: Callable[[str], None]) -> "LodRecords":
        """Looks at the first record."""
        channels, height, width = self._shape
        path, labels = self.file, self._labels_file
        if channels not in (1, 3):
            raise UserError(f"{path}: images have {channels} channels; expected 1 or 3")
        note = f", labels in {Path(labels).name}" if labels else ""
        say(f"{path}: images {height}x{width}x{channels}{note}")
        return self

    def fixed_size(self) -> tuple[int, int] | None:
        """That of the first record, which all must have."""
        _, height, width = self._shape
        return width, height

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """A test split by the records' own checksums, order by the seed."""
        del surveyed
        offsets, checks = index(self.file)
        labels, names = np.zeros(len(offsets), np.int64), ()
        table = self._labels_file
        if table:
            try:
                rows = np.load(table, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise UserError(f"{table} is not a readable .npy ({error})") from error
            if rows.ndim == 2 and rows.shape[0] == len(offsets):
                labels, names = rows.argmax(axis=1), tuple(map(str, range(rows.shape[1])))
            elif rows.size == len(offsets):
                labels = rows.reshape(-1).astype(np.int64)
                names = tuple(map(str, range(int(labels.max()) + 1)))
            else:
                raise UserError(
                    f"{table} has shape {rows.shape}; expected ({len(offsets)}, classes)"
                )
        # The checksum of the payload stands for its content: equal pictures stay on one side.
        digests = [check.tobytes() for check in checks]
        test = order.held_out(digests, labels, test_fraction)
        shuffled = order.permutation(seed, 0, len(offsets))
        rows = OffsetRows(shuffled, offsets[shuffled], labels[shuffled])
        splits = {}
        for split, mask in (("train", ~test[shuffled]), ("test", test[shuffled])):
            if mask.any():
                splits[split] = OffsetRows(
                    rows.numbers[mask], rows.offsets[mask], rows.labels[mask]
                )
        return Plan(names, geometry.channels or self._shape[0], splits, [], len(offsets))

    def batches(self, split: str, rows: OffsetRows, size: int, geometry) -> Iterator[Batch]:
        """Arrays, channels last."""
        del split, geometry
        path = self.file
        with open(path, "rb") as file:
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                pictures = []
                for offset in part.offsets:
                    image = parse(_record(file, int(offset), path), path)[1]
                    pictures.append(np.ascontiguousarray(image.transpose(1, 2, 0)))
                yield Batch([f"{n:07d}" for n in part.numbers], part.labels, pictures)


def _record(file, offset: int, name: str) -> bytes:
    """The payload of the record at an offset, checked against its CRC."""
    file.seek(offset)
    head = file.read(12)
    length = struct.unpack("<Q", head[:8])[0] if len(head) == 12 else -1
    payload = file.read(length) if 0 <= length < 1 << 31 else b""
    tail = file.read(4)
    if len(payload) != length or len(tail) != 4:
        raise UserError(f"{name} is cut short or damaged at byte {offset}; fetch it again")
    if struct.unpack("<I", tail)[0] != records.mask(google_crc32c.value(payload)):
        raise UserError(f"{name}: the record at byte {offset} is damaged (wrong checksum)")
    return payload


@functools.lru_cache(maxsize=2)
def _index(path: str, size: int, changed: int) -> tuple[np.ndarray, np.ndarray]:
    del changed
    offsets, checks, place = [], [], 0
    with open(path, "rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(8)
            length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
            if place + length + 16 > size:
                raise UserError(f"{path} is cut short or damaged at byte {place}; fetch it again")
            offsets.append(place)
            file.seek(place + 12 + length)
            checks.append(struct.unpack("<I", file.read(4))[0])
            place += length + 16
    return np.array(offsets, np.int64), np.array(checks, np.uint32)


def index(path: str) -> tuple[np.ndarray, np.ndarray]:
    """(offsets (N,) int64, payload checksums (N,) uint32) of a TFRecord file, payloads unread.

    Raises:
      UserError: empty or cut short.
    """
    stat = os.stat(path)
    offsets, checks = _index(path, stat.st_size, stat.st_mtime_ns)
    if len(offsets) == 0:
        raise UserError(f"{path} is empty; fetch it again")
    return offsets, checks


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the fields of a protocol-buffer message: varints and byte strings."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while place < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            length = varint()
            yield tag >> 3, data[place : place + length]
            place += length
        else:
            raise ValueError(f"wire type {tag & 7}")


def parse(payload: bytes, name: str) -> tuple[dict[str, object], np.ndarray]:
    """({feature: value}, image (C, H, W) uint8) of one record of the official tools.

    Raises:
      UserError: it is no such record.
    """
    try:
        features: dict[str, object] = {}
        for _, group in _fields(payload):  # Example.features
            for _, entry in _fields(group):  # Features.feature
                parts = dict(_fields(entry))
                key = parts[1].decode()
                for kind, value in _fields(parts[2]):
                    if kind == 1:  # bytes_list
                        features[key] = next(v for _, v in _fields(value))
                    elif kind == 3:  # int64_list, packed or not
                        numbers: list[int] = []
                        for _, v in _fields(value):
                            numbers += _varints(v) if isinstance(v, bytes) else [v]
                        features[key] = numbers
        shape, data = tuple(features["shape"]), features["data"]
        if len(shape) != 3 or len(data) != np.prod(shape):
            raise ValueError(f"{len(data)} bytes for shape {shape}")
        return features, np.frombuffer(data, np.uint8).reshape(shape)
    except (KeyError, ValueError, IndexError, TypeError, UnicodeDecodeError, AttributeError) as e:
        raise UserError(
            f"{name} is no record file of the ProGAN or StyleGAN tools ({type(e).__name__}: {e}); "
            "expected features `shape` (C, H, W) and `data` (raw uint8)"
        ) from e


def _varints(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value = shift = 0
    return values
