"""What a training step is written with: batches, draws, the terms of both players, logs.

The functions are methods of `GANSystem`, which lends them its state; they live here so that the
class fits on a few screens.
"""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import dropout
from ganpipe.ops import penalties, random
from ganpipe.ops.objective import CriticTerms, GeneratorTerms

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem


def critic_batches(system: "GANSystem", data: Any) -> list[tuple[tf.Tensor, tf.Tensor | None]]:
    """`n_critic` pairs (real images, real labels or None), consecutive slices of the batch.

    Args:
      data: images (n_critic B, H, W, C) or (images, labels).
    """
    images, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    images = images[0] if isinstance(images, tuple) else images
    count = images.shape[0]
    if count % system.n_critic:
        raise UserError(
            f"a batch of {count} images does not divide by optimizer.n_critic={system.n_critic}: "
            "a train step takes n_critic batches at once."
        )
    parts = tf.split(images, system.n_critic) if system.n_critic > 1 else [images]
    if not system.num_classes:
        return [(part, None) for part in parts]
    labels = tf.split(labels, system.n_critic) if system.n_critic > 1 else [labels]
    return list(zip(parts, labels, strict=True))


def draw_latents(
    system: "GANSystem", batch: int, draw: int = 0
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """(z (B, D), uniform labels (B,) or None) of this step; one draw a use within the step."""
    z = random.step_latents(
        system.seed, system.step, batch, system.latent_dim, system.latent_distribution, draw
    )
    if not system.num_classes:
        return z, None
    return z, random.step_labels(system.seed, system.step, batch, system.num_classes, draw)


def draw_seed(system: "GANSystem", draw: int = 0) -> tf.Tensor:
    """(2,) seed for the objective's randomness, another one on every replica."""
    return random.replica_seed(system.seed, system.step, random.STREAM_OBJECTIVE, draw)


def fake_images(
    system: "GANSystem", z: tf.Tensor, labels: tf.Tensor | None, draw: int = 0
) -> tf.Tensor:
    """G in training mode: (B, D) [, (B,)] -> (B, H, W, C) float32; `draw` as elsewhere."""
    # G's dropout, where a body has any, takes draws of its own beside D's.
    seed = random.replica_seed(system.seed, system.step, random.STREAM_DROPOUT, 1000 + draw)
    with dropout.step_seed(seed):
        return system.generator([z, labels] if system.num_classes else z, training=True)


def critic_at(
    system: "GANSystem", draw: int = 0, network: keras.Model | None = None
) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
    """D in training mode, (images, labels) -> logits, for one update of the step.

    Every call has dropout masks of its own, a function of (seed, step, draw, number of call).

    Args:
      draw: numbers the update within the step.
      network: another discriminator than `system.discriminator`.
    """
    network = network or system.discriminator
    seed = random.replica_seed(system.seed, system.step, random.STREAM_DROPOUT, draw)
    calls = itertools.count(1)

    def critic(images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        with dropout.step_seed(tf.random.experimental.stateless_fold_in(seed, next(calls))):
            inputs = [images, labels] if system.num_classes else images
            return network(inputs, training=True)

    return critic


def critic_terms(
    system: "GANSystem",
    real_images: tf.Tensor,
    labels: tf.Tensor | None,
    fake_images: tf.Tensor,
    fake_labels: tf.Tensor | None,
    draw: int = 0,
    z: tf.Tensor | None = None,
    detach: bool = True,
) -> CriticTerms:
    """The objective's terms of D on one batch; `draw` numbers the update within the step.

    Args:
      real_images: (B, H, W, C).
      labels: (B,) of the real images, or None.
      fake_images: (B, H, W, C).
      fake_labels: (B,), or None.
      draw: see above.
      z: (B, D) latents of the fakes; for zCR.
      detach: False lets gradients pass into the fakes, for players that share one pass.
    """
    if limit := system.objective.weights["clip"]:
        # The official WGAN clips before each update of the critic, not after.
        penalties.clip_weights(system.discriminator.trainable_variables, limit)
    terms = system.objective.critic_loss(
        system.critic_at(draw),
        real_images,
        tf.stop_gradient(fake_images) if detach else fake_images,
        seed=system.draw_seed(draw),
        step=system.step,
        real_labels=labels,
        fake_labels=fake_labels,
        near_fakes=_near_fakes(system, "zcr_d", z, fake_labels, draw),
        logit_average=system.logit_average.value if hasattr(system, "logit_average") else None,
    )
    if hasattr(system, "logit_average"):
        means = tf.stack([tf.reduce_mean(terms.real_logits), tf.reduce_mean(terms.fake_logits)])
        system.logit_average.assign(0.99 * system.logit_average + 0.01 * tf.stop_gradient(means))
    return terms


def generator_terms(
    system: "GANSystem",
    fake_images: tf.Tensor,
    fake_labels: tf.Tensor | None,
    draw: int = 0,
    real_images: tf.Tensor | None = None,
    labels: tf.Tensor | None = None,
    z: tf.Tensor | None = None,
    seen: CriticTerms | None = None,
) -> GeneratorTerms:
    """The objective's terms of G on one batch, its penalties included.

    Args:
      fake_images: (B, H, W, C), with gradients.
      fake_labels: (B,), or None.
      draw: as in `critic_terms`.
      real_images: (B, H, W, C); used by relativistic losses only.
      labels: (B,) of the real images, or None.
      z: (B, D) latents of the fakes; for zCR.
      seen: D's terms on these fakes, not detached: G learns from the same pass.
    """
    loss, logits = system.objective.generator_loss(
        system.critic_at(draw),
        fake_images,
        seed=system.draw_seed(draw),
        step=system.step,
        fake_labels=fake_labels,
        real_images=real_images,
        real_labels=labels,
        near_fakes=_near_fakes(system, "zcr_g", z, fake_labels, draw),
        seen=seen,
    )
    if weight := system.objective.weights["orthogonal"]:
        loss += weight * tf.add_n([penalties.orthogonality(k) for k in kernels(system.generator)])
    return GeneratorTerms(loss, logits)


def kernels(network: keras.Model) -> list[tf.Tensor]:
    """Kernels of dense and convolution layers with the output channels last.

    Tables that are no kernels, such as the gains of conditional batch normalisation, are left out.
    """
    found = []
    for layer in network._flatten_layers():
        kernel = getattr(layer, "kernel", None)
        if kernel is None or len(kernel.shape) < 2 or not kernel.trainable:
            continue
        kernel = tf.convert_to_tensor(kernel)
        if isinstance(layer, keras.layers.Conv2DTranspose):  # (k, k, out, in)
            kernel = tf.transpose(kernel, [0, 1, 3, 2])
        found.append(kernel)
    return found


def _near_fakes(
    system: "GANSystem", weight: str, z: tf.Tensor | None, labels: tf.Tensor | None, draw: int
) -> tf.Tensor | None:
    if not system.objective.weights[weight]:
        return None
    seed = tf.random.experimental.stateless_fold_in(system.draw_seed(draw), 20)
    radius = system.objective.weights["zcr_radius"]
    near = z + radius * tf.random.stateless_normal(tf.shape(z), seed)
    return system.fake_images(near, labels, draw)


def replayed(
    system: "GANSystem", fake_images: tf.Tensor, fake_labels: tf.Tensor | None, draw: int = 0
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Fakes for D, some of them from the pool of past ones (tips.replay)."""
    if not system.objective.tips["replay"]:
        return fake_images, fake_labels
    if random.replica()[1] > 1:
        raise UserError("tips.replay works on one replica; each would need a pool of its own.")
    seed = random.step_seed(system.seed, system.step, random.STREAM_REPLAY, draw)
    return system.replay_pool(tf.stop_gradient(fake_images), fake_labels, seed)


def game_logs(
    system: "GANSystem", d: CriticTerms, g: GeneratorTerms, d_norm: tf.Tensor, g_norm: tf.Tensor
) -> dict[str, tf.Tensor]:
    """The scalars that every system logs, of its last critic update and its G update."""
    objective = system.objective
    real, fake = tf.reduce_mean(d.real_logits), tf.reduce_mean(d.fake_logits)
    logs = {
        "D/loss": d.loss,
        "G/loss": g.loss,
        "D/logit_real": real,
        "D/logit_fake": fake,
        "D/logit_gap": real - fake,
        "D/grad_norm": d_norm,
        "G/grad_norm": g_norm,
    }
    if objective.border is not None:
        right = tf.cast(d.real_logits > objective.border, tf.float32)
        logs["D/acc_real"] = tf.reduce_mean(right)
        right = tf.cast(d.fake_logits < objective.border, tf.float32)
        logs["D/acc_fake"] = tf.reduce_mean(right)
    if d.penalty is not None:
        logs["D/penalty"] = d.penalty
    if d.gradient_norm is not None:
        logs["D/gp_norm"] = d.gradient_norm
    if objective.probabilities:
        logs["D/real"] = tf.reduce_mean(tf.sigmoid(d.real_logits))
        logs["D/fake"] = tf.reduce_mean(tf.sigmoid(d.fake_logits))
    if objective.loss_name == "wasserstein":
        logs["D/distance"] = -d.adversarial / objective.d_scale
    return logs


def average_decay(system: "GANSystem") -> tf.Tensor:
    """Share of the old average that this step keeps, a float32 scalar."""
    step = tf.cast(system.step, tf.float32)
    return tf.minimum(system.ema_decay, (1.0 + step) / (10.0 + step))
