"""Maxout (Goodfellow et al. 2013, arXiv 1302.4389, eq. 1)."""

import keras
import tensorflow as tf


class Maxout(keras.layers.Layer):
    """Dense layer to units * pieces outputs, then the maximum over each unit's pieces.

    Args:
      units: width of the output.
      pieces: linear pieces a unit.
      kernel_initializer: initialiser of the (D, units * pieces) kernel; biases start at 0.
    """

    def __init__(
        self, units: int, pieces: int, kernel_initializer: object = "glorot_uniform", **kwargs
    ):
        super().__init__(**kwargs)
        self.units = units
        self.pieces = pieces
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel and the bias."""
        width = self.units * self.pieces
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], width), initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(width,), initializer="zeros")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(B, D) -> (B, units)."""
        z = tf.matmul(inputs, self.kernel) + self.bias
        return tf.reduce_max(tf.reshape(z, [-1, self.units, self.pieces]), axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(B, units)."""
        return (input_shape[0], self.units)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {
            "units": self.units,
            "pieces": self.pieces,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
