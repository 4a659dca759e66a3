"""Diversity by multi-scale structural similarity between pairs of one set of images.

    MS-SSIM(x, y) = ssim_5^w5 * prod_{i<5} cs_i^wi              (Wang et al. 2003, five scales)

Means over pairs: 1 says that all images are alike. It says nothing of quality, and a low value may
be noise as well, so compare it with the value of the real images (Odena et al. 2017, AC-GAN).

Scale i + 1 is scale i averaged over 2 x 2 pixels. The window is 11 x 11 with sigma 1.5; at a scale
with fewer pixels it shrinks to fit and sigma with it, which lets images under 176 pixels through
(ProGAN's code does so). The weights are the published ones and sum to 1.0001. Negative ssim and cs
count as 0.

Pairs: ProGAN compares images 2i and 2i + 1 of one stream (20,000 images, 10,000 pairs); AC-GAN
takes random pairs inside each class (about 100 a class).
"""

from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics.image_quality import SIGMA, WINDOW, check_pair, ssim_terms

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# 16 pixels leave one at the fifth scale.
SMALLEST = 16
PAIRS_PER_CLASS = 100

# Bytes of images that are gathered at a time, so that pairs of a large set cost no large copy.
_BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class Diversity:
    """MS-SSIM over pairs.

    Attributes:
      mean: over the pairs, in [0, 1]; low means diverse.
      std: over the pairs (ddof 0).
      pairs: number of pairs.
      per_class: {class: mean over its pairs}, empty for pairs that ignore classes.
    """

    mean: float
    std: float
    pairs: int
    per_class: dict[int, float]


