"""Frechet distance: closed forms, rank-deficient sets, streaming, conventions."""

import numpy as np
import pytest

from ganpipe.metrics import frechet


def features(seed, n, d, scale=1.0, shift=0.0):
    rng = np.random.RandomState(seed)
    return (rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) * scale + shift).astype("f4")


def test_two_gaussians_with_one_common_basis():
    # Commuting covariances: tr (C1 C2)^(1/2) = sum sqrt(a_i b_i), so the distance is
    # |mu1 - mu2|^2 + sum (sqrt a_i - sqrt b_i)^2 = 9 + 16 + (1-2)^2 + (3-1)^2 = 30.
    q, _ = np.linalg.qr(np.random.RandomState(0).standard_normal((2, 2)))
    c1, c2 = q @ np.diag([1.0, 9.0]) @ q.T, q @ np.diag([4.0, 1.0]) @ q.T
    value = frechet.frechet_distance(np.array([0.0, 4.0]), c1, np.array([3.0, 0.0]), c2)
    assert value == pytest.approx(30.0, rel=1e-13)


def test_two_by_two_without_a_common_basis():
    # For 2 x 2 matrices tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), here with M = C1 C2.
    c1, c2 = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[1.0, -0.5], [-0.5, 4.0]])
    cross = np.sqrt(np.trace(c1 @ c2) + 2 * np.sqrt(np.linalg.det(c1 @ c2)))
    expected = 5 + 5 - 2 * cross
    zero = np.zeros(2)
    assert frechet.frechet_distance(zero, c1, zero, c2) == pytest.approx(expected, rel=1e-12)


def test_no_square_root_at_the_end_and_ddof_1():
    # Points {0, 2} and {10, 16}: means 1, 13; variances with ddof 1: 2, 18.
    # 144 + (sqrt 2 - sqrt 18)^2 = 144 + 8 = 152. (ddof 0 would give 148, a root 12.3.)
    x, y = np.array([[0.0], [2.0]]), np.array([[10.0], [16.0]])
    assert frechet.frechet_from_features(x, y) == pytest.approx(152.0, rel=1e-13)


def test_singular_covariances_of_orthogonal_lines():
    # Ranks 1 and 1 in orthogonal directions: the cross term is exactly 0.
    zero, c1, c2 = np.zeros(3), np.diag([4.0, 0, 0]), np.diag([0, 9.0, 0])
    assert frechet.frechet_distance(zero, c1, zero, c2) == pytest.approx(13.0, rel=1e-14)
    assert frechet.frechet_distance(zero, c1, zero, np.zeros((3, 3))) == pytest.approx(4.0)


def test_identical_sets_are_zero_up_to_rounding_and_not_clipped():
    x = features(1, 300, 16)
    value = frechet.frechet_from_features(x, x)
    assert abs(value) < 1e-10 * np.trace(np.cov(x, rowvar=False))
    values = [frechet.frechet_from_features(s, s) for s in (features(k, 50, 8) for k in range(20))]
    assert min(values) < 0, "rounding gives negatives now and then; none here means clipping"


@pytest.mark.parametrize(("n", "m"), [(20, 30), (20, 400), (400, 20)])
def test_low_rank_form_equals_the_full_one(n, m):
    x, y = features(2, n, 64), features(3, m, 64, scale=1.3, shift=0.5)
    full = frechet.frechet_distance(
        x.mean(0, dtype="f8"),
        np.cov(x.astype("f8"), rowvar=False),
        y.mean(0, dtype="f8"),
        np.cov(y.astype("f8"), rowvar=False),
    )
    assert frechet.frechet_from_features(x, y) == pytest.approx(full, rel=1e-10)


def test_symmetric_and_moves_with_a_shift():
    x, y = features(4, 200, 8), features(5, 300, 8)
    forth, back = frechet.frechet_from_features(x, y), frechet.frechet_from_features(y, x)
    assert forth == pytest.approx(back, rel=1e-12)
    moved = frechet.frechet_from_features(x.astype("f8") + 2.0, x)
    assert moved == pytest.approx(8 * 4.0, rel=1e-10)


def test_streamed_statistics_equal_numpy():
    x = features(6, 3000, 12, shift=100.0)
    statistics = frechet.GaussianStatistics.of(x)
    assert statistics.count == 3000
    np.testing.assert_allclose(statistics.mean, x.astype("f8").mean(0), rtol=1e-13)
    reference = np.cov(x.astype("f8"), rowvar=False, ddof=1)
    np.testing.assert_allclose(statistics.cov, reference, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("batch", [1, 7, 64, 1024, 1500])
def test_batch_size_changes_no_bit(batch):
    x = features(7, 2500, 6)
    whole = frechet.GaussianStatistics.of(x)
    parts = frechet.GaussianStatistics(6)
    for i in range(0, len(x), batch):
        parts.update(x[i : i + batch])
        if i == batch:
            _ = parts.mean, parts.cov  # looking must not disturb
    np.testing.assert_array_equal(parts.mean, whole.mean)
    np.testing.assert_array_equal(parts.cov, whole.cov)


def test_large_offset_loses_no_digits():
    x = np.random.RandomState(8).standard_normal((500, 3))
    near, far = frechet.GaussianStatistics.of(x), frechet.GaussianStatistics.of(x + 1e6)
    # 1e6 costs 6 of 16 digits of the input itself; squaring it first would cost 12.
    np.testing.assert_allclose(far.cov, near.cov, rtol=1e-8, atol=1e-9)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet.frechet_from_features(np.ones((1, 3)), np.ones((5, 3)))
    with pytest.raises(ValueError, match="cannot be compared"):
        frechet.frechet_from_features(np.ones((4, 3)), np.ones((5, 2)))
    with pytest.raises(ValueError, match="NaN"):
        frechet.GaussianStatistics.of(np.array([[1.0], [np.nan]]))
    with pytest.raises(ValueError, match="NaN"):
        frechet.frechet_from_features(np.full((2, 3), np.inf), np.ones((2, 3)))
    with pytest.raises(ValueError, match="expected"):
        frechet.GaussianStatistics(3).update(np.ones((2, 4)))
    with pytest.raises(ValueError, match="at least 2 rows"):
        _ = frechet.GaussianStatistics.of(np.ones((1, 2))).cov
    with pytest.raises(ValueError, match="no features"):
        _ = frechet.GaussianStatistics(2).mean
    with pytest.raises(ValueError, match="not a covariance"):
        frechet.frechet_distance(np.zeros(2), np.diag([1.0, -1.0]), np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="do not fit"):
        frechet.frechet_distance(np.zeros(2), np.eye(3), np.zeros(2), np.eye(2))
