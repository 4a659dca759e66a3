"""Geometric part of the adaptive augmentations: one affine transform an image, without aliasing.

Karras et al. 2020 (arXiv 2006.06676), appendix B. An image is padded by reflection, upsampled by 2
with the 12-tap orthogonal wavelet low-pass sym6, sampled bilinearly at the transformed pixel
positions, and brought back by the adjoint of the upsampling.

The reflected image repeats with period 2 (W - 1), so the upsampled one has a period of 4 (W - 1)
pixels: that *table* holds all that sampling can read and has a static shape. The official code pads
by a margin that changes from batch to batch, at most W - 1, with zeros beyond; near that border its
filter sees zeros. A few rows more in the table (11 an axis, and one of zeros) hold the
border as it is for the batch's margin. Results equal the official ones for the same matrices, the
influence of the batch's margin included: images further than 2 (W - 1) away show zeros, mid-grey.

All linear maps of images are matrix products and gathers, with derivatives of any order. On GPUs
with TensorFloat-32 (TensorFlow's default there) the products round to about 5e-4.
"""

import numpy as np
import tensorflow as tf

from ganpipe.ops.ada_draws import Draws
from ganpipe.ops.ada_resample import SYM6, TAPS, border_rows, down, multiply, up

# Width, in pixels of the image, of the frame around it that the downsampling filter reads.
FRAME = len(SYM6) // 4
# Upsampled pixels at the left end of the padded image whose filter sees zeros, and at the right.
_LEFT, _RIGHT = 6, 5


