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

The published setting is 16,384 images of each set, which must be of equal number. Memory is 588
bytes x 128 patches per colour image and level (75 KB), for both sets.
"""

from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError

PATCH = 7
PATCHES_PER_IMAGE = 128
REPEATS = 4
DIRECTIONS = 128
COARSEST = 16
SCALE = 1e3

# Projections of a set that are sorted at a time: 64 MB of float32. Many directions in one product
# pay; a set of two million patches takes eight.
_PROJECTIONS = 1 << 24


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


def level_sizes(resolution: int) -> tuple[int, ...]:
    """Resolutions of the pyramid: 64 -> (64, 32, 16).

    Raises:
      UserError: not a power of two of at least 16.
    """
    if resolution < COARSEST or resolution & (resolution - 1):
        raise UserError(
            f"the sliced Wasserstein distance needs square images of {COARSEST}, "
            f"{2 * COARSEST}, ... pixels (powers of two), found {resolution}"
        )
    sizes = []
    while resolution >= COARSEST:
        sizes.append(resolution)
        resolution //= 2
    return tuple(sizes)


def minibatch_size(resolution: int) -> int:
    """Images that share one draw of patch positions."""
    return int(np.clip(8192 // resolution, 4, 256))


def _down_axis(x: np.ndarray, axis: int) -> np.ndarray:
    """Binomial filter at the even positions of one axis, edges mirrored without repeating."""
    x = np.moveaxis(x, axis, 0)
    x = np.concatenate([x[2:0:-1], x, x[-2:-3:-1]])  # Two before, one behind: the last even tap.
    n = (len(x) - 3) // 2 * 2
    near = x[1 : 1 + n : 2] + x[3 : 3 + n : 2]
    far = x[0:n:2] + x[4 : 4 + n : 2]
    return np.moveaxis((far + 4 * near + 6 * x[2 : 2 + n : 2]) / np.float32(16), 0, axis)


def _up_axis(x: np.ndarray, axis: int) -> np.ndarray:
    """Zeros between the pixels of one axis, then the filter times 2, without making the zeros."""
    x = np.moveaxis(x, axis, 0)
    # Mirroring the widened signal mirrors at pixel 0 on the left, but at a zero on the right.
    x = np.concatenate([x[1:2], x, x[-1:]])
    out = np.empty((2 * (len(x) - 2), *x.shape[1:]), x.dtype)
    out[0::2] = (x[:-2] + 6 * x[1:-1] + x[2:]) / np.float32(8)
    out[1::2] = (x[1:-1] + x[2:]) / np.float32(2)
    return np.moveaxis(out, 0, axis)


def halve(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) float -> (N, H/2, W/2, C); H and W even and at least 4."""
    return _down_axis(_down_axis(images, 1), 2)


