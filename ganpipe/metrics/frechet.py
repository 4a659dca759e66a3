"""Frechet distance between two sets of features: features -> statistics -> score, each alone.

    d^2 = |mu1 - mu2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)

(Heusel et al. 2017, eq. 6; in natural units, no square root at the end.) Covariances use ddof 1, as
TTUR, pytorch-fid, clean-fid and torch-fidelity do, and everything is float64. The number is called
FID only when the features come from the published Inception weights; here it is
"Frechet distance" together with the name of the feature extractor.

The trace term needs no matrix square root. Two exact ways:

* full rank: with C1 = L L^T (Cholesky), C1 C2 has the eigenvalues of the symmetric L^T C2 L, so the
  trace is the sum of their square roots: one eigenvalue problem without vectors;
* any rank: with factors C1 = A1 A1^T and C2 = A2 A2^T it is the sum of the singular values of
  A1^T A2. Factors of rank-deficient covariances are simply thinner, so no `eps` has to be added to
  a diagonal and no noise eigenvalue adds its square root.

The first takes half the time but squares the spectrum: an eigenvalue q has a rounding error of
about e = eps |C1| |C2| (spectral norms), so its root has e / (2 sqrt q), or sqrt e where q is below
e. The signs of these being random, their root of the sum of squares is an upper estimate of the
error: measured errors are at most 0.31 of it (features graded by variance in rising order; 1e-2 and
less in a random basis; d 256 and 512, conditions 1e-1 to 1e-12). It is known once the eigenvalues
are; where it exceeds 1e-11 of the traces the second way is taken, with Cholesky factors where it
can. Its errors stay near 1e-16 of the traces, whatever the condition.

Two identical sets give 0 up to rounding (about -1e-13); negatives are reported as they are.
"""

import numpy as np
from scipy import linalg
from scipy.linalg import blas

# Accepted error of the trace term by Cholesky, relative to tr C1 + tr C2 (see above).
_ACCEPTED = 1e-11

# Steps of power iteration for a norm that only has to be right within some per cent.
_NORM_STEPS = 8

# Values of a set that is copied whole to float64 (512 MiB); larger ones are streamed.
_WHOLE_VALUES = 2**26

# Rows that are summed in one go. Fixed, so that how a caller cuts features into batches cannot
# change the order of a single addition.
_BLOCK_ROWS = 1024


def _checked_ddof(ddof: int) -> int:
    if ddof not in (0, 1):
        raise ValueError(f"ddof is {ddof!r}, expected 0 or 1")
    return int(ddof)


