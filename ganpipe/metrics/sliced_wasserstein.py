"""Sliced Wasserstein distance between image patches, level by level of a Laplacian pyramid.

Karras et al. 2018 (ProGAN), section 5: patches of 7 x 7 pixels of every level describe structure at
that scale (16 pixels: the large shapes, full resolution: the finest detail). A level's score is the
Wasserstein-1 distance between the two sets of patches, averaged over random directions, times 1000.

Conventions, all from the authors' program, so that one random stream gives their numbers:

* levels from full resolution down to 16 pixels. Down: 5 x 5 binomial filter (1 4 6 4 1) / 16 in
  each direction, mirrored edges, every second pixel. Up: zeros between the pixels, the same
  filter times 4. Level i is the image minus the next one brought up; the last is the image itself;
* 128 patches an image and level, centres uniform where the patch fits. Drawn per minibatch and
  level: all x, then all y. A minibatch has clip(8192 // resolution, 4, 256) images;
* patches are normalised by the mean and std (ddof 0) of each channel over the whole set;
* 4 repeats of 128 normal directions of unit length, drawn level by level when a set ends: first for
  the reals against themselves (distance 0), then for the fakes;
* float32 arithmetic; means of differences are taken in float64.

The published setting is 16,384 images of each set, which must be of equal number. Memory is that of
the images and of the projections that are sorted at a time (256 MB of each set): descriptors, 75 KB
a colour image and level, are cut out again for each group of directions (see `patches`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics.laplacian import double, halve, laplacian_pyramid, level_sizes
from ganpipe.metrics.patches import (
    PATCH,
    PATCHES_PER_IMAGE,
    PatchLevel,
    PatchSet,
    draw_patches,
    minibatch_size,
    normalise_patches,
)

__all__ = [
    "PATCH",
    "PATCHES_PER_IMAGE",
    "PatchSet",
    "SlicedWasserstein",
    "SlicedWassersteinMeter",
    "double",
    "draw_patches",
    "halve",
    "laplacian_pyramid",
    "level_sizes",
    "minibatch_size",
    "normalise_patches",
    "sliced_wasserstein",
]

REPEATS = 4
DIRECTIONS = 128
SCALE = 1e3

# Projections of a set that are sorted at a time: 256 MB of float32. Many directions at once pay:
# each group of them cuts all patches anew. Two million patches take 32, those of 5,000 images 104.
_PROJECTIONS = 1 << 26

# Rows of an array that are projected in one product.
_ROWS = 1 << 16


@dataclass(frozen=True)
class SlicedWasserstein:
    """Distances x 1000.

    Attributes:
      levels: resolutions in pixels, finest first.
      distances: (L,) float64, one a level.
      mean: over the levels.
      images: number of each set.
    """

    levels: tuple[int, ...]
    distances: np.ndarray
    mean: float
    images: int


def draw_directions(
    d: int, rng: np.random.RandomState, repeats: int = REPEATS, directions: int = DIRECTIONS
) -> np.ndarray:
    """(repeats * directions, d) float32 of unit length, from normal matrices (d, directions)."""
    parts = []
    for _ in range(repeats):
        matrix = rng.randn(d, directions)
        matrix /= np.sqrt(np.sum(matrix**2, axis=0, keepdims=True))
        parts.append(matrix.astype(np.float32).T)
    return np.ascontiguousarray(np.concatenate(parts))


def sliced_wasserstein(
    x: np.ndarray | PatchLevel,
    y: np.ndarray | PatchLevel,
    rng: np.random.RandomState,
    *,
    repeats: int = REPEATS,
    directions: int = DIRECTIONS,
) -> float:
    """Mean Wasserstein-1 distance of two sets of rows projected onto random directions.

    Args:
      x: (N, d) float32, or a level of patches, which is read block by block.
      y: (N, d), as many rows.
      rng: gives `repeats` times a (d, directions) normal matrix.
      repeats: see above.
      directions: of each repeat.

    Raises:
      ValueError: unlike shapes.
    """
    if x.shape != y.shape or len(x.shape) != 2:
        raise ValueError(f"sets of shapes {x.shape} and {y.shape}: equal shapes are needed")
    drawn = draw_directions(x.shape[1], rng, repeats, directions)
    if x is y:  # The draw belongs to the stream, the answer is known.
        return 0.0
    total, some = 0.0, max(1, _PROJECTIONS // max(1, len(x)))
    for start in range(0, len(drawn), some):
        a, b = (_projected(drawn[start : start + some], rows) for rows in (x, y))
        for one, other in zip(a, b, strict=True):  # row by row: no third array of this size
            total += float(np.abs(one - other).sum(dtype=np.float64))
    return total / (len(drawn) * len(x))


def _projected(directions: np.ndarray, rows: np.ndarray | PatchLevel) -> np.ndarray:
    """(k, N) sorted projections; each direction is one contiguous run for the sort."""
    out, start = np.empty((len(directions), len(rows)), np.float32), 0
    for block in _blocks(rows):
        np.matmul(directions, block.T, out=out[:, start : start + len(block)])
        start += len(block)
    out.sort(axis=1)
    return out


def _blocks(rows: np.ndarray | PatchLevel) -> Iterator[np.ndarray]:
    if isinstance(rows, PatchLevel):
        return rows.blocks()
    return (rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS))


class SlicedWassersteinMeter:
    """The whole metric over streams of batches: all reals first, then all fakes.

        meter = SlicedWassersteinMeter(64, 3, seed=0)
        for batch in real: meter.update_real(batch)
        for batch in fake: meter.update_fake(batch)
        meter.result().mean

    Args:
      resolution: see `PatchSet`.
      channels: see `PatchSet`.
      seed: of the one random stream.
      minibatch: see `PatchSet`.

    Raises:
      UserError: a resolution without a pyramid.
    """

    def __init__(
        self, resolution: int, channels: int = 3, *, seed: int = 0, minibatch: int | None = None
    ):
        self._rng = np.random.RandomState(seed)
        self._sets = {
            name: PatchSet(resolution, channels, self._rng, minibatch=minibatch)
            for name in ("real", "fake")
        }
        self._reals: list[PatchLevel] | None = None
        self._result: SlicedWasserstein | None = None

    def update_real(self, images: np.ndarray) -> "SlicedWassersteinMeter":
        """Adds (B, R, R, C) uint8 real images. ValueError after the first fakes."""
        if self._reals is not None:
            raise ValueError("all real images come before the first fake one: one random stream")
        self._sets["real"].update(images)
        return self

    def update_fake(self, images: np.ndarray) -> "SlicedWassersteinMeter":
        """Adds (B, R, R, C) uint8 images. UserError without reals, or with more than those."""
        if self._result is not None:
            raise ValueError("the result was taken: make a new meter")
        if self._reals is None:
            self._reals = self._sets["real"].finish()
            for reals in self._reals:  # Keeps the stream of the published program.
                sliced_wasserstein(reals, reals, self._rng)
        real_count, fake_count = self._sets["real"].count, self._sets["fake"].count + len(images)
        if fake_count > real_count:
            raise self._unequal(real_count, fake_count)
        self._sets["fake"].update(images)
        return self

    @staticmethod
    def _unequal(real: int, fake: int) -> UserError:
        return UserError(
            "the sliced Wasserstein distance compares equally many images of both sets (16384 in "
            f"the paper), found {real} real and {fake} generated: use the same number"
        )

    def result(self) -> SlicedWasserstein:
        """The distances.

        Raises:
          UserError: unequal numbers of images, none at all, or a constant channel.
        """
        if self._result is None:
            reals, fakes = self._sets["real"], self._sets["fake"]
            if reals.count != fakes.count or not reals.count:
                raise self._unequal(reals.count, fakes.count)
            distances = SCALE * np.array(
                [
                    sliced_wasserstein(a, b, self._rng)
                    for a, b in zip(self._reals, fakes.finish(), strict=True)
                ]
            )
            self._reals = []
            self._result = SlicedWasserstein(
                reals.levels, distances, float(distances.mean()), reals.count
            )
        return self._result
