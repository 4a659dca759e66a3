"""Bodies of igul222/improved_wgan_training (Gulrajani et al. 2017, arXiv 1704.00028).

The DCGAN-like pair of gan_cifar.py (32x32, DIM 128) and the pair of gan_mnist.py (28x28, DIM 64):
5x5 kernels with biases everywhere, LeakyReLU(0.2) and no normalisation in the critic, so that a
gradient penalty, which is one of each sample, means what it says. Weights are uniform with
variance 4 / (fan_in + fan_out) in convolutions, fan_out (transposed: fan_in) divided by the squared
stride, and 2 / (fan_in + fan_out) in dense layers; biases start at 0.

`precision` is the dtype policy of the inner layers; images that come out and logits are float32.
"""

import functools
import math
from typing import Any

import keras

from ganpipe.layers import dropout as dropout_lib
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.bodies_dcgan import LEAK, widths
from ganpipe.layers.conv import Conv2D, Conv2DTranspose
from ganpipe.layers.initializers import SeededInitializers

KERNEL = 5


def _uniform(init: SeededInitializers, variance: float) -> keras.initializers.Initializer:
    return init.uniform(math.sqrt(3.0 * variance))


def _dense(init: SeededInitializers, units: int, dtype: Any) -> keras.layers.Layer:
    return keras.layers.Dense(units, kernel_initializer=init.glorot_uniform(), dtype=dtype)


def _conv(init: SeededInitializers, inputs: int, filters: int, dtype: Any) -> keras.layers.Layer:
    """5x5, stride 2: the map's size is halved."""
    return Conv2D(
        filters,
        KERNEL,
        strides=2,
        padding="same",
        kernel_initializer=_uniform(init, 4.0 / (KERNEL**2 * (inputs + filters / 4))),
        dtype=dtype,
    )


class BiasAdd(keras.layers.Layer):
    """Adds one trainable number a channel, 0 at the start."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the (C,) bias."""
        self.bias = self.add_weight(name="bias", shape=(input_shape[-1],), initializer="zeros")

    def call(self, inputs: Any) -> Any:
        """(..., C) -> the same shape."""
        return inputs + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """The input's shape."""
        return input_shape


def _up(x: Any, init: SeededInitializers, filters: int, dtype: Any) -> Any:
    """5x5 transposed convolution of stride 2 with a bias: the map's size is doubled."""
    x = Conv2DTranspose(
        filters,
        KERNEL,
        strides=2,
        padding="same",
        use_bias=False,  # the layer with the fast gradient has none
        kernel_initializer=_uniform(init, 4.0 / (KERNEL**2 * (x.shape[-1] / 4 + filters))),
        dtype=dtype,
    )(x)
    return BiasAdd(dtype=dtype)(x)


def _critic(
    image: Any, maps: list[int], seed: int, precision: str, name: str, dropout: float
) -> keras.Model:
    init = SeededInitializers(seed)
    leaky = functools.partial(keras.ops.leaky_relu, negative_slope=LEAK)
    activate = dropout_lib.behind(leaky, dropout, precision)
    x = keras.ops.cast(image, keras.DTypePolicy(precision).compute_dtype)
    for width in maps:
        x = activate(_conv(init, x.shape[-1], width, precision)(x))
    x = keras.layers.Flatten(dtype=precision)(x)
    return keras.Model(image, _dense(init, 1, "float32")(x), name=name)


