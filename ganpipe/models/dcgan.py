"""DCGAN: the convolutional GAN that trains (Radford, Metz, Chintala 2015, arXiv 1511.06434).

What the paper adds: strided convolutions instead of pooling, batch normalisation in both networks
(not on G's output, not on D's input), no hidden dense layers, ReLU in G, LeakyReLU(0.2) in D.
Followed here: pytorch/examples' and soumith/dcgan.torch's variant of the 64x64 body of figure 1
(4x4 kernels, no biases, N(0, I) latents, one fake batch for both updates, real and fake in separate
batches). At 64x64 with nf 128 the trainable parameters are 12,658,432 (G) and 11,036,160 (D).

    G: z (100) -> dense 4x4x(8 nf), BN, ReLU
         -> [4x4 transposed conv stride 2, BN, ReLU] * -> RxRxC, tanh
    D: RxRxC -> 4x4 conv stride 2, LeakyReLU
         -> [4x4 conv stride 2, BN, LeakyReLU] * -> 4x4x(8 nf) -> logit

Other sizes double or halve the stack: the map of width R/2 has nf channels, each smaller map twice
as many, at most 8 nf (the sheet ends at 64; the cap keeps 128 and above from growing past it).

Conditional (`num_classes > 0`): the one-hot label is joined to the input of every layer of both
networks, as planes on maps, like Newmu/dcgan_code's mnist/train_cond_dcgan.py. Where we differ from
that script: the body stays the one above (it has 5x5 kernels, a dense layer of 1024 and batch
normalisation without scale), and there is no weight decay. Not in the paper: the moving average of
G that sampling uses.

    python -m ganpipe train --config=dcgan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1]; R is a power of two from 8 on (32 and 64 are the
paper's).
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan as bodies
from ganpipe.layers.bodies_mlp import build_points_discriminator, build_points_generator
from ganpipe.models import base
from ganpipe.ops.objective import CriticTerms, Objective
from ganpipe.ops.optimizers import Adam


class DCGAN(base.GANSystem):
    """Deep convolutional GAN, unconditional or class-conditional.

    Args:
      resolution: power of two, 8 or more; 1 with `body="points"`.
      channels: 1 or 3; coordinates with `body="points"`.
      num_classes: 0 for unconditional.
      latent_dim: length of z ~ N(0, I) (the paper's U(-1, 1): `latent_distribution="uniform"`).
      nf: channels of the largest map (ngf and ndf); the paper's 128. Units of a layer for points.
      kernel_size: 4 (Torch) or 5 (paper's figure, Newmu).
      norm: of both networks: "batch" or "none"; the points have none in either case.
      d_norm: of D where it differs: "batch", "none", "layer" or "spectral".
      d_dropout: share of units dropped behind D's activations in training; not of points.
      per_unit_first_norm: the first batch norm of G has a gain a unit, as Newmu's code (18,885,760
        parameters in G at 64x64 with 5x5 kernels and nf 128).
      body: "dcgan", or "points": three hidden ReLU layers, for the toys of `ganpipe study`.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16" (bfloat16 compute, float32 weights; the averaged
        generator and the last layers stay float32).
    """

    system_name = "dcgan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 100,
        nf: int = 128,
        kernel_size: int = 4,
        norm: str = "batch",
        d_norm: str | None = None,
        d_dropout: float = 0.0,
        per_unit_first_norm: bool = False,
        body: str = "dcgan",
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        points = body == "points"
        if body not in ("dcgan", "points"):
            raise UserError(f"system.body: {body!r}; expected 'dcgan' or 'points'.")
        if points and num_classes:
            raise UserError(f"system.num_classes: {num_classes}; body 'points' has no labels.")
        if points:
            bodies.check_unused(
                body,
                kernel_size=(kernel_size, 4),
                d_dropout=(d_dropout, 0.0),
                per_unit_first_norm=(per_unit_first_norm, False),
            )
        else:
            bodies.check(resolution, nf, kernel_size, self.system_name)
        bodies.check_norm("system.norm", norm, bodies.G_NORMS)
        d_norm = d_norm or ("none" if points else norm)
        bodies.check_norm("system.d_norm", d_norm, bodies.D_NORMS)
        bodies.check_dropout(d_dropout)
        if per_unit_first_norm and norm != "batch":
            raise UserError(
                f"system.per_unit_first_norm goes with system.norm='batch', not {norm!r}: there is "
                "no batch norm to have a gain a unit."
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

        def make_generator(name: str) -> keras.Model:
            policy = "float32" if name == "generator_ema" else precision
            if points:
                return build_points_generator(
                    channels, latent_dim, nf, seed=2 * seed, precision=policy, name=name
                )
            return bodies.build_generator(
                resolution,
                channels,
                num_classes,
                latent_dim,
                nf,
                kernel_size,
                norm,
                2 * seed,
                policy,
                name,
                per_unit_first_norm=per_unit_first_norm,
            )

        if points:
            discriminator = build_points_discriminator(
                channels, nf, norm=d_norm, seed=2 * seed + 1, precision=precision
            )
        else:
            discriminator = bodies.build_discriminator(
                resolution,
                channels,
                num_classes,
                nf,
                kernel_size,
                d_norm,
                2 * seed + 1,
                precision,
                dropout=d_dropout,
            )
        self.set_networks(make_generator, discriminator)

    def compile(
        self,
        loss: str = "non_saturating",
        g_learning_rate: float = 2e-4,
        d_learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        beta_2: float = 0.999,
        n_critic: int = 1,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the loss and the optimisers (paper section 4: Adam, 2e-4, beta_1 0.5).

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          g_learning_rate: of the generator's Adam.
          d_learning_rate: of the discriminator's Adam.
          beta_1: of both.
          beta_2: of both.
          n_critic: updates of D in a step, each on B real images.
          penalties: see `ganpipe.ops.switches.PENALTIES`.
          tips: see `ganpipe.ops.switches.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the discriminator's Adam.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.
        """
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            Objective(loss, penalties=penalties, tips=tips),
            n_critic,
            **keras_arguments,
        )

    def _update_discriminator(
        self, real_images: Any, labels: Any, z: Any, fake_images: Any, fake_labels: Any, draw: int
    ) -> tuple[CriticTerms, tf.Tensor]:
        variables = self.discriminator.trainable_variables
        fake_images, fake_labels = self.replayed(fake_images, fake_labels, draw)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            d = self.critic_terms(real_images, labels, fake_images, fake_labels, draw, z)
        return d, self.minimize(self.d_optimizer, tape.gradient(d.loss, variables), variables)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """`n_critic` updates of D, then one of G on the fakes of the last.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels).

        Returns:
          Logs, each of shape (1,).
        """
        *early, (real_images, labels) = self.critic_batches(data)
        batch = real_images.shape[0]
        for draw, (images, image_labels) in enumerate(early, start=1):
            z, fake_labels = self.draw_latents(batch, draw)
            fake_images = self.fake_images(z, fake_labels, draw)
            self._update_discriminator(images, image_labels, z, fake_images, fake_labels, draw)

        z, fake_labels = self.draw_latents(batch)
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            fake_images = self.fake_images(z, fake_labels)
            with tape.stop_recording():
                d, d_norm = self._update_discriminator(
                    real_images, labels, z, fake_images, fake_labels, self.n_critic
                )
            # The updated D sees the same fakes again.
            g = self.generator_terms(fake_images, fake_labels, 0, real_images, labels, z)
        g_norm = self.minimize(self.g_optimizer, tape.gradient(g.loss, variables), variables)
        return self.finish_step(self.game_logs(d, g, d_norm, g_norm))
