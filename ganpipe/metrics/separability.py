"""Linear separability: can a plane in latent space tell the values of an attribute apart?

    score = 2^(sum over attributes of H(label | side of the plane)),  H in bits

(Karras et al. 2019, StyleGAN, section 4.2.) 1 is ideal. For each binary attribute a classifier of
images gives logits; the half of the samples it is surest of is kept; a linear support vector
machine learns to predict the sign of the logit from the latent, and what stays unknown about the
label once its answer is given is the conditional entropy. Published setting: 40 attributes of
faces, 200,000 samples of which 100,000 are kept, on z and on w.

An attribute with one value only (no face wears a hat) is perfectly predictable: entropy 0.

The machine is scikit-learn's `LinearSVC()` with its defaults: minimise

    |w|^2 / 2 + b^2 / 2 + C sum max(0, 1 - y (w.x + b))^2,   C = 1

solved here to its unique optimum by Newton's method in float64, so that no solver's tolerance or
random order enters the score.
"""

from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError

C = 1.0


@dataclass(frozen=True)
class Separability:
    """Linear separability of a latent space.

    Attributes:
      score: 2^(sum of entropies), 1 or more.
      entropies: (A,) bits in [0, 1].
      tables: (A, 2, 2) int64 counts; row = side of the plane, column = label (0 no, 1 yes).
      one_sided: (A,) bool: all kept samples have one label, so nothing was fitted.
      kept: samples used for each attribute.
    """

    score: float
    entropies: np.ndarray
    tables: np.ndarray
    one_sided: np.ndarray
    kept: int


def conditional_entropy(tables: np.ndarray) -> np.ndarray:
    """H(column | row) of joint tables, in bits.

    Args:
      tables: (..., R, K) counts or probabilities, not negative, of any positive sum.

    Returns:
      (...) float64 in [0, log2 K]; rounding below 0 is cut.

    Raises:
      ValueError: a negative or non-finite entry, or a table of zeros.
    """
    p = np.asarray(tables, np.float64)
    total = p.sum(axis=(-2, -1), keepdims=True)
    if not (np.isfinite(p).all() and (p >= 0).all() and (total > 0).all()):
        raise ValueError("a joint table needs finite entries, none negative, not all 0")
    p = p / total
    row = np.broadcast_to(p.sum(axis=-1, keepdims=True), p.shape)
    ratio = np.divide(row, p, out=np.ones_like(p), where=p > 0)
    return np.maximum(np.sum(p * np.log2(ratio), axis=(-2, -1)), 0.0)


def separability_score(entropies: np.ndarray) -> float:
    """2^(sum of (A,) entropies in bits)."""
    return float(2.0 ** np.sum(np.asarray(entropies, np.float64)))


def most_confident(logits: np.ndarray, keep: int) -> np.ndarray:
    """(keep,) indices of the largest |logit|, ties in order of the samples.

    The probability of the likelier label rises with |logit|; the logit itself does not saturate.
    """
    return np.argsort(-np.abs(logits), kind="stable")[:keep]


