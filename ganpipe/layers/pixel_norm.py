"""Normalisation of each pixel's feature vector (Karras et al. 2018, arXiv 1710.10196, 4.2)."""

from typing import Any

import keras
import tensorflow as tf


def pixel_norm(x: tf.Tensor, axis: int = -1, epsilon: float = 1e-8) -> tf.Tensor:
    """x / sqrt(mean(x^2) + epsilon) along `axis`; no centring, nothing learned.

    Args:
      x: (..., C), any float type; the mean is taken in float32 (or wider).
      axis: of the features.
      epsilon: inside the root.

    Returns:
      The shape and the type of x.
    """
    wide = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
    mean = tf.reduce_mean(tf.square(wide), axis=axis, keepdims=True)
    return x * tf.cast(tf.math.rsqrt(mean + epsilon), x.dtype)


class PixelNorm(keras.layers.Layer):
    """`pixel_norm` as a layer.

    Args:
      axis: of the features.
      epsilon: inside the root.
      **kwargs: `name`, `dtype`.
    """

    def __init__(self, axis: int = -1, epsilon: float = 1e-8, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis, self.epsilon = axis, epsilon

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(..., C) -> (..., C)."""
        return pixel_norm(inputs, self.axis, self.epsilon)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """That of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {"axis": self.axis, "epsilon": self.epsilon}
