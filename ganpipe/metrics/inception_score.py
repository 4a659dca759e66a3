"""Inception Score and Mode Score of class logits.

    IS = exp(E_x KL(p(y|x) || p(y)))               (Salimans et al. 2016, sec. 4), x generated
    MS = exp(E_x KL(p(y|x) || p_g(y)) - KL(p_g(y) || p_r(y)))      (Che et al. 2017, sec. 4.2)

Called IS only with the logits of the published Inception network (and, as improved-gan and
torch-fidelity do, without the bias of its last layer). Computed in float64 from log-softmax, so a
probability that underflows costs nothing, and in blocks of rows: with the negative entropies

    E_x KL(p(y|x) || p(y)) = E_x sum_y p(y|x) log p(y|x) - sum_y p(y) log p(y)

one pass over the logits is enough.
"""

import itertools

import numpy as np

from ganpipe.errors import UserError

SPLITS = 10
SHUFFLE_SEED = 2020  # torch-fidelity's default

_BLOCK_ROWS = 1024


def _checked(logits: np.ndarray, name: str = "logits") -> np.ndarray:
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"{name} have shape {logits.shape}, expected (images, 2 or more classes)")
    if not len(logits):
        raise UserError(f"{name} are empty: a score needs at least 1 image; raise --num")
    if not np.isfinite(logits).all():
        raise UserError(f"{name} hold NaN or infinity: the images or the classifier are broken")
    return logits


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=1, keepdims=True))
    return x


def _moments(logits: np.ndarray) -> tuple[float, np.ndarray]:
    """E_x sum_y p log p, and log p(y) (C,). In logarithms: p(y) may be below the least float."""
    plogp = 0.0
    highest = np.full(logits.shape[1], -np.inf)
    total = np.zeros(logits.shape[1])  # of p / exp(highest)
    for i in range(0, len(logits), _BLOCK_ROWS):
        log_p = _log_softmax(logits[i : i + _BLOCK_ROWS])
        plogp += float(np.sum(np.exp(log_p) * log_p))
        higher = np.maximum(highest, log_p.max(axis=0))
        total = total * np.exp(highest - higher) + np.exp(log_p - higher).sum(axis=0)
        highest = higher
    return plogp / len(logits), highest + np.log(total / len(logits))


def _log_score(logits: np.ndarray) -> float:
    plogp, log_marginal = _moments(logits)
    return plogp - float(np.sum(np.exp(log_marginal) * log_marginal))


def inception_score(
    logits: np.ndarray, *, splits: int = SPLITS, shuffle_seed: int | None = None
) -> tuple[float, float]:
    """Inception Score: mean and spread over splits.

    Args:
      logits: (N, C) of generated images, any real dtype; unnormalised log-probabilities.
      splits: number of splits; split i holds rows i*N//splits to (i+1)*N//splits.
      shuffle_seed: rows are first put into the order `RandomState(seed).permutation(N)`. None keeps
        their order, as improved-gan does; torch-fidelity shuffles with 2020 (`SHUFFLE_SEED`).

    Returns:
      (mean, std) over the splits, std with ddof 0. From 1 (all alike) to C; higher is better.

    Raises:
      UserError: fewer rows than splits, no row, NaN or infinity.
      ValueError: another shape.
    """
    logits = _checked(logits)
    count = len(logits)
    if not 1 <= splits <= count:
        raise UserError(
            f"an inception score over {splits} split(s) cannot be taken of {count} images: raise "
            "--num, or use from 1 to as many splits as images"
        )
    if shuffle_seed is not None:
        logits = logits[np.random.RandomState(shuffle_seed).permutation(count)]
    bounds = [i * count // splits for i in range(splits + 1)]
    scores = np.exp([_log_score(logits[a:b]) for a, b in itertools.pairwise(bounds)])
    return float(scores.mean()), float(scores.std())


def mode_score(fake_logits: np.ndarray, real_logits: np.ndarray) -> float:
    """Mode Score: the Inception Score, less the distance of the fakes' classes from the reals'.

    Args:
      fake_logits: (N, C) of generated images.
      real_logits: (M, C) of real images.

    Returns:
      exp(E KL(p(y|x) || p_g) - KL(p_g || p_r)); equals the Inception Score with one split where
      both sets have the same mean probabilities. (GAN-Metrics' driver passes the sets in the
      opposite order.)

    Raises:
      UserError: no row, NaN or infinity.
      ValueError: other shapes.
    """
    fake = _checked(fake_logits, "fake_logits")
    real = _checked(real_logits, "real_logits")
    if fake.shape[1] != real.shape[1]:
        raise ValueError(f"logits of {fake.shape[1]} and {real.shape[1]} classes: not comparable")
    plogp, log_fake = _moments(fake)
    _, log_real = _moments(real)
    divergence = float(np.sum(np.exp(log_fake) * (log_fake - log_real)))
    return float(np.exp(plogp - np.sum(np.exp(log_fake) * log_fake) - divergence))
