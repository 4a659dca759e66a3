"""StyleGAN2's layers in networks that grow: configs B to D of Karras et al. 2020 (1912.04958).

    G  mapping and layers of `bodies_stylegan2`, a ToRGB at every resolution, of which the finest is
       the picture: nothing is summed over resolutions
       while a level fades in:  image = lerp(ToRGB at r, ToRGB at r / 2 with pixels repeated, alpha)
    D  FromRGB at every resolution: conv 1x1, lrelu
       r x r  conv 3x3 lrelu, conv 3x3 FIR-down lrelu
       4x4    minibatch standard deviation, conv 3x3 lrelu, dense lrelu, dense max(classes, 1)
       while a level fades in:  map = lerp(what leaves it, FromRGB of the image's 2x2 means, alpha)

alpha is the share of the old level, 1 where a fade begins. The weights are those of the "skip"
architectures, so the counts are theirs: config E's width at 1024 has G 24,900,764, D 23,087,249.
Facts follow NVlabs/stylegan2 (`G_synthesis_stylegan_revised`, `D_stylegan` in their training
form). There the picture of a level below the last is blown up to the full size by repeating pixels
and D takes means of blocks first; these networks work at the size of their stage instead, which is
the same function (`GANSystem.generate` repeats the pixels).

Styles: conv1 of 4x4 has number 0; at 2^l conv0 has 2 l - 5, conv1 2 l - 4, ToRGB 2 l - 3. Labels
enter as in that code ("stylegan2" of `bodies_stylegan2`).
"""

from collections.abc import Mapping as MappingType
from typing import Any

import tensorflow as tf

from ganpipe.layers import bodies_stylegan2 as bodies
from ganpipe.layers import bodies_stylegan2_discriminator as critics
from ganpipe.layers.bodies_stylegan2_layers import Mapping, SynthesisLayer
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.stylegan_parts import Growing
from ganpipe.ops import resample

# What `bodies_stylegan2.check` asks for and a grown network has once and for all.
FIXED = {
    "g_architecture": "skip",
    "d_architecture": "skip",
    "conditioning": "stylegan2",
    "mbstd_features": 1,
    "freeze_d": 0,
    "num_bf16_res": 0,
    "conv_clamp": 0.0,
    "ema_rampup": None,
}


def check(arguments: MappingType[str, Any]) -> None:
    """Refuses arguments of the system that are out of range.

    Args:
      arguments: resolution, w_dim, channel_base, channel_max, mapping_layers, group_size, ema_kimg.

    Raises:
      UserError: names the key, its value and what it could be.
    """
    bodies.check(FIXED | dict(arguments))


def compute_dtype(precision: str, resolution: int) -> str:
    """bfloat16 with "mixed_bfloat16", but for 4x4; else float32."""
    return "bfloat16" if precision == "mixed_bfloat16" and resolution > 4 else "float32"


class GrownGenerator(Growing):
    """z (B, latent_dim) or [z, labels] -> images (B, r, r, C) float32, r the present resolution.

    Args:
      resolution: the full one, R, a power of two from 8 on.
      channels: of the image.
      num_classes: 0 for unconditional.
      latent_dim: of z.
      w_dim: of w.
      channel_base: resolution r has min(channel_base / r, channel_max) channels.
      channel_max: see above.
      mapping_layers: dense layers of the mapping.
      seed: of the weights and of the noise buffers.
      precision: "float32", or "mixed_bfloat16" for convolutions from 8x8 on.
      name: of the model.

    Raises:
      UserError: a resolution that is no power of two.
    """

    default_cutoff = None

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 16384,
        channel_max: int = 512,
        mapping_layers: int = 8,
        seed: int = 0,
        precision: str = "float32",
        name: str = "generator",
    ):
        super().__init__(resolution, name)
        init = SeededInitializers(seed)
        self.latent_dim, self.w_dim, self.num_classes = latent_dim, w_dim, num_classes
        self.precision = precision
        self.mapper = Mapping(
            latent_dim, num_classes, w_dim, mapping_layers, init, conditioning="stylegan2"
        )
        self.w_average = self.add_weight(
            name="w_average",
            shape=(w_dim,),
            initializer="zeros",
            trainable=False,
            aggregation="mean",  # each replica sees latents of its own
        )
        self.blocks, before = [], 0  # of 4, 8, ..., R
        for size, filters in bodies.widths(resolution, channel_base, channel_max).items():
            shape = (before, filters, channels, w_dim, size)
            self.blocks.append(bodies.SynthesisBlock(*shape, "skip", size == resolution, init))
            before = filters
        self.num_ws = 2 * len(self.blocks)
        self.built = True

    # As of the generator that does not grow; see there.
    track = bodies.StyleGenerator.track
    broadcast = bodies.StyleGenerator.broadcast
    mapping = bodies.StyleGenerator.mapping
    mixed_mapping = bodies.StyleGenerator.mixed_mapping
    truncate = bodies.StyleGenerator.truncate
    noise_consts = bodies.StyleGenerator.noise_consts
    _noises = bodies.StyleGenerator._noises

    @property
    def used_blocks(self) -> list[bodies.SynthesisBlock]:
        """The blocks of 4, 8, ..., r."""
        return self.blocks[: self.level_now - 1]

    @property
    def layers_now(self) -> int:
        """Styles that the present resolution uses: `num_ws` - 2 floor(lod)."""
        return self.num_ws - 2 * self.halvings

    def noise_layers(self) -> list[SynthesisLayer]:
        """The layers in use that take noise, in order."""
        pairs = [(block.conv0, block.conv1) for block in self.used_blocks]
        return [layer for pair in pairs for layer in pair if layer is not None]

    def active_variables(self) -> list[Any]:
        """Trainable variables that the present stage uses."""
        painting = self.used_blocks[-2:] if self.fading else self.used_blocks[-1:]
        layers = [self.mapper, *self.noise_layers(), *(block.torgb for block in painting)]
        weights = [weight for layer in layers for weight in layer.trainable_weights]
        return [self.blocks[0].const, *weights]

    def synthesis(self, ws: tf.Tensor, noise: Any = "const", training: bool = False) -> tf.Tensor:
        """Images (B, r, r, C) float32 of ws (B, num_ws, w_dim).

        Args:
          ws: styles; those of layers that do not exist yet are ignored.
          noise: as `bodies_stylegan2.StyleGenerator.synthesis`; maps are those of `noise_consts`,
            one a layer in use.
          training: without effect.
        """
        noises = self._noises(noise, tf.shape(ws)[0])
        ws = tf.unstack(tf.cast(ws, tf.float32), self.num_ws, axis=1)
        painting = self.used_blocks[-2:] if self.fading else self.used_blocks[-1:]
        x = image = below = None
        at = 0
        for block in self.used_blocks:
            x = block.const.value if block.conv0 is None else x
            x = tf.cast(x, compute_dtype(self.precision, block.resolution))
            for layer in (block.conv0, block.conv1):
                if layer is not None:
                    x = layer(x, ws[at], noises[at])
                    at += 1
            if block in painting:
                below, image = image, block.torgb(x, ws[at])
        # By repeating pixels: the official call names no filter, unlike that of the "skip" body.
        return self.fade(image, resample.upsample(below)) if self.fading else image

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """z or [z, labels] -> images, not truncated, with the noise buffers."""
        z, labels = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        return self.synthesis(self.mapping(z, labels, training), "const", training)


