"""Patches of Laplacian pyramids: where they are drawn, and their normalised descriptors by blocks.

A patch of 7 x 7 pixels and its colours take 588 bytes, 128 of them an image and level 75 KB: more
than the image. So a set keeps its uint8 images and where patches were drawn (512 bytes a level),
and cuts the patches out again whenever a block of descriptors is asked for.
"""

from collections.abc import Iterator

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics.laplacian import laplacian_level, level_sizes

PATCH = 7
PATCHES_PER_IMAGE = 128


def minibatch_size(resolution: int) -> int:
    """Images that share one draw of patch positions."""
    return int(np.clip(8192 // resolution, 4, 256))


def draw_places(
    rng: np.random.RandomState, count: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """(count,) int16 x centres, then (count,) y centres, where a patch fits."""
    half = PATCH // 2
    x = rng.randint(half, width - half, size=(count, 1, 1, 1))
    y = rng.randint(half, height - half, size=(count, 1, 1, 1))
    return x.ravel().astype(np.int16), y.ravel().astype(np.int16)


def cut_patches(level: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Patches of one minibatch, as many of each image.

    Args:
      level: (B, H, W, C).
      x: (B * n,) centres.
      y: (B * n,) centres.

    Returns:
      (B * n, C, 7, 7) in the dtype of `level`; axis 2 runs over x, axis 3 over y.
    """
    windows = np.lib.stride_tricks.sliding_window_view(
        level.transpose(0, 2, 1, 3), (PATCH, PATCH), axis=(1, 2)
    )
    image, half = np.arange(len(x)) // (len(x) // len(level)), PATCH // 2
    return windows[image, x - half, y - half]


def draw_patches(
    level: np.ndarray, rng: np.random.RandomState, *, per_image: int = PATCHES_PER_IMAGE
) -> np.ndarray:
    """Patches at random places.

    Args:
      level: (B, H, W, C) one level of one minibatch.
      rng: gives all x centres, then all y centres.
      per_image: patches of each image.

    Returns:
      As `cut_patches`.
    """
    batch, height, width, _ = level.shape
    return cut_patches(level, *draw_places(rng, batch * per_image, height, width))


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
        check_spread(c, mean, std)
        part -= np.float32(mean)
        part /= np.float32(std)
    return patches.reshape(len(patches), -1)


def check_spread(channel: int, mean: float, std: float) -> None:
    """UserError for a channel that is constant over a whole set."""
    # The rounding of a constant is no texture.
    if not std > 1e-6 * max(1.0, abs(mean)):
        raise UserError(
            f"channel {channel} is constant in every patch (value {mean:.4g}): the sliced "
            "Wasserstein distance scales by the spread, which is 0; all images are blank or flat "
            "at this level"
        )


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
        self._images: list[np.ndarray] = []
        self._places: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in self.levels]

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
        self._images.append(np.stack(images))
        for places, size in zip(self._places, self.levels, strict=True):
            places.append(draw_places(self._rng, len(images) * self._per_image, size, size))

    def finish(self) -> list["PatchLevel"]:
        """The descriptors of each level; ends the set.

        Raises:
          UserError: no images, or a constant channel.
        """
        if self._waiting:
            self._draw(self._waiting)
            self._waiting = []
        if not self.count:
            raise UserError("the sliced Wasserstein distance got no images")
        return [
            PatchLevel(self._images, places, i, len(self.levels))
            for i, places in enumerate(self._places)
        ]


class PatchLevel:
    """Normalised descriptors of one level of one set, made block by block as they are asked for.

    Attributes:
      shape: (number of patches, values of each).

    Args:
      images: minibatches of (B, R, R, C) uint8.
      places: of the patches in each minibatch.
      index: number of the level, 0 the finest.
      levels: how many there are.

    Raises:
      UserError: a channel that is constant over the whole set.
    """

    def __init__(
        self,
        images: list[np.ndarray],
        places: list[tuple[np.ndarray, np.ndarray]],
        index: int,
        levels: int,
    ):
        self._images, self._places, self._index, self._levels = images, places, index, levels
        channels = images[0].shape[3]
        self.shape = (sum(len(x) for x, _ in places), channels * PATCH**2)
        values = self.shape[0] * PATCH**2
        total, squares = np.zeros(channels), np.zeros(channels)
        for patches in self._cut():
            total += patches.sum(axis=(0, 2, 3), dtype=np.float64)
        mean = total / values
        self._mean = mean.astype(np.float32)[:, None, None]
        for patches in self._cut():
            patches -= self._mean
            squares += np.square(patches).sum(axis=(0, 2, 3), dtype=np.float64)
        std = np.sqrt(squares / values)
        for c in range(channels):
            check_spread(c, mean[c], std[c])
        self._std = std.astype(np.float32)[:, None, None]

    def __len__(self) -> int:
        return self.shape[0]

    def blocks(self) -> Iterator[np.ndarray]:
        """(n, d) float32 descriptors of one minibatch after the other."""
        for patches in self._cut():
            patches -= self._mean
            patches /= self._std
            yield patches.reshape(len(patches), -1)

    def _cut(self) -> Iterator[np.ndarray]:
        for images, (x, y) in zip(self._images, self._places, strict=True):
            yield cut_patches(laplacian_level(images, self._index, self._levels), x, y)
