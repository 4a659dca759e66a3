import keras
import numpy as np
import pytest
import tensorflow as tf

from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.maxout import Maxout


@pytest.mark.parametrize("shape", [(8, 4, 4, 3), (64, 3)])
def test_batch_norm_is_the_formula(shape):
    x = np.random.default_rng(0).normal(2.0, 3.0, shape).astype(np.float32)
    layer = BatchNorm(gamma_initializer=keras.initializers.Constant(1.5))
    y = layer(x, training=True).numpy()
    axes = tuple(range(len(shape) - 1))
    mean, variance = x.mean(axes), x.var(axes)
    np.testing.assert_allclose(y, 1.5 * (x - mean) / np.sqrt(variance + 1e-5), atol=2e-5)
    # PyTorch's convention: momentum .1 on the new value, unbiased variance.
    n = np.prod(shape[:-1])
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.9 + 0.1 * variance * n / (n - 1), rtol=1e-4)


def test_batch_norm_at_inference_does_not_mix_rows():
    layer = BatchNorm()
    x = np.random.default_rng(1).normal(size=(6, 4, 4, 2)).astype(np.float32)
    layer(x, training=True)
    before = layer.moving_mean.numpy()
    together = layer(x).numpy()
    np.testing.assert_allclose(layer(x[2:3]).numpy(), together[2:3], rtol=1e-6)
    np.testing.assert_array_equal(layer.moving_mean.numpy(), before)


def test_batch_norm_in_bfloat16_keeps_float32_statistics():
    layer = BatchNorm(dtype="mixed_bfloat16")
    x = np.random.default_rng(2).normal(3.0, 2.0, (32, 8, 8, 4)).astype(np.float32)
    y = layer(tf.cast(x, tf.bfloat16), training=True)
    assert y.dtype == tf.bfloat16
    assert all(v.dtype == "float32" for v in layer.variables)
    np.testing.assert_allclose(tf.cast(y, tf.float32), BatchNorm()(x, training=True), atol=0.04)


def test_batch_norm_gradient_against_finite_differences():
    layer = BatchNorm()
    rng = np.random.default_rng(3)
    x = tf.constant(rng.normal(size=(5, 2, 2, 2)), tf.float32)
    weights = tf.constant(rng.normal(size=(5, 2, 2, 2)), tf.float32)
    layer.build(x.shape)

    def f(v):
        return tf.reduce_sum(layer(v, training=True) * weights)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = f(x)
    gradient = tape.gradient(value, x).numpy()
    for index in [(0, 0, 0, 0), (3, 1, 0, 1), (4, 1, 1, 0)]:
        bump = np.zeros(x.shape, np.float32)
        bump[index] = 1e-2
        difference = (f(x + bump) - f(x - bump)) / 2e-2
        np.testing.assert_allclose(gradient[index], difference, atol=2e-3)


def test_batch_norm_without_scale_has_no_trainable_weights():
    layer = BatchNorm(scale_and_shift=False)
    layer.build((None, 4, 4, 3))
    assert layer.trainable_variables == []
    assert len(layer.variables) == 2


def test_maxout_is_the_largest_piece():
    layer = Maxout(2, 3)
    layer.build((None, 1))
    layer.kernel.assign([[1.0, 2.0, -3.0, 0.5, 0.0, -1.0]])
    layer.bias.assign([0.0, 0.0, 0.0, 1.0, 2.0, 0.0])
    np.testing.assert_allclose(layer(tf.constant([[1.0], [-2.0]])), [[2.0, 2.0], [6.0, 2.0]])


def test_seeded_initialisers_repeat_and_differ():
    a, b = SeededInitializers(5), SeededInitializers(5)
    first, second = a.normal(0.02), a.normal(0.02)
    np.testing.assert_array_equal(first((3, 4)), b.normal(0.02)((3, 4)))
    assert not np.array_equal(first((3, 4)), second((3, 4)))
