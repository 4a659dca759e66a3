"""StyleGAN2's resampling with the low-pass filter [1, 3, 3, 1], padded once (1912.04958, app. B).

With f = outer([1, 3, 3, 1]) / 64 and zeros beyond the border:

    upsample      zero-insert x2, pad (2, 1), f, gain 4
    downsample    pad (1, 1), f, every second pixel
    up_conv       3x3 transposed convolution of stride 2 (2 H + 1), pad (1, 1), f, gain 4
    down_conv     pad (2, 2), f (2 H + 1), 3x3 convolution of stride 2 without padding

The official code pads before the first of two operations and never between them: upsampling and
then a SAME convolution agrees in the interior only, and differs strongly in a border of two pixels.

Merging f into the kernel (6x6, stride 2) costs four times the products of the convolution; f
alone is a depthwise convolution, a twentieth of the 3x3 convolution's time at 128 channels, so it
stays apart. f is symmetric, which makes filter and adjoint the same map with other padding, and
upsample four times the adjoint of downsample: derivatives of any order are such maps again.
"""

import numpy as np
import tensorflow as tf

from ganpipe.ops import paired_conv

TAPS = (1.0, 3.0, 3.0, 1.0)


def _depthwise(x: tf.Tensor, before: int, after: int, gain: float, stride: int) -> tf.Tensor:
    taps = np.array(TAPS) / np.sum(TAPS)
    channels = x.shape[-1]
    kernel = np.tile((gain * np.outer(taps, taps))[:, :, None, None], [1, 1, channels, 1])
    pads = [[0, 0], [before, after], [before, after], [0, 0]]
    return tf.nn.depthwise_conv2d(x, tf.constant(kernel, x.dtype), [1, stride, stride, 1], pads)


def low_pass(x: tf.Tensor, before: int, after: int, gain: float = 1.0) -> tf.Tensor:
    """gain * f on x padded with zeros: (N, H, W, C) -> (N, H + before + after - 3, ..., C).

    Args:
      x: static but for N; any float type.
      before: zeros above and left of x, 0 to 3.
      after: zeros below and right of x, 0 to 3.
      gain: see above.
    """

    @tf.custom_gradient
    def op(x: tf.Tensor):
        def gradient(dy: tf.Tensor) -> tf.Tensor:
            return low_pass(dy, 3 - before, 3 - after, gain)

        return _depthwise(x, before, after, gain, 1), gradient

    return op(x)


def downsample(x: tf.Tensor, gain: float = 1.0) -> tf.Tensor:
    """(N, 2 H, 2 W, C) -> (N, H, W, C), times `gain`."""

    @tf.custom_gradient
    def op(x: tf.Tensor):
        return _depthwise(x, 1, 1, gain, 2), lambda dy: upsample(dy, gain)

    return op(x)


def upsample(x: tf.Tensor, gain: float = 4.0) -> tf.Tensor:
    """(N, H, W, C) -> (N, 2 H, 2 W, C); a gain of 4 keeps the mean."""

    @tf.custom_gradient
    def op(x: tf.Tensor):
        _, height, width, channels = x.shape
        spread = tf.reshape(x, [-1, height, 1, width, 1, channels])
        spread = tf.pad(spread, [[0, 0], [0, 0], [0, 1], [0, 0], [0, 1], [0, 0]])
        spread = tf.reshape(spread, [-1, 2 * height, 2 * width, channels])
        spread = tf.ensure_shape(spread, [x.shape[0], *spread.shape[1:]])
        return _depthwise(spread, 2, 1, gain, 1), lambda dy: downsample(dy, gain)

    return op(x)


def conv(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """SAME convolution without resampling: (N, H, W, C) * (k, k, C, O) -> (N, H, W, O)."""
    return paired_conv.conv(x, kernel)


def up_conv(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves and doubles: (N, H, W, C) * (k, k, C, O) -> (N, 2 H, 2 W, O), k 1 or 3.

    A 3x3 kernel is used unturned in the transposed convolution: it is a true convolution's kernel,
    as the official PyTorch weights are. Used as a correlation it must be turned in both axes.
    """
    if kernel.shape[0] == 1:
        return upsample(paired_conv.conv(x, kernel))
    _, height, width, _ = x.shape
    size = (2 * height + 1, 2 * width + 1)
    turned = tf.transpose(kernel, [0, 1, 3, 2])
    return low_pass(paired_conv.transpose(x, turned, size, 2, "VALID"), 1, 1, 4.0)


def down_conv(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolves and halves: (N, 2 H, 2 W, C) * (k, k, C, O) -> (N, H, W, O), k 1 or 3."""
    if kernel.shape[0] == 1:
        return paired_conv.conv(downsample(x), kernel)
    return paired_conv.conv(low_pass(x, 2, 2), kernel, 2, "VALID")
