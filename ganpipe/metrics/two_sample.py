"""Whole-sample comparisons: nearest-neighbour test, Gaussian-kernel MMD, Wasserstein distance.

As in "An empirical study on evaluation metrics of generative adversarial networks" (Xu et al. 2018,
sec. 2), on features. All three are about samples, not fitted Gaussians; compare equal counts only.
"""

from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics import distances


@dataclass(frozen=True)
class NearestNeighbourTest:
    """Leave-one-out accuracy of a nearest-neighbour classifier that tells real from generated.

    Attributes:
      accuracy: 0.5 is ideal; 1: told apart; towards 0: fakes are copies of reals.
      accuracy_real: share of reals taken for real. High with a low `accuracy_fake`: a real's
        neighbours are real, so the fakes leave out much.
      accuracy_fake: share of fakes taken for fake. High: fakes cluster among themselves.
    """

    accuracy: float
    accuracy_real: float
    accuracy_fake: float


def nearest_neighbour_test(
    fake: np.ndarray, real: np.ndarray, *, k: int = 1
) -> NearestNeighbourTest:
    """Each point is classified by its k nearest other points of both sets together.

    A point is called real with k/2 or more real neighbours. Of equally near points the real ones
    come first, then those with the lower row number; GAN-Metrics leaves this to `torch.topk`.

    Args:
      fake: (M, d) features of generated images. Use as many as reals, or chance is not 0.5.
      real: (N, d) features of real images.
      k: neighbours that vote.

    Raises:
      UserError: fewer than k + 1 points in all, an empty set, NaN or infinity.
      ValueError: shapes that do not fit.
    """
    fake, real = distances.check_sets(generated=fake, real=real)
    pooled = np.concatenate([real, fake])
    if not 1 <= k < len(pooled):
        raise UserError(
            f"a vote of k={k} neighbours needs k from 1 and more than k points, found "
            f"{len(pooled)}: raise --num or change k"
        )
    _, neighbours = distances.nearest(pooled, k=k)
    called_real = (neighbours < len(real)).sum(axis=1) >= k / 2
    right = np.concatenate([called_real[: len(real)], ~called_real[len(real) :]])
    return NearestNeighbourTest(
        float(right.mean()),
        float(right[: len(real)].mean()),
        float(right[len(real) :].mean()),
    )


def _gaussian_mean(x: np.ndarray, y: np.ndarray, scale: float) -> float:
    total = 0.0
    for rows in distances.blocks(len(x), len(y)):
        kernel = distances.squared(x[rows], y)
        kernel /= -scale
        total += float(np.exp(kernel, out=kernel).sum())
    return total / (len(x) * len(y))


def gaussian_mmd(fake: np.ndarray, real: np.ndarray, *, sigma: float = 1.0) -> float:
    """Maximum mean discrepancy with a Gaussian kernel, biased, as a root.

    k(x, y) = exp(-|x - y|^2 / (2 sigma^2 s)), s the mean of the squared distances of all real
    pairs, a point with itself included; the root of mean k(x, x') + mean k(y, y') - 2 mean k(x, y),
    diagonals included. The biased square is never negative but by rounding, which counts as 0.

    Args:
      fake: (M, d) features of generated images.
      real: (N, d) features of real images.
      sigma: width in units of sqrt(s).

    Returns:
      The MMD, 0 to sqrt 2; computed in float64.

    Raises:
      UserError: constant real features (s is 0), sigma <= 0, an empty set, NaN or infinity.
      ValueError: shapes that do not fit.
    """
    fake, real = distances.check_sets(generated=fake, real=real)
    if not sigma > 0:
        raise UserError(f"sigma is {sigma}, expected a positive number")
    # The mean over all pairs is twice the total variance.
    spread = 2 * float(real.var(axis=0, dtype=np.float64).sum())
    # Rounding gives equal values a variance: the mean of ten times 0.1 is not 0.1.
    if spread == 0 or (real == real[0]).all():
        raise UserError(
            f"the {len(real)} real features are all alike, so the kernel has no width: use more or "
            "other images, or another extractor"
        )
    scale = 2 * sigma**2 * spread
    within = _gaussian_mean(real, real, scale) + _gaussian_mean(fake, fake, scale)
    return float(np.sqrt(max(0.0, within - 2 * _gaussian_mean(real, fake, scale))))


def wasserstein(fake: np.ndarray, real: np.ndarray, *, squared_cost: bool = False) -> float:
    """Exact optimal transport between two equal-sized sets with uniform weights.

    Between N and N points of equal weight some optimal plan is a permutation, so this is the best
    assignment. Time grows as N^3 and memory as N^2 (2,000 points: 32 MB and seconds).

    Args:
      fake: (N, d) features of generated images.
      real: (N, d) features of real images.
      squared_cost: mean squared distance of the best pairs (W2 squared) instead of the mean
        distance (W1).

    Returns:
      The mean cost of a pair, float64.

    Raises:
      UserError: unlike counts, an empty set, NaN or infinity, scipy is not installed.
      ValueError: shapes that do not fit.
    """
    fake, real = distances.check_sets(generated=fake, real=real)
    if len(fake) != len(real):
        raise UserError(
            f"the Wasserstein distance needs as many generated as real images, found {len(fake)} "
            f"and {len(real)}: give it {min(len(fake), len(real))} of each"
        )
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError:
        raise UserError(
            "the Wasserstein distance needs scipy, which is not installed: pip install scipy"
        ) from None
    cost = distances.squared(fake, real)
    if not squared_cost:
        np.sqrt(cost, out=cost)
    return float(cost[linear_sum_assignment(cost)].mean())
