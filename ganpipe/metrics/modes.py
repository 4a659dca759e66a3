"""Modes: how many of the known ones a generator reaches, and how evenly.

Three settings, all counting samples per mode:

* `discrete_modes`: stacked digits. Three digits in three channels make 1000 equally likely codes;
  a digit classifier reads 26,000 samples (PacGAN, Lin et al. 2018, section 4). Covered modes and
  KL(p_g || uniform);
* `mixture_modes`: a ring or grid of Gaussians, 2,500 samples. A sample belongs to the nearest mean
  and is good within 3 standard deviations; a mode is covered with one good sample (PacGAN, section
  4; other papers ask for 1 % of the samples: `min_count`). Divergences are over good samples only;
* `class_modes`: labels that a classifier predicts, against the proportions of real data. Reverse
  KL(p_g || p_r) leaves out what the generator leaves out, so a dropped class costs little: look
  at `covered` and the forward direction, too.

Natural logarithms: divergences are in nats. Few samples leave modes empty by chance: n uniform
samples on K codes cover K (1 - (1 - 1/K)^n) on average and have a KL of about (K - 1) / (2 n).
"""

from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError

THRESHOLD = 3.0

# Rows whose distances to all means are held at a time.
_BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Modes:
    """Coverage of known modes.

    Attributes:
      covered: number of modes with at least `min_count` samples.
      total: number of modes K.
      counts: (K,) int64 samples a mode (good ones, for a mixture).
      kl: KL(p_g || reference) in nats, over the modes that occur; infinite if p_g reaches a mode
        that the reference does not have. NaN without any counted sample.
      reverse: KL(reference || p_g) in nats; infinite as soon as one mode is missing.
      jsd: Jensen-Shannon divergence to the reference in nats, in [0, log 2].
      high_quality: share of samples that are good; 1 for `discrete_modes` and `class_modes`.
    """

    covered: int
    total: int
    counts: np.ndarray
    kl: float
    reverse: float
    jsd: float
    high_quality: float


def kl_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """sum p log(p / q) in nats over p > 0 of two (K,) distributions; infinite if q is 0 there."""
    p, q = np.asarray(p, np.float64), np.asarray(q, np.float64)
    some = p > 0
    if (q[some] == 0).any():
        return float("inf")
    return float(np.sum(p[some] * np.log(p[some] / q[some])))


def js_divergence(p: np.ndarray, q: np.ndarray) -> float:
    """Jensen-Shannon divergence of two (K,) distributions in nats, in [0, log 2]."""
    middle = (np.asarray(p, np.float64) + np.asarray(q, np.float64)) / 2
    return (kl_divergence(p, middle) + kl_divergence(q, middle)) / 2


def _report(counts: np.ndarray, reference: np.ndarray, min_count: int, good: float) -> Modes:
    covered, total = int((counts >= min_count).sum()), int(counts.sum())
    if not total:
        nan = float("nan")
        return Modes(covered, len(counts), counts, nan, nan, nan, good)
    p = counts / total
    return Modes(
        covered,
        len(counts),
        counts,
        kl_divergence(p, reference),
        kl_divergence(reference, p),
        js_divergence(p, reference),
        good,
    )


def _counted(name: str, labels: np.ndarray, total: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{name} are {labels.dtype} of shape {labels.shape}, expected integers (N,), N >= 1"
        )
    if labels.min() < 0 or labels.max() >= total:
        raise UserError(f"{name} span {labels.min()}..{labels.max()}, expected 0..{total - 1}")
    return np.bincount(labels, minlength=total)


def digit_codes(digits: np.ndarray, base: int = 10) -> np.ndarray:
    """(N, 3) predicted digits of the channels -> (N,) int64 codes, first digit most significant.

    Raises:
      UserError: another shape, no integers, or a digit outside 0..base - 1.
    """
    digits = np.asarray(digits)
    if digits.ndim != 2 or not np.issubdtype(digits.dtype, np.integer):
        raise UserError(
            f"digits are {digits.dtype} of shape {digits.shape}, expected integers (N, channels)"
        )
    if digits.size and (digits.min() < 0 or digits.max() >= base):
        raise UserError(f"digits span {digits.min()}..{digits.max()}, expected 0..{base - 1}")
    codes = np.zeros(len(digits), np.int64)
    for column in digits.T:
        codes = codes * base + column
    return codes


