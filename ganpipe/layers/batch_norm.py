"""Batch normalisation with PyTorch's conventions, fused, and equal on all replicas."""

import keras
import tensorflow as tf


class BatchNorm(keras.layers.Layer):
    """Batch normalisation over all axes but the last (Ioffe & Szegedy 2015, arXiv 1502.03167).

    Three things differ from `keras.layers.BatchNormalization`, each with a reason:

    - Moving statistics are averaged over replicas at every update. In Keras each replica keeps its
      own, and nothing tells that they drift apart.
    - One fused kernel, also for bfloat16 inputs on CPUs; statistics, scale and offset are float32.
    - Defaults of the DCGAN codes: epsilon 1e-5, momentum 0.9 (PyTorch's 0.1), gain N(1, 0.02). The
      moving variance takes the unbiased batch variance, as PyTorch's does.

    Batch statistics are those of the replica's own batch. At inference the moving statistics are
    used, so a row does not depend on its neighbours.

    Args:
      momentum: share of the old moving statistics kept at an update.
      epsilon: added to the variance.
      gamma_initializer: initialiser of the gain; ones when None.
      scale_and_shift: False leaves out gain and offset (as Newmu's conditional DCGAN does).
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-5,
        gamma_initializer: keras.initializers.Initializer | None = None,
        scale_and_shift: bool = True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.gamma_initializer = gamma_initializer
        self.scale_and_shift = scale_and_shift

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes (C,) gain, offset and moving statistics, all float32."""

        def weight(name: str, initializer: object, trainable: bool) -> keras.Variable:
            return self.add_weight(
                name=name,
                shape=(input_shape[-1],),
                initializer=initializer,
                trainable=trainable,
                dtype="float32",
                autocast=False,
                # Moving statistics: replicas see different images, the average is kept.
                aggregation="none" if trainable else "mean",
            )

        if self.scale_and_shift:
            self.gamma = weight("gamma", self.gamma_initializer or "ones", True)
            self.beta = weight("beta", "zeros", True)
        self.moving_mean = weight("moving_mean", "zeros", False)
        self.moving_variance = weight("moving_variance", "ones", False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, ..., C) -> same shape and dtype, normalised per channel."""
        shape = tf.shape(inputs)
        channels = inputs.shape[-1]
        x = inputs if inputs.shape.rank == 4 else tf.reshape(inputs, [-1, 1, 1, channels])
        gain = self.gamma.value if self.scale_and_shift else tf.ones([channels])
        offset = self.beta.value if self.scale_and_shift else tf.zeros([channels])
        if training:
            y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=gain, offset=offset, mean=[], variance=[], epsilon=self.epsilon
            )
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        else:
            y, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x,
                scale=gain,
                offset=offset,
                mean=self.moving_mean.value,
                variance=self.moving_variance.value,
                epsilon=self.epsilon,
                is_training=False,
            )
        return y if inputs.shape.rank == 4 else tf.reshape(y, shape)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer)
            if self.gamma_initializer
            else None,
            "scale_and_shift": self.scale_and_shift,
        }
