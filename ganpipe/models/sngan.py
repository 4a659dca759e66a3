"""SN-GAN: a discriminator whose layers are 1-Lipschitz (Miyato et al. 2018, arXiv 1802.05957).

What the paper adds: every weight of D is divided by its largest singular value, estimated by one
power iteration a call; the hinge loss; residual bodies that train with it. With labels D takes the
class by projection (Miyato & Koyama 2018, arXiv 1802.05637) and G by conditional batch norm.
Followed here: the official code pfnet-research/sngan_projection. The networks are in
`ganpipe.layers.bodies_sngan`, the normalisation in `ganpipe.layers.spectral_norm`.

    step: G on g_batch_factor B fakes (2 B in the paper), then n_critic = 5 times D on B real and
          B new fakes. Adam 2e-4, beta_1 0, beta_2 0.9; the rate falls linearly where asked.

Trainable parameters (G / D) of the reference widths, RGB: 4,276,739 / 1,053,824 at 32 (10 classes:
4,304,387 / 1,055,104); 12,220,675 / 10,141,441 at 64; 32,150,787 / 29,017,857 at 128. The
re-implementation `mimicry` reports 1,053,825 for the D of 32: its last dense layer has a bias that
the official one leaves out.

Where we differ: real and fake images pass through D in one call, so that an update of D takes one
power iteration where the official code takes two (it calls D twice; the weights move little
between iterations, and a call costs one). At inference u stays and sigma is |W^T u|. The average
of G that sampling uses is ours. Gains, offsets and statistics of batch norm are averaged with it.

    python -m ganpipe train --config=sngan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1]; R is 32, 64 or 128 (`body="cnn"`: a multiple of 8).
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan
from ganpipe.layers import bodies_sngan as bodies
from ganpipe.layers.bodies_mlp import build_points_discriminator, build_points_generator
from ganpipe.models import base
from ganpipe.ops.objective import CriticTerms, Objective
from ganpipe.ops.optimizers import Adam
from ganpipe.ops.schedules import LinearDecay

BODIES = ("resnet", "cnn", "points")
DEQUANTIZE = 30  # number of the noise among the step's draws


def reference_widths(body: str, resolution: int) -> tuple[int, int]:
    """(G's nf, D's nf) of the papers."""
    if body == "points":
        return 512, 512
    return (256, 128) if (body, resolution) == ("resnet", 32) else (64, 64)


class SNGAN(base.GANSystem):
    """SN-GAN, unconditional or with a projection discriminator.

    Args:
      resolution: 32, 64 or 128; a multiple of 8 for the CNN; 1 for points.
      channels: 1 or 3; coordinates with `body="points"`.
      num_classes: 0 for unconditional.
      latent_dim: length of z ~ N(0, I).
      nf: width of G, N of `bodies_sngan`; None: the paper's (256 for the ResNet at 32, else 64).
      d_nf: width of D; None: nf times the paper's ratio (1/2 for the ResNet at 32, else 1).
      body: "resnet", "cnn" (table 3 of the paper), or "points": three hidden ReLU layers of nf
        units (512), for the toys of `ganpipe study`.
      first_norm: of the CNN: False leaves out batch norm and ReLU behind G's dense layer.
      d_dropout: share of units dropped behind D's activations in training; not of points.
      g_batch_factor: size of G's batch in batches of D.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16" (bfloat16 compute; weights, sigma, statistics, last
        layers and the averaged generator stay float32).

    Raises:
      UserError: an unknown body, or a size that the body cannot have.
    """

    system_name = "sngan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 128,
        nf: int | None = None,
        d_nf: int | None = None,
        body: str = "resnet",
        first_norm: bool = True,
        d_dropout: float = 0.0,
        g_batch_factor: int = 2,
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if body not in BODIES:
            raise UserError(f"system.body: {body!r}; expected one of {', '.join(BODIES)}.")
        bodies.check(body, resolution)
        points = body == "points"
        if points and num_classes:
            raise UserError(f"system.num_classes: {num_classes}; body 'points' has no labels.")
        if not first_norm and body != "cnn":
            raise UserError(f"system.first_norm: False goes with system.body=cnn, not {body}.")
        bodies_dcgan.check_dropout(d_dropout)
        if points:
            bodies_dcgan.check_unused(body, d_dropout=(d_dropout, 0.0))
        g_width, d_width = reference_widths(body, resolution)
        d_nf = d_nf if d_nf is not None else max((nf or g_width) * d_width // g_width, 1)
        nf = nf if nf is not None else g_width
        if nf < 1 or d_nf < 1 or g_batch_factor < 1:
            raise UserError(
                f"system.nf={nf}, d_nf={d_nf}, g_batch_factor={g_batch_factor}; expected 1 or more "
                "of each."
            )
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
            points=points,
        )
        self.g_batch_factor = g_batch_factor
        shape = (resolution, channels, num_classes)

        def make_generator(name: str) -> keras.Model:
            policy = "float32" if name == "generator_ema" else precision
            if points:
                return build_points_generator(
                    channels, latent_dim, nf, seed=2 * seed, precision=policy, name=name
                )
            rest = (latent_dim, nf, 2 * seed, policy, name)
            if body == "cnn":
                return bodies.build_cnn_generator(*shape, *rest, first_norm=first_norm)
            return bodies.build_resnet_generator(*shape, *rest)

        if points:
            discriminator = build_points_discriminator(
                channels, d_nf, norm="spectral", seed=2 * seed + 1, precision=precision
            )
        else:
            cnn = body == "cnn"
            build = bodies.build_cnn_discriminator if cnn else bodies.build_resnet_discriminator
            discriminator = build(*shape, d_nf, 2 * seed + 1, precision, dropout=d_dropout)
        self.set_networks(make_generator, discriminator)

    def compile(
        self,
        loss: str = "hinge",
        g_learning_rate: float = 2e-4,
        d_learning_rate: float = 2e-4,
        beta_1: float = 0.0,
        beta_2: float = 0.9,
        n_critic: int = 5,
        decay_steps: int = 0,
        decay_start: int = 0,
        dequantize: bool = False,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the objective and the optimisers (paper, section 4 and appendix B.3).

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          g_learning_rate: of the generator's Adam.
          d_learning_rate: of the discriminator's Adam.
          beta_1: of both.
          beta_2: of both.
          n_critic: updates of D in a step, each on B real images.
          decay_steps: steps in which both rates fall linearly to 0; 0 for never.
          decay_start: step at which they begin to fall.
          dequantize: adds U(0, 1/128) to real images, half a level of 8-bit data on average.
          penalties: see `ganpipe.ops.objective.PENALTIES`.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the discriminator's Adam.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: a setting out of range, or an impossible objective.
        """
        for field, value in (("decay_steps", decay_steps), ("decay_start", decay_start)):
            if value < 0:
                raise UserError(f"optimizer.{field}: {value}; expected 0 or more.")
        self.dequantize = dequantize

        def adam(rate: float, updates: int) -> keras.optimizers.Optimizer:
            if decay_steps:  # the schedule counts updates, and D makes n_critic of them in a step
                rate = LinearDecay(rate, updates * decay_steps, updates * decay_start)
            return Adam(rate, beta_1, beta_2, epsilon=1e-8)

        objective = Objective(loss, penalties=penalties, tips=tips)
        objective.check_batches(1, self.g_batch_factor)
        self.compile_networks(
            g_optimizer or adam(g_learning_rate, 1),
            d_optimizer or adam(d_learning_rate, n_critic),
            seed,
            objective,
            n_critic,
            **keras_arguments,
        )

    def _with_noise(self, images: tf.Tensor, draw: int) -> tf.Tensor:
        if not self.dequantize:
            return images
        seed = tf.random.experimental.stateless_fold_in(self.draw_seed(draw), DEQUANTIZE)
        return images + tf.random.stateless_uniform(tf.shape(images), seed, 0.0, 1.0 / 128.0)

    def _update_discriminator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None, draw: int
    ) -> tuple[CriticTerms, tf.Tensor]:
        variables = self.discriminator.trainable_variables
        z, fake_labels = self.draw_latents(real_images.shape[0], draw)
        fake_images = self.fake_images(z, fake_labels, draw)
        fake_images, fake_labels = self.replayed(fake_images, fake_labels, draw)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            d = self.critic_terms(real_images, labels, fake_images, fake_labels, draw, z)
        return d, self.minimize(self.d_optimizer, tape.gradient(d.loss, variables), variables)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of G on g_batch_factor B fakes, then `n_critic` of D.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels).

        Returns:
          Logs, each of shape (1,).
        """
        batches = [
            (self._with_noise(images, draw), labels)
            for draw, (images, labels) in enumerate(self.critic_batches(data), start=1)
        ]
        real_images, labels = batches[0]
        z, fake_labels = self.draw_latents(self.g_batch_factor * real_images.shape[0])
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            fake_images = self.fake_images(z, fake_labels)
            g = self.generator_terms(fake_images, fake_labels, 0, real_images, labels, z)
        g_norm = self.minimize(self.g_optimizer, tape.gradient(g.loss, variables), variables)

        for draw, (real_images, labels) in enumerate(batches, start=1):
            d, d_norm = self._update_discriminator(real_images, labels, draw)
        return self.finish_step(self.game_logs(d, g, d_norm, g_norm))
