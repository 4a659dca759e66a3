"""TFRecord shards of images: the bytes of one `tf.train.Example` per image.

| feature | type | content |
| --- | --- | --- |
| image | bytes | pixels, height x width x channels: raw uint8 in C order, a PNG or a JPEG |
| shape | int64[3] | height, width, channels |
| label | int64[1] | class index; 0 when the set has no classes |
| key | bytes | where the image came from: a path within the source, or `split/number` |
| map | bytes | sets with label maps: uint8 ids, height x width, raw or a grey PNG |
| pair | bytes | sets of pairs: the second picture, as `image` |

The protocol-buffer and TFRecord bytes are put together here rather than by TensorFlow: the image
part of every record of a shard has the same header, so a record costs a few concatenations (about
4 us, against 20-50 us through `tf.train.Example`), and preparing data needs no TensorFlow at all.
The tests read these shards back with TensorFlow's own parser.
"""

import contextlib
import functools
import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import google_crc32c
import numpy as np

from ganpipe.data import codecs


@functools.lru_cache(maxsize=65536)
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


def mask(crc: int) -> int:
    """TFRecord's masked CRC: rotate right by 15 bits and add a constant, modulo 2**32."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def frame(payload: bytes) -> bytes:
    """One TFRecord: length, masked CRC of the length, payload, masked CRC of the payload."""
    length = struct.pack("<Q", len(payload))
    return b"".join(
        (
            length,
            struct.pack("<I", mask(google_crc32c.value(length))),
            payload,
            struct.pack("<I", mask(google_crc32c.value(payload))),
        )
    )


class ExampleEncoder:
    """Turns images of one shape and encoding into serialised `tf.train.Example` messages.

    Args:
      shape: (height, width, channels) of every image.
      encoding: `raw`, `png` or `jpeg:QUALITY`.
    """

    def __init__(self, shape: tuple[int, int, int], encoding: str = "raw"):
        self.shape, self.encoding = shape, encoding
        self._shape_entry = _entry(b"shape", _int64_feature(shape))
        self._label_entries: dict[int, bytes] = {}
        # Raw payloads have one length, so what comes before the pixels is the same every time.
        self._heads: dict[tuple[bytes, int], bytes] = {}

    def _pixels(self, name: bytes, payload: bytes) -> bytes:
        if self.encoding != "raw":
            return _entry(name, _bytes_feature(payload))
        head = self._heads.get((name, len(payload)))
        if head is None:
            head = _entry(name, _bytes_feature(payload))[: -len(payload)]
            self._heads[name, len(payload)] = head
        return head + payload

    def encode(
        self, image: bytes, label: int, key: str, map_ids: bytes = b"", pair: bytes = b""
    ) -> bytes:
        """One serialised Example.

        Args:
          image: encoded pixels; raw ones are height x width x channels bytes.
          label: class index, >= 0.
          key: where the image came from.
          map_ids: encoded label map, if the set has them.
          pair: encoded second picture, if the set has them.
        """
        if self.encoding == "raw" and len(image) != int(np.prod(self.shape)):
            raise ValueError(f"image holds {len(image)} bytes, shape {self.shape} needs another")
        label_entry = self._label_entries.get(label)
        if label_entry is None:
            label_entry = _entry(b"label", _int64_feature((label,)))
            self._label_entries[label] = label_entry
        key_entry = _entry(b"key", _bytes_feature(key.encode("utf-8", "surrogateescape")))
        parts = [self._pixels(b"image", image), key_entry, label_entry, self._shape_entry]
        if map_ids:
            parts.append(self._pixels(b"map", map_ids))
        if pair:
            parts.append(self._pixels(b"pair", pair))
        return _field(1, b"".join(parts))

    def frames(
        self,
        images: np.ndarray,
        labels: Sequence[int],
        keys: Sequence[str],
        maps: np.ndarray | None = None,
        pairs: np.ndarray | None = None,
        sources: Sequence[bytes | None] = (),
    ) -> bytes:
        """The TFRecord bytes of a batch.

        Args:
          images: (N, H, W, C) uint8.
          labels: N class indices.
          keys: N texts.
          maps: (N, H, W) uint8 ids, or None.
          pairs: (N, H, W, C2) uint8, or None.
          sources: N plain PNG files of these images to keep as they are, or None each; or ().
        """
        assert images.dtype == np.uint8 and images.shape[1:] == self.shape, images.shape
        ids = "raw" if self.encoding == "raw" else "png"
        keep = sources if self.encoding == "png" else ()

        def encoded(row: int, image: np.ndarray) -> bytes:
            return (keep and keep[row]) or codecs.encode(image, self.encoding)

        return b"".join(
            frame(
                self.encode(
                    encoded(row, image),
                    int(label),
                    key,
                    b"" if maps is None else codecs.encode(maps[row], ids),
                    b"" if pairs is None else codecs.encode(pairs[row], self.encoding),
                )
            )
            for row, (image, label, key) in enumerate(zip(images, labels, keys, strict=True))
        )


class ShardWriter:
    """Writes one TFRecord shard under a private name and renames it into place when closed.

    A worker that dies, or is run twice by the runner, leaves either nothing under the final name or
    the complete file: the bytes depend on the records alone.

    Args:
      path: final path of the shard.
      shape: (height, width, channels) of its images.
      encoding: `raw`, `png` or `jpeg:QUALITY`.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], encoding: str = "raw"):
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial-{os.getpid()}-{os.urandom(4).hex()}")
        self.encoder = ExampleEncoder(shape, encoding)
        self._file = open(self._partial, "wb")  # noqa: SIM115 (closed by close or discard)
        self._sha256 = hashlib.sha256()
        self._count = 0
        self._bytes = 0

    def write(
        self,
        images: np.ndarray,
        labels: Sequence[int],
        keys: Sequence[str],
        maps: np.ndarray | None = None,
        pairs: np.ndarray | None = None,
    ) -> None:
        """Appends a batch; see `ExampleEncoder.frames`."""
        self.append(self.encoder.frames(images, labels, keys, maps, pairs), len(images))

    def append(self, block: bytes, count: int) -> None:
        """Appends `count` records that `encoder.frames` has put together."""
        self._file.write(block)
        self._sha256.update(block)
        self._count += count
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
        with contextlib.suppress(OSError):  # what could not be flushed is not wanted any more
            self._file.close()
        self._partial.unlink(missing_ok=True)
