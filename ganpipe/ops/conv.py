"""Strided convolutions whose weight gradient is fast on CPUs.

TensorFlow runs oneDNN's weight-gradient kernel on one thread (its thread pool cannot keep the
barriers that kernel needs), and there it is the largest part of a GAN's training step: 63 of
150 ms for DCGAN-32 at nf 64, batch 64, in bfloat16 on two cores. The same sum is an ordinary
forward convolution with the roles exchanged, which does run on all cores:

    dW[i, j, c, o] = sum_{n,h,w} x[n, s h + i, s w + j, c] dy[n, h, w, o]

is the convolution of x (channels as batch, batch as channels) with dy as a kernel of dilation s.
Where that is slow (large maps, stride 1), the batch is cut into one slice a core, and TensorFlow's
own kernels of the slices run side by side. Forward and input gradients are TensorFlow's own. On
GPUs use TensorFlow's gradients throughout.
"""

import os

import tensorflow as tf

# With fewer input channels TensorFlow's own weight gradient is the faster one.
LEAST_CHANNELS = 32
# Side of the largest map of output gradients for which the exchanged convolution is the faster.
LARGEST_EXCHANGED = 8
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def on_cpu() -> bool:
    """True when this process computes on the CPU."""
    return not tf.config.list_logical_devices("GPU")


def same_padding(size: int, kernel_size: int, stride: int) -> tuple[int, int]:
    """(before, after) zeros of TensorFlow's SAME padding along one axis."""
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel_size - size, 0)
    return total // 2, total - total // 2


def weight_gradient(x: tf.Tensor, dy: tf.Tensor, kernel_size: int, stride: int) -> tf.Tensor:
    """Gradient of a SAME convolution's output with respect to its kernel.

    Args:
      x: (N, H, W, C), static shape but for N; the convolution's input.
      dy: (N, ceil(H / stride), ceil(W / stride), O), gradient of its output.
      kernel_size: k.
      stride: of the convolution.

    Returns:
      (k, k, C, O), summed over the batch.
    """
    rows, columns = (same_padding(size, kernel_size, stride) for size in x.shape[1:3])
    swapped = tf.pad(tf.transpose(x, [3, 1, 2, 0]), [[0, 0], rows, columns, [0, 0]])
    gradient = tf.nn.conv2d(
        swapped, tf.transpose(dy, [1, 2, 0, 3]), strides=1, padding="VALID", dilations=stride
    )
    # A stride that does not divide the size leaves rows that no kernel position reaches.
    gradient = gradient[:, :kernel_size, :kernel_size]
    return tf.transpose(gradient, [1, 2, 0, 3])


def few_channels_transpose(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """4x4 or 5x5, stride 2, SAME transposed convolution to few channels, laid out better.

    Pixel (2 m + r, 2 n + s) of the output only meets the 3x3 neighbours of pixel (m, n) of the
    input: along each axis tap d in {-1, 0, 1} uses kernel row r + 1 - 2 d where that is a row. So
    it is a 3x3 convolution to 4 times the channels, then depth to space; oneDNN's own kernel takes
    four times as long where there are 3 output channels.

    Args:
      x: (N, H, W, C).
      kernel: (k, k, O, C), k 4 or 5.

    Returns:
      (N, 2 H, 2 W, O).
    """
    size, _, out, channels = kernel.shape
    # Rows of the zero-padded kernel by (tap, parity): index k is the row of zeros.
    rows = tf.constant([[3, 4], [1, 2], [size, 0]])
    padded = tf.pad(kernel, [[0, 1], [0, 1], [0, 0], [0, 0]])
    taps = tf.gather(tf.gather(padded, rows, axis=0), rows, axis=2)  # (d, r, e, s, O, C)
    taps = tf.reshape(tf.transpose(taps, [0, 2, 5, 1, 3, 4]), [3, 3, channels, 4 * out])
    return tf.nn.depth_to_space(tf.nn.conv2d(x, taps, 1, "SAME"), 2)


def _transpose(x: tf.Tensor, kernel: tf.Tensor, shape: list, stride: int) -> tf.Tensor:
    even = shape[1] == 2 * x.shape[1] and shape[2] == 2 * x.shape[2]
    if stride == 2 and kernel.shape[0] in (4, 5) and kernel.shape[2] <= 4 and even:
        return few_channels_transpose(x, kernel)
    return tf.nn.conv2d_transpose(x, kernel, shape, stride, "SAME")


def native_weight_gradient(x: tf.Tensor, dy: tf.Tensor, kernel_size: int, stride: int) -> tf.Tensor:
    """As `weight_gradient`, by TensorFlow's own kernel on slices of the batch, one a core.

    Each slice's kernel keeps its one thread, and the executor runs the slices beside each other.
    """
    batch = x.shape[0]
    parts = next(n for n in range(min(CORES, batch or 1), 0, -1) if (batch or 1) % n == 0)
    return tf.add_n(
        [
            tf.raw_ops.Conv2DBackpropFilter(
                input=rows,
                filter_sizes=[kernel_size, kernel_size, x.shape[-1], dy.shape[-1]],
                out_backprop=gradient,
                strides=[1, stride, stride, 1],
                padding="SAME",
            )
            for rows, gradient in zip(tf.split(x, parts), tf.split(dy, parts), strict=True)
        ]
    )


def _any_weight_gradient(x: tf.Tensor, dy: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    # The exchanged convolution wins on small maps with stride, by up to 2; on large ones and with
    # stride 1 it loses, by up to 6. With few channels as its batch it has too little to do.
    small = stride > 1 and max(x.shape[1:3]) <= stride * LARGEST_EXCHANGED
    if small and x.shape[-1] >= LEAST_CHANNELS:
        return weight_gradient(x, dy, kernel.shape[0], stride)
    return native_weight_gradient(x, dy, kernel.shape[0], stride)


def conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """SAME convolution (N, H, W, C) * (k, k, C, O) -> (N, ceil(H / stride), ..., O)."""

    @tf.custom_gradient
    def op(x: tf.Tensor, kernel: tf.Tensor):
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            shape = [tf.shape(x)[0], *x.shape[1:]]
            return _transpose(dy, kernel, shape, stride), _any_weight_gradient(
                x, dy, kernel, stride
            )

        return tf.nn.conv2d(x, kernel, stride, "SAME"), gradient

    return op(x, kernel)


def conv2d_transpose(x: tf.Tensor, kernel: tf.Tensor, stride: int) -> tf.Tensor:
    """SAME transposed convolution (N, H, W, C) * (k, k, O, C) -> (N, stride H, stride W, O)."""

    @tf.custom_gradient
    def op(x: tf.Tensor, kernel: tf.Tensor):
        _, height, width, _ = x.shape
        shape = [tf.shape(x)[0], stride * height, stride * width, kernel.shape[2]]

        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx = tf.nn.conv2d(dy, kernel, stride, "SAME")
            return dx, _any_weight_gradient(dy, x, kernel, stride)

        y = _transpose(x, kernel, shape, stride)
        return tf.ensure_shape(y, [None, *shape[1:]]), gradient

    return op(x, kernel)
