"""Nearest-neighbour test, Gaussian MMD, Wasserstein distance: hand-made sets and closed forms."""

import itertools
import sys

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import distances
from ganpipe.metrics.two_sample import gaussian_mmd, nearest_neighbour_test, wasserstein


def normal(seed, n, d, shift=0.0):
    return np.random.RandomState(seed).standard_normal((n, d)) + shift


def test_equal_distributions_are_told_apart_by_chance_only():
    found = nearest_neighbour_test(normal(0, 1500, 3), normal(1, 1500, 3))
    assert found.accuracy == pytest.approx(0.5, abs=0.04)


def test_separate_sets_are_always_told_apart():
    found = nearest_neighbour_test(normal(2, 40, 3, shift=100), normal(3, 60, 3), k=3)
    assert (found.accuracy, found.accuracy_real, found.accuracy_fake) == (1, 1, 1)


def test_memorised_reals_give_zero():
    x = normal(4, 100, 5)
    found = nearest_neighbour_test(x.copy(), x)
    assert (found.accuracy, found.accuracy_real, found.accuracy_fake) == (0, 0, 0)


def test_collapsed_fakes():
    real = normal(5, 200, 2)
    fake = np.repeat(real[:1], 50, 0) + 1e-6 * normal(6, 50, 2)
    found = nearest_neighbour_test(fake, real)
    assert found.accuracy_fake > 0.95
    assert found.accuracy_real > 0.95


def test_votes_and_ties_by_hand():
    real, fake = np.array([[0.0], [2.0]]), np.array([[1.0], [9.0]])
    # 0 -> 1 (fake): wrong; 2 -> 1 (fake): wrong; 1 -> 0 and 2 as near, both real: wrong;
    # 9 -> 2 (real): wrong.
    assert nearest_neighbour_test(fake, real).accuracy == 0
    # Two votes, one is enough for real: 0 -> 1, 2 real; 2 -> 1, 0 real; 1 and 9: real, wrong.
    found = nearest_neighbour_test(fake, real, k=2)
    assert (found.accuracy_real, found.accuracy_fake) == (1, 0)


def test_mmd_by_hand():
    # Reals 0 and 2: s = (0 + 4 + 4 + 0) / 4 = 2. Fakes 1, 1. k(d) = exp(-d^2 / 4).
    real, fake = np.array([[0.0], [2.0]]), np.array([[1.0], [1.0]])
    expected = (2 + 2 * np.exp(-1)) / 4 + 1 - 2 * np.exp(-0.25)
    assert gaussian_mmd(fake, real) == pytest.approx(np.sqrt(expected), rel=1e-12)
    expected = (2 + 2 * np.exp(-4)) / 4 + 1 - 2 * np.exp(-1)
    assert gaussian_mmd(fake, real, sigma=0.5) == pytest.approx(np.sqrt(expected), rel=1e-12)


def test_mmd_of_identical_and_of_separate_sets(monkeypatch):
    x, y = normal(7, 80, 4), normal(8, 60, 4)
    assert gaussian_mmd(x.copy(), x) == pytest.approx(0, abs=1e-7)
    # The fakes are alike and far away: what is left is the kernel's mean in each set.
    far = np.full((5, 4), 1e5)
    own = distances.squared(x, x)
    expected = 1 + np.exp(-own / (2 * own.mean())).mean()
    assert gaussian_mmd(far, x) == pytest.approx(np.sqrt(expected), rel=1e-9)
    whole = gaussian_mmd(x, y)
    monkeypatch.setattr(distances, "_BLOCK_VALUES", 200)
    assert gaussian_mmd(x, y) == pytest.approx(whole, rel=1e-10)


def test_wasserstein():
    pytest.importorskip("scipy")
    x, y = normal(9, 6, 2), normal(10, 6, 2)
    for squared in (False, True):
        cost = distances.squared(x, y) ** (1.0 if squared else 0.5)
        plans = itertools.permutations(range(6))
        expected = min(cost[np.arange(6), list(p)].mean() for p in plans)
        assert wasserstein(x, y, squared_cost=squared) == pytest.approx(expected, rel=1e-12)
    # A shift by v costs |v|, and its square squared; the order of rows does not matter.
    moved = normal(11, 100, 3)[::-1] + np.array([3.0, 4.0, 0.0])
    assert wasserstein(moved, normal(11, 100, 3), squared_cost=True) == pytest.approx(25, rel=1e-12)
    assert wasserstein(moved + np.array([20, 0, 0]), moved) == pytest.approx(20, rel=1e-12)
    assert wasserstein(x, x[::-1]) == 0
    one = np.sort(normal(12, 50, 1), 0), np.sort(normal(13, 50, 1), 0)
    assert wasserstein(*one) == pytest.approx(np.abs(one[0] - one[1]).mean(), rel=1e-12)


def test_bad_input(monkeypatch):
    x = normal(14, 5, 3)
    with pytest.raises(UserError, match="found 5 and 4: give it 4 of each"):
        wasserstein(x, x[:4])
    with pytest.raises(UserError, match="all alike"):
        gaussian_mmd(x, np.ones((5, 3)))
    with pytest.raises(UserError, match="10 real features are all alike"):
        gaussian_mmd(x, np.full((10, 3), 0.1))
    with pytest.raises(UserError, match="sigma is 0"):
        gaussian_mmd(x, x, sigma=0)
    with pytest.raises(UserError, match="k=10"):
        nearest_neighbour_test(x, x, k=10)
    with pytest.raises(UserError, match="NaN"):
        wasserstein(x, np.full((5, 3), np.inf))
    with pytest.raises(ValueError, match="cannot be compared"):
        gaussian_mmd(x, x[:, :2])
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(UserError, match="pip install scipy"):
        wasserstein(x, x)
