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
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan, bodies_newmu
from ganpipe.layers.dropout import StepDropout
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.maxout import Maxout
from ganpipe.models import base
from ganpipe.ops.objective import CriticTerms, Objective
from ganpipe.ops.optimizers import Adam, MomentumSGD


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

        self.image_shape, self.num_classes = shape, num_classes
        self.drops = [StepDropout(1.0 - keep, dtype=precision) for _ in range(2)]
        self.z_branch, self.y_branch, self.joint = (
            dense(z_units),
            dense(y_units),
            dense(joint_units),
        )
        self.pixels = dense(math.prod(shape), None)

    def call(self, inputs: list, training: bool = False) -> tf.Tensor:
        """Dropout is on in training, inside `ganpipe.layers.dropout.step_seed`."""
        z, labels = inputs
        branches = [self.z_branch(z), self.y_branch(tf.one_hot(labels, self.num_classes))]
        x = self.drops[0](tf.concat(branches, axis=-1), training=training)
        x = self.drops[1](self.joint(x), training=training)
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
        self.num_classes = num_classes
        self.drops = [StepDropout(1.0 - keep, dtype=precision) for _ in range(2)]
        self.x_branch = Maxout(x_units, 5, init.uniform(irange), dtype=precision)
        self.y_branch = Maxout(y_units, 5, init.uniform(irange), dtype=precision)
        self.joint = Maxout(joint_units, 4, init.uniform(irange), dtype=precision)
        self.y = keras.layers.Dense(1, kernel_initializer=init.uniform(irange), dtype="float32")

    def call(self, inputs: list, training: bool = False) -> tf.Tensor:
        """Dropout is on in training, inside `ganpipe.layers.dropout.step_seed`."""
        images, labels = inputs
        x = tf.reshape((images + 1.0) * 0.5, [tf.shape(images)[0], math.prod(images.shape[1:])])
        branches = [self.x_branch(x), self.y_branch(tf.one_hot(labels, self.num_classes))]
        x = self.drops[0](tf.concat(branches, axis=-1), training=training)
        return self.y(self.drops[1](self.joint(x), training=training))


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
      body: "mlp" (the paper), or "conv": the pair of Newmu's train_cond_dcgan.py (see
        `ganpipe.layers.bodies_newmu`; it has no widths, iranges and keeps to set), which wants
        `optimizer.adam=True` and z ~ U(-1, 1) (`latent_distribution="uniform"`).
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
        body: str = "mlp",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if num_classes < 1:
            raise UserError(
                f"system.num_classes: {num_classes}; cgan is conditional, expected 1 or more. "
                "Use data with labels and data.conditional=True, or system.name=gan."
            )
        if body not in ("mlp", "conv"):
            raise UserError(f"system.body: {body!r}; expected 'mlp' or 'conv'.")
        if body == "conv" and resolution % 4:
            raise UserError(f"data.resolution: {resolution}; body 'conv' wants a multiple of 4.")
        if body == "conv":
            bodies_dcgan.check_unused(
                body,
                z_units=(z_units, 200),
                y_units=(y_units, 1000),
                joint_units=(joint_units, 1200),
                maxout_x=(maxout_x, 240),
                maxout_y=(maxout_y, 50),
                maxout_joint=(maxout_joint, 240),
                g_irange=(g_irange, 0.05),
                d_irange=(d_irange, 0.005),
                g_keep=(g_keep, 0.5, 1.0),
                d_keep=(d_keep, 0.5, 1.0),
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
            if body == "conv":
                sizes = (resolution, channels, num_classes, latent_dim)
                return bodies_newmu.build_generator(*sizes, 2 * seed, policy, name)
            widths = (z_units, y_units, joint_units)
            network = Generator(
                shape, num_classes, *widths, g_irange, g_keep, 2 * seed, policy, name
            )
            network([tf.zeros([1, latent_dim]), label])
            return network

        widths = (maxout_x, maxout_y, maxout_joint)
        if body == "conv":
            discriminator = bodies_newmu.build_discriminator(
                resolution, channels, num_classes, 2 * seed + 1, precision
            )
        else:
            discriminator = Discriminator(
                num_classes, *widths, d_irange, d_keep, 2 * seed + 1, precision
            )
            discriminator([tf.zeros([1, *shape]), label])
        self.body = body
        self.set_networks(make_generator, discriminator)

    def adapt(self, mean_image: np.ndarray) -> None:
        """G's output bias = logit of the mean image in [0, 1], clipped; "conv" has no bias."""
        if self.body == "conv":
            return
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
        g_learning_rate: float | None = None,
        d_learning_rate: float | None = None,
        adam: bool = False,
        n_critic: int = 1,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
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
          adam: Adam at `learning_rate` with beta_1 = `momentum` in place of the schedule; Newmu's
            are 2e-4 and 0.5.
          g_learning_rate: of the generator where it differs from `learning_rate`.
          d_learning_rate: of the discriminator where it differs.
          n_critic: updates of D in a step, each on B real images.
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

        def optimizer(own_rate: float | None) -> keras.optimizers.Optimizer:
            rate = learning_rate if own_rate is None else own_rate
            if adam:
                return Adam(rate, momentum, 0.999, epsilon=1e-8)
            return MomentumSGD(learning_rate=rate, **schedule)

        self.compile_networks(
            g_optimizer or optimizer(g_learning_rate),
            d_optimizer or optimizer(d_learning_rate),
            seed,
            # The 1/2 is the official objective's.
            Objective(loss, penalties=penalties, tips=tips, d_scale=0.5),
            n_critic,
            **keras_arguments,
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """`n_critic` - 1 updates of D alone, then one of D and G at the same time.

        Args:
          data: (images (n_critic B, R, R, C), labels).

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