def halve(images: np.ndarray) -> np.ndarray:
    """Means over 2 x 2 pixels of (N, H, W, C) float64; an odd last row or column counts double."""
    pad = [(0, 0), *((0, n % 2) for n in images.shape[1:3]), (0, 0)]
    x = np.pad(images, pad, mode="edge") if pad[1][1] or pad[2][1] else images
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def ms_ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """MS-SSIM of each pair of images.

    Args:
      images: (N, H, W, C) uint8 with H and W >= 16; channels are averaged.
      others: the same shape.

    Returns:
      (N,) float64 in [0, 1]; 1 for equal images.

    Raises:
      UserError: another dtype, unlike shapes, images that are too small.
    """
    images, others = check_pair(images, others)
    _check_size(images)
    result = np.empty(len(images))
    block = max(1, _BLOCK_BYTES // (8 * images[0].size))
    for start in range(0, len(images), block):
        x = images[start : start + block].astype(np.float64)
        y = others[start : start + block].astype(np.float64)
        score = np.ones(len(x))
        for scale, weight in enumerate(WEIGHTS):
            if scale:
                x, y = halve(x), halve(y)
            window = min(WINDOW, *x.shape[1:3])
            ssim, cs = ssim_terms(x, y, window=window, sigma=SIGMA * window / WINDOW)
            last = scale == len(WEIGHTS) - 1
            score *= np.maximum(ssim if last else cs, 0.0) ** weight
        result[start : start + block] = score
    return result


def _check_size(images: np.ndarray) -> None:
    if images.ndim != 4 or min(images.shape[1:3]) < SMALLEST:
        raise UserError(
            f"MS-SSIM has five scales and needs (N, H, W, C) images of at least {SMALLEST} pixels, "
            f"found shape {images.shape}"
        )


def consecutive_pairs(count: int) -> np.ndarray:
    """(count // 2, 2) rows (0, 1), (2, 3), ...; an odd last image is left out.

    Raises:
      UserError: fewer than two images.
    """
    if count < 2:
        raise UserError(f"MS-SSIM compares pairs: at least 2 images are needed, found {count}")
    return np.arange(count // 2 * 2).reshape(-1, 2)


def class_pairs(
    labels: np.ndarray, *, per_class: int = PAIRS_PER_CLASS, seed: int = 0
) -> np.ndarray:
    """Random pairs of unlike images inside each class, none twice.

    Args:
      labels: (N,) integers.
      per_class: pairs of each class; all n (n - 1) / 2 of a class that has fewer.
      seed: of the draw.

    Returns:
      (P, 2) int64 indices i < j, in the order of the classes.

    Raises:
      UserError: no labels, a class with a single image, or per_class < 1.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or per_class < 1:
        raise UserError(
            f"pairs within classes need (N,) labels and at least 1 pair a class, found labels of "
            f"shape {labels.shape} and {per_class} pairs"
        )
    rng = np.random.RandomState(seed)
    found = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        n = len(members)
        if n < 2:
            raise UserError(f"class {label} has a single image: pairs need 2 of each class")
        total = n * (n - 1) // 2
        # Pair number k of the triangle is (i, j): n is thousands, so k fits and is drawn cheaply.
        wanted = min(per_class, total)
        if total < 4 * wanted:
            chosen = np.sort(rng.permutation(total)[:wanted])
        else:
            distinct: dict[int, None] = {}
            while len(distinct) < wanted:
                distinct.setdefault(int(rng.randint(total, dtype=np.int64)))
            chosen = np.sort(np.fromiter(distinct, np.int64))
        # Row j of the triangle holds i = 0 .. j - 1 and starts at j (j - 1) / 2.
        j = ((1 + np.sqrt(1 + 8 * chosen.astype(np.float64))) / 2).astype(np.int64)
        j -= j * (j - 1) // 2 > chosen
        j += (j + 1) * j // 2 <= chosen
        found.append(members[np.stack([chosen - j * (j - 1) // 2, j], axis=1)])
    return np.concatenate(found)


def diversity(
    images: np.ndarray, pairs: np.ndarray | None = None, labels: np.ndarray | None = None
) -> Diversity:
    """Mean MS-SSIM over pairs out of one set.

    Args:
      images: (N, H, W, C) uint8.
      pairs: (P, 2) indices; None takes `consecutive_pairs`.
      labels: (N,) integers: the result then has a mean per class (of each pair's first image).

    Raises:
      UserError: as `ms_ssim`.
      ValueError: pairs of another shape or outside the set, or labels of another length.
    """
    images = np.asarray(images)
    _check_size(images)
    pairs = consecutive_pairs(len(images)) if pairs is None else np.asarray(pairs)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs):
        raise ValueError(f"pairs have shape {pairs.shape}, expected (P, 2) with P >= 1")
    if pairs.min() < 0 or pairs.max() >= len(images):
        raise ValueError(f"pairs span {pairs.min()}..{pairs.max()}, there are {len(images)} images")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{len(labels)} labels for {len(images)} images")
    block = max(1, _BLOCK_BYTES // images[0].nbytes)
    values = np.concatenate(
        [
            ms_ssim(images[part[:, 0]], images[part[:, 1]])
            for part in (pairs[i : i + block] for i in range(0, len(pairs), block))
        ]
    )
    per_class = {}
    if labels is not None:
        of_pair = np.asarray(labels)[pairs[:, 0]]
        per_class = {int(c): float(values[of_pair == c].mean()) for c in np.unique(of_pair)}
    return Diversity(float(values.mean()), float(values.std()), len(values), per_class)


class ConsecutiveDiversity:
    """ProGAN's pairs (0, 1), (2, 3), ... of a stream of batches of any size; keeps no image.

    An odd image waits for the next batch; one left at the end is not used.
    """

    def __init__(self):
        self._values: list[np.ndarray] = []
        self._waiting: np.ndarray | None = None

    def update(self, images: np.ndarray) -> "ConsecutiveDiversity":
        """Adds (B, H, W, C) uint8 images; returns self. Errors as `ms_ssim`."""
        images = np.asarray(images)
        _check_size(images)
        check_pair(images[:1], images[:1] if self._waiting is None else self._waiting)
        if self._waiting is not None:
            images = np.concatenate([self._waiting, images])
        even = len(images) // 2 * 2
        self._waiting = images[even:].copy() if even < len(images) else None
        if even:
            self._values.append(ms_ssim(images[:even:2], images[1:even:2]))
        return self

    def result(self) -> Diversity:
        """Over all pairs so far; UserError before the first."""
        if not self._values:
            raise UserError("MS-SSIM compares pairs: at least 2 images are needed")
        values = np.concatenate(self._values)
        return Diversity(float(values.mean()), float(values.std()), len(values), {})
