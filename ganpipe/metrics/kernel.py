"""Kernel distance: unbiased squared maximum mean discrepancy with a cubic polynomial kernel.

    k(x, y) = (x . y / d + 1)^3                                (Binkowski et al. 2018, sec. 4)
    MMD^2   = (sum_{i!=j} k(x_i, x_j) + sum_{i!=j} k(y_i, y_j)) / (m (m-1))
              - 2 sum_{ij} k(x_i, y_j) / m^2

The mean over random subsets of both sets is the score. Being unbiased it can be negative, and it is
reported as it is. Called KID only with the published Inception weights.

The draw is torch-fidelity's: one `RandomState(seed)`; per subset first the rows of the generated
set, then those of the real set, both without replacement.

TF-GAN's estimator cuts both sets into consecutive blocks instead: `block_kernel_distance`.
"""

from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError

SUBSETS = 100
MAX_SUBSET_SIZE = 1000
SUBSET_SEED = 2020

# Rows of a Gram matrix held at a time: 1000 x 1000 float64 is 8 MB, whatever the set sizes.
_BLOCK_ROWS = 1000


@dataclass(frozen=True)
class KernelDistance:
    """A kernel distance and how it was taken.

    Attributes:
      mean: mean MMD^2 over the subsets; may be negative.
      std: spread over the subsets (ddof 0). Not a standard error: subsets overlap.
      subsets: number of subsets.
      subset_size: rows of each set in a subset.
      seed: seed of the draw.
    """

    mean: float
    std: float
    subsets: int
    subset_size: int
    seed: int


@dataclass(frozen=True)
class BlockKernelDistance:
    """A kernel distance by consecutive blocks.

    Attributes:
      mean: mean MMD^2 over the blocks; may be negative.
      standard_error: sqrt(variance over blocks (ddof 1) / blocks); NaN with a single block, which
        tells nothing of its spread.
      blocks: number of blocks.
    """

    mean: float
    standard_error: float
    blocks: int


def _kernel_block(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, m) kernel values of all pairs."""
    gram = x @ y.T
    gram /= x.shape[1]
    gram += 1
    cube = gram * gram  # Two products: a general power is ten times slower.
    cube *= gram
    return cube


def _block_starts(x: np.ndarray) -> range:
    return range(0, len(x), _BLOCK_ROWS)


def _require_finite(x: np.ndarray, precision: str) -> None:
    """ValueError for what is not finite in the precision that is computed in."""
    for i in _block_starts(x):
        if not np.isfinite(np.asarray(x[i : i + _BLOCK_ROWS], precision)).all():
            raise ValueError("features hold NaN or infinity: the images or extractor are broken")


def _as_real(x: np.ndarray) -> np.ndarray:
    """float32 and float64 as they are; anything else, where cubes would wrap, as float64."""
    x = np.asarray(x)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of k over all pairs of rows of x (n, d) and y (m, d), in blocks of flat memory."""
    total = 0.0
    for i in range(0, len(x), _BLOCK_ROWS):
        for j in range(0, len(y), _BLOCK_ROWS):
            block = _kernel_block(x[i : i + _BLOCK_ROWS], y[j : j + _BLOCK_ROWS])
            total += float(np.sum(block, dtype=np.float64))
    return total


def _kernel_diagonal(x: np.ndarray) -> np.ndarray:
    """(n,) values k(x_i, x_i)."""
    return (np.einsum("nd,nd->n", x, x) / x.shape[1] + 1) ** 3


def _subset_sums(
    x: np.ndarray, y: np.ndarray, in_x: np.ndarray, in_y: np.ndarray, offset: float
) -> np.ndarray:
    """(S,) sums of k - offset over the pairs of every subset; in_x (S, n), in_y (S, m) hold 0, 1.

    Each kernel value is computed once although it occurs in many subsets, in the dtype of in_x.
    Within one set and one draw only the blocks on and below the diagonal are formed.
    """
    sums, dtype = np.zeros(len(in_x)), in_x.dtype
    # The same set on both sides, but drawn twice, is not symmetric.
    symmetric = y is x and in_y is in_x
    for i in range(0, len(x), _BLOCK_ROWS):
        rows = slice(i, i + _BLOCK_ROWS)
        for j in range(0, i + 1 if symmetric else len(y), _BLOCK_ROWS):
            columns = slice(j, j + _BLOCK_ROWS)
            # Converted block by block: a second copy of a whole set would not be flat memory.
            block = _kernel_block(np.asarray(x[rows], dtype), np.asarray(y[columns], dtype))
            block -= offset
            part = np.einsum("sn,sn->s", in_x[:, rows] @ block, in_y[:, columns], dtype=np.float64)
            sums += 2 * part if symmetric and j < i else part
    return sums


