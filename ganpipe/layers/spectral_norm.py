"""Spectral normalisation as a re-parameterisation (Miyato et al. 2018, arXiv 1802.05957).

The layer keeps the raw weight W and computes with W / sigma(W), where sigma, the largest singular
value of W as a matrix with one row per output channel, comes from one power iteration a training
call on a vector u that outlives the call (section 2.1 and appendix A):

    v = W^T u / |W^T u|,   u <- W v / |W v|,   sigma = u^T W v

with u and v constants for the gradient, so that dsigma/dW = u v^T and the gradient of W loses its
part along u v^T (equation 12). `keras.layers.SpectralNormalization` is something else: it
overwrites W by W / sigma at every training call, and no gradient flows through sigma.

Cost: two products of the matrix with a vector a call and a division, in float32 whatever the
compute dtype; the normalised kernel is cast once. At inference u stays, and sigma = |W^T u| is
what the last u gives. In training every *call* moves u: pass real and fake images in one call, or
know that two calls are two iterations.
"""

from typing import Any

import keras
import tensorflow as tf

from ganpipe.layers.resample_conv import ResampledConv2D

EPSILON = 1e-12  # added to the norms of u and v, as in the official code


def _unit(x: tf.Tensor) -> tf.Tensor:
    return x / (tf.norm(x) + EPSILON)


def normalise(matrix: tf.Tensor, u: tf.Tensor, training: bool) -> tuple[tf.Tensor, tf.Tensor]:
    """(sigma, next u) of the transpose of W.

    Args:
      matrix: (K, out) float32: columns are output channels.
      u: (1, out) float32.
      training: True for one power iteration; False for the sigma of the u there is, |W^T u|.

    Returns:
      sigma, a scalar whose gradient with respect to `matrix` is v^T u; and u of length 1.
    """
    constant = tf.stop_gradient(matrix)
    if not training:
        u = _unit(u)
    v = _unit(tf.matmul(u, constant, transpose_b=True))
    # v W^T serves both the next u and sigma: W is read twice in all.
    product = tf.matmul(v, matrix)
    if training:
        u = _unit(tf.stop_gradient(product))
    return tf.reduce_sum(product * u), u


class _Spectral(keras.layers.Layer):
    """What the three layers share: float32 W, the vector u, and W / sigma."""

    def add_weight(self, *args: Any, **kwargs: Any) -> keras.Variable:
        """Keras' `add_weight`; W is read in float32 also under mixed precision."""
        if kwargs.get("name") in ("kernel", "embeddings"):
            kwargs["autocast"] = False
        return super().add_weight(*args, **kwargs)

    def add_u(self, rows: int) -> None:
        """Makes u, (1, rows) ~ N(0, 1)."""
        self.u = self.add_weight(
            name="u",
            shape=(1, rows),
            initializer=self.u_initializer,
            trainable=False,
            dtype="float32",
            autocast=False,
            aggregation="mean",  # replicas hold equal u; a mean keeps them so
        )

    def normalised(self, weight: tf.Tensor, matrix: tf.Tensor, training: bool) -> tf.Tensor:
        """`weight` / sigma in the compute dtype; moves u in training."""
        sigma, u = normalise(matrix, tf.convert_to_tensor(self.u.value), training)
        if training:
            self.u.assign(u)
        return tf.cast(weight / sigma, self.compute_dtype)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {
            "u_initializer": keras.initializers.serialize(self.u_initializer)
        }


def _u_initializer(value: Any) -> keras.initializers.Initializer:
    return keras.initializers.get(value) or keras.initializers.RandomNormal(0.0, 1.0)


class SNConv2D(_Spectral, ResampledConv2D):
    """`ResampledConv2D` with W / sigma(W); the matrix is (filters, kh kw in), biases are untouched.

    Args:
      filters: channels of the output.
      kernel_size: 1 or 3 with a resample, else any.
      resample: "", "up" or "down"; sigma is that of the plain kernel.
      u_initializer: of u, (1, filters); N(0, 1) when None.
      **kwargs: of `keras.layers.Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        resample: str = "",
        u_initializer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(filters, kernel_size, resample, **kwargs)
        self.u_initializer = _u_initializer(u_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes kernel (kh, kw, in, filters), bias and u."""
        super().build(input_shape)
        self.add_u(self.filters)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, H, W, C) -> (B, H', W', filters) in the compute dtype."""
        kernel = tf.convert_to_tensor(self._kernel.value)
        matrix = tf.reshape(kernel, [-1, self.filters])
        y = self.convolution_op(inputs, self.normalised(kernel, matrix, training))
        y = y if self.bias is None else y + tf.cast(self.bias.value, y.dtype)
        return y if self.activation is None else self.activation(y)


class SNDense(_Spectral, keras.layers.Dense):
    """`keras.layers.Dense` with W / sigma(W); the matrix is (units, in).

    Args:
      units: width of the output.
      u_initializer: of u, (1, units); N(0, 1) when None.
      **kwargs: of `keras.layers.Dense`.
    """

    def __init__(self, units: int, u_initializer: Any = None, **kwargs: Any):
        super().__init__(units, **kwargs)
        self.u_initializer = _u_initializer(u_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes kernel (in, units), bias and u."""
        super().build(input_shape)
        self.add_u(self.units)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B, in) -> (B, units) in the compute dtype."""
        kernel = tf.convert_to_tensor(self._kernel.value)
        y = tf.matmul(inputs, self.normalised(kernel, kernel, training))
        y = y if self.bias is None else y + tf.cast(self.bias.value, y.dtype)
        return y if self.activation is None else self.activation(y)


class SNEmbedding(_Spectral):
    """Table of one vector a class, divided by its largest singular value.

    The matrix is (classes, width) and u has one entry a class, as in the official code. A label
    picks its row by a product with a one-hot matrix, so the gradient is a dense tensor.

    Args:
      num_classes: rows K.
      width: length of a vector.
      embeddings_initializer: of the table.
      u_initializer: of u, (1, num_classes); N(0, 1) when None.
    """

    def __init__(
        self,
        num_classes: int,
        width: int,
        embeddings_initializer: Any = "glorot_uniform",
        u_initializer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_classes, self.width = num_classes, width
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.u_initializer = _u_initializer(u_initializer)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the (K, width) table and u."""
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_classes, self.width),
            initializer=self.embeddings_initializer,
        )
        self.add_u(self.num_classes)

    def call(self, labels: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(B,) integers in [0, K) -> (B, width) in the compute dtype."""
        table = tf.convert_to_tensor(self.embeddings.value)
        table = self.normalised(table, tf.transpose(table), training)
        one_hot = tf.one_hot(tf.cast(labels, tf.int32), self.num_classes, dtype=table.dtype)
        return tf.matmul(one_hot, table)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(B, width)."""
        return (*input_shape, self.width)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {
            "num_classes": self.num_classes,
            "width": self.width,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
        }
