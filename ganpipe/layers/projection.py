"""A frozen random projection of images to one channel, in front of a discriminator."""

from typing import Any

import keras
import tensorflow as tf


class RandomProjection(keras.layers.Layer):
    """K x K convolution to one channel with a random filter of norm 1 that never trains.

    Albuquerque et al. 2019 (arXiv 1901.08680) give each of several discriminators its own, so that
    they see different things. In their code: weight normalisation with gain 1, no bias.

    Args:
      kernel_size: K.
      strides: of the convolution; padding is SAME.
      seed: of the filter.
    """

    def __init__(self, kernel_size: int, strides: int, seed: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel_size, self.strides, self.seed = kernel_size, strides, seed

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Draws the (K, K, C, 1) filter, normal, divided by its norm."""

        def unit(shape: tuple[int, ...], dtype: Any = None) -> tf.Tensor:
            v = tf.random.stateless_normal(shape, [self.seed, 0])
            return v / tf.norm(v)

        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, input_shape[-1], 1),
            initializer=unit,
            trainable=False,
        )

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> (B, ceil(H / strides), ceil(W / strides), 1)."""
        return tf.nn.conv2d(inputs, tf.convert_to_tensor(self.kernel), self.strides, "SAME")

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(B, ceil(H / strides), ceil(W / strides), 1)."""
        batch, height, width, _ = input_shape
        return (batch, -(-height // self.strides), -(-width // self.strides), 1)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "seed": self.seed,
        }
