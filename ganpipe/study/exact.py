"""Divergences between two densities on the line, in float64: quadrature and closed forms.

P is the data, Q the generator. KL is KL(P || Q), reverse KL is KL(Q || P), JS is the
Jensen-Shannon divergence in nats (at most log 2), TV = 1/2 int |p - q|, W1 the Wasserstein-1
distance, on the line int |F_P - F_Q| (Villani 2003, theorem 2.18).
"""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

LOG2 = math.log(2.0)
Density = Callable[[np.ndarray], np.ndarray]


def quadrature(breaks: Sequence[float], panels: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights, 16 a panel.

    Args:
      breaks: rising ends of pieces inside which the integrand is smooth; jumps belong here.
      panels: equal panels of each piece.

    Returns:
      (nodes, weights), 1-D float64; sum(weights * f(nodes)) approximates the integral of f.
    """
    unit_nodes, unit_weights = np.polynomial.legendre.leggauss(16)
    edges = np.unique(
        np.concatenate([np.linspace(a, b, panels + 1) for a, b in itertools.pairwise(breaks)])
    )
    half = np.diff(edges)[:, None] / 2
    middle = (edges[:-1] + edges[1:])[:, None] / 2
    return (middle + half * unit_nodes).ravel(), (half * unit_weights).ravel()


def _relative_entropy(p: np.ndarray, q: np.ndarray, weights: np.ndarray) -> float:
    """int p log(p / q): 0 log 0 = 0, and infinite where P has mass and Q has none."""
    mass = p > 0
    if np.any(mass & (q <= 0)):
        return math.inf
    ratio = np.log(p[mass]) - np.log(q[mass])
    return float(np.sum(weights[mass] * p[mass] * ratio))


def divergences(p: Density, q: Density, breaks: Sequence[float]) -> dict[str, float]:
    """All divergences of two densities by quadrature.

    Args:
      p: density of the data, vectorised, float64.
      q: density of the generator.
      breaks: see `quadrature`; from where both densities begin to where both have ended.

    Returns:
      kl, reverse_kl, js, tv, w1.
    """
    x, weights = quadrature(breaks)
    p_x, q_x = p(x), q(x)
    middle = (p_x + q_x) / 2
    # The difference of the distribution functions at the nodes' own panel edges: W1 needs
    # F_P - F_Q everywhere, so it is summed up node by node and integrated with the same weights.
    difference = np.cumsum(weights * (p_x - q_x)) - weights * (p_x - q_x) / 2
    return {
        "kl": _relative_entropy(p_x, q_x, weights),
        "reverse_kl": _relative_entropy(q_x, p_x, weights),
        "js": (_relative_entropy(p_x, middle, weights) + _relative_entropy(q_x, middle, weights))
        / 2,
        "tv": float(np.sum(weights * np.abs(p_x - q_x)) / 2),
        "w1": float(np.sum(weights * np.abs(difference))),
    }


def normal_density(mean: float, deviation: float) -> Density:
    """Density of N(mean, deviation^2)."""

    def density(x: np.ndarray) -> np.ndarray:
        scaled = (x - mean) / deviation
        return np.exp(-scaled * scaled / 2) / (deviation * math.sqrt(2 * math.pi))

    return density


def uniform_density(low: float, high: float) -> Density:
    """Density of U(low, high)."""
    return lambda x: np.where((x >= low) & (x <= high), 1 / (high - low), 0.0)


def gaussians(theta: float, deviation: float = 1.0) -> dict[str, float]:
    """N(0, s^2) against N(theta, s^2): closed forms, JS by quadrature.

    KL = reverse KL = theta^2 / (2 s^2); TV = erf(|theta| / (2 sqrt 2 s)); W1 = |theta|.
    """
    reach = 9 * deviation  # beyond, both densities are below 1e-18
    low, high = min(0.0, theta) - reach, max(0.0, theta) + reach
    numeric = divergences(
        normal_density(0.0, deviation), normal_density(theta, deviation), [low, high]
    )
    kl = theta**2 / (2 * deviation**2)
    tv = math.erf(abs(theta) / (2 * math.sqrt(2) * deviation))
    return {"kl": kl, "reverse_kl": kl, "js": numeric["js"], "tv": tv, "w1": abs(theta)}


def uniforms(theta: float) -> dict[str, float]:
    """U(0, 1) against U(theta, theta + 1).

    TV = min(|theta|, 1), JS = TV log 2, W1 = |theta|; KL is infinite from any shift on.
    """
    apart = min(abs(theta), 1.0)
    kl = 0.0 if theta == 0 else math.inf
    return {"kl": kl, "reverse_kl": kl, "js": apart * LOG2, "tv": apart, "w1": abs(theta)}


def lines(theta: float) -> dict[str, float]:
    """(0, U(0, 1)) against (theta, U(0, 1)) in the plane (Arjovsky et al. 2017, example 1).

    Two parallel segments never overlap: JS = log 2, TV = 1 and KL infinite for every theta but 0,
    and only W1 = |theta| tells how far apart they are.
    """
    if theta == 0:
        return dict.fromkeys(("kl", "reverse_kl", "js", "tv", "w1"), 0.0)
    return {"kl": math.inf, "reverse_kl": math.inf, "js": LOG2, "tv": 1.0, "w1": abs(theta)}
