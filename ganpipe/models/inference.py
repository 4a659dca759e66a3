"""What a trained system is asked for: images from seeds or latents, logits.

The functions are methods of `GANSystem`, which lends them its state; they live here so that the
class fits on a few screens.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import minibatch_stddev
from ganpipe.models import requests, stages, styles
from ganpipe.ops import images as image_ops
from ganpipe.ops import random

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem


def truncate(system: "GANSystem", z: tf.Tensor, truncation: tf.Tensor) -> tf.Tensor:
    """Pulls z towards the mean of its distribution: mean + truncation (z - mean), per row."""
    mean = random.latent_mean(system.latent_distribution)
    return mean + tf.reshape(truncation, [-1, 1]) * (z - mean)


def synthesize(
    system: "GANSystem",
    z: tf.Tensor,
    labels: tf.Tensor | None,
    truncation: tf.Tensor,
    noise: Any = "const",
) -> tf.Tensor:
    """(B, D) float32, (B,) labels or None, (B,) float32 -> (B, H, W, C) float32 in [-1, 1].

    `noise` is of systems with styles, see `ganpipe.models.styles`; those truncate w instead of z.
    """
    if system.styles:
        ws = styles.mapped(system, z, labels, truncation)
        return styles.synthesized(system, ws, noise)
    z = system.truncate(z, truncation)
    images = system.generator_ema([z, labels] if system.num_classes else z, training=False)
    return stages.full_size(system, tf.cast(images, tf.float32))


def synthesize_rows(
    system: "GANSystem",
    seeds: tf.Tensor,
    labels: tf.Tensor | None,
    truncation: tf.Tensor,
    noise: str | None = "random",
) -> tf.Tensor:
    """(N,) int64 seeds, labels (-1: drawn), truncation -> (N, H, W, C) uint8, row by row."""
    z = random.row_latents(seeds, system.latent_dim, system.latent_distribution)
    if system.num_classes:
        labels = random.row_labels(seeds, labels, system.num_classes)
    own = ("rows", seeds) if noise == "random" and system.styles else noise
    return image_ops.to_uint8(system.synthesize(z, labels, truncation, own))


def logits(system: "GANSystem", images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    """(B, H, W, C) float32 in [-1, 1] -> (B,) float32 logits, in inference mode."""
    images = stages.own_size(system, images)
    inputs = [images, labels] if system.num_classes else images
    return tf.cast(tf.reshape(system.discriminator(inputs, training=False), [-1]), tf.float32)


def logits_alone(system: "GANSystem", images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    """`logits`, but no row knows of its neighbours: those of single images, for servers."""
    with minibatch_stddev.rows_alone():
        return system.logits(images, labels)


def rows_at_once(system: "GANSystem") -> int:
    """64 images up to 256x256, fewer of larger ones: 4 of 1024x1024, for the sake of memory."""
    height, width, _ = system.image_shape
    return max(1, min(64, 64 * 256**2 // (height * width)))


def sample(
    system: "GANSystem",
    n: int,
    seed: int | Sequence[int] = 0,
    labels: int | Sequence[int] | None = None,
    truncation: float = 1.0,
    batch_size: int | None = None,
    noise: str | None = "random",
) -> np.ndarray:
    """Images of the averaged generator, each a function of its own seed.

    Args:
      n: number of images.
      seed: row i uses seed + i; or one seed for every row.
      labels: one class for all, one for every row, or None: drawn from the row's seed.
      truncation: 1 samples the whole latent distribution, 0 gives its mean.
      batch_size: images computed at once; None is `rows_at_once`.
      noise: of systems with styles: "random" (from the row's seed), "const" (the network's own
        noise maps) or "none".

    Returns:
      (n, H, W, C) uint8.

    Raises:
      UserError: labels out of range, or for an unconditional system; unknown noise.
    """
    if system.points:
        raise UserError(f"this {system.system_name} makes points, not pictures: use generate(z).")
    seeds = requests.seeds(n, seed)
    if not np.isfinite(truncation):
        raise UserError(f"truncation: {truncation}; expected a finite number.")
    noise = styles.checked_noise(system, noise)
    labels = system._row_labels(n, -1 if labels is None and system.num_classes else labels, -1)
    rows = []
    batch_size = batch_size or rows_at_once(system)
    for start in range(0, n, batch_size):
        # The last batch is filled up: one shape, one compiled function.
        index = np.minimum(np.arange(start, start + min(batch_size, n)), n - 1)
        images = system._rows(
            tf.constant(seeds[index], tf.int64),
            None if labels is None else tf.constant(labels[index]),
            tf.fill([len(index)], float(truncation)),
            noise,
        )
        rows.append(images.numpy()[: n - start])
    if not rows:
        return np.zeros((0, *system.image_shape), np.uint8)
    return np.concatenate(rows)


def generate(
    system: "GANSystem",
    z: Any,
    labels: int | Sequence[int] | None = None,
    truncation: float | Sequence[float] = 1.0,
    noise: str | None = "const",
    seed: int | Sequence[int] = 0,
) -> tf.Tensor:
    """Images of the averaged generator in inference mode.

    Args:
      z: (B, latent_dim) float32.
      labels: one class or (B,) classes; required by a conditional system.
      truncation: scalar or (B,); see `truncate`.
      noise: of systems with styles: "const", "random" or "none", as in `sample`.
      seed: of random noise: row i uses seed + i; or one seed for every row.

    Returns:
      (B, H, W, C) float32 in [-1, 1].

    Raises:
      UserError: z of another width, labels missing, unwanted or out of range, unknown noise.
    """
    z, labels, truncation = checked(system, z, labels, truncation)
    return system._generate(z, labels, truncation, styles.noise_of(system, noise, z.shape[0], seed))


def checked(
    system: "GANSystem", z: Any, labels: Any, truncation: Any
) -> tuple[tf.Tensor, tf.Tensor | None, tf.Tensor]:
    """(z, labels, truncation) as tensors of one row each.

    Raises:
      UserError: z of another width, labels missing, unwanted or out of range, truncation that is
        not finite or not one a row.
    """
    z = tf.convert_to_tensor(z, tf.float32)
    if z.shape.rank != 2 or z.shape[1] != system.latent_dim:
        raise UserError(f"z: shape {tuple(z.shape)}; expected (batch, {system.latent_dim}).")
    labels = system._row_labels(z.shape[0], labels)
    truncation = np.asarray(truncation, np.float32)
    if truncation.shape not in ((), (z.shape[0],)) or not np.isfinite(truncation).all():
        raise UserError(
            f"truncation: {truncation}; expected a finite number, or one for each of {z.shape[0]} "
            "rows."
        )
    truncation = np.broadcast_to(truncation, (z.shape[0],))
    return z, None if labels is None else tf.constant(labels), tf.constant(truncation)


def discriminate(
    system: "GANSystem", images: Any, labels: int | Sequence[int] | None = None
) -> tf.Tensor:
    """Logits of the discriminator in inference mode: (B, H, W, C) in [-1, 1] -> (B,) float32.

    Raises:
      UserError: images of another shape; labels missing, unwanted or out of range.
    """
    images = tf.convert_to_tensor(images, tf.float32)
    expected = system.image_shape
    if images.shape.rank != 4 or tuple(images.shape[1:]) != expected:
        raise UserError(f"images: shape {tuple(images.shape)}; expected (batch, *{expected}).")
    labels = system._row_labels(images.shape[0], labels)
    return system._logits(images, None if labels is None else tf.constant(labels))
