"""Kernel distance: against a naive double loop, the draw's order, unbiasedness, shared blocks."""

import tracemalloc

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import kernel


def naive(x, y):
    def k(a, b):
        return (float(np.dot(a, b)) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def sets(n, m, d, seed=0):
    rng = np.random.RandomState(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((m, d)) * 1.2 + 0.3


def test_by_hand():
    # d = 1: x = {0, 1}, y = {1, 2}. k(0,1) = 1; k(1,2) = 27; cross: k(0,1) = 1, k(0,2) = 1,
    # k(1,1) = 8, k(1,2) = 27. MMD^2 = 1 + 27 - 2 * 37 / 4 = 9.5.
    x, y = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert kernel.mmd2_unbiased(x, y) == pytest.approx(9.5, rel=1e-15)


@pytest.mark.parametrize(("n", "m", "d"), [(12, 12, 3), (9, 17, 5)])
def test_equals_a_double_loop(n, m, d):
    x, y = sets(n, m, d)
    assert kernel.mmd2_unbiased(x, y) == pytest.approx(naive(x, y), rel=1e-12)


def test_blocks_change_nothing(monkeypatch):
    x, y = sets(70, 50, 4)
    whole = kernel.mmd2_unbiased(x, y)
    monkeypatch.setattr(kernel, "_BLOCK_ROWS", 16)
    assert kernel.mmd2_unbiased(x, y) == pytest.approx(whole, rel=1e-12)


def test_the_generated_set_is_drawn_first():
    x, y = sets(40, 60, 3)
    rng = np.random.RandomState(5)
    expected = []
    for _ in range(4):
        fake = x[rng.choice(40, 20, replace=False)]
        real = y[rng.choice(60, 20, replace=False)]
        expected.append(naive(fake, real))
    found = kernel.kernel_distance(x, y, subsets=4, subset_size=20, seed=5)
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.std == pytest.approx(np.std(expected), rel=1e-9)  # ddof 0
    swapped = kernel.kernel_distance(y, x, subsets=4, subset_size=20, seed=5)
    assert abs(swapped.mean / found.mean - 1) > 1e-4


@pytest.mark.parametrize("block", [1000, 32])
def test_shared_gram_equals_subset_by_subset(monkeypatch, block):
    x, y = sets(90, 130, 6)
    monkeypatch.setattr(kernel, "_BLOCK_ROWS", block)
    rng = np.random.RandomState(1)
    draws = [
        (rng.choice(90, 40, replace=False), rng.choice(130, 40, replace=False)) for _ in range(30)
    ]
    expected = [kernel.mmd2_unbiased(x[i], y[j]) for i, j in draws]
    np.testing.assert_allclose(kernel._mmd2_by_shared_gram(x, y, draws), expected, rtol=1e-10)
    # One array on both sides is still drawn twice, so its cross term is not symmetric.
    draws = [(i, rng.choice(90, 40, replace=False)) for i, _ in draws]
    expected = [kernel.mmd2_unbiased(x[i], x[j]) for i, j in draws]
    found = kernel._mmd2_by_shared_gram(x, x, draws)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_unbiased_so_negatives_are_shown():
    rng = np.random.RandomState(3)
    pairs = [(rng.standard_normal((30, 4)), rng.standard_normal((30, 4))) for _ in range(300)]
    values = np.array([kernel.mmd2_unbiased(*pair) for pair in pairs])
    # Equal distributions: mean 0 within 4 standard errors; about half below zero.
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))
    assert 0.3 < np.mean(values < 0) < 0.8


def test_subset_size():
    x, y = sets(40, 60, 3)
    found = kernel.kernel_distance(x, y, subsets=3)
    assert (found.subset_size, found.subsets, found.seed) == (40, 3, kernel.SUBSET_SEED)
    with pytest.raises(UserError, match="subsets of 41 rows, but there are only 40 generated"):
        kernel.kernel_distance(x, y, subset_size=41)
    with pytest.raises(UserError, match="--num"):
        kernel.kernel_distance(x[:1], y)
    with pytest.raises(UserError, match="at least 1 subset"):
        kernel.kernel_distance(x, y, subsets=0)
    with pytest.raises(ValueError, match="NaN"):
        kernel.kernel_distance(np.full((4, 3), np.nan), y)
    with pytest.raises(ValueError, match="cannot be compared"):
        kernel.kernel_distance(x[:, :2], y)


