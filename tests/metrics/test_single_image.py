"""Single-image Frechet distance: places do not matter, known Gaussians, singular maps."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import single_image
from ganpipe.metrics.frechet import GaussianStatistics, frechet_distance


def feature_map(seed, height=12, width=10, channels=5):
    rng = np.random.RandomState(seed)
    return rng.standard_normal((height, width, channels)).astype("f4")


def test_the_same_patches_elsewhere_are_the_same():
    x = feature_map(0)
    rows = np.random.RandomState(1).permutation(x.reshape(-1, 5)).reshape(x.shape)
    assert single_image.map_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert single_image.map_distance(x, rows) == pytest.approx(0, abs=1e-9)
    assert single_image.map_distance(x, x[::-1, ::-1]) == pytest.approx(0, abs=1e-9)


def test_a_shift_by_hand():
    # Equal covariances: the squared length of the shift alone, 5 channels x 2^2.
    x = feature_map(2)
    assert single_image.map_distance(x, x + 2) == pytest.approx(20, rel=1e-5)


def test_ddof_1_by_hand():
    # Locations {0, 2} and {10, 16}: 12^2 + (sqrt 2 - sqrt 18)^2 = 152; with ddof 0 148.
    real, fake = np.array([[[0.0], [2.0]]]), np.array([[[10.0]], [[16.0]]])
    assert single_image.map_distance(real, fake) == pytest.approx(152, rel=1e-12)


def test_equals_the_distance_of_the_moments():
    x, y = feature_map(3), feature_map(4, 9, 20) * 1.5
    a, b = (GaussianStatistics.of(v.reshape(-1, 5)) for v in (x, y))
    expected = frechet_distance(a.mean, a.cov, b.mean, b.cov)
    assert single_image.map_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_the_published_eps_changes_next_to_nothing_at_full_rank():
    x, y = feature_map(5), feature_map(6) * 1.5
    a, b = (GaussianStatistics.of(v.reshape(-1, 5)) for v in (x, y))
    small = 1e-6 * np.eye(5)
    moved = frechet_distance(a.mean, a.cov + small, b.mean, b.cov + small)
    assert single_image.map_distance(x, y) == pytest.approx(moved, rel=1e-5)


def test_mean_over_pairs_of_any_size():
    real = [feature_map(7), feature_map(8, 4, 4), feature_map(9, 1, 5)]
    fake = [feature_map(10), feature_map(11, 3, 7), feature_map(12, 2, 2)]
    found = single_image.single_image_frechet(real, fake)
    values = [single_image.map_distance(a, b) for a, b in zip(real, fake, strict=True)]
    np.testing.assert_allclose(found.per_pair, values, rtol=1e-15)
    assert (found.mean, found.std) == pytest.approx((np.mean(values), np.std(values)))
    np.testing.assert_array_equal(found.locations, [[120, 120], [16, 21], [5, 4]])
    assert found.singular == 1  # A covariance of 5 channels needs 6 locations.


def test_an_array_of_maps_and_a_repeated_image():
    real = np.repeat(feature_map(13)[None], 3, axis=0)
    fake = np.stack([feature_map(13), feature_map(13) + 1, feature_map(13) + 2])
    found = single_image.single_image_frechet(real, fake)
    np.testing.assert_allclose(found.per_pair, [0, 5, 20], rtol=1e-5, atol=1e-9)


def test_memorised_and_collapsed():
    x = feature_map(14)
    blank = np.full_like(x, x.mean())  # One colour: no spread. Its variance is missing.
    spread = np.trace(np.cov(x.reshape(-1, 5).astype("f8"), rowvar=False))
    gap = np.square(x.reshape(-1, 5).mean(0, dtype="f8") - blank[0, 0].astype("f8")).sum()
    assert single_image.map_distance(x, blank) == pytest.approx(spread + gap, rel=1e-9)


def test_bad_input_is_refused():
    x = feature_map(0)
    with pytest.raises(UserError, match="at least 2 locations"):
        single_image.map_distance(x, x[:1, :1])
    with pytest.raises(UserError, match=r"expected \(H, W, C\)"):
        single_image.map_distance(x[0], x)
    with pytest.raises(UserError, match="5 and 4 channels"):
        single_image.map_distance(x, x[..., :4])
    with pytest.raises(UserError, match="NaN"):
        single_image.map_distance(x, np.full_like(x, np.nan))
    with pytest.raises(UserError, match="1 real and 2 generated"):
        single_image.single_image_frechet([x], [x, x])
    with pytest.raises(UserError, match="0 real"):
        single_image.single_image_frechet([], [])
