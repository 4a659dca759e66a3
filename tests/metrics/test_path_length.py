"""Perceptual path length: known angles, generators with a known answer, trimming, refusals."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import path_length as ppl


def degrees(angle):
    return np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])


def test_slerp_moves_by_angle_and_ignores_length():
    a, b = 3 * degrees(10), 0.5 * degrees(70)
    for t, angle in ((0, 10), (0.25, 25), (0.5, 40), (1, 70), (1.5, 100)):
        np.testing.assert_allclose(ppl.slerp(a, b, t), degrees(angle), atol=1e-14)


def test_slerp_of_one_direction_stays():
    a = np.array([[0.3, -0.4, 1.2], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(ppl.slerp(a, 2 * a, 0.7), ppl.normalise(a), atol=1e-7)


def test_slerp_weights_keep_length_and_end_points():
    a, b = 3 * degrees(10), 0.5 * degrees(70)
    np.testing.assert_allclose(ppl.slerp_weights(a, b, 0.0), a, atol=1e-14)
    np.testing.assert_allclose(ppl.slerp_weights(a, b, 1.0), b, atol=1e-14)
    # Equal lengths: the same arc as slerp, at that length.
    found = ppl.slerp_weights(3 * degrees(10), 3 * degrees(70), 0.25)
    np.testing.assert_allclose(found, 3 * degrees(25), atol=1e-14)
    unit = ppl.slerp_weights(a, b, 0.3, unit=True)
    assert np.linalg.norm(unit) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("b", [np.array([2.0, 4.0]), np.zeros(2), np.array([-1.0, -2.0])])
def test_slerp_weights_go_straight_where_no_angle_is_defined(b):
    a = np.array([1.0, 2.0])
    np.testing.assert_allclose(ppl.slerp_weights(a, b, 0.25), a + (b - a) / 4, atol=1e-12)


def test_lerp():
    np.testing.assert_array_equal(ppl.lerp([1.0, 2.0], [3.0, 6.0], 0.25), [1.5, 3.0])


def test_trimmed_keeps_both_ends():
    # 101 values 0..100: the 1st percentile is 1 and the 99th 99, both kept.
    found = ppl.trimmed(np.random.RandomState(0).permutation(np.arange(101.0)))
    assert (found.low, found.high, found.kept, found.count) == (1, 99, 99, 101)
    assert found.mean == 50
    # 5 values: "lower" of 0.04 is the smallest, "higher" of 3.96 the largest: all are kept.
    assert ppl.trimmed(np.array([5.0, 1, 2, 4, 1000])).kept == 5


def test_face_crop_and_shrinking():
    x = np.arange(16 * 16.0).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(ppl.crop_face(x), x[:, 6:14, 4:12])
    small = ppl.shrink(x, 8)
    assert small[0, 0, 0, 0] == (0 + 1 + 16 + 17) / 4
    assert small.shape == (1, 8, 8, 1)
    assert ppl.shrink(x, 16) is x and ppl.shrink(x, 32) is x
    with pytest.raises(UserError, match="cannot be averaged"):
        ppl.shrink(np.zeros((1, 10, 10, 1)), 3)


def as_images(latents, index):
    """Pixels are latents: (B, d) -> (B, 1, d, 1), in float64 so that a step of 1e-4 is exact."""
    return np.asarray(latents, np.float64)[:, None, :, None] * 0.1


def squared(x, y):
    return np.square((x.astype("f8") - y) * 10).sum(axis=(1, 2, 3))


def length(generate=as_images, distance=squared, **settings):
    defaults = {"z_dim": 8, "num_samples": 300, "space": "z", "show": False, "size": None}
    everything = {"percentiles": (0.0, 100.0), "epsilon": 1e-2}
    return ppl.perceptual_path_length(generate, distance, **defaults | everything | settings)


def test_a_linear_generator_in_w():
    # G(w) = w: d = eps^2 |w2 - w1|^2 for every t. With w = 2 z the mean of |w2 - w1|^2 is 4 * 2 d.
    double = lambda z, index: 2 * z  # noqa: E731
    for sampling in ("end", "full"):
        found = length(space="w", map_latents=double, sampling=sampling, num_samples=3000)
        # chi^2 with 8 degrees: std of the mean is 64 sqrt(2 / 8) / sqrt(3000) = 0.58.
        assert found.mean == pytest.approx(64, abs=2.4)


def test_a_linear_generator_in_z_measures_the_angle():
    # Along the great circle |step| = 2 sin(angle eps / 2), whatever t is.
    z = np.random.default_rng([0, 0]).standard_normal((300, 2, 8))
    cosine = np.sum(ppl.normalise(z[:, 0]) * ppl.normalise(z[:, 1]), axis=1)
    expected = np.mean((2 * np.sin(np.arccos(cosine) * 1e-2 / 2) / 1e-2) ** 2)
    assert length().mean == pytest.approx(expected, rel=1e-4)
    assert length(sampling="full").mean == pytest.approx(expected, rel=1e-4)
    straight = np.mean(np.square(z[:, 1] - z[:, 0]).sum(axis=1))
    assert length(interpolation="lerp").mean == pytest.approx(straight, rel=1e-4)


def test_full_and_end_differ_for_a_curved_generator():
    jump = lambda w, index: as_images(np.square(w), index)  # noqa: E731
    settings = {"space": "w", "map_latents": lambda z, index: z}
    assert length(jump, **settings).mean > 1.5 * length(jump, sampling="full", **settings).mean


def test_a_constant_generator_has_length_0():
    assert length(lambda z, index: np.zeros((len(z), 2, 2, 1))).mean == 0


def test_noise_shared_through_the_index_cancels():
    def noisy(z, index):
        noise = np.stack([np.random.RandomState(i).standard_normal(8) for i in index])
        return as_images(z + noise, index)

    assert length(noisy, num_samples=40).mean == pytest.approx(
        length(num_samples=40).mean, rel=1e-3
    )


@pytest.mark.parametrize("batch_size", [1, 7, 300, 512])
def test_batches_are_static_and_change_nothing(batch_size):
    sizes, seen = set(), set()

    def generate(z, index):
        sizes.add(len(z))
        seen.update(index.tolist())
        return as_images(z, index)

    found = length(generate, batch_size=batch_size, sampling="full")
    assert found.mean == pytest.approx(length(sampling="full").mean, rel=1e-6)
    assert sizes == {batch_size}
    assert seen == set(range(300))


def test_the_step_and_the_seed():
    # d / eps^2: a smooth generator's length hardly depends on eps.
    assert length(epsilon=2e-2).mean == pytest.approx(length().mean, rel=1e-3)
    assert length(seed=1).mean != length().mean


def test_rounding_ruins_it_and_is_refused_unless_asked_for():
    def rounded(z, index):
        return np.clip(as_images(z, index) * 127 + 128, 0, 255).astype(np.uint8)

    with pytest.raises(UserError, match="uint8 images, expected floats"):
        length(rounded)
    exact, coarse = length(epsilon=1e-4), length(epsilon=1e-4, quantise=True)
    assert not 1 / 3 < coarse.mean / exact.mean < 3


def test_images_are_cropped_then_shrunk():
    shapes = []

    def distance(x, y):
        shapes.append(x.shape)
        return np.zeros(len(x))

    length(lambda z, i: np.zeros((len(z), 64, 64, 3)), distance, crop=True, size=16, num_samples=1)
    assert shapes == [(16, 16, 16, 3)]


def test_bad_input_is_refused():
    broken = lambda z, index: np.full((len(z), 2, 2, 1), np.nan)  # noqa: E731
    for settings, words in (
        ({"space": "x"}, "expected z or w"),
        ({"sampling": "middle"}, "full or end"),
        ({"space": "w"}, "map_latents"),
        ({"map_latents": as_images}, "map_latents"),
        ({"interpolation": "cubic"}, "slerp_any"),
        ({"num_samples": 0}, "must be positive"),
        ({"generate": broken}, "NaN or infinite pixels"),
        ({"generate": lambda z, index: np.zeros(3)}, r"expected \(16, H, W, C\)"),
        ({"distance": lambda x, y: np.zeros(3)}, r"expected \(16,\)"),
        ({"distance": lambda x, y: np.full(16, np.nan)}, "300 of 300 distances"),
    ):
        with pytest.raises(UserError, match=words):
            length(**settings)
    with pytest.raises(UserError, match="N >= 1"):
        ppl.trimmed(np.zeros(0))
