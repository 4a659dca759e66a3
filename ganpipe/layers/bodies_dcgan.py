"""The DCGAN body (Radford et al. 2015, figure 1), shared by every system that trains it.

    G: z -> dense 4x4xW, norm, ReLU -> [KxK transposed conv stride 2, norm, ReLU] * -> RxRxC, tanh
    D: RxRxC -> KxK conv stride 2, LeakyReLU(0.2)
         -> [KxK conv stride 2, norm, LeakyReLU(0.2)] * -> 4x4xW -> dense -> logit

No biases, weights N(0, 0.02), gains N(1, 0.02), no norm on G's output and on D's first layer, as in
pytorch/examples and soumith/dcgan.torch (K = 4) and Newmu/dcgan_code (K = 5). R is a power of two
from 8 on. Labels, where there are any, are joined to the input of every layer as one-hot planes.

Every builder gives a functional Keras model. `precision` is the dtype policy of the inner layers;
images that come out and logits are float32.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras

from ganpipe.errors import UserError
from ganpipe.layers import dropout as dropout_lib
from ganpipe.layers import spectral_norm
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.cond_norm import LayerNorm2D
from ganpipe.layers.conv import Conv2D, Conv2DTranspose
from ganpipe.layers.initializers import SeededInitializers

STDDEV = 0.02  # of every weight, and of the batch norm gain around 1
LEAK = 0.2

G_NORMS = ("batch", "none")
D_NORMS = ("batch", "none", "layer", "spectral")


def check(resolution: int, nf: int, kernel_size: int, name: str) -> None:
    """Refuses sizes that the body cannot have.

    Args:
      resolution: power of two, 8 or more.
      nf: 1 or more.
      kernel_size: 2 or more.
      name: of the system, for the message.

    Raises:
      UserError: names the field, what it holds and what it could hold.
    """
    if resolution < 8 or resolution & (resolution - 1):
        raise UserError(
            f"data.resolution: {resolution}; {name} doubles from 4x4, so expected a power of "
            "two from 8 on: 8, 16, 32, 64, 128, ..."
        )
    if nf < 1 or kernel_size < 2:
        raise UserError(f"system.nf={nf}, kernel_size={kernel_size}; expected >= 1 and >= 2.")


def check_norm(field: str, norm: str, known: tuple[str, ...]) -> None:
    """Refuses a norm that is not `known`.

    Raises:
      UserError: names the field and the known values.
    """
    if norm not in known:
        listed = ", ".join(repr(k) for k in known[:-1])
        raise UserError(f"{field}: {norm!r}; expected {listed} or {known[-1]!r}.")


def check_dropout(rate: float) -> None:
    """Refuses a share of dropped units outside [0, 1).

    Raises:
      UserError: says the share.
    """
    if not 0.0 <= rate < 1.0:
        raise UserError(f"system.d_dropout: {rate}; expected 0 <= share < 1.")


def check_unused(body: str, **fields: tuple[Any, ...]) -> None:
    """Refuses settings that a body has no use for, rather than ignoring them.

    Args:
      body: its name, for the message.
      **fields: of the section `system`: the value, then the values that change nothing, the
        default first.

    Raises:
      UserError: names the field, the body and the default.
    """
    for field, (value, *idle) in fields.items():
        if value not in idle:
            raise UserError(
                f"system.{field}: {value!r}; system.body={body} has no such setting. Leave it at "
                f"{idle[0]!r}, or take another body."
            )


def widths(resolution: int, nf: int) -> list[int]:
    """Channels of the maps of width 4, 8, ..., resolution / 2."""
    stages = (resolution // 4).bit_length() - 1
    return [nf * min(2 ** (stages - 1 - i), 8) for i in range(stages)]


def join_label(x: Any, one_hot: Any) -> Any:
    """Appends the one-hot label to (B, D) vectors, or as constant planes to (B, H, W, C) maps."""
    if one_hot is None:
        return x
    one_hot = keras.ops.cast(one_hot, x.dtype)
    if len(x.shape) == 2:
        return keras.ops.concatenate([x, one_hot], axis=-1)
    _, height, width, _ = x.shape
    planes = keras.ops.tile(one_hot[:, None, None, :], (1, height, width, 1))
    return keras.ops.concatenate([x, planes], axis=-1)


def label_input(num_classes: int) -> tuple[Any, Any]:
    """(input of (B,) int32 labels, its (B, num_classes) one-hot); two None without classes."""
    if not num_classes:
        return None, None
    label = keras.Input((), dtype="int32", name="label")
    return label, keras.ops.one_hot(label, num_classes)


def _normaliser(norm: str, init: SeededInitializers, precision: str) -> Callable[[Any], Any]:
    """A function that puts a new norm layer of this kind behind a map."""
    if norm == "batch":
        return lambda x: BatchNorm(gamma_initializer=init.normal(STDDEV, 1.0), dtype=precision)(x)
    if norm == "layer":
        return lambda x: LayerNorm2D(dtype=precision)(x)
    return lambda x: x


def _layers(norm: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Makers of (SAME convolutions, dense layers); spectrally normalised ones for "spectral"."""
    if norm == "spectral":
        return spectral_norm.SNConv2D, spectral_norm.SNDense
    return functools.partial(Conv2D, padding="same"), keras.layers.Dense