def _mmd2_by_shared_gram(
    fake: np.ndarray,
    real: np.ndarray,
    draws: list[tuple[np.ndarray, np.ndarray]],
    precision: str = "float64",
) -> np.ndarray:
    """(S,) unbiased MMD^2 of every subset, each kernel value computed once in that precision.

    A constant taken off the kernel cancels in MMD^2: each of the three means loses it once. With
    the mean of real pairs taken off, what is summed is small, and so is its rounding in float32.
    """
    some = np.asarray(real[:_BLOCK_ROWS], precision)
    offset = np.mean(_kernel_block(some, some), dtype=np.float64).astype(precision)
    in_fake = np.zeros((len(draws), len(fake)), precision)
    in_real = np.zeros((len(draws), len(real)), precision)
    for s, (i, j) in enumerate(draws):
        in_fake[s, i] = 1
        in_real[s, j] = 1
    size = len(draws[0][0])
    within = 0
    for x, in_x in ((fake, in_fake), (real, in_real)):
        parts = (np.asarray(x[i : i + _BLOCK_ROWS], precision) for i in _block_starts(x))
        diagonal = np.concatenate([_kernel_diagonal(part) for part in parts])
        own = diagonal.astype(np.float64) - np.float64(offset)
        within = within + _subset_sums(x, x, in_x, in_x, offset) - in_x @ own
    across = _subset_sums(fake, real, in_fake, in_real, offset)
    return within / (size * (size - 1)) - 2 * across / size**2


