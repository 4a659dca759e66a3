"""Dropout from the step's seed: shares, scale, independence of uses, off without a seed."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.layers import dropout

ONES = tf.ones([64, 64])


def seeded(seed, *layers):
    with dropout.step_seed(tf.constant([7, seed], tf.int64)):
        return [layer(ONES, training=True).numpy() for layer in layers]


def test_share_and_scale():
    (y,) = seeded(0, dropout.StepDropout(0.3))
    # 4,096 draws: three standard deviations are 0.021.
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.022)
    np.testing.assert_allclose(y[y > 0], 1 / 0.7, rtol=1e-6)


def test_uses_layers_and_steps_differ_and_a_step_repeats():
    one, two = dropout.StepDropout(0.5), dropout.StepDropout(0.5)
    a, b, c = seeded(0, one, two, one)
    for x, y in ((a, b), (a, c), (b, c), (a, seeded(1, one)[0])):
        # Independent masks of 1/2 agree in half of the places.
        assert (x == y).mean() == pytest.approx(0.5, abs=0.025)
    np.testing.assert_array_equal(seeded(0, one)[0], a)


def test_identity_at_inference_and_without_a_seed():
    layer = dropout.StepDropout(0.5)
    np.testing.assert_array_equal(layer(ONES, training=True), ONES)
    with dropout.step_seed(tf.constant([0, 0], tf.int64)):
        np.testing.assert_array_equal(layer(ONES), ONES)
        np.testing.assert_array_equal(dropout.StepDropout(0.0)(ONES, training=True), ONES)


def test_graph_draws_anew_at_every_call_and_equals_eager():
    layer = dropout.StepDropout(0.5)

    @tf.function
    def run(seed):
        with dropout.step_seed(seed):
            return layer(ONES, training=True), layer(ONES, training=True)

    first, second = (run(tf.constant([7, s], tf.int64)) for s in (0, 1))
    assert (first[0].numpy() == second[0].numpy()).mean() < 0.6
    np.testing.assert_array_equal(first, seeded(0, layer, layer))


def test_blocks_nest():
    layer = dropout.StepDropout(0.5)
    (outer,) = seeded(0, layer)
    with dropout.step_seed(tf.constant([7, 0], tf.int64)):
        seeded(1, layer)
        np.testing.assert_array_equal(layer(ONES, training=True), outer)
    np.testing.assert_array_equal(layer(ONES, training=True), ONES)


def test_gradient_goes_through_kept_units_only():
    layer = dropout.StepDropout(0.25)
    x = tf.random.stateless_normal([8, 8], [0, 0])
    with tf.GradientTape() as tape, dropout.step_seed(tf.constant([1, 2], tf.int64)):
        tape.watch(x)
        y = layer(x, training=True)
    expected = np.where(y == 0, 0.0, 1 / 0.75)
    np.testing.assert_allclose(tape.gradient(y, x), expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_refuses_other_rates(rate):
    with pytest.raises(ValueError, match="expected 0 <= rate < 1"):
        dropout.StepDropout(rate)
