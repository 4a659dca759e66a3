"""Counts a data folder, shard by shard: what statistics_gen adds up.

All is exact: every pixel of the largest level is counted into 256 bins per channel, and moments and
medians follow from the bins. Of a single image only some 60 bytes are kept (hashes, a digest,
brightness, contrast, a few bits), so memory stays flat as a set grows.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe.cli import app
from ganpipe.data.manifest import DatasetInfo
from ganpipe.data.transforms import UNKNOWN
from pipeline.components import perceptual_hash

# Bits of `Measurements.flags`.
CONSTANT, BLACK, GREY, UNKNOWN_ID = 1, 2, 4, 8
_READ_IMAGES, _READ_BYTES = 1024, 16 << 20  # at once, whichever is reached first
_PER_IMAGE = ("brightness", "contrast", "digests", "hashes", "fine", "flags")


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What is counted over a set of N images.

    Attributes:
      pixels: (C, 256) int64, how often each value occurs per channel.
      labels: (K,) int64, images per class.
      map_ids: (256,) int64, how often each id occurs in label maps; zeros without maps.
      pair_pixels: (P, 256) int64, as `pixels` for the second pictures; P = 0 without pairs.
      brightness: (N,) float32, mean over pixels and channels of each image, 0..255.
      contrast: (N,) float32, standard deviation over pixels and channels of each image.
      digests: (N,) uint64, a hash of each image's pixels.
      hashes, fine: (N,) and (N, 4) uint64, perceptual hashes (see `perceptual_hash`).
      flags: (N,) uint8, sum of CONSTANT (every channel has one single value), BLACK (all zero),
        GREY (all channels equal) and UNKNOWN_ID (the map has an id outside the class table; 255,
        which stands for unknown, is none).
    """

    pixels: np.ndarray
    labels: np.ndarray
    map_ids: np.ndarray
    pair_pixels: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    digests: np.ndarray
    hashes: np.ndarray
    fine: np.ndarray
    flags: np.ndarray

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.digests)

    def flagged(self, flag: int) -> np.ndarray:
        """(N,) bool: which images have a flag."""
        return (self.flags & flag) != 0

    @property
    def constant(self) -> int:
        """Images of one single colour, black ones included."""
        return int(self.flagged(CONSTANT).sum())

    @property
    def black(self) -> int:
        """Images that are zero everywhere."""
        return int(self.flagged(BLACK).sum())

    @property
    def grey(self) -> int:
        """Images without colour."""
        return int(self.flagged(GREY).sum())

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        *,
        small: np.ndarray | None = None,
        maps: np.ndarray | None = None,
        map_classes: int = 0,
        pairs: np.ndarray | None = None,
    ) -> "Measurements":
        """Measures a batch.

        Args:
          images: (N, H, W, C) uint8.
          labels: (N,) class indices below `num_classes`; ignored where that is 0.
          num_classes: number of classes.
          small: (N, h, w, C) uint8, the level that perceptual hashes are taken of, or None
            for `images`.
          maps: (N, H, W) uint8 class ids, or None.
          map_classes: number of ids that have a name.
          pairs: (N, H, W, P) uint8, or None.
        """
        count = len(images)
        flat = images.reshape(count, int(np.prod(images.shape[1:])))
        # Integer sums are exact; float64 keeps the difference of squares exact enough.
        total = flat.sum(axis=1, dtype=np.int64)
        squares = np.einsum("ij,ij->i", flat, flat, dtype=np.int64)
        mean = total / flat.shape[1]
        variance = np.maximum(squares / flat.shape[1] - mean**2, 0)
        low, high = images.min(axis=(1, 2), initial=255), images.max(axis=(1, 2), initial=0)
        one_value = (low == high).all(axis=-1)
        flags = one_value * CONSTANT + (total == 0) * BLACK
        flags += (images == images[..., :1]).all(axis=(1, 2, 3)) * GREY
        if maps is not None:
            outside = (maps >= map_classes) & (maps != UNKNOWN)
            flags += outside.any(axis=(1, 2)) * UNKNOWN_ID
        digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in flat]
        hashes, fine = perceptual_hash.phash(images if small is None else small)
        return cls(
            pixels=_counts(images),
            labels=np.bincount(labels, minlength=num_classes)[:num_classes].astype(np.int64),
            map_ids=_counts(maps[..., None])[0] if maps is not None else np.zeros(256, np.int64),
            pair_pixels=_counts(pairs) if pairs is not None else np.zeros((0, 256), np.int64),
            brightness=mean.astype(np.float32),
            contrast=np.sqrt(variance).astype(np.float32),
            digests=np.frombuffer(b"".join(digests), np.uint64),
            hashes=hashes,
            fine=fine,
            flags=flags.astype(np.uint8),
        )

    @classmethod
    def merge(
        cls,
        parts: Iterable["Measurements"],
        channels: int,
        classes: int,
        pair_channels: int = 0,
    ) -> "Measurements":
        """Adds up measurements of disjoint sets of images, in the order given."""
        none = cls.of(
            np.zeros((0, 1, 1, channels), np.uint8),
            np.zeros(0, np.int64),
            classes,
            pairs=np.zeros((0, 1, 1, pair_channels), np.uint8) if pair_channels else None,
        )
        parts = [none, *parts]
        joined = {}
        for field in dataclasses.fields(cls):
            values = [getattr(part, field.name) for part in parts]
            if field.name in _PER_IMAGE:
                joined[field.name] = np.concatenate(values)
            else:
                joined[field.name] = np.sum(values, axis=0)
        return cls(**joined)


