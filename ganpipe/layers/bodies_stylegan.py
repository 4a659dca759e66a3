"""The networks of StyleGAN (Karras et al. 2019, arXiv 1812.04948), as in NVlabs/stylegan.

    G: z -> mapping -> w, one copy a layer
       4x4    learned constant 512 -> epilogue, conv 3x3 512 -> epilogue
       2r x 2r  nearest x2, conv 3x3 C, blur [1, 2, 1] -> epilogue, conv 3x3 C -> epilogue
       ToRGB, one a resolution: conv 1x1, linear
       epilogue: noise, bias, leaky ReLU 0.2, instance norm, style (x (1 + s) + t)
    D: FromRGB, one a resolution: conv 1x1, leaky ReLU
       r x r  conv 3x3 C, leaky ReLU, blur, conv 3x3 C' with 2x2 mean, leaky ReLU
       4x4    minibatch standard deviation, conv 3x3 512, dense 512, dense max(classes, 1)

C at resolution r is min(8192 / (r / 2), 512): 512 up to 32, 256 at 64, ... 16 at 1024. Weights
have an equalised learning rate at gain sqrt(2); ToRGB, styles and D's last layer at gain 1. Images
of a fade are mixed after nearest upsampling, features of D with FromRGB of the halved image; no
blur there. Trainable parameters (G / D), RGB: 22,841,356 / 20,726,785 at 32; 25,137,935 /
22,498,049 at 64; 25,843,858 / 22,941,313 at 128; 26,086,229 / 23,052,353 at 256; 26,179,768 /
23,080,225 at 512; 26,219,627 / 23,087,249 at 1024.

Maps are (N, H, W, C). Where the official code flattens or unflattens a (C, 4, 4) map - D's first
dense layer, and G's dense input of configs B and C - ours is (4, 4, C): `stylegan_names` converts.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import stylegan_parts as parts
from ganpipe.layers.equalized import EqualizedConv2D, EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.stylegan_discriminator import StyleDiscriminator
from ganpipe.layers.stylegan_mapping import Mapping
from ganpipe.layers.stylegan_parts import GAIN
from ganpipe.ops import resample

__all__ = ["StyleDiscriminator", "StyleGenerator"]


class Block(keras.layers.Layer):
    """Both layers of one resolution of G, each with its epilogue.

    Args:
      level: log2 of the resolution; 2 is the constant or dense input and one convolution.
      wide: channels of the map before.
      channels: of this one.
      w_dim: length of w.
      styles: False leaves AdaIN out.
      const_input: False: level 2 begins with a dense layer on w.
      blurred: False leaves out the blur behind the first convolution.
      init: of the weights.
      precision: dtype policy.
      **epilogue: `use_noise`, `use_pixel_norm`, `use_instance_norm`.
    """

    def __init__(
        self,
        level: int,
        wide: int,
        channels: int,
        w_dim: int,
        styles: bool,
        const_input: bool,
        blurred: bool,
        init: SeededInitializers,
        precision: str,
        **epilogue: bool,
    ):
        super().__init__(name=f"block{1 << level}", dtype=precision, autocast=False)
        self.size, self.channels, self.blurred = 1 << level, channels, blurred
        shape = (None, self.size, self.size)

        def conv(name: str, wide: int, resample: str) -> EqualizedConv2D:
            layer = EqualizedConv2D(
                channels,
                3,
                gain=GAIN,
                use_bias=False,  # in the epilogue, behind blur and noise
                resample=resample,
                initializer=init.normal(1.0),
                dtype=precision,
                name=name,
            )
            layer.build((*shape, wide))
            return layer

        def finish(name: str) -> parts.Epilogue:
            return parts.Epilogue(
                channels,
                self.size,
                w_dim if styles else 0,
                init=init,
                precision=precision,
                name=name,
                **epilogue,
            )

        self.const = self.first = None
        if level > 2:
            self.first = conv("conv0_up", wide, "up")
        elif const_input:
            self.const = self.add_weight(
                name="const",
                shape=(1, self.size, self.size, channels),
                initializer="ones",
                dtype="float32",
                autocast=False,
            )
        else:
            self.first = EqualizedDense(
                self.size**2 * channels,
                gain=GAIN
                / 4.0,  # as if it were a convolution to 4x4, which has 16 times the inputs
                use_bias=False,
                initializer=init.normal(1.0),
                dtype=precision,
                name="dense",
            )
            self.first.build((None, w_dim))
        self.epilogue0 = finish("epilogue0")
        self.second = conv("conv1", channels, "")
        self.epilogue1 = finish("epilogue1")
        self.built = True

    def _enter(self, x: tf.Tensor | None, w: tf.Tensor) -> tf.Tensor:
        if self.const is not None:
            const = tf.cast(self.const.value, self.compute_dtype)
            return tf.tile(const, [tf.shape(w)[0], 1, 1, 1])
        if self.size == parts.SMALLEST:
            return tf.reshape(self.first(w), [-1, self.size, self.size, self.channels])
        x = self.first(x)
        return parts.blur(x) if self.blurred else x

    def call(
        self, x: tf.Tensor | None, ws: Sequence[tf.Tensor], noise: Sequence[tf.Tensor | None]
    ) -> tf.Tensor:
        """(N, H/2, W/2, C') or None, both layers' w (N, w_dim) and noise -> (N, H, W, C)."""
        x = self.epilogue0(self._enter(x, ws[0]), noise[0], ws[0])
        return self.epilogue1(self.second(x), noise[1], ws[1])


class StyleGenerator(parts.Growing):
    """Mapping and synthesis; see `ganpipe.models.styles` for what a style generator offers.

    Args:
      resolution: R, a power of two from 4 on.
      channels: of the images.
      num_classes: 0 for unconditional.
      latent_dim: length of z.
      w_dim: length of w; None: latent_dim (twice that without mapping layers but with classes).
      mapping_layers: 0 takes the normalised latent for w.
      mapping_fmaps: units of the mapping's inner layers; None: w_dim.
      mapping_lr_multiplier: share of the learning rate that the mapping has.
      normalize_latents: PixelNorm on z.
      fmap_base: see `stylegan_parts.width`.
      fmap_decay: see there.
      fmap_max: see there.
      use_styles: AdaIN; without it w only enters a dense input layer, and num_ws is 1.
      const_input: learned constant instead of that dense layer.
      use_noise: noise inputs.
      use_pixel_norm: behind every activation, as ProGAN.
      use_instance_norm: what styles need.
      blur: binomial filter behind upsampling.
      truncation_cutoff: layers below it are truncated, `default_cutoff`; None: all.
      seed: of the weights.
      precision: dtype policy of the synthesis; mapping, styles and images are float32.
      name: of the model.

    Raises:
      UserError: sizes or switches that do not fit.
    """

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 512,
        *,
        w_dim: int | None = None,
        mapping_layers: int = 8,
        mapping_fmaps: int | None = None,
        mapping_lr_multiplier: float = 0.01,
        normalize_latents: bool = True,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        use_styles: bool = True,
        const_input: bool = True,
        use_noise: bool = True,
        use_pixel_norm: bool = False,
        use_instance_norm: bool = True,
        blur: bool = True,
        truncation_cutoff: int | None = 8,
        seed: int = 0,
        precision: str = "float32",
        name: str = "generator",
    ):
        super().__init__(resolution, name)
        raw = latent_dim * (2 if num_classes else 1)  # what leaves a mapping of no layers
        w_dim = w_dim or (latent_dim if mapping_layers else raw)
        if not mapping_layers and w_dim != raw:
            raise UserError(f"system.w_dim: {w_dim}; system.mapping_layers=0 gives {raw}.")
        if not use_styles and const_input:
            raise UserError(
                "system.use_styles=False with const_input=True: nothing of w would enter the "
                "network. Set system.const_input=False."
            )
        self.channels, self.num_classes, self.w_dim = channels, num_classes, w_dim
        self.use_styles, self.use_noise = use_styles, use_noise
        self.num_layers = 2 * self.full_level - 2
        self.num_ws = self.num_layers if use_styles else 1
        self.default_cutoff = truncation_cutoff
        init = SeededInitializers(seed)
        self.w_average = self.add_weight(
            name="w_average",
            shape=(w_dim,),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="mean",  # replicas see other latents
        )
        self.mapper = Mapping(
            latent_dim,
            w_dim,
            num_classes,
            mapping_layers,
            mapping_fmaps or w_dim,
            mapping_lr_multiplier,
            normalize_latents,
            init,
        )
        for level in range(2, self.full_level + 1):
            now, before = (
                parts.width(stage, fmap_base, fmap_decay, fmap_max)
                for stage in (level - 1, level - 2)
            )
            block = Block(
                level,
                before,
                now,
                w_dim,
                use_styles,
                const_input,
                blur,
                init,
                precision,
                use_noise=use_noise,
                use_pixel_norm=use_pixel_norm,
                use_instance_norm=use_instance_norm,
            )
            size = 1 << level
            rgb = EqualizedConv2D(
                channels, 1, initializer=init.normal(1.0), dtype=precision, name=f"to_rgb{size}"
            )
            rgb.build((None, size, size, now))
            setattr(self, f"block{size}", block)
            setattr(self, f"to_rgb{size}", rgb)
        self.built = True

    def block(self, level: int) -> Block:
        """The layers of resolution 2^level."""
        return getattr(self, f"block{1 << level}")

    def to_rgb(self, level: int) -> EqualizedConv2D:
        """ToRGB of resolution 2^level."""
        return getattr(self, f"to_rgb{1 << level}")

    def active_variables(self) -> list[Any]:
        """Trainable variables that the present stage uses."""
        used = [self.mapper, *(self.block(level) for level in range(2, self.level_now + 1))]
        used += [self.to_rgb(self.level_now - 1)] if self.fading else []
        return [
            v for layer in (*used, self.to_rgb(self.level_now)) for v in layer.trainable_weights
        ]

    def noise_consts(self) -> list[Any]:
        """The (H, W) noise buffers of all layers; [] without noise inputs."""
        if not self.use_noise:
            return []
        blocks = (self.block(level) for level in range(2, self.full_level + 1))
        return [e.noise_const.value for b in blocks for e in (b.epilogue0, b.epilogue1)]

    def mapping(
        self, z: tf.Tensor, labels: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """(B, latent_dim), (B,) integers or None -> (B, num_ws, w_dim) float32, not truncated."""
        w = self.mapper(z, labels)
        return tf.tile(w[:, tf.newaxis], [1, self.num_ws, 1])

    def truncate(self, ws: tf.Tensor, truncation: tf.Tensor, cutoff: int | None) -> tf.Tensor:
        """w_average + psi (w - w_average) for the layers below `cutoff` (None: all).

        Args:
          ws: (B, num_ws, w_dim).
          truncation: psi, (B,).
          cutoff: first layer that stays as it is.
        """
        psi = tf.reshape(tf.cast(truncation, ws.dtype), [-1, 1, 1])
        pulled = psi * ws + (1.0 - psi) * self.w_average.value  # exact at 0 and at 1
        if cutoff is None:
            return pulled
        return tf.where(tf.range(self.num_ws)[:, tf.newaxis] < cutoff, pulled, ws)

    def synthesis(self, ws: tf.Tensor, noise: Any = "const") -> tf.Tensor:
        """(B, num_ws, w_dim) -> (B, r, r, channels) float32 of the present resolution r.

        Args:
          ws: styles; those of layers that do not exist yet are ignored.
          noise: see `stylegan_parts.draw_noise`.
        """
        used = range(2, self.level_now + 1)
        count = 2 * len(used)
        maps: list[tf.Tensor | None] = [None] * count
        if self.use_noise:
            sizes = [1 << level for level in used for _ in range(2)]
            maps = parts.draw_noise(noise, self.noise_consts(), sizes, tf.shape(ws)[0])
        styles = tf.unstack(ws, axis=1) if self.use_styles else [ws[:, 0]] * count
        x = below = None
        for level in used:
            layers = slice(2 * level - 4, 2 * level - 2)
            below, x = x, self.block(level)(x, styles[layers], maps[layers])
        images = tf.cast(self.to_rgb(self.level_now)(x), tf.float32)
        if not self.fading:
            return images
        old = tf.cast(self.to_rgb(self.level_now - 1)(below), tf.float32)
        return self.fade(images, resample.upsample(old))

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """z or [z, labels] -> images, not truncated, with the noise buffers."""
        z, labels = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        return self.synthesis(self.mapping(z, labels, training), "const")