def build_generator(
    resolution: int,
    channels: int,
    num_classes: int,
    latent_dim: int,
    nf: int,
    kernel_size: int,
    norm: str,
    seed: int,
    precision: str,
    name: str,
    *,
    per_unit_first_norm: bool = False,
    n_extra_layers: int = 0,
) -> keras.Model:
    """z (B, latent_dim) [, label (B,)] -> images (B, R, R, C) float32 in [-1, 1].

    Args:
      resolution: R.
      channels: C.
      num_classes: 0 for no labels.
      latent_dim: length of z.
      nf: channels of the largest map.
      kernel_size: of the transposed convolutions.
      norm: one of `G_NORMS`.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
      per_unit_first_norm: the first batch norm has one gain and offset a unit of the 4x4 map (as
        Newmu's code) instead of one a channel.
      n_extra_layers: 3x3 convolutions with norm and ReLU before the last transposed convolution
        (the WGAN code's option).
    """
    init = SeededInitializers(seed)
    normalise = _normaliser(norm, init, precision)
    z = keras.Input((latent_dim,), name="z")
    label, one_hot = label_input(num_classes)
    top, *rest = widths(resolution, nf)
    # Equal to Torch's 4x4 transposed convolution on a 1x1 map, and faster.
    x = keras.layers.Dense(
        16 * top, use_bias=False, kernel_initializer=init.normal(STDDEV), dtype=precision
    )(join_label(z, one_hot))
    x = normalise(x) if per_unit_first_norm else x
    x = keras.ops.reshape(x, (-1, 4, 4, top))
    x = keras.ops.relu(x if per_unit_first_norm else normalise(x))
    for width in [*rest, channels]:
        last = x.shape[1] == resolution // 2
        for _ in range(n_extra_layers if last else 0):
            x = Conv2D(
                x.shape[-1],
                3,
                padding="same",
                use_bias=False,
                kernel_initializer=init.normal(STDDEV),
                dtype=precision,
            )(join_label(x, one_hot))
            x = keras.ops.relu(normalise(x))
        x = Conv2DTranspose(
            width,
            kernel_size,
            strides=2,
            padding="same",
            use_bias=False,
            kernel_initializer=init.normal(STDDEV),
            dtype=precision,
        )(join_label(x, one_hot))
        x = x if last else keras.ops.relu(normalise(x))
    images = keras.ops.tanh(keras.ops.cast(x, "float32"))
    return keras.Model([z, label] if num_classes else z, images, name=name)


def build_discriminator(
    resolution: int,
    channels: int,
    num_classes: int,
    nf: int,
    kernel_size: int,
    norm: str,
    seed: int,
    precision: str,
    name: str = "discriminator",
    *,
    n_extra_layers: int = 0,
    dropout: float = 0.0,
) -> keras.Model:
    """Images (B, R, R, C) in [-1, 1] [, label (B,)] -> logits (B, 1) float32.

    Args:
      resolution: R.
      channels: C.
      num_classes: 0 for no labels.
      nf: channels of the largest map.
      kernel_size: of the strided convolutions.
      norm: one of `D_NORMS`. "layer" normalises each sample alone, so it may stand beside a
        gradient penalty; "spectral" divides every kernel by its largest singular value.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
      n_extra_layers: 3x3 convolutions with norm and LeakyReLU behind the first layer (the WGAN
        code's option).
      dropout: share of units dropped behind every LeakyReLU; see `ganpipe.layers.dropout`.
    """
    init = SeededInitializers(seed)
    normalise = _normaliser(norm, init, precision)
    conv, dense = _layers(norm)
    image = keras.Input((resolution, resolution, channels), name="image")
    label, one_hot = label_input(num_classes)
    leaky = functools.partial(keras.ops.leaky_relu, negative_slope=LEAK)
    activate = dropout_lib.behind(leaky, dropout, precision)
    x = keras.ops.cast(image, keras.DTypePolicy(precision).compute_dtype)
    for i, width in enumerate(reversed(widths(resolution, nf))):
        x = conv(
            width,
            kernel_size,
            strides=2,
            use_bias=False,
            kernel_initializer=init.normal(STDDEV),
            dtype=precision,
        )(join_label(x, one_hot))
        x = activate(x if i == 0 else normalise(x))
        for _ in range(0 if i else n_extra_layers):
            x = conv(
                width,
                3,
                use_bias=False,
                kernel_initializer=init.normal(STDDEV),
                dtype=precision,
            )(join_label(x, one_hot))
            x = activate(normalise(x))
    x = keras.ops.reshape(x, (-1, 16 * x.shape[-1]))
    # On the flattened 4x4 map this is Torch's last 4x4 convolution.
    logits = dense(1, use_bias=False, kernel_initializer=init.normal(STDDEV), dtype="float32")(
        join_label(x, one_hot)
    )
    return keras.Model([image, label] if num_classes else image, logits, name=name)
