"""StyleGAN2's resampling against its definition, and derivatives of the paired convolutions."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import fir, paired_conv

F = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0


def upfirdn(x, up=1, down=1, pad=(0, 0), gain=1.0):
    """Zero-insert, pad, correlate with f, take every `down`-th: the definition, by loops."""
    n, height, width, channels = x.shape
    wide = np.zeros((n, up * height, up * width, channels))
    wide[:, ::up, ::up] = x
    wide = np.pad(wide, [(0, 0), pad, pad, (0, 0)])
    rows, columns = wide.shape[1] - 3, wide.shape[2] - 3
    y = np.zeros((n, rows, columns, channels))
    for i in range(4):
        for j in range(4):
            y += gain * F[i, j] * wide[:, i : i + rows, j : j + columns]
    return y[:, ::down, ::down]


def correlate(x, kernel, stride=1):
    """(N, H, W, C) * (k, k, C, O) without padding."""
    size = len(kernel)
    rows, columns = (x.shape[axis] - size + 1 for axis in (1, 2))
    y = 0.0
    for i in range(size):
        for j in range(size):
            y = y + x[:, i : i + rows, j : j + columns] @ kernel[i, j]
    return y[:, ::stride, ::stride]


def normal(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def test_images_are_resampled_as_defined():
    x = normal(2, 6, 6, 3)
    np.testing.assert_allclose(fir.upsample(x), upfirdn(x, up=2, pad=(2, 1), gain=4), atol=1e-12)
    np.testing.assert_allclose(fir.downsample(x), upfirdn(x, down=2, pad=(1, 1)), atol=1e-12)


def test_convolutions_pad_once():
    x, kernel = normal(2, 6, 6, 3), normal(3, 3, 3, 4, seed=1)
    # A true convolution after zero-insertion: the whole of it, 2 H + 1, comes before the filter.
    wide = np.zeros((2, 12, 12, 3))
    wide[:, ::2, ::2] = x
    whole = correlate(np.pad(wide, [(0, 0), (2, 1), (2, 1), (0, 0)]), kernel[::-1, ::-1])
    assert whole.shape[1] == 13
    expected = upfirdn(whole, pad=(1, 1), gain=4)
    np.testing.assert_allclose(fir.up_conv(tf.constant(x), kernel), expected, atol=1e-11)
    expected = correlate(upfirdn(x, pad=(2, 2)), kernel, stride=2)
    np.testing.assert_allclose(fir.down_conv(tf.constant(x), kernel), expected, atol=1e-11)


def test_padding_twice_is_another_map_at_the_border_only():
    x, kernel = tf.constant(normal(1, 8, 8, 2)), tf.constant(normal(3, 3, 2, 2, seed=1))
    twice = tf.nn.conv2d(fir.upsample(x), kernel[::-1, ::-1], 1, "SAME")
    gap = np.abs(fir.up_conv(x, kernel) - twice)
    assert gap[:, 2:-2, 2:-2].max() < 1e-12 < 0.1 < gap.max()


def test_1x1_convolutions_commute_with_resampling():
    x, kernel = tf.constant(normal(2, 4, 4, 3)), tf.constant(normal(1, 1, 3, 5, seed=1))
    expected = fir.upsample(tf.nn.conv2d(x, kernel, 1, "SAME"))
    np.testing.assert_allclose(fir.up_conv(x, kernel), expected, atol=1e-12)
    expected = fir.downsample(tf.nn.conv2d(x, kernel, 1, "SAME"))
    np.testing.assert_allclose(fir.down_conv(x, kernel), expected, atol=1e-12)


def test_means_are_kept():
    ones = tf.ones([1, 8, 8, 1])
    assert np.allclose(fir.upsample(ones)[0, 2:-2, 2:-2], 1.0)
    assert np.allclose(fir.downsample(ones)[0, 1:-1, 1:-1], 1.0)


MAPS = {
    "low_pass": lambda x: fir.low_pass(x, 2, 1, 3.0),
    "upsample": fir.upsample,
    "downsample": fir.downsample,
}


@pytest.mark.parametrize("name", MAPS)
def test_the_gradient_is_the_adjoint_and_has_a_gradient(name):
    x = tf.constant(normal(2, 4, 4, 2))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = MAPS[name](x)
            weight = tf.constant(normal(*y.shape, seed=3))
            value = tf.reduce_sum(weight * y**2)
        gradient = tape.gradient(value, x)
        squares = tf.reduce_sum(gradient**2)
    second = outer.gradient(squares, x)
    matrix = np.stack(
        [np.ravel(MAPS[name](tf.constant(e.reshape(x.shape)))) for e in np.eye(int(tf.size(x)))],
        axis=1,
    )
    hessian = 2 * matrix.T @ (np.ravel(weight)[:, None] * matrix)
    expected = hessian @ np.ravel(x)
    np.testing.assert_allclose(np.ravel(gradient), expected, atol=1e-10)
    np.testing.assert_allclose(np.ravel(second), 2 * hessian @ expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "stride", "padding", "side"),
    [(3, 1, "SAME", 6), (1, 1, "SAME", 5), (3, 2, "VALID", 9), (3, 2, "SAME", 8)],
)
def test_paired_convolutions_have_tensorflows_derivatives(size, stride, padding, side):
    x, kernel = tf.constant(normal(4, side, side, 3)), tf.constant(normal(size, size, 3, 5, seed=1))

    def derivatives(op):
        with tf.GradientTape(persistent=True) as outer:
            outer.watch([x, kernel])
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                value = tf.reduce_sum(op(x, kernel) ** 3)
            dx, dk = tape.gradient(value, [x, kernel])
            total = tf.reduce_sum(dx**2) + tf.reduce_sum(tf.sin(dk))
        return dx, dk, *outer.gradient(total, [x, kernel])

    native = derivatives(lambda x, k: tf.nn.conv2d(x, k, stride, padding))
    ours = derivatives(lambda x, k: paired_conv.conv(x, k, stride, padding))
    for a, b in zip(ours, native, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_up_conv_has_the_derivatives_of_finite_differences():
    x, kernel = tf.constant(normal(1, 3, 3, 2)), tf.constant(normal(3, 3, 2, 2, seed=1))

    def length(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(tf.tanh(fir.up_conv(x, kernel)))
        return tf.reduce_sum(tape.gradient(value, x) ** 2)

    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        value = length(x, kernel)
    for at, variable in enumerate(tape.gradient(value, [x, kernel])):
        step = 1e-5 * normal(*variable.shape, seed=7)
        ends = []
        for sign in (1.0, -1.0):
            arguments = [x, kernel]
            arguments[at] = arguments[at] + sign * step
            ends.append(float(length(*arguments)))
        np.testing.assert_allclose(
            (ends[0] - ends[1]) / 2, float(tf.reduce_sum(variable * step)), rtol=1e-6
        )
