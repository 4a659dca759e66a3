import colorsys

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import ada, ada_colour, ada_filter
from ganpipe.ops.ada_draws import Draws
from tests.ops.test_ada import SEED, images

RGB = np.array([0.9, -0.3, 0.1])


def turned(matrix, rgb=RGB):
    return (matrix[0].numpy() @ [*rgb, 1])[:3]


def one(value):
    return tf.constant([value], tf.float32)


def test_matrices_by_hand():
    np.testing.assert_allclose(turned(ada_colour.brightness(one(0.25))), RGB + 0.25, rtol=1e-6)
    np.testing.assert_allclose(turned(ada_colour.contrast(one(1.5))), RGB * 1.5, rtol=1e-6)
    luma = RGB.mean()
    np.testing.assert_allclose(turned(ada_colour.luma_flip(one(1.0))), RGB - 2 * luma, rtol=1e-6)
    np.testing.assert_allclose(turned(ada_colour.luma_flip(one(0.0))), RGB, rtol=1e-6)
    np.testing.assert_allclose(
        turned(ada_colour.saturation(one(3.0))), luma + 3 * (RGB - luma), rtol=1e-5
    )
    third = ada_colour.hue(one(2 * np.pi / 3))
    np.testing.assert_allclose(turned(third), RGB[[2, 0, 1]], atol=1e-6)


def test_hue_turns_as_in_hsv():
    for turn in (1 / 6, 1 / 3, 1 / 2):  # where both are permutations and complements
        matrix = ada_colour.hue(one(2 * np.pi * turn))[0, :3, :3].numpy()
        red = matrix @ [1.0, 0, 0]
        hue = colorsys.rgb_to_hsv(*(red - red.min()))[0]
        assert abs(hue - turn) < 1e-5
    matrix = ada_colour.hue(one(1.1))[0, :3, :3].numpy()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(matrix @ [1, 1, 1], [1, 1, 1], atol=1e-6)
    assert np.linalg.det(matrix) > 0.99


def test_order_is_brightness_contrast_flip_hue_saturation():
    options = ada.DEFAULTS | dict.fromkeys(ada.PIPES["color"], 1.0)
    q, e = 0.9, 0.9061938  # erfinv(0.8)
    product = ada_colour.colour_transforms(Draws(1, 0.0, SEED, q), options, 3)
    c = (RGB + 0.2 * e) * 2 ** (0.5 * e)
    c = c - 2 * c.mean()
    c = turned(ada_colour.hue(one(0.8 * np.pi)), c)
    c = c.mean() + 2**e * (c - c.mean())
    np.testing.assert_allclose(turned(product), c, rtol=1e-5)


def test_random_parameters_have_the_papers_spread():
    draws = Draws(20000, tf.constant(1.0), SEED)

    def of(name):
        options = ada.DEFAULTS | {name: 1.0}
        return ada_colour.colour_transforms(draws, options, 3).numpy()

    np.testing.assert_allclose(np.std(of("brightness")[:, 0, 3]), 0.2, rtol=0.02)
    np.testing.assert_allclose(np.std(np.log2(of("contrast")[:, 0, 0])), 0.5, rtol=0.02)
    saturation = 1.5 * (of("saturation")[:, 0, 0] - 1 / 3)
    np.testing.assert_allclose(np.std(np.log2(saturation)), 1.0, rtol=0.02)


def test_grey_images_see_the_mean_row():
    x = images(2, 4, channels=1)
    rng = np.random.default_rng(3)
    matrix = tf.constant(rng.normal(size=[2, 4, 4]), tf.float32)
    colour = ada_colour.recolour(tf.tile(x, [1, 1, 1, 3]), matrix)
    expected = tf.reduce_mean(colour, axis=-1, keepdims=True)
    np.testing.assert_allclose(ada_colour.recolour(x, matrix), expected, atol=1e-6)


def test_other_channels_are_refused():
    with pytest.raises(UserError, match="found 2 channels"):
        ada_colour.recolour(images(1, 4, channels=2), tf.eye(4)[None])


def test_filter_bank_splits_octaves_and_sums_to_the_identity():
    bank = ada_filter.filter_bank()
    assert bank.shape == (4, 43)
    np.testing.assert_allclose(bank.sum(axis=0), np.eye(43)[21], atol=1e-9)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(bank.sum(axis=1), [1, 0, 0, 0], atol=1e-9)
    nyquist = (-1.0) ** np.arange(43)
    np.testing.assert_allclose(bank @ -nyquist, [0, 0, 0, 1], atol=1e-9)


def test_band_gains_keep_the_expected_power():
    draws = Draws(64, tf.constant(0.7), SEED)
    gains = ada_filter.band_gains(draws, ada.DEFAULTS | {"imgfilter": 1.0}).numpy()
    assert gains.shape == (64, 4)
    one_band = ada.DEFAULTS | {"imgfilter": 1.0, "imgfilter_bands": (0.0, 0.0, 1.0, 0.0)}
    gains = ada_filter.band_gains(draws, one_band).numpy()
    np.testing.assert_allclose(gains**2 @ ada_filter.EXPECTED_POWER, 1, rtol=1e-5)
    hit = np.mean(gains[:, 2] != 1)
    assert 0.5 < hit < 0.9
    np.testing.assert_allclose(gains[:, 0], gains[:, 1])


def test_filtering_by_hand():
    x, gains = images(2, 24, 30), np.array([[1, 2, 3, 4], [0.5, 1, 1, 1]], np.float32)
    result = ada_filter.filter_bands(x, tf.constant(gains)).numpy()
    for image, gain, answer in zip(x.numpy(), gains, result, strict=True):
        taps = gain @ ada_filter.filter_bank()
        padded = np.pad(image, [[21, 21], [21, 21], [0, 0]], mode="reflect")
        rows = sum(taps[j] * padded[j : j + 24] for j in range(43))
        expected = sum(taps[j] * rows[:, j : j + 30] for j in range(43))
        np.testing.assert_allclose(answer, expected, atol=2e-5)
