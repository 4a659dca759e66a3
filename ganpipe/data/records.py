"""TFRecord shards of raw images: the bytes of one `tf.train.Example` per image.

| feature | type | content |
| --- | --- | --- |
| image | bytes | raw uint8 pixels, height x width x channels in C order (no compression) |
| shape | int64[3] | height, width, channels |
| label | int64[1] | class index; 0 when the set has no classes |
| key | bytes | where the image came from: a path within the source, or `split/number` |

The protocol-buffer and TFRecord bytes are put together here rather than by TensorFlow: the image
part of every record of a shard has the same header, so a record costs a few concatenations (about
4 us, against 20-50 us through `tf.train.Example`), and preparing data needs no TensorFlow at all.
The tests read these shards back with TensorFlow's own parser.
"""

import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np


def _varint(value: int) -> bytes:
    """Base-128 encoding of a non-negative integer, least significant group first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, payload: bytes) -> bytes:
    """A length-delimited protocol-buffer field."""
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _entry(name: bytes, feature: bytes) -> bytes:
    """One entry of the map `Features.feature`."""
    return _field(1, _field(1, name) + _field(2, feature))


def _int64_feature(values: Sequence[int]) -> bytes:
    return _field(3, _field(1, b"".join(_varint(v) for v in values)))


def _bytes_feature(value: bytes) -> bytes:
    return _field(1, _field(1, value))


def _mask(crc: int) -> int:
    """TFRecord's masked CRC: rotate right by 15 bits and add a constant, modulo 2**32."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """One TFRecord: length, masked CRC of the length, payload, masked CRC of the payload."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (
            length,
            struct.pack("<I", _mask(google_crc32c.value(length))),
            payload,
            struct.pack("<I", _mask(google_crc32c.value(payload))),
        )
    )


class ExampleEncoder:
    """Turns images of one fixed shape into serialised `tf.train.Example` messages.

    Args:
      shape: (height, width, channels) of every image.
    """

    def __init__(self, shape: tuple[int, int, int]):
        self.shape = shape
        size = int(np.prod(shape))
        # Everything of the image's map entry that comes before its pixels.
        whole = _entry(b"image", _bytes_feature(b"\0" * size))
        self._image_head = whole[: len(whole) - size]
        self._size = size
        self._shape_entry = _entry(b"shape", _int64_feature(shape))
        self._label_entries: dict[int, bytes] = {}

    def encode(self, pixels: bytes, label: int, key: str) -> bytes:
        """One serialised Example.

        Args:
          pixels: raw uint8 bytes, height x width x channels.
          label: class index, >= 0.
          key: where the image came from.
        """
        if len(pixels) != self._size:
            raise ValueError(f"image holds {len(pixels)} bytes, shape {self.shape} needs another")
        label_entry = self._label_entries.get(label)
        if label_entry is None:
            label_entry = _entry(b"label", _int64_feature((label,)))
            self._label_entries[label] = label_entry
        key_entry = _entry(b"key", _bytes_feature(key.encode("utf-8", "surrogateescape")))
        return _field(
            1,
            b"".join((self._image_head, pixels, key_entry, label_entry, self._shape_entry)),
        )


class ShardWriter:
    """Writes one TFRecord shard under a private name and renames it into place when closed.

    A worker that dies, or is run twice by the runner, leaves either nothing under the final name or
    the complete file: the bytes depend on the records alone.

    Args:
      path: final path of the shard.
      shape: (height, width, channels) of its images.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int]):
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial-{os.getpid()}-{os.urandom(4).hex()}")
        self._encoder = ExampleEncoder(shape)
        self._file = open(self._partial, "wb")  # noqa: SIM115 (closed by close or discard)
        self._sha256 = hashlib.sha256()
        self._count = 0
        self._bytes = 0

    def write(self, images: np.ndarray, labels: Sequence[int], keys: Sequence[str]) -> None:
        """Appends a batch: images (N, H, W, C) uint8, N labels, N keys."""
        assert images.dtype == np.uint8 and images.shape[1:] == self._encoder.shape, images.shape
        encode = self._encoder.encode
        block = b"".join(
            frame(encode(image.tobytes(), int(label), key))
            for image, label, key in zip(images, labels, keys, strict=True)
        )
        self._file.write(block)
        self._sha256.update(block)
        self._count += len(images)
        self._bytes += len(block)

    def close(self) -> dict[str, object]:
        """Finishes the shard; returns its entry of `dataset.json` (file, count, bytes, sha256)."""
        self._file.close()
        os.replace(self._partial, self._path)
        return {
            "file": self._path.name,
            "count": self._count,
            "bytes": self._bytes,
            "sha256": self._sha256.hexdigest(),
        }

    def discard(self) -> None:
        """Drops what was written; harmless after `close`."""
        self._file.close()
        self._partial.unlink(missing_ok=True)
