import numpy as np
import pytest
import tensorflow as tf

from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.cond_norm import ConditionalBatchNorm, LayerNorm2D

RNG = np.random.default_rng(0)
MAPS = RNG.normal(1.0, 2.0, (6, 4, 4, 3)).astype(np.float32)
LABELS = np.array([0, 1, 1, 3, 0, 3], np.int32)


def conditional():
    layer = ConditionalBatchNorm(4)
    layer.build(MAPS.shape)
    layer.gamma.assign(RNG.normal(1.0, 0.5, (4, 3)))
    layer.beta.assign(RNG.normal(size=(4, 3)))
    return layer


def test_conditional_batch_norm_is_the_formula():
    layer = conditional()
    y = layer(MAPS, LABELS, training=True)
    mean, variance = MAPS.mean((0, 1, 2)), MAPS.var((0, 1, 2))
    gain, offset = (v.numpy()[LABELS][:, None, None] for v in (layer.gamma, layer.beta))
    expected = gain * (MAPS - mean) / np.sqrt(variance + 2e-5) + offset
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(layer.moving_mean, 0.1 * mean, rtol=1e-4)


def test_conditional_batch_norm_starts_as_batch_norm_and_has_a_row_a_class():
    layer, plain = ConditionalBatchNorm(4), BatchNorm(epsilon=2e-5)
    y = layer(MAPS, LABELS, training=True)
    np.testing.assert_allclose(y, plain(MAPS, training=True), atol=1e-6)
    assert [v.shape for v in layer.trainable_variables] == [(4, 3), (4, 3)]
    np.testing.assert_allclose(layer(MAPS, LABELS), plain(MAPS), atol=1e-6)


def test_conditional_batch_norm_at_inference_does_not_mix_rows():
    layer = conditional()
    layer(MAPS, LABELS, training=True)
    together = layer(MAPS, LABELS).numpy()
    np.testing.assert_allclose(layer(MAPS[3:4], LABELS[3:4]), together[3:4], rtol=1e-5, atol=1e-6)


def test_classes_that_are_absent_get_no_gradient_and_it_is_dense():
    layer = conditional()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(MAPS, LABELS, training=True) ** 2)
    for gradient in tape.gradient(loss, [layer.gamma.value, layer.beta.value]):
        assert isinstance(gradient, tf.Tensor)
        np.testing.assert_array_equal(gradient[2], np.zeros(3))
        assert np.abs(gradient.numpy()[[0, 1, 3]]).min() > 0


@pytest.mark.parametrize("shift", [0.0, 30.0])
def test_layer_norm_is_the_formula_on_every_image(shift):
    layer = LayerNorm2D()
    layer.build(MAPS.shape)
    layer.gamma.assign([1.0, 2.0, -1.0])
    layer.beta.assign([0.0, 0.5, 1.0])
    x = (MAPS + shift).astype(np.float64)
    mean, variance = x.mean((1, 2, 3), keepdims=True), x.var((1, 2, 3), keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-5) * [1.0, 2.0, -1.0] + [0.0, 0.5, 1.0]
    np.testing.assert_allclose(layer(x.astype(np.float32)), expected, atol=1e-4)
    np.testing.assert_allclose(layer(x[:1].astype(np.float32)), expected[:1], atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_weights_and_statistics_stay_float32(dtype):
    for layer, inputs in (
        (ConditionalBatchNorm(4, dtype=dtype), (MAPS, LABELS)),
        (LayerNorm2D(dtype=dtype), (MAPS,)),
    ):
        y = layer(*inputs)
        assert y.dtype == layer.compute_dtype
        assert all(v.dtype == "float32" for v in layer.variables)


def test_layer_norm_has_a_second_derivative():
    """d/dgamma of the squared input gradient, as under a gradient penalty."""
    layer = LayerNorm2D()
    layer.build(MAPS.shape)
    x = tf.constant(MAPS)

    def penalty():
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.reduce_sum(tf.sin(layer(x)))
        return tf.reduce_sum(tape.gradient(score, x) ** 2)

    with tf.GradientTape() as tape:
        value = penalty()
    gradient = tape.gradient(value, layer.gamma.value).numpy()
    values = []
    for sign in (1, -1):
        layer.gamma.assign([1.0 + sign * 1e-2, 1.0, 1.0])
        values.append(float(penalty()))
    np.testing.assert_allclose(gradient[0], (values[0] - values[1]) / 2e-2, rtol=0.02)


def test_layers_come_back_from_their_config():
    for layer in (ConditionalBatchNorm(4, epsilon=1e-3), LayerNorm2D(epsilon=1e-3)):
        again = type(layer).from_config(layer.get_config())
        assert again.get_config() == layer.get_config()
