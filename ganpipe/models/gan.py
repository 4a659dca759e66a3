"""GAN: the first one (Goodfellow et al. 2014, arXiv 1406.2661), fully connected.

Two networks play a minimax game on V(D, G) = E log D(x) + E log(1 - D(G(z))). Followed here: the
authors' code, goodfeli/adversarial, mnist.yaml (what it does that the paper does not say is marked
with *).

    G: z (100), U(-sqrt 3, sqrt 3)* -> 1200 ReLU -> 1200 ReLU -> R*R*C sigmoid
    D: R*R*C, dropout* keep .8 -> maxout 240 x 5, dropout keep .5 -> maxout 240 x 5,
       dropout keep .5 -> logit

Both players move at once*: gradients are taken on the same real batch and the same fakes before
either network changes. The discriminator's loss carries a factor 1/2*, D drops units in its own and
in the generator's gradient*. Weights start as U(-.05, .05) in G and U(-.005, .005) in D, biases at
0 except that G's output bias is the logit of the mean training image* (`adapt`, called by the
trainer). At 28x28x1: 2,503,984 (G) and 1,231,441 (D) trainable parameters.

Where we differ: pixels are in [-1, 1] instead of [0, 1], so G ends in 2 sigmoid(a) - 1 =
tanh(a / 2) and D rescales its input to [0, 1]; sampling uses a moving average of G; the official
objective of G is the non-saturating one, ours can also be "minimax" (which fails early, as the
paper says).

    python -m ganpipe train --config=gan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1], any R from 4 on.
"""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.dropout import StepDropout
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.maxout import Maxout
from ganpipe.models import base
from ganpipe.ops.objective import CriticTerms, Objective
from ganpipe.ops.optimizers import MomentumSGD


def build_generator(
    resolution: int,
    channels: int,
    latent_dim: int,
    hidden: int,
    irange: float,
    seed: int,
    precision: str,
    name: str,
    body: str = "mnist",
) -> keras.Model:
    """z (B, latent_dim) -> images (B, R, R, C) float32 in [-1, 1] ("cifar": linear, around it)."""
    init = SeededInitializers(seed)
    z = keras.Input((latent_dim,), name="z")
    x = z
    for activation in ("relu", "relu" if body == "mnist" else "sigmoid"):
        x = keras.layers.Dense(
            hidden, activation, kernel_initializer=init.uniform(irange), dtype=precision
        )(x)
    x = keras.layers.Dense(
        resolution * resolution * channels,
        kernel_initializer=init.uniform(irange if body == "mnist" else 10.0 * irange),
        dtype=precision,
        name="pixels",
    )(x)
    images = keras.ops.cast(x, "float32")
    if body == "mnist":
        images = keras.ops.tanh(0.5 * images)
    return keras.Model(
        z, keras.ops.reshape(images, (-1, resolution, resolution, channels)), name=name
    )


