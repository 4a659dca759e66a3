"""Toy data: pairs of distributions that can be moved apart, and mixtures whose modes are counted.

Training draws are TensorFlow, float32, functions of a seed; counting is NumPy, float64.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ganpipe.study import exact

# A mode is covered when it holds at least this share of all samples, counting good ones only:
# training_tips.md section 2, ">= 1 % of samples within 3 sigma".
COVERED_SHARE = 0.01
GOOD_SIGMAS = 3.0


@dataclass(frozen=True)
class Pair:
    """Data P and generator Q, the same shape moved by theta along the first axis.

    Attributes:
      title: for figures.
      dimensions: 1 or 2.
      thetas: distances that the study shows.
      draw: (shape (..., dimensions) without the last axis, seed) -> P's points.
      exact: theta -> divergences, see `ganpipe.study.exact`.
    """

    title: str
    dimensions: int
    thetas: tuple[float, ...]
    draw: Callable[[list[int], tf.Tensor], tf.Tensor]
    exact: Callable[[float], Mapping[str, float]]

    def batch(self, thetas: np.ndarray, batch: int, seed: tf.Tensor) -> tuple:
        """(real, fake), each (K, batch, dimensions) float32, one row of the stack a theta.

        Args:
          thetas: (K,).
          batch: points of each.
          seed: (2,) integer.
        """
        seeds = tf.random.experimental.stateless_split(seed, 2)
        shape = [len(thetas), batch]
        shift = np.zeros((len(thetas), 1, self.dimensions), np.float32)
        shift[:, 0, 0] = thetas
        return self.draw(shape, seeds[0]), self.draw(shape, seeds[1]) + shift


def _uniform(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([*shape, 1], seed)


def _normal(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_normal([*shape, 1], seed)


def _line(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    height = tf.random.stateless_uniform([*shape, 1], seed)
    return tf.concat([tf.zeros_like(height), height], axis=-1)


PAIRS = {
    "uniforms": Pair(
        "U(0, 1) and U(θ, θ + 1)",
        1,
        (0.0, 0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
        _uniform,
        exact.uniforms,
    ),
    "gaussians": Pair(
        "N(0, 1) and N(θ, 1)",
        1,
        (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
        _normal,
        exact.gaussians,
    ),
    "lines": Pair(
        "two parallel segments, θ apart",
        2,
        (0.0, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0),
        _line,
        exact.lines,
    ),
}


@dataclass(frozen=True)
class Mixture:
    """Equally likely round Gaussians in the plane, scaled to unit variance a coordinate.

    Attributes:
      means: (M, 2) float64.
      deviation: of each mode, in the scaled plane.
    """

    means: np.ndarray
    deviation: float

    def sample(self, count: int, seed: int) -> np.ndarray:
        """(count, 2) float32 points."""
        rng = np.random.default_rng(seed)
        chosen = self.means[rng.integers(len(self.means), size=count)]
        noise = rng.normal(size=(count, 2)) * self.deviation
        return (chosen + noise).astype(np.float32)

    def count(self, points: np.ndarray) -> dict[str, object]:
        """How much of the mixture the points reach.

        A point is good when it lies within 3 deviations of its nearest mode. A mode is covered
        when the good points nearest to it are at least 1 % of all points.

        Args:
          points: (N, 2).

        Returns:
          modes: number covered; good: share of good points; shares: (M,) list, good points of
          each mode over all points.
        """
        points = np.asarray(points, np.float64)
        # Squared distances by the expanded square lose digits; 10,000 x 25 is small enough.
        distances = np.linalg.norm(points[:, None] - self.means[None], axis=-1)
        nearest = distances.argmin(axis=1)
        good = distances.min(axis=1) <= GOOD_SIGMAS * self.deviation
        shares = np.bincount(nearest[good], minlength=len(self.means)) / len(points)
        return {
            "modes": int((shares >= COVERED_SHARE).sum()),
            "good": float(good.mean()),
            "shares": shares.tolist(),
        }


def _scaled(means: np.ndarray, deviation: float) -> Mixture:
    spread = math.sqrt(np.mean(np.square(means)) + deviation**2)
    return Mixture(means / spread, deviation / spread)


def grid_of_25() -> Mixture:
    """5 x 5 modes 2 apart with deviation 0.05, before the scaling to unit variance."""
    axis = np.arange(-4.0, 5.0, 2.0)
    return _scaled(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2), 0.05)


def ring_of_8() -> Mixture:
    """8 modes on a circle of radius 2 with deviation 0.02, before the scaling."""
    angles = np.arange(8) * (math.pi / 4)
    return _scaled(2.0 * np.stack([np.cos(angles), np.sin(angles)], axis=-1), 0.02)


MIXTURES = {"grid": grid_of_25, "ring": ring_of_8}
