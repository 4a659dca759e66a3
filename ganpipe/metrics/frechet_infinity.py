"""Scores extrapolated to infinitely many samples (Chong & Forsyth 2020, sec. 3).

The Frechet distance and the Inception Score of N samples are biased by nearly c / N, and c differs
from model to model. The score is taken at several N and a straight line in 1/N is fitted by least
squares; its value at 1/N = 0 is the answer. (The paper draws the generator's inputs from a Sobol
sequence; that is the sampler's affair. These functions work on the features or logits of a pool.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics import frechet, inception_score

POINTS = 15
MIN_SIZE = 5000


@dataclass(frozen=True)
class Extrapolation:
    """A line through scores against 1/N.

    Attributes:
      value: the line at 1/N = 0, the score of infinitely many samples.
      slope: the line's slope; near 0 means that the sample count hardly matters.
      sizes: numbers of samples N.
      values: the score at each of `sizes`.
    """

    value: float
    slope: float
    sizes: tuple[int, ...]
    values: tuple[float, ...]


def extrapolate(sizes: np.ndarray, values: np.ndarray) -> Extrapolation:
    """Ordinary least squares of values on 1/size.

    Args:
      sizes: (P,) positive numbers of samples, at least two different ones.
      values: (P,) scores.

    Raises:
      ValueError: other shapes, sizes that are not positive, fewer than two different sizes.
    """
    sizes, values = np.asarray(sizes), np.asarray(values, np.float64)
    if sizes.ndim != 1 or sizes.shape != values.shape:
        raise ValueError(f"sizes {sizes.shape} and values {values.shape} do not belong together")
    if np.any(sizes <= 0) or len(np.unique(sizes)) < 2:
        raise ValueError(f"a line needs two different positive sizes, found {sizes.tolist()}")
    x = 1.0 / sizes
    centred = x - x.mean()
    slope = float(centred @ (values - values.mean()) / (centred @ centred))
    value = float(values.mean() - slope * x.mean())
    return Extrapolation(value, slope, tuple(map(int, sizes)), tuple(map(float, values)))


def _sizes(count: int, points: int, min_size: int, least: int) -> np.ndarray:
    if points < 2 or not least <= min_size < count:
        raise UserError(
            f"extrapolation over {points} sizes from {min_size} to the {count} samples there are: "
            f"at least 2 points, min_size from {least} and more samples than min_size are needed; "
            "raise --num or lower min_size"
        )
    return np.linspace(min_size, count, points).astype(np.int64)


def _over_sizes(
    pool: np.ndarray, sizes: np.ndarray, seed: int, score: Callable[[np.ndarray], float]
) -> Extrapolation:
    """Scores the first N rows of the pool, shuffled anew (in place, so cumulatively) for each N."""
    rng, order = np.random.RandomState(seed), np.arange(len(pool))
    values = []
    for size in sizes:
        rng.shuffle(order)
        values.append(score(pool[order[:size]]))
    return extrapolate(sizes, np.array(values))


def frechet_infinity(
    fake: np.ndarray,
    mu: np.ndarray,
    cov: np.ndarray,
    *,
    points: int = POINTS,
    min_size: int = MIN_SIZE,
    seed: int = 0,
) -> Extrapolation:
    """Frechet distance to fixed statistics, extrapolated to infinitely many generated samples.

    Args:
      fake: (N, d) features of one pool of generated images; the paper uses 50,000.
      mu: (d,) mean of the real features.
      cov: (d, d) covariance of the real features (ddof 1).
      points: how many sizes, evenly from `min_size` to N.
      min_size: the smallest size.
      seed: seed of the shuffles.

    Raises:
      UserError: a pool that is not larger than `min_size`, fewer than two points.
      ValueError: shapes that do not fit, values that are not finite.
    """
    fake = np.asarray(fake)
    sizes = _sizes(len(fake), points, min_size, 2)
    return _over_sizes(fake, sizes, seed, lambda x: frechet.frechet_to_reference(x, mu, cov))


def inception_score_infinity(
    logits: np.ndarray, *, points: int = POINTS, min_size: int = MIN_SIZE, seed: int = 0
) -> Extrapolation:
    """Inception Score (one split) extrapolated to infinitely many generated samples.

    Args:
      logits: (N, C) of one pool of generated images.
      points: how many sizes, evenly from `min_size` to N.
      min_size: the smallest size.
      seed: seed of the shuffles.

    Raises:
      UserError: a pool that is not larger than `min_size`, fewer than two points, NaN.
      ValueError: another shape.
    """
    logits = np.asarray(logits)
    sizes = _sizes(len(logits), points, min_size, 1)
    return _over_sizes(
        logits, sizes, seed, lambda x: inception_score.inception_score(x, splits=1)[0]
    )