def mmd2_unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased MMD^2 of two sets with the cubic kernel, on all their rows.

    Args:
      x: (n, d) features, n >= 2.
      y: (m, d) features, m >= 2; n and m may differ.

    Returns:
      (sum_{i!=j} k(x_i, x_j)) / (n (n-1)) + (sum_{i!=j} k(y_i, y_j)) / (m (m-1))
      - 2 sum_{ij} k(x_i, y_j) / (n m), computed in float32 or float64 as the features are (in
      float64 for any other dtype), summed in float64.

    Raises:
      ValueError: shapes that do not fit or fewer than two rows.
    """
    x, y = _as_real(x), _as_real(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise ValueError(f"feature sets of shapes {x.shape} and {y.shape} cannot be compared")
    n, m = len(x), len(y)
    if min(n, m) < 2:
        raise ValueError(f"each set needs at least 2 rows, found {n} and {m}")
    within_x = (_kernel_sum(x, x) - _kernel_diagonal(x).sum(dtype=np.float64)) / (n * (n - 1))
    within_y = (_kernel_sum(y, y) - _kernel_diagonal(y).sum(dtype=np.float64)) / (m * (m - 1))
    return within_x + within_y - 2 * _kernel_sum(x, y) / (n * m)


def _mmd2_of(x: np.ndarray, y: np.ndarray, precision: str) -> float:
    return mmd2_unbiased(np.asarray(x, precision), np.asarray(y, precision))


def kernel_distance(
    fake: np.ndarray,
    real: np.ndarray,
    *,
    subsets: int = SUBSETS,
    subset_size: int | None = None,
    seed: int = SUBSET_SEED,
    precision: str = "float64",
) -> KernelDistance:
    """Mean and spread of the unbiased MMD^2 over random subsets.

    Args:
      fake: (N, d) features of generated images.
      real: (M, d) features of real images.
      subsets: number of subsets.
      subset_size: rows taken from each set; None takes min(N, M, 1000), as StyleGAN2-ADA and
        clean-fid do.
      seed: seed of the draw (torch-fidelity's default).
      precision: "float64", or "float32" for kernel values in float32 and sums in float64: about
        half the time, within 2e-6 relative or 5e-7 of the float64 value.

    Raises:
      UserError: a set is smaller than `subset_size`, or has fewer than two rows.
      ValueError: shapes that do not fit, values that are not finite, another precision.
    """
    if precision not in ("float64", "float32"):
        raise ValueError(f"precision is {precision!r}, expected 'float64' or 'float32'")
    fake, real = np.asarray(fake), np.asarray(real)
    if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1]:
        raise ValueError(f"feature sets of shapes {fake.shape} and {real.shape} cannot be compared")
    _require_finite(fake, precision)
    _require_finite(real, precision)
    smallest = min(len(fake), len(real))
    size = min(smallest, MAX_SUBSET_SIZE) if subset_size is None else int(subset_size)
    if subsets < 1:
        raise UserError(f"the kernel distance needs at least 1 subset, found {subsets}")
    if size < 2 or smallest < size:
        raise UserError(
            f"the kernel distance draws subsets of {max(size, 2)} rows, but there are only "
            f"{len(fake)} generated and {len(real)} real ones: raise --num or lower subset_size"
        )
    rng = np.random.RandomState(seed)
    # Generated first: the order is part of the published convention.
    draws = [
        (rng.choice(len(fake), size, replace=False), rng.choice(len(real), size, replace=False))
        for _ in range(subsets)
    ]
    n, m = len(fake), len(real)
    if (n * n + m * m) / 2 + n * m < 3 * subsets * size * size:
        values = _mmd2_by_shared_gram(fake, real, draws, precision)
    else:
        values = np.array([_mmd2_of(fake[i], real[j], precision) for i, j in draws])
    return KernelDistance(float(values.mean()), float(values.std()), subsets, size, seed)


def block_kernel_distance(
    fake: np.ndarray, real: np.ndarray, *, max_block_size: int = 1024
) -> BlockKernelDistance:
    """Mean of the unbiased MMD^2 over consecutive blocks, as TF-GAN takes it, in float64.

    Both sets are cut into ceil(max(N, M) / max_block_size) blocks of nearly equal size, the larger
    ones last; every row is used once and nothing is drawn, so shuffle ordered sets first.

    Args:
      fake: (N, d) features of generated images.
      real: (M, d) features of real images; N and M may differ.
      max_block_size: most rows of a block.

    Raises:
      UserError: a block would have fewer than two rows of one set.
      ValueError: shapes that do not fit, values that are not finite.
    """
    fake, real = np.asarray(fake), np.asarray(real)
    if fake.ndim != 2 or real.ndim != 2 or fake.shape[1] != real.shape[1]:
        raise ValueError(f"feature sets of shapes {fake.shape} and {real.shape} cannot be compared")
    _require_finite(fake, "float64")
    _require_finite(real, "float64")
    if max_block_size < 2:
        raise UserError(f"max_block_size={max_block_size}: a block needs at least 2 rows")
    blocks = max(1, -(-max(len(fake), len(real)) // max_block_size))
    if min(len(fake), len(real)) < 2 * blocks:
        raise UserError(
            f"{blocks} block(s) of the kernel distance need at least {2 * blocks} rows of each "
            f"set, found {len(fake)} generated and {len(real)} real ones: raise --num or "
            "max_block_size"
        )
    bounds = [_block_bounds(len(x), blocks) for x in (fake, real)]
    values = np.array(
        [_mmd2_of(fake[i:j], real[k:m], "float64") for (i, j), (k, m) in zip(*bounds, strict=True)]
    )
    error = float(np.sqrt(values.var(ddof=1) / blocks)) if blocks > 1 else float("nan")
    return BlockKernelDistance(float(values.mean()), error, blocks)


def _block_bounds(count: int, blocks: int) -> list[tuple[int, int]]:
    """(start, end) of consecutive blocks that differ by one row at most, the smaller ones first."""
    small, more = divmod(count, blocks)
    sizes = [small] * (blocks - more) + [small + 1] * more
    ends = np.cumsum(sizes).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