def fit_linear_svm(x: np.ndarray, positive: np.ndarray, *, c: float = C) -> np.ndarray:
    """The linear support vector machine with squared hinge loss.

    Args:
      x: (N, d) real, finite.
      positive: (N,) bool, both values present.
      c: weight of the loss, summed over the samples.

    Returns:
      (d + 1,) float64: w, then the bias, which is regularised like the rest.

    Raises:
      UserError: one label only, or features that are not finite.
      RuntimeError: no convergence, which a strictly convex function should not allow.
    """
    x = np.asarray(x, np.float64)
    positive = np.asarray(positive, bool)
    if positive.all() or not positive.any():
        raise UserError("a classifier needs samples of both labels")
    if not np.isfinite(x).all():
        raise UserError("latents hold NaN or infinity")
    y = np.where(positive, 1.0, -1.0)

    def product(w: np.ndarray) -> np.ndarray:
        return x @ w[:-1] + w[-1]

    def transposed(v: np.ndarray) -> np.ndarray:
        return np.append(v @ x, v.sum())

    w = np.zeros(x.shape[1] + 1)
    slack = np.ones(len(x))  # 1 - y (w.x + b)
    first = None
    for _ in range(200):
        active = slack > 0
        gradient = w - 2 * c * transposed(np.where(active, slack * y, 0.0))
        size = float(np.linalg.norm(gradient))
        first = first or size
        if size <= 1e-10 * first:
            return w
        # The Hessian I + 2 C X_active^T X_active by products alone: no (d, d) matrix.
        step, residual = np.zeros_like(w), -gradient
        direction, squared = residual.copy(), size**2
        for _ in range(4 * len(w)):
            image = np.where(active, product(direction), 0.0)
            curved = direction + 2 * c * transposed(image)
            alpha = squared / float(direction @ curved)
            step += alpha * direction
            residual -= alpha * curved
            after = float(residual @ residual)
            if after <= (1e-6 * size) ** 2:
                break
            direction = residual + after / squared * direction
            squared = after
        w, slack, moved = _line_search(w, step, slack, y * product(step), c)
        if not moved:  # No step lowers the function any more: rounding is all that is left.
            if size <= 1e-6 * first:
                return w
            break
    raise RuntimeError("the support vector machine did not converge")


def _line_search(
    w: np.ndarray, step: np.ndarray, slack: np.ndarray, change: np.ndarray, c: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Halves the Newton step until the function falls; a full step ends the search at once."""

    def value(at: np.ndarray, its_slack: np.ndarray) -> float:
        return 0.5 * float(at @ at) + c * float(np.square(np.maximum(its_slack, 0.0)).sum())

    before, length = value(w, slack), 1.0
    for _ in range(40):
        moved, its_slack = w + length * step, slack - length * change
        if value(moved, its_slack) < before:
            return moved, its_slack, True
        length /= 2
    return w, slack, False


def joint_table(side: np.ndarray, label: np.ndarray) -> np.ndarray:
    """(2, 2) int64 counts of (N,) booleans: row = side of the plane, column = label."""
    cells = 2 * np.asarray(side, np.int64) + np.asarray(label, np.int64)
    return np.bincount(cells, minlength=4).reshape(2, 2)


def linear_separability(
    latents: np.ndarray, logits: np.ndarray, *, keep: int | None = None, c: float = C
) -> Separability:
    """Separability of attributes in a latent space.

    Args:
      latents: (N, d) z, or w (of w broadcast to layers: one of them).
      logits: (N, A) or (N,) real, of binary attributes of the generated images; 0 and above is yes.
      keep: samples kept for each attribute, the surest; None keeps half.
      c: see `fit_linear_svm`.

    Returns:
      See `Separability`. Memory is one float64 copy of the kept latents.

    Raises:
      UserError: unlike numbers of rows, values that are not finite, or keep outside 2..N.
    """
    latents, logits = np.asarray(latents), np.asarray(logits)
    logits = logits[:, None] if logits.ndim == 1 else logits
    if latents.ndim != 2 or logits.ndim != 2 or len(latents) != len(logits):
        raise UserError(
            f"latents of shape {latents.shape} and logits of shape {logits.shape}: expected (N, d) "
            "and (N, attributes), row by row of the same images"
        )
    if not (np.isfinite(latents).all() and np.isfinite(logits).all()):
        raise UserError("latents or logits hold NaN or infinity")
    keep = len(latents) // 2 if keep is None else keep
    if not 2 <= keep <= len(latents):
        raise UserError(f"keep={keep}: expected 2 to {len(latents)}, the number of samples")
    tables, one_sided = [], []
    for attribute in logits.T:
        rows = most_confident(attribute, keep)
        label = attribute[rows] >= 0
        one_sided.append(bool(label.all() or not label.any()))
        if one_sided[-1]:
            side = label
        else:
            x = latents[rows].astype(np.float64)
            w = fit_linear_svm(x, label, c=c)
            side = x @ w[:-1] + w[-1] > 0
        tables.append(joint_table(side, label))
    entropies = conditional_entropy(np.stack(tables))
    return Separability(
        separability_score(entropies), entropies, np.stack(tables), np.array(one_sided), keep
    )
