"""What scores are computed from: features, outputs and images of both sides, taken once.

Generated images are sampled and seen by the extractor once, however many metrics are asked for; of
the images themselves only as many are kept as the metrics look at. The real side is computed when
a metric first asks, and cached.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from ganpipe.errors import UserError
from ganpipe.metrics.source import ImageSource
from ganpipe.ops import images as image_ops

# Row i of an evaluation uses this times the seed, plus i: seeds 0 and 1 share no image.
SEED_STRIDE = 10**9
CHUNK = 500

Sampler = Callable[..., np.ndarray]


class Extractor(Protocol):
    """What an extractor has; see `ganpipe.metrics.extractors`.

    Attributes:
      name: stands beside every score.
      hash: SHA-256 (hex) of its weights.
      card: what else is known of it, ready for JSON.
      batch_size: rows it computes at once.
      folder: where features of its own data set's images may be kept; None keeps none.
    """

    name: str
    hash: str
    card: dict[str, Any]
    batch_size: int
    folder: Path | None

    def forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, H, W, C) uint8 -> ((N, d) float32 features, (N, K) float32 logits, K >= 1)."""
        ...

    def float_features(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) floats in [-1, 1] -> (N, d) float32, without rounding to 8 bits."""
        ...

    def score_name(self, prefix: str) -> str:
        """`FD` -> `FD-smallcnn`."""
        ...


@dataclass(frozen=True)
class Seen:
    """One set of images as the metrics see it.

    Attributes:
      features: (N, d) float32.
      logits: (N, K) float32 of the extractor; zeros where it has no classes.
      images: (M, H, W, C) uint8, the first M <= N of them.
    """

    features: np.ndarray
    logits: np.ndarray
    images: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """(N,) int64 classes of the largest logit."""
        return self.logits.argmax(axis=1)


def nothing(num: int, source: ImageSource) -> Seen:
    """As many images as asked for, of which nothing was looked at."""
    none = np.empty((0, *source.image_shape), np.uint8)
    return Seen(np.empty((num, 0)), np.zeros((num, 1)), none)


def see(extractor: Extractor, images: np.ndarray, keep: int = 0) -> Seen:
    """Features and outputs of given images, with a progress bar.

    Args:
      extractor: of the features.
      images: (N, H, W, C) uint8.
      keep: of the images stay in the result.
    """
    parts = [
        extractor.forward(images[i : i + CHUNK])
        for i in tqdm(range(0, len(images), CHUNK), desc="features", disable=None)
    ]
    return Seen(*(np.concatenate(part) for part in zip(*parts, strict=True)), images[:keep])


def sample(
    sampler: Sampler,
    extractor: Extractor,
    labels: np.ndarray | None,
    num: int,
    seed: int,
    keep: int = 0,
) -> Seen:
    """As `see`, of sampled images; holds one chunk of images and the kept ones.

    Args:
      sampler: `sampler(n, seed=s, labels=...)` -> (n, H, W, C) uint8, row i a function of s + i.
      extractor: of the features.
      labels: (num,) classes to ask for, or None.
      num: images.
      seed: row i has the seed `seed * 10^9 + i`.
      keep: of the images stay in the result.

    Raises:
      UserError: the sampler's images do not fit.
    """
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    kept: list[np.ndarray] = []
    with tqdm(total=num, desc="samples", unit="image", disable=None) as progress:
        for i in range(0, num, CHUNK):
            count = min(CHUNK, num - i)
            asked = None if labels is None else labels[i : i + count]
            images = np.asarray(sampler(count, seed=seed * SEED_STRIDE + i, labels=asked))
            if images.dtype != np.uint8 or len(images) != count:
                raise UserError(
                    f"the sampler returned {images.shape} {images.dtype}, expected {count} uint8 "
                    "images"
                )
            parts.append(extractor.forward(images))
            if i < keep or not kept:
                kept.append(images[: max(keep - i, 0)])
            progress.update(count)
    features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Seen(features, logits, np.concatenate(kept))


def mixed_rows(total: int, count: int) -> np.ndarray:
    """(count,) int64 rows out of `total` in a fixed random order.

    Folders and label plans are sorted by class: neither their front nor their neighbours are a
    sample of the whole.
    """
    return np.random.RandomState(0).permutation(total)[:count]


def real_arrays(source: ImageSource, split: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` images of a split, `mixed_rows` of it, and their labels; holds these alone.

    Args:
      source: the real images.
      split: of the source.
      count: at most the split's number of images.

    Returns:
      (count, H, W, C) uint8 and (count,) int64.
    """
    total = source.count(split)
    place = np.full(total, -1)
    place[mixed_rows(total, count)] = np.arange(count)
    images = np.empty((count, *source.image_shape), np.uint8)
    labels = np.empty(count, np.int64)
    start = 0
    for batch, batch_labels in source.batches(split, 250, None):
        places = place[start : start + len(batch)]
        wanted = places >= 0
        images[places[wanted]] = image_ops.to_uint8(batch).numpy()[wanted]
        labels[places[wanted]] = np.asarray(batch_labels)[wanted]
        start += len(batch)
    return images, labels


