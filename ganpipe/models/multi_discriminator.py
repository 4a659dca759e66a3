"""One generator against K discriminators: their average, GMAN, or hypervolume maximisation.

Several discriminators are less likely to be fooled, or to be certain, all at once. What differs is
how G adds up its losses l_k against each of them (`ganpipe.ops.selection`):

    average      mean_k l_k
    gman         sum_k w_k l_k, w = softmax(lambda l)
    hypervolume  -sum_k log(eta - l_k), eta = delta max_k l_k

The second is Durugkar et al. 2017 (arXiv 1611.01673), the third Albuquerque et al. 2019 (arXiv
1901.08680).
Followed here: iDurugkar/GMAN for `gman`, joaomonteirof/hGAN for `hypervolume`, as far as the sheet
describes them. What makes the discriminators differ is up to the user:

- `own_slices` (GMAN): each sees its own K-th of the batch, so GMAN's 5 x 100 is a batch of 500;
- `dropout` (GMAN): unit k is kept with probability 0.4 + 0.2 (k + 1) / K;
- `projection` (hypervolume): each starts with a frozen random projection to one channel, 8x8 with
  stride 2 from 64 pixels on, 4x4 below.

One Adam over all discriminators is K Adams: it treats every weight alone, and the sum of their
losses gives each one its own gradient. `discriminator`, which `discriminate` and exports use, gives
the mean of the K logits. G updates after D, on fresh z.

Where we differ: GMAN's lambda is fixed (in its code the learned one is never trained); delta does
not grow when the Frechet distance stalls; geometric and harmonic means, `gman_grad`, `loss_delta`
and `mgd` are not built. GMAN's networks are not in the sheet; ours are DCGAN's.

    python -m ganpipe train --config=multi_discriminator_fashion_mnist --data=DIR --workdir=RUN

Images are (B, R, R, C) float32 in [-1, 1], R a power of two from 8 on (16 with `projection`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan, bodies_sngan
from ganpipe.layers.projection import RandomProjection
from ganpipe.models import base
from ganpipe.ops import selection
from ganpipe.ops.objective import CriticTerms, GeneratorTerms, Objective
from ganpipe.ops.optimizers import Adam

AGGREGATIONS = ("average", "gman", "hypervolume")
BODIES = ("dcgan", "cnn")
# G losses that are never negative: only under these is eta above all of them.
NONNEGATIVE = (
    "non_saturating",
    "least_squares",
    "least_squares_pearson",
    "least_squares_sigmoid",
    "rsgan",
    "rasgan",
    "ralsgan",
    "rahinge",
)


def keep_probability(k: int, count: int) -> float:
    """GMAN's: 0.4 + 0.2 (k + 1) / count."""
    return 0.4 + 0.2 * (k + 1) / count


