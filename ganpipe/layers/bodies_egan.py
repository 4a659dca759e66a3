"""Networks of E-GAN (Wang et al. 2018, arXiv 1803.00657), as in the authors' Theano code.

At 32x32 with nf 128, and in the same way at 8 and 16 with fewer stages:

    G: z (100) -> dense 4x4x512, ReLU -> [4x4 transposed conv stride 2, ReLU] 256, 128
         -> 4x4 transposed conv stride 2 to C, tanh
    D: 4x4 conv stride 2 to 128, LeakyReLU(.2) -> [the same, batch norm before it] 256, 512
         -> dense -> logit

At 64x64: G 4x4x1024 -> 1024, 512, 512, 256 -> 3x3 conv to C, tanh; D 128, 256, 512, 1024.

G has no normalisation. There are biases wherever no batch norm follows. Weights are N(0, .02),
biases 0. The code's last layer of D is a sigmoid; here D returns the logit. The networks of the
toys are in `bodies_mlp`.

| trainable parameters | G | D | D without batch norm |
|---|---|---|---|
| 32x32x3 | 3,455,363 | 2,637,441 | 2,636,673 |
| 64x64x3 | 33,121,283 | 11,036,289 | 11,034,497 |
"""

from typing import Any

import keras

from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.conv import Conv2D, Conv2DTranspose
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.spectral_norm import SNConv2D, SNDense

STDDEV = 0.02
LEAK = 0.2


def generator_widths(resolution: int, nf: int) -> tuple[int, list[int], bool]:
    """(channels of the 4x4 map, those of the larger maps, whether a 3x3 convolution ends it)."""
    if resolution == 64:
        return 8 * nf, [8 * nf, 4 * nf, 4 * nf, 2 * nf], True
    stages = (resolution // 4).bit_length() - 1
    first, *rest = [nf * 2 ** (stages - 1 - i) for i in range(stages)]
    return first, rest, False


def build_generator(
    resolution: int, channels: int, latent_dim: int, nf: int, seed: int, precision: str, name: str
) -> keras.Model:
    """z (B, latent_dim) -> images (B, R, R, C) float32 in [-1, 1], R of 8, 16, 32, 64."""
    init = SeededInitializers(seed)

    def arguments() -> dict[str, Any]:
        return {"kernel_initializer": init.normal(STDDEV), "dtype": precision}

    def double(x: Any, width: int) -> Any:
        return Conv2DTranspose(width, 4, strides=2, padding="same", **arguments())(x)

    first, rest, ends_in_3x3 = generator_widths(resolution, nf)
    z = keras.Input((latent_dim,), name="z")
    x = keras.layers.Dense(16 * first, "relu", **arguments())(z)
    x = keras.ops.reshape(x, (-1, 4, 4, first))
    for width in rest:
        x = keras.ops.relu(double(x, width))
    if ends_in_3x3:
        x = Conv2D(channels, 3, padding="same", **arguments())(x)
    else:
        x = double(x, channels)
    return keras.Model(z, keras.ops.tanh(keras.ops.cast(x, "float32")), name=name)


def build_discriminator(
    resolution: int, channels: int, nf: int, norm: str, seed: int, precision: str
) -> keras.Model:
    """Images (B, R, R, C) in [-1, 1] -> logits (B, 1) float32.

    `norm` is "batch" (the paper's), "none", which gradient penalties need, or "spectral".
    """
    init = SeededInitializers(seed)
    spectral = norm == "spectral"
    conv, dense = (SNConv2D, SNDense) if spectral else (Conv2D, keras.layers.Dense)
    padding = {} if spectral else {"padding": "same"}  # SNConv2D knows no other
    image = keras.Input((resolution, resolution, channels), name="image")
    x = keras.ops.cast(image, keras.DTypePolicy(precision).compute_dtype)
    for i in range((resolution // 4).bit_length() - 1):
        normalised = norm == "batch" and i > 0
        x = conv(
            nf * 2**i,
            4,
            strides=2,
            use_bias=not normalised,
            kernel_initializer=init.normal(STDDEV),
            dtype=precision,
            **padding,
        )(x)
        x = BatchNorm(dtype=precision)(x) if normalised else x
        x = keras.ops.leaky_relu(x, LEAK)
    x = keras.ops.reshape(x, (-1, 16 * x.shape[-1]))
    logits = dense(1, kernel_initializer=init.normal(STDDEV), dtype="float32")(x)
    return keras.Model(image, logits, name="discriminator")
