"""Colour part of the adaptive augmentations: one affine map of colours an image.

Karras et al. 2020 (arXiv 2006.06676), appendix B. Brightness, contrast, luma flip, hue and
saturation are 4x4 matrices on (r, g, b, 1) in [-1, 1], multiplied into one. Hue turns about the
luma axis (1, 1, 1) / sqrt 3, saturation stretches away from it. Grey images see the mean of the
matrix's three rows; hue and saturation, which leave grey alone, are off for them.
"""

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops.ada_draws import Draws

# Projection onto the luma axis, and the cross product with it.
_LUMA = np.pad(np.full([3, 3], 1.0 / 3.0), [[0, 1], [0, 1]]).astype(np.float32)
_CROSS = np.pad(
    np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / np.sqrt(3.0),
    [[0, 1], [0, 1]],
).astype(np.float32)
_COLOUR = np.diag([1.0, 1.0, 1.0, 0.0]).astype(np.float32)
_SHIFT = np.zeros([4, 4], np.float32)
_SHIFT[:3, 3] = 1.0


def _identity_plus(*terms: tuple[tf.Tensor, np.ndarray]) -> tf.Tensor:
    """Sum of (B,) numbers times (4, 4) matrices; the identity to the bit where all are 0."""
    return np.eye(4, dtype=np.float32) + sum(n[:, None, None] * matrix for n, matrix in terms)


def brightness(amount: tf.Tensor) -> tf.Tensor:
    """(B,) -> (B, 4, 4): adds `amount` to every channel."""
    return _identity_plus((amount, _SHIFT))


def contrast(factor: tf.Tensor) -> tf.Tensor:
    """(B,) -> (B, 4, 4): multiplies every channel, about mid-grey."""
    return _identity_plus((factor - 1.0, _COLOUR))


def luma_flip(flip: tf.Tensor) -> tf.Tensor:
    """(B,) of 0 and 1 -> (B, 4, 4): mirrors lightness about mid-grey and keeps hue."""
    return _identity_plus((-2.0 * flip, _LUMA))


def hue(angle: tf.Tensor) -> tf.Tensor:
    """(B,) -> (B, 4, 4): turns colours about the luma axis; 2 pi / 3 takes red to green."""
    return _identity_plus((tf.cos(angle) - 1.0, _COLOUR - _LUMA), (tf.sin(angle), _CROSS))


def saturation(factor: tf.Tensor) -> tf.Tensor:
    """(B,) -> (B, 4, 4): multiplies the distance from the luma axis."""
    return _identity_plus((factor - 1.0, _COLOUR - _LUMA))


def colour_transforms(draws: Draws, options: dict[str, float], channels: int) -> tf.Tensor | None:
    """Product of the matrices of all colour operations, the first operation rightmost.

    Args:
      draws: the batch's random numbers.
      options: multipliers and ranges, see `ganpipe.ops.ada.DEFAULTS`.
      channels: 1 or 3.

    Returns:
      (B, 4, 4) float32, or None where no colour operation is on.
    """
    matrices = []

    def gated(name: str, value: tf.Tensor, neutral: float) -> tf.Tensor:
        return draws.gated(name, options[name] * draws.p, value, neutral)

    def power(name: str) -> tf.Tensor:
        value = tf.exp(np.log(2) * options[f"{name}_std"] * draws.normal(name)[:, 0])
        return gated(name, value, 1.0)

    if options["brightness"] > 0:
        amount = options["brightness_std"] * draws.normal("brightness")[:, 0]
        matrices.append(brightness(gated("brightness", amount, 0.0)))
    if options["contrast"] > 0:
        matrices.append(contrast(power("contrast")))
    if options["lumaflip"] > 0:
        coin = tf.floor(2.0 * draws.uniform("lumaflip")[:, 0])
        matrices.append(luma_flip(gated("lumaflip", coin, 0.0)))
    if options["hue"] > 0 and channels > 1:
        angle = (2.0 * draws.uniform("hue")[:, 0] - 1.0) * np.pi * options["hue_max"]
        matrices.append(hue(gated("hue", angle, 0.0)))
    if options["saturation"] > 0 and channels > 1:
        matrices.append(saturation(power("saturation")))
    if not matrices:
        return None
    product = matrices[0]
    for matrix in matrices[1:]:
        product = tf.matmul(matrix, product)
    return product


def recolour(images: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Applies each image's colour map.

    Args:
      images: (B, H, W, 3) or (B, H, W, 1) float32.
      matrix: (B, 4, 4) float32, on (r, g, b, 1).

    Returns:
      As `images`.

    Raises:
      UserError: for another number of channels.
    """
    channels = images.shape[-1]
    if channels == 1:
        row = tf.reduce_mean(matrix[:, :3], axis=1)  # (B, 4)
        gain, offset = tf.reduce_sum(row[:, :3], axis=1), row[:, 3]
        return images * gain[:, None, None, None] + offset[:, None, None, None]
    if channels != 3:
        raise UserError(
            f"colour augmentations need grey or RGB images, found {channels} channels; choose "
            "an augmentation pipe without colour ('bg', 'blit', 'geom') or change data.channels"
        )
    linear, offset = matrix[:, :3, :3], matrix[:, None, None, :3, 3]
    flat = tf.reshape(images, [-1, images.shape[1] * images.shape[2], 3])
    turned = tf.matmul(flat, linear, transpose_b=True)
    return tf.reshape(turned, [-1, *images.shape[1:]]) + offset
