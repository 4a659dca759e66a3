"""Number of statistically different bins, NDB: which regions does a generator visit wrongly often?

Richardson & Weiss 2018, "On GANs and GMMs" (arXiv 1805.12462), section 2. K-means on real samples
makes K bins; fakes fall into the bin of the nearest centre; a two-proportion z-test compares the
shares of each bin:

    z = (c_r / n_r - c_g / n_g) / sqrt(p (1 - p) (1 / n_r + 1 / n_g))
    p = (c_r + c_g) / (n_r + n_g)

A bin is different if the two-sided p-value is below 0.05. NDB is their number; NDB / K, in [0, 1],
is compared across K, and about 0.05 is what a second real set gets. JSD, in nats, between the two
histograms tells how much they differ and does not depend on a threshold. Both look at proportions
alone: a dropped mode shows, a slightly blurred one does not, a memorised set is perfect.

The paper works on pixels (vectors of images) with K = 100 to 200 and equally many samples of both
sets; features do as well. A p-value needs a few expected samples a bin: take 10 K fakes or more.
The test has more power with more samples, so NDB may be compared at equal counts only.

Whitening, as in the authors' program, shifts and scales every dimension on its own by the mean and
std of the reals. Their program clusters on d / 6 random dimensions if d > 1000; here all are used,
and large sets are clustered on a random sample of rows instead. The clustering is k-means++ with
several candidates a centre, then Lloyd's steps, from a seed: no library's version enters the score.
`bins_from_centres` takes the centres of any other clustering.
"""

import math
from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics.modes import js_divergence

NUM_BINS = 100
SIGNIFICANCE = 0.05

# Rows a bin that the clustering looks at: the authors' advice.
_FIT_ROWS_PER_BIN = 500
_BLOCK_ELEMENTS = 1 << 21  # Of rows, or of their distances, held in float64 at a time: 16 MB.
_STD_FLOOR = 1e-6


@dataclass(frozen=True)
class Bins:
    """A partition of feature space by real samples.

    Attributes:
      centres: (K, d) float64, in shifted and scaled units, the fullest bin first.
      shift: (d,) subtracted from every sample; the mean of the reals, or 0.
      scale: (d,) then divided by; the std of the reals + 1e-6, or 1.
      counts: (K,) int64 real samples a bin.
    """

    centres: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    counts: np.ndarray

    def assign(self, features: np.ndarray) -> np.ndarray:
        """(N, d) features -> (N,) int64 bins.

        Raises:
          UserError: another number of features, or values that are not finite.
        """
        features = _checked("features", features, self.centres.shape[1])
        return _nearest(features, self.centres, self.shift, self.scale)[0]


@dataclass(frozen=True)
class DifferentBins:
    """NDB and what it is made of.

    Attributes:
      ndb: number of bins whose shares differ significantly.
      share: ndb / K in [0, 1].
      jsd: Jensen-Shannon divergence between the histograms in nats, in [0, log 2].
      z: (K,) test statistics; positive where real samples are more frequent.
      p_values: (K,) two-sided.
      real: (K,) shares of the real samples.
      fake: (K,) shares of the generated samples.
      real_count: number of real samples.
      fake_count: number of generated samples.
    """

    ndb: int
    share: float
    jsd: float
    z: np.ndarray
    p_values: np.ndarray
    real: np.ndarray
    fake: np.ndarray
    real_count: int
    fake_count: int


def _checked(name: str, features: np.ndarray, dim: int | None = None) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2 or not features.size or dim not in (None, features.shape[1]):
        wanted = "d" if dim is None else dim
        raise UserError(f"{name} have shape {features.shape}, expected (N, {wanted}) with N >= 1")
    if not np.isfinite(features).all():
        raise UserError(f"{name} hold NaN or infinity: the images or the extractor are broken")
    return features


