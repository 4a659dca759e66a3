"""Squared Euclidean distances of two sets in blocks: fast, with ties that are exact.

Neighbour metrics ask whether one distance is below another, and equal distances do occur: copies of
training images, pixels, codes. |x|^2 + |y|^2 - 2 x.y by a matrix product is fast but rounds the
same pair differently from call to call. So the product, in float32, only decides what is clear by a
rigorous error bound; the pairs left over (next to none) are decided by sums of squared differences
in float64, which depend on the two rows alone: equal pairs give equal bits, copies give 0.

Tight clusters far apart (a collapsed generator) leave many pairs over, for against the frame of all
rows float32 cannot tell them apart. Such blocks are first thinned out by a product in float64, and
of pairs of identical rows one is computed.
"""

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError

# Values of a block that is held at a time: 4 MiB of float32, so that it stays in the cache.
_BLOCK_VALUES = 2**20

# Values of the rows that are subtracted in one go.
_DIRECT_VALUES = 2**20

# More candidates than this share of a block, or of a row, are first thinned out by tighter bounds.
_DENSE = 0.02


def check_sets(**sets: np.ndarray) -> list[np.ndarray]:
    """Two or more feature sets as arrays.

    Raises:
      UserError: a set is empty or holds NaN or infinity.
      ValueError: not (N, d), or of unlike d.
    """
    arrays = [np.asarray(x) for x in sets.values()]
    shapes = [x.shape for x in arrays]
    if any(len(s) != 2 for s in shapes) or len({s[1] for s in shapes}) > 1:
        raise ValueError(f"feature sets of shapes {shapes} cannot be compared")
    for name, x in zip(sets, arrays, strict=True):
        if not len(x):
            raise UserError(f"the {name} features are empty; raise --num")
        if not np.isfinite(x).all():
            raise UserError(
                f"the {name} features hold NaN or infinity: the images or the extractor are broken"
            )
    return arrays


