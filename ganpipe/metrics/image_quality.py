"""PSNR and SSIM between a restored image and its original, on luma, with the border cut off.

    PSNR = 10 log10(255^2 / mean squared error)                          in dB, infinite if equal
    SSIM = mean of (2 m_x m_y + C1)(2 s_xy + C2) / ((m_x^2 + m_y^2 + C1)(s_x^2 + s_y^2 + C2))

(Wang et al. 2004, eq. 13.) Conventions of the super-resolution papers, each an argument here:

* pixels are uint8: what a viewer gets, so outputs are clipped and rounded before they are scored;
* luma is BT.601 studio swing, Y = 16 + 65.481 R + 128.553 G + 24.966 B for RGB in [0, 1], so it
  spans 16..235 while the peak stays 255. Unrounded by default; `round_luma` gives MATLAB's
  `rgb2ycbcr` of a uint8 image. One channel is scored as it is;
* `border` pixels are cut off on every side: the scale factor, usually (4 in the SRGAN paper);
* means, variances and covariance come from an 11 x 11 Gaussian window of sigma 1.5 inside the image
  ("valid"), C1 = (0.01 * 255)^2 and C2 = (0.03 * 255)^2.

Every image gets its own value and tables show the mean of these, not the value of the mean error.
SSIM figures of unlike programs are not comparable: Set5 bicubic is 0.8211 by one (daala, SRGAN
paper) and 0.8104 by another (MATLAB, ESRGAN paper).
"""

import numpy as np

from ganpipe.errors import UserError

PEAK = 255.0
K1, K2 = 0.01, 0.03
WINDOW, SIGMA = 11, 1.5

# Elements of float64 held for a block of images while filtering: about 100 MB with temporaries.
_BLOCK_ELEMENTS = 1 << 20


