"""Inception Score and Mode Score: closed forms, splits, underflow, bad input."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import inception_score as module
from ganpipe.metrics.inception_score import inception_score, mode_score


def certain(labels, classes=4):
    return 1e4 * np.eye(classes)[np.asarray(labels)]


def test_certain_and_even_is_the_number_of_classes():
    mean, std = inception_score(certain(np.arange(40) % 4), splits=5)
    assert mean == pytest.approx(4, rel=1e-13)
    assert std == pytest.approx(0, abs=1e-12)


def test_a_dropped_mode_and_a_collapse():
    assert inception_score(certain(np.arange(30) % 3), splits=1)[0] == pytest.approx(3, rel=1e-13)
    assert inception_score(certain(np.zeros(30, int)), splits=1)[0] == pytest.approx(1, rel=1e-13)


def test_undecided_is_one_and_an_offset_changes_nothing():
    assert inception_score(np.full((20, 7), 5.0))[0] == pytest.approx(1, rel=1e-13)
    x = np.random.RandomState(0).standard_normal((50, 6))
    moved = x + np.arange(50)[:, None] * 100
    assert inception_score(moved)[0] == pytest.approx(inception_score(x)[0], rel=1e-11)


def test_two_points_by_hand():
    # p = (.75, .25) and (.25, .75), p(y) = (.5, .5): KL = log 2 + .75 log .75 + .25 log .25.
    x = np.log([[0.75, 0.25], [0.25, 0.75]])
    expected = 2 * 0.75**0.75 * 0.25**0.25
    assert inception_score(x, splits=1)[0] == pytest.approx(expected, rel=1e-14)


def test_split_bounds_and_spread():
    # 7 rows in 3 splits: 0..2, 2..4, 4..7. The last holds {2, 2, 1}: exp(entropy) = 3 / 2^(2/3).
    mean, std = inception_score(certain([0, 0, 0, 1, 2, 2, 1]), splits=3)
    expected = [1, 2, 3 / 2 ** (2 / 3)]
    assert mean == pytest.approx(np.mean(expected), rel=1e-13)
    assert std == pytest.approx(np.std(expected), rel=1e-12)


def test_shuffling_is_the_published_permutation():
    x = certain(np.arange(40) // 10)
    order = np.random.RandomState(7).permutation(40)
    assert inception_score(x, shuffle_seed=7) == inception_score(x[order])
    # In file order each split holds a single class.
    assert inception_score(x, splits=4)[0] == pytest.approx(1)
    assert inception_score(x, splits=4, shuffle_seed=7)[0] > 2


def test_blocks_change_nothing(monkeypatch):
    x = np.random.RandomState(1).standard_normal((100, 5)) * 3
    whole = inception_score(x, splits=2), mode_score(x, x[:50])
    monkeypatch.setattr(module, "_BLOCK_ROWS", 7)
    assert inception_score(x, splits=2) == pytest.approx(whole[0], rel=1e-12)
    assert mode_score(x, x[:50]) == pytest.approx(whole[1], rel=1e-12)


def test_mode_score():
    # Fakes miss half of the reals' classes: IS 2, KL(p_g || p_r) = log 2, so MS = 1.
    fake, real = certain(np.arange(20) % 2), certain(np.arange(20) % 4)
    assert mode_score(fake, real) == pytest.approx(1, rel=1e-12)
    assert mode_score(real, real) == pytest.approx(4, rel=1e-12)
    # Fakes of classes that the reals do not have: 0 in the limit, and no NaN.
    assert mode_score(real, fake) == 0.0


def test_a_marginal_below_the_least_float_still_counts():
    # Reals give class 2 the probability e^-800, the fakes e^-10: KL has the part 790 e^-10.
    fake = np.array([[0.0, 0.0, -10.0]])
    real = np.array([[0.0, 0.0, -800.0]])
    p = np.exp(fake[0]) / np.exp(fake[0]).sum()
    q = np.array([-np.log(2), -np.log(2), -800 - np.log(2)])
    expected = np.exp(-np.sum(p * (np.log(p) - q)))
    assert mode_score(fake, real) == pytest.approx(expected, rel=1e-12)


def test_bad_input():
    x = np.zeros((5, 3))
    with pytest.raises(UserError, match="10 split.* 5 images.*--num"):
        inception_score(x)
    with pytest.raises(UserError, match="0 split"):
        inception_score(x, splits=0)
    with pytest.raises(UserError, match="NaN"):
        inception_score(np.full((20, 3), np.nan))
    with pytest.raises(UserError, match="empty"):
        mode_score(x, x[:0])
    with pytest.raises(ValueError, match="2 or more classes"):
        inception_score(np.zeros((5, 1)))
    with pytest.raises(ValueError, match="not comparable"):
        mode_score(x, np.zeros((5, 4)))
