"""The networks of SN-GAN and the projection discriminator (1802.05957, 1802.05637).

ResNets, at 32 (appendix B.4, table 4) and at 64 and 128 (table 5; the official code's sizes):

    G 32:  z -> dense 4x4xN, blocks up N, N, N -> BN, ReLU, conv 3x3, tanh              N 256
    G 128: z -> dense 4x4x16N, blocks up 16, 8, 4, 2, 1 N -> BN, ReLU, conv 3x3, tanh    N 64
    D 32:  blocks down M, M, plain M, M -> ReLU, sum -> dense without bias              M 128
    D 128: blocks down M, 2, 4, 8, 16 M, plain 16 M -> ReLU, sum -> dense               M 64

64 is 128 without G's first block up and D's last block. The standard CNN (table 3), R a multiple
of 8:

    G: z -> dense R/8xR/8x8N, BN, ReLU -> 4x4 transposed conv stride 2, BN, ReLU: 4, 2, 1 N
         -> conv 3x3, tanh                                                               N 64
    D: conv 3x3 M, 4x4/2 M, 3x3 2M, 4x4/2 2M, 3x3 4M, 4x4/2 4M, 3x3 8M, LeakyReLU(0.1) -> dense

Every weight of D is spectrally normalised, none of G. With classes, G's batch norms in the blocks
are conditional (the last one is not), and D adds <SNEmbed(y), h> to the logit, h being what the
dense layer sees. Builders return functional models; `precision` is the policy of inner layers.
"""

import functools
from typing import Any

import keras

from ganpipe.errors import UserError
from ganpipe.layers import dropout as dropout_lib
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.conv import Conv2DTranspose
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.resample_conv import ResampledConv2D
from ganpipe.layers.resnet import batch_norms, block, label_input
from ganpipe.layers.spectral_norm import SNConv2D, SNDense, SNEmbedding

RESOLUTIONS = (32, 64, 128)  # of the ResNets
EPSILON = 2e-5  # Chainer's, of batch norm
LEAK = 0.1
STDDEV = 0.02  # of the standard CNN's weights


def check(body: str, resolution: int) -> None:
    """Refuses sizes that a body cannot have.

    Raises:
      UserError: names the size and what the body takes.
    """
    if body == "resnet" and resolution not in RESOLUTIONS:
        raise UserError(
            f"data.resolution: {resolution}; sngan's ResNets are for 32, 64 and 128 "
            "(system.body=cnn takes any multiple of 8)."
        )
    if body == "cnn" and (resolution < 8 or resolution % 8):
        raise UserError(
            f"data.resolution: {resolution}; sngan's CNN halves three times, so expected a "
            "multiple of 8."
        )


def _finish(x: Any, z: Any, label: Any, name: str) -> keras.Model:
    images = keras.ops.tanh(keras.ops.cast(x, "float32"))
    return keras.Model(z if label is None else [z, label], images, name=name)


def build_resnet_generator(
    resolution: int,
    channels: int,
    num_classes: int,
    latent_dim: int,
    nf: int,
    seed: int,
    precision: str,
    name: str = "generator",
) -> keras.Model:
    """z (B, latent_dim) [, label (B,)] -> images (B, R, R, C) float32 in [-1, 1].

    Args:
      resolution: 32, 64 or 128.
      channels: C.
      num_classes: 0 for unconditional.
      latent_dim: length of z.
      nf: N of the table above: 256 at 32, else 64.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """
    multiples = {32: (1, 1, 1, 1), 64: (16, 8, 4, 2, 1), 128: (16, 16, 8, 4, 2, 1)}[resolution]
    first, *widths = [nf * m for m in multiples]
    init = SeededInitializers(seed)

    def conv(
        x: Any, width: int, size: int, gain: float, resample: str = "", place: str = ""
    ) -> Any:
        kernel = init.glorot_uniform(gain)
        layer = ResampledConv2D(width, size, resample, kernel_initializer=kernel, dtype=precision)
        return layer(x)

    z, label = keras.Input((latent_dim,), name="z"), label_input(num_classes)
    normalise = batch_norms(label, num_classes, EPSILON, precision)
    dense = keras.layers.Dense(
        16 * first, kernel_initializer=init.glorot_uniform(), dtype=precision
    )
    x = keras.ops.reshape(dense(z), (-1, 4, 4, first))
    for width in widths:
        x = block(x, width, conv, normalise, resample="up")
    x = keras.ops.relu(BatchNorm(epsilon=EPSILON, dtype=precision)(x))
    return _finish(conv(x, channels, 3, gain=1.0), z, label, name)


def _image_input(resolution: int, channels: int, precision: str) -> tuple[Any, Any]:
    image = keras.Input((resolution, resolution, channels), name="image")
    return image, keras.ops.cast(image, keras.DTypePolicy(precision).compute_dtype)


def _project(
    h: Any, image: Any, num_classes: int, use_bias: bool, start: Any, u: Any, name: str
) -> keras.Model:
    """Logit SNDense(h) [+ <SNEmbed(y), h>] (1802.05637, figure 2), in float32."""
    h = keras.ops.cast(h, "float32")
    logits = SNDense(
        1, use_bias=use_bias, kernel_initializer=start(), u_initializer=u(), dtype="float32"
    )(h)
    label = label_input(num_classes)
    if label is None:
        return keras.Model(image, logits, name=name)
    embedded = SNEmbedding(
        num_classes,
        h.shape[-1],
        embeddings_initializer=start(),
        u_initializer=u(),
        dtype="float32",
    )(label)
    logits = logits + keras.ops.sum(embedded * h, axis=1, keepdims=True)
    return keras.Model([image, label], logits, name=name)


