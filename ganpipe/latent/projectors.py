"""The descents of `--mode=project`: in z with restarts, in w with noise maps.

A projector is called with a chunk of B pictures and gives the latents, the pictures of the first
step, those of the last, and the noise maps. All draws of a picture are functions of (seed, its
index), so it does not matter which others are projected with it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent import descent, noise_maps
from ganpipe.latent.distances import Distance
from ganpipe.latent.outcome import Progress
from ganpipe.latent.space import Space, needs_styles
from ganpipe.models import styles

SPACES = ("z", "w", "w+")
MEAN_OF = 10_000  # latents behind the mean and spread of w
MEAN_SEED = 123
W_NOISE, W_NOISE_UNTIL = 0.05, 0.75
NOISE_WEIGHT = 1e5


@dataclass(frozen=True)
class Settings:
    """How pictures are projected.

    Attributes:
      space: "z"; "w": one style for all layers; "w+": one for each; None: w where there is one.
      schedule: steps and learning rate.
      restarts: starts in z; the one with the smallest distance is kept.
      noise_weight: of the noise maps' regularisation; style systems alone.
      seed: of starts, noise maps and noise on w.
      chunk: pictures (times restarts in z) descended at once.
    """

    space: str | None = None
    schedule: descent.Schedule = field(default_factory=descent.Schedule)
    restarts: int = 4
    noise_weight: float = NOISE_WEIGHT
    seed: int = 0
    chunk: int = 10

    def chosen(self, space: Space) -> str:
        """The space that pictures are projected to.

        Raises:
          UserError: an unknown space, no styles for w, or a setting out of range.
        """
        self.schedule.check()
        if self.space not in (*SPACES, None):
            raise UserError(f"--space={self.space}: expected one of {', '.join(SPACES)}")
        if self.space in ("w", "w+"):
            needs_styles(space.system, f"--space={self.space}")
        if self.restarts < 1 or self.chunk < 1 or not self.noise_weight >= 0:
            raise UserError(
                f"--restarts={self.restarts}, --chunk={self.chunk}, "
                f"--noise_weight={self.noise_weight:g}: expected 1, 1 and 0 or more"
            )
        return self.space or ("w" if space.styles else "z")

    def rows(self, space: Space) -> int:
        """Rows that one picture takes in a descent."""
        return self.restarts if self.chosen(space) == "z" else 1


class InZ:
    """Adam on z from several starts, kept inside the support of the latent distribution.

    Args:
      space: of the system; drawn latents are where it starts.
      distance: what is made small.
      settings: see `Settings`.
    """

    def __init__(self, space: Space, distance: Distance, settings: Settings):
        self._space, self._distance, self._settings = space, distance, settings
        self._descent = descent.Descent(self._losses, settings.schedule, self._restrict)
        self._judged = tf.function(self._judge)

    def _pictures(self, z: tf.Tensor, classes: Sequence[tf.Tensor]) -> tf.Tensor:
        labels = classes[0] if classes else None
        return self._space.system.synthesize(z, labels, tf.ones([tf.shape(z)[0]]))

    def _losses(
        self, values: Sequence[tf.Tensor], constants: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        wanted, *classes = constants
        return self._distance(self._pictures(values[0], classes), wanted)

    def _judge(self, z: tf.Tensor, constants: Sequence[tf.Tensor]) -> tuple:
        wanted, *classes = constants
        images = self._pictures(z, classes)
        return images, self._distance(images, wanted)

    def _restrict(self, values: list[tf.Tensor]) -> list[tf.Tensor]:
        (z,) = values
        system = self._space.system
        if system.latent_distribution == "sphere":
            return [z * math.sqrt(system.latent_dim) / tf.norm(z, axis=1, keepdims=True)]
        return [tf.clip_by_value(z, *_support(system.latent_distribution))]

    def __call__(
        self,
        targets: np.ndarray,
        labels: np.ndarray | None,
        index: np.ndarray,
        progress: Progress | None,
    ) -> list[np.ndarray]:
        """(B, H, W, C) in [-1, 1], (B,) or None, (B,) -> [z, first pictures, last pictures]."""
        many = self._settings.restarts
        seeds = [
            self._settings.seed * 10**9 + int(i) * 1000 + r for i in index for r in range(many)
        ]
        z = self._space.z(seeds)
        constants = [tf.constant(np.repeat(targets, many, axis=0))]
        constants += [] if labels is None else [tf.constant(np.repeat(labels, many))]
        (found,) = self._descent.run([z], constants, progress)
        begun, ended = (self._judged(tf.constant(x), constants) for x in (z, found))

        def best(judged: tuple) -> np.ndarray:
            far = judged[1].numpy()
            # A start that ran away to NaN is never the best one.
            far = np.where(np.isfinite(far), far, np.inf).reshape(-1, many)
            return np.arange(len(index)) * many + far.argmin(axis=1)

        last, first = best(ended), best(begun)
        return [found[last], begun[0].numpy()[first], ended[0].numpy()[last]]


def _support(distribution: str) -> tuple[float, float]:
    known = {
        "unit_cube": (0.0, 1.0),
        "uniform": (-1.0, 1.0),
        "unit_variance_uniform": (-math.sqrt(3.0), math.sqrt(3.0)),
    }
    return known.get(distribution, (-np.inf, np.inf))


def style_statistics(
    space: Space, label: int | None, count: int = MEAN_OF
) -> tuple[np.ndarray, float]:
    """(mean (w_dim,), spread) of w over latents of a fixed draw, not truncated.

    The spread is sqrt(mean of |w - mean|^2), a length in w.
    """
    z = np.random.RandomState(MEAN_SEED).randn(count, space.system.latent_dim)
    labels = None if label is None else np.full(count, label, np.int32)
    whole = Space(space.system, "w", batch_size=min(count, 500))
    w = whole.map(z.astype(np.float32), labels, truncation=1.0)[:, 0].astype(np.float64)
    mean = w.mean(axis=0)
    return mean.astype(np.float32), float(np.sqrt(np.square(w - mean).sum() / count))


class InW:
    """The projector of StyleGAN2: one w (or one a layer) and all noise maps.

    w starts at its mean and is looked at with noise of its spread x 0.05 that fades out over the
    first three quarters; noise maps start as N(0, 1), are kept white by a penalty and normalised
    after every step.

    Args:
      space: of the system.
      distance: what is made small.
      settings: see `Settings`.
    """

    def __init__(self, space: Space, distance: Distance, settings: Settings):
        self._space, self._distance, self._settings = space, distance, settings
        self._layered = settings.chosen(space) == "w+"
        self._statistics: dict[int | None, tuple[np.ndarray, float]] = {}
        self._descent = descent.Descent(self._losses, settings.schedule, self._restrict)
        self._made = tf.function(self._pictures)

    def _pictures(self, w: tf.Tensor, noise: Sequence[tf.Tensor]) -> tf.Tensor:
        rows, _, width = w.shape
        ws = tf.broadcast_to(w, [rows, self._space.num_ws, width])
        return styles.synthesized(self._space.system, ws, list(noise))

    def _losses(
        self, values: Sequence[tf.Tensor], constants: Sequence[tf.Tensor], step: tf.Tensor
    ) -> tf.Tensor:
        w, *noise = values
        wanted, spread, keys = constants
        t = tf.cast(step, tf.float32) / self._settings.schedule.steps
        strength = spread * W_NOISE * tf.square(tf.maximum(0.0, 1.0 - t / W_NOISE_UNTIL))

        def draw(key: tf.Tensor) -> tf.Tensor:
            seed = tf.stack([key, tf.cast(step, tf.int64)])
            return tf.random.stateless_normal(w.shape[1:], seed)

        jitter = tf.map_fn(draw, keys, fn_output_signature=tf.float32)
        jitter = tf.ensure_shape(jitter, w.shape)
        loss = self._distance(self._pictures(w + strength * jitter, noise), wanted)
        return loss + self._settings.noise_weight * noise_maps.regularisation(noise)

    @staticmethod
    def _restrict(values: list[tf.Tensor]) -> list[tf.Tensor]:
        return [values[0], *noise_maps.renormalised(values[1:])]

    def __call__(
        self,
        targets: np.ndarray,
        labels: np.ndarray | None,
        index: np.ndarray,
        progress: Progress | None,
    ) -> list[np.ndarray]:
        """As `InZ`; latents are (B, num_ws, w_dim), and the noise maps come last."""
        asked = [None] * len(index) if labels is None else [int(label) for label in labels]
        for label in set(asked) - set(self._statistics):
            self._statistics[label] = style_statistics(self._space, label)
        found = [self._statistics[label] for label in asked]
        start = np.stack([mean for mean, _ in found])[:, None]
        layers = self._space.num_ws
        start = np.repeat(start, layers, axis=1) if self._layered else start
        spread = np.array([length for _, length in found], np.float32)[:, None, None]
        draws = [np.random.default_rng([self._settings.seed, int(i)]) for i in index]
        noise = [
            np.stack([rng.standard_normal((*buffer.shape, 1)) for rng in draws]).astype(np.float32)
            for buffer in self._space.system.generator_ema.noise_consts()
        ]
        keys = self._settings.seed * 10**9 + np.asarray(index, np.int64)
        begun = self._made(tf.constant(start), [tf.constant(m) for m in noise]).numpy()
        constants = [targets, spread, keys]
        w, *noise = self._descent.run([start, *noise], constants, progress)
        ended = self._made(tf.constant(w), [tf.constant(m) for m in noise]).numpy()
        ws = np.broadcast_to(w, (len(index), layers, w.shape[2]))
        return [np.array(ws), begun, ended, *noise]
