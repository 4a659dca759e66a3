"""Modulation and demodulation: both forms, against kernels made by hand."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.layers.modulated_conv import demodulation, modulated_conv2d
from ganpipe.ops import fir


def case(size=3, batch=3, channels=4, filters=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, 6, 6, channels)).astype(np.float32)
    kernel = rng.normal(size=(size, size, channels, filters)).astype(np.float32)
    styles = rng.normal(1.0, 0.5, (batch, channels)).astype(np.float32)
    return tf.constant(x), tf.constant(kernel), tf.constant(styles)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("size", "up", "demodulate"), [(3, False, True), (3, True, True), (1, False, False)]
)
def test_each_image_has_its_kernel(size, up, demodulate, fused):
    x, kernel, styles = case(size)
    got = modulated_conv2d(x, kernel, styles, demodulate=demodulate, up=up, fused=fused, gain=1.5)
    for b in range(len(x)):
        own = kernel.numpy().astype(np.float64) * styles.numpy()[b][:, None]
        if demodulate:
            own = own / np.sqrt((own**2).sum((0, 1, 2)) + 1e-8)
        op = fir.up_conv if up else fir.conv
        expected = 1.5 * op(tf.cast(x[b : b + 1], tf.float64), tf.constant(own))
        np.testing.assert_allclose(got[b : b + 1], expected, atol=2e-5)


def test_demodulated_kernels_have_unit_norm():
    _, kernel, styles = case()
    scale = demodulation(kernel, styles).numpy()
    for b, style in enumerate(styles.numpy()):
        norms = np.sqrt(((kernel.numpy() * style[:, None]) ** 2).sum((0, 1, 2)))
        np.testing.assert_allclose(scale[b] * norms, 1.0, rtol=1e-5)


def test_demodulation_forgets_the_size_of_a_style():
    x, kernel, styles = case()
    one = modulated_conv2d(x, kernel, styles)
    np.testing.assert_allclose(modulated_conv2d(x, kernel, 7.0 * styles), one, atol=1e-5)


@pytest.mark.parametrize("up", [False, True])
def test_a_shared_map_is_broadcast(up):
    x, kernel, styles = case()
    wide = tf.tile(x[:1], [3, 1, 1, 1])
    expected = modulated_conv2d(wide, kernel, styles, up=up)
    for fused in (False, True):
        got = modulated_conv2d(x[:1], kernel, styles, up=up, fused=fused)
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_bfloat16_in_bfloat16_out():
    x, kernel, styles = case()
    got = modulated_conv2d(tf.cast(x, tf.bfloat16), kernel, styles)
    assert got.dtype == tf.bfloat16
    np.testing.assert_allclose(
        tf.cast(got, tf.float32), modulated_conv2d(x, kernel, styles), atol=0.1
    )
