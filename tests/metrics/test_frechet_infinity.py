"""Extrapolation to infinitely many samples: exact lines, less bias, bad input."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import frechet, frechet_infinity, inception_score


def test_a_line_in_the_reciprocal_is_found_exactly():
    sizes = np.array([10, 20, 40, 80])
    found = frechet_infinity.extrapolate(sizes, 3 + 50 / sizes)
    assert found.value == pytest.approx(3, rel=1e-12)
    assert found.slope == pytest.approx(50, rel=1e-12)
    assert found.sizes == (10, 20, 40, 80)


def test_least_squares_equal_numpy():
    rng = np.random.RandomState(0)
    sizes, values = np.arange(5, 20), rng.standard_normal(15)
    slope, value = np.polyfit(1 / sizes, values, 1)
    found = frechet_infinity.extrapolate(sizes, values)
    assert (found.value, found.slope) == pytest.approx((value, slope), rel=1e-10)


def test_the_bias_of_equal_distributions_goes():
    # True distance 0; with 400 to 2000 samples of 32 dimensions the plain one is well above.
    fake = np.random.RandomState(1).standard_normal((2000, 32))
    found = frechet_infinity.frechet_infinity(
        fake, np.zeros(32), np.eye(32), points=8, min_size=400
    )
    assert found.sizes[0] == 400
    assert found.sizes[-1] == 2000
    assert found.values[-1] == pytest.approx(
        frechet.frechet_to_reference(fake, np.zeros(32), np.eye(32)), rel=1e-9
    )
    assert abs(found.value) < found.values[-1] / 4 < found.values[0] / 4
    assert found.slope > 0


def test_inception_score():
    logits = 2 * np.random.RandomState(2).standard_normal((600, 40))
    found = frechet_infinity.inception_score_infinity(logits, points=5, min_size=100)
    whole = inception_score.inception_score(logits, splits=1)[0]
    assert found.values[-1] == pytest.approx(whole, rel=1e-12)
    assert found.slope < 0  # few samples cannot show all classes: the score is too low
    assert found.value > whole


def test_seeds():
    x = np.random.RandomState(3).standard_normal((60, 3))
    args = x, np.zeros(3), np.eye(3)
    one, again, other = (
        frechet_infinity.frechet_infinity(*args, points=4, min_size=10, seed=s) for s in (0, 0, 1)
    )
    assert one == again
    assert one.values[:-1] != other.values[:-1]


def test_bad_input():
    x = np.zeros((60, 3))
    with pytest.raises(UserError, match="from 5000 to the 60 samples.*--num"):
        frechet_infinity.frechet_infinity(x, np.zeros(3), np.eye(3))
    with pytest.raises(UserError, match="at least 2 points"):
        frechet_infinity.inception_score_infinity(x, points=1, min_size=10)
    with pytest.raises(ValueError, match="two different"):
        frechet_infinity.extrapolate(np.array([5, 5]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="belong together"):
        frechet_infinity.extrapolate(np.array([5, 6]), np.array([1.0]))
