"""Nearest upsampling, 2x2 mean pooling, and both merged into a 3x3 convolution.

Residual GANs (1704.00028, 1802.05957) upsample and then convolve, or convolve and then pool. Each
pair is one linear map with fewer products: with K the 3x3 kernel smeared over a 2x2 box (4x4),

    conv3x3(upsample(x)) = transposed convolution of x with K, stride 2     4 taps a pixel, not 9
    mean_pool(conv3x3(x)) = convolution of x with K / 4, stride 2          16 taps a pixel, not 36

exactly, borders included, but for rounding: 2.25 times fewer products. The gradient of K reaches
the 3x3 kernel through the smearing. Derivatives of any order exist.
"""

import tensorflow as tf

from ganpipe.ops import conv


def upsample(x: tf.Tensor) -> tf.Tensor:
    """(N, H, W, C) -> (N, 2 H, 2 W, C): every pixel four times, nearest neighbour."""

    @tf.custom_gradient
    def op(x: tf.Tensor):
        _, height, width, channels = x.shape
        wide = tf.reshape(tf.tile(x, [1, 1, 1, 2]), [-1, height, 1, 2 * width * channels])
        y = tf.reshape(tf.tile(wide, [1, 1, 2, 1]), [-1, 2 * height, 2 * width, channels])
        return y, lambda dy: 4.0 * mean_pool(dy)

    return op(x)


def mean_pool(x: tf.Tensor) -> tf.Tensor:
    """(N, 2 H, 2 W, C) -> (N, H, W, C): means of 2x2 blocks."""

    @tf.custom_gradient
    def op(x: tf.Tensor):
        return tf.nn.avg_pool2d(x, 2, 2, "VALID"), lambda dy: 0.25 * upsample(dy)

    return op(x)


def smear(kernel: tf.Tensor) -> tf.Tensor:
    """(3, 3, C, O) -> (4, 4, C, O): the full convolution with a 2x2 box of ones."""
    rows = tf.pad(kernel, [[0, 1], [0, 0], [0, 0], [0, 0]]) + tf.pad(
        kernel, [[1, 0], [0, 0], [0, 0], [0, 0]]
    )
    return tf.pad(rows, [[0, 0], [0, 1], [0, 0], [0, 0]]) + tf.pad(
        rows, [[0, 0], [1, 0], [0, 0], [0, 0]]
    )


def upsample_conv2d(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`upsample`, then a SAME 3x3 convolution: (N, H, W, C) * (3, 3, C, O) -> (N, 2 H, 2 W, O)."""
    # A transposed convolution turns its kernel round and takes (k, k, O, C).
    turned = tf.transpose(tf.reverse(smear(kernel), [0, 1]), [0, 1, 3, 2])
    if conv.on_cpu():
        return conv.conv2d_transpose(x, turned, 2)
    _, height, width, _ = x.shape
    shape = [tf.shape(x)[0], 2 * height, 2 * width, kernel.shape[3]]
    return tf.nn.conv2d_transpose(x, turned, shape, 2, "SAME")


def conv2d_mean_pool(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A SAME 3x3 convolution, then `mean_pool`: (N, 2 H, 2 W, C) * (3, 3, C, O) -> (N, H, W, O)."""
    smeared = 0.25 * smear(kernel)
    if conv.on_cpu():
        return conv.conv2d(x, smeared, 2)
    return tf.nn.conv2d(x, smeared, 2, "SAME")
