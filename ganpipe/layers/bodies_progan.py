"""The growing networks of progressive GANs (Karras et al. 2018, arXiv 1710.10196, table 2).

With nf(s) = min(int(fmap_base / 2^(s fmap_decay)), fmap_max), level i = 0, 1, ... of maps 2^i times
the base (4x4) is C_i = nf(i + 1) channels wide:

    G: [z, one-hot label], pixel norm -> dense to base x C_0, conv 3x3              level 0
       -> upsample, conv 3x3, conv 3x3                                              each level
       -> 1x1 conv to pixels (one a level), linear, without tanh
    D: 1x1 conv from pixels (one a level)
       -> conv 3x3, conv 3x3 to C_(i-1), mean pool                                  each level
       -> minibatch standard deviation, conv 3x3, dense nf(0), dense 1 + classes    level 0

Everything but G's last and D's last layer has a bias and a leaky ReLU of 0.2, in G with pixel norm
behind it. In D's second convolutions bias and activation come behind the pooling: the order of the
official TensorFlow code's fused layers; its Theano code pools last (`pool_last`). Learning rates
are equalised with a gain of sqrt 2; 1 at the last layers; sqrt(2) / 4 at G's dense layer, whose
bias is one number a channel. Where maps become vectors, our columns are ordered (height, width,
channel); the official code's are (channel, height, width).

All weights of all levels are there from the start. `grow` says which level is the finest now and
whether it fades in; only the layers below it are run. In a fade, with `alpha` the share of the old
level, G lerps pixels and D lerps features; real images are lerped by the data reader.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.equalized import EqualizedConv2D, EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.minibatch_stddev import MinibatchStddev
from ganpipe.layers.pixel_norm import pixel_norm
from ganpipe.ops import resample

GAIN = math.sqrt(2.0)


def feature_maps(stage: int, base: int = 8192, decay: float = 1.0, most: int = 512) -> int:
    """nf(stage) of the module."""
    return min(int(base / 2.0 ** (stage * decay)), most)


def base_size(base: int | str | Sequence[int]) -> tuple[int, int]:
    """(height, width) that `system.base` names: 4 and "4" are 4x4, "3x5" is 3 high and 5 wide.

    Raises:
      UserError: anything else.
    """
    sides = base.split("x") if isinstance(base, str) else base
    try:
        sides = sides if isinstance(sides, list | tuple) else [sides]
        sides = [int(s) if isinstance(s, str) else operator.index(s) for s in sides]
    except (TypeError, ValueError):
        sides = []
    if len(sides) not in (1, 2) or min(sides) < 1:
        raise UserError(
            f"system.base: {base}; expected HEIGHTxWIDTH in pixels, such as 3x5, or the side of a "
            "square, such as 4."
        )
    return sides[0], sides[-1]


def levels(resolution: int, base: tuple[int, int] = (4, 4)) -> int:
    """Number of doublings from the base's height to `resolution`.

    Raises:
      UserError: a base below 1x1, a resolution that is no power of two times the base.
    """
    if len(base) != 2 or min(base) < 1:
        raise UserError(f"system.base: {base}; expected (height, width) in pixels, such as (4, 4).")
    doublings = math.log2(resolution / base[0]) if resolution >= base[0] else -1.0
    if doublings < 0 or doublings != int(doublings):
        raise UserError(
            f"data.resolution: {resolution}; expected {base[0]} (height of system.base) times a "
            "power of two."
        )
    return int(doublings)


def lerp(new: tf.Tensor, old: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """new + (old - new) alpha."""
    return new + (old - new) * tf.cast(alpha, new.dtype)


class DenseMap(EqualizedDense):
    """(B, I) -> (B, height, width, filters): a dense layer whose bias is one number a channel."""

    def __init__(self, shape: tuple[int, int, int], **kwargs: Any):
        super().__init__(math.prod(shape), **kwargs)
        self.map_shape = tuple(shape)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes kernel (I, height width filters) and bias (filters,)."""
        self._add_weights((input_shape[-1], self.units), self.map_shape[-1])
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(B, I) -> (B, height, width, filters)."""
        x = tf.matmul(inputs, tf.cast(self.scaled_kernel(), inputs.dtype))
        return self._finish(tf.reshape(x, [-1, *self.map_shape]))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(B, height, width, filters)."""
        return (input_shape[0], *self.map_shape)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        config = super().get_config() | {"shape": self.map_shape}
        config.pop("units")
        return config


