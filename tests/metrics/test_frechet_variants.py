"""Frechet distance of means alone and of diagonals: closed forms and their order."""

import numpy as np
import pytest

from ganpipe.metrics import frechet, frechet_variants


def test_by_hand():
    # Points {0, 2} and {10, 16}: means 1 and 13, variances 1 and 9 (ddof 0), 2 and 18 (ddof 1).
    x, y = np.array([[0.0], [2.0]]), np.array([[10.0], [16.0]])
    assert frechet_variants.mean_only(x, y) == pytest.approx(144, rel=1e-14)
    assert frechet_variants.diagonal(x, y) == pytest.approx(144 + 4, rel=1e-14)
    assert frechet_variants.diagonal(x, y, ddof=1) == pytest.approx(144 + 8, rel=1e-14)


def test_in_one_dimension_the_diagonal_is_all():
    rng = np.random.RandomState(0)
    x, y = rng.standard_normal((50, 1)), 3 * rng.standard_normal((70, 1)) + 2
    for ddof in (0, 1):
        whole = frechet.frechet_from_features(x, y, ddof=ddof)
        assert frechet_variants.diagonal(x, y, ddof=ddof) == pytest.approx(whole, rel=1e-12)


def test_both_are_lower_bounds():
    rng = np.random.RandomState(1)
    for _ in range(10):
        mix = rng.standard_normal((2, 6, 6))
        x, y = (rng.standard_normal((80, 6)) @ m + i for i, m in enumerate(mix))
        whole = frechet.frechet_from_features(x, y, ddof=0)
        assert frechet_variants.mean_only(x, y) < frechet_variants.diagonal(x, y) < whole


def test_correlations_alone_are_not_seen():
    rng = np.random.RandomState(2)
    x = rng.standard_normal((4000, 2))
    x /= x.std(axis=0)
    y = np.stack([x[:, 0], x[:, 0]], axis=1)  # the same variances, wholly correlated
    y += x.mean(axis=0) - y.mean(axis=0)
    assert frechet_variants.diagonal(x, y) == pytest.approx(0, abs=1e-12)
    assert frechet.frechet_from_features(x, y) > 0.5


def test_float32_is_summed_in_float64():
    x = np.full((70_000, 1), 4096.1, np.float32)
    x[::2] += 1
    value = frechet_variants.diagonal(x, np.zeros((2, 1)))
    exact = x.astype(np.float64)
    assert value == pytest.approx(exact.mean() ** 2 + exact.var(), rel=1e-13)


def test_refusals():
    with pytest.raises(ValueError, match="cannot be compared"):
        frechet_variants.mean_only(np.ones((4, 3)), np.ones((5, 2)))
    with pytest.raises(ValueError, match="at least 1 row"):
        frechet_variants.mean_only(np.ones((0, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet_variants.diagonal(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="NaN"):
        frechet_variants.diagonal(np.full((2, 3), np.nan), np.ones((5, 3)))
    with pytest.raises(ValueError, match="ddof"):
        frechet_variants.diagonal(np.ones((2, 3)), np.ones((5, 3)), ddof=2)