def build_cifar_generator(
    resolution: int,
    channels: int,
    latent_dim: int,
    dim: int,
    seed: int,
    precision: str = "float32",
    name: str = "generator",
) -> keras.Model:
    """z (B, latent_dim) -> images (B, R, R, C) float32 in [-1, 1]; gan_cifar.py at R = 32.

    Dense with batch norm (one gain and offset a unit), then transposed convolutions with batch norm
    and ReLU, and tanh. With R = 32, C = 3, z of 128: dim 128 has 5,179,907 parameters, dim 64 has
    1,565,955.

    Args:
      resolution: R, a power of two from 8 on.
      channels: C.
      latent_dim: length of z; 128 in the code.
      dim: channels of the largest map.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """
    init = SeededInitializers(seed)
    z = keras.Input((latent_dim,), name="z")
    top, *rest = widths(resolution, dim)
    x = _dense(init, 16 * top, precision)(z)
    x = keras.ops.relu(BatchNorm(dtype=precision)(x))
    x = keras.ops.reshape(x, (-1, 4, 4, top))
    for width in rest:
        x = keras.ops.relu(BatchNorm(dtype=precision)(_up(x, init, width, precision)))
    x = _up(x, init, channels, precision)
    return keras.Model(z, keras.ops.tanh(keras.ops.cast(x, "float32")), name=name)


def build_cifar_critic(
    resolution: int,
    channels: int,
    dim: int,
    seed: int,
    precision: str = "float32",
    name: str = "discriminator",
    *,
    dropout: float = 0.0,
) -> keras.Model:
    """Images (B, R, R, C) in [-1, 1] -> scores (B, 1) float32; gan_cifar.py at R = 32.

    With R = 32 and C = 3: dim 128 has 4,114,689 parameters, dim 64 has 1,033,345.

    Args:
      resolution: R, a power of two from 8 on.
      channels: C.
      dim: channels of the largest map.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
      dropout: share of units dropped behind every LeakyReLU; see `ganpipe.layers.dropout`.
    """
    image = keras.Input((resolution, resolution, channels), name="image")
    return _critic(image, widths(resolution, dim)[::-1], seed, precision, name, dropout)


def build_mnist_generator(
    dim: int = 64,
    latent_dim: int = 128,
    channels: int = 1,
    seed: int = 0,
    precision: str = "float32",
    name: str = "generator",
) -> keras.Model:
    """z (B, latent_dim) -> images (B, 28, 28, C) float32 in [-1, 1]; gan_mnist.py.

    dense 4x4x(4 dim), ReLU -> 5x5 up to 8x8x(2 dim), ReLU, cropped to 7x7 -> 14x14xdim, ReLU
    -> 28x28xC. No normalisation. The code ends in a sigmoid for pixels in [0, 1]; ours are in
    [-1, 1], so the output is 2 sigmoid(a) - 1 = tanh(a / 2). With dim 64 and one channel:
    1,554,177 parameters.

    Args:
      dim: channels of the largest map.
      latent_dim: length of z.
      channels: C.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """
    init = SeededInitializers(seed)
    z = keras.Input((latent_dim,), name="z")
    x = keras.ops.relu(_dense(init, 64 * dim, precision)(z))
    x = keras.ops.reshape(x, (-1, 4, 4, 4 * dim))
    x = keras.ops.relu(_up(x, init, 2 * dim, precision))[:, :7, :7, :]
    x = keras.ops.relu(_up(x, init, dim, precision))
    x = keras.ops.cast(_up(x, init, channels, precision), "float32")
    return keras.Model(z, keras.ops.tanh(0.5 * x), name=name)


def build_mnist_critic(
    dim: int = 64,
    channels: int = 1,
    seed: int = 0,
    precision: str = "float32",
    name: str = "discriminator",
    *,
    dropout: float = 0.0,
) -> keras.Model:
    """Images (B, 28, 28, C) in [-1, 1] -> scores (B, 1) float32; gan_mnist.py.

    Maps of 14, 7 and 4 pixels with dim, 2 dim and 4 dim channels, then a dense layer. With dim 64
    and one channel: 1,030,145 parameters. The code's pixels are in [0, 1], ours in [-1, 1]: a
    gradient in our pixels is half of one in the code's, which a penalty around 1 feels.

    Args:
      dim: channels of the largest map.
      channels: C.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
      dropout: share of units dropped behind every LeakyReLU; see `ganpipe.layers.dropout`.
    """
    image = keras.Input((28, 28, channels), name="image")
    return _critic(image, [dim, 2 * dim, 4 * dim], seed, precision, name, dropout)
