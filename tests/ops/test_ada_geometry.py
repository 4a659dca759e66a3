import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import ada, ada_geometry, ada_resample
from ganpipe.ops.ada_draws import Draws
from tests.ops.test_ada import SEED, images


def transform(percentile, height=16, width=16, **on):
    options = ada.DEFAULTS | on
    draws = Draws(1, tf.constant(0.0), SEED, percentile)
    return ada_geometry.inverse_transforms(draws, options, height, width)[0].numpy()


def warped(x, matrix):
    return ada_geometry.warp(x, tf.constant(matrix, tf.float32)[None]).numpy()


def shifted(x, right, down):
    """By hand: whole pixels, reflected at the outer pixels."""
    _, height, width, _ = x.shape
    rows = [abs(i) if i < height else 2 * height - 2 - i for i in range(-down, height - down)]
    columns = [abs(i) if i < width else 2 * width - 2 - i for i in range(-right, width - right)]
    return x.numpy()[:, rows][:, :, columns]


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [np.cos(0.2 * x - 0.1 * y + 0.4), np.sin(0.15 * x + 0.2 * y), np.cos(0.25 * y)]
    return tf.constant(np.stack(waves, axis=-1)[None], tf.float32)


def test_flip_and_quarter_turns_by_hand():
    """Close only, as officially: sym6 is not symmetric, and the flip comes between two of it."""
    x = smooth(16, 12)
    np.testing.assert_allclose(transform(0.7, xflip=1), np.diag([-1, 1, 1]))
    result = warped(x, np.diag([-1, 1, 1]))
    np.testing.assert_allclose(result, x[:, :, ::-1], atol=0.1)
    np.testing.assert_allclose(result[:, 3:-3, 3:-3], x[:, 3:-3, 3:-3][:, :, ::-1], atol=0.02)
    x = smooth(16, 16)
    for turns, percentile in enumerate([0.1, 0.3, 0.6, 0.9]):
        matrix = transform(percentile, rotate90=1)
        assert set(matrix.ravel()) <= {-1.0, 0.0, 1.0}
        # k quarter turns, to the left as seen (the inverse one goes from x to y, which is down).
        np.testing.assert_allclose(warped(x, matrix), np.rot90(x, turns, axes=(1, 2)), atol=0.1)


@pytest.mark.parametrize("axis", [1, 2])
def test_flip_of_noise_is_what_the_filters_make_of_it(axis):
    """Along one axis: upsampled by the filter, reversed, downsampled by its adjoint."""
    x = images(1, 24)
    matrix = np.diag([-1.0, 1, 1] if axis == 2 else [1.0, -1, 1])
    taps = ada_resample.TAPS * np.sqrt(2)
    kernel = np.convolve(taps, taps)[::2]  # where twice the same way round gives a unit pulse
    flipped = np.flip(x, axis=axis)
    padded = np.pad(flipped, [(5, 6) if i == axis else (0, 0) for i in range(4)], mode="reflect")
    parts = [np.take(padded, range(j, j + 24), axis=axis) for j in range(12)]
    expected = sum(k * part for k, part in zip(kernel, parts, strict=True))
    np.testing.assert_allclose(warped(x, matrix), expected, atol=3e-6)
    # Twice is the identity once more, if it is one transform.
    np.testing.assert_allclose(warped(x, matrix @ matrix), x, atol=3e-6)


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, -2), (-1, 1), (9, -8), (15, 15)])
def test_whole_shifts_reflect_the_image(right, down):
    x = images(1, 16)
    matrix = np.eye(3)
    matrix[:2, 2] = -right, -down
    # Beyond a shift of 10 the filters reach further than the padding, at most W - 1.
    clear = slice(None) if max(abs(right), abs(down)) < 10 else slice(6, 10)
    result = warped(x, matrix)[:, clear, clear]
    np.testing.assert_allclose(result, shifted(x, right, down)[:, clear, clear], atol=3e-6)


def test_shift_parameters_by_hand():
    np.testing.assert_allclose(
        transform(0.9, 40, 80, xint=1), [[1, 0, -8], [0, 1, -4], [0, 0, 1]], atol=1e-6
    )
    # erfinv(0.8) = 0.906194
    np.testing.assert_allclose(
        transform(0.9, 40, 80, xfrac=1),
        [[1, 0, -9.06194], [0, 1, -4.53097], [0, 0, 1]],
        rtol=1e-5,
    )


def test_scale_and_rotation_matrices_by_hand():
    s = 2 ** (0.2 * 0.906194)
    np.testing.assert_allclose(transform(0.9, scale=1), np.diag([1 / s, 1 / s, 1]), rtol=1e-5)
    np.testing.assert_allclose(transform(0.9, aniso=1), np.diag([1 / s, s, 1]), rtol=1e-5)
    c, n = np.cos(0.8 * np.pi), np.sin(0.8 * np.pi)
    turn = np.array([[c, -n, 0], [n, c, 0], [0, 0, 1]])
    np.testing.assert_allclose(transform(0.9, rotate=1), turn, atol=1e-6)
    together = transform(0.9, scale=1, rotate=1, aniso=1)
    zoom, stretch = np.diag([1 / s, 1 / s, 1]), np.diag([1 / s, s, 1])
    np.testing.assert_allclose(together, zoom @ turn @ stretch, atol=1e-6)


