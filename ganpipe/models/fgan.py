"""f-GAN: any f-divergence can be the game (Nowozin, Cseke, Tomioka 2016, arXiv 1606.00709).

D_f(P|Q) is at least E_P T - E_Q f*(T) for every function T, f* being the convex conjugate of f;
the best T closes the gap. So a network v(x), bent into f*'s domain by an activation g_f, estimates
the divergence between data and generated images, and G lowers it:

    T = g_f(v(x))
    D: minimise -E T(real) + E f*(T(fake))
    G: minimise -E f*(T(fake)) ("true", the saddle point of the paper's eq. 7), or
       -E T(fake) ("alternative", section 3.2, the analogue of the non-saturating loss)

Divergences: kl, reverse_kl, pearson, squared_hellinger, js, gan, total_variation; formulas, in the
orientation "real means large v", in `ganpipe.ops.losses`. Both players move at once, from
gradients at the same weights (the paper's algorithm 1).

With kl, reverse_kl and squared_hellinger a term is exp(v) or exp(-v): one confident mistake makes
a gradient of any size. There v is clipped to [-10, 10] (`clamp`), which the paper does not do. The
gradient through the clip is zero: an image beyond it teaches neither player until others have
brought v back. `D/clamped_share` is the share of the last batch at the clip; expect 0.

Bodies: "dcgan" (4x4 kernels, no biases, batch norm; linear output) and "mlp", the paper's MNIST
pair: G of two layers of 1200 with batch norm and ReLU and a sigmoid, z ~ U(-1, 1)^100; v of two
layers of 240 with ELU; Adam 2e-4 with beta_1 .5; batches of 4096. (These facts, the start of the
weights and algorithm 1 are recalled; the text of the paper was not at hand: unverified. A public
reimplementation has the same widths, with ReLU in v.)

    python -m ganpipe train --config=fgan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1]. Sampling uses a moving average of G, which the paper
has not.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan, bodies_mlp
from ganpipe.models import base
from ganpipe.ops import penalties as penalties_ops
from ganpipe.ops.objective import CriticTerms, Objective
from ganpipe.ops.optimizers import Adam

BODIES = ("dcgan", "mlp")
DIVERGENCES = (
    "kl",
    "reverse_kl",
    "pearson",
    "squared_hellinger",
    "js",
    "gan",
    "total_variation",
)
EXPONENTIAL = ("kl", "reverse_kl", "squared_hellinger")
OBJECTIVES = {"alternative": "_alt", "true": ""}
CLAMP = 10.0


class FGAN(base.GANSystem):
    """GAN of an f-divergence; with body "dcgan" unconditional or class-conditional.

    Args:
      resolution: "dcgan": power of two, 8 or more; "mlp": any from 4 on.
      channels: 1 or 3.
      num_classes: 0 for unconditional; "dcgan" only.
      body: one of `BODIES`.
      latent_dim: length of z.
      nf: channels of the largest map ("dcgan").
      norm: of G: "batch" or "none" ("dcgan").
      d_norm: of D: "batch", "none", "layer" or "spectral" ("dcgan").
      d_dropout: share of units dropped behind D's activations in training ("dcgan").
      g_units: units of G's hidden layers ("mlp").
      d_units: units of D's hidden layers ("mlp").
      latent_distribution: see `ganpipe.ops.random.row_latents`; the paper's U(-1, 1) is "uniform".
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "fgan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        body: str = "dcgan",
        latent_dim: int = 100,
        nf: int = 64,
        norm: str = "batch",
        d_norm: str = "batch",
        d_dropout: float = 0.0,
        g_units: int = 1200,
        d_units: int = 240,
        latent_distribution: str = "uniform",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if body not in BODIES:
            raise UserError(f"system.body: {body!r}; expected {' or '.join(BODIES)}.")
        if num_classes and body == "mlp":
            raise UserError(
                f"system.num_classes: {num_classes}; fgan's body 'mlp' is unconditional. Set "
                "data.conditional=False, or system.body=dcgan."
            )
        bodies_dcgan.check_norm("system.norm", norm, bodies_dcgan.G_NORMS)
        bodies_dcgan.check_norm("system.d_norm", d_norm, bodies_dcgan.D_NORMS)
        bodies_dcgan.check_dropout(d_dropout)
        if body == "dcgan":
            bodies_dcgan.check(resolution, nf, 4, "fgan's dcgan body")
            bodies_dcgan.check_unused(body, g_units=(g_units, 1200), d_units=(d_units, 240))
        else:
            bodies_dcgan.check_unused(
                body,
                nf=(nf, 64),
                norm=(norm, "batch"),
                d_norm=(d_norm, "batch", "none"),
                d_dropout=(d_dropout, 0.0),
            )
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
        )

        def generator(name: str) -> keras.Model:
            last = (2 * seed, "float32" if name == "generator_ema" else precision, name)
            if body == "mlp":
                return bodies_mlp.build_fgan_generator(
                    resolution, channels, latent_dim, g_units, *last
                )
            return bodies_dcgan.build_generator(
                resolution, channels, num_classes, latent_dim, nf, 4, norm, *last
            )

        last = (2 * seed + 1, precision)
        if body == "mlp":
            critic = bodies_mlp.build_fgan_critic(resolution, channels, d_units, *last)
        else:
            critic = bodies_dcgan.build_discriminator(
                resolution, channels, num_classes, nf, 4, d_norm, *last, dropout=d_dropout
            )
        self.set_networks(generator, critic)

    def compile(
        self,
        loss: str = "fgan",
        divergence: str = "js",
        generator_objective: str = "alternative",
        clamp: float = -1.0,
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
        """Sets the divergence and the optimisers.

        Args:
          loss: "fgan", with the two next arguments; or a name of `ganpipe.ops.losses.NAMES`, for
            comparisons on this body.
          divergence: one of `DIVERGENCES`.
          generator_objective: "alternative" or "true"; for some divergences they are equal.
          clamp: v is clipped to [-clamp, clamp]; 0: not. -1: 10 for losses of `EXPONENTIAL`,
            also where `loss` names them, else not.
          g_learning_rate: of the generator's Adam.
          d_learning_rate: of the discriminator's.
          beta_1: of both.
          beta_2: of both.
          n_critic: updates of D in a step, each on B real images; the last is G's moment too.
          penalties: see `ganpipe.ops.objective.PENALTIES`.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the discriminator's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: unknown names.
        """
        if divergence not in DIVERGENCES:
            raise UserError(
                f"optimizer.divergence: {divergence!r}; expected one of {', '.join(DIVERGENCES)}."
            )
        if generator_objective not in OBJECTIVES:
            raise UserError(
                f"optimizer.generator_objective: {generator_objective!r}; expected "
                f"{' or '.join(OBJECTIVES)}."
            )
        if loss == "fgan":
            loss = f"fgan_{divergence}{OBJECTIVES[generator_objective]}"
        if clamp < 0:
            exponential = [f"fgan_{d}{end}" for d in EXPONENTIAL for end in OBJECTIVES.values()]
            clamp = CLAMP if loss in exponential else 0.0
        self.clamp = float(clamp)
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            Objective(loss, penalties=penalties, tips=tips),
            n_critic,
            **keras_arguments,
        )

    def critic_at(self, draw: int = 0) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """As in the base class, with v clipped to [-clamp, clamp]."""
        critic = super().critic_at(draw)
        if not self.clamp:
            return critic
        return lambda images, labels: tf.clip_by_value(
            critic(images, labels), -self.clamp, self.clamp
        )

    def _d_gradients(
        self, images: Any, labels: Any, fakes: Any, fake_labels: Any, z: Any, draw: int
    ) -> tuple[CriticTerms, list[tf.Tensor]]:
        """D's terms on one batch, and the gradient of their sum in its weights."""
        variables = self.discriminator.trainable_variables
        fakes, fake_labels = self.replayed(fakes, fake_labels, draw)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            d = self.critic_terms(images, labels, fakes, fake_labels, draw, z)
        return d, tape.gradient(d.loss, variables)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """`n_critic` - 1 updates of D alone, then one of D and G from the same weights.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels).

        Returns:
          Logs, each of shape (1,).
        """
        *early, (real_images, labels) = self.critic_batches(data)
        batch = real_images.shape[0]
        for draw, (images, image_labels) in enumerate(early, start=1):
            z, fake_labels = self.draw_latents(batch, draw)
            fakes = self.fake_images(z, fake_labels, draw)
            _, gradients = self._d_gradients(images, image_labels, fakes, fake_labels, z, draw)
            self.minimize(self.d_optimizer, gradients, self.discriminator.trainable_variables)

        z, fake_labels = self.draw_latents(batch)
        g_variables = self.generator.trainable_variables
        d_variables = self.discriminator.trainable_variables
        if clip := self.objective.weights["clip"]:
            # `critic_terms` clips as well, which would be too late for G's gradient.
            penalties_ops.clip_weights(d_variables, clip)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in g_variables])
            fakes = self.fake_images(z, fake_labels)
            g = self.generator_terms(fakes, fake_labels, 0, real_images, labels, z)
        g_gradients = tape.gradient(g.loss, g_variables)
        d, d_gradients = self._d_gradients(
            real_images, labels, fakes, fake_labels, z, self.n_critic
        )
        g_norm = self.minimize(self.g_optimizer, g_gradients, g_variables)
        d_norm = self.minimize(self.d_optimizer, d_gradients, d_variables)

        logs = self.game_logs(d, g, d_norm, g_norm)
        logs["D/divergence"] = -d.adversarial
        if self.clamp:
            v = tf.concat([d.real_logits, d.fake_logits], 0)
            logs["D/clamped_share"] = tf.reduce_mean(tf.cast(tf.abs(v) >= self.clamp, tf.float32))
        return self.finish_step(logs)