class Discriminator(keras.Model):
    """Two maxout layers with dropout; images (B, R, R, C) in [-1, 1] -> logits (B, 1) float32.

    Args:
      units: maxout units a layer.
      pieces: linear pieces a unit.
      irange: weights start as U(-irange, irange).
      seed: of the weights.
      precision: dtype policy of the maxout layers.
    """

    def __init__(self, units: int, pieces: int, irange: float, seed: int, precision: str):
        super().__init__(name="discriminator")
        init = SeededInitializers(seed)
        self.h0 = Maxout(units, pieces, init.uniform(irange), dtype=precision)
        self.h1 = Maxout(units, pieces, init.uniform(irange), dtype=precision)
        self.y = keras.layers.Dense(1, kernel_initializer=init.uniform(irange), dtype="float32")
        self.drops = [StepDropout(rate, dtype=precision) for rate in (0.2, 0.5, 0.5)]

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Dropout is on in training, inside `ganpipe.layers.dropout.step_seed`."""
        x = tf.reshape((images + 1.0) * 0.5, [tf.shape(images)[0], math.prod(images.shape[1:])])
        x = self.h0(self.drops[0](x, training=training))
        x = self.h1(self.drops[1](x, training=training))
        return self.y(self.drops[2](x, training=training))


class GAN(base.GANSystem):
    """The original fully connected GAN, unconditional.

    Args:
      resolution: any size from 4 on; 28 with `channels=1` is the paper's MNIST body.
      channels: 1 or 3.
      num_classes: must be 0; `cgan` is the conditional one.
      latent_dim: length of z.
      hidden: units of G's two hidden layers.
      maxout_units: units of D's two hidden layers.
      maxout_pieces: linear pieces a maxout unit.
      g_irange: G's weights start as U(-g_irange, g_irange).
      d_irange: D's weights start as U(-d_irange, d_irange).
      latent_distribution: see `ganpipe.ops.random.row_latents`; "" takes the body's,
        "unit_variance_uniform" or "normal".
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
      body: "mnist", or "cifar": the fully connected pair of cifar10_fully_connected.yaml, whose
        second hidden layer is a sigmoid, whose pixels are linear with ten times the irange, and
        whose z is normal. At 32x32x3 with hidden=8000 and maxout_units=1600 it has 89,395,072 (G)
        and 37,393,601 (D) parameters. (That file's pixels are contrast-normalised, ours are not.)
    """

    system_name = "gan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 100,
        hidden: int = 1200,
        maxout_units: int = 240,
        maxout_pieces: int = 5,
        g_irange: float = 0.05,
        d_irange: float = 0.005,
        latent_distribution: str = "",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
        body: str = "mnist",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if num_classes:
            raise UserError(
                f"system.num_classes: {num_classes}; gan is unconditional, expected 0. "
                "Use system.name=cgan or dcgan, or data.conditional=False."
            )
        if body not in ("mnist", "cifar"):
            raise UserError(f"system.body: {body!r}; expected 'mnist' or 'cifar'.")
        own = "unit_variance_uniform" if body == "mnist" else "normal"
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=0,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution or own,
            ema_decay=ema_decay,
        )
        self.body = body
        discriminator = Discriminator(
            maxout_units, maxout_pieces, d_irange, 2 * seed + 1, precision
        )
        discriminator(tf.zeros([1, resolution, resolution, channels]))
        self.set_networks(
            lambda name: build_generator(
                resolution,
                channels,
                latent_dim,
                hidden,
                g_irange,
                2 * seed,
                "float32" if name == "generator_ema" else precision,
                name,
                body,
            ),
            discriminator,
        )

    def adapt(self, mean_image: np.ndarray) -> None:
        """G's output bias = logit of the mean image in [0, 1], clipped to [.005, .995]."""
        if self.body == "cifar":
            return  # linear pixels start at 0
        p = np.clip((np.asarray(mean_image, np.float64) + 1.0) / 2.0, 0.005, 0.995).reshape(-1)
        for network in (self.generator, self.generator_ema):
            network.get_layer("pixels").bias.assign(np.log(p / (1.0 - p)).astype(np.float32))

    def compile(
        self,
        loss: str = "non_saturating",
        learning_rate: float = 0.1,
        decay: float = 1.000004,
        momentum: float = 0.5,
        final_momentum: float = 0.7,
        momentum_ramp: int = 125_000,
        g_learning_rate: float | None = None,
        d_learning_rate: float | None = None,
        n_critic: int = 1,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the loss and the optimisers; `MomentumSGD` with the yaml file's schedule.

        Args:
          loss: "non_saturating" (the code) or "minimax" (the paper's eq. 1), or any other name of
            `ganpipe.ops.losses.NAMES`.
          learning_rate: at the first update.
          decay: the rate is divided by it at every update, down to 1e-6.
          momentum: at the first update.
          final_momentum: after `momentum_ramp` updates (250 epochs of 500 batches).
          momentum_ramp: in updates.
          g_learning_rate: of the generator where it differs from `learning_rate`.
          d_learning_rate: of the discriminator where it differs.
          n_critic: updates of D in a step (the paper's k), each on B real images.
          penalties: see `ganpipe.ops.switches.PENALTIES`.
          tips: see `ganpipe.ops.switches.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's.
          d_optimizer: replaces the discriminator's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.
        """
        schedule = {
            "decay": decay,
            "momentum": momentum,
            "final_momentum": final_momentum,
            "momentum_ramp": momentum_ramp,
        }
        g_rate = learning_rate if g_learning_rate is None else g_learning_rate
        d_rate = learning_rate if d_learning_rate is None else d_learning_rate
        self.compile_networks(
            g_optimizer or MomentumSGD(learning_rate=g_rate, **schedule),
            d_optimizer or MomentumSGD(learning_rate=d_rate, **schedule),
            seed,
            # The 1/2 is the official objective's.
            Objective(loss, penalties=penalties, tips=tips, d_scale=0.5),
            n_critic,
            **keras_arguments,
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """`n_critic` - 1 updates of D alone, then one of D and G at the same time.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels); labels are ignored.

        Returns:
          Logs, each of shape (1,).
        """
        *early, (real_images, labels) = self.critic_batches(data)
        batch = real_images.shape[0]
        d_variables = self.discriminator.trainable_variables
        g_variables = self.generator.trainable_variables

        def d_terms(
            images: Any, image_labels: Any, z: Any, fakes: Any, draw: int, detach: bool = True
        ) -> CriticTerms:
            fakes = self.replayed(*fakes, draw)
            return self.critic_terms(images, image_labels, *fakes, draw, z, detach)

        for draw, (images, image_labels) in enumerate(early, start=1):
            z, fake_labels = self.draw_latents(batch, draw)
            fake_images = self.fake_images(z, fake_labels, draw)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in d_variables])
                d = d_terms(images, image_labels, z, (fake_images, fake_labels), draw)
            self.minimize(self.d_optimizer, tape.gradient(d.loss, d_variables), d_variables)

        z, fake_labels = self.draw_latents(batch)
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in d_variables + g_variables])
            fake_images = self.fake_images(z, fake_labels)
            fakes = (fake_images, fake_labels)
            replays = bool(self.objective.tips["replay"])
            d = d_terms(real_images, labels, z, fakes, self.n_critic, detach=replays)
            # One pass of D for both players, with the same dropout masks, as in the authors' code;
            # G needs its own where D was shown past fakes.
            seen = None if replays else d
            g = self.generator_terms(*fakes, 0, real_images, labels, z, seen)
        # Both gradients are taken before either network moves.
        d_gradients = tape.gradient(d.loss, d_variables)
        g_gradients = tape.gradient(g.loss, g_variables)
        d_norm = self.minimize(self.d_optimizer, d_gradients, d_variables)
        g_norm = self.minimize(self.g_optimizer, g_gradients, g_variables)
        return self.finish_step(self.game_logs(d, g, d_norm, g_norm))