class GaussianStatistics:
    """Streaming mean and covariance in float64 with memory for one block and one (d, d) matrix.

    Sums are taken about the first row (a fixed shift), which keeps features with a large common
    offset accurate, and in blocks of fixed size: the result is the same bit for bit whatever the
    batch sizes are.

    Args:
      dim: number of features d.
      ddof: the covariance divides by count - ddof. 1 as in pytorch-fid, torch-fidelity, clean-fid;
        0 as in StyleGAN2-ADA and StyleGAN3.

    Raises:
      ValueError: ddof is neither 0 nor 1.
    """

    def __init__(self, dim: int, ddof: int = 1):
        self.dim = int(dim)
        self.ddof = _checked_ddof(ddof)
        self._shift: np.ndarray | None = None
        self._count = 0
        self._sum = np.zeros(self.dim)
        self._outer = np.zeros((self.dim, self.dim))
        self._pending = np.empty((_BLOCK_ROWS, self.dim))
        self._filled = 0

    @classmethod
    def of(cls, features: np.ndarray, ddof: int = 1) -> "GaussianStatistics":
        """Statistics of one (N, d) array."""
        features = np.asarray(features)
        return cls(features.shape[-1], ddof).update(features)

    def update(self, features: np.ndarray) -> "GaussianStatistics":
        """Adds rows.

        Args:
          features: (B, d), any real dtype; converted to float64 before any sum.

        Returns:
          self, so that calls can be chained.

        Raises:
          ValueError: another shape than (B, d), or a value that is not finite.
        """
        rows = np.asarray(features)
        if rows.ndim != 2 or rows.shape[1] != self.dim:
            raise ValueError(f"features have shape {rows.shape}, expected (rows, {self.dim})")
        for i in range(0, len(rows), _BLOCK_ROWS):
            _require_finite(rows[i : i + _BLOCK_ROWS])
        if self._shift is None and len(rows):
            self._shift = rows[0].astype(np.float64)
        while len(rows):
            taken = min(len(rows), _BLOCK_ROWS - self._filled)
            # Converted block by block: a float64 copy of a whole set would not be flat memory.
            place = self._pending[self._filled : self._filled + taken]
            np.subtract(rows[:taken], self._shift, out=place)
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
        """(d, d) float64 covariance, exactly symmetric. ValueError with fewer than two rows."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 rows, found {self.count}")
        rest = self._pending[: self._filled]
        total = self._sum + rest.sum(axis=0)
        outer = self._outer + rest.T @ rest
        outer -= np.outer(total, total / self.count)
        outer /= self.count - self.ddof
        return (outer + outer.T) / 2


def _require_finite(rows: np.ndarray) -> None:
    if not np.isfinite(rows).all():
        raise ValueError("features hold NaN or infinity: the images or the extractor are broken")


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


def _lower_congruence(L: np.ndarray, C: np.ndarray) -> np.ndarray:
    """L^T C L for lower triangular L and symmetric C; half the operations of full products."""
    half = blas.dtrmm(1.0, L, C, side=1, lower=1)
    return blas.dtrmm(1.0, L, half, side=0, lower=1, trans_a=1, overwrite_b=1)


def _spectral_norm(C: np.ndarray) -> float:
    """|C| of a covariance by a few steps of power iteration: from below, within some per cent."""
    x = np.abs(C).sum(axis=1)
    norm = 0.0
    for _ in range(_NORM_STEPS):
        length = float(np.linalg.norm(x))
        if not length:
            return 0.0
        x = C @ (x / length)
        norm = float(np.linalg.norm(x))
    return norm


def _cholesky(cov: np.ndarray) -> np.ndarray | None:
    """The Cholesky factor, or None of a matrix that is numerically singular."""
    try:
        L = linalg.cholesky(cov, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return None
    pivots = np.diagonal(L) ** 2
    return None if pivots.min() <= len(cov) * np.finfo(np.float64).eps * pivots.max() else L


def _cross_trace_by_cholesky(
    C1: np.ndarray, C2: np.ndarray, L1: np.ndarray, L2: np.ndarray
) -> float | None:
    """tr (C1 C2)^(1/2) by eigenvalues of L1^T C2 L1, or None where its rounding error would show.

    L1 and L2 are the Cholesky factors of C1 and C2.
    """
    eps, d = np.finfo(np.float64).eps, len(C1)
    error = eps * _spectral_norm(C1) * _spectral_norm(C2)  # of one eigenvalue
    accepted = _ACCEPTED * (np.trace(C1) + np.trace(C2))
    # The pivots give the product of the eigenvalues. Of all spectra with this product that of equal
    # eigenvalues has the least error; where that is too large the costly part is spared.
    mean_log = 2 * np.mean(np.log(np.diagonal(L1)) + np.log(np.diagonal(L2)))
    if np.sqrt(d) * error > accepted * 2 * np.exp(mean_log / 2):
        return None
    values = np.linalg.eigvalsh(_lower_congruence(L1, C2), UPLO="L")
    roots = np.sqrt(np.maximum(values, 0))
    of_roots = error / np.maximum(2 * roots, np.sqrt(error)) if error else 0 * roots
    estimate = np.sqrt(np.sum(of_roots**2))
    return float(roots.sum()) if estimate <= accepted else None


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
    L1, L2 = _cholesky(cov1), _cholesky(cov2)
    both = L1 is not None and L2 is not None
    cross = _cross_trace_by_cholesky(cov1, cov2, L1, L2) if both else None
    if cross is None:
        A1, A2 = (covariance_factor(c) if f is None else f for c, f in ((cov1, L1), (cov2, L2)))
        cross = _cross_trace(A1, A2)
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * cross)


def _statistics(features: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """(d,) mean and (d, d) covariance of a set at hand: one symmetric product where it fits."""
    if features.size > _WHOLE_VALUES:
        statistics = GaussianStatistics.of(features, ddof)
        return statistics.mean, statistics.cov
    _require_finite(features)
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    lower = blas.dsyrk(1.0 / (len(rows) - ddof), rows.T, lower=1)
    return mean, np.tril(lower) + np.tril(lower, -1).T


def _centred_factor(features: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) of N rows and (d, N) factor of their covariance: the centred rows themselves."""
    _require_finite(features)
    rows = features.astype(np.float64)
    mean = rows.mean(axis=0)
    rows -= mean
    return mean, rows.T / np.sqrt(len(rows) - ddof)


