"""Fully connected pairs: points of the 2-D toys, WGAN's option for images, and f-GAN's MNIST pair.

Every builder gives a functional Keras model. `precision` is the dtype policy of the inner layers;
what comes out is float32.
"""

import math
from typing import Any

import keras

from ganpipe.layers import spectral_norm
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.initializers import SeededInitializers

POINTS_NORMS = ("none", "batch", "layer", "spectral")


def _points_initializer(init: SeededInitializers, stddev: float | None, last: bool) -> Any:
    if stddev is not None:
        return init.normal(stddev)
    return init.glorot_uniform() if last else init.he_uniform()


def build_points_generator(
    coordinates: int = 2,
    latent_dim: int = 2,
    width: int = 512,
    depth: int = 3,
    seed: int = 0,
    precision: str = "float32",
    name: str = "generator",
    *,
    stddev: float | None = None,
) -> keras.Model:
    """z (B, latent_dim) -> points (B, 1, 1, coordinates) float32, any values.

    `depth` hidden ReLU layers and a linear one, as in gan_toy.py of improved_wgan_training and in
    E-GAN's toys: with two coordinates, z of 2, width 512 and depth 3 it has 527,874 parameters.

    Args:
      coordinates: of a point; they take the place of an image's channels.
      latent_dim: length of z.
      width: units a hidden layer.
      depth: hidden layers.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
      stddev: weights start as N(0, stddev^2) (E-GAN: 0.02). None: uniform with variance 2 / fan_in,
        2 / (fan_in + fan_out) in the last layer (gan_toy.py).
    """
    init = SeededInitializers(seed)
    z = keras.Input((latent_dim,), name="z")
    x = z
    for _ in range(depth):
        start = _points_initializer(init, stddev, False)
        x = keras.layers.Dense(width, "relu", kernel_initializer=start, dtype=precision)(x)
    start = _points_initializer(init, stddev, True)
    x = keras.layers.Dense(coordinates, kernel_initializer=start, dtype="float32")(x)
    return keras.Model(z, keras.ops.reshape(x, (-1, 1, 1, coordinates)), name=name)


def build_points_discriminator(
    coordinates: int = 2,
    width: int = 512,
    depth: int = 3,
    norm: str = "none",
    seed: int = 0,
    precision: str = "float32",
    name: str = "discriminator",
    *,
    stddev: float | None = None,
) -> keras.Model:
    """Points (B, 1, 1, coordinates) -> logits (B, 1) float32.

    With norm "batch" the second hidden layer has batch normalisation in place of its bias, as in
    E-GAN's toys without gradient penalty: 527,873 parameters at width 512 and depth 3 (527,361
    with "none").

    Args:
      coordinates: of a point.
      width: units a hidden layer.
      depth: hidden layers.
      norm: one of `POINTS_NORMS`: "layer" behind every hidden layer, "spectral" in every layer.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
      stddev: as in `build_points_generator`.
    """
    init = SeededInitializers(seed)
    dense = keras.layers.Dense
    if norm == "spectral":
        dense = spectral_norm.SNDense
    points = keras.Input((1, 1, coordinates), name="image")
    x = keras.ops.reshape(points, (-1, coordinates))
    for i in range(depth):
        batch = norm == "batch" and i == 1
        start = _points_initializer(init, stddev, False)
        x = dense(width, use_bias=not batch, kernel_initializer=start, dtype=precision)(x)
        if batch:
            x = BatchNorm(dtype=precision)(x)
        if norm == "layer":
            x = keras.layers.LayerNormalization(epsilon=1e-5, dtype=precision)(x)
        x = keras.ops.relu(x)
    start = _points_initializer(init, stddev, True)
    logits = dense(1, kernel_initializer=start, dtype="float32")(x)
    return keras.Model(points, logits, name=name)


def _torch_dense(init: SeededInitializers, inputs: int, units: int, dtype: Any) -> Any:
    """Starts as torch.nn.Linear: weights and biases U(-l, l), l = 1 / sqrt(inputs)."""
    limit = 1.0 / math.sqrt(inputs)
    return keras.layers.Dense(
        units,
        kernel_initializer=init.uniform(limit),
        bias_initializer=init.uniform(limit),
        dtype=dtype,
    )


