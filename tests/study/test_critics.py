"""Stacks of critics: independence, constraints, and estimates that approach the exact values."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import losses
from ganpipe.study import critics, divergences, landscapes, toys


def test_a_critic_of_a_stack_is_trained_as_if_alone():
    """Rows share a graph and nothing else: other data in row 1 leaves row 0 to the bit."""

    def trained(far):
        stack = critics.CriticStack(2, 1, width=8, depth=2, seed=4)

        def draw(seed):
            noise = tf.random.stateless_normal([2, 2, 16, 1], seed)
            return noise[0], noise[1] + tf.constant([[[1.0]], [[far]]])

        critics.Trainer(stack, "minimax", draw, steps=5).run()
        return stack.values(np.linspace(-1, 1, 5)[:, None])

    a, b = trained(2.0), trained(9.0)
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5, atol=1e-6)
    assert np.abs(a[1] - b[1]).max() > 1e-3


def test_rows_and_per_critic_losses_agree_with_the_stack():
    stack = critics.CriticStack(3, 2, width=8, seed=1)
    points = tf.random.stateless_normal([3, 5, 2], [0, 1])
    flat = stack.rows(tf.reshape(points, [-1, 2]))
    np.testing.assert_allclose(tf.reshape(flat, [3, 5]), stack(points), rtol=1e-6)
    real, fake = stack(points), stack(points + 1.0)
    values = critics.per_critic_losses("hinge", real, fake)
    assert values.shape == (3,)
    np.testing.assert_allclose(values[1], losses.d_hinge(real[1], fake[1]), rtol=1e-6)


def test_slopes_are_gradients():
    stack = critics.CriticStack(2, 2, width=8, seed=3)
    points = np.array([[0.2, -0.3], [1.0, 0.7]])
    slopes = stack.slopes(points)
    step = 1e-2 * np.eye(2)
    for axis in range(2):
        numeric = (stack.values(points + step[axis]) - stack.values(points - step[axis])) / 2e-2
        np.testing.assert_allclose(slopes[..., axis], numeric, rtol=2e-2, atol=1e-4)


def test_spectral_critics_are_not_steeper_than_one():
    stack = critics.CriticStack(2, 2, seed=2, spectral=True)
    points = tf.random.stateless_normal([2, 64, 2], [1, 1])
    for _ in range(30):  # the power iterations converge
        stack(points, training=True)
    assert np.linalg.norm(stack.slopes(points[0].numpy()), axis=-1).max() < 1.001
    for layer in range(len(stack.kernels)):
        norms = np.linalg.svd(stack._kernel(layer, False).numpy(), compute_uv=False)[:, 0]
        np.testing.assert_allclose(norms, 1.0, rtol=2e-2)


def test_clipped_weights_stay_inside():
    pair = toys.PAIRS["lines"]
    stack = critics.CriticStack(1, 2, width=8, seed=0)
    draw = lambda seed: pair.batch(np.array([1.0]), 16, seed)  # noqa: E731
    critics.Trainer(stack, "wasserstein", draw, "clip", steps=3).run().settle()
    most = max(np.abs(v.numpy()).max() for v in stack.trainable_variables)
    np.testing.assert_allclose(most, critics.CLIP, rtol=1e-6)


def test_a_trainer_refuses_what_it_cannot_do():
    stack = critics.CriticStack(1, 1)
    with pytest.raises(ValueError, match="penalty2"):
        critics.Trainer(stack, "minimax", None, "penalty2")
    with pytest.raises(ValueError, match="property of the stack"):
        critics.Trainer(stack, "minimax", None, "spectral")


@pytest.mark.parametrize(
    ("pair", "name", "thetas", "steps", "rtol"),
    [
        ("gaussians", "js_minimax", (1.0, 2.0), 150, 0.12),
        ("gaussians", "kl", (1.0,), 200, 0.15),
        ("gaussians", "tv", (1.0, 2.0), 150, 0.12),
        ("lines", "js_fgan", (1.0, 2.0), 150, 0.02),
        ("lines", "w1_gp", (0.5, 1.0), 150, 0.12),
        ("lines", "w1_spectral", (0.5, 1.0), 300, 0.12),
    ],
)
def test_trained_critics_approach_the_exact_values(pair, name, thetas, steps, rtol):
    pair = toys.PAIRS[pair]
    estimates = divergences.estimate(pair, name, thetas, (0, 1), steps)
    assert estimates.shape == (2, len(thetas))
    target = divergences.ESTIMATORS[name].target
    truth = [pair.exact(theta)[target] for theta in thetas]
    np.testing.assert_allclose(estimates.mean(axis=0), truth, rtol=rtol)


def test_untrained_critics_know_nothing():
    pair = toys.PAIRS["lines"]
    estimates = divergences.estimate(pair, "js_minimax", (1.0,), (0,), steps=1)
    assert abs(estimates[0, 0]) < 0.05 < math.log(2)


def test_rescaling_finds_the_unit_of_a_clipped_critic():
    truth = [0.0, 1.0, 2.0]
    estimates = np.array([[0.0, 0.02, 0.04]])
    np.testing.assert_allclose(divergences.rescaled(estimates, truth), [truth])
    np.testing.assert_allclose(divergences.rescaled(0 * estimates, truth), [[0, 0, 0]])


def test_best_discriminators_of_the_line():
    x = np.array([landscapes.REAL, 0.0, landscapes.FAKE])
    np.testing.assert_allclose(landscapes.best("minimax", x)[1], 0.0, atol=1e-12)
    # log p/q at the data's centre: d^2 / (2 s^2).
    distance = landscapes.FAKE - landscapes.REAL
    expected = distance**2 / (2 * landscapes.DEVIATION**2)
    np.testing.assert_allclose(landscapes.best("minimax", x)[[0, 2]], [expected, -expected])
    np.testing.assert_allclose(landscapes.best("least_squares", x), [1, 0.5, 0], atol=1e-9)
    np.testing.assert_array_equal(landscapes.best("hinge", x)[[0, 2]], [1, -1])
    np.testing.assert_allclose(np.diff(landscapes.best("wasserstein_gp", x)), -np.diff(x))
