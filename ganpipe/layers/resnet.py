"""Residual blocks of WGAN-GP and SN-GAN, and the ResNet bodies of WGAN-GP.

One block serves both papers (Gulrajani et al. 2017, 1704.00028, appendix C; Miyato et al. 2018,
1802.05957, appendix B.4):

    up:    x -> norm, ReLU, upsample, conv 3x3, norm, ReLU, conv 3x3    + upsample(conv 1x1(x))
    plain: x -> norm, ReLU, conv 3x3, norm, ReLU, conv 3x3              + x
    down:  x -> norm, ReLU, conv 3x3, norm, ReLU, conv 3x3, mean pool   + mean pool(conv 1x1(x))

The critic's first block leaves out the leading norm and ReLU. Upsampling comes before the first
convolution, as in both codes (WGAN-GP's appendix says before the second). Resampling is merged
into its convolution (`ganpipe.ops.resample`): the same function with 2.25 times fewer products.

Builders return functional Keras models. Images are (B, R, R, C); `precision` is "float32" or
"mixed_bfloat16" (bfloat16 compute, float32 weights, normalisation statistics and last layers).
"""

import math
from collections.abc import Callable
from typing import Any

import keras

from ganpipe.errors import UserError
from ganpipe.layers import dropout as dropout_lib
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.cond_norm import ConditionalBatchNorm, LayerNorm2D
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.resample_conv import ResampledConv2D

HE = math.sqrt(2.0)  # gain of convolutions on the residual path
Convolution = Callable[..., Any]


def block(
    x: Any,
    width: int,
    conv: Convolution,
    normalise: Callable[[Any], Any] | None = None,
    *,
    resample: str = "",
    hidden: int | None = None,
    first: bool = False,
    shortcut: bool | None = None,
    activate: Callable[[Any], Any] = keras.ops.relu,
) -> Any:
    """One residual block.

    Args:
      x: (B, H, W, C) Keras tensor.
      width: channels of the output.
      conv: `conv(x, width, kernel_size, gain=..., resample=..., place=...)` makes and applies a
        convolution; `place` is "first", "second" or "shortcut".
      normalise: makes and applies a normalisation layer; None for none.
      resample: "up", "down" or "".
      hidden: channels between the convolutions; by default `width` going up, else those of x.
      first: the critic's first block: no norm and ReLU before the first convolution.
      shortcut: whether the shortcut has a 1x1 convolution; by default where shapes change.
      activate: what stands in for ReLU, such as ReLU with dropout.

    Returns:
      (B, s H, s W, width), s = 2, 1 or 1/2.
    """
    normalise = normalise or (lambda maps: maps)
    if hidden is None:
        hidden = width if resample == "up" or first else x.shape[-1]
    if shortcut is None:
        shortcut = bool(resample) or x.shape[-1] != width
    early, late = ("up", "") if resample == "up" else ("", resample)
    h = x if first else activate(normalise(x))
    h = conv(h, hidden, 3, gain=HE, resample=early, place="first")
    h = activate(normalise(h))
    h = conv(h, width, 3, gain=HE, resample=late, place="second")
    side = conv(x, width, 1, gain=1.0, resample=resample, place="shortcut") if shortcut else x
    return h + side


def label_input(num_classes: int) -> Any:
    """(B,) int32 input named "label", or None without classes."""
    return keras.Input((), dtype="int32", name="label") if num_classes else None


def batch_norms(label: Any, num_classes: int, epsilon: float, precision: str) -> Callable:
    """Makes and applies batch norm, conditional where there are classes."""
    if not num_classes:
        return lambda x: BatchNorm(epsilon=epsilon, dtype=precision)(x)
    return lambda x: ConditionalBatchNorm(num_classes, epsilon=epsilon, dtype=precision)(x, label)


def _convolutions(init: SeededInitializers, precision: str, first_bias: bool) -> Convolution:
    def conv(
        x: Any, width: int, size: int, gain: float, resample: str = "", place: str = ""
    ) -> Any:
        return ResampledConv2D(
            width,
            size,
            resample,
            use_bias=first_bias or place != "first",
            kernel_initializer=init.glorot_uniform(gain),
            dtype=precision,
        )(x)

    return conv


def _check(resolution: int) -> None:
    if resolution not in (32, 64):
        raise UserError(
            f"data.resolution: {resolution}; the ResNet bodies of WGAN-GP are for 32 and 64."
        )