class Growing(keras.Model):
    """What both networks know of their stage.

    Attributes:
      resolution: height of the finest level there is.
      resolution_now: height of the finest level that runs.
      fading: True while that level fades in.
      alpha: float32 weight, share of the level below while fading.
      level: int32 weight, floor(log2(resolution_now)): what a checkpoint knows of the stage.
    """

    def __init__(self, resolution: int, base: tuple[int, int], name: str):
        super().__init__(name=name, dtype="float32")
        self.base = tuple(base)
        self.depth = levels(resolution, self.base)
        self.resolution = resolution
        self.resolution_now, self.fading = resolution, False
        self._first = int(math.log2(base[0]))  # `level` of the base
        self.alpha = self.add_weight(
            name="alpha", shape=(), initializer="zeros", trainable=False, dtype="float32"
        )
        self.level = self.add_weight(
            name="level",
            shape=(),
            initializer=keras.initializers.Constant(self._first + self.depth),
            trainable=False,
            dtype="int32",
        )

    @property
    def depth_now(self) -> int:
        """Doublings from the base to `resolution_now`."""
        return levels(self.resolution_now, self.base)

    def size(self, level: int) -> tuple[int, int]:
        """(height, width) of a level, counted from the base."""
        return self.base[0] << level, self.base[1] << level

    def grow(self, resolution: int, fading: bool) -> None:
        """Makes `resolution` the finest level; traced functions of other stages are stale then.

        Raises:
          UserError: a resolution that is no level, or the base fading in.
        """
        depth = levels(resolution, self.base)
        if depth > self.depth or (fading and depth == 0):
            raise UserError(
                f"resolution {resolution}{', fading in' if fading else ''}: the levels of this "
                f"{self.name} are {', '.join(str(self.size(i)[0]) for i in range(self.depth + 1))}"
                ", and the first one does not fade in."
            )
        self.resolution_now, self.fading = resolution, bool(fading)
        self.level.assign(self._first + depth)

    def resume(self) -> None:
        """Takes the stage from `level` and `alpha`, after these were restored."""
        depth = int(self.level.numpy()) - self._first
        self.grow(self.base[0] << depth, float(self.alpha.numpy()) > 0.0)

    def active_layers(self) -> list[keras.layers.Layer]:
        """Layers that run at this stage, coarse to fine."""
        raise NotImplementedError

    def active_variables(self) -> list[Any]:
        """Trainable variables of the layers that run at this stage."""
        return [v for layer in self.active_layers() for v in layer.trainable_variables]

    def _rgb_levels(self) -> list[int]:
        """Levels whose pixels are looked at: the finest and, in a fade, the one below."""
        depth = self.depth_now
        return [depth - 1, depth] if self.fading else [depth]


class Generator(Growing):
    """z (B, latent_dim) [, labels (B,)] -> images (B, r, r', C) float32, unbounded; r is `grow`n.

    Args:
      resolution: height of the finest level: the base's times a power of two.
      channels: C.
      num_classes: 0 for unconditional.
      latent_dim: length of z; None takes nf(0).
      fmap_base: of nf.
      fmap_decay: of nf.
      fmap_max: of nf.
      base: (height, width) of the first level.
      normalize_latents: pixel norm over z and the one-hot label together.
      seed: of the weights.
      precision: dtype policy of the layers; pixels are cast to float32.
      name: of the model.
    """

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int | None = None,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        base: tuple[int, int] = (4, 4),
        normalize_latents: bool = True,
        seed: int = 0,
        precision: str = "float32",
        name: str = "generator",
    ):
        super().__init__(resolution, base, name)
        widths = [feature_maps(i, fmap_base, fmap_decay, fmap_max) for i in range(self.depth + 2)]
        self.num_classes, self.normalize_latents = num_classes, normalize_latents
        self.latent_dim = latent_dim or widths[0]
        init = SeededInitializers(seed)

        def conv(level: int, size: int, **kwargs: Any) -> EqualizedConv2D:
            kwargs = {"gain": GAIN, "filters": widths[level + 1], "activation": "lrelu"} | kwargs
            return EqualizedConv2D(
                kernel_size=size, initializer=init.normal(1.0), dtype=precision, **kwargs
            )

        self.dense = DenseMap(
            (*self.base, widths[1]),
            gain=GAIN / math.sqrt(math.prod(self.base)),
            activation="lrelu",
            initializer=init.normal(1.0),
            dtype=precision,
            name="dense",
        )
        self.dense.build((None, self.latent_dim + num_classes))
        # A level is named by its height: "8_up", "8_conv", "8_pixels".
        self.ups, self.convs, self.pixels = [], [], []
        for level in range(self.depth + 1):
            height = self.size(level)[0]
            if level:
                self.ups.append(conv(level, 3, resample="up", name=f"{height}_up"))
                self.ups[-1].build((None, *self.size(level - 1), widths[level]))
            shape = (None, *self.size(level), widths[level + 1])
            self.convs.append(conv(level, 3, name=f"{height}_conv"))
            linear = {"filters": channels, "gain": 1.0, "activation": None}
            self.pixels.append(conv(level, 1, name=f"{height}_pixels", **linear))
            self.convs[-1].build(shape)
            self.pixels[-1].build(shape)
        self.built = True

    def active_layers(self) -> list[keras.layers.Layer]:
        """As in `Growing`."""
        depth = self.depth_now
        body = [self.dense, self.convs[0]]
        for up, conv in zip(self.ups[:depth], self.convs[1:], strict=False):
            body += [up, conv]
        return body + [self.pixels[level] for level in self._rgb_levels()]

    def call(self, inputs: Any, training: bool = False) -> tf.Tensor:
        """See the class; `inputs` is z or [z, labels]."""
        if self.num_classes:
            z, labels = inputs
            inputs = tf.concat([z, tf.one_hot(labels, self.num_classes, dtype=z.dtype)], axis=-1)
        x = pixel_norm(inputs) if self.normalize_latents else inputs
        x = pixel_norm(self.dense(x))
        x = pixel_norm(self.convs[0](x))
        below = x
        for up, conv in zip(self.ups[: self.depth_now], self.convs[1:], strict=False):
            below = x
            x = pixel_norm(conv(pixel_norm(up(x))))
        images = tf.cast(self.pixels[self.depth_now](x), tf.float32)
        if not self.fading:
            return images
        old = tf.cast(self.pixels[self.depth_now - 1](below), tf.float32)
        return lerp(images, resample.upsample(old), self.alpha.value)