def build_wgan_generator(
    resolution: int,
    channels: int,
    latent_dim: int,
    width: int,
    seed: int,
    precision: str = "float32",
    name: str = "generator",
) -> keras.Model:
    """z (B, latent_dim) -> images (B, R, R, C) float32, around [-1, 1] but not bounded by it.

    WassersteinGAN's mlp.py: three hidden ReLU layers and a linear output without tanh, with
    PyTorch's own start of the weights. 6,880,768 parameters at 64x64x3, z of 100, width 512.

    Args:
      resolution: R.
      channels: C.
      latent_dim: length of z.
      width: units a hidden layer.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """
    init = SeededInitializers(seed)
    z = keras.Input((latent_dim,), name="z")
    x = z
    for _ in range(3):
        x = keras.ops.relu(_torch_dense(init, x.shape[-1], width, precision)(x))
    x = _torch_dense(init, width, resolution * resolution * channels, precision)(x)
    x = keras.ops.reshape(keras.ops.cast(x, "float32"), (-1, resolution, resolution, channels))
    return keras.Model(z, x, name=name)


def build_wgan_critic(
    resolution: int,
    channels: int,
    width: int,
    seed: int,
    precision: str = "float32",
    name: str = "discriminator",
) -> keras.Model:
    """Images (B, R, R, C) -> scores (B, 1) float32; 6,817,793 parameters at 64x64x3, width 512.

    Args:
      resolution: R.
      channels: C.
      width: units a hidden layer.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """
    init = SeededInitializers(seed)
    image = keras.Input((resolution, resolution, channels), name="image")
    x = keras.layers.Flatten(dtype=precision)(image)
    for _ in range(3):
        x = keras.ops.relu(_torch_dense(init, x.shape[-1], width, precision)(x))
    return keras.Model(image, _torch_dense(init, width, 1, "float32")(x), name=name)


def build_fgan_generator(
    resolution: int,
    channels: int,
    latent_dim: int,
    width: int,
    seed: int,
    precision: str = "float32",
    name: str = "generator",
) -> keras.Model:
    """z (B, latent_dim) -> images (B, R, R, C) float32 in [-1, 1].

    f-GAN's MNIST generator: two layers of `width` (1200) units, each with batch normalisation and
    ReLU, then a linear one and a sigmoid; ours ends in 2 sigmoid(a) - 1 = tanh(a / 2), because
    pixels are in [-1, 1]. Weights start as U(-.05, .05), our reading of the paper's "weight scale
    of 0.05, as in [Goodfellow et al.]" (unverified: recalled, the text was not at hand).

    Args:
      resolution: R.
      channels: C.
      latent_dim: length of z; 100 in the paper.
      width: units a hidden layer.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """
    init = SeededInitializers(seed)
    z = keras.Input((latent_dim,), name="z")
    x = z
    for _ in range(2):
        x = keras.layers.Dense(width, kernel_initializer=init.uniform(0.05), dtype=precision)(x)
        x = keras.ops.relu(BatchNorm(dtype=precision)(x))
    x = keras.layers.Dense(
        resolution * resolution * channels, kernel_initializer=init.uniform(0.05), dtype=precision
    )(x)
    x = keras.ops.tanh(0.5 * keras.ops.cast(x, "float32"))
    return keras.Model(z, keras.ops.reshape(x, (-1, resolution, resolution, channels)), name=name)


def build_fgan_critic(
    resolution: int,
    channels: int,
    width: int,
    seed: int,
    precision: str = "float32",
    name: str = "discriminator",
) -> keras.Model:
    """Images (B, R, R, C) in [-1, 1] -> v (B, 1) float32: f-GAN's variational function.

    Two layers of `width` (240) units with ELU between three linear maps; pixels are rescaled to
    [0, 1] first. Weights start as U(-.005, .005) (unverified, as above).

    Args:
      resolution: R.
      channels: C.
      width: units a hidden layer.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """
    init = SeededInitializers(seed)
    image = keras.Input((resolution, resolution, channels), name="image")
    x = keras.layers.Flatten(dtype=precision)((image + 1.0) * 0.5)
    for _ in range(2):
        x = keras.layers.Dense(
            width, "elu", kernel_initializer=init.uniform(0.005), dtype=precision
        )(x)
    v = keras.layers.Dense(1, kernel_initializer=init.uniform(0.005), dtype="float32")(x)
    return keras.Model(image, v, name=name)
