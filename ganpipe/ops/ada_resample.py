"""Separable resampling of the geometric augmentations: reflected borders, sym6, factor 2.

Each axis is a matrix product: TensorFlow's convolutions are slow with 3 channels on CPUs. The
matrix of a small axis is written out; of a long one (`LONGEST_WHOLE`) only its repeating block is,
which every block of the image is multiplied with.

The reflected axis repeats with period 2 (size - 1), so the upsampled one has a period of
4 (size - 1): a static number of rows. `border_rows` are the rows near the ends of a padded axis,
where the filter sees zeros.
"""

from functools import lru_cache

import numpy as np
import tensorflow as tf

# Low-pass filter of the wavelet sym6 (Daubechies 1992, table 6.3), normalised to unit sum below.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
TAPS = np.asarray(SYM6) / np.sum(SYM6)
# Upsampled pixel k reads pixels n with tap k - 2 n + 5: 3 pixels before k / 2 to 3 after.
_REACH = 3
# Blocks take a third of the time forwards at 256 pixels, but twice as long backwards.
LONGEST_WHOLE = 256
BLOCK = 32


def reflected(index: np.ndarray | tf.Tensor, size: int) -> np.ndarray | tf.Tensor:
    """Pixel shown at `index` of an axis that is reflected at its outer pixels, for any integer."""
    index = index % (2 * size - 2)
    return (size - 1) - abs((size - 1) - index)


@lru_cache(maxsize=64)
def period_matrix(size: int) -> np.ndarray:
    """(4 (size - 1), size) float32: one period of the reflected axis, upsampled."""
    matrix = np.zeros([4 * (size - 1), size])
    for k in range(len(matrix)):
        for n in range((k - 6) // 2, (k + 5) // 2 + 1):
            if 0 <= k - 2 * n + 5 < len(TAPS):
                matrix[k, reflected(n, size)] += 2 * TAPS[k - 2 * n + 5]
    return matrix.astype(np.float32)


@lru_cache(maxsize=64)
def down_matrix(size: int) -> np.ndarray:
    """(size, 2 size + 10) float32: sampled pixels to image pixels."""
    matrix = np.zeros([size, 2 * size + len(TAPS) - 2])
    for m in range(size):
        matrix[m, 2 * m : 2 * m + len(TAPS)] = TAPS
    return matrix.astype(np.float32)


@lru_cache(maxsize=1)
def _up_block() -> np.ndarray:
    """(2 BLOCK, BLOCK + 6): upsampled pixels of a block from its pixels and 3 on either side."""
    matrix = np.zeros([2 * BLOCK, BLOCK + 2 * _REACH])
    for k in range(2 * BLOCK):
        for column in range(BLOCK + 2 * _REACH):
            if 0 <= k - 2 * (column - _REACH) + 5 < len(TAPS):
                matrix[k, column] = 2 * TAPS[k - 2 * (column - _REACH) + 5]
    return matrix.astype(np.float32)


def border_rows(positions: tf.Tensor, margin: tf.Tensor, size: int) -> tf.Tensor:
    """(rows, size): upsampled pixels at `positions` of the axis padded by `margin` (2,) int32."""
    low, high = -margin[0], size - 1 + margin[1]
    taps = tf.constant(2 * TAPS, tf.float32)
    offset = tf.range(len(SYM6) // 2)
    pixel = (positions[:, None] + 5) // 2 - offset  # (rows, 6)
    weight = tf.gather(taps, (positions[:, None] + 5) % 2 + 2 * offset)
    inside = (pixel >= low) & (pixel <= high)
    inside &= ((positions >= 2 * low) & (positions < 2 * (high + 1)))[:, None]
    weight = tf.where(inside, weight, 0.0)
    return tf.reduce_sum(weight[..., None] * tf.one_hot(reflected(pixel, size), size), axis=1)


def per_channel(matrix: tf.Tensor, channels: int) -> tf.Tensor:
    """(a, b) -> (a C, b C): acts on every channel of (..., a C) rows."""
    if channels == 1:
        return matrix
    rows, columns = matrix.shape
    wide = matrix[:, None, :, None] * tf.eye(channels)[None, :, None, :]
    return tf.reshape(wide, [rows * channels, columns * channels])


def multiply(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """(..., n, F), (m, n) -> (..., m, F). With few features F, as one product of wide rows."""
    count, features = x.shape[-2:]
    if features > 4:
        return tf.matmul(matrix, x)
    lead = [-1, *x.shape[1:-2]]
    wide = tf.reshape(x, [-1, count * features])
    wide = tf.matmul(wide, per_channel(tf.transpose(matrix), features))
    return tf.reshape(wide, [*lead, matrix.shape[0], features])


def _by_blocks(x: tf.Tensor, matrix: np.ndarray, stride: int, length: int) -> tf.Tensor:
    """(N, n, F) -> (N, length, F): `matrix` on windows `stride` apart, zeros after the end."""
    size, features = x.shape[1:]
    block, reach = matrix.shape
    count = -(-length // block)
    x = tf.pad(x, [[0, 0], [0, max(0, (count + 1) * stride - size)], [0, 0]])
    own, following = (
        tf.reshape(x[:, start : start + count * stride], [-1, count, stride, features])
        for start in (0, stride)
    )
    windows = tf.concat([own, following[:, :, : reach - stride]], axis=2)
    rows = multiply(windows, tf.constant(matrix))
    return tf.reshape(rows, [-1, count * block, features])[:, :length]


def up(x: tf.Tensor) -> tf.Tensor:
    """(N, size, F) -> (N, 4 (size - 1), F): one period of the reflected axis, upsampled."""
    size = x.shape[1]
    if size <= LONGEST_WHOLE:
        return multiply(x, tf.constant(period_matrix(size)))
    mirrored = tf.reverse(x[:, 1 : size - 1], [1])  # slices of negative stride differentiate slowly
    around = tf.concat([mirrored[:, -_REACH:], x, mirrored, x[:, :_REACH]], axis=1)
    return _by_blocks(around, _up_block(), BLOCK, 4 * (size - 1))


def down(x: tf.Tensor, size: int) -> tf.Tensor:
    """(N, 2 size + 10, F) -> (N, size, F): the adjoint filter, every second pixel."""
    if size <= LONGEST_WHOLE:
        return multiply(x, tf.constant(down_matrix(size)))
    return _by_blocks(x, down_matrix(BLOCK), 2 * BLOCK, size)
