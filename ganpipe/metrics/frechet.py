"""Frechet distance between two sets of features: features -> statistics -> score, each alone.

    d^2 = |mu1 - mu2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)

(Heusel et al. 2017, eq. 6; in natural units, no square root at the end.) Covariances use ddof 1, as
TTUR, pytorch-fid, clean-fid and torch-fidelity do, and everything is float64. The number is called
FID only when the features come from the published Inception weights; here it is
"Frechet distance" together with the name of the feature extractor.

The trace term needs no matrix square root: with any factors C1 = A1 A1^T and C2 = A2 A2^T,
tr (C1 C2)^(1/2) is the sum of the singular values of A1^T A2, because the non-zero eigenvalues of
C1 C2 are those of (A1^T A2)(A1^T A2)^T. Factors of rank-deficient covariances are simply thinner,
so no `eps` has to be added to a diagonal and no noise eigenvalue adds its square root.

Two identical sets give 0 up to rounding (about -1e-13); negatives are reported as they are.
"""

import numpy as np

# Rows that are summed in one go. Fixed, so that how a caller cuts features into batches cannot
# change the order of a single addition.
_BLOCK_ROWS = 1024


class GaussianStatistics:
    """Streaming mean and covariance in float64 with memory for one block and one (d, d) matrix.

    Sums are taken about the first row (a fixed shift), which keeps features with a large common
    offset accurate, and in blocks of fixed size: the result is the same bit for bit whatever the
    batch sizes are.

    Args:
      dim: number of features d.
    """

    def __init__(self, dim: int):
        self.dim = int(dim)
        self._shift: np.ndarray | None = None
        self._count = 0
        self._sum = np.zeros(self.dim)
        self._outer = np.zeros((self.dim, self.dim))
        self._pending = np.empty((_BLOCK_ROWS, self.dim))
        self._filled = 0

    @classmethod
    def of(cls, features: np.ndarray) -> "GaussianStatistics":
        """Statistics of one (N, d) array."""
        features = np.asarray(features)
        return cls(features.shape[-1]).update(features)

    def update(self, features: np.ndarray) -> "GaussianStatistics":
        """Adds rows.

        Args:
          features: (B, d), any real dtype; converted to float64 before any sum.

        Returns:
          self, so that calls can be chained.

        Raises:
          ValueError: another shape than (B, d), or a value that is not finite.
        """
        rows = np.asarray(features, np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"features have shape {rows.shape}, expected (rows, {self.dim})")
        if not np.isfinite(rows).all():
            raise ValueError(
                "features hold NaN or infinity: the images or the extractor are broken"
            )
        if self._shift is None and len(rows):
            self._shift = rows[0].copy()
        while len(rows):
            taken = min(len(rows), _BLOCK_ROWS - self._filled)
            self._pending[self._filled : self._filled + taken] = rows[:taken] - self._shift
            self._filled += taken
            rows = rows[taken:]
            if self._filled == _BLOCK_ROWS:
                self._sum += self._pending.sum(axis=0)
                self._outer += self._pending.T @ self._pending
                self._count += _BLOCK_ROWS
                self._filled = 0
        return self

    @property
    def count(self) -> int:
        """Rows seen so far."""
        return self._count + self._filled

    @property
    def mean(self) -> np.ndarray:
        """(d,) float64 mean. ValueError before the first row."""
        if not self.count:
            raise ValueError("no features yet: the mean of nothing is undefined")
        rest = self._pending[: self._filled]
        return self._shift + (self._sum + rest.sum(axis=0)) / self.count

    @property
    def cov(self) -> np.ndarray:
        """(d, d) float64 covariance with ddof 1. ValueError with fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 rows, found {self.count}")
        rest = self._pending[: self._filled]
        total = self._sum + rest.sum(axis=0)
        outer = self._outer + rest.T @ rest
        cov = (outer - np.outer(total, total / self.count)) / (self.count - 1)
        return (cov + cov.T) / 2


def covariance_factor(cov: np.ndarray) -> np.ndarray:
    """A (d, r) float64 factor A with A A^T = cov, r the numerical rank.

    Eigenvalues below d * eps * max are rounding noise of a rank-deficient matrix and are left out.

    Args:
      cov: (d, d) symmetric, positive semi-definite up to rounding.

    Raises:
      ValueError: an eigenvalue is clearly negative, so this is not a covariance.
    """
    values, vectors = np.linalg.eigh(np.asarray(cov, np.float64))
    noise = len(values) * np.finfo(np.float64).eps * max(np.abs(values).max(), 0.0)
    if values[0] < -1e3 * noise:
        raise ValueError(
            f"the matrix has the eigenvalue {values[0]:.3g}: not a covariance (none is negative)"
        )
    kept = values > noise
    return vectors[:, kept] * np.sqrt(values[kept])


def _cross_trace(A1: np.ndarray, A2: np.ndarray) -> float:
    """tr (C1 C2)^(1/2) from factors (d, r1) and (d, r2): the nuclear norm of A1^T A2."""
    if not A1.shape[1] or not A2.shape[1]:
        return 0.0
    return float(np.linalg.svd(A1.T @ A2, compute_uv=False).sum())


def frechet_distance(mu1: np.ndarray, cov1: np.ndarray, mu2: np.ndarray, cov2: np.ndarray) -> float:
    """Frechet distance between N(mu1, cov1) and N(mu2, cov2).

    Args:
      mu1, mu2: (d,) means.
      cov1, cov2: (d, d) covariances; may be singular.

    Returns:
      The squared distance d^2 in the units of the features squared. Not clipped at 0.

    Raises:
      ValueError: shapes that do not fit together, or a matrix that is not a covariance.
    """
    mu1, mu2 = np.asarray(mu1, np.float64), np.asarray(mu2, np.float64)
    cov1, cov2 = np.asarray(cov1, np.float64), np.asarray(cov2, np.float64)
    d = mu1.shape[0] if mu1.ndim == 1 else -1
    if mu2.shape != (d,) or cov1.shape != (d, d) or cov2.shape != (d, d):
        raise ValueError(
            f"shapes do not fit: means {mu1.shape} and {mu2.shape}, "
            f"covariances {cov1.shape} and {cov2.shape}"
        )
    cross = _cross_trace(covariance_factor(cov1), covariance_factor(cov2))
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * cross)


def _centred_factor(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and a factor of the covariance; the centred rows themselves when N <= d."""
    count, dim = features.shape
    if count > dim:
        statistics = GaussianStatistics.of(features)
        return statistics.mean, covariance_factor(statistics.cov)
    rows = features.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("features hold NaN or infinity: the images or extractor are broken")
    mean = rows.mean(axis=0)
    return mean, (rows - mean).T / np.sqrt(count - 1)


def frechet_from_features(features1: np.ndarray, features2: np.ndarray) -> float:
    """Frechet distance straight from features; exact and cheap also with fewer rows than dims.

    A set with N <= d rows is used through its centred rows (a (d, N) factor of its covariance), so
    no (d, d) matrix of rank N - 1 is ever built or decomposed.

    Args:
      features1: (N, d) features, any real dtype, N >= 2.
      features2: (M, d) features, M >= 2.

    Returns:
      As `frechet_distance` of the two sets' means and ddof-1 covariances.

    Raises:
      ValueError: other shapes, fewer than two rows, values that are not finite.
    """
    x, y = np.asarray(features1), np.asarray(features2)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"feature sets of shapes {x.shape} and {y.shape} cannot be compared")
    if min(len(x), len(y)) < 2:
        raise ValueError(f"each set needs at least 2 rows, found {len(x)} and {len(y)}")
    mu1, A1 = _centred_factor(x)
    mu2, A2 = _centred_factor(y)
    traces = np.sum(A1 * A1) + np.sum(A2 * A2)
    return float(np.sum((mu1 - mu2) ** 2) + traces - 2 * _cross_trace(A1, A2))