def check_pair(images: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two uint8 (N, H, W, C) arrays of one shape.

    Raises:
      UserError: another dtype, unlike shapes, or no images.
    """
    images, others = np.asarray(images), np.asarray(others)
    for name, x in (("first", images), ("second", others)):
        if x.dtype != np.uint8:
            raise UserError(
                f"the {name} images are {x.dtype}, expected uint8 in 0..255: clip and round them "
                "first (ganpipe.ops.images.to_uint8), as a viewer would get them"
            )
    if images.shape != others.shape:
        raise UserError(
            f"images of shapes {images.shape} and {others.shape} cannot be compared pixel by "
            "pixel: crop the originals to a multiple of the scale before shrinking them"
        )
    if images.ndim != 4 or not len(images):
        raise UserError(f"images have shape {images.shape}, expected (N, H, W, C) with N >= 1")
    return images, others


def luma(images: np.ndarray, *, round_luma: bool = False) -> np.ndarray:
    """BT.601 studio luma.

    Args:
      images: (..., H, W, 3) RGB uint8, or (..., H, W, 1), which is returned as it is.
      round_luma: round to whole numbers, as MATLAB does for uint8 images.

    Returns:
      (..., H, W, 1) float64, in [16, 235] for RGB.

    Raises:
      UserError: another number of channels.
    """
    images = np.asarray(images)
    channels = images.shape[-1]
    if channels == 1:
        return images.astype(np.float64)
    if channels != 3:
        raise UserError(f"luma needs 1 or 3 channels, found {channels}")
    y = 16.0 + images @ (np.array([65.481, 128.553, 24.966]) / 255.0)
    # Half up, like MATLAB: luma is positive, so floor(y + 0.5) does it.
    return (np.floor(y + 0.5) if round_luma else y)[..., None]


def crop_border(images: np.ndarray, border: int) -> np.ndarray:
    """Cuts `border` pixels off each side of (N, H, W, C) images.

    Raises:
      UserError: a negative border, or nothing would be left.
    """
    height, width = images.shape[1:3]
    if border < 0 or 2 * border >= min(height, width):
        raise UserError(f"a border of {border} pixels leaves nothing of {height}x{width} images")
    return images[:, border : height - border, border : width - border]


def gaussian_window(size: int, sigma: float) -> np.ndarray:
    """(size,) float64 weights that sum to 1; even sizes are centred between two pixels."""
    at = np.arange(size) - (size - 1) / 2
    weights = np.exp(-0.5 * (at / sigma) ** 2)
    return weights / weights.sum()


def _blur(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Separable filter over axes 1 and 2 of (N, H, W, C), inside the image only."""
    size = len(weights)
    for axis in (1, 2):
        length = x.shape[axis] - size + 1
        moved = np.moveaxis(x, axis, 0)
        out = weights[0] * moved[:length]
        for k in range(1, size):
            out += weights[k] * moved[k : k + length]
        x = np.moveaxis(out, 0, axis)
    return x


def ssim_terms(
    x: np.ndarray, y: np.ndarray, *, window: int = WINDOW, sigma: float = SIGMA, peak: float = PEAK
) -> tuple[np.ndarray, np.ndarray]:
    """SSIM and its contrast-structure factor, means over all window positions and channels.

    Args:
      x: (N, H, W, C) real, in 0..peak.
      y: the same shape.
      window: side of the Gaussian window; at most H and W.
      sigma: its standard deviation in pixels.
      peak: largest possible value.

    Returns:
      ssim (N,) and cs (N,) float64 in [-1, 1].

    Raises:
      ValueError: shapes that differ or are smaller than the window.
    """
    x, y = np.asarray(x), np.asarray(y)
    if x.shape != y.shape or x.ndim != 4 or min(x.shape[1:3]) < window:
        raise ValueError(f"shapes {x.shape} and {y.shape} with a window of {window}")
    weights = gaussian_window(window, sigma)
    c1, c2 = (K1 * peak) ** 2, (K2 * peak) ** 2
    ssim, cs = np.empty(len(x)), np.empty(len(x))
    block = max(1, _BLOCK_ELEMENTS // max(1, int(np.prod(x.shape[1:]))))
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        a, b = x[rows].astype(np.float64), y[rows].astype(np.float64)
        mean_a, mean_b = _blur(a, weights), _blur(b, weights)
        product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
        covariance = _blur(a * b, weights) - product
        variances = _blur(a * a + b * b, weights) - squares
        structure = (2 * covariance + c2) / (variances + c2)
        luminance = (2 * product + c1) / (squares + c1)
        cs[rows] = structure.mean(axis=(1, 2, 3))
        ssim[rows] = (luminance * structure).mean(axis=(1, 2, 3))
    return ssim, cs


def _prepared(
    images: np.ndarray, others: np.ndarray, border: int, on_luma: bool, round_luma: bool
) -> tuple[np.ndarray, np.ndarray]:
    images, others = (crop_border(x, border) for x in check_pair(images, others))
    if not on_luma:
        return images, others
    return luma(images, round_luma=round_luma), luma(others, round_luma=round_luma)


def psnr(
    images: np.ndarray,
    others: np.ndarray,
    *,
    border: int = 0,
    on_luma: bool = True,
    round_luma: bool = False,
) -> np.ndarray:
    """Peak signal-to-noise ratio of each pair of images.

    Args:
      images: (N, H, W, C) uint8, C 1 or 3 (RGB order).
      others: the same shape.
      border: pixels cut off each side.
      on_luma: on Y; else the mean squared error runs over all channels.
      round_luma: see `luma`.

    Returns:
      (N,) float64 in dB; infinite where the two are equal.

    Raises:
      UserError: not uint8, unlike shapes, or a border that leaves nothing.
    """
    x, y = _prepared(images, others, border, on_luma, round_luma)
    errors = np.array(
        [
            np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
            for a, b in zip(x, y, strict=True)
        ]
    )
    with np.errstate(divide="ignore"):
        return 10 * np.log10(PEAK**2 / errors)


def ssim(
    images: np.ndarray,
    others: np.ndarray,
    *,
    border: int = 0,
    on_luma: bool = True,
    round_luma: bool = False,
) -> np.ndarray:
    """Structural similarity of each pair of images; arguments and errors as `psnr`.

    Returns:
      (N,) float64 in [-1, 1], 1 for equal images. Without luma: the mean over the channels.

    Raises:
      UserError: as `psnr`, and images smaller than the 11 x 11 window after the crop.
    """
    x, y = _prepared(images, others, border, on_luma, round_luma)
    if min(x.shape[1:3]) < WINDOW:
        raise UserError(
            f"SSIM's window is {WINDOW}x{WINDOW}, but {x.shape[1]}x{x.shape[2]} pixels are left "
            f"after a border of {border}: use larger images or a smaller border"
        )
    return ssim_terms(x, y)[0]
