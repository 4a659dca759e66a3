"""What StyleGAN's networks are made of (Karras et al. 2019, arXiv 1812.04948, section 2).

Channel widths, the binomial blur, instance normalisation, noise, growth, and the *epilogue* that
stands behind every layer of the synthesis network. Facts follow NVlabs/stylegan.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.equalized import SLOPE, EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.pixel_norm import pixel_norm

EPSILON = 1e-8
GAIN = math.sqrt(2.0)  # He's, of every layer that an activation follows
SMALLEST = 4  # side of the first map
BINOMIAL = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16.0
STREAM_NOISE = 6  # of the noise that a row draws from its own seed


def levels(resolution: int) -> int:
    """log2 of a resolution.

    Raises:
      UserError: it is no power of two, or below 4.
    """
    level = int(math.log2(resolution)) if resolution >= SMALLEST else 0
    if level < 2 or resolution != 1 << level:
        raise UserError(
            f"data.resolution: {resolution}; StyleGAN doubles from 4x4, so expected a power of two "
            "from 4 on."
        )
    return level


def width(stage: int, fmap_base: int, fmap_decay: float, fmap_max: int) -> int:
    """Channels of a stage: min(fmap_base / 2^(stage fmap_decay), fmap_max), rounded down."""
    return min(int(fmap_base / 2.0 ** (stage * fmap_decay)), fmap_max)


def blur(x: tf.Tensor) -> tf.Tensor:
    """Each channel with [1, 2, 1] x [1, 2, 1] / 16 and zeros around it: (N, H, W, C) -> the same.

    The filter is symmetric, so it is its own adjoint, and derivatives of any order are blurs.
    """

    @tf.custom_gradient
    def op(x: tf.Tensor):
        taps = np.tile(BINOMIAL[:, :, None, None], [1, 1, x.shape[-1], 1])
        y = tf.nn.depthwise_conv2d(x, tf.constant(taps, x.dtype), [1, 1, 1, 1], "SAME")
        return y, blur

    return op(x)


def instance_norm(x: tf.Tensor) -> tf.Tensor:
    """(x - m) / sqrt(v + 1e-8), mean and biased variance of each map; (N, H, W, C), float32."""
    x = tf.cast(x, tf.float32) if x.dtype.size < 4 else x
    x = x - tf.reduce_mean(x, axis=(1, 2), keepdims=True)
    variance = tf.reduce_mean(tf.square(x), axis=(1, 2), keepdims=True)
    return x * tf.math.rsqrt(variance + EPSILON)


def draw_noise(
    noise: Any, consts: Sequence[Any], sizes: Sequence[int], batch: tf.Tensor | int
) -> list[tf.Tensor | None]:
    """One map a layer, as the noise argument of a synthesis network asks for it.

    Args:
      noise: None: none. "const": `consts`. (2,) integer tensor: one seed for the whole batch.
        ("rows", (N,) int64 seeds): row i's noise depends on its seed alone. A list: the maps
        themselves, (N or 1, H, W, 1).
      consts: (H, W) buffers, one a layer.
      sizes: H of the layers that are used.
      batch: N.

    Returns:
      A list as long as `sizes`, of (N or 1, H, W, 1) float32 or None.

    Raises:
      UserError: something else, or too few maps.
    """
    if noise is None:
        return [None] * len(sizes)
    if isinstance(noise, str) and noise == "const":
        used = [tf.convert_to_tensor(const) for const in consts[: len(sizes)]]
        return [const[tf.newaxis, :, :, tf.newaxis] for const in used]
    if isinstance(noise, str):
        raise UserError(f"noise: {noise!r}; expected 'const', None, seeds or maps.")
    if isinstance(noise, (tuple, list)) and isinstance(noise[0], str):
        return _rows_noise(noise[1], sizes)
    if isinstance(noise, (tuple, list)):
        if len(noise) < len(sizes):
            raise UserError(f"noise: {len(noise)} maps; expected {len(sizes)}, one a layer.")
        return [tf.convert_to_tensor(m, tf.float32) for m in noise[: len(sizes)]]
    fold = tf.random.experimental.stateless_fold_in
    return [
        tf.random.stateless_normal([batch, size, size, 1], fold(noise, layer))
        for layer, size in enumerate(sizes)
    ]


def _rows_noise(seeds: tf.Tensor, sizes: Sequence[int]) -> list[tf.Tensor]:
    areas = [size * size for size in sizes]
    # One draw a row for all layers: a loop over rows is slow to begin with.
    flat = tf.map_fn(
        lambda seed: tf.random.stateless_normal(
            [sum(areas)], tf.stack([seed, tf.constant(STREAM_NOISE, tf.int64)])
        ),
        tf.cast(seeds, tf.int64),
        fn_output_signature=tf.TensorSpec([sum(areas)], tf.float32),
    )
    parts = tf.split(flat, areas, axis=1)
    return [tf.reshape(part, [-1, size, size, 1]) for part, size in zip(parts, sizes, strict=True)]


class Growing(keras.Model):
    """A network with the weights of all resolutions, of which the first are used.

    `resolution_now` and `fading` are Python state: only what they need is traced. The weights
    `alpha` (share of the old level while fading) and `level` (log2 of the resolution) carry the
    stage through checkpoints; `resume` reads them back.

    Args:
      resolution: the full one.
      name: of the model.
    """

    def __init__(self, resolution: int, name: str):
        super().__init__(name=name, dtype="float32")
        self.full_level = levels(resolution)
        self.resolution, self.resolution_now, self.fading = resolution, resolution, False
        start = keras.initializers.Constant(self.full_level)
        scalar = {"shape": (), "trainable": False, "autocast": False}
        self.alpha = self.add_weight(name="alpha", initializer="zeros", dtype="float32", **scalar)
        self.level = self.add_weight(name="level", initializer=start, dtype="int32", **scalar)

    @property
    def level_now(self) -> int:
        """log2 of `resolution_now`."""
        return levels(self.resolution_now)

    @property
    def halvings(self) -> int:
        """floor(lod): how often the full resolution is halved now."""
        return self.full_level - self.level_now

    def grow(self, resolution: int, fading: bool) -> None:
        """Chooses the levels that are used; compiled functions of the old ones do not notice.

        Args:
          resolution: from now on, at most the full one.
          fading: the finest level is mixed with the one below, `alpha` of that.

        Raises:
          UserError: a resolution that the network has not.
        """
        level = levels(resolution)
        if level > self.full_level or (fading and level == 2):
            raise UserError(
                f"growth: {resolution}x{resolution}{' fading in' if fading else ''}; this network "
                f"grows from {SMALLEST} to {self.resolution}."
            )
        self.resolution_now, self.fading = resolution, bool(fading)
        self.level.assign(level)

    def resume(self) -> None:
        """Takes the stage from the weights, after they were restored."""
        self.resolution_now = 1 << int(self.level.numpy())
        self.fading = float(self.alpha.numpy()) > 0.0

    def set_lod(self, lod: float) -> None:
        """Takes the stage of an official "level of detail": 0 is full size, 0.25 a fade's end."""
        whole = math.floor(lod)
        self.grow(self.resolution >> whole, fading=lod > whole)
        self.alpha.assign(lod - whole)

    def fade(self, new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
        """new + alpha (old - new)."""
        return new + tf.cast(self.alpha.value, new.dtype) * (old - new)


class Epilogue(keras.layers.Layer):
    """Noise, bias, leaky ReLU, [pixel norm], instance norm, style: behind every layer of G.

    Args:
      channels: C of the map.
      size: H = W of the map.
      w_dim: length of a style; 0 for none.
      use_noise: adds noise times a learned weight a channel (0 at the start), and keeps a buffer.
      use_pixel_norm: configs A and B.
      use_instance_norm: all others.
      init: of the style's kernel and the noise buffer.
      precision: dtype policy of the map; statistics and styles are float32.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        w_dim: int,
        use_noise: bool,
        use_pixel_norm: bool,
        use_instance_norm: bool,
        init: SeededInitializers,
        precision: str,
        **kwargs: Any,
    ):
        super().__init__(dtype=precision, autocast=False, **kwargs)
        self.use_pixel_norm, self.use_instance_norm = use_pixel_norm, use_instance_norm
        own = {"dtype": "float32", "autocast": False}
        self.bias = self.add_weight(name="bias", shape=(channels,), initializer="zeros", **own)
        self.noise_weight = self.noise_const = self.style = None
        if use_noise:
            self.noise_weight = self.add_weight(
                name="noise_weight", shape=(channels,), initializer="zeros", **own
            )
            self.noise_const = self.add_weight(
                name="noise_const",
                shape=(size, size),
                initializer=init.normal(1.0),
                trainable=False,
                **own,
            )
        if w_dim:
            # The scale is 1 + what the layer says, so that it is about 1 at the start.
            self.style = EqualizedDense(
                2 * channels, gain=1.0, initializer=init.normal(1.0), dtype="float32", name="style"
            )
            self.style.build((None, w_dim))
        self.built = True

    def call(self, x: tf.Tensor, noise: tf.Tensor | None, w: tf.Tensor | None) -> tf.Tensor:
        """(N, H, W, C) of the compute dtype, (N or 1, H, W, 1) or None, (N, w_dim) -> as x."""
        kind = x.dtype
        if noise is not None and self.noise_weight is not None:
            x = x + tf.cast(noise, kind) * tf.cast(self.noise_weight.value, kind)
        x = tf.nn.leaky_relu(tf.nn.bias_add(x, tf.cast(self.bias.value, kind)), SLOPE)
        if self.use_pixel_norm:
            x = pixel_norm(x)
        if self.use_instance_norm:
            x = instance_norm(x)
        if self.style is not None:
            scale, shift = tf.split(self.style(w)[:, tf.newaxis, tf.newaxis], 2, axis=-1)
            x = tf.cast(x, tf.float32) * (1.0 + scale) + shift
        return tf.cast(x, kind)
