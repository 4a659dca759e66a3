"""Modulated convolution with weight demodulation (Karras et al. 2020, arXiv 1912.04958, 2.2).

W'[i, j, c, o] = W[i, j, c, o] s[c], and with demodulation W' / sqrt(sum over i, j, c of W'^2 +
1e-8): each output channel has unit variance for inputs of unit variance. Two forms of one function:

    unfused   conv(x s, W) * d, d = 1 / sqrt(s^2 . sum over i, j of W^2 + 1e-8)     the default
    fused     a kernel of its own for each image, as one grouped convolution

The unfused form needs no kernels per image and serves training and CPUs; the official code takes
the fused one for evaluation. They differ by rounding. As there, 1 / sqrt(fan in) is left out where
demodulation cancels it.
"""

import tensorflow as tf

from ganpipe.ops import fir

EPSILON = 1e-8


def demodulation(kernel: tf.Tensor, styles: tf.Tensor) -> tf.Tensor:
    """(k, k, C, O), (B, C) -> (B, O): 1 / norm of each image's kernel of each output channel."""
    energy = tf.reduce_sum(tf.square(kernel), axis=(0, 1))
    return tf.math.rsqrt(tf.matmul(tf.square(styles), energy) + EPSILON)


def _grouped(x: tf.Tensor, kernels: tf.Tensor, up: bool) -> tf.Tensor:
    """Image b with kernels[b]: (B, H, W, C), (B, k, k, C, O) -> (B, H', W', O)."""
    batch, size, _, channels, filters = kernels.shape
    _, height, width, _ = x.shape
    padding = size // 2
    if up:  # zero-insertion and a turned kernel: TensorFlow has no grouped transposed convolution
        x = tf.reshape(x, [batch, height, 1, width, 1, channels])
        x = tf.pad(x, [[0, 0], [0, 0], [0, 1], [0, 0], [0, 1], [0, 0]])
        height, width = 2 * height, 2 * width
        x = tf.reshape(x, [batch, height, width, channels])
        kernels = tf.reverse(kernels, [1, 2])
    x = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [1, height, width, batch * channels])
    kernels = tf.reshape(
        tf.transpose(kernels, [1, 2, 3, 0, 4]), [size, size, channels, batch * filters]
    )
    # Zero-insertion has put one zero behind the last pixel already.
    pads = [size - 1, 1] if up else [padding, padding]
    y = tf.nn.conv2d(tf.pad(x, [[0, 0], pads, pads, [0, 0]]), kernels, 1, "VALID")
    _, height, width, _ = y.shape
    y = tf.transpose(tf.reshape(y, [height, width, batch, filters]), [2, 0, 1, 3])
    return fir.low_pass(y, 1, 1, 4.0) if up else y


def modulated_conv2d(
    x: tf.Tensor,
    kernel: tf.Tensor,
    styles: tf.Tensor,
    *,
    demodulate: bool = True,
    up: bool = False,
    fused: bool = False,
    gain: float = 1.0,
) -> tf.Tensor:
    """A convolution whose input channels each image scales by its style.

    Args:
      x: (B, H, W, C), or (1, H, W, C) shared by all images; float32 or bfloat16.
      kernel: (k, k, C, O) float32; with `up` a true convolution's (see `fir.up_conv`).
      styles: (B, C) float32.
      demodulate: see the module.
      up: doubles the map (3x3 kernels).
      fused: see the module; needs a static batch size.
      gain: factor of the result.

    Returns:
      (B, H, W, O) or (B, 2 H, 2 W, O), of the type of x.
    """
    scales = demodulation(kernel, styles) * gain if demodulate else None
    if fused:
        batch = styles.shape[0]
        if batch is None:
            raise ValueError("the fused form needs a static batch size")
        kernels = kernel[tf.newaxis] * styles[:, tf.newaxis, tf.newaxis, :, tf.newaxis]
        kernels = kernels * (scales[:, tf.newaxis, tf.newaxis, tf.newaxis] if demodulate else gain)
        x = tf.broadcast_to(x, [batch, *x.shape[1:]]) if x.shape[0] != batch else x
        return _grouped(x, tf.cast(kernels, x.dtype), up)
    if not demodulate and gain != 1.0:
        styles = styles * gain
    x = x * tf.cast(styles, x.dtype)[:, tf.newaxis, tf.newaxis]
    y = (fir.up_conv if up else fir.conv)(x, tf.cast(kernel, x.dtype))
    return y * tf.cast(scales, y.dtype)[:, tf.newaxis, tf.newaxis] if demodulate else y
