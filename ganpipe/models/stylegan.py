"""StyleGAN: a generator that is steered at every scale (Karras, Laine, Aila; CVPR 2019).

arXiv 1812.04948. A mapping network turns z into w; w sets mean and spread of every feature map
(AdaIN), coarse layers first; the input is a learned constant; noise at every layer makes what is
left to chance. D and growth are ProGAN's. Followed here: NVlabs/stylegan. The networks are in
`ganpipe.layers.bodies_stylegan`, their parts in `stylegan_parts`, the schedule in
`ganpipe.ops.growth`.

    step: D on B real images and B fakes with their labels, then G on B new fakes
    D: minimise E softplus(D(fake)) + E softplus(-D(real)) + 10 / 2 E |grad D(real)|^2  (R1)
    G: minimise E softplus(-D(fake))
    or, loss="wgan_gp": Wasserstein, gradient penalty 10, drift 0.001 (the paper's CelebA-HQ)

Adam 1e-3 at the small resolutions, betas 0 and .99, started anew at either end of a fade. With
probability 0.9 a batch mixes styles: from one layer on, drawn once a batch among those grown so
far, w comes from a second z. w's running mean (rate .005, in both updates) is what truncation pulls
to, by default below layer 8 only. The average of G halves its distance every 10,000 images.

The official penalty takes the gradient with respect to the image at full resolution, of which D
takes means. On a native image of size R / 2^l the same number is the squared gradient over 4^l:
here the loss sees images in coordinates 2^l as large, and D divides by 2^l.

Configs of the paper's table 1: F is the default; E has mixing_prob=0; D also use_noise=False; C
also const_input=False; B also use_styles=False, use_pixel_norm=True, use_instance_norm=False,
mapping_layers=0. A is ProGAN, a system of its own (`progan`).

Trainable parameters (G / D), RGB: 22,841,356 / 20,726,785 at 32; 25,137,935 / 22,498,049 at 64;
25,843,858 / 22,941,313 at 128; 26,086,229 / 23,052,353 at 256; 26,179,768 / 23,080,225 at 512;
26,219,627 / 23,087,249 at 1024.

Where we differ: networks work at the size of their stage, where the official ones blow images up
to the full size (the same function). The average moves behind G's update, the official one before
it, a step older. The labels of G's fakes are uniform; the official ones are drawn from the data.
An update with a gradient that is not finite is made (the official code skips it); the monitor
stops such a run. `sample` and metrics do not truncate unless asked; the official default is 0.7.
The minibatch standard deviation and the mixing are those of a replica's batch, as there a GPU's.

    python -m ganpipe train --config=stylegan_fashion_mnist --data=DIR --workdir=RUN

Images are (B, r, r, C) float32, r the resolution of the stage, real ones in [-1, 1]; those of a
fading stage come faded (`ganpipe.data.fade`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_stylegan as bodies
from ganpipe.layers import stylegan_parts as parts
from ganpipe.models import base
from ganpipe.ops import random
from ganpipe.ops.growth import Growth
from ganpipe.ops.objective import CriticTerms, Objective
from ganpipe.ops.optimizers import Adam

R1, GP = 10.0, 10.0  # weights of the penalties
SECOND = 100  # added to the number of a draw: the latents that are mixed in
MIXED, CUTOFF, NOISE = 1, 2, 3  # uses of a draw's seed


class StyleGAN(base.GANSystem):
    """StyleGAN, unconditional or with classes (an embedding in G, a score a class in D).

    Args:
      resolution: the full one, a power of two from 4 on.
      channels: 1 or 3.
      num_classes: 0 for unconditional.
      latent_dim: length of z ~ N(0, I).
      w_dim: length of w; None: latent_dim.
      mapping_layers: 8 in the paper; 0: w is the normalised z.
      mapping_fmaps: units of the mapping's inner layers; None: w_dim.
      mapping_lr_multiplier: the mapping's share of the learning rate.
      fmap_base: resolution r has min(fmap_base / (r / 2)^fmap_decay, fmap_max) channels.
      fmap_decay: see above.
      fmap_max: see above.
      use_styles: AdaIN; see the configs above, also for the next four.
      const_input: a learned constant instead of a dense layer on w.
      use_noise: noise inputs.
      use_pixel_norm: behind G's activations.
      use_instance_norm: behind G's activations.
      blur: the binomial filters of G and D.
      mixing_prob: share of batches with mixed styles.
      truncation_cutoff: first layer that truncation leaves alone.
      w_average_decay: share that the mean of w keeps at an update.
      group_size: of the minibatch standard deviation; 0 or 1 leaves it out.
      latent_distribution: see `ganpipe.ops.random.row_latents`.
      ema_kimg: half-life of G's moving average in thousands of real images; 0 for no average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16" (bfloat16 compute; weights, mapping, styles,
        statistics, images, D's last layer and the averaged generator stay float32).

    Raises:
      UserError: sizes or switches that do not fit.
    """

    system_name = "stylegan"
    styles = True
    average_copies = True

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        latent_dim: int = 512,
        w_dim: int | None = None,
        mapping_layers: int = 8,
        mapping_fmaps: int | None = None,
        mapping_lr_multiplier: float = 0.01,
        fmap_base: int = 8192,
        fmap_decay: float = 1.0,
        fmap_max: int = 512,
        use_styles: bool = True,
        const_input: bool = True,
        use_noise: bool = True,
        use_pixel_norm: bool = False,
        use_instance_norm: bool = True,
        blur: bool = True,
        mixing_prob: float = 0.9,
        truncation_cutoff: int | None = 8,
        w_average_decay: float = 0.995,
        group_size: int = 4,
        latent_distribution: str = "normal",
        ema_kimg: float = 10.0,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        _check(arguments)
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=num_classes,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=0.0,  # unused, see `average_decay`
        )
        self.mixing_prob, self.w_average_decay = mixing_prob, w_average_decay
        self.ema_kimg = ema_kimg
        widths = {"fmap_base": fmap_base, "fmap_decay": fmap_decay, "fmap_max": fmap_max}
        own = ("w_dim", "mapping_layers", "mapping_fmaps", "mapping_lr_multiplier", "use_styles")
        own += ("const_input", "use_noise", "use_pixel_norm", "use_instance_norm")
        own += ("truncation_cutoff",)

        def make_generator(name: str) -> keras.Model:
            return bodies.StyleGenerator(
                resolution,
                channels,
                num_classes,
                latent_dim,
                **widths,
                **{key: arguments[key] for key in own},
                blur=blur,
                seed=2 * seed,
                precision="float32" if name == "generator_ema" else precision,
                name=name,
            )

        discriminator = bodies.StyleDiscriminator(
            resolution,
            channels,
            num_classes,
            **widths,
            group_size=group_size,
            blur=blur,
            seed=2 * seed + 1,
            precision=precision,
        )
        self.set_networks(make_generator, discriminator)

    def compile(
        self,
        loss: str = "non_saturating",
        g_learning_rate: float = 1e-3,
        d_learning_rate: float = 1e-3,
        beta_1: float = 0.0,
        beta_2: float = 0.99,
        drift: float = 1e-3,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        growth: Growth | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the objective, the schedule and the optimisers.

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`, or "wgan_gp".
          g_learning_rate: of the generator's Adam where the stage has no rate of its own.
          d_learning_rate: of the discriminator's.
          beta_1: of both.
          beta_2: of both.
          drift: weight of E D(real)^2, of "wgan_gp" only.
          penalties: see `ganpipe.ops.objective.PENALTIES`; unless named, r1 is 10, or gp with
            "wgan_gp". Gradients are those at full resolution.
          tips: see `ganpipe.ops.objective.TIPS`.
          growth: the stages; None: full resolution from the start.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the discriminator's.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: a setting out of range, an impossible objective, stages without a level.
        """
        if drift < 0.0:
            raise UserError(f"optimizer.drift: {drift}; expected 0 or more.")
        slope = loss == "wgan_gp"
        objective = Objective(
            "wasserstein" if slope else loss,
            penalties=penalties,
            tips=tips,
            default_penalties={"gp": GP} if slope else {"r1": R1},
        )
        if slope and not objective.weights["gp"]:
            raise UserError("optimizer.loss=wgan_gp with penalties.gp=0: set penalties.gp=10.")
        self._check_open(objective)
        if growth is not None and (
            growth.start_resolution < 4 or growth.resolution != self.resolution
        ):
            raise UserError(
                f"growth from {growth.start_resolution} to {growth.resolution}: this stylegan has "
                f"the levels 4 to {self.resolution} (data.resolution)."
            )
        self.drift = drift if slope else 0.0
        self._images_a_step = 1  # until the first step is traced
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            objective,
            growth=growth,
            **keras_arguments,
        )

    def _check_open(self, objective: Objective) -> None:
        """Refuses what a growing network or the minibatch standard deviation cannot have."""
        for name in ("zcr_d", "zcr_g"):
            if objective.weights[name]:
                raise UserError(f"penalties.{name}: stylegan has no latent consistency; set it 0.")
        tips = objective.tips
        if tips["replay"]:
            raise UserError("tips.replay: the pool has images of one size, stylegan's grow; set 0.")
        if self.discriminator.stddev is None:
            return
        if tips["separate_batches"] == "no":
            raise UserError(
                "tips.separate_batches=no: the minibatch standard deviation would mix real images "
                "and fakes. Set it to auto, or system.group_size=0."
            )
        tips["separate_batches"] = "yes"

    def average_decay(self) -> tf.Tensor:
        """0.5^(B / 1000 ema_kimg) of a step on B real images, all replicas together."""
        images = 1000.0 * self.ema_kimg
        return tf.constant(0.5 ** (self._images_a_step / images) if images else 0.0, tf.float32)

    # --- The step -------------------------------------------------------------------------------

    @property
    def layers_now(self) -> int:
        """Styles that the present stage uses: `num_ws` - 2 floor(lod)."""
        return self.generator.num_ws - 2 * self.generator.halvings

    def mixing_cutoff(self, seed: tf.Tensor) -> tf.Tensor:
        """First layer of the second style: U{1, ..., layers_now - 1}, or layers_now for none."""
        fold = tf.random.experimental.stateless_fold_in
        mixed = tf.random.stateless_uniform([], fold(seed, MIXED)) < self.mixing_prob
        cutoff = tf.random.stateless_uniform([], fold(seed, CUTOFF), 1, self.layers_now, tf.int32)
        return tf.where(mixed, cutoff, self.layers_now)

    def mix(self, ws: tf.Tensor, others: tf.Tensor, cutoff: tf.Tensor) -> tf.Tensor:
        """`ws` below layer `cutoff`, `others` from it on; (B, num_ws, w_dim)."""
        below = tf.range(ws.shape[1])[:, tf.newaxis] < cutoff
        return tf.where(below, ws, others)

    def fake_images(self, z: tf.Tensor, labels: tf.Tensor | None, draw: int = 0) -> tf.Tensor:
        """G in training mode: w averaged, styles mixed, new noise; (B, r, r, C) float32."""
        network = self.generator
        seed = random.replica_seed(self.seed, self.step, random.STREAM_DROPOUT, 1000 + draw)
        ws = network.mapping(z, labels, training=True)
        mean = tf.reduce_mean(tf.stop_gradient(ws[:, 0]), axis=0)
        keep = self.w_average_decay
        network.w_average.assign(keep * network.w_average.value + (1.0 - keep) * mean)
        if self.mixing_prob:
            second, _ = self.draw_latents(z.shape[0], SECOND + draw)
            others = network.mapping(second, labels, training=True)
            ws = self.mix(ws, others, self.mixing_cutoff(seed))
        noise = tf.random.experimental.stateless_fold_in(seed, NOISE)
        return network.synthesis(ws, noise)

    def critic_at(
        self, draw: int = 0, network: keras.Model | None = None
    ) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """As `game.critic_at`, for images in the coordinates of `_seen`."""
        critic = super().critic_at(draw, network)
        return lambda images, labels: critic(images / self._stretch, labels)

    @property
    def _stretch(self) -> float:
        return 2.0**self.discriminator.halvings

    def _seen(self, images: tf.Tensor) -> tf.Tensor:
        """Native images times 2^l: gradients with respect to these have full-size norms."""
        return images * self._stretch

    def _update_discriminator(
        self, real_images: tf.Tensor, labels: tf.Tensor | None
    ) -> tuple[CriticTerms, tf.Tensor]:
        z, _ = self.draw_latents(real_images.shape[0])
        fake_images = self.fake_images(z, labels)
        variables = self.discriminator.active_variables()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            d = self.critic_terms(
                self._seen(real_images), labels, self._seen(fake_images), labels, z=z
            )
            if self.drift:
                drift = self.drift * tf.reduce_mean(tf.square(d.real_logits))
                d = d._replace(loss=d.loss + drift, penalty=d.penalty + drift)
        return d, self.minimize(self.d_optimizer, tape.gradient(d.loss, variables), variables)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of D, then one of G, at the stage that was entered.

        Args:
          data: images (B, r, r, C) or (images, labels).

        Returns:
          Logs, each of shape (1,).
        """
        alpha = self.fade_in()
        ((real_images, labels),) = self.critic_batches(data)
        batch = real_images.shape[0]
        self._images_a_step = batch * random.replica()[1]
        d, d_norm = self._update_discriminator(real_images, labels)

        z, fake_labels = self.draw_latents(batch, draw=1)
        variables = self.generator.active_variables()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            fakes = self._seen(self.fake_images(z, fake_labels, 1))
            g = self.generator_terms(fakes, fake_labels, 1, self._seen(real_images), labels, z)
        g_norm = self.minimize(self.g_optimizer, tape.gradient(g.loss, variables), variables)

        logs = self.game_logs(d, g, d_norm, g_norm)
        if self.growth.grows:
            logs["growth/lod"] = self.stage.lod + alpha
        return self.finish_step(logs)


def _check(arguments: Mapping[str, Any]) -> None:
    """Refuses numbers out of range and switches that do not go together.

    Raises:
      UserError: names the field.
    """
    for field in ("fmap_base", "fmap_max"):
        if arguments[field] < 1:
            raise UserError(f"system.{field}: {arguments[field]}; expected 1 or more.")
    last = parts.levels(arguments["resolution"]) - 1
    if parts.width(last, *(arguments[f"fmap_{key}"] for key in ("base", "decay", "max"))) < 1:
        raise UserError(
            f"system.fmap_base: {arguments['fmap_base']}; the last level would have no channels, "
            f"expected {math.ceil(2.0 ** (last * arguments['fmap_decay']))} or more."
        )
    for field in ("mapping_layers", "group_size", "ema_kimg"):
        if arguments[field] < 0:
            raise UserError(f"system.{field}: {arguments[field]}; expected 0 or more.")
    if not arguments["mapping_lr_multiplier"] > 0.0:
        raise UserError(
            f"system.mapping_lr_multiplier: {arguments['mapping_lr_multiplier']}; expected more "
            "than 0."
        )
    for field in ("mixing_prob", "w_average_decay"):
        if not 0.0 <= arguments[field] <= 1.0:
            raise UserError(f"system.{field}: {arguments[field]}; expected 0 to 1.")
    if arguments["mixing_prob"] and not arguments["use_styles"]:
        raise UserError(
            f"system.mixing_prob: {arguments['mixing_prob']}; without system.use_styles there is "
            "one w for all layers. Set system.mixing_prob=0."
        )
