"""The fast weight gradient is TensorFlow's, for every kernel, stride and size; twice as well."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.layers import conv as conv_layers
from ganpipe.ops import conv

CASES = [(8, 4, 2), (8, 5, 2), (7, 4, 2), (7, 3, 2), (9, 3, 1), (8, 3, 3), (8, 1, 1), (5, 4, 4)]


def draw(*shape):
    return tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32)


@pytest.mark.parametrize("channels", [3, 32])
@pytest.mark.parametrize(("size", "k", "stride"), CASES)
def test_convolution_and_gradients_are_tensorflows(size, k, stride, channels):
    x, kernel = draw(3, size, size, channels), draw(k, k, channels, 5)
    results = []
    for op in (
        lambda x, w: conv.conv2d(x, w, stride),
        lambda x, w: tf.nn.conv2d(x, w, stride, "SAME"),
    ):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = op(x, kernel)
            loss = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(loss, [x, kernel])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [3, 32])
@pytest.mark.parametrize(("k", "stride"), [(4, 2), (5, 2), (3, 1), (3, 3)])
def test_transposed_convolution_and_gradients_are_tensorflows(k, stride, channels):
    x, kernel = draw(3, 4, 4, 5), draw(k, k, channels, 5)
    shape = [3, 4 * stride, 4 * stride, channels]
    results = []
    for op in (
        lambda x, w: conv.conv2d_transpose(x, w, stride),
        lambda x, w: tf.nn.conv2d_transpose(x, w, shape, stride, "SAME"),
    ):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = op(x, kernel)
            loss = tf.reduce_sum(tf.sin(y))
        results.append([y, *tape.gradient(loss, [x, kernel])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("out", [1, 3])
@pytest.mark.parametrize("k", [4, 5])
def test_few_channels_transpose_is_the_transposed_convolution(size, out, k):
    x, kernel = draw(2, *size, 6), draw(k, k, out, 6)
    expected = tf.nn.conv2d_transpose(x, kernel, [2, 2 * size[0], 2 * size[1], out], 2, "SAME")
    np.testing.assert_allclose(conv.few_channels_transpose(x, kernel), expected, atol=1e-5)


def test_exchanged_weight_gradient_is_taken_and_right():
    x, dy = draw(3, 8, 8, conv.LEAST_CHANNELS), draw(3, 4, 4, 5)
    ours = conv.weight_gradient(x, dy, 4, 2)
    sizes, strides = [4, 4, conv.LEAST_CHANNELS, 5], [1, 2, 2, 1]
    theirs = tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=sizes, out_backprop=dy, strides=strides, padding="SAME"
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_second_order_gradient_as_a_gradient_penalty_needs_it():
    x, kernel = draw(2, 8, 8, 3), draw(4, 4, 3, 4)
    results = []
    for op in (conv.conv2d, lambda x, w, s: tf.nn.conv2d(x, w, s, "SAME")):
        with tf.GradientTape() as outer:
            outer.watch(kernel)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = tf.reduce_sum(tf.tanh(op(x, kernel, 2)))
            penalty = tf.reduce_sum(inner.gradient(loss, x) ** 2)
        results.append(outer.gradient(penalty, kernel))
    np.testing.assert_allclose(*results, rtol=1e-3, atol=1e-3)


def test_batch_size_may_be_unknown():
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 4])])
    def f(x):
        return conv.conv2d_transpose(conv.conv2d(x, draw(4, 4, 4, 5), 2), draw(4, 4, 4, 5), 2)

    assert f(draw(3, 8, 8, 4)).shape == (3, 8, 8, 4)
    assert f(draw(5, 8, 8, 4)).shape == (5, 8, 8, 4)


@pytest.mark.parametrize("layer", ["Conv2D", "Conv2DTranspose"])
@pytest.mark.parametrize("channels", [4, 64])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_layers_are_those_of_keras(layer, channels, dtype):
    import keras

    x = draw(2, 8, 8, channels)
    arguments = {"strides": 2, "padding": "same", "use_bias": False, "dtype": dtype}
    ours = getattr(conv_layers, layer)(channels, 4, **arguments)
    theirs = getattr(keras.layers, layer)(channels, 4, **arguments)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.kernel.assign(ours.kernel)
    results = []
    for module in (ours, theirs):
        with tf.GradientTape() as tape:
            y = module(x)
            loss = tf.reduce_mean(tf.cast(y, tf.float32) ** 2)
        results.append([y, tape.gradient(loss, module.kernel.value)])
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    for a, b in zip(*results, strict=True):
        a, b = tf.cast(a, tf.float32).numpy(), tf.cast(b, tf.float32).numpy()
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())


@pytest.mark.parametrize("layer", ["Conv2D", "Conv2DTranspose"])
def test_layers_with_a_bias_are_those_of_keras(layer):
    import keras

    x = draw(2, 8, 8, 32)
    arguments = {"strides": 2, "padding": "same", "bias_initializer": "random_normal"}
    ours = getattr(conv_layers, layer)(4, 4, **arguments)
    theirs = getattr(keras.layers, layer)(4, 4, **arguments)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    results = []
    for module in (ours, theirs):
        with tf.GradientTape() as tape:
            y = module(x)
            loss = tf.reduce_mean(y**2)
        results.append([y, *tape.gradient(loss, [module.kernel.value, module.bias.value])])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
