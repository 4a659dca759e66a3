"""Frechet distance: closed forms, rank-deficient sets, streaming, conventions."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganpipe.metrics import frechet, frechet_trace

ROOT = Path(__file__).parents[2]


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


def test_ddof_0_divides_by_the_count():
    # Points {0, 2} and {10, 16}: variances with ddof 0: 1, 9. 144 + (1 - 3)^2 = 148.
    x, y = np.array([[0.0], [2.0]]), np.array([[10.0], [16.0]])
    assert frechet.frechet_from_features(x, y, ddof=0) == pytest.approx(148.0, rel=1e-13)
    z = features(9, 50, 6)
    for ddof in (0, 1):
        found = frechet.GaussianStatistics.of(z, ddof).cov
        expected = np.cov(z.astype("f8"), rowvar=False, ddof=ddof)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="expected 0 or 1"):
        frechet.GaussianStatistics(3, ddof=2)


def triangle(C):
    """Only what may be read: NaN above the diagonal, in Fortran order."""
    return np.asfortranarray(np.where(np.tril(np.ones_like(C)) > 0, C, np.nan))


@pytest.mark.parametrize("d", [1, 5, 128, 131, 300])
def test_algebra_on_triangles(d):
    rng = np.random.RandomState(d)
    x = rng.standard_normal((2 * d, d))
    C = x.T @ x / d + 0.1 * np.eye(d)
    found = frechet_trace.lower_product(x, 0.5, np.eye(d, order="F"))
    np.testing.assert_allclose(np.tril(found), np.tril(x.T @ x / 2 + np.eye(d)), atol=1e-12)
    L = frechet_trace.cholesky(triangle(C))
    np.testing.assert_allclose(np.tril(L), np.linalg.cholesky(C), atol=1e-12)
    other = C[::-1, ::-1] + np.eye(d)
    product = np.tril(L).T @ other @ np.tril(L)
    found = frechet_trace.lower_congruence(L, triangle(other))
    np.testing.assert_allclose(np.tril(found), np.tril(product), atol=1e-10)
    values = frechet_trace.eigenvalues(triangle(product))
    np.testing.assert_allclose(values, np.linalg.eigvalsh(product), rtol=1e-10)
    norm = frechet_trace._spectral_norm(triangle(C))
    assert 0.9 * np.linalg.norm(C, 2) < norm <= np.linalg.norm(C, 2) * (1 + 1e-12)


def test_a_norm_whose_direction_sums_to_nothing():
    # The largest eigenvalue, 1.5, belongs to (1, -1): a positive start would never find it.
    C = np.array([[1.0, -0.5], [-0.5, 1.0]])
    assert frechet_trace._spectral_norm(C) == pytest.approx(1.5, rel=1e-2)


def known(d, condition, seed=0):
    """Two covariances with a common basis and the trace of the root of their product."""
    q, _ = np.linalg.qr(np.random.RandomState(seed).standard_normal((d, d)))
    a, b = np.geomspace(1, condition, d), np.linspace(3, 1, d)
    return (q * a) @ q.T, (q * b) @ q.T, np.sqrt(a * b).sum()


def by_cholesky(c1, c2):
    """The trace by the faster way, or None where it is not taken."""
    factor = frechet_trace.cholesky(c1)
    return None if factor is None else frechet_trace.by_cholesky(c1, c2, factor)


@pytest.mark.parametrize(("condition", "direct"), [(1e-2, True), (1e-15, False)])
def test_cholesky_is_taken_only_where_its_error_is_known_to_be_small(condition, direct):
    c1, c2, expected = known(150, condition)
    found = by_cholesky(c1, c2)
    assert (found is not None) == direct
    if direct:
        assert found == pytest.approx(expected, rel=1e-12)
    zero = np.zeros(150)
    value = frechet.frechet_distance(zero, c1, zero, c2)
    # At 1e-15 the rounding of the matrix itself hides the least eigenvalues.
    rel = 1e-12 if direct else 1e-7
    assert value == pytest.approx(np.trace(c1) + np.trace(c2) - 2 * expected, rel=rel)


@pytest.mark.parametrize("condition", 10.0 ** np.arange(-14, 0, 2))
def test_an_accepted_value_keeps_its_promise(condition):
    c1, c2, expected = known(100, condition, seed=1)
    found = by_cholesky(c1, c2)
    if found is not None:
        assert abs(found - expected) <= 1e-11 * (np.trace(c1) + np.trace(c2))


def power_law(kind, condition, d=512):
    """Two covariances with eigenvalues i^-a and the trace of the root of their product."""
    rng = np.random.RandomState(7)
    a = np.arange(1, d + 1.0) ** (np.log(condition) / np.log(d))
    if kind == "graded":  # in rising order of variance: the hardest for the eigenvalue solver
        factors = []
        for _ in range(2):
            x = np.linalg.qr(rng.standard_normal((2 * d, d)) / np.sqrt(2 * d) + np.eye(2 * d, d))[1]
            factors.append(np.sqrt(a[::-1])[:, None] * x.T)
    else:
        q = np.linalg.qr(rng.standard_normal((d, d)))[0]
        other = q if kind == "common basis" else np.linalg.qr(rng.standard_normal((d, d)))[0]
        factors = [q * np.sqrt(a), other * np.sqrt(a)]
    expected = np.linalg.svd(factors[0].T @ factors[1], compute_uv=False).sum()
    return *(f @ f.T for f in factors), expected


CONDITIONS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)


@pytest.mark.parametrize(
    ("kind", "accepted"), [("common basis", 2), ("two bases", 2), ("graded", 1)]
)
def test_power_laws_are_exact_both_ways_and_the_mild_ones_fast(kind, accepted):
    taken = []
    for condition in CONDITIONS:
        c1, c2, expected = power_law(kind, condition)
        found, traces = by_cholesky(c1, c2), np.trace(c1) + np.trace(c2)
        taken.append(found is not None)
        if found is not None:
            assert abs(found - expected) <= 1e-11 * traces
        factors = (frechet_trace.any_factor(c) for c in (c1, c2))
        slow = frechet_trace.nuclear_norm(*factors)
        # 16 digits of a matrix do not hold its least eigenvalues to 16.
        assert abs(slow - expected) <= 1e-13 * traces
    assert all(taken[:accepted]), "milder conditions are taken by Cholesky"


def test_the_exact_way_needs_no_eigenvectors(monkeypatch):
    monkeypatch.setattr(frechet_trace, "covariance_factor", None)
    c1, c2, expected = power_law("common basis", 1e-8, d=128)
    assert by_cholesky(c1, c2) is None
    zero, traces = np.zeros(128), np.trace(c1) + np.trace(c2)
    value = frechet.frechet_distance(zero, c1, zero, c2)
    assert value == pytest.approx(traces - 2 * expected, abs=1e-13 * traces)


def test_a_hopeless_case_is_known_before_the_costly_part(monkeypatch):
    c1, c2, _ = power_law("common basis", 1e-6, d=128)
    monkeypatch.setattr(frechet_trace, "lower_congruence", None)
    assert by_cholesky(c1, c2) is None


@pytest.mark.filterwarnings("error")
def test_a_constant_set_has_the_trace_of_the_other():
    zero, one, nothing = np.zeros(3), np.eye(3), np.zeros((3, 3))
    assert frechet.frechet_distance(zero, one, zero, nothing) == 3
    assert frechet.frechet_distance(zero, nothing, zero, one) == 3
    assert frechet.frechet_distance(zero, nothing, zero, nothing) == 0
    tiny = 1e-200 * one  # the product is below all float64
    assert frechet.frechet_distance(zero, tiny, zero, tiny) == pytest.approx(0, abs=1e-199)


@pytest.mark.parametrize(("n", "m"), [(20, 400), (400, 30), (400, 400), (20, 30)])
def test_to_reference_equals_from_features(n, m):
    x, y = features(10, n, 48), features(11, m, 48, scale=1.2)
    statistics = frechet.GaussianStatistics.of(y)
    found = frechet.frechet_to_reference(x, statistics.mean, statistics.cov)
    assert found == pytest.approx(frechet.frechet_from_features(x, y), rel=1e-9)
    with pytest.raises(ValueError, match="do not fit"):
        frechet.frechet_to_reference(x[:, :3], statistics.mean, statistics.cov)
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet.frechet_to_reference(x[:1], statistics.mean, statistics.cov)


# Peak memory is measured in a process that does nothing else, and by VmHWM: `ru_maxrss` of a
# child starts at what its parent, pytest with TensorFlow, held when it forked.
STREAM = """
import json, sys
import numpy as np
from ganpipe.metrics import frechet, frechet_trace

