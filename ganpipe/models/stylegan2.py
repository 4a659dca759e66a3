"""StyleGAN2 with adaptive augmentation (Karras et al. 2020: arXiv 1912.04958, 2006.06676).

What the papers add to StyleGAN: styles scale the weights instead of normalising the maps, so that
the blobs go; no progressive growing, but skip (G) and residual (D) bodies; path-length and R1
regularisation every few steps only; D sees augmented images, with a strength that follows its
overfitting. Followed here: NVlabs/stylegan2-ada-pytorch; its outputs are met to 1e-5, weights
exchanged by name (`ganpipe.layers.bodies_stylegan2_names`).

    step: 1 G on B fakes         2 every 4 steps  G: path length, B / 2 fakes, loss x 4
          3 D on B reals, fakes  4 every 16 steps D: R1 on the same reals, loss x 16
          5 the average of G     6 every 4 steps  ADA: p towards the target
    Adam with lr c, beta^c, c = k / (k + 1) for an interval of k; fresh z for 1, 2 and 3.

Trainable parameters (G / D), RGB: config F (channel_base 32768, mapping 8) 30,370,060 / 29,012,513
at 1024, 21,523,475 / 21,507,073 at 32; config E (16384) 24,900,764 / 24,038,161 at 1024; CIFAR-10
(mapping 2, D "orig") 19,947,539 / 20,720,641. All others: docs/models/stylegan2.md.

Where we differ: real and fake images pass D in one call (statistics of the minibatch within each);
fakes take the labels of the step's real images, not those of other ones; replicas average w_avg
and the path length, where the official ones keep rank 0's; bfloat16 in place of float16, which
needs no normalised weights; float32 (so the averaged G) is not clamped unless `clamps` says so;
inference is unfused unless `fused`. Configs B to D (growing) are `stylegan2_grown`.

    python -m ganpipe train --config=stylegan2_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1]; R is a power of two from 8 on.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_stylegan2 as bodies
from ganpipe.layers.augmentation import Augmentation
from ganpipe.layers.bodies_stylegan2_discriminator import StyleDiscriminator
from ganpipe.models import base
from ganpipe.ops import lazy, random
from ganpipe.ops import penalties as penalty_ops
from ganpipe.ops.objective import CriticTerms, GeneratorTerms, Objective
from ganpipe.ops.optimizers import Adam

G_MAIN, G_REG, D_MAIN, D_REG = range(4)  # the phases' numbers among the step's draws
MIXED, CUTOFF, NOISE, AUGMENT = 100, 200, 300, 400  # and of what else they draw


class StyleGAN2(base.GANSystem):
    """StyleGAN2, unconditional or conditional.

    Args:
      resolution: a power of two from 8 on.
      channels: 1 or 3.
      num_classes: 0 for unconditional.
      latent_dim: length of z.
      w_dim: length of w.
      channel_base: widths are min(channel_base / resolution, channel_max).
      channel_max: see above.
      mapping_layers: of G: 8; 2 in the `auto` and `cifar` presets.
      g_architecture: "skip", "resnet" or "orig".
      d_architecture: "resnet", "skip" or "orig".
      group_size: images in a group of D's minibatch standard deviation; None: a replica's batch.
      mbstd_features: numbers a group that it adds; 0 leaves it out.
      conditioning: how labels enter: "ada", "ada_tf" or "stylegan2" (`bodies_stylegan2`).
      d_mapping_layers: of D, with labels; None: as `conditioning` says (8, or 0 with "ada_tf").
      freeze_d: the first so many layers of D, from the image on, are not trained (Freeze-D).
      num_bf16_res: with mixed precision, resolutions computed in bfloat16, from the highest down;
        4x4 never is.
      conv_clamp: bound of convolutions' outputs in mixed precision; 0 for none.
      clamps: of G and of D, likewise in float32; imported networks have their own.
      ema_kimg: half-life of G's average in thousands of images.
      ema_rampup: bounds the half-life by this share of the images so far; None for no bound.
      fused: inference with a kernel of its own for each image; the same function.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".

    Raises:
      UserError: an argument out of range.
    """

    system_name = "stylegan2"
    styles = True
    average_copies = True

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        g_architecture: str = "skip",
        d_architecture: str = "resnet",
        group_size: int | None = 4,
        mbstd_features: int = 1,
        conditioning: str = "ada",
        d_mapping_layers: int | None = None,
        freeze_d: int = 0,
        num_bf16_res: int = 4,
        conv_clamp: float = 256.0,
        clamps: tuple[float, float] = (0.0, 0.0),
        ema_kimg: float = 10.0,
        ema_rampup: float | None = None,
        fused: bool = False,
        latent_distribution: str = "normal",
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        bodies.check(arguments)
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
        )
        self.ema_kimg, self.ema_rampup = ema_kimg, ema_rampup
        half = {"num_bf16_res": num_bf16_res, "conv_clamp": conv_clamp or None}
        half = half if precision == "mixed_bfloat16" else {}
        g_full, d_full = ({"conv_clamp": clamp or None} for clamp in clamps)
        names = ("resolution", "channels", "num_classes", "channel_base", "channel_max")
        both = {k: arguments[k] for k in (*names, "conditioning")}

        def make_generator(name: str) -> keras.Model:
            own = {k: arguments[k] for k in ("latent_dim", "w_dim", "mapping_layers", "fused")}
            own |= half if half and name != "generator_ema" else g_full
            own |= {"architecture": g_architecture, "seed": 2 * seed}
            return bodies.StyleGenerator(**both, **own, name=name)

        own = {"architecture": d_architecture, "group_size": group_size, "freeze": freeze_d}
        own |= {"mbstd_features": mbstd_features, "mapping_layers": d_mapping_layers}
        discriminator = StyleDiscriminator(**both, **(half or d_full), **own, seed=2 * seed + 1)
        self.set_networks(make_generator, discriminator)
        self._batch = self._images = 0  # of a replica and of all; known in a step
        self.path_average = self._number("path_average")
        self.last_length, self.last_r1 = self._number("last_length"), self._number("last_r1")

    def _number(self, name: str) -> Any:
        """A float32 scalar that replicas average."""
        return self.add_weight(
            name=name, shape=(), initializer="zeros", trainable=False, aggregation="mean"
        )

    def compile(
        self,
        loss: str = "non_saturating",
        g_learning_rate: float = 2e-3,
        d_learning_rate: float = 2e-3,
        beta_1: float = 0.0,
        beta_2: float = 0.99,
        style_mixing: float = 0.9,
        r1_gamma: float = 10.0,
        d_reg_interval: int = 16,
        pl_weight: float = 2.0,
        pl_decay: float = 0.01,
        pl_batch_shrink: int = 2,
        g_reg_interval: int = 4,
        augment: str = "none",
        ada_target: float = 0.6,
        ada_kimg: float = 500.0,
        ada_pipe: str = "bgc",
        ada_p: float = 0.0,
        diffaugment_policy: str = "color,translation,cutout",
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the objective, the regularisers, the augmentation and the optimisers.

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          g_learning_rate: of G's Adam, before the correction for lazy regularisation.
          d_learning_rate: of D's Adam, likewise.
          beta_1: of both, likewise.
          beta_2: of both, likewise.
          style_mixing: probability that a batch takes the w of other latents from some layer on.
          r1_gamma: weight of R1, gamma / 2 E |grad D(x)|^2, at reals before augmentation.
          d_reg_interval: steps between two updates for R1.
          pl_weight: weight of the path length's (|J^T y| - a)^2.
          pl_decay: share of a batch's mean length in the moving average a.
          pl_batch_shrink: the path length is taken on the batch divided by this.
          g_reg_interval: steps between two updates for the path length.
          augment: "none"; "ada": `ada_pipe` with an adapted p; "fixed": with p = ada_p;
            "diffaugment": `diffaugment_policy`.
          ada_target: mean sign of D(real) that p is steered to.
          ada_kimg: thousands of images in which p can go from 0 to 1; 100 when fine-tuning.
          ada_pipe: of `ganpipe.ops.ada.PIPES`.
          ada_p: the first p.
          diffaugment_policy: of "color", "translation", "cutout", with commas.
          penalties: further ones, in every step; see `ganpipe.ops.objective.PENALTIES`.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam, uncorrected.
          d_optimizer: replaces the discriminator's Adam, uncorrected.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: a setting out of range, or an impossible objective.
        """
        least = {"r1_gamma": 0.0, "pl_weight": 0.0, "pl_decay": 0.0, "pl_batch_shrink": 1}
        least |= {"d_reg_interval": 1, "g_reg_interval": 1}
        for field, value in [(k, v) for k, v in locals().items() if k in least]:
            if not value >= least[field]:
                raise UserError(f"optimizer.{field}: {value}; expected {least[field]} or more.")
        if not 0.0 <= style_mixing <= 1.0:
            raise UserError(f"optimizer.style_mixing: {style_mixing}; expected 0 to 1.")
        self.style_mixing, self.r1_gamma, self.pl_weight = style_mixing, r1_gamma, pl_weight
        self.d_reg_interval, self.g_reg_interval = d_reg_interval, g_reg_interval
        self.pl_decay, self.pl_batch_shrink = pl_decay, pl_batch_shrink
        ada = (self.resolution, self.channels, ada_pipe, ada_target, ada_kimg, ada_p)
        self.augmentation = Augmentation(augment, *ada, diffaugment_policy)

        def adam(rate: float, interval: int) -> keras.optimizers.Optimizer:
            c = lazy.correction(interval)
            return Adam(rate * c, beta_1**c, beta_2**c, epsilon=1e-8)

        self.compile_networks(
            g_optimizer or adam(g_learning_rate, g_reg_interval),
            d_optimizer or adam(d_learning_rate, d_reg_interval),
            seed,
            Objective(loss, penalties=penalties, tips=tips),
            **keras_arguments,
        )

    def state(self) -> dict[str, Any]:
        """The checkpoint tree."""
        own = ("path_average", "last_length", "last_r1", "augmentation")
        return super().state() | {k: getattr(self, k) for k in own if hasattr(self, k)}

    def average_decay(self) -> tf.Tensor:
        """.5^(B / n): n images of half-life, at first no more than a share of those seen."""
        images = float(self._images)
        half_life = tf.constant(1000.0 * self.ema_kimg)
        if self.ema_rampup is not None:
            seen = tf.cast(self.step.value, tf.float32) * images
            half_life = tf.minimum(half_life, seen * self.ema_rampup)
        return tf.pow(0.5, images / tf.maximum(half_life, 1e-8))

    # --- What the phases draw and see ------------------------------------------------------------

    def training_styles(
        self, z: tf.Tensor, labels: tf.Tensor | None, draw: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(ws with style mixing (B, num_ws, w_dim), mean w of z); one cutoff for the batch."""
        if not self.style_mixing:
            return self.generator.mixed_mapping(z, None, labels, None)
        kind, layers, size = self.latent_distribution, self.generator.num_ws, tuple(z.shape)
        others = random.step_latents(self.seed, self.step, *size, kind, MIXED + draw)
        key = random.step_seed(self.seed, self.step, random.STREAM_LATENT, CUTOFF + draw)
        cutoff = bodies.mixing_cutoff(key, self.style_mixing, layers)
        return self.generator.mixed_mapping(z, others, labels, cutoff)

    def _seed(self, use: int) -> tf.Tensor:
        return random.replica_seed(self.seed, self.step, random.STREAM_DROPOUT, use)

    def fake_images(self, z: tf.Tensor, labels: tf.Tensor | None, draw: int = 0) -> tf.Tensor:
        """G in training mode, with style mixing and noise; moves the average of w."""
        ws, mean = self.training_styles(z, labels, draw)
        self.generator.track(mean)
        return self.generator.synthesis(ws, self._seed(NOISE + draw), training=True)

    def critic_at(
        self, draw: int = 0, network: keras.Model | None = None
    ) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """D behind the augmentation; see `Augmentation.critic`."""
        seed = self._seed(AUGMENT + draw)
        return self.augmentation.critic(network or self.discriminator, seed, self._batch)

    # --- The phases ------------------------------------------------------------------------------

    def path_penalty(self, labels: tf.Tensor | None) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(E (|J^T y| - a)^2, [mean length, new a, mean w]) on B / pl_batch_shrink fakes."""
        batch = max(self._batch // self.pl_batch_shrink, 1)
        labels = None if labels is None else labels[:batch]
        z, _ = self.draw_latents(batch, G_REG)
        ws, mean_w = self.training_styles(z, labels, G_REG)
        shape = [batch, self.resolution, self.resolution, self.channels]
        y = tf.random.stateless_normal(shape, self.draw_seed(G_REG))
        noise = self._seed(NOISE + G_REG)
        make = functools.partial(self.generator.synthesis, noise=noise, training=True)
        _, lengths = penalty_ops.path_length(make, ws, y, 0.0)
        penalty, a = lazy.path_penalty(lengths, self.path_average.value, self.pl_decay)
        return penalty, [tf.stop_gradient(t) for t in (tf.reduce_mean(lengths), a, mean_w)]

    def r1_penalty(
        self, images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(1/2 E |d D(A(x)) / d x|^2, [itself, sum of the logits' signs]), A the augmentation."""
        critic = self.critic_at(D_REG)
        penalty, logits = lazy.r1(lambda x: critic(x, labels), images)
        return penalty, [tf.stop_gradient(t) for t in (penalty, tf.reduce_sum(tf.sign(logits)))]

    def _regularise(
        self, due: tf.Tensor, optimizer: Any, network: keras.Model, terms: Any, like: list[Any]
    ) -> list[tf.Tensor]:
        minimize = functools.partial(self.minimize, optimizer)
        alone = random.replica()[1] == 1
        return lazy.update(due, terms, network.trainable_variables, minimize, like, alone)

    def _update_generator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[GeneratorTerms, tf.Tensor]:
        """Phase 1."""

        def terms() -> tuple[tf.Tensor, GeneratorTerms]:
            z, _ = self.draw_latents(self._batch, G_MAIN)
            fakes = self.fake_images(z, labels, G_MAIN)
            # Real images are for relativistic losses only.
            g = self.generator_terms(fakes, labels, G_MAIN, real_images, labels, z)
            return g.loss, g

        variables = self.generator.trainable_variables
        gradients, g = lazy.gradients(terms, variables)
        return g, self.minimize(self.g_optimizer, gradients, variables)

    def _regularise_generator(self, labels: tf.Tensor | None) -> None:
        """Phase 2."""

        def terms() -> tuple[tf.Tensor, list[tf.Tensor]]:
            penalty, rest = self.path_penalty(labels)
            return self.pl_weight * self.g_reg_interval * penalty, rest

        like = [self.path_average.value, self.path_average.value, self.generator.w_average.value]
        due = tf.equal(self.step.value % self.g_reg_interval, 0)
        made = self._regularise(due, self.g_optimizer, self.generator, terms, like)
        length, average, mean_w = made
        self.path_average.assign(tf.where(due, average, self.path_average.value))
        self.last_length.assign(tf.where(due, length, self.last_length.value))
        self.generator.track(tf.where(due, mean_w, self.generator.w_average.value))

    def _update_discriminator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[CriticTerms, tf.Tensor]:
        """Phase 3."""
        z, _ = self.draw_latents(self._batch, D_MAIN)
        fakes, fake_labels = self.replayed(self.fake_images(z, labels, D_MAIN), labels, D_MAIN)

        def terms() -> tuple[tf.Tensor, CriticTerms]:
            d = self.critic_terms(real_images, labels, fakes, fake_labels, D_MAIN, z)
            return d.loss, d

        variables = self.discriminator.trainable_variables
        gradients, d = lazy.gradients(terms, variables)
        return d, self.minimize(self.d_optimizer, gradients, variables)

    def _regularise_discriminator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Phase 4: (sum of the signs of D's logits, their number)."""

        def terms() -> tuple[tf.Tensor, list[tf.Tensor]]:
            penalty, rest = self.r1_penalty(real_images, labels)
            return self.r1_gamma * self.d_reg_interval * penalty, rest

        like = [self.last_r1.value, self.last_r1.value]
        due = tf.equal(self.step.value % self.d_reg_interval, 0)
        penalty, signs = self._regularise(due, self.d_optimizer, self.discriminator, terms, like)
        self.last_r1.assign(tf.where(due, penalty, self.last_r1.value))
        return signs, tf.where(due, self._batch, 0)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The four phases in the official order, the average of G, and ADA's p.

        Args:
          data: images (B, R, R, C) or (images, labels).

        Returns:
          Logs, each of shape (1,); of the regularisers the last values.
        """
        ((real_images, labels),) = self.critic_batches(data)
        self._batch = real_images.shape[0]
        self._images = self._batch * random.replica()[1]
        g, g_norm = self._update_generator(real_images, labels)
        if self.pl_weight:
            self._regularise_generator(labels)
        d, d_norm = self._update_discriminator(real_images, labels)
        signs, count = tf.reduce_sum(tf.sign(d.real_logits)), tf.constant(self._batch)
        if self.r1_gamma:
            more, number = self._regularise_discriminator(real_images, labels)
            signs, count = signs + more, count + number
        self.augmentation.adapt(signs, count, self.step.value, self._images)
        logs = self.game_logs(d, g, d_norm, g_norm) | {
            "D/sign_real": tf.reduce_mean(tf.sign(d.real_logits)),
            "D/r1": self.last_r1.value,
            "G/path_length": self.last_length.value,
            "G/path_average": self.path_average.value,
            "augment/p": self.augmentation.p.value,
        }
        return self.finish_step(logs)