def _counts(pictures: np.ndarray) -> np.ndarray:
    """(C, 256) int64 of (N, H, W, C) uint8: how often each value occurs in each channel."""
    channels = range(pictures.shape[-1])
    return np.stack([np.bincount(pictures[..., c].ravel(), minlength=256) for c in channels])


def hash_level(data: DatasetInfo) -> int:
    """The level that perceptual hashes are taken of: the lowest of at least 32x32, or the top."""
    large = [r for r in data.resolutions if min(data.shape(r)[:2]) >= perceptual_hash.SIDE]
    return large[0] if large else data.max_resolution


def shard_batches(
    path: str, data: DatasetInfo, resolution: int, images_at_once: int
) -> Iterator[Mapping[str, np.ndarray]]:
    """Reads a shard in batches of `image`, `label`, `key` and, where there are any, `map`, `pair`.

    Args:
      path: TFRecord file of that level.
      data: the folder it belongs to.
      resolution: its level, by height.
      images_at_once: images per batch.

    Yields:
      image (B, H, W, C) uint8, label (B,) int32, key (B,) bytes objects, map (B, H, W) uint8 and
      pair (B, H, W, P) uint8.
    """
    app.import_tensorflow()
    import tensorflow as tf

    from ganpipe.data import reader_records

    decode = reader_records.Decoder(data, resolution, reader_records.features_of(data))
    dataset = tf.data.TFRecordDataset(path, buffer_size=1 << 20).batch(images_at_once)
    for batch in dataset.map(decode).prefetch(1).as_numpy_iterator():
        if "map" in batch:
            batch["map"] = batch["map"][..., 0]
        yield batch


def measure_shard(
    element: tuple[str, int, str, str | None], data: DatasetInfo, scratch: str
) -> None:
    """Measures one shard, leaving the result as `SPLIT-INDEX.npz` in `scratch`.

    Args:
      element: split, index of the shard, its file at the top level and, where hashes are taken of
        another level, its file there.
      data: the folder.
      scratch: folder that all workers see.
    """
    split, index, path, small_path = element
    shape = data.shape(data.max_resolution)
    planes = data.channels + bool(data.map_classes) + data.pair_channels
    at_once = max(1, min(_READ_IMAGES, _READ_BYTES // (shape[0] * shape[1] * planes)))
    batches = shard_batches(path, data, data.max_resolution, at_once)
    smaller: Iterable[Any] = ()
    if small_path is not None:
        smaller = shard_batches(small_path, data, hash_level(data), at_once)
    parts = []
    smaller = iter(smaller)
    for batch in batches:
        small = next(smaller)["image"] if small_path is not None else None
        parts.append(
            Measurements.of(
                batch["image"],
                batch["label"],
                data.num_classes,
                small=small,
                maps=batch.get("map"),
                map_classes=len(data.map_classes),
                pairs=batch.get("pair"),
            )
        )
    whole = Measurements.merge(parts, data.channels, data.num_classes, data.pair_channels)
    target = part_path(scratch, split, index)
    partial = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with open(partial, "wb") as file:
        np.savez(file, **{f.name: getattr(whole, f.name) for f in dataclasses.fields(whole)})
    os.replace(partial, target)


def part_path(scratch: str, split: str, index: int) -> Path:
    """Where `measure_shard` leaves its result."""
    return Path(scratch) / f"{split}-{index:05d}.npz"


def read_part(path: Path) -> Measurements:
    """What `measure_shard` left."""
    with np.load(path) as arrays:
        return Measurements(**{name: arrays[name] for name in arrays.files})