class Discriminator(Growing):
    """Images (B, r, r', C) in [-1, 1] -> (B, 1 + classes) float32: score, class logits.

    Args:
      resolution: height of the finest level: the base's times a power of two.
      channels: C.
      num_classes: number of class logits behind the score.
      fmap_base: of nf.
      fmap_decay: of nf.
      fmap_max: of nf.
      base: (height, width) of the last level.
      group_size: of the minibatch standard deviation; None takes the whole batch, 0 or 1
        leaves the layer out.
      pool_last: pooling behind bias and activation: the Theano code, which made the published
        networks.
      seed: of the weights.
      precision: dtype policy of all layers but the last.
      name: of the model.
    """

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        base: tuple[int, int] = (4, 4),
        group_size: int | None = 4,
        pool_last: bool = False,
        seed: int = 0,
        precision: str = "float32",
        name: str = "discriminator",
    ):
        super().__init__(resolution, base, name)
        widths = [feature_maps(i, fmap_base, fmap_decay, fmap_max) for i in range(self.depth + 2)]
        init = SeededInitializers(seed)
        common = {"gain": GAIN, "activation": "lrelu", "dtype": precision}

        def conv(filters: int, size: int, shape: tuple, **kwargs: Any) -> EqualizedConv2D:
            layer = EqualizedConv2D(filters, size, initializer=init.normal(1.0), **common, **kwargs)
            layer.build((None, *shape))
            return layer

        self.pool_last = pool_last
        # Level i of `pixels`; level i + 1 of `convs` and `downs`.
        self.pixels, self.convs, self.downs = [], [], []
        for level in range(self.depth + 1):
            size, width = self.size(level), widths[level + 1]
            self.pixels.append(conv(width, 1, (*size, channels), name=f"{size[0]}_pixels"))
            if level:
                shape = (*size, width)
                self.convs.append(conv(width, 3, shape, name=f"{size[0]}_conv"))
                down = {"resample": "" if pool_last else "down", "name": f"{size[0]}_down"}
                self.downs.append(conv(widths[level], 3, shape, **down))
        # A group of one has no spread: the official code leaves the layer out then, too.
        alone = group_size in (0, 1)
        self.stddev = None if alone else MinibatchStddev(group_size, dtype=precision)
        extra = 0 if self.stddev is None else 1
        if self.stddev is not None:
            self.stddev.build((None, *self.base, widths[1]))
        shape = (*self.base, widths[1] + extra)
        self.conv = conv(widths[1], 3, shape, name=f"{base[0]}_conv")
        self.dense = EqualizedDense(widths[0], initializer=init.normal(1.0), name="dense", **common)
        self.dense.build((None, math.prod(self.base) * widths[1]))
        self.score = EqualizedDense(
            1 + num_classes, initializer=init.normal(1.0), name="score", dtype="float32"
        )
        self.score.build((None, widths[0]))
        self.built = True

    def active_layers(self) -> list[keras.layers.Layer]:
        """As in `Growing`."""
        body = [self.score, self.dense, self.conv]
        for down, conv in zip(self.downs[: self.depth_now], self.convs, strict=False):
            body += [down, conv]
        return body + [self.pixels[level] for level in self._rgb_levels()]

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """See the class."""
        depth = self.depth_now
        x = self.pixels[depth](inputs)
        for level in range(depth, 0, -1):
            x = self.downs[level - 1](self.convs[level - 1](x))
            x = resample.mean_pool(x) if self.pool_last else x
            if self.fading and level == depth:
                old = self.pixels[depth - 1](resample.mean_pool(inputs))
                x = lerp(x, old, self.alpha.value)
        if self.stddev is not None:
            x = self.stddev(x)
        x = self.conv(x)
        x = self.dense(tf.reshape(x, [-1, math.prod(x.shape[1:])]))
        return self.score(tf.cast(x, tf.float32))
