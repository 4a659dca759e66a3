"""Image-space part of the adaptive augmentations: frequency bands, noise and cutout.

Karras et al. 2020 (arXiv 2006.06676), appendix B. Four bands, one octave each, are split by
sym2 wavelet filters that sum to the identity; an image's bands are amplified, its expected power
kept for a spectrum of [10, 1, 1, 1] / 13.
"""

from functools import lru_cache

import numpy as np
import tensorflow as tf

from ganpipe.ops.ada_draws import Draws
from ganpipe.ops.ada_resample import reflected

# Low-pass filter of the wavelet sym2 (Daubechies 1992), which is db2.
SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
BANDS = 4
EXPECTED_POWER = np.array([10, 1, 1, 1]) / 13  # of natural images, about 1 / frequency


@lru_cache(maxsize=1)
def filter_bank() -> np.ndarray:
    """(4, 43) float64 symmetric filters, from the lowest band to the highest; their sum is 1."""
    low = np.asarray(SYM2)
    high = low * (-1.0) ** np.arange(len(low))
    low, high = np.convolve(low, low[::-1]) / 2, np.convolve(high, high[::-1]) / 2
    bank = [np.ones(1)]
    # An octave more: what there is goes to half its frequencies, the high-pass is the new band.
    for _ in range(1, BANDS):
        bank = [np.convolve(_stretched(band), low) for band in bank]
        new = np.zeros_like(bank[0])
        start = (len(new) - len(high)) // 2
        new[start : start + len(high)] = high
        bank.append(new)
    return np.stack(bank)


def _stretched(band: np.ndarray) -> np.ndarray:
    """Zeros between the taps."""
    out = np.zeros(2 * len(band) - 1)
    out[::2] = band
    return out


@lru_cache(maxsize=16)
def band_matrices(size: int) -> np.ndarray:
    """(4, size, size) float32: each band's filter along an axis with reflected borders."""
    bank = filter_bank()
    half = bank.shape[1] // 2
    matrices = np.zeros([BANDS, size, size])
    for row in range(size):
        for tap in range(bank.shape[1]):
            matrices[:, row, reflected(row + tap - half, size)] += bank[:, tap]
    return matrices.astype(np.float32)


def band_gains(draws: Draws, options: dict[str, float]) -> tf.Tensor:
    """(B, 4) amplification of the bands, of unit expected power."""
    total = tf.ones([1, BANDS])
    for band in range(BANDS):
        name = f"filter{band}"
        if options["imgfilter_bands"][band] <= 0:
            continue
        gain = tf.exp(np.log(2) * options["imgfilter_std"] * draws.normal(name)[:, :1])
        chosen = np.eye(BANDS, dtype=np.float32)[band]
        gains = gain * chosen + (1.0 - chosen)
        power = tf.reduce_sum(EXPECTED_POWER.astype(np.float32) * gains**2, -1, keepdims=True)
        probability = options["imgfilter"] * options["imgfilter_bands"][band] * draws.p
        total *= draws.gated(name, probability, gains / tf.sqrt(power), 1.0)
    return total


def filter_bands(images: tf.Tensor, gains: tf.Tensor) -> tf.Tensor:
    """Amplifies each image's bands along both axes.

    Args:
      images: (B, H, W, C) float32, static H and W of at least 2. Borders are reflected as often
        as it takes (the official code refuses less than 22 pixels).
      gains: (B or 1, 4) float32.

    Returns:
      As `images`.
    """
    height, width, channels = images.shape[1:]

    def mixed(size: int) -> tf.Tensor:  # (B, size, size); the identity to the bit for gains of 1
        return tf.eye(size) + tf.tensordot(gains - 1.0, tf.constant(band_matrices(size)), 1)

    rows, columns = mixed(height), mixed(width)
    images = tf.matmul(rows, tf.reshape(images, [-1, height, width * channels]))
    images = tf.reshape(images, [-1, height, width, channels])
    images = tf.reshape(tf.transpose(images, [0, 2, 1, 3]), [-1, width, height * channels])
    images = tf.reshape(tf.matmul(columns, images), [-1, width, height, channels])
    return tf.transpose(images, [0, 2, 1, 3])


def add_noise(images: tf.Tensor, draws: Draws, options: dict[str, float]) -> tf.Tensor:
    """White noise on every channel, of standard deviation |N(0, noise_std)|."""
    sigma = draws.half_normal("noise")[:, 0] * options["noise_std"]
    sigma = draws.gated("noise", options["noise"] * draws.p, sigma, 0.0)
    return images + draws.noise(tf.shape(images)) * sigma[:, None, None, None]


def cut_out(images: tf.Tensor, draws: Draws, options: dict[str, float]) -> tf.Tensor:
    """Zeros in a rectangle of `cutout_size` of each side, its centre anywhere in the image."""
    height, width = images.shape[1:3]
    centre = draws.uniform("cutout")
    size = tf.fill([tf.shape(images)[0]], float(options["cutout_size"]))
    half = draws.gated("cutout", options["cutout"] * draws.p, size, 0.0)[:, None] / 2

    def outside(pixels: int, middle: tf.Tensor) -> tf.Tensor:
        at = tf.constant((np.arange(pixels) + 0.5) / pixels, tf.float32)
        return tf.abs(at - middle[:, None]) >= half  # (B, pixels)

    kept = outside(width, centre[:, 0])[:, None, :] | outside(height, centre[:, 1])[:, :, None]
    return images * tf.cast(kept, images.dtype)[..., None]
