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
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.maxout import Maxout
from ganpipe.models import base
from ganpipe.ops import losses, random
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
) -> keras.Model:
    """z (B, latent_dim) -> images (B, R, R, C) float32 in [-1, 1]."""
    init = SeededInitializers(seed)
    z = keras.Input((latent_dim,), name="z")
    x = z
    for _ in range(2):
        x = keras.layers.Dense(
            hidden, "relu", kernel_initializer=init.uniform(irange), dtype=precision
        )(x)
    x = keras.layers.Dense(
        resolution * resolution * channels,
        kernel_initializer=init.uniform(irange),
        dtype=precision,
        name="pixels",
    )(x)
    images = keras.ops.tanh(0.5 * keras.ops.cast(x, "float32"))
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

    def call(
        self, images: tf.Tensor, training: bool = False, dropout_seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Dropout is on exactly when `dropout_seed` is given."""
        x = tf.reshape((images + 1.0) * 0.5, [tf.shape(images)[0], math.prod(images.shape[1:])])
        x = self.h0(random.dropout(x, 0.8, dropout_seed, 0))
        x = self.h1(random.dropout(x, 0.5, dropout_seed, 1))
        return self.y(random.dropout(x, 0.5, dropout_seed, 2))


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
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
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
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if num_classes:
            raise UserError(
                f"system.num_classes: {num_classes}; gan is unconditional, expected 0. "
                "Use system.name=cgan or dcgan, or data.conditional=False."
            )
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=0,
            latent_dim=latent_dim,
            latent_distribution="unit_variance_uniform",
            ema_decay=ema_decay,
        )
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
            ),
            discriminator,
        )

    def adapt(self, mean_image: np.ndarray) -> None:
        """G's output bias = logit of the mean image in [0, 1], clipped to [.005, .995]."""
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
          seed: of latents and dropout in training.
          g_optimizer: replaces the generator's.
          d_optimizer: replaces the discriminator's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.
        """
        try:
            self.d_loss, self.g_loss = losses.pair(loss)
        except ValueError as error:
            raise UserError(f"optimizer.loss: {error}") from error
        schedule = {
            "learning_rate": learning_rate,
            "decay": decay,
            "momentum": momentum,
            "final_momentum": final_momentum,
            "momentum_ramp": momentum_ramp,
        }
        self.compile_networks(
            g_optimizer or MomentumSGD(**schedule),
            d_optimizer or MomentumSGD(**schedule),
            seed,
            **keras_arguments,
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One simultaneous update of D and G.

        Args:
          data: images (B, R, R, C) or (images, labels); labels are ignored.

        Returns:
          Logs, each of shape (1,).
        """
        real_images, _, z, _ = self.step_inputs(data)
        dropout_seed = random.step_dropout_seed(self.seed, self.step)
        real_seed, fake_seed = tf.unstack(tf.random.experimental.stateless_split(dropout_seed, 2))
        with tf.GradientTape(persistent=True) as tape:
            fake_images = self.generator(z, training=True)
            real_logits = self.discriminator(real_images, training=True, dropout_seed=real_seed)
            fake_logits = self.discriminator(fake_images, training=True, dropout_seed=fake_seed)
            d_loss = 0.5 * self.d_loss(real_logits, fake_logits)
            g_loss = self.g_loss(real_logits, fake_logits)
        d_variables = self.discriminator.trainable_variables
        g_variables = self.generator.trainable_variables
        d_gradients = tape.gradient(d_loss, d_variables)
        g_gradients = tape.gradient(g_loss, g_variables)
        d_norm = self.minimize(self.d_optimizer, d_gradients, d_variables)
        g_norm = self.minimize(self.g_optimizer, g_gradients, g_variables)
        return self.finish_step(
            {
                "D/loss": d_loss,
                "G/loss": g_loss,
                "D/real": tf.reduce_mean(tf.sigmoid(real_logits)),
                "D/fake": tf.reduce_mean(tf.sigmoid(fake_logits)),
                "D/grad_norm": d_norm,
                "G/grad_norm": g_norm,
            }
        )