def _nearest(
    rows: np.ndarray,
    centres: np.ndarray,
    shift: np.ndarray | float = 0.0,
    scale: np.ndarray | float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centres (N,) of (rows - shift) / scale, squared distances (N,); in blocks."""
    labels, squares = np.empty(len(rows), np.int64), np.empty(len(rows))
    # About the centres' mean: inner products keep their digits far from the origin.
    middle = centres.mean(axis=0)
    centres = centres - middle
    norms = np.einsum("kd,kd->k", centres, centres)
    block = max(1, _BLOCK_ELEMENTS // max(centres.shape))
    for start in range(0, len(rows), block):
        part = (rows[start : start + block].astype(np.float64) - shift) / scale - middle
        # |x|^2 is the same for every centre: it decides nothing.
        distances = norms - 2 * (part @ centres.T)
        best = distances.argmin(axis=1)
        labels[start : start + block] = best
        own = np.take_along_axis(distances, best[:, None], axis=1)[:, 0]
        squares[start : start + block] = own + np.einsum("nd,nd->n", part, part)
    return labels, np.maximum(squares, 0.0)


def _first_centres(rows: np.ndarray, count: int, rng: np.random.RandomState) -> np.ndarray:
    """k-means++ (Arthur & Vassilvitskii 2007): the best of a few candidates for each centre."""
    candidates = 2 + int(math.log(count))
    norms = np.einsum("nd,nd->n", rows, rows)
    # Below its own rounding an expanded square is 0: a repeated row must not be drawn twice.
    rounding = 8 * np.finfo(rows.dtype).eps * rows.shape[1]

    def squares(chosen: np.ndarray) -> np.ndarray:
        sums = norms + norms[chosen][:, None]
        found = sums - 2 * (rows[chosen] @ rows.T)
        return np.where(found > rounding * sums, found, 0.0).astype(np.float64)

    chosen = [int(rng.randint(len(rows)))]
    closest = squares(np.array(chosen))[0]
    while len(chosen) < count:
        cumulative = np.cumsum(closest)
        if not cumulative[-1] > 0:
            raise UserError(
                f"the real features hold only {len(chosen)} distinct rows, which cannot make "
                f"{count} bins: the features are constant or repeated; lower num_bins"
            )
        drawn = np.searchsorted(cumulative, rng.random_sample(candidates) * cumulative[-1])
        drawn = np.minimum(drawn, len(rows) - 1)
        options = np.minimum(closest, squares(drawn))
        best = int(options.sum(axis=1).argmin())
        chosen.append(int(drawn[best]))
        closest = options[best]
    return rows[chosen].astype(np.float64)


def k_means(features: np.ndarray, count: int, *, seed: int = 0, max_steps: int = 100) -> np.ndarray:
    """(count, d) float64 centres of (N, d) features; no cluster is empty.

    Args:
      features: finite rows, N >= count; kept in float32 unless they are float64.
      count: number of clusters.
      seed: of the first centres.
      max_steps: Lloyd's steps at most; they end when no row changes its cluster.

    Raises:
      UserError: fewer distinct rows than clusters.
    """
    dtype = np.float64 if features.dtype == np.float64 else np.float32
    mean = features.mean(axis=0, dtype=np.float64)
    rows = (features - mean).astype(dtype)
    centres = _first_centres(rows, count, np.random.RandomState(seed))
    before = None
    for _ in range(max_steps):
        labels, squares = _nearest(rows, centres)
        sizes = np.bincount(labels, minlength=count)
        for empty in np.flatnonzero(sizes == 0):
            # A centre without rows takes the worst served one.
            far = int(np.where(sizes[labels] > 1, squares, -1.0).argmax())
            sizes[labels[far]] -= 1
            labels[far], squares[far], sizes[empty] = empty, 0.0, 1
        if before is not None and np.array_equal(labels, before):
            break
        before = labels
        members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
        centres = np.stack([rows[i].mean(axis=0, dtype=np.float64) for i in members])
    return centres + mean


def bins_from_centres(
    real: np.ndarray,
    centres: np.ndarray,
    *,
    shift: np.ndarray | None = None,
    scale: np.ndarray | None = None,
) -> Bins:
    """Bins around given centres (of any clustering), filled with the real samples.

    Args:
      real: (N, d) real features.
      centres: (K, d), in the units of (real - shift) / scale.
      shift, scale: (d,); None for 0 and 1.

    Raises:
      UserError: unlike numbers of features or values that are not finite.
    """
    centres = _checked("centres", centres)
    dim = centres.shape[1]
    shift = np.zeros(dim) if shift is None else np.asarray(shift, np.float64)
    scale = np.ones(dim) if scale is None else np.asarray(scale, np.float64)
    real = _checked("real features", real, dim)
    counts = np.bincount(_nearest(real, centres, shift, scale)[0], minlength=len(centres))
    order = np.argsort(-counts, kind="stable")
    return Bins(centres[order], shift, scale, counts[order])


def fit_bins(
    real: np.ndarray, *, num_bins: int = NUM_BINS, whiten: bool = False, seed: int = 0
) -> Bins:
    """Clusters real samples into bins.

    Args:
      real: (N, d) real features, or images as vectors.
      num_bins: K.
      whiten: shift and scale every dimension by the mean and std of the reals.
      seed: of the clustering.

    Raises:
      UserError: fewer (distinct) samples than bins, or values that are not finite.
    """
    real = _checked("real features", real)
    if num_bins < 2 or len(real) < num_bins:
        raise UserError(
            f"{num_bins} bins need at least 2 and as many real samples, found {len(real)}: lower "
            "num_bins or give more samples (the authors advise hundreds a bin)"
        )
    shift, scale = np.zeros(real.shape[1]), np.ones(real.shape[1])
    if whiten:
        shift = real.mean(axis=0, dtype=np.float64)
        scale = real.std(axis=0, dtype=np.float64) + _STD_FLOOR
    rows, limit = real, _FIT_ROWS_PER_BIN * num_bins
    if len(rows) > limit:
        chosen = np.random.RandomState(seed).permutation(len(rows))[:limit]
        rows = rows[np.sort(chosen)]
    if whiten:
        dtype = np.float64 if real.dtype == np.float64 else np.float32
        rows = ((rows - shift) / scale).astype(dtype)
    centres = k_means(rows, num_bins, seed=seed)
    return bins_from_centres(real, centres, shift=shift, scale=scale)


def two_proportion_test(
    counts1: np.ndarray, total1: int, counts2: np.ndarray, total2: int
) -> tuple[np.ndarray, np.ndarray]:
    """Two-sided z-test with pooled variance, bin by bin.

    Args:
      counts1: (K,) samples of the first set in each bin.
      total1: size of the first set.
      counts2: (K,), of the second set.
      total2: its size.

    Returns:
      z (K,), positive where the first share is larger, and p-values (K,). A bin with no sample of
      either set, or all of both, is no evidence: z 0, p 1.
    """
    counts1, counts2 = np.asarray(counts1, np.float64), np.asarray(counts2, np.float64)
    pooled = (counts1 + counts2) / (total1 + total2)
    error = np.sqrt(pooled * (1 - pooled) * (1 / total1 + 1 / total2))
    gap = counts1 / total1 - counts2 / total2
    z = np.divide(gap, error, out=np.zeros_like(gap), where=error > 0)
    # 2 Phi(-|z|) = erfc(|z| / sqrt 2)
    return z, np.array([math.erfc(abs(v) / math.sqrt(2)) for v in z])


def different_bins(
    real_counts: np.ndarray, fake_counts: np.ndarray, *, significance: float = SIGNIFICANCE
) -> DifferentBins:
    """NDB of two histograms over the same bins.

    Args:
      real_counts: (K,) samples a bin.
      fake_counts: (K,).
      significance: a bin is different if its p-value is below.

    Raises:
      UserError: a set without samples, or a significance outside (0, 1).
      ValueError: unlike shapes.
    """
    real_counts, fake_counts = np.asarray(real_counts), np.asarray(fake_counts)
    if real_counts.shape != fake_counts.shape or real_counts.ndim != 1:
        raise ValueError(f"histograms of shapes {real_counts.shape} and {fake_counts.shape}")
    real_total, fake_total = int(real_counts.sum()), int(fake_counts.sum())
    if min(real_total, fake_total) < 1 or not 0 < significance < 1:
        raise UserError(
            f"{real_total} real and {fake_total} generated samples at significance {significance}: "
            "expected samples of both and a level in (0, 1)"
        )
    z, p_values = two_proportion_test(real_counts, real_total, fake_counts, fake_total)
    ndb = int((p_values < significance).sum())
    real, fake = real_counts / real_total, fake_counts / fake_total
    return DifferentBins(
        ndb,
        ndb / len(z),
        js_divergence(real, fake),
        z,
        p_values,
        real,
        fake,
        real_total,
        fake_total,
    )


def ndb(bins: Bins, fake: np.ndarray, *, significance: float = SIGNIFICANCE) -> DifferentBins:
    """NDB of generated samples against fitted bins.

    Args:
      bins: of the real samples.
      fake: (M, d) generated features, M at least the number of bins.
      significance: see `different_bins`.

    Raises:
      UserError: too few samples, another number of features, or values that are not finite.
    """
    fake = np.asarray(fake)
    if len(fake) < len(bins.centres):
        raise UserError(
            f"{len(fake)} generated samples cannot fill {len(bins.centres)} bins: give ten or more "
            "a bin, or fit fewer bins"
        )
    counts = np.bincount(bins.assign(fake), minlength=len(bins.centres))
    return different_bins(bins.counts, counts, significance=significance)
