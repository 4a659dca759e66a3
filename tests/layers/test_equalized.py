"""Equalised layers, pixel norm and minibatch standard deviation against their formulas."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers.equalized import EqualizedConv2D, EqualizedDense
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.minibatch_stddev import MinibatchStddev
from ganpipe.layers.pixel_norm import PixelNorm, pixel_norm


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def test_dense_is_the_formula():
    layer = EqualizedDense(
        5,
        gain=math.sqrt(2),
        lr_multiplier=0.01,
        bias_init=1.0,
        activation="lrelu",
        activation_gain=1.5,
        initializer=SeededInitializers(0).normal(100.0),
    )
    x = normal(3, 7)
    y = layer(x).numpy()
    kernel, bias = layer.get_weights()
    assert kernel.shape == (7, 5) and 60 < kernel.std() < 140
    np.testing.assert_allclose(bias, 100.0)
    runtime = kernel * math.sqrt(2) * 0.01 / math.sqrt(7)
    np.testing.assert_allclose(layer.scaled_kernel(), runtime, rtol=1e-6)
    np.testing.assert_allclose(y, 1.5 * lrelu(x @ runtime + 1.0), atol=1e-5)
    np.testing.assert_allclose(layer(x[:, None]).numpy()[:, 0], y, atol=1e-5)


def test_bias_of_the_convolution_is_not_scaled_by_the_fan_in():
    layer = EqualizedConv2D(4, 3, initializer=SeededInitializers(0).normal(1.0))
    layer.build((None, 6, 6, 2))
    layer.bias.assign([1.0, 2.0, 3.0, 4.0])
    y = layer(np.zeros((1, 6, 6, 2), np.float32)).numpy()
    np.testing.assert_array_equal(y, np.broadcast_to([1.0, 2.0, 3.0, 4.0], y.shape))


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("resample", ["", "up", "down"])
def test_convolution_is_the_formula(size, resample):
    layer = EqualizedConv2D(
        4,
        size,
        gain=1.3,
        resample=resample,
        activation="lrelu",
        initializer=SeededInitializers(1).normal(1.0),
    )
    layer.build((None, 6, 4, 3))
    layer.bias.assign(normal(4, seed=1))
    x = normal(2, 6, 4, 3)
    kernel = layer.kernel.numpy() * 1.3 / math.sqrt(size * size * 3)
    y = tf.repeat(tf.repeat(x, 2, 1), 2, 2) if resample == "up" else x
    y = tf.nn.conv2d(y, kernel, 1, "SAME")
    y = tf.nn.avg_pool2d(y, 2, 2, "VALID") if resample == "down" else y
    expected = lrelu(y.numpy() + layer.bias.numpy())  # activation behind the pooling
    np.testing.assert_allclose(layer(x), expected, atol=2e-5)
    assert layer.compute_output_shape((2, 6, 4, 3)) == expected.shape


def test_mixed_precision_keeps_float32_weights_and_scales_them_there():
    layer = EqualizedConv2D(
        4, 3, dtype="mixed_bfloat16", initializer=SeededInitializers(1).normal(1.0)
    )
    seen = []
    layer._convolve = lambda x, k: seen.append((x.dtype, k.dtype)) or x[..., :4]
    layer(tf.zeros([1, 4, 4, 4]))
    assert seen == [(tf.bfloat16, tf.bfloat16)]
    assert layer.kernel.dtype == layer.bias.dtype == "float32"
    assert layer.scaled_kernel().dtype == tf.float32


def test_gradient_is_scaled_like_the_kernel_and_has_a_derivative():
    layer = EqualizedConv2D(
        2, 3, activation="lrelu", resample="down", initializer=SeededInitializers(2).normal(1.0)
    )
    x = tf.constant(normal(2, 4, 4, 3))
    layer(x)

    def penalty(kernel):
        layer.kernel.assign(kernel)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.square(layer(x)))
        return tf.reduce_sum(tf.square(tape.gradient(y, x)))

    start = layer.kernel.numpy()
    direction = normal(*start.shape, seed=3)
    with tf.GradientTape() as tape:
        value = penalty(start)
    slope = np.sum(tape.gradient(value, layer.kernel.value).numpy() * direction)
    step = 1e-2
    finite = (penalty(start + step * direction) - penalty(start - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, finite, rtol=3e-3)


def test_layers_come_back_from_their_configuration():
    init = SeededInitializers(5)
    for layer in (
        EqualizedDense(
            3, gain=2.0, bias_init=0.5, activation="lrelu", initializer=init.normal(1.0)
        ),
        EqualizedConv2D(3, 3, resample="up", activation_gain=1.4, initializer=init.normal(1.0)),
        PixelNorm(epsilon=1e-4),
        MinibatchStddev(2, 3),
    ):
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
        x = normal(4, 4, 4, 3)
        np.testing.assert_array_equal(layer(x), again(x))


def test_unknown_arguments_are_refused():
    init = keras.initializers.Zeros()
    with pytest.raises(ValueError, match="activation='relu'"):
        EqualizedDense(3, activation="relu", initializer=init)
    with pytest.raises(ValueError, match="resample='half'"):
        EqualizedConv2D(3, 3, resample="half", initializer=init)
    with pytest.raises(ValueError, match="kernel_size=5"):
        EqualizedConv2D(3, 5, resample="up", initializer=init)


def test_pixel_norm_gives_unit_mean_squares():
    x = 3.0 * normal(2, 4, 4, 8)
    y = PixelNorm()(x).numpy()
    np.testing.assert_allclose(np.mean(y**2, -1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(y, x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-8), rtol=1e-5)
    columns = pixel_norm(tf.constant(x), axis=1).numpy()
    np.testing.assert_allclose(np.mean(columns**2, 1), 1.0, rtol=1e-5)
    assert pixel_norm(tf.zeros([2, 3], tf.bfloat16)).dtype == tf.bfloat16
    # 1e-8 counts against squares of that size, and zeros stay zeros.
    np.testing.assert_allclose(pixel_norm(tf.fill([1, 4], 1e-4)), 1 / math.sqrt(2), rtol=1e-3)


def test_pixel_norm_sums_squares_in_float32():
    x = tf.cast(tf.constant(300.0 + normal(1, 512)), tf.float16)  # squares overflow float16
    assert np.all(np.isfinite(PixelNorm(dtype="float16")(x).numpy()))


def loops(x, group, features):
    """The definition, image by image: image i belongs to group i mod N / G."""
    n, height, width, channels = x.shape
    out = np.zeros((n, height, width, features))
    width_of = channels // features
    for m in range(n // group):
        members = [i for i in range(n) if i % (n // group) == m]
        for f in range(features):
            part = x[members][..., f * width_of : (f + 1) * width_of].astype(np.float64)
            out[members, ..., f] = np.sqrt(part.var(axis=0) + 1e-8).mean()
    return np.concatenate([x, out], -1)


@pytest.mark.parametrize(
    ("batch", "group_size", "features", "group"),
    [(8, 4, 1, 4), (12, 4, 2, 4), (6, 2, 3, 2), (3, 4, 1, 3), (6, None, 1, 6), (4, 1, 1, 1)],
)
def test_minibatch_stddev_is_the_definition(batch, group_size, features, group):
    x = normal(batch, 4, 2, 6)
    layer = MinibatchStddev(group_size, features)
    expected = loops(x, group, features)
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == expected.shape
    spec = tf.TensorSpec([None, 4, 2, 6], tf.float32)
    dynamic = tf.function(layer, input_signature=[spec])
    np.testing.assert_allclose(dynamic(x), expected, atol=1e-6)


def test_minibatch_stddev_refuses_groups_that_do_not_divide():
    with pytest.raises(UserError, match="batch of 6 .*groups of 4; set system.group_size"):
        MinibatchStddev(4)(normal(6, 4, 4, 2))
    dynamic = tf.function(
        MinibatchStddev(4), input_signature=[tf.TensorSpec([None, 4, 4, 2], tf.float32)]
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="system.group_size"):
        dynamic(normal(6, 4, 4, 2))