def test_float32_is_near_and_refuses_other_types():
    x, y = sets(300, 250, 16)
    exact = kernel.kernel_distance(x, y, subsets=20, subset_size=100)
    near = kernel.kernel_distance(x, y, subsets=20, subset_size=100, precision="float32")
    assert near.mean == pytest.approx(exact.mean, rel=2e-6)
    assert near.std == pytest.approx(exact.std, rel=1e-4)
    assert near.mean != exact.mean
    with pytest.raises(ValueError, match="expected 'float64' or 'float32'"):
        kernel.kernel_distance(x, y, precision="float16")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16])
def test_other_types_are_computed_in_float64(dtype):
    rng = np.random.RandomState(4)
    x, y = (rng.randint(0, 200, (20, 3)).astype(dtype) for _ in range(2))
    expected = kernel.mmd2_unbiased(x.astype("f8"), y.astype("f8"))
    assert kernel.mmd2_unbiased(x, y) == expected
    assert kernel.block_kernel_distance(x, y).mean == expected
    found = kernel.kernel_distance(x, y, subsets=30, subset_size=10)
    assert found == kernel.kernel_distance(
        x.astype("f8"), y.astype("f8"), subsets=30, subset_size=10
    )


@pytest.mark.parametrize("subsets", [3, 30])
def test_no_set_is_copied_whole(subsets, monkeypatch):
    monkeypatch.setattr(kernel, "_BLOCK_ROWS", 100)
    x, y = (z.astype("f4") for z in sets(2000, 2000, 256))
    kernel.kernel_distance(x[:200], y[:200], subsets=2)
    tracemalloc.start()
    kernel.kernel_distance(x, y, subsets=subsets, subset_size=300)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # In float64 the sets are 8 MB; 30 draws and their masks are 2.
    assert peak < 4e6


def test_what_float32_cannot_hold_is_refused():
    x, y = sets(20, 20, 3)
    with pytest.raises(ValueError, match="infinity"), np.errstate(over="ignore"):
        kernel.kernel_distance(x * 1e39, y, precision="float32")


def test_blocks_by_hand():
    x, y = sets(11, 7, 3)
    # ceil(11 / 4) = 3 blocks: sizes 3, 4, 4 and 2, 2, 3.
    parts = [((0, 3), (0, 2)), ((3, 7), (2, 4)), ((7, 11), (4, 7))]
    expected = [naive(x[a:b], y[c:d]) for (a, b), (c, d) in parts]
    found = kernel.block_kernel_distance(x, y, max_block_size=4)
    assert found.blocks == 3
    assert found.mean == pytest.approx(np.mean(expected), rel=1e-12)
    assert found.standard_error == pytest.approx(np.std(expected, ddof=1) / 3**0.5, rel=1e-12)
    one = kernel.block_kernel_distance(x, y)
    assert one.mean == pytest.approx(naive(x, y), rel=1e-12)
    assert np.isnan(one.standard_error)


def test_blocks_refuse_what_they_cannot_use():
    x, y = sets(40, 5, 3)
    with pytest.raises(UserError, match="3 block.s. .* at least 6 rows .* 5 real"):
        kernel.block_kernel_distance(x, y, max_block_size=16)
    with pytest.raises(UserError, match="max_block_size=1"):
        kernel.block_kernel_distance(x, y, max_block_size=1)
    with pytest.raises(ValueError, match="NaN"):
        kernel.block_kernel_distance(np.full((4, 3), np.nan), y)
    with pytest.raises(ValueError, match="cannot be compared"):
        kernel.block_kernel_distance(x[:, :2], y)