def direct(x: np.ndarray, i: np.ndarray, y: np.ndarray, j: np.ndarray) -> np.ndarray:
    """(P,) float64 squared distances of the pairs x[i], y[j], a function of the two rows alone.

    Args:
      x: (n, d).
      i: (P,) rows of x.
      y: (m, d).
      j: (P,) rows of y.
    """
    out = np.empty(len(i))
    step = max(1, _DIRECT_VALUES // max(1, x.shape[1]))
    for k in range(0, len(i), step):
        part = slice(k, k + step)
        difference = x[i[part]].astype(np.float64)
        difference -= y[j[part]]
        np.square(difference, out=difference)
        # Along contiguous rows of one length the order of additions is fixed.
        difference.sum(axis=1, out=out[part])
    return out


@dataclass(frozen=True)
class Frame:
    """A common origin and unit in which float32 neither overflows nor wastes its digits."""

    origin: np.ndarray
    unit: float

    @classmethod
    def around(cls, *sets: np.ndarray) -> "Frame":
        """The frame with the mean of the first set as origin and all norms at most 1."""
        origin = sets[0].mean(axis=0, dtype=np.float64)
        largest = 0.0
        for x in sets:
            for i in blocks(len(x), x.shape[1]):
                largest = max(largest, float(np.abs(x[i] - origin).max(initial=0.0)))
        return cls(origin, largest * np.sqrt(len(origin)) or 1.0)

    def place(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n, d) float32 rows in this frame and their (n,) float64 squared norms."""
        rows, norms = np.empty(x.shape, np.float32), np.empty(len(x))
        for i in blocks(len(x), x.shape[1]):
            moved = (x[i] - self.origin) / self.unit
            rows[i], norms[i] = moved, np.einsum("nd,nd->n", moved, moved)
        return rows, norms


def blocks(rows: int, values_per_row: int) -> Iterator[slice]:
    """Slices of rows such that a block of them holds about a million values."""
    step = max(1, _BLOCK_VALUES // max(1, values_per_row))
    return (slice(i, min(i + step, rows)) for i in range(0, rows, step))


class Scan:
    """Lower bounds of all squared distances of two sets, block by block.

    Args:
      x: (n, d); blocks run over these rows.
      y: (m, d).
      frame: of both sets.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, frame: Frame):
        self.x, self.y, self.frame = x, y, frame
        # |fl(x.y) - x.y| <= d u |x| |y| and 2 |x| |y| <= |x|^2 + |y|^2; the rest is for rounding
        # the rows and norms to float32 and for the additions.
        self.slack = (x.shape[1] + 16) * float(np.finfo(np.float32).eps)
        self._rows, self._x_norms = frame.place(x)
        columns, norms = frame.place(y) if y is not x else (self._rows, self._x_norms)
        # One product gives (1 - slack) |y|^2 - 2 x.y: |y|^2 rides along as one more column.
        self._columns = np.empty((len(y), x.shape[1] + 1), np.float32)
        np.multiply(columns, -2, out=self._columns[:, :-1])
        self._columns[:, -1] = norms * (1 - self.slack)
        self._spread = (2 * self.slack * norms).astype(np.float32)

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        """(rows of x, (B, m) float32 that `below` and `limits` read)."""
        for rows in blocks(len(self.x), len(self.y)):
            left = np.ones((rows.stop - rows.start, self.x.shape[1] + 1), np.float32)
            left[:, :-1] = self._rows[rows]
            yield rows, left @ self._columns.T

    def limits(self, rows: slice, squares: np.ndarray, sign: int = 1) -> np.ndarray:
        """(B, 1) float32 limits on a block, one for each row's squared distance.

        With sign 1 no value above its limit has a squared distance of at most `squares`; with sign
        -1 every value + `spread` below its limit has a smaller one.
        """
        margin = sign * self.slack
        limit = squares / self.frame.unit**2 * (1 + margin) - self._x_norms[rows] * (1 - margin)
        limit += sign * 1e-30  # Below it float32 has no relative precision.
        out = limit.astype(np.float32)
        return np.nextafter(out, np.float32(sign * np.inf))[:, None]

    def below(
        self,
        rows: slice,
        block: np.ndarray,
        squares: np.ndarray,
        *,
        strict: bool,
        by_column: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of a block whose squared distance is below (or equal to) a squared radius.

        Args:
          rows: rows of x of this block.
          block: as iteration gives it; with `by_column` it is changed.
          squares: float64 squared radii, (B,) of the block's rows or, `by_column`, (m,) of y's.
          strict: `<` instead of `<=`.
          by_column: whose radii they are.

        Returns:
          (P,) indices within the block, and (P,) columns.
        """
        own, spread = squares, self._spread
        if by_column:
            own, scaled = np.zeros(len(block)), squares / self.frame.unit**2
            block -= (scaled * (1 + self.slack)).astype(np.float32)
            spread = spread + (2 * self.slack * scaled).astype(np.float32)
        unclear = block <= self.limits(rows, own)
        clear = None
        if np.count_nonzero(unclear) > _DENSE * unclear.size:
            clear = block + spread < self.limits(rows, own, -1)
            unclear &= ~clear
            if len(dense := _dense_rows(unclear)):
                low, high = self.bounds(dense + rows.start)
                limit = squares if by_column else squares[dense, None]
                sure = unclear[dense] & (high < limit)
                clear[dense] |= sure
                unclear[dense] &= ~sure & (low <= limit)
        i, j = _nonzero(unclear)
        exact, square = self.exact(i + rows.start, j), squares[j if by_column else i]
        inside = exact < square if strict else exact <= square
        i, j = i[inside], j[inside]
        if clear is None:
            return i, j
        more_i, more_j = _nonzero(clear)
        return np.concatenate([i, more_i]), np.concatenate([j, more_j])

    def bounds(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, m) float64 lower and upper bounds of what `direct` gives for some rows of x.

        By a product in float64: as costly as a block of the scan, and nine digits tighter.

        Args:
          rows: (B,) numbers of rows.
        """
        left = (self.x[rows] - self.frame.origin) / self.frame.unit
        left_norms = np.einsum("nd,nd->n", left, left)[:, None]
        # |fl(x.y) - x.y|, the norms, moving the rows, and the rounding of `direct` itself: together
        # (4 d + 40) u (|x|^2 + |y|^2), u = eps / 2.
        slack = 4 * (left.shape[1] + 16) * np.finfo(np.float64).eps
        low, high = np.empty((2, len(rows), len(self.y)))
        for part in blocks(len(self.y), left.shape[1]):
            right = (self.y[part] - self.frame.origin) / self.frame.unit
            norms = left_norms + np.einsum("nd,nd->n", right, right)
            product = left @ right.T
            product *= -2
            product += norms
            norms *= slack
            norms += 1e-300  # Below it float64 has no relative precision.
            np.subtract(product, norms, out=low[:, part])
            np.add(product, norms, out=high[:, part])
        low *= self.frame.unit**2
        high *= self.frame.unit**2
        return low, high

    @functools.cached_property
    def _firsts(self) -> tuple[np.ndarray, np.ndarray] | None:
        """For each row of x and of y the first identical row; None where all rows differ."""
        x = _first_copies(self.x)
        y = x if self.y is self.x else _first_copies(self.y)
        return None if all((f == np.arange(len(f))).all() for f in (x, y)) else (x, y)

    def exact(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        """(P,) what `direct` gives for the pairs x[i], y[j]; one for all pairs alike."""
        if len(i) <= len(self.x) + len(self.y) or self._firsts is None:
            return direct(self.x, i, self.y, j)
        first_x, first_y = self._firsts
        pairs, place = np.unique(first_x[i] * len(self.y) + first_y[j], return_inverse=True)
        i, j = np.divmod(pairs, len(self.y))
        return direct(self.x, i, self.y, j)[place]


def _first_copies(x: np.ndarray) -> np.ndarray:
    """(n,) for each row the first row of the same bits."""
    seen: dict[bytes, int] = {}
    digests = (hashlib.sha256(row.tobytes()).digest() for row in x)
    return np.array([seen.setdefault(digest, i) for i, digest in enumerate(digests)])


def _dense_rows(mask: np.ndarray) -> np.ndarray:
    """Rows of a mask with more than few entries set."""
    return np.flatnonzero(np.count_nonzero(mask, axis=1) > _DENSE * mask.shape[1])


def _nonzero(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def _upper_bounds(block: np.ndarray, k: int) -> np.ndarray:
    """(B,) values that at least k entries of each row do not exceed.

    The k-th smallest of the minima of groups: k different groups have k different entries.
    """
    width = max(1, min(16, block.shape[1] // (8 * k)))
    columns = block.shape[1] // width
    least = block[:, : width * columns].reshape(len(block), width, columns).min(axis=1)
    return np.partition(least, k - 1, axis=1)[:, k - 1]


def nearest(x: np.ndarray, y: np.ndarray | None = None, *, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of y to each row of x, exactly, nearest first; ties to the lower index.

    Args:
      x: (n, d) features.
      y: (m, d) features; None means x itself, and then no row is its own neighbour.
      k: neighbours, from 1 to m (m - 1 for x itself).

    Returns:
      (n, k) float64 squared distances and (n, k) int64 rows of y.

    Raises:
      ValueError: k out of range.
    """
    alone = y is None
    y = x if alone else y
    if not 1 <= k <= len(y) - alone:
        raise ValueError(f"k is {k}, expected 1 to {len(y) - alone}")
    scan = Scan(x, y, Frame.around(x, y))
    squares, indices = np.empty((len(x), k)), np.empty((len(x), k), np.int64)
    for rows, block in scan:
        count = len(block)
        if alone:
            block[np.arange(count), np.arange(rows.start, rows.stop)] = np.inf
        # A lower bound L of a squared distance D has D <= L + 2 slack (|x|^2 + |y|^2).
        bounds = _upper_bounds(block + scan._spread, k) + scan._x_norms[rows]
        bounds = (bounds + 4 * scan.slack * scan._x_norms[rows] + 1e-30) * scan.frame.unit**2
        candidates = block <= scan.limits(rows, np.maximum(bounds, 0))
        if len(dense := _dense_rows(candidates)):
            low, high = scan.bounds(dense + rows.start)
            high[~candidates[dense]] = np.inf
            candidates[dense] &= low <= np.partition(high, k - 1, axis=1)[:, k - 1 : k]
        i, j = _nonzero(candidates)
        exact = scan.exact(i + rows.start, j)
        order = np.lexsort((j, exact, i))
        first = np.searchsorted(i, np.arange(count))[:, None] + np.arange(k)
        squares[rows], indices[rows] = exact[order][first], j[order][first]
    return squares, indices


def squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(n, m) float64 squared distances at once; small against the norms they are taken directly.

    Where many are small (a tight cluster far from the mean: a collapsed generator), the cluster
    gets an origin of its own, in which they are large, and so on for clusters inside it; of rows
    that are copies one is computed.

    Args:
      x: (n, d).
      y: (m, d).
    """
    origin = x.mean(axis=0, dtype=np.float64)
    a, b = x - origin, y - origin
    norms = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("nd,nd->n", b, b)
    out = a @ b.T
    del a, b
    out *= -2
    out += norms
    norms *= 1e-4  # At most 4 of 16 digits are lost to cancellation.
    small = out < norms
    del norms
    if np.count_nonzero(small) > max(_DENSE * small.size, sum(small.shape)):
        _squared_in_clusters(x, y, out, small)
    i, j = _nonzero(small)
    out[i, j] = direct(x, i, y, j)
    return out


def _squared_in_clusters(x: np.ndarray, y: np.ndarray, out: np.ndarray, small: np.ndarray) -> None:
    """Fills in the dense blocks of small distances; those done are struck off `small`."""
    for first in range(len(x)):
        columns = np.flatnonzero(small[first])
        if len(columns) <= _DENSE * small.shape[1]:
            continue
        # Those that are near one of its columns: the rows of this cluster.
        rows = np.flatnonzero(small[:, columns[0]])
        block = np.ix_(rows, columns)
        if len(rows) * len(columns) < small.size:
            found = squared(x[rows], y[columns])
        else:  # No smaller than before: nothing but copies, or points that are evenly small.
            found = _squared_of_copies(x, y)
        wanted = small[block]
        out[block] = np.where(wanted, found, out[block])
        small[block] = False


def _squared_of_copies(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As `direct` of all pairs, each pair of unlike rows once."""
    (rows, of_x), (columns, of_y) = (
        np.unique(_first_copies(z), return_inverse=True) for z in (x, y)
    )
    i, j = np.divmod(np.arange(len(rows) * len(columns)), len(columns))
    found = direct(x, rows[i], y, columns[j]).reshape(len(rows), len(columns))
    return found[of_x[:, None], of_y]
