"""TF-GAN's two cheap relatives of the Frechet distance: means alone, and diagonal covariances.

* `mean_only`: |mu1 - mu2|^2, what is left when both covariances are equal.
* `diagonal`: features taken as independent, |mu1 - mu2|^2 + sum_i (s1_i - s2_i)^2 with the standard
  deviations s. It needs no (d, d) matrix, so it also works where d is beyond all memory.

Neither is the Frechet distance and neither may be called FID; for diagonal covariances `diagonal`
equals it, and both are lower bounds of it. TF-GAN divides these variances by the count (ddof 0), so
that is the default here, unlike in `frechet`.
"""

import numpy as np

from ganpipe.metrics.frechet import _check_sets, _checked_ddof, _require_finite


def mean_only(features1: np.ndarray, features2: np.ndarray) -> float:
    """Squared distance of the means.

    Args:
      features1: (N, d), any real dtype, N >= 1.
      features2: (M, d), M >= 1.

    Raises:
      ValueError: other shapes, an empty set, values that are not finite.
    """
    x, y = _checked(features1, features2)
    if not (len(x) and len(y)):
        raise ValueError(f"each set needs at least 1 row, found {len(x)} and {len(y)}")
    difference = x.mean(axis=0, dtype=np.float64) - y.mean(axis=0, dtype=np.float64)
    return float(difference @ difference)


def diagonal(features1: np.ndarray, features2: np.ndarray, *, ddof: int = 0) -> float:
    """Frechet distance of Gaussians with the sets' means and variances and no correlations.

    Args:
      features1: (N, d), any real dtype, N >= 2.
      features2: (M, d), M >= 2.
      ddof: 0 as TF-GAN has it, or 1.

    Raises:
      ValueError: other shapes, fewer than two rows, values that are not finite, another ddof.
    """
    x, y = _checked(features1, features2)
    _check_sets((len(x), len(y)))
    _checked_ddof(ddof)
    spread = [features.std(axis=0, dtype=np.float64, ddof=ddof) for features in (x, y)]
    return mean_only(x, y) + float(np.sum((spread[0] - spread[1]) ** 2))


def _checked(features1: np.ndarray, features2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(features1), np.asarray(features2)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"feature sets of shapes {x.shape} and {y.shape} cannot be compared")
    for features in (x, y):
        _require_finite(features)
    return x, y
