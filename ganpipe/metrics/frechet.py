"""Frechet distance between two sets of features: features -> statistics -> score, each alone.

    d^2 = |mu1 - mu2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2)

(Heusel et al. 2017, eq. 6; in natural units, no square root at the end.) Covariances use ddof 1, as
TTUR, pytorch-fid, clean-fid and torch-fidelity do, and everything is float64. The number is called
FID only when the features come from the published Inception weights; here it is
"Frechet distance" together with the name of the feature extractor.

The trace term needs no matrix square root; see `frechet_trace`. TF-GAN's cheaper variants, of means
alone and of diagonals, are in `frechet_variants`.

Two identical sets give 0 up to rounding (about -1e-13); negatives are reported as they are.
"""

import numpy as np

from ganpipe.metrics import frechet_trace

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
        self._outer = np.zeros((self.dim, self.dim), order="F")  # its lower triangle
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
                self._outer = frechet_trace.lower_product(self._pending, 1.0, self._outer)
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
        lower = frechet_trace.lower_product(rest, 1.0, self._outer.copy(order="F"))
        lower -= np.outer(total, total / self.count)
        lower /= self.count - self.ddof
        return frechet_trace.mirrored(lower)


def _require_finite(rows: np.ndarray) -> None:
    if not np.isfinite(rows).all():
        raise ValueError("features hold NaN or infinity: the images or the extractor are broken")


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
    return _distance(mu1, _lapack_order(cov1), mu2, _lapack_order(cov2))


def _lapack_order(cov: np.ndarray) -> np.ndarray:
    """A symmetric matrix in Fortran order, without a copy where it lies in C order."""
    return cov if cov.flags.f_contiguous else cov.T


def _distance(mu1: np.ndarray, cov1: np.ndarray, mu2: np.ndarray, cov2: np.ndarray) -> float:
    """As `frechet_distance`, of covariances whose lower triangles are read."""
    cross = frechet_trace.cross_trace(cov1, cov2)
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * cross)


def _statistics(features: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """(d,) mean and the lower triangle of the (d, d) covariance of a set at hand.

    In two passes, the second by blocks: a float64 copy of the set would not be flat memory.
    """
    for i in range(0, len(features), _BLOCK_ROWS):
        _require_finite(features[i : i + _BLOCK_ROWS])
    mean = features.mean(axis=0, dtype=np.float64)
    block = np.empty((min(len(features), _BLOCK_ROWS), len(mean)))
    lower = np.zeros((len(mean), len(mean)), order="F")
    for i in range(0, len(features), _BLOCK_ROWS):
        rows = features[i : i + _BLOCK_ROWS]
        centred = np.subtract(rows, mean, out=block[: len(rows)])
        lower = frechet_trace.lower_product(centred, 1.0 / (len(features) - ddof), lower)
    return mean, lower


def _centred(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and centred rows (N, d), float64."""
    _require_finite(features)
    mean = features.mean(axis=0, dtype=np.float64)
    return mean, np.subtract(features, mean, out=np.empty(features.shape))


def _centred_factor(features: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) of N rows and (d, N) factor of their covariance: the centred rows themselves."""
    mean, rows = _centred(features)
    rows /= np.sqrt(len(rows) - ddof)
    return mean, rows.T


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
    return _to_triangle(x, mu, _lapack_order(cov), ddof)


def _to_triangle(x: np.ndarray, mu: np.ndarray, cov: np.ndarray, ddof: int) -> float:
    """As `frechet_to_reference`, of a covariance whose lower triangle is read."""
    if len(x) > x.shape[1]:
        return _distance(*_statistics(x, ddof), mu, cov)
    mean, A = _centred_factor(x, ddof)
    cross = frechet_trace.nuclear_norm(A, frechet_trace.any_factor(cov))
    return float(np.sum((mean - mu) ** 2) + np.sum(A * A) + np.trace(cov) - 2 * cross)


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
        return _to_triangle(x, *_statistics(y, ddof), ddof)
    if len(x) > x.shape[1]:
        return _to_triangle(y, *_statistics(x, ddof), ddof)
    mu1, A1 = _centred_factor(x, ddof)
    mu2, A2 = _centred_factor(y, ddof)
    traces = np.sum(A1 * A1) + np.sum(A2 * A2)
    return float(np.sum((mu1 - mu2) ** 2) + traces - 2 * frechet_trace.nuclear_norm(A1, A2))