def test_random_parameters_have_the_papers_spread():
    options = ada.DEFAULTS | {"scale": 1.0}
    draws = Draws(20000, tf.constant(1.0), SEED)
    g = ada_geometry.inverse_transforms(draws, options, 16, 16).numpy()
    np.testing.assert_allclose(np.std(np.log2(g[:, 0, 0])), 0.2, rtol=0.02)
    options = ada.DEFAULTS | {"xfrac": 1.0}
    g = ada_geometry.inverse_transforms(draws, options, 16, 32).numpy()
    np.testing.assert_allclose(np.std(g[:, :2, 2], axis=0), [4.0, 2.0], rtol=0.02)
    assert abs(np.corrcoef(g[:, 0, 2], g[:, 1, 2])[0, 1]) < 0.03
    options = ada.DEFAULTS | {"xint": 1.0}
    g = ada_geometry.inverse_transforms(draws, options, 16, 32).numpy()
    np.testing.assert_array_equal(np.unique(g[:, 0, 2]), np.arange(-4, 5))
    np.testing.assert_array_equal(np.unique(g[:, 1, 2]), np.arange(-2, 3))


def test_rotation_happens_with_probability_p_in_two_halves():
    options = ada.DEFAULTS | {"rotate": 1.0}
    draws = Draws(20000, tf.constant(0.36), SEED)
    g = ada_geometry.inverse_transforms(draws, options, 16, 16).numpy()
    angle = np.arctan2(g[:, 1, 0], g[:, 0, 0])
    assert abs(np.mean(angle != 0) - 0.36) < 0.014
    assert abs(np.mean(angle)) < 0.05
    np.testing.assert_allclose(np.std(angle[angle != 0]), np.pi / np.sqrt(3), rtol=0.02)


def test_smooth_images_move_as_the_matrix_says():
    """A low-frequency wave, evaluated at the transformed positions, away from the border."""
    size = 48
    at = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(at, at)

    def wave(x, y):
        return np.cos(0.21 * x - 0.13 * y + 0.4)

    angle, zoom = 0.7, 0.9
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    matrix = np.array([[c, -s, 2.3], [s, c, -1.6], [0, 0, 1]])
    image = tf.constant(wave(x, y)[None, ..., None], tf.float32)
    expected = wave(c * x - s * y + 2.3, s * x + c * y - 1.6)
    middle = slice(12, 36)
    result = warped(image, matrix)[0, middle, middle, 0]
    np.testing.assert_allclose(result, expected[middle, middle], atol=0.015)


def test_beyond_the_padding_there_are_zeros():
    x = tf.ones([1, 16, 16, 1])
    assert np.abs(warped(x, np.diag([5.0, 5.0, 1.0]))[0, 7:9, 7:9] - 1).max() < 1e-5
    result = warped(x, np.diag([8.0, 8.0, 1.0]))[0]
    assert np.abs(result[:2]).max() < 1e-6
    assert np.abs(result[:, -2:]).max() < 1e-6


def test_far_transforms_are_finite():
    x = images(1, 8)
    for matrix in (np.diag([1e12, 1e12, 1.0]), np.diag([1e-12, 1e-12, 1.0])):
        assert np.isfinite(warped(x, matrix)).all()


def test_reflection_of_any_integer():
    by_hand = [0, 1, 2, 3, 2, 1]
    expected = [by_hand[i % 6] for i in range(-9, 12)]
    np.testing.assert_array_equal(ada_resample.reflected(np.arange(-9, 12), 4), expected)


def test_filters_are_orthonormal():
    """Down after up is the identity: TAPS sqrt 2 is orthogonal to its even shifts."""
    taps = ada_resample.TAPS * np.sqrt(2)
    for shift in range(0, 12, 2):
        np.testing.assert_allclose(taps[shift:] @ taps[: 12 - shift], shift == 0, atol=1e-9)


def test_inverse_transforms_of_other_pipes():
    assert ada_geometry.inverse_transforms(Draws(2, 0.5, SEED), ada.DEFAULTS, 8, 8) is None


@pytest.mark.parametrize("size", [97, 128, 150])
def test_blocks_of_long_axes_equal_whole_matrices(size, monkeypatch):
    monkeypatch.setattr(ada_resample, "LONGEST_WHOLE", 96)
    x = images(2, size, 2, channels=2, seed=4)
    x = tf.reshape(x, [2, size, 4])
    for features in (x, tf.concat([x, x[:, ::-1]], axis=-1)):
        whole = ada_resample.period_matrix(size) @ features
        np.testing.assert_allclose(ada_resample.up(features), whole, atol=2e-6)
        sampled = ada_resample.up(features)[:, : 2 * size + 10]
        whole = ada_resample.down_matrix(size) @ sampled
        np.testing.assert_allclose(ada_resample.down(sampled, size), whole, atol=2e-6)