rows, d, batch, whole = map(int, sys.argv[1:])
shape = np.linspace(0.5, 1.5, d, dtype=np.float32)

def batches():
    for i in range(0, rows, batch):
        x = np.random.default_rng(i).standard_normal((min(batch, rows - i), d), dtype=np.float32)
        yield x * shape + 0.1

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(s.split()[1]) for s in lines if s.startswith("VmHWM")) / 1024

np.ones((d, d)) @ np.ones((d, d))  # the library's own buffers
before = peak()
mean, cov = np.zeros(d), np.eye(d)
if whole:
    x = np.empty((rows, d))
    for i, part in zip(range(0, rows, batch), batches()):
        x[i : i + batch] = part
    mu = x.mean(0)
    x -= mu
    value = frechet.frechet_distance(mu, x.T @ x / (rows - 1), mean, cov)
else:
    statistics = frechet.GaussianStatistics(d)
    for x in batches():
        statistics.update(x)
    value = frechet.frechet_distance(statistics.mean, statistics.cov, mean, cov)
print(json.dumps([value, before, peak()]))
"""


def streamed(*args):
    command = [sys.executable, "-c", STREAM, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read from /proc"
)


@needs_proc
def test_streaming_needs_no_feature_store():
    value, before, after = streamed(60_000, 128, 500, 0)  # 31 MB of features, 61 in float64
    whole, _, large = streamed(60_000, 128, 500, 1)
    assert value == pytest.approx(whole, rel=1e-9)
    assert after - before < 15 < 60 < large - before


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_200000_features_of_2048_within_1_gb():
    value, _, after = streamed(200_000, 2048, 500, 0)
    assert after < 1000
    whole, _, _ = streamed(200_000, 2048, 500, 1)
    assert value == pytest.approx(whole, rel=1e-9)
