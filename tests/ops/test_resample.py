"""Resampling merged into a convolution is the plain pair: values, gradients, second gradients."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.layers.resample_conv import ResampledConv2D
from ganpipe.ops import resample


def draw(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def conv(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def plain_upsample(x):
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)


def plain_mean_pool(x):
    n, height, width, channels = x.shape
    blocks = tf.reshape(x, [n, height // 2, 2, width // 2, 2, channels])
    return tf.reduce_mean(blocks, axis=[2, 4])


PAIRS = {
    "upsample_conv2d": (resample.upsample_conv2d, lambda x, k: conv(plain_upsample(x), k)),
    "conv2d_mean_pool": (resample.conv2d_mean_pool, lambda x, k: plain_mean_pool(conv(x, k))),
    "upsample": (lambda x, k: resample.upsample(x), lambda x, k: plain_upsample(x)),
    "mean_pool": (lambda x, k: resample.mean_pool(x), lambda x, k: plain_mean_pool(x)),
}


# 32 and more channels take other kernels than few: see ops.conv.LEAST_CHANNELS.
@pytest.mark.parametrize(("channels", "out"), [(3, 5), (34, 36)])
@pytest.mark.parametrize("size", [(4, 4), (2, 6)])
@pytest.mark.parametrize("name", PAIRS)
def test_merged_operations_are_the_plain_ones(name, size, channels, out):
    x, kernel = draw(3, *size, channels), draw(3, 3, channels, out, seed=1)
    results = []
    for op in PAIRS[name]:
        with tf.GradientTape(persistent=True) as outer:
            outer.watch([x, kernel])
            with tf.GradientTape() as inner:
                inner.watch([x, kernel])
                y = op(x, kernel)
                loss = tf.reduce_sum(tf.sin(0.1 * y))
            first = inner.gradient(loss, [x, kernel], unconnected_gradients="zero")
            # What a gradient penalty asks for, in both arguments.
            penalty = tf.reduce_sum(first[0] ** 2) + tf.reduce_sum(tf.cos(first[1]))
        second = outer.gradient(penalty, [x, kernel], unconnected_gradients="zero")
        results.append([y, *first, *second])
    for ours, theirs in zip(*results, strict=True):
        scale = float(tf.reduce_max(tf.abs(theirs)))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5 * max(scale, 1.0))


def test_smeared_kernel_is_a_box_of_nine_taps():
    kernel = tf.reshape(tf.range(1.0, 10.0), [3, 3, 1, 1])
    expected = [[1, 3, 5, 3], [5, 12, 16, 9], [11, 24, 28, 15], [7, 15, 17, 9]]
    np.testing.assert_array_equal(resample.smear(kernel)[:, :, 0, 0], expected)


def test_batch_size_may_be_unknown():
    @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 3])])
    def f(x):
        y = resample.upsample_conv2d(x, draw(3, 3, 3, 5))
        return resample.conv2d_mean_pool(resample.upsample(resample.mean_pool(y)), draw(3, 3, 5, 2))

    assert f(draw(3, 4, 4, 3)).shape == (3, 4, 4, 2)
    assert f(draw(5, 4, 4, 3)).shape == (5, 4, 4, 2)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("mode", ["up", "down", ""])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_layer_is_convolution_and_resampling_in_the_order_it_says(mode, kernel_size, dtype):
    layer = ResampledConv2D(5, kernel_size, mode, bias_initializer="ones", dtype=dtype)
    x = draw(2, 4, 4, 3)
    y = layer(x)
    expected = plain_upsample(x) if mode == "up" else x
    expected = tf.nn.bias_add(conv(expected, tf.constant(layer.kernel)), tf.ones(5))
    expected = plain_mean_pool(expected) if mode == "down" else expected
    assert y.shape == layer.compute_output_shape(x.shape)
    assert y.dtype == layer.compute_dtype
    tolerance = 1e-5 if dtype == "float32" else 0.05
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=tolerance)


def test_layer_refuses_what_it_cannot_merge():
    with pytest.raises(ValueError, match="resample='sideways'"):
        ResampledConv2D(4, 3, "sideways")
    with pytest.raises(ValueError, match="kernel_size=5"):
        ResampledConv2D(4, 5, "up")
    with pytest.raises(ValueError, match=r"strides=\(2, 2\)"):
        ResampledConv2D(4, 3, "down", strides=2)
