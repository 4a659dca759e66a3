"""Modes covered and divergences: dropped modes, thresholds, directions, refusals."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import modes


def test_divergences_by_hand():
    p, q = np.array([0.5, 0.5, 0]), np.array([0.25, 0.25, 0.5])
    assert modes.kl_divergence(p, q) == pytest.approx(np.log(2), rel=1e-15)
    assert modes.kl_divergence(q, p) == np.inf
    # m = (3/8, 3/8, 1/4): (log(4/3) + (log(2/3) + log 2) / 2) / 2 with shares 1, 1/2 and 1/2.
    expected = (np.log(4 / 3) + 0.5 * np.log(2 / 3) + 0.5 * np.log(2)) / 2
    assert modes.js_divergence(p, q) == pytest.approx(expected, rel=1e-14)
    assert modes.js_divergence(q, p) == pytest.approx(expected, rel=1e-14)
    apart = modes.js_divergence(np.array([1.0, 0]), np.array([0, 1.0]))
    assert apart == pytest.approx(np.log(2), rel=1e-15)


def test_codes_put_the_first_digit_first():
    digits = np.array([[1, 2, 3], [0, 0, 9], [9, 9, 9]], np.uint8)
    np.testing.assert_array_equal(modes.digit_codes(digits), [123, 9, 999])


def test_all_modes_equally_often():
    found = modes.discrete_modes(np.arange(1000), 1000)
    assert (found.covered, found.total) == (1000, 1000)
    assert (found.kl, found.reverse, found.jsd) == pytest.approx((0, 0, 0), abs=1e-12)


def test_dropped_modes():
    # Uniform on half of the codes: KL(p || uniform) = log 2, the other direction is infinite.
    found = modes.discrete_modes(np.arange(500).repeat(3), 1000)
    assert found.covered == 500
    assert found.kl == pytest.approx(np.log(2), rel=1e-12)
    assert found.reverse == np.inf
    one = modes.discrete_modes(np.full(50, 7), 1000)
    assert (one.covered, one.kl) == (1, pytest.approx(np.log(1000), rel=1e-14))


def test_a_mode_may_need_several_samples():
    codes = np.array([0, 0, 1])
    assert modes.discrete_modes(codes, 2).covered == 2
    assert modes.discrete_modes(codes, 2, min_count=2).covered == 1


def ring(count=8):
    angles = np.arange(count) * 2 * np.pi / count
    return 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_ring_with_two_modes_dropped():
    means = ring()
    points = means[:6].repeat(50, axis=0) + np.random.RandomState(0).normal(0, 0.01, (300, 2))
    found = modes.mixture_modes(points, means, 0.02)
    assert (found.covered, found.total, found.high_quality) == (6, 8, 1)
    np.testing.assert_array_equal(found.counts, [50] * 6 + [0] * 2)
    assert found.kl == pytest.approx(np.log(8 / 6), rel=1e-12)
    # Wide sets of fakes between the modes are not good, though every one has a nearest mode.
    noise = np.random.RandomState(1).uniform(-3, 3, (2000, 2))
    wide = modes.mixture_modes(noise, means, 0.02)
    assert wide.high_quality < 0.01


def test_good_samples_of_a_gaussian():
    # In two dimensions P(|x| < 3 sigma) = 1 - exp(-9 / 2) = 0.98889.
    points = np.random.RandomState(2).normal(0, 0.05, (40000, 2))
    found = modes.mixture_modes(points, np.zeros((1, 2)), 0.05)
    assert found.high_quality == pytest.approx(1 - np.exp(-4.5), abs=4 * 5.3e-4)


def test_the_threshold_is_strict_and_in_deviations():
    means = np.zeros((1, 1))
    points = np.array([[2.9], [3.0], [-3.1]])
    assert modes.mixture_modes(points, means, 1.0).counts.tolist() == [1]
    assert modes.mixture_modes(points, means, 2.0).counts.tolist() == [3]
    assert modes.mixture_modes(points, means, 1.0, threshold=3.05).counts.tolist() == [2]
    # One deviation an axis: (0, 2.5) is 2.5 away along the wide axis and 25 along the narrow one.
    wide, narrow = np.array([[0.0, 2.5]]), np.array([[2.5, 0.0]])
    for points, good in ((wide, 1), (narrow, 0)):
        found = modes.mixture_modes(points, np.zeros((1, 2)), np.array([0.1, 1.0]))
        assert found.high_quality == good


def test_unequal_weights_are_the_reference():
    means = np.array([[0.0], [10.0]])
    points = np.array([0.0, 0, 0, 10])[:, None]
    assert modes.mixture_modes(points, means, 1.0, weights=[3, 1]).kl == pytest.approx(0, abs=1e-15)
    assert modes.mixture_modes(points, means, 1.0).kl > 0.1


def test_no_good_sample_at_all():
    found = modes.mixture_modes(np.full((5, 1), 99.0), np.zeros((3, 1)), 1.0)
    assert (found.covered, found.high_quality) == (0, 0)
    assert np.isnan([found.kl, found.reverse, found.jsd]).all()


def test_blocks_change_nothing(monkeypatch):
    points, means = np.random.RandomState(3).uniform(-3, 3, (100, 2)), ring()
    whole = modes.mixture_modes(points, means, 0.2)
    monkeypatch.setattr(modes, "_BLOCK_ROWS", 7)
    np.testing.assert_array_equal(modes.mixture_modes(points, means, 0.2).counts, whole.counts)


def test_classes_against_real_proportions():
    predicted = np.repeat([0, 1], [60, 30])
    found = modes.class_modes(predicted, 3, reference=np.array([50, 25, 25]))
    # p = (2/3, 1/3, 0), q = (1/2, 1/4, 1/4): KL(p || q) = log(4/3), KL(q || p) infinite.
    assert (found.covered, found.kl) == (2, pytest.approx(np.log(4 / 3), rel=1e-14))
    assert found.reverse == np.inf
    # A class that reality does not have.
    assert modes.class_modes(predicted, 3, reference=np.array([1, 0, 1])).kl == np.inf
    same = modes.class_modes(predicted, 3, reference=np.bincount(predicted, minlength=3))
    assert (same.kl, same.jsd) == pytest.approx((0, 0), abs=1e-15)


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="span 0..3, expected 0..2"):
        modes.discrete_modes(np.array([0, 3]), 3)
    with pytest.raises(UserError, match="N >= 1"):
        modes.discrete_modes(np.array([], int), 3)
    with pytest.raises(UserError, match="float64"):
        modes.class_modes(np.array([0.0]), 3)
    with pytest.raises(UserError, match="expected 0..9"):
        modes.digit_codes(np.array([[1, 10, 0]]))
    with pytest.raises(UserError, match=r"\(N, channels\)"):
        modes.digit_codes(np.array([1, 2]))
    with pytest.raises(UserError, match="NaN"):
        modes.mixture_modes(np.full((2, 2), np.nan), ring(), 0.1)
    with pytest.raises(UserError, match=r"expected \(N, d\)"):
        modes.mixture_modes(np.zeros((2, 3)), ring(), 0.1)
    with pytest.raises(UserError, match="positive"):
        modes.mixture_modes(np.zeros((2, 2)), ring(), 0.0)
    for weights in ([1, 2], [0, 0, 0], [1, -1, 1], [1, np.nan, 1]):
        with pytest.raises(UserError, match="reference weights"):
            modes.class_modes(np.array([0]), 3, reference=np.array(weights))