def pick(source: ImageSource, split: str, rows: np.ndarray) -> np.ndarray:
    """(n, H, W, C) uint8: the images at `rows` of a split in its fixed order; rows may repeat."""
    wanted, inverse = np.unique(rows, return_inverse=True)
    images = np.empty((len(wanted), *source.image_shape), np.uint8)
    start = filled = 0
    for batch, _ in source.batches(split, 250, None):
        here = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
        images[filled : filled + len(here)] = image_ops.to_uint8(batch).numpy()[here]
        start, filled = start + len(batch), filled + len(here)
        if filled == len(wanted):
            break
    return images[inverse]


def reference(
    extractor: Extractor, source: ImageSource, split: str, cache_dir: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """((N, d) features, (N, K) logits) of a whole split in its fixed order, cached.

    The file is trusted only with the extractor's fingerprint and hash, the data's fingerprint, the
    resolution and the split's count in it; anything else is computed anew. A classifier's own
    folder is taken where it has one, since it belongs to the data set already.

    Args:
      extractor: of the features.
      source: the real images.
      split: of the source.
      cache_dir: for extractors without a folder; None keeps nothing then.
    """
    count = source.count(split)
    # Not the hash of the weights alone: another resize gives other features.
    ruler = str(extractor.card["fingerprint"])
    key = f"{ruler} {extractor.hash} {source.fingerprint} {source.resolution}"
    cached = _cache_file(extractor, source, split, cache_dir)
    if cached is not None and cached.exists():
        try:
            with np.load(cached) as archive:
                if str(archive["key"]) == key and len(archive["features"]) == count:
                    return archive["features"], archive["logits"]
        except Exception as error:  # zipfile, zlib and numpy each raise their own
            print(f"{cached} cannot be read ({error}): computing it again", file=sys.stderr)
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with tqdm(total=count, desc="reference", unit="image", disable=None) as progress:
        for images, _ in source.batches(split, extractor.batch_size, None):
            parts.append(extractor.forward(image_ops.to_uint8(images).numpy()))
            progress.update(len(parts[-1][0]))
    features, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    if len(features) != count:
        raise RuntimeError(f"{source.name}: split {split!r} gave {len(features)} of {count} images")
    if cached is not None:
        _write_npz(cached, features=features, logits=logits, key=np.array(key))
    return features, logits


def _cache_file(
    extractor: Extractor, source: ImageSource, split: str, cache_dir: Path | None
) -> Path | None:
    if extractor.folder is not None:
        return extractor.folder / f"reference-{split}.npz"
    if cache_dir is None:
        return None
    name = f"{extractor.name}-{extractor.card['fingerprint'][:12]}-{source.fingerprint[:12]}"
    return Path(cache_dir) / "reference" / f"{name}-{source.resolution}-{split}.npz"


def _write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes beside the place and renames; a cache that cannot be written is only slower."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        print(f"{path} is not kept: {error}", file=sys.stderr)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