def build_resnet_discriminator(
    resolution: int,
    channels: int,
    num_classes: int,
    nf: int,
    seed: int,
    precision: str,
    name: str = "discriminator",
    *,
    dropout: float = 0.0,
) -> keras.Model:
    """Images (B, R, R, C) in [-1, 1] [, label (B,)] -> logits (B, 1) float32.

    Args:
      resolution: 32, 64 or 128.
      channels: C.
      num_classes: 0 for unconditional.
      nf: M of the table above: 128 at 32, else 64.
      seed: of the weights and of u.
      precision: dtype policy.
      name: of the model.
      dropout: share of units dropped behind every ReLU; see `ganpipe.layers.dropout`.
    """
    widths, resamples = {
        32: ((1, 1, 1, 1), ("down", "down", "", "")),
        64: ((1, 2, 4, 8, 16), ("down",) * 5),
        128: ((1, 2, 4, 8, 16, 16), ("down",) * 5 + ("",)),
    }[resolution]
    init = SeededInitializers(seed)

    def unit() -> Any:
        return init.normal(1.0)

    def conv(
        x: Any, width: int, size: int, gain: float, resample: str = "", place: str = ""
    ) -> Any:
        kernel = init.glorot_uniform(gain)
        layer = SNConv2D(
            width,
            size,
            resample,
            kernel_initializer=kernel,
            u_initializer=unit(),
            dtype=precision,
        )
        return layer(x)

    activate = dropout_lib.behind(keras.ops.relu, dropout, precision)
    image, x = _image_input(resolution, channels, precision)
    for i, (multiple, resample) in enumerate(zip(widths, resamples, strict=True)):
        first = i == 0
        x = block(x, nf * multiple, conv, resample=resample, first=first, activate=activate)
    # A sum, not a mean: it sets the size of the logits against the hinge's margin of 1.
    h = keras.ops.sum(keras.ops.cast(activate(x), "float32"), axis=(1, 2))
    return _project(h, image, num_classes, resolution != 32, init.glorot_uniform, unit, name)


def build_cnn_generator(
    resolution: int,
    channels: int,
    num_classes: int,
    latent_dim: int,
    nf: int,
    seed: int,
    precision: str,
    name: str = "generator",
    *,
    first_norm: bool = True,
) -> keras.Model:
    """z (B, latent_dim) [, label (B,)] -> images (B, R, R, C) float32 in [-1, 1].

    At 32x32x3 with nf 64 and z of 128 it has 3,813,379 parameters, 3,812,355 without
    `first_norm` (as hGAN's code builds it).

    Args:
      resolution: a multiple of 8.
      channels: C.
      num_classes: 0 for unconditional.
      latent_dim: length of z.
      nf: N of the table above; 64 in the paper.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
      first_norm: False leaves out batch norm and ReLU behind the dense layer.
    """
    init = SeededInitializers(seed)
    side = resolution // 8
    z, label = keras.Input((latent_dim,), name="z"), label_input(num_classes)
    normalise = batch_norms(label, num_classes, EPSILON, precision)
    dense = keras.layers.Dense(
        side * side * 8 * nf, kernel_initializer=init.normal(STDDEV), dtype=precision
    )
    x = keras.ops.reshape(dense(z), (-1, side, side, 8 * nf))
    x = keras.ops.relu(normalise(x)) if first_norm else x
    for multiple in (4, 2, 1):
        layer = Conv2DTranspose(
            nf * multiple,
            4,
            strides=2,
            padding="same",
            kernel_initializer=init.normal(STDDEV),
            dtype=precision,
        )
        x = keras.ops.relu(normalise(layer(x)))
    last = ResampledConv2D(channels, 3, kernel_initializer=init.normal(STDDEV), dtype=precision)
    return _finish(last(x), z, label, name)


def build_cnn_discriminator(
    resolution: int,
    channels: int,
    num_classes: int,
    nf: int,
    seed: int,
    precision: str,
    name: str = "discriminator",
    *,
    dropout: float = 0.0,
) -> keras.Model:
    """Images (B, R, R, C) in [-1, 1] [, label (B,)] -> logits (B, 1) float32.

    Args:
      resolution: a multiple of 8.
      channels: C.
      num_classes: 0 for unconditional; the paper has no conditional CNN, ours projects on the
        flattened map.
      nf: M of the table above; 64 in the paper.
      seed: of the weights and of u.
      precision: dtype policy.
      name: of the model.
      dropout: share of units dropped behind every LeakyReLU; see `ganpipe.layers.dropout`.
    """
    init = SeededInitializers(seed)
    layers = [(1, 3, 1), (1, 4, 2), (2, 3, 1), (2, 4, 2), (4, 3, 1), (4, 4, 2), (8, 3, 1)]
    leaky = functools.partial(keras.ops.leaky_relu, negative_slope=LEAK)
    activate = dropout_lib.behind(leaky, dropout, precision)
    image, x = _image_input(resolution, channels, precision)
    for multiple, size, strides in layers:
        layer = SNConv2D(
            nf * multiple,
            size,
            strides=strides,
            kernel_initializer=init.normal(STDDEV),
            u_initializer=init.normal(1.0),
            dtype=precision,
        )
        x = activate(layer(x))
    side = resolution // 8
    h = keras.ops.reshape(x, (-1, side * side * 8 * nf))
    return _project(
        h, image, num_classes, True, lambda: init.normal(STDDEV), lambda: init.normal(1.0), name
    )
