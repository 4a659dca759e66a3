"""What D and G minimise in one run: a pair of losses, penalties and tips, checked together.

The tables of all switches are in `switches`. Impossible pairs raise a UserError with the reason
when the objective is made. The arithmetic of the terms is in `losses` and `penalties`.
"""

import difflib
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import losses, penalties
from ganpipe.ops.switches import PENALTIES, TIPS

Critic = Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]

# Per-row gradients are none when rows meet in batch normalisation.
PER_ROW = ("gp", "gp_one_sided", "gp_zero", "r1", "r2", "dragan")


class CriticTerms(NamedTuple):
    """Scalars `loss` = `adversarial` + `penalty`, `gradient_norm` (mean on the lines; None without
    a gradient penalty); (B,) float32 logits."""

    loss: tf.Tensor
    adversarial: tf.Tensor
    penalty: tf.Tensor | None
    gradient_norm: tf.Tensor | None
    real_logits: tf.Tensor
    fake_logits: tf.Tensor


class GeneratorTerms(NamedTuple):
    """Scalar loss; (B,) float32 logits of the fakes."""

    loss: tf.Tensor
    logits: tf.Tensor


def _settings(
    section: str, known: Mapping[str, Any], given: Mapping[str, Any] | None
) -> dict[str, Any]:
    values = dict(known)
    for name, value in dict(given or {}).items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UserError(f"{section}.{name}: unknown.{hint} Known: {', '.join(known)}.")
        values[name] = _checked(f"{section}.{name}", known[name], value)
    return values


def _checked(key: str, default: Any, value: Any) -> Any:
    """`value` where it is of the kind of `default`.

    Raises:
      UserError: another kind, or a number that is not finite.
    """
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise UserError(f"{key}: {value!r}; expected a word.")
    if isinstance(default, tuple):
        pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
        if len(pair) == len(default) and all(_is_number(v) for v in pair):
            return pair
        raise UserError(f"{key}: {value!r}; expected two numbers, such as (0.7, 1.2).")
    whole = isinstance(default, int)
    if not _is_number(value) or (whole and value != int(value)):
        raise UserError(f"{key}: {value!r}; expected a {'whole' if whole else 'finite'} number.")
    return int(value) if whole else float(value)


