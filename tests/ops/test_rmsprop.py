"""RMSprop against the formula in float64, also where Keras' differs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops.rmsprop import RMSprop


def moves(optimizer, size):
    """Moves of 50 weights in three updates, and those of the formula."""
    rng = np.random.default_rng(0)
    w, v, expected = keras.Variable(np.zeros(50, np.float32)), 0.0, 0.0
    for _ in range(3):
        g = (size * rng.normal(size=50)).astype(np.float32).astype(np.float64)
        v = 0.99 * v + 0.01 * g * g
        expected = expected - 1e-3 * g / (np.sqrt(v) + 1e-8)
        optimizer.apply_gradients([(tf.constant(g, tf.float32), w)])
    return w.numpy(), expected


@pytest.mark.parametrize("size", [1e-7, 1e-6, 1e-3, 1.0])
def test_moves_are_those_of_the_formula_for_gradients_of_any_size(size):
    found, expected = moves(RMSprop(1e-3), size)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)
    assert np.abs(expected).max() > 5e-3


def test_keras_own_hardly_moves_for_tiny_gradients():
    found, expected = moves(keras.optimizers.RMSprop(1e-3, rho=0.99, epsilon=1e-8), 1e-6)
    assert np.abs(found).max() < 0.01 * np.abs(expected).max()


def test_config_makes_the_same_optimiser():
    again = RMSprop.from_config(RMSprop(2e-4, rho=0.9).get_config())
    assert (again.rho, again.epsilon) == (0.9, 1e-8)
    assert float(again.learning_rate) == pytest.approx(2e-4)
    with pytest.raises(ValueError, match="momentum and centered"):
        RMSprop(1e-3, momentum=0.9)