def discrete_modes(codes: np.ndarray, num_modes: int, *, min_count: int = 1) -> Modes:
    """Coverage of equally likely discrete modes.

    Args:
      codes: (N,) integers in [0, num_modes).
      num_modes: K.
      min_count: samples that make a mode covered.

    Raises:
      UserError: no codes, or codes outside the range.
    """
    counts = _counted("codes", codes, num_modes)
    return _report(counts, np.full(num_modes, 1 / num_modes), min_count, 1.0)


def mixture_modes(
    points: np.ndarray,
    means: np.ndarray,
    deviation: float | np.ndarray,
    *,
    weights: np.ndarray | None = None,
    threshold: float = THRESHOLD,
    min_count: int = 1,
) -> Modes:
    """Coverage of a mixture of Gaussians.

    Args:
      points: (N, d) generated points.
      means: (K, d).
      deviation: standard deviation of every mode, a number or (d,) per axis: distances are
        Mahalanobis distances.
      weights: (K,) true proportions; None for equal ones.
      threshold: a point is good if its distance is below, in standard deviations.
      min_count: good points that make a mode covered.

    Raises:
      UserError: unlike shapes, points that are not finite, deviations that are not positive.
    """
    points, means = np.asarray(points, np.float64), np.asarray(means, np.float64)
    if points.ndim != 2 or means.ndim != 2 or points.shape[1] != means.shape[1] or not len(points):
        raise UserError(
            f"points of shape {points.shape} and means of shape {means.shape}: expected (N, d), "
            "N >= 1, and (K, d)"
        )
    if not np.isfinite(points).all():
        raise UserError("points hold NaN or infinity: the generator is broken")
    if not np.all(np.asarray(deviation) > 0):
        raise UserError(f"the modes' deviation is {deviation}, expected positive numbers")
    counts = np.zeros(len(means), np.int64)
    for start in range(0, len(points), _BLOCK_ROWS):
        # Differences first: the expanded square loses digits of small distances.
        away = (points[start : start + _BLOCK_ROWS, None] - means) / deviation
        squares = np.einsum("nkd,nkd->nk", away, away)
        good = squares.min(axis=1) < threshold**2
        counts += np.bincount(squares.argmin(axis=1)[good], minlength=len(means))
    return _report(
        counts, _proportions(weights, len(means)), min_count, float(counts.sum() / len(points))
    )


def class_modes(
    predicted: np.ndarray,
    num_classes: int,
    *,
    reference: np.ndarray | None = None,
    min_count: int = 1,
) -> Modes:
    """Classes reached, and the divergence from the real proportions.

    Args:
      predicted: (N,) integer classes that a classifier sees in the generated images.
      num_classes: K.
      reference: (K,) real counts or proportions: best the classifier's predictions on real
        images, whose errors then cancel. None for equal ones.
      min_count: images that make a class covered.

    Raises:
      UserError: no labels or labels outside the range, or a reference that gives no proportions.
    """
    counts = _counted("predicted labels", predicted, num_classes)
    return _report(counts, _proportions(reference, num_classes), min_count, 1.0)


def _proportions(weights: np.ndarray | None, total: int) -> np.ndarray:
    if weights is None:
        return np.full(total, 1 / total)
    weights = np.asarray(weights, np.float64)
    if weights.shape != (total,) or not np.isfinite(weights).all() or weights.sum() <= 0:
        raise UserError(f"reference weights {weights}: expected {total} numbers, not all 0")
    if weights.min() < 0:
        raise UserError(f"reference weights {weights}: expected none negative")
    return weights / weights.sum()
