"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676) for GANs.

`Augment` moves, recolours, filters and corrupts what the discriminator sees, each operation on
each image with probability p; `next_p` adapts p. Facts from NVlabs/stylegan2-ada-pytorch d72cc7d
and NVlabs/stylegan2-ada 43eca51 (`adarv`); written anew. With the same matrices, results equal
the former's to float32 rounding (tests/golden/ada.npz). What differs:

* Random numbers are functions of a seed, and each operation has its own.
* Quarter turns have exact sines; an image that no geometric operation hit is returned as it came,
  to the bit (officially it goes through the filters, which change it by 1e-6).
* Geometry is computed for as few of a batch as have one, rounded up to a quarter, half or all.

The rooms are ada_draws (random numbers), ada_geometry and its ada_resample, ada_colour, ada_filter
(and corruptions).
"""

import functools
from typing import Any

import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import ada_colour, ada_filter, ada_geometry
from ganpipe.ops.ada_draws import Draws

_GROUPS = {
    "blit": ("xflip", "rotate90", "xint"),
    "geom": ("scale", "rotate", "aniso", "xfrac"),
    "color": ("brightness", "contrast", "lumaflip", "hue", "saturation"),
    "filter": ("imgfilter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
}
# Operations of each pipe, in the official names.
PIPES = _GROUPS | {
    "bg": _GROUPS["blit"] + _GROUPS["geom"],
    "bgc": _GROUPS["blit"] + _GROUPS["geom"] + _GROUPS["color"],
}
PIPES["bgcf"] = PIPES["bgc"] + _GROUPS["filter"]
PIPES["bgcfn"] = PIPES["bgcf"] + _GROUPS["noise"]
PIPES["bgcfnc"] = PIPES["bgcfn"] + _GROUPS["cutout"]

# Multipliers of p (0: off), and ranges: shares of the image, standard deviations (of log2 for
# factors), shares of a full turn.
DEFAULTS: dict[str, Any] = {name: 0.0 for group in _GROUPS.values() for name in group} | {
    "xint_max": 0.125,
    "scale_std": 0.2,
    "rotate_max": 1.0,
    "aniso_std": 0.2,
    "xfrac_std": 0.125,
    "brightness_std": 0.2,
    "contrast_std": 0.5,
    "hue_max": 1.0,
    "saturation_std": 1.0,
    "imgfilter_bands": (1.0, 1.0, 1.0, 1.0),
    "imgfilter_std": 1.0,
    "noise_std": 0.1,
    "cutout_size": 0.5,
}
_COLOURS = frozenset(_GROUPS["color"])


class Augment:
    """Random differentiable augmentations for the discriminator's images.

    Args:
      pipe: one of `PIPES`: "blit" (flips, quarter turns, whole-pixel shifts), "geom" (scale,
        rotation, stretch, shift), "color", "filter", "noise", "cutout", or several by initials:
        "bg", "bgc" (the usual), "bgcf", "bgcfn", "bgcfnc".
      resolution: side of the images, or (height, width); at least 4.
      channels: 1 or 3; any number without colour operations.
      **options: overrides of single multipliers and ranges (`DEFAULTS`), such as rotate90=0.

    Raises:
      UserError: unknown pipe or option, channels that do not fit, images that are too small.
    """

    def __init__(
        self,
        pipe: str = "bgc",
        resolution: int | tuple[int, int] = 64,
        channels: int = 3,
        **options: Any,
    ):
        if pipe not in PIPES:
            raise UserError(
                f"augmentation pipe {pipe!r} is unknown; known: {', '.join(sorted(PIPES))}"
            )
        if unknown := sorted(set(options) - set(DEFAULTS)):
            raise UserError(
                f"augmentation option {unknown[0]!r} is unknown; known: "
                f"{', '.join(sorted(DEFAULTS))}"
            )
        self.pipe, self.channels = pipe, channels
        self.options = DEFAULTS | dict.fromkeys(PIPES[pipe], 1.0) | options
        size = (resolution, resolution) if isinstance(resolution, int) else tuple(resolution)
        if min(size) < 4:
            raise UserError(
                f"augmentation needs images of at least 4 pixels a side, found {size[0]}x{size[1]}"
            )
        self.height, self.width = size
        if len(self.options["imgfilter_bands"]) != ada_filter.BANDS:
            raise UserError(
                f"imgfilter_bands needs {ada_filter.BANDS} multipliers, found "
                f"{len(self.options['imgfilter_bands'])}"
            )
        if channels not in (1, 3) and any(self.options[name] > 0 for name in _COLOURS):
            raise UserError(
                f"augmentation pipe {pipe!r} changes colours, which needs 1 or 3 channels, found "
                f"{channels}; choose 'bg', 'blit' or 'geom', or change data.channels"
            )

    def __call__(
        self,
        images: tf.Tensor,
        p: tf.Tensor | float,
        seed: tf.Tensor,
        percentile: float | tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Augments a batch.

        Args:
          images: (B, H, W, C) floats in [-1, 1], of the size given to the constructor.
          p: scalar, probability of each operation (times its multiplier); above 1 as 1.
          seed: (2,) integer; the same seed and batch give the same result.
          percentile: None, or q in [0, 1]: no draws but each parameter's q-th percentile on
            every image (the official debug_percentile; see `Draws`). Noise stays random.

        Returns:
          As `images`, computed in float32 and not clipped. Differentiable to any order with
          respect to `images`; never with respect to `p`.
        """
        expected = (self.height, self.width, self.channels)
        if tuple(images.shape[1:]) != expected:
            raise UserError(
                f"augmentation was made for images of {expected}, found {tuple(images.shape[1:])}"
            )
        dtype, options = images.dtype, self.options
        images = tf.cast(images, tf.float32)
        batch = images.shape[0] or tf.shape(images)[0]
        draws = Draws(batch, tf.stop_gradient(tf.cast(p, tf.float32)), seed, percentile)
        inverse = ada_geometry.inverse_transforms(draws, options, self.height, self.width)
        if inverse is not None:
            images = _move(images, inverse)
        matrix = ada_colour.colour_transforms(draws, options, self.channels)
        if matrix is not None:
            images = ada_colour.recolour(images, matrix)
        if options["imgfilter"] > 0:
            images = ada_filter.filter_bands(images, ada_filter.band_gains(draws, options))
        if options["noise"] > 0:
            images = ada_filter.add_noise(images, draws, options)
        if options["cutout"] > 0:
            images = ada_filter.cut_out(images, draws, options)
        return tf.cast(images, dtype)