def _check_sets(counts: tuple[int, ...]) -> None:
    if min(counts) < 2:
        raise ValueError(f"each set needs at least 2 rows, found {' and '.join(map(str, counts))}")


def frechet_to_reference(
    features: np.ndarray, mu: np.ndarray, cov: np.ndarray, *, ddof: int = 1
) -> float:
    """Frechet distance of features to a Gaussian, for instance to cached statistics.

    Args:
      features: (N, d), any real dtype, N >= 2. With N <= d the low-rank form is used.
      mu: (d,) mean of the reference.
      cov: (d, d) covariance of the reference.
      ddof: 1 or 0, for the covariance of `features`.

    Returns:
      As `frechet_distance`.

    Raises:
      ValueError: other shapes, fewer than two rows, values that are not finite.
    """
    x, mu = np.asarray(features), np.asarray(mu, np.float64)
    cov = np.asarray(cov, np.float64)
    if x.ndim != 2 or mu.shape != x.shape[1:] or cov.shape != mu.shape * 2:
        raise ValueError(
            f"features {x.shape} do not fit a mean {mu.shape} and a covariance {cov.shape}"
        )
    _check_sets((len(x),))
    _checked_ddof(ddof)
    if len(x) > x.shape[1]:
        return frechet_distance(*_statistics(x, ddof), mu, cov)
    mean, A = _centred_factor(x, ddof)
    cross = _cross_trace(A, _any_factor(cov))
    return float(np.sum((mean - mu) ** 2) + np.sum(A * A) + np.trace(cov) - 2 * cross)


def _any_factor(cov: np.ndarray) -> np.ndarray:
    """A factor of `cov`: Cholesky where it is well conditioned, being cheaper, else by eigenvalues.

    The spectrum is not squared on this way, so the pivots alone decide.
    """
    L = _cholesky(cov)
    return covariance_factor(cov) if L is None else L


def frechet_from_features(features1: np.ndarray, features2: np.ndarray, *, ddof: int = 1) -> float:
    """Frechet distance straight from features; exact and cheap also with fewer rows than dims.

    A set with N <= d rows is used through its centred rows (a (d, N) factor of its covariance), so
    no (d, d) matrix of rank N - 1 is ever decomposed.

    Args:
      features1: (N, d) features, any real dtype, N >= 2.
      features2: (M, d) features, M >= 2.
      ddof: 1 or 0 (StyleGAN2-ADA), for both covariances.

    Returns:
      As `frechet_distance` of the two sets' means and covariances, float64 throughout.

    Raises:
      ValueError: other shapes, fewer than two rows, values that are not finite.
    """
    x, y = np.asarray(features1), np.asarray(features2)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"feature sets of shapes {x.shape} and {y.shape} cannot be compared")
    _check_sets((len(x), len(y)))
    _checked_ddof(ddof)
    if len(y) > y.shape[1]:
        return frechet_to_reference(x, *_statistics(y, ddof), ddof=ddof)
    if len(x) > x.shape[1]:
        return frechet_to_reference(y, *_statistics(x, ddof), ddof=ddof)
    mu1, A1 = _centred_factor(x, ddof)
    mu2, A2 = _centred_factor(y, ddof)
    traces = np.sum(A1 * A1) + np.sum(A2 * A2)
    return float(np.sum((mu1 - mu2) ** 2) + traces - 2 * _cross_trace(A1, A2))
