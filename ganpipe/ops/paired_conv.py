"""Convolution, its transpose and its weight gradient: three linear maps closed under derivatives.

R1 and path-length regularisation differentiate gradients. TensorFlow's own second derivatives of a
convolution come back to its weight-gradient kernel, which is slow on CPUs (see `ganpipe.ops.conv`).
Here each of the three maps names the other two as its gradients,

    conv(x, k)            d x: transpose(dy, k)     d k: kernel_gradient(x, dy)
    transpose(y, k)       d y: conv(dx, k)          d k: kernel_gradient(dx, y)
    kernel_gradient(x, y) d x: transpose(y, dk)     d y: conv(x, dk)

so that derivatives of every order run on all cores. On GPUs TensorFlow's own gradients are taken.
"""

import tensorflow as tf

from ganpipe.ops import conv as conv_ops


def _slices(batch: int | None) -> int:
    """Parts that the batch is cut into: the largest divisor of it that is at most the cores."""
    return next(n for n in range(min(conv_ops.CORES, batch or 1), 0, -1) if (batch or 1) % n == 0)


def _filter(x: tf.Tensor, dy: tf.Tensor, size: int, stride: int, padding: str) -> tf.Tensor:
    shape = [size, size, x.shape[-1], dy.shape[-1]]
    if size == 1 and stride == 1:
        rows = tf.reshape(x, [-1, shape[2]])
        return tf.reshape(tf.matmul(rows, tf.reshape(dy, [-1, shape[3]]), transpose_a=True), shape)
    parts = _slices(x.shape[0])
    return tf.add_n(
        [
            tf.raw_ops.Conv2DBackpropFilter(
                input=rows,
                filter_sizes=shape,
                out_backprop=gradient,
                strides=[1, stride, stride, 1],
                padding=padding,
            )
            for rows, gradient in zip(tf.split(x, parts), tf.split(dy, parts), strict=True)
        ]
    )


def kernel_gradient(
    x: tf.Tensor, y: tf.Tensor, size: int, stride: int = 1, padding: str = "SAME"
) -> tf.Tensor:
    """Gradient of <conv(x, k), y> with respect to k: (size, size, C, O), summed over the batch.

    Args:
      x: (N, H, W, C).
      y: (N, H', W', O), shaped as the convolution's output.
      size: side of the kernel.
      stride: of the convolution.
      padding: "SAME" or "VALID".
    """

    @tf.custom_gradient
    def op(x: tf.Tensor, y: tf.Tensor):
        def gradient(dk: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            height, width = x.shape[1:3]
            return (
                transpose(y, dk, (height, width), stride, padding),
                conv(x, dk, stride, padding),
            )

        return _filter(x, y, size, stride, padding), gradient

    return op(x, y)


def conv(x: tf.Tensor, kernel: tf.Tensor, stride: int = 1, padding: str = "SAME") -> tf.Tensor:
    """(N, H, W, C) * (k, k, C, O) -> (N, H', W', O), a correlation as in `tf.nn.conv2d`."""
    if not conv_ops.on_cpu():
        return tf.nn.conv2d(x, kernel, stride, padding)

    @tf.custom_gradient
    def op(x: tf.Tensor, kernel: tf.Tensor):
        def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            height, width = x.shape[1:3]
            return (
                transpose(dy, kernel, (height, width), stride, padding),
                kernel_gradient(x, dy, kernel.shape[0], stride, padding),
            )

        return tf.nn.conv2d(x, kernel, stride, padding), gradient

    return op(x, kernel)


def transpose(
    y: tf.Tensor,
    kernel: tf.Tensor,
    size: tuple[int, int],
    stride: int = 1,
    padding: str = "SAME",
) -> tf.Tensor:
    """The adjoint of `conv` in x: (N, H', W', O) * (k, k, C, O) -> (N, *size, C)."""
    shape = [tf.shape(y)[0], *size, kernel.shape[2]]
    if not conv_ops.on_cpu():
        return tf.nn.conv2d_transpose(y, kernel, shape, stride, padding)

    @tf.custom_gradient
    def op(y: tf.Tensor, kernel: tf.Tensor):
        def gradient(dx: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return (
                conv(dx, kernel, stride, padding),
                kernel_gradient(dx, y, kernel.shape[0], stride, padding),
            )

        x = tf.nn.conv2d_transpose(y, kernel, shape, stride, padding)
        return tf.ensure_shape(x, [y.shape[0], *size, kernel.shape[2]]), gradient

    return op(y, kernel)
