"""How well one number tells attacked images from clean ones (Defense-GAN, section 4.3)."""

import numpy as np

from ganpipe.errors import UserError


def roc_auc(clean: np.ndarray, attacked: np.ndarray) -> float:
    """Area under the ROC curve of "a higher score means attacked".

    The probability that an attacked image scores higher than a clean one, ties counted half
    (Mann-Whitney's U over n m), from the ranks of all scores.

    Args:
      clean: (n,) scores of clean images, for example reconstruction errors.
      attacked: (m,) scores of attacked images.

    Raises:
      UserError: no scores, or scores that are not numbers.
    """
    clean, attacked = np.asarray(clean, np.float64), np.asarray(attacked, np.float64)
    scores = np.concatenate([clean, attacked])
    if not len(clean) or not len(attacked) or np.isnan(scores).any():
        raise UserError(
            f"ROC: {len(clean)} clean and {len(attacked)} attacked scores, of them "
            f"{int(np.isnan(scores).sum())} not a number; expected some of each, all finite."
        )
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Equal scores share the mean of the ranks 1..N that they occupy.
    ranks = (np.cumsum(counts) - 0.5 * (counts - 1))[inverse]
    above = ranks[len(clean) :].sum() - 0.5 * len(attacked) * (len(attacked) + 1)
    return float(above / (len(clean) * len(attacked)))


def threshold(clean: np.ndarray, false_positive_rate: float) -> float:
    """The least clean score that at most that share of clean images lies above.

    Args:
      clean: (n,) scores of clean images.
      false_positive_rate: in [0, 1); of 1,000 scores and 0.001 the second highest is returned.
    """
    ordered = np.sort(np.asarray(clean, np.float64))[::-1]
    return float(ordered[int(false_positive_rate * len(ordered))])
