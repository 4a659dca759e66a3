"""Projection on linear and small generators, where the answer is known."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import projection

PIXELS, WIDTH = 12, 4
RNG = np.random.default_rng(0)
# Orthonormal columns: the error's Hessian in z is (2 / PIXELS) times the identity.
MATRIX = tf.constant(np.linalg.qr(RNG.normal(size=(PIXELS, WIDTH)))[0], tf.float32)
SECOND = 2.0 / PIXELS


def linear(z):
    return tf.reshape(tf.matmul(z, MATRIX, transpose_b=True), [-1, 3, 4, 1])


def wavy(z):
    """Many local minima."""
    return tf.sin(3.0 * linear(z))


def draw(*shape, seed=1):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def test_a_planted_latent_is_found():
    z = draw(5, WIDTH)
    found = projection.project(linear, linear(z), draw(5, 3, WIDTH, seed=2), steps=200)
    np.testing.assert_allclose(found.z, z, atol=1e-5)
    np.testing.assert_allclose(found.images, linear(z), atol=1e-5)
    np.testing.assert_allclose(found.errors, 0.0, atol=1e-9)


def test_off_the_range_the_nearest_point_is_found():
    target = draw(2, 3, 4, 1)
    found = projection.project(linear, target, draw(2, 1, WIDTH, seed=2), steps=300)
    nearest = tf.matmul(tf.reshape(target, [2, PIXELS]), MATRIX)
    np.testing.assert_allclose(found.z, nearest, atol=1e-5)
    left = np.mean((np.reshape(target, [2, -1]) - np.reshape(linear(nearest), [2, -1])) ** 2, 1)
    np.testing.assert_allclose(found.errors, left, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.7])
@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_steps_are_those_of_momentum_sgd(momentum, steps):
    z, target, rate = draw(3, WIDTH), draw(3, 3, 4, 1, seed=2), 1.5
    expected, velocity = z.numpy().astype(np.float64), np.zeros((3, WIDTH))
    goal = np.reshape(target, [3, PIXELS]) @ MATRIX.numpy()
    for _ in range(steps):
        velocity = momentum * velocity + SECOND * (expected - goal)
        expected = expected - rate * velocity
    found = projection.descend(linear, target, z, steps, rate, momentum)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_rows_do_not_meet_and_pixels_are_averaged():
    """A sum over pixels, or a mean over rows, would scale the step."""
    z, target = draw(4, WIDTH), draw(4, 3, 4, 1, seed=2)
    together = projection.descend(linear, target, z, 3, 2.0)
    alone = [projection.descend(linear, target[i : i + 1], z[i : i + 1], 3, 2.0) for i in range(4)]
    np.testing.assert_allclose(together, tf.concat(alone, 0), rtol=1e-5, atol=1e-6)
    # Twice the pixels with the same content: the same mean, so the same steps.
    doubled = projection.descend(
        lambda z: tf.concat([linear(z)] * 2, 1), tf.concat([target] * 2, 1), z, 3, 2.0
    )
    np.testing.assert_allclose(doubled, together, rtol=1e-5, atol=1e-6)


def test_decay_shortens_the_last_steps():
    z, target = draw(1, WIDTH), draw(1, 3, 4, 1, seed=2)
    before = projection.descend(linear, target, z, 4, 2.0, 0.0)
    full = projection.descend(linear, target, z, 5, 2.0, 0.0) - before
    decayed = projection.descend(linear, target, z, 5, 2.0, 0.0, decay_at=0.8) - before
    np.testing.assert_allclose(decayed, 0.1 * full, rtol=1e-4, atol=1e-7)


def test_error_falls_with_steps_and_restarts_and_the_best_restart_is_kept():
    target, starts = wavy(draw(16, WIDTH)), draw(16, 8, WIDTH, seed=3)
    by_steps = [projection.project(wavy, target, starts, n, 0.5) for n in (0, 5, 40, 200)]
    means = [float(tf.reduce_mean(found.errors)) for found in by_steps]
    assert means[0] > 2 * means[1] and means[1] > means[2] > means[3]
    by_restarts = [projection.project(wavy, target, starts[:, :n], 40, 0.5) for n in (1, 2, 8)]
    for few, many in itertools.pairwise(by_restarts):
        assert np.all(many.errors.numpy() <= few.errors.numpy() + 1e-7)
    assert np.mean(by_restarts[2].errors) < 0.8 * np.mean(by_restarts[0].errors)
    found = by_restarts[2]
    np.testing.assert_array_equal(found.errors, tf.reduce_min(found.restarts, axis=1))
    # Error, image and latent belong together.
    np.testing.assert_allclose(found.images, wavy(found.z), atol=1e-6)
    np.testing.assert_allclose(found.errors, projection.row_errors(found.images, target), rtol=1e-5)


def test_a_start_that_runs_away_is_not_the_best():
    def steep(z):
        return tf.where(tf.abs(z[:, :1]) > 5.0, np.nan, 1.0) * z

    starts = tf.constant([[[9.0, 0.0], [0.5, 0.0]]])
    found = projection.project(steep, tf.zeros([1, 2]), starts, steps=3, learning_rate=0.1)
    assert np.isfinite(found.errors.numpy()).all()
    assert abs(float(found.z[0, 0])) < 0.5


def test_fast_copy_descends_and_the_exact_one_is_returned():
    target, starts = draw(2, 3, 4, 1), draw(2, 2, WIDTH, seed=3)

    def rough(z):
        return tf.cast(tf.cast(linear(z), tf.bfloat16), tf.float32)

    found = projection.project(linear, target, starts, 20, fast=rough)
    np.testing.assert_array_equal(found.images, linear(found.z))
    exact = projection.project(linear, target, starts, 20)
    np.testing.assert_allclose(found.z, exact.z, atol=0.05)
    assert not np.array_equal(found.z, exact.z)


def test_graph_does_not_grow_with_steps():
    def nodes(steps):
        f = tf.function(lambda t, s: projection.project(linear, t, s, steps).errors)
        graph = f.get_concrete_function(draw(2, 3, 4, 1), draw(2, 3, WIDTH)).graph
        return len(graph.as_graph_def().node)

    assert nodes(2) == nodes(200)
