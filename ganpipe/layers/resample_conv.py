"""3x3 and 1x1 convolutions that also double or halve the map: see `ganpipe.ops.resample`."""

from typing import Any

import keras
import tensorflow as tf

from ganpipe.layers import conv
from ganpipe.ops import resample as resample_ops

RESAMPLES = ("", "up", "down")


class ResampledConv2D(conv.Conv2D):
    """SAME convolution with nearest upsampling before, or 2x2 mean pooling after it.

    A 1x1 convolution and upsampling or pooling commute, so the cheaper order is taken: "up" is the
    convolution and then `upsample`, "down" is `mean_pool` and then the convolution.

    Args:
      filters: channels of the output.
      kernel_size: with a resample 1 or 3.
      resample: "" (none), "up" (the map doubles) or "down" (it halves; its sides must be even);
        the last two take strides of 1 only.
      **kwargs: of `keras.layers.Conv2D`.

    Raises:
      ValueError: another kernel size or resample.
    """

    def __init__(self, filters: int, kernel_size: int, resample: str = "", **kwargs: Any):
        super().__init__(filters, kernel_size, padding="same", **kwargs)
        plain = self.kernel_size in ((1, 1), (3, 3)) and self.strides == (1, 1)
        if resample not in RESAMPLES or (resample and not plain):
            raise ValueError(
                f"resample={resample!r}, kernel_size={kernel_size}, strides={self.strides}; "
                f"expected one of {RESAMPLES}, with resampling a kernel of 1 or 3, strides of 1"
            )
        self.resample = resample

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """(N, H, W, C) -> (N, s H, s W, filters), s = 2, 1 or 1/2; no bias, no activation."""
        if not self.resample:
            return super().convolution_op(inputs, kernel)
        kernel = tf.convert_to_tensor(kernel)
        if self.kernel_size == (3, 3):
            up = self.resample == "up"
            op = resample_ops.upsample_conv2d if up else resample_ops.conv2d_mean_pool
            return op(inputs, kernel)
        if self.resample == "up":
            return resample_ops.upsample(super().convolution_op(inputs, kernel))
        return super().convolution_op(resample_ops.mean_pool(inputs), kernel)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(N, s H, s W, filters)."""
        n, height, width, _ = super().compute_output_shape(input_shape)
        if self.resample == "up":
            height, width = 2 * height, 2 * width
        elif self.resample == "down":
            height, width = height // 2, width // 2
        return (n, height, width, self.filters)

    def get_config(self) -> dict:
        """Constructor arguments."""
        config = super().get_config() | {"resample": self.resample}
        config.pop("padding")
        return config


class MeanPool2D(keras.layers.Layer):
    """(N, 2 H, 2 W, C) -> (N, H, W, C), means of 2x2 blocks."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """`ganpipe.ops.resample.mean_pool`."""
        return resample_ops.mean_pool(inputs)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(N, H, W, C)."""
        n, height, width, channels = input_shape
        return (n, height // 2, width // 2, channels)