def wgan_gp_resnet_generator(
    resolution: int,
    dim: int | None = None,
    num_classes: int = 0,
    *,
    channels: int = 3,
    latent_dim: int = 128,
    seed: int = 0,
    precision: str = "float32",
    name: str = "generator",
) -> keras.Model:
    """Generator of gan_cifar_resnet.py (32) or gan_64x64.py's "Good" network (64).

    z (B, latent_dim) [, label (B,) int32] -> images (B, R, R, channels) float32 in [-1, 1].
    32: dense to 4x4 x dim, three blocks up of dim. 64: dense to 4x4 x 8 dim, blocks up of 8, 4, 2
    and 1 dim. Batch norm; with classes conditional inside the blocks, plain before the output.

    Args:
      resolution: 32 or 64.
      dim: DIM of the scripts; None takes theirs, 128 at 32 and 64 at 64.
      num_classes: 0 for unconditional.
      channels: of the images.
      latent_dim: length of z.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
      name: of the model.

    Raises:
      UserError: another resolution.
    """
    _check(resolution)
    dim = dim or (128 if resolution == 32 else 64)
    widths = [dim] * 3 if resolution == 32 else [8 * dim, 4 * dim, 2 * dim, dim]
    init = SeededInitializers(seed)
    z, label = keras.Input((latent_dim,), name="z"), label_input(num_classes)
    normalise = batch_norms(label, num_classes, 1e-5, precision)
    conv = _convolutions(init, precision, first_bias=resolution == 32)
    dense = keras.layers.Dense(
        16 * widths[0], kernel_initializer=init.glorot_uniform(), dtype=precision
    )
    x = keras.ops.reshape(dense(z), (-1, 4, 4, widths[0]))
    for width in widths:
        x = block(x, width, conv, normalise, resample="up")
    x = keras.ops.relu(BatchNorm(dtype=precision)(x))
    x = conv(x, channels, 3, gain=1.0 if resolution == 32 else HE)
    images = keras.ops.tanh(keras.ops.cast(x, "float32"))
    return keras.Model([z, label] if num_classes else z, images, name=name)


def wgan_gp_resnet_critic(
    resolution: int,
    dim: int | None = None,
    num_classes: int = 0,
    *,
    channels: int = 3,
    seed: int = 1,
    precision: str = "float32",
    name: str = "discriminator",
    dropout: float = 0.0,
) -> keras.Model:
    """Critic of gan_cifar_resnet.py (32) or gan_64x64.py's "Good" network (64).

    Images (B, R, R, channels) in [-1, 1] -> scores (B, 1) float32; with classes the list [scores,
    class logits (B, num_classes) float32] of the auxiliary classifier, which takes no labels.
    32: first block down, block down, two plain blocks of dim, ReLU, mean, dense; no normalisation.
    64: conv, blocks down of 2, 4, 8 and 8 dim with layer norm, flatten, dense.

    Args:
      resolution: 32 or 64.
      dim: DIM of the scripts; None takes theirs, 128 at 32 and 64 at 64.
      num_classes: 0, or the number of logits of the second output.
      channels: of the images.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
      name: of the model.
      dropout: share of units dropped behind every ReLU; see `ganpipe.layers.dropout`.

    Raises:
      UserError: another resolution.
    """
    _check(resolution)
    activate = dropout_lib.behind(keras.ops.relu, dropout, precision)
    dim = dim or (128 if resolution == 32 else 64)
    init = SeededInitializers(seed)
    image = keras.Input((resolution, resolution, channels), name="image")
    x = keras.ops.cast(image, keras.DTypePolicy(precision).compute_dtype)
    conv = _convolutions(init, precision, first_bias=resolution == 32)
    if resolution == 32:
        x = block(x, dim, conv, resample="down", first=True, activate=activate)
        for resample in ("down", "", ""):
            x = block(x, dim, conv, resample=resample, activate=activate)
        x = keras.ops.mean(keras.ops.cast(activate(x), "float32"), axis=(1, 2))
    else:

        def normalise(maps: Any) -> Any:
            return LayerNorm2D(dtype=precision)(maps)

        x = conv(x, dim, 3, gain=1.0)
        for width in (2 * dim, 4 * dim, 8 * dim, 8 * dim):
            x = block(x, width, conv, normalise, resample="down", activate=activate)
        x = keras.ops.reshape(keras.ops.cast(x, "float32"), (-1, 16 * 8 * dim))

    def head(units: int) -> Any:
        layer = keras.layers.Dense(units, kernel_initializer=init.glorot_uniform(), dtype="float32")
        return layer(x)

    scores = head(1)
    return keras.Model(image, [scores, head(num_classes)] if num_classes else scores, name=name)