def _border(margin: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """What a table has besides the period, for an axis padded by `margin` (2,) int32.

    Returns:
      ((12, size) its last rows as a matrix, the very last of zeros; (6 size,) int32, the row of the
      table for each upsampled pixel -2 size, ..., 4 size - 1; pixel 0 is the image's first).
    """
    period = 4 * (size - 1)
    first, last = -2 * margin[0], 2 * (size + margin[1])
    strip = tf.concat([first + tf.range(_LEFT), last - _RIGHT + tf.range(_RIGHT)], axis=0)
    matrix = tf.pad(border_rows(strip, margin, size), [[0, 1], [0, 0]])
    k = tf.range(-2 * size, 4 * size)
    row = k % period
    row = tf.where(k < first + _LEFT, period + k - first, row)
    row = tf.where(k >= last - _RIGHT, period + _LEFT + k - (last - _RIGHT), row)
    row = tf.where((k < first) | (k >= last), period + _LEFT + _RIGHT, row)
    return tf.ensure_shape(matrix, [_LEFT + _RIGHT + 1, size]), row


def _table(x: tf.Tensor, border: tf.Tensor) -> tf.Tensor:
    """(N, size, F) -> (N, 4 (size - 1) + 12, F): the period and the border."""
    return tf.concat([up(x), multiply(x, border)], axis=1)


def margins(inverse: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Reflected pixels that a batch needs: ((2,) above and below, (2,) left and right), int32."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    corners = tf.constant([[-cx, cx, cx, -cx], [-cy, -cy, cy, cy], [1.0] * 4], tf.float32)
    at = tf.matmul(inverse, corners)  # (B, 3, 4)

    def axis(position: tf.Tensor, centre: float, size: int) -> tf.Tensor:
        both = tf.stack([tf.reduce_max(-position), tf.reduce_max(position)])
        margin = tf.clip_by_value(both + (2.0 * FRAME - centre), 0.0, size - 1.0)
        return tf.cast(tf.math.ceil(margin), tf.int32)

    return axis(at[:, 1], cy, height), axis(at[:, 0], cx, width)


def warp(
    images: tf.Tensor,
    inverse: tf.Tensor,
    margin: tuple[tf.Tensor, tf.Tensor] | None = None,
) -> tf.Tensor:
    """Moves each image by its affine transform.

    Args:
      images: (B, H, W, C) float32, H and W static and at least 2.
      inverse: (B, 3, 3) float32: (x, y, 1) of an output pixel, from the image's centre in pixels,
        to that of the input pixel it shows.
      margin: of `margins`, if these images are a part of the batch; None: they are all of it.

    Returns:
      (B, H, W, C) float32; differentiable to any order with respect to `images`.
    """
    height, width, channels = images.shape[1:]
    margin_y, margin_x = margin or margins(inverse, height, width)
    border_y, row_of = _border(margin_y, height)
    border_x, column_of = _border(margin_x, width)
    table = _table(tf.reshape(images, [-1, width, channels]), border_x)
    width_of = table.shape[1]
    table = _table(tf.reshape(table, [-1, height, width_of * channels]), border_y)
    height_of = table.shape[1]

    # Sampled positions, at half pixels, and the upsampled pixels (from the image's first) there.
    x = (np.arange(2 * width + len(TAPS) - 2) + 2 - width - 2 * FRAME) / 2
    y = (np.arange(2 * height + len(TAPS) - 2) + 2 - height - 2 * FRAME) / 2
    x, y = tf.constant(x[None, None, :], tf.float32), tf.constant(y[None, :, None], tf.float32)
    g = inverse[:, :, :, None, None]
    column = 2.0 * (g[:, 0, 0] * x + g[:, 0, 1] * y + g[:, 0, 2]) + (width - 1)
    row = 2.0 * (g[:, 1, 0] * x + g[:, 1, 1] * y + g[:, 1, 2]) + (height - 1)

    def taps(position: tf.Tensor, size: int, table_of: tf.Tensor) -> list[tuple]:
        # Beyond the clip there are zeros only.
        position = tf.clip_by_value(position, -2.0 * size, 4.0 * size - 2)
        low = tf.floor(position)
        share = (position - low)[..., None]
        index = tf.cast(low, tf.int32) + 2 * size
        return [
            (1.0 - share, tf.gather(table_of, index)),
            (share, tf.gather(table_of, index + 1)),
        ]

    pixels = tf.reshape(table, [-1, channels])
    image = tf.range(tf.shape(images)[0])[:, None, None] * height_of
    sampled = tf.zeros([])
    for weight_y, index_y in taps(row, height, row_of):
        line = (image + index_y) * width_of
        for weight_x, index_x in taps(column, width, column_of):
            sampled += tf.gather(pixels, line + index_x) * (weight_y * weight_x)
    columns = sampled.shape[2]
    sampled = down(tf.reshape(sampled, [-1, sampled.shape[1], columns * channels]), height)
    sampled = down(tf.reshape(sampled, [-1, columns, channels]), width)
    return tf.reshape(sampled, [-1, height, width, channels])


def _matrix(rows: list[list]) -> tf.Tensor:
    """(B, 3, 3) from numbers and (B,) tensors."""
    like = next(x for row in rows for x in row if isinstance(x, tf.Tensor))
    return tf.stack(
        [tf.stack([x + tf.zeros_like(like) for x in row], axis=-1) for row in rows], axis=-2
    )


def translation(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """(B, 3, 3) shift by (x, y) pixels; x to the right, y downwards."""
    return _matrix([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def scaling(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """(B, 3, 3) stretch by x and y about the centre."""
    return _matrix([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]])


def rotation(angle: tf.Tensor) -> tf.Tensor:
    """(B, 3, 3) rotation by `angle`, from the x axis towards the y axis (clockwise on screen)."""
    return turning(tf.cos(angle), tf.sin(angle))


def turning(cosine: tf.Tensor, sine: tf.Tensor) -> tf.Tensor:
    """(B, 3, 3) rotation by its cosine and sine."""
    return _matrix([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def inverse_transforms(draws: Draws, options: dict[str, float], height: int, width: int):
    """Product of the inverse matrices of all geometric operations, in the paper's order.

    Args:
      draws: the batch's random numbers.
      options: multipliers and ranges, see `ganpipe.ops.ada.DEFAULTS`.
      height: of the images.
      width: of the images.

    Returns:
      (B, 3, 3) float32, or None where no geometric operation is on.
    """
    p, inverse = draws.p, []

    def gated(name: str, value: tf.Tensor, neutral: float) -> tf.Tensor:
        return draws.gated(name, options[name] * p, value, neutral)

    if options["xflip"] > 0:
        coin = gated("xflip", tf.floor(2.0 * draws.uniform("xflip")[:, 0]), 0.0)
        inverse.append(scaling(1.0 - 2.0 * coin, tf.ones_like(coin)))
    if options["rotate90"] > 0:
        turns = gated("rotate90", tf.floor(4.0 * draws.uniform("rotate90")[:, 0]), 0.0)
        turns = tf.cast(turns, tf.int32) % 4
        # Exact sines: a quarter turn moves pixels onto pixels.
        inverse.append(
            turning(
                tf.gather([1.0, 0.0, -1.0, 0.0], turns), tf.gather([0.0, 1.0, 0.0, -1.0], turns)
            )
        )
    if options["xint"] > 0:
        shift = (2.0 * draws.uniform("xint") - 1.0) * options["xint_max"]
        shift = tf.round(gated("xint", shift, 0.0) * [float(width), float(height)])
        inverse.append(translation(-shift[:, 0], -shift[:, 1]))
    if options["scale"] > 0:
        # Not 1 / scale: compiled, a reciprocal of 1 is not always 1, and every image would move.
        scale = tf.exp(-np.log(2) * options["scale_std"] * draws.normal("scale")[:, 0])
        scale = gated("scale", scale, 1.0)
        inverse.append(scaling(scale, scale))
    # Before or after the stretch, so that one of the two happens with probability p.
    p_rotate = 1.0 - tf.sqrt(tf.clip_by_value(1.0 - options["rotate"] * p, 0.0, 1.0))
    if options["rotate"] > 0:
        angle = (2.0 * draws.uniform("rotate")[:, 0] - 1.0) * np.pi * options["rotate_max"]
        inverse.append(rotation(draws.gated("rotate", p_rotate, angle, 0.0)))
    if options["aniso"] > 0:
        stretch = np.log(2) * options["aniso_std"] * draws.normal("aniso")[:, 0]
        x, y = (gated("aniso", tf.exp(power), 1.0) for power in (-stretch, stretch))
        inverse.append(scaling(x, y))
    if options["rotate"] > 0 and draws.percentile is None:
        angle = (2.0 * draws.uniform("rotate_again")[:, 0] - 1.0) * np.pi * options["rotate_max"]
        inverse.append(rotation(draws.gated("rotate_again", p_rotate, angle, 0.0)))
    if options["xfrac"] > 0:
        shift = gated("xfrac", draws.normal("xfrac") * options["xfrac_std"], 0.0)
        inverse.append(translation(-shift[:, 0] * width, -shift[:, 1] * height))
    if not inverse:
        return None
    product = inverse[0]
    for matrix in inverse[1:]:
        product = tf.matmul(product, matrix)
    return product