def double(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) float -> (N, 2H, 2W, C); H and W at least 2."""
    return _up_axis(_up_axis(images, 1), 2)


def laplacian_pyramid(images: np.ndarray, levels: int) -> list[np.ndarray]:
    """Band-pass levels, finest first; `double`-ing and adding from the last up gives the images.

    Args:
      images: (N, H, W, C) uint8 or float, on the 0..255 scale.
      levels: number of levels, the last of which is a shrunken copy of the images.

    Returns:
      `levels` float32 arrays (N, H / 2^i, W / 2^i, C).
    """
    pyramid = [np.asarray(images, np.float32)]
    for _ in range(levels - 1):
        pyramid.append(halve(pyramid[-1]))
        pyramid[-2] = pyramid[-2] - double(pyramid[-1])
    return pyramid


def draw_patches(
    level: np.ndarray, rng: np.random.RandomState, *, per_image: int = PATCHES_PER_IMAGE
) -> np.ndarray:
    """Patches at random places.

    Args:
      level: (B, H, W, C) one level of one minibatch.
      rng: gives all x centres, then all y centres.
      per_image: patches of each image.

    Returns:
      (B * per_image, C, 7, 7) in the dtype of `level`; axis 2 runs over x, axis 3 over y.
    """
    batch, height, width, channels = level.shape
    count, half = batch * per_image, PATCH // 2
    x = rng.randint(half, width - half, size=(count, 1, 1, 1))
    y = rng.randint(half, height - half, size=(count, 1, 1, 1))
    step = np.arange(-half, half + 1)
    image = (np.arange(count) // per_image)[:, None, None, None]
    channel = np.arange(channels)[:, None, None]
    return level[image, y + step, x + step[:, None], channel]


def normalise_patches(patches: np.ndarray) -> np.ndarray:
    """Each channel to mean 0 and variance 1 over the set, then one row a patch.

    Args:
      patches: (N, C, 7, 7) float32; overwritten.

    Returns:
      (N, C * 49) float32.

    Raises:
      UserError: a channel that is constant over the whole set.
    """
    for c in range(patches.shape[1]):
        part = patches[:, c]
        mean = part.mean(dtype=np.float64)
        std = np.sqrt(np.square(part - np.float32(mean)).mean(dtype=np.float64))
        # The rounding of a constant is no texture.
        if not std > 1e-6 * max(1.0, abs(mean)):
            raise UserError(
                f"channel {c} is constant in every patch (value {mean:.4g}): the sliced "
                "Wasserstein distance scales by the spread, which is 0; all images are blank or "
                "flat at this level"
            )
        part -= np.float32(mean)
        part /= np.float32(std)
    return patches.reshape(len(patches), -1)


def sliced_wasserstein(
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.RandomState,
    *,
    repeats: int = REPEATS,
    directions: int = DIRECTIONS,
) -> float:
    """Mean Wasserstein-1 distance of two sets of rows projected onto random directions.

    Args:
      x: (N, d) float32.
      y: (N, d), as many rows.
      rng: gives `repeats` times a (d, directions) normal matrix.
      repeats: see above.
      directions: of each repeat.

    Raises:
      ValueError: unlike shapes.
    """
    if x.shape != y.shape or x.ndim != 2:
        raise ValueError(f"sets of shapes {x.shape} and {y.shape}: equal shapes are needed")
    total, some = 0.0, max(1, _PROJECTIONS // max(1, len(x)))
    for _ in range(repeats):
        matrix = rng.randn(x.shape[1], directions)
        matrix /= np.sqrt(np.sum(matrix**2, axis=0, keepdims=True))
        matrix = matrix.astype(np.float32)
        if x is y:  # The draw belongs to the stream, the answer is known.
            continue
        for start in range(0, directions, some):
            # Transposed: each projection is one contiguous run for the sort.
            rows = np.ascontiguousarray(matrix[:, start : start + some].T)
            a, b = rows @ x.T, rows @ y.T
            a.sort(axis=1)
            b.sort(axis=1)
            total += float(np.abs(a - b).sum(dtype=np.float64))
    return total / (repeats * directions * len(x))


class PatchSet:
    """Patches of one set of images, batch by batch.

    Images wait until a minibatch is full, so the sizes of the caller's batches change nothing.

    Args:
      resolution: height and width, a power of two of at least 16.
      channels: of the images.
      rng: the common random stream.
      minibatch: images that share one draw; None takes the authors' rule.
      per_image: patches of each image and level.

    Raises:
      UserError: a resolution without a pyramid.
    """

    def __init__(
        self,
        resolution: int,
        channels: int,
        rng: np.random.RandomState,
        *,
        minibatch: int | None = None,
        per_image: int = PATCHES_PER_IMAGE,
    ):
        self.levels = level_sizes(resolution)
        self.shape = (resolution, resolution, channels)
        self.count = 0
        self._rng = rng
        self._minibatch = minibatch_size(resolution) if minibatch is None else minibatch
        self._per_image = per_image
        self._waiting: list[np.ndarray] = []
        self._patches: list[list[np.ndarray]] = [[] for _ in self.levels]

    def update(self, images: np.ndarray) -> "PatchSet":
        """Adds (B, R, R, C) uint8 images; returns self.

        Raises:
          UserError: another shape or dtype.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != self.shape:
            raise UserError(
                f"images are {images.dtype} of shape {images.shape}, expected uint8 "
                f"(N, {', '.join(map(str, self.shape))}) in 0..255"
            )
        self.count += len(images)
        self._waiting.extend(images.copy())
        while len(self._waiting) >= self._minibatch:
            self._draw(self._waiting[: self._minibatch])
            del self._waiting[: self._minibatch]
        return self

    def _draw(self, images: list[np.ndarray]) -> None:
        pyramid = laplacian_pyramid(np.stack(images), len(self.levels))
        for patches, level in zip(self._patches, pyramid, strict=True):
            patches.append(draw_patches(level, self._rng, per_image=self._per_image))

    def finish(self) -> list[np.ndarray]:
        """One (N * per_image, d) float32 array of normalised descriptors a level; ends the set.

        Raises:
          UserError: no images, or a constant channel.
        """
        if self._waiting:
            self._draw(self._waiting)
            self._waiting = []
        if not self.count:
            raise UserError("the sliced Wasserstein distance got no images")
        finished = []
        while self._patches:  # One level at a time, freeing its pieces.
            finished.append(normalise_patches(np.concatenate(self._patches.pop(0))))
        return finished


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
        self._reals: list[np.ndarray] | None = None
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
