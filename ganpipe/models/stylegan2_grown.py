"""StyleGAN2's layers, grown: configs B, C and D of Karras et al. (CVPR 2020, arXiv 1912.04958).

The steps of table 1 between StyleGAN (A, our `stylegan`) and StyleGAN2 (E and F, `stylegan2`) that
still grow: B scales and demodulates kernels instead of normalising maps, C regularises D now and
then instead of always, D adds the path length. The networks are in
`ganpipe.layers.bodies_stylegan2_grown`, the schedule in `ganpipe.ops.growth`. Followed here:
NVlabs/stylegan2.

    B   1 G: E softplus(-D(fake))
        2 D: E softplus(D(fake)) + E softplus(-D(real)) + 10 / 2 E |grad D(real)|^2  (R1)
    C   as B, but R1 is an update of its own behind 2, every 16 steps, its loss x 16
    D   as C, and behind 1, every 4 steps, the path length on B / 2 fakes, its loss x 2 x 4
    Adam(0, .99) with the stage's rate (.001; .0015 at 128, .002 at 256, .003 from 512 on), anew at
    either end of a fade; in C and D rate c and beta^c, c = k / (k + 1) for an interval of k, for
    both networks also in C

B is optimizer.lazy=False with optimizer.pl_weight=0, C is optimizer.pl_weight=0, D the default.
Trainable parameters (G / D), RGB, of all three: 21,523,475 / 20,726,785 at 32; 24,767,458 /
23,052,353 at 256; 24,900,764 / 23,087,249 at 1024.

R1 is the squared slope with respect to the image at full size, of which D takes means. On a native
image of size R / 2^l it is the squared gradient over 4^l: here the loss sees images in coordinates
2^l as large, and D divides by 2^l. The path length needs no factor: noise of the full size over R,
summed over blocks, is noise of the native size over R / 2^l. Its mean over styles is one over all
of them, also those of layers to come, as there.

Where we differ: the average of G moves behind D's updates, the official one before; fakes take the
labels of the step's real images; a gradient that is not finite is mended (NaN 0, infinity 1e5),
there skipped; statistics of a batch are a replica's, there those of what a GPU takes at a time (32
images at 8x8, 16, 8, then 4); replicas average w_avg and the path length; `sample` and metrics do
not truncate unless asked (there .5).

    python -m ganpipe train --config=stylegan2_grown_fashion_mnist:tiny --data=DIR --workdir=RUN

Images are (B, r, r, C) float32, r the resolution of the stage, real ones in [-1, 1]; those of a
fading stage come faded (`ganpipe.data.fade`).
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_stylegan2_grown as bodies
from ganpipe.layers.bodies_stylegan2 import mixing_cutoff
from ganpipe.models import base
from ganpipe.ops import lazy as lazy_ops
from ganpipe.ops import penalties as penalty_ops
from ganpipe.ops import random
from ganpipe.ops.growth import Growth, Stage
from ganpipe.ops.objective import CriticTerms, GeneratorTerms, Objective
from ganpipe.ops.optimizers import Adam

G_MAIN, G_REG, D_MAIN, D_REG = range(4)  # the updates' numbers among the step's draws
MIXED, CUTOFF, NOISE = 100, 200, 300  # and of what else they draw


class StyleGAN2Grown(base.GANSystem):
    """StyleGAN2 with progressive growing, unconditional or conditional.

    Args:
      resolution: the full one, a power of two from 8 on.
      channels: 1 or 3.
      num_classes: 0 for unconditional.
      latent_dim: length of z ~ N(0, I).
      w_dim: length of w.
      channel_base: resolution r has min(channel_base / r, channel_max) channels.
      channel_max: see above.
      mapping_layers: dense layers of the mapping.
      group_size: images in a group of D's minibatch standard deviation; None: a replica's batch.
      ema_kimg: half-life of G's average in thousands of real images; 0 for no average.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16" (bfloat16 convolutions from 8x8 on; the averaged
        generator stays float32).

    Raises:
      UserError: an argument out of range.
    """

    system_name = "stylegan2_grown"
    styles = True
    average_copies = True

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 512,
        w_dim: int = 512,
        channel_base: int = 16384,
        channel_max: int = 512,
        mapping_layers: int = 8,
        group_size: int | None = 4,
        ema_kimg: float = 10.0,
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
        self.ema_kimg = ema_kimg
        shared = ("resolution", "channels", "num_classes", "channel_base", "channel_max")
        both = {key: arguments[key] for key in shared}

        def make_generator(name: str) -> keras.Model:
            own = {k: arguments[k] for k in ("latent_dim", "w_dim", "mapping_layers")}
            own["precision"] = "float32" if name == "generator_ema" else precision
            return bodies.GrownGenerator(**both, **own, seed=2 * seed, name=name)

        own = {"group_size": group_size, "precision": precision}
        discriminator = bodies.GrownDiscriminator(**both, **own, seed=2 * seed + 1)
        self.set_networks(make_generator, discriminator)
        self._batch = self._images = 1  # of a replica and of all; known in a step
        scalar = {"shape": (), "initializer": "zeros", "trainable": False, "aggregation": "mean"}
        self.path_average = self.add_weight(name="path_average", **scalar)
        self.last_length = self.add_weight(name="last_length", **scalar)
        self.last_r1 = self.add_weight(name="last_r1", **scalar)

    def compile(
        self,
        loss: str = "non_saturating",
        g_learning_rate: float = 1e-3,
        d_learning_rate: float = 1e-3,
        beta_1: float = 0.0,
        beta_2: float = 0.99,
        style_mixing: float = 0.9,
        lazy: bool = True,
        r1_gamma: float = 10.0,
        d_reg_interval: int = 16,
        pl_weight: float = 2.0,
        pl_decay: float = 0.01,
        pl_batch_shrink: int = 2,
        g_reg_interval: int = 4,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        growth: Growth | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the objective, the regularisers, the schedule and the optimisers.

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          g_learning_rate: of G's Adam where the stage has none, before the lazy correction.
          d_learning_rate: of D's Adam, likewise.
          beta_1: of both, likewise.
          beta_2: of both, likewise.
          style_mixing: probability that a batch takes the w of other latents from some layer on.
          lazy: False (config B): R1 is in D's loss at every step, and Adam is not corrected.
          r1_gamma: weight of R1, gamma / 2 E |grad D(x)|^2 with x at full size.
          d_reg_interval: steps between two updates for R1.
          pl_weight: weight of the path length's (|J^T y| - a)^2; 0 for none (configs B and C).
          pl_decay: share of a batch's mean length in the moving average a.
          pl_batch_shrink: the path length is taken on the batch divided by this.
          g_reg_interval: steps between two updates for the path length.
          penalties: further ones, in every step; see `ganpipe.ops.objective.PENALTIES`.
          tips: see `ganpipe.ops.objective.TIPS`.
          growth: the stages; None: full resolution from the start.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam, uncorrected.
          d_optimizer: replaces the discriminator's Adam, uncorrected.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: a setting out of range, an impossible objective, stages without a level.
        """
        least = {"r1_gamma": 0.0, "pl_weight": 0.0, "pl_decay": 0.0}
        least |= {"pl_batch_shrink": 1, "d_reg_interval": 1, "g_reg_interval": 1}
        for field, value in [(k, v) for k, v in locals().items() if k in least]:
            if not value >= least[field]:
                raise UserError(f"optimizer.{field}: {value}; expected {least[field]} or more.")
        if not 0.0 <= style_mixing <= 1.0:
            raise UserError(f"optimizer.style_mixing: {style_mixing}; expected 0 to 1.")
        if pl_weight and not lazy:
            raise UserError(
                f"optimizer.pl_weight: {pl_weight} with optimizer.lazy=False; the path length is "
                "an update of its own. Set pl_weight=0 (config B) or lazy=True (config D)."
            )
        objective = Objective(loss, penalties=penalties, tips=tips)
        _check_open(objective)
        if growth and (growth.start_resolution < 4 or growth.resolution != self.resolution):
            raise UserError(
                f"growth from {growth.start_resolution} to {growth.resolution}: this "
                f"stylegan2_grown has the levels 4 to {self.resolution} (data.resolution)."
            )
        self.style_mixing, self.lazy, self.r1_gamma = style_mixing, bool(lazy), r1_gamma
        self.pl_weight, self.pl_decay, self.pl_batch_shrink = pl_weight, pl_decay, pl_batch_shrink
        self.d_reg_interval, self.g_reg_interval = d_reg_interval, g_reg_interval
        pairs = ((g_optimizer, g_reg_interval), (d_optimizer, d_reg_interval))
        self.corrections = [  # of G's and of D's learning rate
            lazy_ops.correction(k) if lazy and given is None else 1.0 for given, k in pairs
        ]

        def adam(rate: float, c: float) -> keras.optimizers.Optimizer:
            return Adam(rate * c, beta_1**c, beta_2**c, epsilon=1e-8)

        self.compile_networks(
            g_optimizer or adam(g_learning_rate, self.corrections[0]),
            d_optimizer or adam(d_learning_rate, self.corrections[1]),
            seed,
            objective,
            growth=growth,
            **keras_arguments,
        )

    def enter(self, stage: Stage, fresh: bool) -> None:
        """As `ganpipe.models.stages.enter`; a stage's own rate is corrected as Adam is."""
        super().enter(stage, fresh)
        if stage.learning_rate is not None:
            self.g_optimizer.learning_rate = stage.learning_rate * self.corrections[0]
            self.d_optimizer.learning_rate = stage.learning_rate * self.corrections[1]

    def state(self) -> dict[str, Any]:
        """The checkpoint tree."""
        own = ("path_average", "last_length", "last_r1")
        return super().state() | {key: getattr(self, key) for key in own}

    def average_decay(self) -> tf.Tensor:
        """0.5^(B / 1000 ema_kimg) of a step on B real images, all replicas together."""
        images = 1000.0 * self.ema_kimg
        return tf.constant(0.5 ** (self._images / images) if images else 0.0, tf.float32)

    # --- What the updates draw and see -----------------------------------------------------------

    def training_styles(
        self, z: tf.Tensor, labels: tf.Tensor | None, draw: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(ws, mixed from one of the stage's layers on, (B, num_ws, w_dim); mean w of z)."""
        if not self.style_mixing:
            return self.generator.mixed_mapping(z, None, labels, None)
        others, _ = self.draw_latents(z.shape[0], MIXED + draw)
        key = random.step_seed(self.seed, self.step, random.STREAM_LATENT, CUTOFF + draw)
        cutoff = mixing_cutoff(key, self.style_mixing, self.generator.layers_now)
        return self.generator.mixed_mapping(z, others, labels, cutoff)

    def _noise(self, draw: int) -> tf.Tensor:
        """(2,) seed of G's noise."""
        return random.replica_seed(self.seed, self.step, random.STREAM_DROPOUT, NOISE + draw)

    def fake_images(self, z: tf.Tensor, labels: tf.Tensor | None, draw: int = 0) -> tf.Tensor:
        """G in training mode, with style mixing and noise; moves the average of w."""
        ws, mean = self.training_styles(z, labels, draw)
        self.generator.track(mean)
        return self.generator.synthesis(ws, self._noise(draw), training=True)

    def _seen(self, images: tf.Tensor) -> tf.Tensor:
        """Native images times 2^l: gradients with respect to these have full-size norms."""
        return images * 2.0**self.discriminator.halvings

    def critic_at(
        self, draw: int = 0, network: keras.Model | None = None
    ) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """As `game.critic_at`, for images in the coordinates of `_seen`."""
        critic = super().critic_at(draw, network)
        return lambda images, labels: critic(images / 2.0**self.discriminator.halvings, labels)

    # --- The updates -----------------------------------------------------------------------------

    def path_penalty(self, labels: tf.Tensor | None) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """(E (|J^T y| - a)^2, [mean length, new a, mean w]) on B / pl_batch_shrink fakes."""
        batch = max(self._batch // self.pl_batch_shrink, 1)
        labels = None if labels is None else labels[:batch]
        z, _ = self.draw_latents(batch, G_REG)
        ws, mean_w = self.training_styles(z, labels, G_REG)
        side = self.generator.resolution_now
        y = tf.random.stateless_normal([batch, side, side, self.channels], self.draw_seed(G_REG))
        noise = self._noise(G_REG)
        make = functools.partial(self.generator.synthesis, noise=noise, training=True)
        _, lengths = penalty_ops.path_length(make, ws, y, 0.0)
        penalty, a = lazy_ops.path_penalty(lengths, self.path_average.value, self.pl_decay)
        return penalty, [tf.stop_gradient(t) for t in (tf.reduce_mean(lengths), a, mean_w)]

    def r1_penalty(self, images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        """1/2 E |d D(x) / d x|^2, x the images at full size; scalar."""
        critic = self.critic_at(D_REG)
        return lazy_ops.r1(lambda x: critic(x, labels), self._seen(images))[0]

    def _regularise(
        self, due: tf.Tensor, optimizer: Any, network: keras.Model, terms: Any, like: list[Any]
    ) -> list[tf.Tensor]:
        minimize, alone = functools.partial(self.minimize, optimizer), random.replica()[1] == 1
        return lazy_ops.update(due, terms, network.active_variables(), minimize, like, alone)

    def _update_generator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[GeneratorTerms, tf.Tensor]:
        """Update 1."""

        def terms() -> tuple[tf.Tensor, GeneratorTerms]:
            z, _ = self.draw_latents(self._batch, G_MAIN)
            fakes = self._seen(self.fake_images(z, labels, G_MAIN))
            real = self._seen(real_images)  # for relativistic losses only
            g = self.generator_terms(fakes, labels, G_MAIN, real, labels, z)
            return g.loss, g

        variables = self.generator.active_variables()
        gradients, g = lazy_ops.gradients(terms, variables)
        return g, self.minimize(self.g_optimizer, gradients, variables)

    def _regularise_generator(self, labels: tf.Tensor | None) -> None:
        """Path length, every `g_reg_interval` steps."""

        def terms() -> tuple[tf.Tensor, list[tf.Tensor]]:
            penalty, rest = self.path_penalty(labels)
            return self.pl_weight * self.g_reg_interval * penalty, rest

        like = [self.path_average.value, self.path_average.value, self.generator.w_average.value]
        due = tf.equal(self.step.value % self.g_reg_interval, 0)
        moved = self._regularise(due, self.g_optimizer, self.generator, terms, like)
        length, average, mean_w = moved
        self.path_average.assign(tf.where(due, average, self.path_average.value))
        self.last_length.assign(tf.where(due, length, self.last_length.value))
        self.generator.track(tf.where(due, mean_w, self.generator.w_average.value))

    def _update_discriminator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[CriticTerms, tf.Tensor]:
        """Update 2, with R1 unless it is lazy."""
        z, _ = self.draw_latents(self._batch, D_MAIN)
        fakes = self._seen(self.fake_images(z, labels, D_MAIN))

        def terms() -> tuple[tf.Tensor, tuple[CriticTerms, tf.Tensor | None]]:
            d = self.critic_terms(self._seen(real_images), labels, fakes, labels, D_MAIN, z)
            if self.lazy or not self.r1_gamma:
                return d.loss, (d, None)
            penalty = self.r1_penalty(real_images, labels)
            d = d._replace(loss=d.loss + self.r1_gamma * penalty)
            return d.loss, (d, penalty)

        variables = self.discriminator.active_variables()
        gradients, (d, penalty) = lazy_ops.gradients(terms, variables)
        self.last_r1.assign(self.last_r1.value if penalty is None else penalty)
        return d, self.minimize(self.d_optimizer, gradients, variables)

    def _regularise_discriminator(self, real_images: tf.Tensor, labels: tf.Tensor | None) -> None:
        """R1 on the same real images, every `d_reg_interval` steps."""

        def terms() -> tuple[tf.Tensor, list[tf.Tensor]]:
            penalty = self.r1_penalty(real_images, labels)
            return self.r1_gamma * self.d_reg_interval * penalty, [tf.stop_gradient(penalty)]

        due = tf.equal(self.step.value % self.d_reg_interval, 0)
        like = [self.last_r1.value]
        (penalty,) = self._regularise(due, self.d_optimizer, self.discriminator, terms, like)
        self.last_r1.assign(tf.where(due, penalty, self.last_r1.value))

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The updates in the official order, at the stage that was entered; the average of G.

        Args:
          data: images (B, r, r, C) or (images, labels).

        Returns:
          Logs, each of shape (1,); of the regularisers the last values.
        """
        alpha = self.fade_in()
        ((real_images, labels),) = self.critic_batches(data)
        self._batch = real_images.shape[0]
        self._images = self._batch * random.replica()[1]
        g, g_norm = self._update_generator(real_images, labels)
        if self.pl_weight:
            self._regularise_generator(labels)
        d, d_norm = self._update_discriminator(real_images, labels)
        if self.lazy and self.r1_gamma:
            self._regularise_discriminator(real_images, labels)
        logs = self.game_logs(d, g, d_norm, g_norm) | {
            "D/r1": self.last_r1.value,
            "G/path_length": self.last_length.value,
            "G/path_average": self.path_average.value,
        }
        if self.growth.grows:
            logs["growth/lod"] = self.stage.lod + alpha
        return self.finish_step(logs)


def _check_open(objective: Objective) -> None:
    """Refuses what growing networks or the minibatch standard deviation cannot have."""
    tips = objective.tips
    refused = {f"penalties.{name}": objective.weights[name] for name in ("zcr_d", "zcr_g")}
    for key, value in (refused | {"tips.replay": tips["replay"]}).items():
        if value:
            raise UserError(f"{key}: {value}; not with images whose size grows. Set it 0.")
    if tips["separate_batches"] == "no":
        raise UserError("tips.separate_batches=no: D's minibatch statistics forbid it. Set auto.")
    tips["separate_batches"] = "yes"
