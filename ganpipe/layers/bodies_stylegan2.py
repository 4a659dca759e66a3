"""StyleGAN2's generator (1912.04958; 2006.06676): mapping and synthesis, official to the count.

    mapping    normalise z (and, apart, an embedding of the label; concat) -> FC x 8, lrelu, lr .01
    synthesis  learned 4x4 constant -> conv1; each doubling: conv0 (up), conv1
               layer: modulated 3x3 -> + noise * strength -> + bias -> lrelu * sqrt 2
    image      skip:   each resolution adds a ToRGB to the upsampled image so far
               resnet: 1x1 FIR-up shortcut, both branches * sqrt(1/2); the last ToRGB only
               orig:   the last ToRGB only

Layer l of the ws: conv1 of 4x4 is 0; at 2^r conv0 is 2r - 5, conv1 2r - 4, ToRGB 2r - 3, which is
also the next conv0's. Widths min(channel_base / resolution, channel_max).

Labels, by `conditioning`: "ada" (StyleGAN2-ADA) embeds them with a dense layer and normalises z
and embedding apart; "stylegan2" has a bare table N(0, 1) and normalises both together.

bfloat16 in the `num_bf16_res` highest resolutions (never 4x4), with convolutions clamped to
`conv_clamp`; ToRGB's output is summed in float32. A `conv_clamp` holds at every resolution.
"""

import math
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.bodies_stylegan2_layers import (
    Mapping,
    Shortcut,
    StyleLayer,
    SynthesisLayer,
    ToRGB,
)
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.ops import fir

CONDITIONINGS = ("ada", "ada_tf", "stylegan2")
ARCHITECTURES = ("skip", "resnet", "orig")
W_DECAY = 0.995  # of the average of w, a call in training

Noise = Any  # see `StyleGenerator.synthesis`


