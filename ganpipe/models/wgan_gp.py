"""WGAN-GP: the critic's slope is pulled to 1 instead of its weights being clipped.

Gulrajani et al. 2017 (arXiv 1704.00028). Clipping makes critics simple and their gradients vanish
or explode; here the critic pays for a gradient of another norm than 1 on lines between real and
generated images. Followed here: igul222/improved_wgan_training.

    C: minimise E f(fake) - E f(real) + 10 E (|grad f(x')| - 1)^2, x' = real + a (fake - real),
       one a ~ U(0, 1) a sample, the norm over all pixels of the sample
    G: minimise -E f(fake)

Order of a step: G first (left out at step 0), then `n_critic` updates of C, each on new real
images and new fakes. C has no batch normalisation: the penalty is one of each sample.

Bodies, with the Adam settings of their scripts:

    "dcgan"   gan_cifar.py, 32x32 (other powers of two too): lr 1e-4, betas .5 .9, dim 128
    "mnist"   gan_mnist.py, 28x28: lr 1e-4, betas .5 .9, dim 64, batch 50, no norm at all
    "resnet"  32: gan_cifar_resnet.py: lr 2e-4 linearly to 0, betas 0 .9, dim 128, G's batch twice
              C's; 64: gan_64x64.py: lr 1e-4, betas 0 .9, dim 64, layer norm in C
    "dcgan_layer_norm"  the DCGAN body with layer norm in C, in the manner of gan_64x64.py's
    "points"  gan_toy.py, two-dimensional toys: lr 1e-4, betas .5 .9, dim 512, weight 0.1

With labels ("resnet" only) it is the code's AC-GAN: conditional batch norm in G, class logits
beside the score in C, their cross entropy on real images with weight 1 in C and on fakes with
weight 0.1 in G. The fakes of a critic update have the labels of its real images.

Where we differ: sampling uses a moving average of G and the moving statistics of batch norm; real
images have no dequantisation noise (gan_cifar_resnet.py adds U(0, 1/128)).

    python -m ganpipe train --config=wgan_gp_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1]; train.batch_size counts the real images of one critic
update, a train step takes n_critic times as many.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan, bodies_improved_wgan, bodies_mlp, resnet
from ganpipe.models import base
from ganpipe.ops.objective import Objective
from ganpipe.ops.optimizers import Adam
from ganpipe.ops.schedules import LinearDecay

# Widths of the scripts; "resnet" has 64 at 64x64.
BODIES = {"dcgan": 128, "mnist": 64, "resnet": 128, "dcgan_layer_norm": 64, "points": 512}
AC_GAN_CRITIC, AC_GAN_GENERATOR = 1.0, 0.1  # weights of the cross entropies


class _Recorder:
    """The class logits of the critic's calls of one update, in their order."""

    def __init__(self):
        self.calls: list[tf.Tensor] = []