class MultiDiscriminator(base.GANSystem):
    """One generator, K discriminators, unconditional.

    Args:
      resolution: power of two, 8 or more; 16 or more with `projection`.
      channels: 1 or 3.
      num_classes: must be 0.
      discriminators: K; 5 in GMAN, 8 in hGAN.
      body: "dcgan", or "cnn": SN-GAN's CNN generator without its first batch norm, 3,812,355
        parameters at 32x32x3 with nf 64 and z of 128, and its spectrally normalised discriminator.
      latent_dim: length of z; 100 in GMAN, 128 in hGAN.
      latent_distribution: see `ganpipe.ops.random.row_latents`; GMAN's is "uniform".
      nf: channels of the largest map.
      d_norm: "batch", "none", "layer" or "spectral", of DCGAN discriminators.
      projection: see above; the discriminators behind it are DCGAN's also with body "cnn".
      dropout: see above; DCGAN discriminators only.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "multi_discriminator"

    def __init__(
        self,
        resolution: int,
        channels: int = 3,
        num_classes: int = 0,
        discriminators: int = 8,
        body: str = "dcgan",
        latent_dim: int = 100,
        latent_distribution: str = "normal",
        nf: int = 64,
        d_norm: str = "batch",
        projection: bool = False,
        dropout: bool = False,
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if num_classes:
            raise UserError(
                f"system.num_classes: {num_classes}; multi_discriminator is unconditional, "
                "expected 0. Set data.conditional=False."
            )
        if discriminators < 1:
            raise UserError(f"system.discriminators: {discriminators}; expected 1 or more.")
        if body not in BODIES:
            raise UserError(f"system.body: {body!r}; expected dcgan or cnn.")
        if dropout and body == "cnn" and not projection:
            raise UserError("system.dropout: the cnn body has none; use body=dcgan or projection.")
        if projection and resolution < 16:
            raise UserError(
                f"data.resolution: {resolution}; system.projection halves it and DCGAN's "
                "discriminator starts at 8, so expected 16 or more."
            )
        bodies_dcgan.check(resolution, nf, 4, self.system_name)
        bodies_dcgan.check_norm("system.d_norm", d_norm, bodies_dcgan.D_NORMS)
        if body == "cnn" and not projection:
            bodies_dcgan.check_unused(body, d_norm=(d_norm, "batch", "spectral"))
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=0,
            latent_dim=latent_dim,
            latent_distribution=latent_distribution,
            ema_decay=ema_decay,
        )
        self.critics = [self._make_critic(k) for k in range(discriminators)]
        image = keras.Input((resolution, resolution, channels), name="image")
        logits = [critic(image) for critic in self.critics]
        mean = sum(logits[1:], logits[0]) / discriminators
        self.set_networks(self._make_generator, keras.Model(image, mean, name="discriminator"))

    def _make_generator(self, name: str) -> keras.Model:
        a = self._arguments
        size = (self.resolution, self.channels, 0, self.latent_dim, a["nf"])
        precision = "float32" if name == "generator_ema" else a["precision"]
        if a["body"] == "cnn":
            return bodies_sngan.build_cnn_generator(
                *size, 2 * a["seed"], precision, name, first_norm=False
            )
        return bodies_dcgan.build_generator(*size, 4, "batch", 2 * a["seed"], precision, name)

    def _make_critic(self, k: int) -> keras.Model:
        a = self._arguments
        name, seed = f"critic_{k}", 2 * a["seed"] + 1 + 1_000_003 * k
        if a["body"] == "cnn" and not a["projection"]:
            return bodies_sngan.build_cnn_discriminator(
                self.resolution, self.channels, 0, a["nf"], seed, a["precision"], name
            )
        halved = self.resolution // 2 if a["projection"] else self.resolution
        channels = 1 if a["projection"] else self.channels
        keep = keep_probability(k, a["discriminators"]) if a["dropout"] else 1.0
        body = bodies_dcgan.build_discriminator(
            *(halved, channels, 0, a["nf"], 4, a["d_norm"], seed, a["precision"], name),
            dropout=1.0 - keep,
        )
        if not a["projection"]:
            return body
        image = keras.Input((self.resolution, self.resolution, self.channels), name="image")
        size = 8 if self.resolution >= 64 else 4
        projected = RandomProjection(size, 2, seed, dtype="float32")(image)
        return keras.Model(image, body(projected), name=f"projected_{name}")

    def compile(
        self,
        loss: str = "non_saturating",
        aggregation: str = "hypervolume",
        slack: float = 1.5,
        sharpness: float = 1.0,
        detach: bool = False,
        own_slices: bool = False,
        n_critic: int = 1,
        g_learning_rate: float = 2e-4,
        d_learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        beta_2: float = 0.999,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the aggregation and the optimisers (both papers: Adam, 2e-4, beta_1 .5).

        Args:
          loss: of every pair (G, D_k). GMAN's "original" is minimax, its "modified"
            non_saturating; hypervolume needs one of `NONNEGATIVE`.
          aggregation: "average", "gman" or "hypervolume".
          slack: hypervolume's delta > 1; 1.5 is hGAN's on the command line, 1.1 in its class.
          sharpness: GMAN's lambda >= 0.
          detach: GMAN's weights are constants for the gradient (hGAN's version, with 0.8); in
            GMAN's code they are not.
          own_slices: each discriminator gets its own K-th of reals and fakes.
          n_critic: updates of the discriminators in a step.
          g_learning_rate: of the generator's Adam.
          d_learning_rate: of the discriminators' Adam.
          beta_1: of both.
          beta_2: of both.
          penalties: see `ganpipe.ops.objective.PENALTIES`; on each discriminator.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of latents and masks in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the discriminators' Adam; one that treats weights alone.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.

        Raises:
          UserError: values out of range; a loss or penalty that this aggregation cannot take.
        """
        objective = Objective(loss, penalties=penalties, tips=tips)
        _check(objective, aggregation, slack, sharpness)
        self.aggregation, self.own_slices = aggregation, own_slices
        self.slack, self.sharpness, self.detach = slack, sharpness, detach
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            objective,
            n_critic,
            **keras_arguments,
        )

    def critic_at(self, draw: int = 0) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """Discriminator number `draw` modulo K in training mode; else as in `GANSystem`."""
        return super().critic_at(draw, self.critics[draw % len(self.critics)])

    def _slices(self, rows: tf.Tensor) -> list[tf.Tensor]:
        """What each discriminator sees of (B, ...)."""
        count = len(self.critics)
        if not self.own_slices:
            return [rows] * count
        if rows.shape[0] % count:
            raise UserError(
                f"a batch of {rows.shape[0]} images does not divide into slices for "
                f"{count} discriminators: change train.batch_size or system.discriminators, or "
                "set optimizer.own_slices=False."
            )
        return tf.split(rows, count)

    def aggregate(self, losses: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(G's loss, share of each discriminator in its gradient), from (K,) losses."""
        if self.aggregation == "gman":
            return (
                selection.gman_loss(losses, self.sharpness, self.detach),
                selection.gman_weights(losses, self.sharpness),
            )
        if self.aggregation == "hypervolume":
            return (
                selection.hypervolume_loss(losses, self.slack),
                selection.hypervolume_weights(losses, self.slack),
            )
        return tf.reduce_mean(losses), tf.ones_like(losses) / len(self.critics)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """n_critic updates of all discriminators, then one of G.

        Args:
          data: images (n_critic B, R, R, C) or (images, labels); labels are ignored.

        Returns:
          Logs, each of shape (1,): means over the discriminators; smallest and largest of G's
          losses against them and of their weights.
        """
        count, batches = len(self.critics), self.critic_batches(data)
        batch = batches[0][0].shape[0]
        d_variables = self.discriminator.trainable_variables
        for i, (real_images, _) in enumerate(batches):
            z, _ = self.draw_latents(batch, draw=1 + i)
            fakes, _ = self.replayed(self.fake_images(z, None), None, draw=i)
            parts = list(zip(*map(self._slices, (real_images, fakes, z)), strict=True))
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in d_variables])
                terms = [
                    self.critic_terms(real, None, fake, None, draw=count * (1 + i) + k, z=own_z)
                    for k, (real, fake, own_z) in enumerate(parts)
                ]
                total = tf.add_n([t.loss for t in terms])
            d_norm = self.minimize(self.d_optimizer, tape.gradient(total, d_variables), d_variables)

        z, _ = self.draw_latents(batch)
        g_variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in g_variables])
            fakes = self.fake_images(z, None)
            parts = zip(*map(self._slices, (real_images, fakes, z)), strict=True)
            losses = tf.stack(
                [
                    self.generator_terms(fake, None, draw=k, real_images=real, z=own_z).loss
                    for k, (real, fake, own_z) in enumerate(parts)
                ]
            )
            g_loss, weights = self.aggregate(losses)
        g_norm = self.minimize(self.g_optimizer, tape.gradient(g_loss, g_variables), g_variables)

        d_terms = mean_terms(terms)
        g_terms = GeneratorTerms(g_loss, d_terms.fake_logits)
        logs = self.game_logs(d_terms, g_terms, d_norm, g_norm)
        for name, values in (("loss", losses), ("weight", weights)):
            logs[f"MultiD/{name}_min"] = tf.reduce_min(values)
            logs[f"MultiD/{name}_max"] = tf.reduce_max(values)
        return self.finish_step(logs)


