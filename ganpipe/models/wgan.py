"""WGAN: a critic of bounded weights instead of a classifier (Arjovsky et al. 2017, 1701.07875).

The critic's scores differ by at most K times the distance of their images when its weights are
bounded, so that E f(real) - E f(fake), maximised, is K times the Wasserstein-1 distance: a loss
that falls with quality and whose gradient does not die when the critic wins. Followed here:
martinarjovsky/WassersteinGAN (what it does that the paper does not say is marked with *).

    C: minimise E f(fake) - E f(real);  G: minimise -E f(fake)
    before each critic update every parameter of C, batch norm's gains and offsets included*, is
    clipped to [-0.01, 0.01]; RMSprop 5e-5 for both; 5 critic updates a G update, but 100 for each
    of the first 25 G updates and for every 500th*

Each critic update takes new real images and new fakes; the update of G comes last. A train step
is `n_critic` critic updates. In a long phase G's update is withheld until the phase's critic
updates have passed (20 steps of 5): the graph is one, and counters in the checkpoint say where a
resumed run stands.

Bodies: "dcgan" (4x4 kernels, no biases, batch norm in both; at 64x64x3 with nf 64 3,576,704
parameters in G and 2,765,568 in C), "mlp" (four dense layers each; 6,880,768 and 6,817,793 at
width 512), "points" for two-dimensional toys (resolution 1, channels = coordinates).

Where we differ: sampling uses a moving average of G; an epoch's end does not cut a phase short.
RMSprop is PyTorch's (`ganpipe.ops.rmsprop`): Keras' own has its epsilon inside the root, where it
would stop weights with tiny gradients, which clipped critics have many of.

    python -m ganpipe train --config=wgan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1]; train.batch_size counts the real images of one critic
update, a train step takes n_critic times as many.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan, bodies_mlp
from ganpipe.models import base
from ganpipe.ops.objective import Objective
from ganpipe.ops.optimizers import Adam
from ganpipe.ops.rmsprop import RMSprop

BODIES = ("dcgan", "mlp", "points")
ALGORITHMS = ("rmsprop", "adam")


class WGAN(base.GANSystem):
    """Wasserstein GAN with weight clipping, unconditional.

    Args:
      resolution: "dcgan": power of two, 8 or more; "mlp": any from 4 on; "points": 1.
      channels: 1 or 3; coordinates of a point.
      num_classes: must be 0.
      body: one of `BODIES`.
      latent_dim: length of z ~ N(0, I).
      nf: channels of the largest map ("dcgan"), units of a hidden layer ("mlp", "points").
      g_norm: "batch" or "none"; the G of "mlp" and "points" has none in either case.
      d_norm: "batch", "none", "layer" or "spectral" ("dcgan" and "points").
      d_dropout: share of units dropped behind C's activations in training ("dcgan" only).
      n_extra_layers: 3x3 convolutions at the largest map of both networks ("dcgan" only).
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "wgan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        body: str = "dcgan",
        latent_dim: int = 100,
        nf: int = 64,
        g_norm: str = "batch",
        d_norm: str = "",
        n_extra_layers: int = 0,
        d_dropout: float = 0.0,
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if num_classes:
            raise UserError(
                f"system.num_classes: {num_classes}; wgan is unconditional, expected 0. Use "
                "system.name=wgan_gp, sngan or dcgan, or data.conditional=False."
            )
        if body not in BODIES:
            raise UserError(f"system.body: {body!r}; expected one of {', '.join(BODIES)}.")
        # The toys of the papers have no batch norm in the critic.
        d_norm = d_norm or ("batch" if body == "dcgan" else "none")
        bodies_dcgan.check_norm("system.g_norm", g_norm, bodies_dcgan.G_NORMS)
        bodies_dcgan.check_norm("system.d_norm", d_norm, bodies_dcgan.D_NORMS)
        bodies_dcgan.check_dropout(d_dropout)
        if body == "dcgan":
            bodies_dcgan.check(resolution, nf, 4, "wgan's dcgan body")
        else:
            known = bodies_dcgan.D_NORMS if body == "points" else ("none",)
            bodies_dcgan.check_unused(
                body,
                d_norm=(d_norm, *known),
                n_extra_layers=(n_extra_layers, 0),
                d_dropout=(d_dropout, 0.0),
            )
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=0,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
            points=body == "points",
        )
        self.body = body

        def generator(name: str) -> keras.Model:
            kind = "float32" if name == "generator_ema" else precision
            if body == "points":
                return bodies_mlp.build_points_generator(
                    channels, latent_dim, nf, seed=2 * seed, precision=kind, name=name
                )
            shape = (resolution, channels)
            if body == "mlp":
                return bodies_mlp.build_wgan_generator(*shape, latent_dim, nf, 2 * seed, kind, name)
            return bodies_dcgan.build_generator(
                *shape, 0, latent_dim, nf, 4, g_norm, 2 * seed, kind, name,
                n_extra_layers=n_extra_layers,
            )  # fmt: skip

        start = 2 * seed + 1
        if body == "points":
            critic = bodies_mlp.build_points_discriminator(
                channels, nf, norm=d_norm, seed=start, precision=precision
            )
        elif body == "mlp":
            critic = bodies_mlp.build_wgan_critic(resolution, channels, nf, start, precision)
        else:
            critic = bodies_dcgan.build_discriminator(
                resolution, channels, 0, nf, 4, d_norm, start, precision,
                n_extra_layers=n_extra_layers, dropout=d_dropout,
            )  # fmt: skip
        self.set_networks(generator, critic)
        self.g_updates = self._counter("g_updates")
        self.critic_updates = self._counter("critic_updates")

    def _counter(self, name: str) -> keras.Variable:
        return self.add_weight(
            name=name, shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def compile(
        self,
        loss: str = "wasserstein",
        algorithm: str = "rmsprop",
        g_learning_rate: float = 5e-5,
        d_learning_rate: float = 5e-5,
        beta_1: float = 0.5,
        n_critic: int = 5,
        warmup_iterations: int = 25,
        warmup_critic: int = 100,
        warmup_every: int = 500,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the loss, the clipping, the optimisers and the schedule of the critic.

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          algorithm: "rmsprop" (rho .99, no momentum) or "adam" (the code's --adam; momentum and
            clipping go together badly, says its README).
          g_learning_rate: of the generator.
          d_learning_rate: of the critic.
          beta_1: of Adam; beta_2 is .999.
          n_critic: critic updates in a train step, and a G update outside long phases.
          warmup_iterations: so many first G updates have a long phase before them.
          warmup_critic: critic updates in a long phase, rounded up to whole steps; 0: no long ones.
          warmup_every: G updates number 0, N, 2 N, ... have a long phase too; 0: none of them.
          penalties: see `ganpipe.ops.objective.PENALTIES`; clip is 0.01 unless named.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of latents drawn in training.
          g_optimizer: replaces the generator's optimiser.
          d_optimizer: replaces the critic's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: unknown names, or a negative schedule.
        """
        if algorithm not in ALGORITHMS:
            raise UserError(
                f"optimizer.algorithm: {algorithm!r}; expected {' or '.join(ALGORITHMS)}."
            )
        schedule = {
            "warmup_iterations": warmup_iterations,
            "warmup_critic": warmup_critic,
            "warmup_every": warmup_every,
        }
        for name, value in schedule.items():
            if value < 0:
                raise UserError(f"optimizer.{name}: {value}; expected 0 (off) or more.")
        self.warmup = (warmup_iterations, warmup_critic, warmup_every)

        def make(learning_rate: float) -> keras.optimizers.Optimizer:
            if algorithm == "adam":
                return Adam(learning_rate, beta_1, 0.999, epsilon=1e-8)
            return RMSprop(learning_rate)

        self.compile_networks(
            g_optimizer or make(g_learning_rate),
            d_optimizer or make(d_learning_rate),
            seed,
            Objective(loss, penalties=penalties, tips=tips, default_penalties={"clip": 0.01}),
            n_critic,
            **keras_arguments,
        )

    def phase_length(self) -> tf.Tensor:
        """Critic updates, a scalar int64, that the next update of G waits for."""
        iterations, critic, every = self.warmup
        done = tf.convert_to_tensor(self.g_updates)
        long = done < iterations
        if every:
            long |= done % every == 0
        return tf.where(long, tf.constant(max(critic, 1), tf.int64), tf.constant(1, tf.int64))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """`n_critic` updates of the critic, then one of G where the phase is over.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels); labels are ignored.

        Returns:
          Logs, each of shape (1,).
        """
        batches = self.critic_batches(data)
        c_variables = self.discriminator.trainable_variables
        clip = self.objective.weights["clip"]
        for i, (real_images, _) in enumerate(batches):
            z, _ = self.draw_latents(real_images.shape[0], draw=1 + i)
            fake_images, _ = self.replayed(self.fake_images(z, None, 1 + i), None, 1 + i)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in c_variables])
                # Clips first (penalties.clip), then computes the loss.
                c_terms = self.critic_terms(real_images, None, fake_images, None, 1 + i, z)
            if clip:
                clipped = self._clipped_share(clip)
            gradients = tape.gradient(c_terms.loss, c_variables)
            c_norm = self.minimize(self.d_optimizer, gradients, c_variables)

        passed = self.critic_updates + self.n_critic
        active = passed >= self.phase_length()
        z, _ = self.draw_latents(real_images.shape[0])
        g_variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in g_variables])
            fake_images = self.fake_images(z, None)
            g_terms = self.generator_terms(fake_images, None, 0, real_images, None, z)
        gradients = tape.gradient(g_terms.loss, g_variables)
        g_norm = self.minimize(self.g_optimizer, gradients, g_variables, active=active)
        self.critic_updates.assign(tf.where(active, tf.zeros_like(passed), passed))
        self.g_updates.assign_add(tf.cast(active, tf.int64))

        logs = self.game_logs(c_terms, g_terms, c_norm, g_norm)
        logs["G/updates"] = self.g_updates
        if clip:
            logs["D/clipped_share"] = clipped
        return self.finish_step(logs)

    def _clipped_share(self, clip: float) -> tf.Tensor:
        """Share of the critic's parameters that stand at -clip or clip."""
        variables = [v.value for v in self.discriminator.trainable_variables]
        at = [tf.reduce_sum(tf.cast(tf.abs(v) >= clip, tf.float32)) for v in variables]
        return tf.add_n(at) / float(sum(v.shape.num_elements() for v in variables))

    def state(self) -> dict[str, Any]:
        """The checkpoint tree, with the place in the critic's schedule."""
        return super().state() | {
            "g_updates": self.g_updates,
            "critic_updates": self.critic_updates,
        }

    def synthesize(
        self,
        z: tf.Tensor,
        labels: tf.Tensor | None,
        truncation: tf.Tensor,
        noise: Any = "const",
    ) -> tf.Tensor:
        """As in the base class; the "mlp" body's linear output is clipped to [-1, 1]."""
        images = super().synthesize(z, labels, truncation, noise)
        return tf.clip_by_value(images, -1.0, 1.0) if self.body == "mlp" else images
