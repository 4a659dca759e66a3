"""Class-conditional batch normalisation, and WGAN-GP's layer normalisation of maps."""

import keras
import tensorflow as tf

from ganpipe.layers.batch_norm import BatchNorm


class ConditionalBatchNorm(BatchNorm):
    """Batch normalisation whose gain and offset belong to the class (Dumoulin et al. 1610.07629).

    Called with maps (B, H, W, C) and (B,) integer labels in [0, num_classes). Statistics are those
    of `BatchNorm`, over all classes together; weights are (num_classes, C) float32, gains start at
    1 and offsets at 0. The label picks its row by a product with a one-hot matrix: the gradient
    stays a dense tensor, which the fused Adam takes, and does not depend on the order of rows.

    Args:
      num_classes: rows of gain and offset.
      momentum: share of the old moving statistics kept at an update.
      epsilon: added to the variance; 2e-5 is Chainer's.
    """

    def __init__(
        self, num_classes: int, momentum: float = 0.9, epsilon: float = 2e-5, **kwargs: object
    ):
        super().__init__(momentum, epsilon, scale_and_shift=False, **kwargs)
        self.num_classes = num_classes

    def build(self, inputs_shape: tuple[int | None, ...], labels_shape: tuple = ()) -> None:
        """Makes (K, C) gain and offset, (C,) moving statistics, all float32."""
        super().build(inputs_shape)
        shape = (self.num_classes, inputs_shape[-1])
        kwargs = {"shape": shape, "dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **kwargs)
        self.beta = self.add_weight(name="beta", initializer="zeros", **kwargs)

    def call(self, inputs: tf.Tensor, labels: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, H, W, C), (B,) -> (B, H, W, C) in the dtype of `inputs`."""
        x = super().call(inputs, training=training)
        one_hot = tf.one_hot(tf.cast(labels, tf.int32), self.num_classes)
        gain, offset = (
            tf.cast(tf.matmul(one_hot, table.value), x.dtype)[:, None, None, :]
            for table in (self.gamma, self.beta)
        )
        return x * gain + offset

    def compute_output_shape(self, inputs_shape: tuple, labels_shape: tuple = ()) -> tuple:
        """The shape of the maps."""
        return inputs_shape

    def get_config(self) -> dict:
        """Constructor arguments."""
        config = super().get_config() | {"num_classes": self.num_classes}
        return {
            k: v for k, v in config.items() if k not in ("gamma_initializer", "scale_and_shift")
        }


class LayerNorm2D(keras.layers.Layer):
    """Layer normalisation over (H, W, C) with gain and offset per channel (1704.00028, section 4).

    Every image is normalised by itself, so a gradient penalty per image makes sense under it.
    Statistics, gain and offset are float32; the result has the dtype of the input.

    Args:
      epsilon: added to the variance.
    """

    def __init__(self, epsilon: float = 1e-5, **kwargs: object):
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes (C,) gain (ones) and offset (zeros)."""
        kwargs = {"shape": (input_shape[-1],), "dtype": "float32", "autocast": False}
        self.gamma = self.add_weight(name="gamma", initializer="ones", **kwargs)
        self.beta = self.add_weight(name="beta", initializer="zeros", **kwargs)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) -> the same shape and dtype, mean 0 and variance 1 per image before gain."""
        x = tf.cast(inputs, tf.float32)
        mean = tf.reduce_mean(x, [1, 2, 3], keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), [1, 2, 3], keepdims=True)
        gain = self.gamma.value * tf.math.rsqrt(variance + self.epsilon)  # (B, 1, 1, C)
        return tf.cast(x * gain + (self.beta.value - mean * gain), inputs.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {"epsilon": self.epsilon}