def mean_terms(terms: list[CriticTerms]) -> CriticTerms:
    """Scalars averaged, logits joined."""

    def mean(values: list[tf.Tensor | None]) -> tf.Tensor | None:
        return None if values[0] is None else tf.add_n(values) / len(values)

    *scalars, real, fake = zip(*terms, strict=True)
    means = [mean(list(values)) for values in scalars]
    return CriticTerms(*means, tf.concat(real, axis=0), tf.concat(fake, axis=0))


def _check(objective: Objective, aggregation: str, slack: float, sharpness: float) -> None:
    """Refuses what `compile` cannot take."""
    if aggregation not in AGGREGATIONS:
        raise UserError(
            f"optimizer.aggregation: {aggregation!r}; expected {', '.join(AGGREGATIONS)}."
        )
    if not slack > 1.0:
        raise UserError(f"optimizer.slack: {slack}; expected more than 1.")
    if not sharpness >= 0.0:
        raise UserError(f"optimizer.sharpness: {sharpness}; expected 0 or more.")
    if objective.weights["lecam"]:
        raise UserError(
            "penalties.lecam keeps one average of one discriminator's logits; "
            "multi_discriminator has several. Set it to 0."
        )
    if aggregation != "hypervolume":
        return
    if objective.loss_name not in NONNEGATIVE:
        raise UserError(
            f"optimizer.loss: {objective.loss_name!r} can be negative for G, and then the "
            "hypervolume's bound delta * max loss is none. Use one of "
            f"{', '.join(NONNEGATIVE)}, or aggregation=gman or average."
        )
    on = [name for name in ("orthogonal", "zcr_g") if objective.weights[name]]
    if on:
        raise UserError(
            f"penalties.{on[0]} belongs to G alone, but the hypervolume would weigh it like a "
            "discriminator's loss. Set it to 0, or use aggregation=gman or average."
        )
