"""ProGAN: both networks start at 4x4 and grow a level at a time (Karras et al., ICLR 2018).

arXiv 1710.10196. Large images are learned coarse to fine: a new level fades in over both networks
and the real images, so that nothing that was learned is shocked; equalised learning rates, pixel
norm and a minibatch standard deviation keep it stable. Followed here: the official TensorFlow code
(tkarras/progressive_growing_of_gans, master); its branch original-theano-version made the paper's
figures. The networks are in `ganpipe.layers.bodies_progan`, the schedule in `ganpipe.ops.growth`.

    step: D on B real images and B new fakes, then G on B new fakes; Adam 1e-3, betas 0 and .99
    D: minimise E D(fake) - E D(real) + gp / target^2 E (|grad D(x')| - target)^2
                + drift E D(real)^2,           x' = real + u (fake - real), one u ~ U(0, 1) a row
    G: minimise -E D(fake)

The gradient's norm is that with respect to the image at full resolution, as in the official code,
where D takes full-size images at all times: at a working size of R / 2^l it is the norm on the
image at hand over 2^l. With labels D says class logits beside its score (AC-GAN), whose cross
entropies are added: on real images and fakes in D, on fakes in G.

Trainable parameters (G / D), RGB: 20,719,628 / 20,726,785 at 32; 22,490,383 / 22,498,049 at 64;
22,933,394 / 22,941,313 at 128; 23,044,309 / 23,052,353 at 256; 23,079,115 / 23,087,249 at 1024.

Where we differ: the networks run at their working size, where the official ones blow images up
to the full size and back (the same function). The average of G moves behind G's update, the
official one before it, so that theirs is a step older. The labels of G's fakes are uniform; the
official ones are those of random training images. Fakes of D's update have the labels of its real
images, as there. A gradient that is not finite leaves a network as it was, as there; our monitor
then stops the run. The first level is `base`, 4x4 or any other, so images need not be square.

    python -m ganpipe train --config=progan_fashion_mnist:tiny --data=DIR --workdir=RUN

Images are (B, r, r', C) float32 in [-1, 1], r the resolution of the stage, its height, and r' its
width, r on a square base; real images of a fading stage come faded (`ganpipe.data.fade`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_progan as bodies
from ganpipe.models import base
from ganpipe.ops import penalties as penalty_ops
from ganpipe.ops import random, resample
from ganpipe.ops.growth import Growth
from ganpipe.ops.objective import CriticTerms, GeneratorTerms, Objective
from ganpipe.ops.optimizers import Adam
from ganpipe.ops.switches import TIPS

GP = 10.0  # weight of the gradient penalty


class ProGAN(base.GANSystem):
    """Progressive GAN, unconditional or with labels (AC-GAN).

    Args:
      resolution: height at full size, that of `base` times a power of two.
      channels: 1 or 3.
      num_classes: 0 for unconditional.
      latent_dim: length of z ~ N(0, I); 0 takes nf(0), 512 at the reference width.
      fmap_base: level i is min(fmap_base / 2^((i + 1) fmap_decay), fmap_max) channels wide.
      fmap_decay: see above.
      fmap_max: see above.
      base: of the first level, "HEIGHTxWIDTH" or the side of a square.
      group_size: images in a group of the minibatch standard deviation; 0 or 1 leaves it out.
      pool_last: D pools behind its activations: the Theano code's order, of the published networks.
      normalize_latents: pixel norm over z and the one-hot label.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_decay: of the generator's moving average, a step, constant.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16" (bfloat16 compute; weights, statistics, D's last
        layer and the averaged generator stay float32).

    Raises:
      UserError: sizes that do not fit.
    """

    system_name = "progan"
    average_copies = True

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 0,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        base: int | str = 4,
        group_size: int = 4,
        pool_last: bool = False,
        normalize_latents: bool = True,
        latent_distribution: str = "normal",
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        first = bodies.base_size(base)
        # One form for one base: run folders and what reads them know a square by its side.
        arguments["base"] = first[0] if first[0] == first[1] else f"{first[0]}x{first[1]}"
        for field in ("fmap_base", "fmap_max"):
            if arguments[field] < 1:
                raise UserError(f"system.{field}: {arguments[field]}; expected 1 or more.")
        if group_size < 0 or latent_dim < 0:
            raise UserError(
                f"system.group_size={group_size}, latent_dim={latent_dim}; expected 0 or more."
            )
        depth = bodies.levels(resolution, first)
        narrowest = bodies.feature_maps(depth + 1, fmap_base, fmap_decay, fmap_max)
        if narrowest < 1:
            raise UserError(
                f"system.fmap_base: {fmap_base}; level {resolution} would have no channels. "
                f"Expected {2 ** (depth + 1)} or more."
            )
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim or bodies.feature_maps(0, fmap_base, fmap_decay, fmap_max),
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
        )
        widths = {"fmap_base": fmap_base, "fmap_decay": fmap_decay, "fmap_max": fmap_max}
        shape = (resolution, channels, num_classes)

        def make_generator(name: str) -> keras.Model:
            return bodies.Generator(
                *shape,
                self.latent_dim,
                **widths,
                base=first,
                normalize_latents=normalize_latents,
                seed=2 * seed,
                precision="float32" if name == "generator_ema" else precision,
                name=name,
            )

        discriminator = bodies.Discriminator(
            *shape,
            **widths,
            base=first,
            group_size=group_size,
            pool_last=pool_last,
            seed=2 * seed + 1,
            precision=precision,
        )
        self.set_networks(make_generator, discriminator)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images at full size: the base, doubled as often as H says."""
        height, width = bodies.base_size(self._arguments["base"])
        return self.resolution, width * (self.resolution // height), self.channels

    @classmethod
    def check_sizes(cls, sizes: Sequence[tuple[int, int]], settings: Mapping[str, Any]) -> None:
        """As in `GANSystem`; the size to train on is `system.base` times a power of two."""
        base, (height, width) = bodies.base_size(settings.get("base", 4)), sizes[-1]
        if height < 4:
            raise UserError(f"--config.data.resolution={height}: expected at least 4.")
        times = height // base[0]
        if times < 1 or times & (times - 1) or (base[0] * times, base[1] * times) != sizes[-1]:
            coarse = "x".join(map(str, sizes[0]))
            raise UserError(
                f"--config.system.base={settings.get('base', 4)}: {base[0]}x{base[1]} (height x "
                f"width) doubled any number of times is not {height}x{width}, the images of "
                f"data.resolution={height}; expected a base that is, such as {coarse}, the data's "
                f"smallest level, and growth.start_resolution={sizes[0][0]} with it."
            )

    def compile(
        self,
        loss: str = "wasserstein",
        g_learning_rate: float = 1e-3,
        d_learning_rate: float = 1e-3,
        beta_1: float = 0.0,
        beta_2: float = 0.99,
        gp_target: float = 1.0,
        drift: float = 1e-3,
        cond_weight: float = 1.0,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        growth: Growth | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the loss, the schedule and the optimisers.

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES` that is not relativistic.
          g_learning_rate: of the generator's Adam where the stage has no rate of its own.
          d_learning_rate: of the discriminator's.
          beta_1: of both.
          beta_2: of both.
          gp_target: norm that the gradient is pulled to: the paper's gamma, 750 for its CIFAR-10.
          drift: weight of E D(real)^2.
          cond_weight: weight of the class cross entropies.
          penalties: gp of `ganpipe.ops.objective.PENALTIES`; 10 unless named.
          tips: none is open to this system.
          growth: the stages; None: full resolution from the start.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the discriminator's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: a setting out of range, a penalty or tip that this step does not have.
        """
        if gp_target <= 0.0 or drift < 0.0 or cond_weight < 0.0:
            raise UserError(
                f"optimizer.gp_target={gp_target}, drift={drift}, cond_weight={cond_weight}; "
                "expected a target above 0 and weights of 0 or more."
            )
        objective = Objective(loss, penalties=penalties, tips=tips, default_penalties={"gp": GP})
        _check_open(objective)
        if growth is not None:
            self._check_growth(growth)
        self.gp_target, self.drift, self.cond_weight = gp_target, drift, cond_weight
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            objective,
            growth=growth,
            **keras_arguments,
        )

    def _check_growth(self, growth: Growth) -> None:
        """Refuses stages that the networks have no levels for."""
        first, least = growth.start_resolution, self.discriminator.base[0]
        if first < least or growth.resolution != self.resolution:
            raise UserError(
                f"growth from {first} to {growth.resolution}: this progan has the levels {least} "
                f"(system.base) to {self.resolution} (data.resolution)."
            )

    def average_decay(self) -> tf.Tensor:
        """Share of the old average that a step keeps: a constant, not ramped up, here."""
        return tf.constant(self.ema_decay, tf.float32)

    def _update(
        self, optimizer: Any, loss: tf.Tensor, tape: tf.GradientTape, variables: list[Any]
    ) -> tf.Tensor:
        """One update, none where a gradient is not finite; returns the gradient's global norm."""
        gradients = tape.gradient(loss, variables)
        norm = tf.linalg.global_norm(gradients)
        sound = tf.math.is_finite(norm)
        context, (_, replicas) = tf.distribute.get_replica_context(), random.replica()
        if replicas > 1:  # all or none, and an update is not to stand in a branch there
            unsound = context.all_reduce("sum", tf.cast(~sound, tf.float32))
            return self.minimize(optimizer, gradients, variables, active=unsound == 0.0)

        def apply() -> tf.Tensor:
            self.minimize(optimizer, gradients, variables)
            return norm

        return tf.cond(sound, apply, lambda: norm)

    def _class_loss(self, logits: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """Weighted mean cross entropy of D's columns behind the score, (B, 1 + classes)."""
        if labels is None:
            return tf.zeros([])
        entropies = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits[:, 1:])
        return self.cond_weight * tf.reduce_mean(entropies)

    def gradient_penalty(
        self, real_images: tf.Tensor, fake_images: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(E (|grad D| - target)^2 / target^2 on lines, mean norm), norms as at full resolution.

        Args:
          real_images: (B, r, r', C).
          fake_images: (B, r, r', C).
          seed: (2,) integer; of the positions on the lines.
        """
        mixed = penalty_ops.interpolate(real_images, fake_images, seed)
        gradients = penalty_ops.input_gradients(
            lambda images: self.discriminator(images, training=True)[:, 0], mixed
        )
        halvings = self.resolution // self.discriminator.resolution_now  # 2^floor(lod)
        norms = penalty_ops.norms(gradients) / halvings
        gaps = norms / self.gp_target - 1.0
        return tf.reduce_mean(tf.square(gaps)), tf.reduce_mean(norms)

    def _update_discriminator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[CriticTerms, tf.Tensor, tf.Tensor]:
        z, _ = self.draw_latents(real_images.shape[0])
        fake_images = tf.stop_gradient(self.fake_images(z, labels))
        variables = self.discriminator.active_variables()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            # Two passes: the minibatch standard deviation is not to mix real images and fakes.
            real = self.discriminator(real_images, training=True)
            fake = self.discriminator(fake_images, training=True)
            adversarial = self.objective.d_loss(real[:, 0], fake[:, 0])
            penalty = self.drift * tf.reduce_mean(tf.square(real[:, 0]))
            norm = None
            if weight := self.objective.weights["gp"]:
                seed = self.draw_seed()
                value, norm = self.gradient_penalty(real_images, fake_images, seed)
                penalty += weight * value
            class_loss = self._class_loss(real, labels) + self._class_loss(fake, labels)
            loss = adversarial + penalty + class_loss
        d_norm = self._update(self.d_optimizer, loss, tape, variables)
        terms = CriticTerms(loss, adversarial, penalty, norm, real[:, 0], fake[:, 0])
        return terms, class_loss, d_norm

    def _update_generator(self, batch: int) -> tuple[GeneratorTerms, tf.Tensor]:
        z, labels = self.draw_latents(batch, draw=1)
        variables = self.generator.active_variables()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            fake = self.discriminator(self.fake_images(z, labels, 1), training=True)
            loss = self.objective.g_loss(None, fake[:, 0]) + self._class_loss(fake, labels)
        norm = self._update(self.g_optimizer, loss, tape, variables)
        return GeneratorTerms(loss, fake[:, 0]), norm

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of D, then one of G, at the stage that was entered.

        Args:
          data: images (B, r, r', C) or (images, labels).

        Returns:
          Logs, each of shape (1,).
        """
        alpha = self.fade_in()
        ((real_images, labels),) = self.critic_batches(data)
        d_terms, class_loss, d_norm = self._update_discriminator(real_images, labels)
        g_terms, g_norm = self._update_generator(real_images.shape[0])
        logs = self.game_logs(d_terms, g_terms, d_norm, g_norm)
        if self.num_classes:
            logs["D/class_loss"] = class_loss
        if self.growth.grows:
            logs["growth/lod"] = self.stage.lod + alpha
        return self.finish_step(logs)

    def logits(self, images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """(B, H, W, C) -> (B,) float32 scores, in inference mode; labels play no part in them."""
        while images.shape[1] > self.discriminator.resolution_now:
            images = resample.mean_pool(images)
        return self.discriminator(images, training=False)[:, 0]


def _check_open(objective: Objective) -> None:
    """Refuses switches that ProGAN's step does not have.

    Raises:
      UserError: names the switch.
    """
    if objective.relativistic:
        raise UserError(
            f"optimizer.loss: {objective.loss_name!r} compares real images and fakes; progan takes "
            "losses of one side, such as wasserstein or non_saturating."
        )
    for name, weight in objective.weights.items():
        if weight and name not in ("gp", "zcr_radius", "lecam_start"):
            raise UserError(
                f"penalties.{name}: {weight}; progan's step has penalties.gp and optimizer.drift "
                "only. Set it to 0."
            )
    for name, value in objective.tips.items():
        if value != TIPS[name]:
            raise UserError(f"tips.{name}: {value}; progan has no tips. Leave it at {TIPS[name]}.")
