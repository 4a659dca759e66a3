"""The discriminator of StyleGAN (Karras et al. 2019, arXiv 1812.04948): ProGAN's with a blur.

See `ganpipe.layers.bodies_stylegan`, which has the table of both networks.
"""

from typing import Any

import tensorflow as tf

from ganpipe.layers import stylegan_parts as parts
from ganpipe.layers.equalized import EqualizedConv2D, EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.minibatch_stddev import MinibatchStddev
from ganpipe.layers.stylegan_parts import GAIN
from ganpipe.ops import resample


class StyleDiscriminator(parts.Growing):
    """Images (B, r, r, C) [, labels (B,)] -> logits (B, 1) float32: the official `D_basic`.

    With classes the last layer has one score a class, and the image's class picks.

    Args:
      resolution: R, a power of two from 4 on.
      channels: of the images.
      num_classes: 0 for unconditional.
      fmap_base: see `stylegan_parts.width`.
      fmap_decay: see there.
      fmap_max: see there.
      group_size: of the minibatch standard deviation; 0 or 1 leaves it out.
      group_features: its number of maps.
      blur: binomial filter before downsampling.
      seed: of the weights.
      precision: dtype policy; the last dense layer is float32.
      name: of the model.
    """

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        *,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        group_size: int = 4,
        group_features: int = 1,
        blur: bool = True,
        seed: int = 0,
        precision: str = "float32",
        name: str = "discriminator",
    ):
        super().__init__(resolution, name)
        self.channels, self.num_classes, self.blurred = channels, num_classes, blur
        init = SeededInitializers(seed)

        def made(kind: type, units: int, *sizes: int, shape: tuple, **arguments: Any) -> Any:
            arguments = {"gain": GAIN, "activation": "lrelu", "dtype": precision} | arguments
            layer = kind(units, *sizes, initializer=init.normal(1.0), **arguments)
            layer.build(shape)
            return layer

        for level in range(self.full_level, 1, -1):
            size = 1 << level
            now, after = (
                parts.width(stage, fmap_base, fmap_decay, fmap_max)
                for stage in (level - 1, level - 2)
            )
            shape = (None, size, size)
            rgb = made(EqualizedConv2D, now, 1, shape=(*shape, channels), name=f"from_rgb{size}")
            setattr(self, f"from_rgb{size}", rgb)
            if level == 2:
                break
            for name, filters, way in (("conv0", now, ""), ("conv1_down", after, "down")):
                conv = made(
                    EqualizedConv2D,
                    filters,
                    3,
                    shape=(*shape, now),
                    resample=way,
                    name=f"{name}_{size}",
                )
                setattr(self, f"{name}_{size}", conv)
        self.stddev = None
        if group_size > 1:
            self.stddev = MinibatchStddev(group_size, group_features, dtype=precision)
            self.stddev.build((*shape, now))
        wide = now + (group_features if self.stddev is not None else 0)
        self.conv_4 = made(EqualizedConv2D, now, 3, shape=(*shape, wide), name="conv_4")
        self.dense0 = made(EqualizedDense, after, shape=(None, now * size**2), name="dense0")
        last = {"gain": 1.0, "activation": None, "dtype": "float32", "name": "dense1"}
        self.dense1 = made(EqualizedDense, max(num_classes, 1), shape=(None, after), **last)
        self.built = True

    def from_rgb(self, level: int) -> EqualizedConv2D:
        """FromRGB of resolution 2^level."""
        return getattr(self, f"from_rgb{1 << level}")

    def convs(self, level: int) -> tuple[EqualizedConv2D, EqualizedConv2D]:
        """Both convolutions of resolution 2^level > 4."""
        return getattr(self, f"conv0_{1 << level}"), getattr(self, f"conv1_down_{1 << level}")

    def active_variables(self) -> list[Any]:
        """Trainable variables that the present stage uses."""
        used = [c for level in range(3, self.level_now + 1) for c in self.convs(level)]
        used += [self.from_rgb(self.level_now - 1)] if self.fading else []
        used += [self.from_rgb(self.level_now), self.conv_4, self.dense0, self.dense1]
        return [v for layer in used for v in layer.trainable_weights]

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """(B, r, r, C) float32 [and (B,) labels] -> (B, 1) float32 logits."""
        images, labels = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        x = self.from_rgb(self.level_now)(images)
        for level in range(self.level_now, 2, -1):
            first, down = self.convs(level)
            x = first(x)
            x = down(parts.blur(x) if self.blurred else x)
            if self.fading and level == self.level_now:
                x = self.fade(x, self.from_rgb(level - 1)(resample.mean_pool(images)))
        x = self.conv_4(x if self.stddev is None else self.stddev(x))
        features = tf.cast(
            self.dense0(tf.reshape(x, [-1, self.dense0.kernel.shape[0]])), tf.float32
        )
        scores = self.dense1(features)
        if not self.num_classes:
            return scores
        picked = tf.one_hot(tf.reshape(tf.cast(labels, tf.int32), [-1]), self.num_classes)
        return tf.reduce_sum(scores * picked, axis=1, keepdims=True)