class WGANGP(base.GANSystem):
    """Wasserstein GAN with gradient penalty, unconditional or (ResNet) class-conditional.

    Args:
      resolution: "dcgan", "dcgan_layer_norm": power of two, 8 or more; "mnist": 28; "resnet": 32 or
        64; "points": 1.
      channels: 1 or 3; coordinates of a point.
      num_classes: 0 for unconditional; "resnet" only.
      body: one of `BODIES`.
      latent_dim: length of z ~ N(0, I); 0 takes the script's: 128, points 2.
      dim: width; 0 takes the script's (`BODIES`, 64 for "resnet" at 64x64).
      g_batch_factor: size of G's batch in batches of C (gan_cifar_resnet.py: 2).
      d_dropout: share of units dropped behind C's activations in training; not of points.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "wgan_gp"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        body: str = "dcgan",
        latent_dim: int = 0,
        dim: int = 0,
        g_batch_factor: int = 1,
        d_dropout: float = 0.0,
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if body not in BODIES:
            raise UserError(f"system.body: {body!r}; expected one of {', '.join(BODIES)}.")
        if num_classes and body != "resnet":
            raise UserError(
                f"system.num_classes: {num_classes} with system.body={body!r}; only 'resnet' is "
                "conditional. Set data.conditional=False, or system.body=resnet."
            )
        if body == "mnist" and resolution != 28:
            raise UserError(
                f"data.resolution: {resolution}; body 'mnist' is for 28x28. Prepare the data with "
                "--resolution=28, or take system.body=dcgan."
            )
        if dim < 0 or latent_dim < 0 or g_batch_factor < 1:
            raise UserError(
                f"system.dim={dim}, latent_dim={latent_dim}, g_batch_factor={g_batch_factor}; "
                "expected 0 (the script's) or more, and a factor of 1 or more."
            )
        bodies_dcgan.check_dropout(d_dropout)
        if body == "points":
            bodies_dcgan.check_unused(body, d_dropout=(d_dropout, 0.0))
        dim = dim or (64 if body == "resnet" and resolution == 64 else BODIES[body])
        if body.startswith("dcgan"):
            bodies_dcgan.check(resolution, dim, 5, "wgan_gp's dcgan body")
        latent_dim = latent_dim or (2 if body == "points" else 128)
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
            points=body == "points",
        )
        self.body, self.g_batch_factor = body, g_batch_factor
        self._recorder = _Recorder()

        def generator(name: str) -> keras.Model:
            kind = "float32" if name == "generator_ema" else precision
            return self._build_generator(dim, 2 * seed, kind, name)

        self.set_networks(generator, self._build_critic(dim, 2 * seed + 1, precision))

    def _build_generator(self, dim: int, seed: int, precision: str, name: str) -> keras.Model:
        size, channels, latent = self.resolution, self.channels, self.latent_dim
        last = {"seed": seed, "precision": precision, "name": name}
        if self.body == "points":
            return bodies_mlp.build_points_generator(channels, latent, dim, **last)
        if self.body == "mnist":
            return bodies_improved_wgan.build_mnist_generator(dim, latent, channels, **last)
        if self.body == "resnet":
            return resnet.wgan_gp_resnet_generator(
                size, dim, self.num_classes, channels=channels, latent_dim=latent, **last
            )
        if self.body == "dcgan":
            return bodies_improved_wgan.build_cifar_generator(size, channels, latent, dim, **last)
        return bodies_dcgan.build_generator(size, channels, 0, latent, dim, 5, "batch", **last)

    def _build_critic(self, dim: int, seed: int, precision: str) -> keras.Model:
        size, channels = self.resolution, self.channels
        last = {"seed": seed, "precision": precision}
        if self.body == "points":
            return bodies_mlp.build_points_discriminator(channels, dim, **last)
        last["dropout"] = self._arguments["d_dropout"]
        if self.body == "mnist":
            return bodies_improved_wgan.build_mnist_critic(dim, channels, **last)
        if self.body == "resnet":
            return resnet.wgan_gp_resnet_critic(
                size, dim, self.num_classes, channels=channels, **last
            )
        if self.body == "dcgan":
            return bodies_improved_wgan.build_cifar_critic(size, channels, dim, **last)
        return bodies_dcgan.build_discriminator(size, channels, 0, dim, 5, "layer", **last)

    def compile(
        self,
        loss: str = "wasserstein",
        g_learning_rate: float = 1e-4,
        d_learning_rate: float = 1e-4,
        beta_1: float = 0.5,
        beta_2: float = 0.9,
        decay_steps: int = 0,
        n_critic: int = 5,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the loss, the penalty and the optimisers.

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          g_learning_rate: of the generator's Adam, at the start.
          d_learning_rate: of the critic's.
          beta_1: of both; 0 in the scripts of the ResNets.
          beta_2: of both.
          decay_steps: train steps in which both rates fall linearly to 0; 0 keeps them.
          n_critic: critic updates in a step.
          penalties: see `ganpipe.ops.objective.PENALTIES`; gp is 10 (points: 0.1) unless named.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the critic's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: unknown names, a negative `decay_steps`.
        """
        if decay_steps < 0:
            raise UserError(f"optimizer.decay_steps: {decay_steps}; expected 0 (off) or more.")

        # An optimiser counts its own updates: the critic makes n_critic of them a step.
        g_rate = LinearDecay(g_learning_rate, decay_steps) if decay_steps else g_learning_rate
        d_steps = decay_steps * n_critic
        d_rate = LinearDecay(d_learning_rate, d_steps) if decay_steps else d_learning_rate
        default = {"gp": 0.1 if self.points else 10.0}
        self.compile_networks(
            g_optimizer or Adam(g_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            Objective(loss, penalties=penalties, tips=tips, default_penalties=default),
            n_critic,
            **keras_arguments,
        )
        self.objective.check_batches(1, self.g_batch_factor)

    def critic_at(self, draw: int = 0) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """As in the base class; the critic of AC-GAN takes no labels and says class logits too."""
        if not self.num_classes:
            return super().critic_at(draw)
        recorder = self._recorder = _Recorder()

        def critic(images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
            scores, class_logits = self.discriminator(images, training=True)
            recorder.calls.append(class_logits)
            return scores

        return critic

    def _class_loss(self, labels: tf.Tensor, fakes: bool) -> tf.Tensor:
        """Cross entropy of the update's fakes, or of its real images, which are labelled so.

        Real images are the first rows of the update's first call; fakes the last of G's last call,
        where a relativistic loss has real images before them.
        """
        calls, count = self._recorder.calls, labels.shape[0]
        logits = calls[-1][-count:] if fakes else calls[0][:count]
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of G (none at step 0), then `n_critic` of the critic.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels).

        Returns:
          Logs, each of shape (1,).
        """
        batches = self.critic_batches(data)
        real_images, labels = batches[0]
        batch = real_images.shape[0]
        z, fake_labels = self.draw_latents(batch * self.g_batch_factor)
        g_variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in g_variables])
            fake_images = self.fake_images(z, fake_labels)
            g_terms = self.generator_terms(fake_images, fake_labels, 0, real_images, labels, z)
            g_loss = g_terms.loss
            if self.num_classes:
                g_loss += AC_GAN_GENERATOR * self._class_loss(fake_labels, fakes=True)
        gradients = tape.gradient(g_loss, g_variables)
        g_norm = self.minimize(self.g_optimizer, gradients, g_variables, active=self.step > 0)

        c_variables = self.discriminator.trainable_variables
        for i, (real_images, labels) in enumerate(batches):
            z, _ = self.draw_latents(batch, draw=1 + i)
            fakes = self.fake_images(z, labels, 1 + i)
            fakes, fake_labels = self.replayed(fakes, labels, 1 + i)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in c_variables])
                c_terms = self.critic_terms(real_images, labels, fakes, fake_labels, 1 + i, z)
                c_loss = c_terms.loss
                if self.num_classes:
                    class_loss = self._class_loss(labels, fakes=False)
                    c_loss += AC_GAN_CRITIC * class_loss
            gradients = tape.gradient(c_loss, c_variables)
            c_norm = self.minimize(self.d_optimizer, gradients, c_variables)

        logs = self.game_logs(
            c_terms._replace(loss=c_loss), g_terms._replace(loss=g_loss), c_norm, g_norm
        )
        if self.num_classes:
            logs["D/class_loss"] = class_loss
        return self.finish_step(logs)

    def logits(self, images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """As in the base class; the scores of AC-GAN's critic do not depend on labels."""
        if not self.num_classes:
            return super().logits(images, labels)
        scores, _ = self.discriminator(images, training=False)
        return tf.cast(tf.reshape(scores, [-1]), tf.float32)