def _is_number(value: Any) -> bool:
    """True for finite ints and floats."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return math.isfinite(value)


class Objective:
    """A pair of losses with penalties and tips.

    Args:
      loss: a name of `losses.NAMES`.
      penalties: weights, as in `switches.PENALTIES`.
      tips: as in `switches.TIPS`.
      default_penalties: of the system; what `penalties` does not name.
      d_scale: factor of the adversarial part of D's loss (Goodfellow's code: 1/2).

    Raises:
      UserError: unknown names, values out of range, pairs that mean nothing.
    """

    def __init__(
        self,
        loss: str = "non_saturating",
        *,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        default_penalties: Mapping[str, float] | None = None,
        d_scale: float = 1.0,
    ):
        try:
            self.d_loss, self.g_loss = losses.pair(loss)
        except ValueError as error:
            raise UserError(f"optimizer.loss: {error}") from error
        self.loss_name, self.d_scale = loss, d_scale
        self.relativistic = loss in losses.RELATIVISTIC
        self.probabilities = loss in losses.PROBABILITIES
        self.border = losses.border(loss)
        self.weights = _settings(
            "penalties", PENALTIES, dict(default_penalties or {}) | dict(penalties or {})
        )
        self.tips = _settings("tips", TIPS, tips)
        # Set by the system: True when rows of a batch meet in D (batch normalisation).
        self.rows_meet = False
        self._check_ranges()
        self._check_pairs()

    def _check_ranges(self) -> None:
        for name, weight in self.weights.items():
            if not weight >= 0.0:
                raise UserError(f"penalties.{name}: {weight}; expected 0 (off) or more.")
        tips = self.tips
        shares = ("label_smoothing", "flip_labels", "replay")
        for name in shares:
            if not 0.0 <= tips[name] < 1.0:
                raise UserError(f"tips.{name}: {tips[name]}; expected 0 <= share < 1.")
        for name in ("real_target", "fake_target"):
            low, high = tips[name]
            if low > high:
                raise UserError(f"tips.{name}: ({low}, {high}); expected (low, high).")
        for name in ("instance_noise_steps", "replay_pool", "top_k_every"):
            if tips[name] < 1:
                raise UserError(f"tips.{name}: {tips[name]}; expected 1 or more.")
        if tips["instance_noise"] < 0.0:
            raise UserError(f"tips.instance_noise: {tips['instance_noise']}; expected 0 or more.")
        for name in ("top_k_gamma", "top_k_floor"):
            if not 0.0 < tips[name] <= 1.0:
                raise UserError(f"tips.{name}: {tips[name]}; expected 0 < share <= 1.")
        if tips["separate_batches"] not in ("auto", "yes", "no"):
            raise UserError(
                f"tips.separate_batches: {tips['separate_batches']!r}; expected auto, yes or no."
            )

    @property
    def smoothed(self) -> bool:
        """True when targets differ from 1 and 0."""
        tips = self.tips
        plain = tuple(tips["real_target"]) == (1.0, 1.0) and tuple(tips["fake_target"]) == (0, 0)
        return bool(tips["label_smoothing"]) or not plain

    def _check_pairs(self) -> None:
        if self.smoothed and self.loss_name not in losses.TARGETED:
            raise UserError(
                f"tips.label_smoothing / real_target / fake_target with loss {self.loss_name!r}: "
                "this loss has no targets to smooth. Use one of "
                f"{', '.join(losses.TARGETED)}, or leave the targets at 1 and 0."
            )
        if self.weights["zcr_d"] and self.tips["replay"]:
            raise UserError(
                "penalties.zcr_d with tips.replay: zCR compares D on G(z) and on G(z + dz), and "
                "replayed fakes have no z. Set one of them to 0."
            )
        if self.relativistic and self.tips["top_k_gamma"] < 1.0:
            raise UserError(
                f"tips.top_k_gamma with loss {self.loss_name!r}: a relativistic loss compares "
                "fakes with real images, so dropping the worst fakes shifts the comparison. "
                "Set tips.top_k_gamma=1, or another loss."
            )
        on = [name for name in ("gp", "gp_one_sided", "gp_zero") if self.weights[name]]
        if len(on) > 1:
            raise UserError(
                f"penalties.{' and penalties.'.join(on)}: they pull the same norms to different "
                "values; expected one of them."
            )

    def check_discriminator(self, rows_meet: bool) -> None:
        """Tells the objective whether rows of a batch meet in D.

        Raises:
          UserError: a per-row gradient penalty on a discriminator with batch normalisation.
        """
        self.rows_meet = rows_meet
        on = [name for name in PER_ROW if self.weights[name]]
        if rows_meet and on:
            raise UserError(
                f"penalties.{on[0]} with batch normalisation in the discriminator: the penalty is "
                "on the gradient of each row's own logit, and batch normalisation mixes rows. "
                "Use a discriminator without it (system.d_norm=none, layer or spectral)."
            )

    def check_batches(self, d_batch: int, g_batch: int) -> None:
        """Refuses a paired loss when G's batch is not as large as D's.

        Raises:
          UserError: see above.
        """
        if self.loss_name == "rsgan" and d_batch != g_batch:
            raise UserError(
                f"loss 'rsgan' pairs each fake with one real image, but G's batch is {g_batch} and "
                f"D's {d_batch}; expected equal ones (system.g_batch_factor=1) or rasgan."
            )

    # --- Terms ----------------------------------------------------------------------------------

    def _noisy(self, images: tf.Tensor, seed: tf.Tensor, step: tf.Tensor, use: int) -> tf.Tensor:
        """Instance noise (training_tips.md 13): what D sees in both players' updates."""
        sigma = self.tips["instance_noise"]
        if not sigma:
            return images
        left = 1.0 - tf.cast(step, tf.float32) / self.tips["instance_noise_steps"]
        seed = tf.random.experimental.stateless_fold_in(seed, use)
        noise = tf.random.stateless_normal(tf.shape(images), seed)
        return images + sigma * tf.maximum(left, 0.0) * noise

    def _both(
        self,
        critic: Critic,
        real_images: tf.Tensor,
        fake_images: tf.Tensor,
        real_labels: tf.Tensor | None,
        fake_labels: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """(B,) logits of both; in one pass where D treats rows alone."""
        wish = self.tips["separate_batches"]
        if wish == "yes" or (wish == "auto" and self.rows_meet):
            real = critic(real_images, real_labels)
            return _flat(real), _flat(critic(fake_images, fake_labels))
        images = tf.concat([real_images, tf.cast(fake_images, real_images.dtype)], axis=0)
        labels = None
        if real_labels is not None:
            labels = tf.concat([real_labels, tf.cast(fake_labels, real_labels.dtype)], axis=0)
        logits = _flat(critic(images, labels))
        sizes = [real_images.shape[0], fake_images.shape[0]]
        real, fake = tf.split(logits, sizes)
        return real, fake

    def _adversarial(
        self, real_logits: tf.Tensor, fake_logits: tf.Tensor, seed: tf.Tensor
    ) -> tf.Tensor:
        tips = self.tips
        if tips["flip_labels"]:
            flip_seed = tf.random.experimental.stateless_fold_in(seed, 10)
            flip = tf.random.stateless_uniform(tf.shape(real_logits), flip_seed)
            flip = flip < tips["flip_labels"]
            real_logits, fake_logits = (
                tf.where(flip, fake_logits, real_logits),
                tf.where(flip, real_logits, fake_logits),
            )
        if not self.smoothed:
            return self.d_loss(real_logits, fake_logits)

        def targets(name: str, use: int) -> tf.Tensor | float:
            low, high = tips[name]
            if low == high:
                return low
            target_seed = tf.random.experimental.stateless_fold_in(seed, use)
            return tf.random.stateless_uniform(tf.shape(real_logits), target_seed, low, high)

        real_targets = targets("real_target", 11) - tips["label_smoothing"]
        return losses.d_targets(
            self.loss_name, real_logits, fake_logits, real_targets, targets("fake_target", 12)
        )

    def critic_loss(
        self,
        critic: Critic,
        real_images: tf.Tensor,
        fake_images: tf.Tensor,
        *,
        seed: tf.Tensor,
        step: tf.Tensor,
        real_labels: tf.Tensor | None = None,
        fake_labels: tf.Tensor | None = None,
        near_fakes: tf.Tensor | None = None,
        logit_average: tf.Tensor | None = None,
    ) -> CriticTerms:
        """What D minimises, on one batch.

        Args:
          critic: (images, labels) -> logits, in training mode.
          real_images: (B, H, W, C) float32.
          fake_images: (B, H, W, C) float32, without gradients to G.
          seed: (2,) integer; everything random in here.
          step: scalar, for the decay of instance noise.
          real_labels: (B,) of a conditional system.
          fake_labels: (B,).
          near_fakes: G(z + dz), for zCR.
          logit_average: (2,) moving averages of the logits, for LeCam.
        """
        real_images = self._noisy(real_images, seed, step, 0)
        fake_images = self._noisy(fake_images, seed, step, 1)
        real, fake = self._both(critic, real_images, fake_images, real_labels, fake_labels)
        adversarial = self.d_scale * self._adversarial(real, fake, seed)
        w, terms, gradient_norm = self.weights, [], None

        def on_real(images: tf.Tensor) -> tf.Tensor:
            return critic(images, real_labels)

        def on_fake(images: tf.Tensor) -> tf.Tensor:
            return critic(images, fake_labels)

        def draw(use: int) -> tf.Tensor:
            return tf.random.experimental.stateless_fold_in(seed, use)

        for name, one_sided in (("gp", False), ("gp_one_sided", True)):
            if w[name]:
                value, gradient_norm = penalties.gradient_penalty(
                    on_real, real_images, fake_images, draw(2), one_sided
                )
                terms.append(w[name] * value)
        if w["gp_zero"]:
            terms.append(
                w["gp_zero"]
                * penalties.zero_centred_gradient_penalty(
                    on_real, real_images, fake_images, draw(2)
                )
            )
        if w["r1"]:
            terms.append(w["r1"] * penalties.r1(on_real, real_images))
        if w["r2"]:
            terms.append(w["r2"] * penalties.r1(on_fake, fake_images))
        if w["dragan"]:
            terms.append(w["dragan"] * penalties.dragan(on_real, real_images, draw(3)))
        if w["cr"]:
            changed = _flat(on_real(penalties.flip_and_shift(real_images, draw(4))))
            terms.append(w["cr"] * penalties.consistency(real, changed))
        if w["bcr"]:
            changed = _flat(on_fake(penalties.flip_and_shift(fake_images, draw(5))))
            terms.append(w["bcr"] * penalties.consistency(fake, changed))
        if w["zcr_d"]:
            near_fakes = self._noisy(near_fakes, seed, step, 1)  # the noise of the fakes
            terms.append(w["zcr_d"] * penalties.consistency(fake, _flat(on_fake(near_fakes))))
        if w["lecam"]:
            on = tf.cast(tf.cast(step, tf.int64) >= w["lecam_start"], real.dtype)
            terms.append(on * w["lecam"] * penalties.lecam(real, fake, logit_average))
        penalty = tf.add_n(terms) if terms else None
        loss = adversarial if penalty is None else adversarial + penalty
        return CriticTerms(loss, adversarial, penalty, gradient_norm, real, fake)

    def generator_loss(
        self,
        critic: Critic,
        fake_images: tf.Tensor,
        *,
        seed: tf.Tensor,
        step: tf.Tensor,
        fake_labels: tf.Tensor | None = None,
        real_images: tf.Tensor | None = None,
        real_labels: tf.Tensor | None = None,
        near_fakes: tf.Tensor | None = None,
        seen: CriticTerms | None = None,
    ) -> GeneratorTerms:
        """What G minimises, on one batch; arguments as in `critic_loss`.

        `real_images` are used by relativistic losses only. With `seen`, D's terms on the very same
        fakes, G takes their logits in place of a pass of its own.
        """
        fakes = self._noisy(fake_images, seed, step, 1)
        real = None
        if seen is not None:
            real, logits = seen.real_logits, seen.fake_logits
        elif self.relativistic:
            real_images = self._noisy(real_images, seed, step, 0)
            real, logits = self._both(critic, real_images, fakes, real_labels, fake_labels)
        else:
            logits = _flat(critic(fakes, fake_labels))
        learned = logits
        if self.tips["top_k_gamma"] < 1.0:
            count = penalties.top_k_count(
                logits.shape[0],
                step,
                *(self.tips[f"top_k_{k}"] for k in ("gamma", "floor", "every")),
            )
            learned = penalties.top_k(logits, count)
        loss = self.g_loss(real, learned)
        if self.weights["zcr_g"]:
            loss += self.weights["zcr_g"] * penalties.latent_diversity(fake_images, near_fakes)
        return GeneratorTerms(loss, logits)


def _flat(logits: tf.Tensor) -> tf.Tensor:
    """(B, 1) or (B,) -> (B,), at least float32."""
    logits = tf.reshape(logits, [-1])
    return tf.cast(logits, tf.float32) if logits.dtype.size < 4 else logits