class GrownDiscriminator(Growing):
    """Images (B, r, r, C), or [images, labels (B,)] -> logits (B, 1) float32.

    With classes the last layer has one score a class, and the image's class picks.

    Args:
      resolution: the full one, a power of two from 8 on.
      channels: of the image.
      num_classes: 0 for unconditional.
      channel_base: as the generator's.
      channel_max: as the generator's.
      group_size: images in a group of the minibatch standard deviation; None: the batch.
      seed: of the weights.
      precision: as the generator's; 4x4 and the dense layers are float32.
      name: of the model.

    Raises:
      UserError: a resolution that is no power of two.
    """

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        channel_base: int = 16384,
        channel_max: int = 512,
        group_size: int | None = 4,
        seed: int = 0,
        precision: str = "float32",
        name: str = "discriminator",
    ):
        super().__init__(resolution, name)
        init = SeededInitializers(seed)
        self.num_classes, self.precision = num_classes, precision
        width = bodies.widths(resolution, channel_base, channel_max)
        self.blocks = [  # of 8, 16, ..., R
            critics.DiscriminatorBlock(
                width[size], width[size // 2], channels, size, "skip", size == resolution, init
            )
            for size in width
            if size > 4
        ]
        self.fromrgb4 = critics.ConvLayer(channels, width[4], 1, init, "fromrgb4")
        units = max(num_classes, 1)
        self.b4 = critics.Epilogue(width[4], channels, units, "orig", group_size, 1, init)
        self.built = True

    def from_rgb(self, level: int) -> critics.ConvLayer:
        """FromRGB of resolution 2^level."""
        return self.blocks[level - 3].fromrgb if level > 2 else self.fromrgb4

    def active_variables(self) -> list[Any]:
        """Trainable variables that the present stage uses."""
        used = self.blocks[: self.level_now - 2]
        layers = [layer for block in used for layer in (block.conv0, block.conv1)]
        layers += [self.b4, self.from_rgb(self.level_now)]
        layers += [self.from_rgb(self.level_now - 1)] if self.fading else []
        return [weight for layer in layers for weight in layer.trainable_weights]

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """(B, r, r, C) float32 [and (B,) integer labels] -> (B, 1) float32."""
        images, labels = inputs if isinstance(inputs, list | tuple) else (inputs, None)
        top = self.level_now
        x = self.from_rgb(top)(tf.cast(images, compute_dtype(self.precision, 1 << top)))
        for level in range(top, 2, -1):
            block = self.blocks[level - 3]
            x = block.conv1(block.conv0(x))
            if self.fading and level == top:
                small = tf.cast(resample.mean_pool(images), x.dtype)
                x = self.fade(x, self.from_rgb(level - 1)(small))
        logits = self.b4(x, None, None, 1)
        if self.num_classes:
            return tf.gather(logits, labels, axis=1, batch_dims=1)[:, tf.newaxis]
        return logits
