"""CGAN: the label goes into both networks (Mirza & Osindero 2014, arXiv 1411.1784).

The game becomes V(D, G) = E log D(x | y) + E log(1 - D(G(z | y) | y)); both networks take the
one-hot label through a branch of its own and join it by concatenation. The body is the paper's
unimodal MNIST experiment (section 4.1):

    G: z (100), U(0, 1) -> 200 ReLU | y -> 1000 ReLU     | join 1200 -> 1200 ReLU -> R*R*C sigmoid
    D: x -> maxout 240 x 5          | y -> maxout 50 x 5 | join 290 -> maxout 240 x 4 -> logit

with dropout of 0.5 on the hidden layers of both networks. At 28x28x1 and 10 classes: 2,413,984 (G)
and 1,224,351 (D) trainable parameters. The paper does not print initial weights: G takes
U(-.05, .05) and D U(-.005, .005) like the GAN it builds on, whose simultaneous update, 1/2 in D's
loss and output bias from the mean image we keep too. No official code is known.

Where we differ: pixels are in [-1, 1] (G ends in tanh(a / 2), D rescales); sampling uses a moving
average of G with dropout off; G's loss is non-saturating by default ("minimax" is the paper's).

    python -m ganpipe train --config=cgan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1], any R from 4 on; labels (B,) int32.
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


class Generator(keras.Model):
    """[z (B, latent_dim), labels (B,)] -> images (B, R, R, C) float32 in [-1, 1].

    Args:
      shape: (R, R, C).
      num_classes: K.
      z_units: width of the branch of z.
      y_units: width of the branch of y.
      joint_units: width of the joint layer.
      irange: weights start as U(-irange, irange).
      keep: share of hidden units that dropout keeps in training.
      seed: of the weights.
      precision: dtype policy.
      name: of the model.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        z_units: int,
        y_units: int,
        joint_units: int,
        irange: float,
        keep: float,
        seed: int,
        precision: str,
        name: str,
    ):
        super().__init__(name=name)
        init = SeededInitializers(seed)

        def dense(units: int, activation: str | None = "relu") -> keras.layers.Dense:
            return keras.layers.Dense(
                units, activation, kernel_initializer=init.uniform(irange), dtype=precision
            )

        self.image_shape, self.num_classes, self.keep = shape, num_classes, keep
        self.z_branch, self.y_branch, self.joint = (
            dense(z_units),
            dense(y_units),
            dense(joint_units),
        )
        self.pixels = dense(math.prod(shape), None)

    def call(
        self, inputs: list, training: bool = False, dropout_seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Dropout is on exactly when `dropout_seed` is given."""
        z, labels = inputs
        branches = [self.z_branch(z), self.y_branch(tf.one_hot(labels, self.num_classes))]
        x = random.dropout(tf.concat(branches, axis=-1), self.keep, dropout_seed, 0)
        x = random.dropout(self.joint(x), self.keep, dropout_seed, 1)
        images = tf.tanh(0.5 * tf.cast(self.pixels(x), tf.float32))
        return tf.reshape(images, [-1, *self.image_shape])


class Discriminator(keras.Model):
    """[images (B, R, R, C) in [-1, 1], labels (B,)] -> logits (B, 1) float32.

    Args:
      num_classes: K.
      x_units: maxout units of the branch of x.
      y_units: maxout units of the branch of y.
      joint_units: maxout units of the joint layer.
      irange: weights start as U(-irange, irange).
      keep: share of hidden units that dropout keeps in training.
      seed: of the weights.
      precision: dtype policy of the maxout layers.
    """

    def __init__(
        self,
        num_classes: int,
        x_units: int,
        y_units: int,
        joint_units: int,
        irange: float,
        keep: float,
        seed: int,
        precision: str,
    ):
        super().__init__(name="discriminator")
        init = SeededInitializers(seed)
        self.num_classes, self.keep = num_classes, keep
        self.x_branch = Maxout(x_units, 5, init.uniform(irange), dtype=precision)
        self.y_branch = Maxout(y_units, 5, init.uniform(irange), dtype=precision)
        self.joint = Maxout(joint_units, 4, init.uniform(irange), dtype=precision)
        self.y = keras.layers.Dense(1, kernel_initializer=init.uniform(irange), dtype="float32")

    def call(
        self, inputs: list, training: bool = False, dropout_seed: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Dropout is on exactly when `dropout_seed` is given."""
        images, labels = inputs
        x = tf.reshape((images + 1.0) * 0.5, [tf.shape(images)[0], math.prod(images.shape[1:])])
        branches = [self.x_branch(x), self.y_branch(tf.one_hot(labels, self.num_classes))]
        x = random.dropout(tf.concat(branches, axis=-1), self.keep, dropout_seed, 0)
        return self.y(random.dropout(self.joint(x), self.keep, dropout_seed, 1))


class CGAN(base.GANSystem):
    """The fully connected conditional GAN.

    Args:
      resolution: any size from 4 on; 28 with `channels=1` is the paper's MNIST body.
      channels: 1 or 3.
      num_classes: 1 or more; the paper's 10.
      latent_dim: length of z.
      z_units: width of G's branch of z.
      y_units: width of G's branch of y.
      joint_units: width of G's joint layer.
      maxout_x: maxout units of D's branch of x.
      maxout_y: maxout units of D's branch of y.
      maxout_joint: maxout units of D's joint layer.
      g_irange: G's weights start as U(-g_irange, g_irange).
      d_irange: D's weights start as U(-d_irange, d_irange).
      latent_distribution: "unit_cube" (the paper) or another of `ganpipe.ops.random`.
      g_keep: share of G's hidden units that dropout keeps in training; 1 switches it off.
      d_keep: the same for D.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "cgan"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 10,
        latent_dim: int = 100,
        z_units: int = 200,
        y_units: int = 1000,
        joint_units: int = 1200,
        maxout_x: int = 240,
        maxout_y: int = 50,
        maxout_joint: int = 240,
        g_irange: float = 0.05,
        d_irange: float = 0.005,
        latent_distribution: str = "unit_cube",
        g_keep: float = 0.5,
        d_keep: float = 0.5,
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if num_classes < 1:
            raise UserError(
                f"system.num_classes: {num_classes}; cgan is conditional, expected 1 or more. "
                "Use data with labels and data.conditional=True, or system.name=gan."
            )
        for field, keep in (("g_keep", g_keep), ("d_keep", d_keep)):
            if not 0.0 < keep <= 1.0:
                raise UserError(f"system.{field}: {keep}; expected 0 < keep <= 1.")
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
        )
        shape = (resolution, resolution, channels)
        label = tf.zeros([1], tf.int32)

        def make_generator(name: str) -> keras.Model:
            policy = "float32" if name == "generator_ema" else precision
            widths = (z_units, y_units, joint_units)
            network = Generator(
                shape, num_classes, *widths, g_irange, g_keep, 2 * seed, policy, name
            )
            network([tf.zeros([1, latent_dim]), label])
            return network

        widths = (maxout_x, maxout_y, maxout_joint)
        discriminator = Discriminator(
            num_classes, *widths, d_irange, d_keep, 2 * seed + 1, precision
        )
        discriminator([tf.zeros([1, *shape]), label])
        self.set_networks(make_generator, discriminator)

    def adapt(self, mean_image: np.ndarray) -> None:
        """G's output bias = logit of the mean image in [0, 1], clipped to [.005, .995]."""
        p = np.clip((np.asarray(mean_image, np.float64) + 1.0) / 2.0, 0.005, 0.995).reshape(-1)
        for network in (self.generator, self.generator_ema):
            network.pixels.bias.assign(np.log(p / (1.0 - p)).astype(np.float32))

    def compile(
        self,
        loss: str = "non_saturating",
        learning_rate: float = 0.1,
        decay: float = 1.00004,
        momentum: float = 0.5,
        final_momentum: float = 0.7,
        momentum_ramp: int = 125_000,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the loss and the optimisers; `MomentumSGD` with the paper's schedule.

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          learning_rate: at the first update.
          decay: the rate is divided by it at every update, down to 1e-6 (1.00004 in this paper).
          momentum: at the first update.
          final_momentum: after `momentum_ramp` updates.
          momentum_ramp: in updates (250 epochs of 500 batches).
          seed: of latents, labels and dropout in training.
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
          data: (images (B, R, R, C), labels (B,)).

        Returns:
          Logs, each of shape (1,).
        """
        real_images, labels, z, fake_labels = self.step_inputs(data)
        seeds = tf.random.experimental.stateless_split(
            random.step_dropout_seed(self.seed, self.step), 3
        )
        with tf.GradientTape(persistent=True) as tape:
            fake_images = self.generator([z, fake_labels], training=True, dropout_seed=seeds[0])
            real_logits = self.discriminator(
                [real_images, labels], training=True, dropout_seed=seeds[1]
            )
            fake_logits = self.discriminator(
                [fake_images, fake_labels], training=True, dropout_seed=seeds[2]
            )
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
