"""Laplacian pyramids as the authors of ProGAN make them (Karras et al. 2018, section 5).

Down: 5 x 5 binomial filter (1 4 6 4 1) / 16 in each direction, mirrored edges, every second pixel.
Up: zeros between the pixels, the same filter times 4. Level i is the image minus the next one
brought up; the last is the image itself.
"""

import numpy as np

from ganpipe.errors import UserError

COARSEST = 16


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


def laplacian_level(images: np.ndarray, index: int, levels: int) -> np.ndarray:
    """One level of `laplacian_pyramid`, without making the others."""
    level = np.asarray(images, np.float32)
    for _ in range(index):
        level = halve(level)
    return level - double(halve(level)) if index < levels - 1 else level