def _move(images: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """`ada_geometry.warp` of the images whose transform is not the identity.

    These are put first, and a quarter, half or all of the batch goes through the filters, whichever
    is enough: shapes stay static, and at a small p most of the work falls away.
    """
    moved = tf.reduce_any(inverse != tf.eye(3), axis=[1, 2])
    batch = images.shape[0]
    sizes = sorted({0, -(-batch // 4), -(-batch // 2), batch}) if batch else [0, None]
    margins = ada_geometry.margins(inverse, *images.shape[1:3])  # the whole batch's, as officially
    order = tf.argsort(tf.cast(moved, tf.int32), direction="DESCENDING", stable=True)
    x = tf.reshape(images, tf.shape(images))  # its gradient makes gather's a plain tensor
    x, inverse, moved = (tf.gather(t, order) for t in (x, inverse, moved))

    def first(size: int | None) -> tf.Tensor:
        warped = ada_geometry.warp(x[:size], inverse[:size], margins)
        warped = tf.where(moved[:size, None, None, None], warped, x[:size])
        return warped if size == batch else tf.concat([warped, x[size:]], axis=0)

    number = tf.reduce_sum(tf.cast(moved, tf.int32))
    enough = [number > (size or 0) for size in sizes[:-1]]
    branches = [lambda: x] + [functools.partial(first, size) for size in sizes[1:]]
    x = tf.switch_case(tf.reduce_sum(tf.cast(tf.stack(enough), tf.int32)), branches)
    return tf.ensure_shape(tf.gather(x, tf.argsort(order)), images.shape)


def next_p(
    p: tf.Tensor | float,
    mean_sign: tf.Tensor | float,
    target: float,
    images: tf.Tensor | int,
    kimg: float,
) -> tf.Tensor:
    """p after a control step: p + sign(mean_sign - target) * images / (kimg * 1000), at least 0.

    There is no upper limit, as officially: above 1, every operation already happens always.

    Args:
      p: the present probability.
      mean_sign: r_t, mean sign of the discriminator's logits of reals since the last step; or r_v
        of `validation_overfitting` with its own target.
      target: 0.6 for r_t, 0.5 for r_v.
      images: number of real images since the last step (officially 4 batches).
      kimg: thousands of images in which p can move by 1: 500, or 100 when fine-tuning.

    Returns:
      Scalar float32.
    """
    step = tf.cast(images, tf.float32) / (1000.0 * kimg)
    sign = tf.sign(tf.cast(mean_sign, tf.float32) - target)
    return tf.maximum(tf.cast(p, tf.float32) + sign * step, 0.0)


def validation_overfitting(real: tf.Tensor, fake: tf.Tensor, validation: tf.Tensor) -> tf.Tensor:
    """r_v = (E D(real) - E D(validation)) / (E D(real) - E D(fake)): the `adarv` heuristic.

    0 without overfitting, 1 where held-out images look as fake as fakes. The divisor is at least
    1e-8, as officially.

    Args:
      real: logits of training images, or their mean.
      fake: logits of generated images, or their mean.
      validation: logits of held-out images, augmented as the others, or their mean.

    Returns:
      Scalar float32, for `next_p`.
    """
    real, fake, validation = (
        tf.reduce_mean(tf.cast(x, tf.float32)) for x in (real, fake, validation)
    )
    return (real - validation) / tf.maximum(real - fake, 1e-8)
