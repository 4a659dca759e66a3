"""Precision, recall, density and coverage by balls around nearest neighbours, and realism.

A set's manifold is the union of balls, one around each point, that reach to its k-th nearest
neighbour in the same set (the point itself not counted).

* precision: share of fakes inside any real ball; recall: share of reals inside any fake ball
  (Kynkaanniemi et al. 2019, eq. 1-2). A point on the rim counts as inside (<=), k = 3.
* density: real balls that hold a fake, per fake and divided by k; may exceed 1. Coverage: share of
  real balls that hold a fake (Naeem et al. 2020, eq. 3-4). The rim is outside (<), k = 5.

The rim matters: where copies or whole numbers make equal distances, precision can be 0.81 with <=
and 0.44 with <. Comparisons are exact (see `distances`), so results do not depend on the block size
or the order of rows. torch-fidelity's `prc` takes the generated set as input 1, and so do we.
"""

from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics import distances

PRECISION_K = 3
DENSITY_K = 5


@dataclass(frozen=True)
class NeighbourScores:
    """All four scores with one k and one kind of comparison.

    Attributes:
      precision: share of fakes in any real ball, 0 to 1; low: implausible samples.
      recall: share of reals in any fake ball, 0 to 1; low: modes are missing.
      density: mean number of real balls around a fake, over k; 1 is ideal, may exceed 1.
      coverage: share of real balls with a fake inside, 0 to 1.
      k: the neighbour that sets the radii.
      strict: whether the rim is outside.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int
    strict: bool

    @property
    def f_score(self) -> float:
        """Harmonic mean of precision and recall (torch-fidelity's, 0 when both are 0)."""
        return 2 * self.precision * self.recall / max(1e-5, self.precision + self.recall)


def _checked(fake: np.ndarray, real: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    fake, real = distances.check_sets(generated=fake, real=real)
    if k < 1:
        raise UserError(f"k={k}: a neighbour's number starts at 1")
    for name, x in (("generated", fake), ("real", real)):
        if len(x) <= k:
            raise UserError(
                f"a point's neighbour number {k} needs at least {k + 1} {name} images, found "
                f"{len(x)}: raise --num or lower k"
            )
    return fake, real


def squared_radii(features: np.ndarray, k: int) -> np.ndarray:
    """(N,) float64 squared distance of each row to its k-th nearest other row.

    Args:
      features: (N, d), any real dtype, N > k.
      k: 1 is the nearest other row; copies of a row count, at distance 0.
    """
    return distances.nearest(np.asarray(features), k=k)[0][:, -1]


def neighbour_scores(
    fake: np.ndarray, real: np.ndarray, *, k: int, strict: bool
) -> NeighbourScores:
    """Precision, recall, density and coverage in one pass over all pairs, with flat memory.

    Args:
      fake: (M, d) features of generated images, any real dtype.
      real: (N, d) features of real images.
      k: the neighbour that sets the radii.
      strict: False counts the rim in (improved precision and recall), True out (package `prdc`).

    Raises:
      UserError: a set of k rows or fewer, NaN or infinity, k < 1.
      ValueError: shapes that do not fit.
    """
    fake, real = _checked(fake, real, k)
    # Each set in a frame of its own: fakes of tiny spread are not told apart in that of the reals.
    real_radii, fake_radii = squared_radii(real, k), squared_radii(fake, k)
    frame = distances.Frame.around(real, fake)
    around_fake = np.zeros(len(fake), np.int64)  # real balls around each fake
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, block in (scan := distances.Scan(real, fake, frame)):
        i, j = scan.below(rows, block, real_radii[rows], strict=strict)
        covered[rows.start + i] = True
        around_fake += np.bincount(j, minlength=len(fake))
        i, _ = scan.below(rows, block, fake_radii, strict=strict, by_column=True)
        recalled[rows.start + i] = True
    return NeighbourScores(
        precision=float(np.mean(around_fake > 0)),
        recall=float(recalled.mean()),
        density=float(around_fake.sum() / (k * len(fake))),
        coverage=float(covered.mean()),
        k=k,
        strict=strict,
    )


def precision_recall(
    fake: np.ndarray, real: np.ndarray, *, k: int = PRECISION_K
) -> tuple[float, float]:
    """Improved precision and recall; see `neighbour_scores` (with <=)."""
    scores = neighbour_scores(fake, real, k=k, strict=False)
    return scores.precision, scores.recall


def density_coverage(
    fake: np.ndarray, real: np.ndarray, *, k: int = DENSITY_K
) -> tuple[float, float]:
    """Density and coverage; see `neighbour_scores` (with <)."""
    scores = neighbour_scores(fake, real, k=k, strict=True)
    return scores.density, scores.coverage


def realism(fake: np.ndarray, real: np.ndarray, *, k: int = PRECISION_K) -> np.ndarray:
    """Realism of each fake: how far inside the real manifold it is.

    The largest squared radius over squared distance (+ 1e-5) of all real points, as the authors'
    code has it (Kynkaanniemi et al. 2019, sec. 5, writes it without squares, and leaves out the
    larger half of the balls).

    Args:
      fake: (M, d) features of generated images.
      real: (N, d) features of real images, N > k.
      k: the neighbour that sets the radii.

    Returns:
      (M,) float64; above 1 is inside a ball. Higher is more realistic.

    Raises:
      UserError: a set of k rows or fewer, NaN or infinity, k < 1.
      ValueError: shapes that do not fit.
    """
    fake, real = _checked(fake, real, k)
    radii = squared_radii(real, k)
    out = np.empty(len(fake))
    for rows in distances.blocks(len(fake), len(real)):
        out[rows] = (radii / (distances.squared(fake[rows], real) + 1e-5)).max(axis=1)
    return out
