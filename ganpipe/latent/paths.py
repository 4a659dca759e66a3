"""Ways through a latent space, as arrays. Pure functions of their arguments."""

import itertools

import numpy as np
from scipy import special

from ganpipe.errors import UserError
from ganpipe.metrics.path_length import lerp, slerp_weights

INTERPOLATIONS = ("linear", "slerp")
# Distributions whose points lie near a sphere around 0: a straight line leaves it.
ROUND = ("normal", "sphere")


def default_interpolation(space: str, distribution: str) -> str:
    """Slerp where latents lie near a sphere, else a straight line."""
    return "slerp" if space == "z" and distribution in ROUND else "linear"


def between(a: np.ndarray, b: np.ndarray, t: np.ndarray, interpolation: str) -> np.ndarray:
    """Points between a (t = 0) and b (t = 1).

    Args:
      a, b: (..., D).
      t: (T,).
      interpolation: "linear"; "slerp": along the arc, lengths kept at both ends (White 2016).

    Returns:
      (T, ..., D) float32; the first is a for t = 0, the last b for t = 1.
    """
    t = np.asarray(t, np.float64).reshape(-1, *[1] * np.ndim(a))
    function = slerp_weights if interpolation == "slerp" else lerp
    a, b = np.asarray(a, np.float64)[None], np.asarray(b, np.float64)[None]
    return function(a, b, t).astype(np.float32)


def through(points: np.ndarray, frames: int, interpolation: str, loop: bool) -> np.ndarray:
    """A path through points, `frames` steps from each to the next.

    Args:
      points: (P, ..., D), P >= 2.
      frames: steps of each leg, 1 or more.
      interpolation: see `between`.
      loop: go back to the first point at the end.

    Returns:
      (legs, frames + 1, ..., D) float32: a leg holds both of its ends.

    Raises:
      UserError: fewer than two points, or frames below 1.
    """
    if len(points) < 2 or frames < 1:
        raise UserError(
            f"{len(points)} point(s) with {frames} frames between: expected at least 2 points "
            "(--seeds=0-8) and 1 frame"
        )
    ends = np.concatenate([points, points[:1]]) if loop else np.asarray(points)
    t = np.linspace(0.0, 1.0, frames + 1)
    return np.stack([between(a, b, t, interpolation) for a, b in itertools.pairwise(ends)])


def film(legs: np.ndarray, loop: bool) -> np.ndarray:
    """(legs, frames + 1, ...) -> (T, ...): every point once; a loop leaves the last out."""
    flat = legs[:, :-1].reshape(-1, *legs.shape[2:])
    return flat if loop else np.concatenate([flat, legs[-1, -1:]])


def walk(
    walkers: int, frames: int, dim: int, distribution: str, harmonics: int, seed: int
) -> np.ndarray:
    """Smooth random closed walks; every single frame is a draw from the latent distribution.

    x(t) = sum over k = 1..K of (a_k cos 2 pi k t + b_k sin 2 pi k t) / sqrt K with a, b ~ N(0, I)
    has N(0, I) at every t, whatever K, and closes at t = 1. Other distributions are reached through
    the normal distribution function, coordinate by coordinate.

    Args:
      walkers: W independent walks.
      frames: T steps of one round.
      dim: D.
      distribution: see `ganpipe.ops.random.row_latents`.
      harmonics: K >= 1; the walk's speed grows with it.
      seed: of everything; walker i does not depend on how many there are.

    Returns:
      (T, W, D) float32.

    Raises:
      UserError: walkers, frames or harmonics below 1.
    """
    if walkers < 1 or frames < 1 or harmonics < 1:
        raise UserError(
            f"{walkers} walkers, {frames} frames, {harmonics} harmonics: each has to be 1 or more"
        )
    waves = np.stack(
        [
            np.random.default_rng([seed, i]).standard_normal((2, harmonics, dim))
            for i in range(walkers)
        ]
    )
    angle = 2 * np.pi * np.arange(frames)[:, None] / frames * np.arange(1, harmonics + 1)
    turning = np.stack([np.cos(angle), np.sin(angle)])  # (2, T, K)
    x = np.einsum("ptk,wpkd->twd", turning, waves) / np.sqrt(harmonics)
    return _shaped(x, distribution).astype(np.float32)


def _shaped(x: np.ndarray, distribution: str) -> np.ndarray:
    """N(0, I) -> the distribution, by a smooth map."""
    if distribution == "normal":
        return x
    if distribution == "sphere":
        return x * np.sqrt(x.shape[-1]) / np.linalg.norm(x, axis=-1, keepdims=True)
    share = special.ndtr(x)
    if distribution == "unit_cube":
        return share
    scale = {"uniform": 1.0, "unit_variance_uniform": np.sqrt(3.0)}
    return scale[distribution] * (2.0 * share - 1.0)
