"""Signatures of systems with styles: mapping, synthesis from w, style mixing; see `savedmodel`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

from ganpipe.models import styles as styling
from ganpipe.ops import images as image_ops
from ganpipe.ops import random

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

# (label or None, least) -> int32 label behind its check
Checked = Callable[[tf.Tensor | None, int], tf.Tensor | None]


def has_styles(system: "GANSystem") -> bool:
    """Whether there are styles to serve; StyleGAN's configs A and B use none."""
    return bool(system.styles and getattr(system.generator_ema, "use_styles", True))


def row_specs(system: "GANSystem") -> dict[str, tf.TensorSpec]:
    """The inputs that these signatures have beside `savedmodel.row_specs`."""
    network = system.generator_ema
    shape = [None, int(network.num_ws), int(network.w_dim)]
    names = ("seed_a", "seed_b", "cutoff")
    return {
        "styles": tf.TensorSpec(shape, tf.float32, name="styles"),
        **{name: tf.TensorSpec([None], tf.int64, name=name) for name in names},
    }


def functions(system: "GANSystem", checked: Checked) -> dict[str, tuple[Callable, tuple[str, ...]]]:
    """Name -> (function, names of its inputs)."""
    network = system.generator_ema
    layers, width = int(network.num_ws), int(network.w_dim)
    size = system.image_shape
    label_name = ("label",) if system.num_classes else ()

    def map_latents(latent, truncation, label=None):
        ws = styling.mapped(system, latent, checked(label, 0), truncation)
        return {"styles": tf.ensure_shape(ws, [None, layers, width])}

    def synthesize(styles):
        images = styling.synthesized(system, styles, "const")
        return {"images": tf.ensure_shape(images, [None, *size])}

    def of_seed(seed, truncation, label):
        z = random.row_latents(seed, system.latent_dim, system.latent_distribution)
        if label is not None:
            label = random.row_labels(seed, label, system.num_classes)
        return styling.mapped(system, z, label, truncation)

    def mix(seed_a, seed_b, cutoff, truncation, label=None):
        expected = f"cutoff: expected 0 (all of seed_b) to {layers} (all of seed_a)"
        fits = tf.reduce_all(tf.logical_and(cutoff >= 0, cutoff <= layers))
        with tf.control_dependencies([tf.debugging.Assert(fits, [expected, "found", cutoff])]):
            cutoff = tf.identity(cutoff)
        label = checked(label, -1)
        first, second = (of_seed(seed, truncation, label) for seed in (seed_a, seed_b))
        below = tf.range(layers, dtype=tf.int64)[tf.newaxis] < cutoff[:, tf.newaxis]
        ws = tf.where(below[:, :, tf.newaxis], first, second)
        images = image_ops.to_uint8(styling.synthesized(system, ws, "const"))
        return {"images": tf.ensure_shape(images, [None, *size])}

    return {
        "map": (map_latents, ("latent", "truncation", *label_name)),
        "synthesize": (synthesize, ("styles",)),
        "mix": (mix, ("seed_a", "seed_b", "cutoff", "truncation", *label_name)),
    }
