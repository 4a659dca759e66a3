"""The convolutional conditional pair of Newmu/dcgan_code, mnist/train_cond_dcgan.py (gan.md, 6).

    G: z, y -> dense 1024, BN, ReLU -> + y -> dense (R/4)^2 x 128, BN, ReLU
         -> + y -> 5x5 transposed conv stride 2 -> 64, BN, ReLU -> + y -> the same -> C, sigmoid
    D: x + y -> 5x5 conv stride 2 -> 64, LeakyReLU(0.2) -> + y -> 128, BN, LeakyReLU
         -> + y -> dense 1024, BN, LeakyReLU -> + y -> dense -> logit

The one-hot label y joins every layer. No biases; batch normalisation without gain and offset;
weights N(0, 0.02). At 28x28x1, z of 100 and 10 classes: 6,820,538 (G) and 6,688,202 (D) parameters.
Images are in [-1, 1] here, in [0, 1] there: G ends in tanh(a / 2) = 2 sigmoid(a) - 1, D rescales.
"""

from typing import Any

import keras

from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.bodies_dcgan import LEAK, STDDEV, join_label, label_input
from ganpipe.layers.conv import Conv2D, Conv2DTranspose
from ganpipe.layers.initializers import SeededInitializers


def _norm(precision: str) -> BatchNorm:
    return BatchNorm(scale_and_shift=False, dtype=precision)


def build_generator(
    resolution: int,
    channels: int,
    num_classes: int,
    latent_dim: int,
    seed: int,
    precision: str,
    name: str,
) -> keras.Model:
    """[z (B, latent_dim), label (B,)] -> images (B, R, R, C) float32 in [-1, 1].

    Args:
      resolution: R, a multiple of 4.
      channels: C.
      num_classes: K.
      latent_dim: length of z.
      seed: of the weights.
      precision: dtype policy of the inner layers.
      name: of the model.
    """
    init, side = SeededInitializers(seed), resolution // 4

    def options() -> dict[str, Any]:
        return {
            "use_bias": False,
            "kernel_initializer": init.normal(STDDEV),
            "dtype": precision,
        }

    z = keras.Input((latent_dim,), name="z")
    label, one_hot = label_input(num_classes)
    x = keras.layers.Dense(1024, **options())(join_label(z, one_hot))
    x = keras.ops.relu(_norm(precision)(x))
    x = keras.layers.Dense(side * side * 128, **options())(join_label(x, one_hot))
    x = keras.ops.reshape(keras.ops.relu(_norm(precision)(x)), (-1, side, side, 128))
    up = {"strides": 2, "padding": "same"}
    x = Conv2DTranspose(64, 5, **up, **options())(join_label(x, one_hot))
    x = keras.ops.relu(_norm(precision)(x))
    x = Conv2DTranspose(channels, 5, **up, **options())(join_label(x, one_hot))
    images = keras.ops.tanh(0.5 * keras.ops.cast(x, "float32"))
    return keras.Model([z, label], images, name=name)


def build_discriminator(
    resolution: int,
    channels: int,
    num_classes: int,
    seed: int,
    precision: str,
    name: str = "discriminator",
) -> keras.Model:
    """[images (B, R, R, C) in [-1, 1], label (B,)] -> logits (B, 1) float32; as `build_generator`.

    Args:
      resolution: R, a multiple of 4.
      channels: C.
      num_classes: K.
      seed: of the weights.
      precision: dtype policy of the inner layers.
      name: of the model.
    """
    init = SeededInitializers(seed)

    def options() -> dict[str, Any]:
        return {
            "use_bias": False,
            "kernel_initializer": init.normal(STDDEV),
            "dtype": precision,
        }

    image = keras.Input((resolution, resolution, channels), name="image")
    label, one_hot = label_input(num_classes)
    x = keras.ops.cast(0.5 * (image + 1.0), keras.DTypePolicy(precision).compute_dtype)
    down = {"strides": 2, "padding": "same"}
    x = Conv2D(64, 5, **down, **options())(join_label(x, one_hot))
    x = keras.ops.leaky_relu(x, LEAK)
    x = Conv2D(128, 5, **down, **options())(join_label(x, one_hot))
    x = keras.ops.leaky_relu(_norm(precision)(x), LEAK)
    x = keras.layers.Flatten(dtype=precision)(x)
    x = keras.layers.Dense(1024, **options())(join_label(x, one_hot))
    x = keras.ops.leaky_relu(_norm(precision)(x), LEAK)
    logits = keras.layers.Dense(1, **(options() | {"dtype": "float32"}))(join_label(x, one_hot))
    return keras.Model([image, label], logits, name=name)
