"""LSGAN: the discriminator learns least squares instead of cross entropy (Mao et al. 2016).

arXiv 1611.04076. A fake far on the right side of a classifier's border costs G nothing and teaches
it nothing; least squares pull it towards the border. Targets: b for real and a for generated
images in D, c for generated images in G:

    D: minimise 1/2 E (D(x) - b)^2 + 1/2 E (D(G(z)) - a)^2;  G: minimise 1/2 E (D(G(z)) - c)^2

Codings: a/b/c = 0/1/1, or -1/1/0, with which G minimises the Pearson chi^2 divergence between
data + generated and twice generated (b - c = 1, b - a = 2). D ends in a linear layer: no sigmoid.

Body: the DCGAN pair (4x4 kernels, no biases, batch norm; 3,576,704 and 2,765,568 parameters at
64x64x3 with nf 64); the paper's own for 112x112 scenes is not here. Optimisers: Adam 2e-4 with
beta_1 .5 by default, DCGAN's values, because the body is DCGAN's and the comparison of the losses
is then on equal terms; `algorithm="rmsprop"` with 1e-4 is the setting that WGAN-GP's authors
(1704.00028, section on robustness) took for LSGAN.

    python -m ganpipe train --config=lsgan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1], R a power of two from 8 on. Sampling uses a moving
average of G, which the paper has not.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan
from ganpipe.models import base
from ganpipe.ops.objective import Objective
from ganpipe.ops.optimizers import Adam
from ganpipe.ops.rmsprop import RMSprop

# a/b/c and the pair of losses with these targets.
CODINGS = {"0/1/1": "least_squares", "-1/1/0": "least_squares_pearson"}
ALGORITHMS = ("adam", "rmsprop")


class LSGAN(base.GANSystem):
    """Least squares GAN, unconditional or (labels at every layer) class-conditional.

    Args:
      resolution: power of two, 8 or more.
      channels: 1 or 3.
      num_classes: 0 for unconditional.
      latent_dim: length of z ~ N(0, I).
      nf: channels of the largest map.
      kernel_size: 4 or 5.
      norm: of G: "batch" or "none".
      d_norm: of D: "batch", "none", "layer" or "spectral".
      d_dropout: share of units dropped behind D's activations in training.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "lsgan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 100,
        nf: int = 64,
        kernel_size: int = 4,
        norm: str = "batch",
        d_norm: str = "batch",
        d_dropout: float = 0.0,
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        bodies_dcgan.check(resolution, nf, kernel_size, self.system_name)
        bodies_dcgan.check_norm("system.norm", norm, bodies_dcgan.G_NORMS)
        bodies_dcgan.check_norm("system.d_norm", d_norm, bodies_dcgan.D_NORMS)
        bodies_dcgan.check_dropout(d_dropout)
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
        )
        shape = (resolution, channels, num_classes)

        def generator(name: str) -> keras.Model:
            kind = "float32" if name == "generator_ema" else precision
            return bodies_dcgan.build_generator(
                *shape, latent_dim, nf, kernel_size, norm, 2 * seed, kind, name
            )

        discriminator = bodies_dcgan.build_discriminator(
            *shape, nf, kernel_size, d_norm, 2 * seed + 1, precision, dropout=d_dropout
        )
        self.set_networks(generator, discriminator)

    def compile(
        self,
        loss: str = "least_squares",
        coding: str = "0/1/1",
        algorithm: str = "adam",
        g_learning_rate: float = 2e-4,
        d_learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        n_critic: int = 1,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the targets and the optimisers.

        Args:
          loss: "least_squares", with the targets of `coding`; or another name of
            `ganpipe.ops.losses.NAMES`, for comparisons on this body.
          coding: a/b/c, one of `CODINGS`.
          algorithm: "adam" (beta_2 .999) or "rmsprop" (rho .99; take learning rates of 1e-4).
          g_learning_rate: of the generator.
          d_learning_rate: of the discriminator.
          beta_1: of Adam.
          n_critic: updates of D in a step, each on B real images.
          penalties: see `ganpipe.ops.objective.PENALTIES`.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's optimiser.
          d_optimizer: replaces the discriminator's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: unknown names.
        """
        if coding not in CODINGS:
            raise UserError(f"optimizer.coding: {coding!r}; expected {' or '.join(CODINGS)}.")
        if algorithm not in ALGORITHMS:
            raise UserError(
                f"optimizer.algorithm: {algorithm!r}; expected {' or '.join(ALGORITHMS)}."
            )

        def make(learning_rate: float) -> keras.optimizers.Optimizer:
            if algorithm == "adam":
                return Adam(learning_rate, beta_1, 0.999, epsilon=1e-8)
            return RMSprop(learning_rate)

        self.compile_networks(
            g_optimizer or make(g_learning_rate),
            d_optimizer or make(d_learning_rate),
            seed,
            Objective(
                CODINGS[coding] if loss == "least_squares" else loss, penalties=penalties, tips=tips
            ),
            n_critic,
            **keras_arguments,
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """`n_critic` updates of D, each on new fakes, then one of G on fakes of its own.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels).

        Returns:
          Logs, each of shape (1,).
        """
        d_variables = self.discriminator.trainable_variables
        for i, (real_images, labels) in enumerate(self.critic_batches(data)):
            z, fake_labels = self.draw_latents(real_images.shape[0], draw=1 + i)
            fakes = self.fake_images(z, fake_labels, 1 + i)
            fakes, fake_labels = self.replayed(fakes, fake_labels, 1 + i)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in d_variables])
                d = self.critic_terms(real_images, labels, fakes, fake_labels, 1 + i, z)
            d_norm = self.minimize(
                self.d_optimizer, tape.gradient(d.loss, d_variables), d_variables
            )

        z, fake_labels = self.draw_latents(real_images.shape[0])
        g_variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in g_variables])
            fakes = self.fake_images(z, fake_labels)
            g = self.generator_terms(fakes, fake_labels, 0, real_images, labels, z)
        g_norm = self.minimize(self.g_optimizer, tape.gradient(g.loss, g_variables), g_variables)
        return self.finish_step(self.game_logs(d, g, d_norm, g_norm))
