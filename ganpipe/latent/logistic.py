"""Logistic regression with an L2 penalty, to its unique optimum by Newton's method in float64."""

from dataclasses import dataclass

import numpy as np
from scipy import special


@dataclass(frozen=True)
class Probe:
    """A fitted regression.

    Attributes:
      weights: (M,) of the standardised features; 0 for a constant feature.
      bias: float.
      mean: (M,) taken off the features.
      scale: (M,) that divides them; 1 for a constant feature.
    """

    weights: np.ndarray
    bias: float
    mean: np.ndarray
    scale: np.ndarray

    def score(self, x: np.ndarray) -> np.ndarray:
        """(N, M) -> (N,) log odds."""
        return (x - self.mean) / self.scale @ self.weights + self.bias


def fit(x: np.ndarray, positive: np.ndarray, penalty: float = 1.0) -> Probe:
    """Minimises sum log(1 + exp(-y s)) + penalty / 2 |w|^2, s = w.x + b of standardised features.

    Args:
      x: (N, M) finite.
      positive: (N,) bool.
      penalty: on w, not on b; positive, which makes the optimum unique.

    Raises:
      ValueError: one label alone, features that are not finite, or a penalty of 0 or less.
      RuntimeError: no convergence, which a strictly convex function should not allow.
    """
    x, positive = np.asarray(x, np.float64), np.asarray(positive, bool)
    if positive.all() or not positive.any() or not np.isfinite(x).all() or not penalty > 0:
        raise ValueError("expected both labels, finite features and a positive penalty")
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-12 * np.maximum(1.0, np.abs(mean)), scale, 1.0)
    design = np.concatenate([(x - mean) / scale, np.ones((len(x), 1))], axis=1)
    y = np.where(positive, 1.0, -1.0)
    ridge = np.append(np.full(x.shape[1], penalty), 0.0)

    def value(theta: np.ndarray) -> float:
        return np.logaddexp(0.0, -y * (design @ theta)).sum() + 0.5 * theta @ (ridge * theta)

    theta = np.zeros(design.shape[1])
    for _ in range(100):
        chance = special.expit(-y * (design @ theta))  # of the wrong label
        gradient = ridge * theta - design.T @ (y * chance)
        if np.linalg.norm(gradient) <= 1e-8 * len(x):
            return Probe(theta[:-1], float(theta[-1]), mean, scale)
        curve = chance * (1.0 - chance)
        hessian = design.T @ (curve[:, None] * design) + np.diag(ridge + 1e-12)
        step, length, before = np.linalg.solve(hessian, gradient), 1.0, value(theta)
        # Halving keeps Newton's method safe far from the optimum.
        while value(theta - length * step) > before and length > 1e-10:
            length /= 2
        theta = theta - length * step
    raise RuntimeError("logistic regression did not converge")