def widths(resolution: int, channel_base: int, channel_max: int) -> dict[int, int]:
    """Channels at 4, 8, ..., resolution."""
    levels = range(2, resolution.bit_length())
    return {2**r: min(channel_base // 2**r, channel_max) for r in levels}


def bf16_resolutions(resolution: int, count: int) -> list[int]:
    """The `count` highest resolutions, without 4."""
    return [2**r for r in range(3, resolution.bit_length())][-count:] if count else []


def check(arguments: MappingType[str, Any]) -> None:
    """Refuses arguments of both networks that are out of range.

    Raises:
      UserError: names the argument, its value and what it could be.
    """
    resolution = arguments["resolution"]
    if resolution < 8 or resolution & (resolution - 1):
        raise UserError(
            f"data.resolution: {resolution}; stylegan2 doubles from 4x4, so expected a power of "
            "two, 8 or more."
        )
    for field in ("w_dim", "channel_base", "channel_max", "mapping_layers"):
        if arguments[field] < 1:
            raise UserError(f"system.{field}: {arguments[field]}; expected 1 or more.")
    for field in ("freeze_d", "num_bf16_res", "mbstd_features", "conv_clamp", "ema_kimg"):
        if arguments[field] < 0:
            raise UserError(f"system.{field}: {arguments[field]}; expected 0 or more.")
    layers = arguments.get("d_mapping_layers")
    if layers is not None and (layers < 0 or arguments["conditioning"] == "stylegan2"):
        raise UserError(
            f"system.d_mapping_layers: {layers}; expected 0 or more, or None (as ever with "
            'system.conditioning="stylegan2").'
        )
    clamps = arguments.get("clamps", (0.0, 0.0))
    if len(clamps) != 2 or not min(clamps) >= 0.0:
        raise UserError(f"system.clamps: {clamps}; expected two numbers, 0 or more, of G and of D.")
    choices = (
        ("g_architecture", ARCHITECTURES),
        ("d_architecture", ARCHITECTURES),
        ("conditioning", CONDITIONINGS),
    )
    for field, known in choices:
        if arguments[field] not in known:
            raise UserError(
                f"system.{field}: {arguments[field]!r}; expected one of {', '.join(known)}."
            )
    if arguments["channel_base"] < resolution:
        raise UserError(
            f"system.channel_base: {arguments['channel_base']}; expected {resolution} (the "
            "resolution) or more, which leaves one channel there."
        )
    if arguments["group_size"] is not None and arguments["group_size"] < 1:
        raise UserError(
            f"system.group_size: {arguments['group_size']}; expected 1 or more, or None."
        )
    width = min(arguments["channel_base"] // 4, arguments["channel_max"])
    if arguments["mbstd_features"] and width % arguments["mbstd_features"]:
        raise UserError(
            f"system.mbstd_features: {arguments['mbstd_features']}; expected a divisor of the "
            f"{width} channels at 4x4."
        )
    if arguments["ema_rampup"] is not None and not arguments["ema_rampup"] >= 0.0:
        raise UserError(f"system.ema_rampup: {arguments['ema_rampup']}; expected 0 or more.")


def mixing_cutoff(seed: tf.Tensor, probability: float, num_ws: int) -> tf.Tensor:
    """Scalar int32: uniform on [1, num_ws) with `probability`, else num_ws (no mixing)."""
    seeds = tf.random.experimental.stateless_split(seed, 2)
    cutoff = tf.random.stateless_uniform([], seeds[0], 1, num_ws, tf.int32)
    return tf.where(tf.random.stateless_uniform([], seeds[1]) < probability, cutoff, num_ws)


class SynthesisBlock(StyleLayer):
    """The layers of one resolution; `conv0` and `skip` are None at 4."""

    def __init__(
        self,
        before: int,
        filters: int,
        channels: int,
        w_dim: int,
        resolution: int,
        architecture: str,
        is_last: bool,
        init: SeededInitializers,
    ):
        super().__init__(f"b{resolution}")
        self.resolution, self.architecture = resolution, architecture
        self.const = self.conv0 = self.skip = self.torgb = None
        if before:
            args = (before, filters, w_dim, resolution, True)
            self.conv0 = SynthesisLayer(*args, init, "conv0")
        else:
            shape = (1, resolution, resolution, filters)
            self.const = self.weight("const", shape, init.normal(1.0))
        args = (filters, filters, w_dim, resolution, False)
        self.conv1 = SynthesisLayer(*args, init, "conv1")
        if is_last or architecture == "skip":
            self.torgb = ToRGB(filters, channels, w_dim, init, "torgb")
        if before and architecture == "resnet":
            self.skip = Shortcut(before, filters, "up", init, "skip")

    def call(
        self,
        x: tf.Tensor | None,
        image: tf.Tensor | None,
        ws: Sequence[tf.Tensor],
        noises: Sequence[tf.Tensor | None],
        dtype: str = "float32",
        clamp: float | None = None,
        fused: bool = False,
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """(features, image, ws of the layers, their noise) -> (features, image)."""
        ws, noises = list(ws), list(noises)
        options = {"clamp": clamp, "fused": fused}
        if self.conv0 is None:
            x = tf.cast(self.const.value, dtype)
            x = self.conv1(x, ws.pop(0), noises.pop(0), **options)
        else:
            x = tf.cast(x, dtype)
            gain = 1.0 if self.skip is None else math.sqrt(0.5)
            y = None if self.skip is None else self.skip(x, gain)
            x = self.conv0(x, ws.pop(0), noises.pop(0), **options)
            x = self.conv1(x, ws.pop(0), noises.pop(0), gain=gain, **options)
            x = x if y is None else x + y
        if image is not None:
            image = fir.upsample(image)
        if self.torgb is not None:
            y = self.torgb(x, ws.pop(0), clamp=clamp)
            image = y if image is None else image + y
        return x, image


class StyleGenerator(keras.Model):
    """z (B, latent_dim) or [z, labels] -> images (B, R, R, C) float32, about [-1, 1], unclipped.

    Args:
      resolution: a power of two from 4 on.
      channels: of the image.
      num_classes: 0 for unconditional.
      latent_dim: of z.
      w_dim: of w.
      channel_base: see the module.
      channel_max: see the module.
      mapping_layers: dense layers of the mapping.
      architecture: "skip", "resnet" or "orig".
      conditioning: see the module.
      seed: of the weights and of the noise buffers.
      num_bf16_res: resolutions computed in bfloat16; 0 for float32.
      conv_clamp: see the module; None for none.
      fused: kernels of each image's own in inference; see `ganpipe.layers.modulated_conv`.
      name: of the model.
    """

    default_cutoff = None

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        architecture: str = "skip",
        conditioning: str = "ada",
        seed: int = 0,
        num_bf16_res: int = 0,
        conv_clamp: float | None = None,
        fused: bool = False,
        name: str = "generator",
    ):
        super().__init__(name=name, dtype="float32")
        init = SeededInitializers(seed)
        self.resolution, self.w_dim, self.latent_dim = resolution, w_dim, latent_dim
        self.num_classes, self.architecture, self.fused = num_classes, architecture, fused
        self.conditioning, self.conv_clamp = conditioning, conv_clamp
        self.half = bf16_resolutions(resolution, num_bf16_res)
        self.mapper = Mapping(
            latent_dim, num_classes, w_dim, mapping_layers, init, conditioning=conditioning
        )
        self.w_average = self.add_weight(
            name="w_average",
            shape=(w_dim,),
            initializer="zeros",
            trainable=False,
            aggregation="mean",  # each replica sees latents of its own
        )
        self.blocks, before = [], 0
        for level, filters in widths(resolution, channel_base, channel_max).items():
            last = level == resolution
            shape = (before, filters, channels, w_dim, level)
            self.blocks.append(SynthesisBlock(*shape, architecture, last, init))
            before = filters
        self.num_ws = 2 * len(self.blocks)
        self.built = True

    def noise_layers(self) -> list[SynthesisLayer]:
        """The layers that take noise, in order."""
        pairs = [(block.conv0, block.conv1) for block in self.blocks]
        return [layer for pair in pairs for layer in pair if layer is not None]

    def noise_consts(self) -> list[Any]:
        """The noise buffers, variables (H, W), in order."""
        return [layer.noise for layer in self.noise_layers()]

    def mapping(
        self, z: tf.Tensor, labels: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """(B, latent_dim), (B,) integer or None -> ws (B, num_ws, w_dim) float32, not truncated.

        In training the average of w moves towards this batch's mean.
        """
        w = self.mapper(z, labels)
        if training:
            self.track(tf.reduce_mean(w, axis=0))
        return self.broadcast(w)

    def track(self, mean: tf.Tensor) -> None:
        """Moves the average of w by the mean (w_dim,) of a batch."""
        mean = tf.stop_gradient(mean)
        self.w_average.assign(mean + W_DECAY * (self.w_average - mean))

    def broadcast(self, w: tf.Tensor) -> tf.Tensor:
        """(B, w_dim) -> (B, num_ws, w_dim)."""
        return tf.tile(w[:, tf.newaxis], [1, self.num_ws, 1])

    def mixed_mapping(
        self,
        z: tf.Tensor,
        others: tf.Tensor | None,
        labels: tf.Tensor | None,
        cutoff: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Style mixing: layers from `cutoff` on take the w of other latents.

        Args:
          z: (B, latent_dim).
          others: (B, latent_dim); None for no mixing.
          labels: (B,) of both, or None.
          cutoff: scalar integer; num_ws mixes nothing.

        Returns:
          (ws (B, num_ws, w_dim), mean w (w_dim,) of z alone, for `track`).
        """
        if others is None:
            w = self.mapper(z, labels)
            return self.broadcast(w), tf.reduce_mean(w, axis=0)
        both = None if labels is None else tf.concat([labels, labels], axis=0)
        w, other = tf.split(self.mapper(tf.concat([z, others], axis=0), both), 2)
        own = (tf.range(self.num_ws) < cutoff)[:, tf.newaxis]
        return tf.where(own, w[:, tf.newaxis], other[:, tf.newaxis]), tf.reduce_mean(w, axis=0)

    def truncate(
        self, ws: tf.Tensor, truncation: tf.Tensor, cutoff: int | None = None
    ) -> tf.Tensor:
        """average + truncation (ws - average), (B,) factors, in layers below `cutoff` or in all."""
        average = tf.convert_to_tensor(self.w_average.value)
        factor = tf.reshape(tf.cast(truncation, tf.float32), [-1, 1, 1])
        pulled = average + factor * (ws - average)
        if cutoff is None:
            return pulled
        return tf.where(tf.range(self.num_ws)[:, tf.newaxis] < cutoff, pulled, ws)

    def _noises(self, noise: Noise, batch: tf.Tensor) -> list[tf.Tensor | None]:
        layers = self.noise_layers()
        if noise is None:
            return [None] * len(layers)
        if isinstance(noise, str):
            if noise != "const":
                raise ValueError(f"noise={noise!r}; expected None, 'const', a seed or maps")
            return [layer.noise.value[tf.newaxis, :, :, tf.newaxis] for layer in layers]
        if isinstance(noise, tuple | list) and len(noise) == 2 and isinstance(noise[0], str):
            return [_row_noise(noise[1], layer.resolution, i) for i, layer in enumerate(layers)]
        if isinstance(noise, tuple | list):
            if len(noise) != len(layers):
                raise ValueError(f"{len(noise)} noise maps; expected {len(layers)}")
            return list(noise)
        seeds = tf.random.experimental.stateless_split(noise, len(layers))
        return [
            tf.random.stateless_normal([batch, layer.resolution, layer.resolution, 1], seeds[i])
            for i, layer in enumerate(layers)
        ]

    def synthesis(self, ws: tf.Tensor, noise: Noise = "const", training: bool = False) -> tf.Tensor:
        """Images (B, R, R, C) float32 of ws (B, num_ws, w_dim).

        Args:
          ws: styles of the layers.
          noise: None for none; "const" for the buffers; a (2,) integer seed for noise of the whole
            batch; ("rows", (B,) int64 seeds) for noise that is each row's own; or a list of maps,
            (B or 1, R, R, 1) each, in the order of `noise_consts`.
          training: never fused.
        """
        noises = self._noises(noise, tf.shape(ws)[0])
        fused = self.fused and not training and ws.shape[0] is not None
        ws = tf.unstack(tf.cast(ws, tf.float32), self.num_ws, axis=1)
        x = image = None
        at = 0
        for block in self.blocks:
            convs = 1 if block.conv0 is None else 2
            dtype = "bfloat16" if block.resolution in self.half else "float32"
            own, noises = noises[:convs], noises[convs:]
            styles = ws[at : at + convs + 1]
            x, image = block(x, image, styles, own, dtype, self.conv_clamp, fused)
            at += convs
        return image

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """z or [z, labels] -> images, with the noise buffers."""
        z, labels = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        return self.synthesis(self.mapping(z, labels, training), "const", training)


def _row_noise(seeds: tf.Tensor, resolution: int, layer: int) -> tf.Tensor:
    """(B,) int64 -> (B, R, R, 1) N(0, 1); row i depends on seeds[i] and `layer` alone."""
    spec = tf.TensorSpec([resolution, resolution, 1], tf.float32)

    def draw(seed: tf.Tensor) -> tf.Tensor:
        # 1000 on: other numbers than the latents' streams.
        key = tf.stack([seed, tf.constant(1000 + layer, tf.int64)])
        return tf.random.stateless_normal([resolution, resolution, 1], key)

    return tf.map_fn(draw, tf.cast(seeds, tf.int64), fn_output_signature=spec)
