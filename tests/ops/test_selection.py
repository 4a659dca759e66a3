"""Fitness, survival and discriminator weights against hand values and small NumPy oracles."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import selection


def test_quality_is_the_mean_probability():
    logits = tf.constant([[0.0], [np.log(3.0)], [-np.log(3.0)], [np.log(9.0)]], tf.float32)
    assert float(selection.quality_fitness(logits)) == pytest.approx((0.5 + 0.75 + 0.25 + 0.9) / 4)


def test_diversity_is_minus_the_log_of_the_unsquared_norm():
    gradients = [tf.constant([3.0, 0.0]), tf.constant([[0.0], [4.0]])]
    assert float(selection.diversity_fitness(gradients)) == pytest.approx(-np.log(5.0))
    # The authors' -log sum of squares is twice that.
    assert 2 * float(selection.diversity_fitness(gradients)) == pytest.approx(-np.log(25.0))
    smaller = [0.1 * g for g in gradients]
    assert selection.diversity_fitness(smaller) > selection.diversity_fitness(gradients)
    nothing = float(selection.diversity_fitness([tf.zeros([3])]))
    assert nothing == pytest.approx(-0.5 * np.log(selection.LEAST_SQUARE))


def test_top_mu_is_exact_and_keeps_the_order_of_equals():
    fitness = tf.constant([1.0, 5.0, 3.0, 5.0, -2.0])
    np.testing.assert_array_equal(selection.top_mu(fitness, 1), [1])
    np.testing.assert_array_equal(selection.top_mu(fitness, 4), [1, 3, 2, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_blew_up_is_chosen_last(bad):
    fitness = tf.constant([bad, -5.0, 2.0], tf.float32)
    np.testing.assert_array_equal(selection.top_mu(fitness, 3), [2, 1, 0])
    objectives = tf.constant([[bad, 9.0], [-5.0, 1.0], [2.0, 0.0], [9.0, bad]], tf.float32)
    survivors = selection.nsga2_survivors(objectives, 4)
    assert set(survivors.numpy()[:2]) == {1, 2}


def brute_force_ranks(points):
    """Peels fronts with plain loops."""
    left, ranks, front = set(range(len(points))), np.full(len(points), -1), 0
    while left:
        best = []
        for j in left:
            beaten = any(
                all(points[i] >= points[j]) and any(points[i] > points[j]) for i in left if i != j
            )
            if not beaten:
                best.append(j)
        ranks[best] = front
        left -= set(best)
        front += 1
    return ranks


def brute_force_crowding(points, ranks):
    """Front by front, objective by objective, as in Deb's listing."""
    total = np.zeros(len(points))
    for front in set(ranks):
        members = np.flatnonzero(ranks == front)
        for m in range(points.shape[1]):
            order = members[np.argsort(points[members, m], kind="stable")]
            values = points[order, m]
            total[order[0]] = total[order[-1]] = np.inf
            for i in range(1, len(order) - 1):
                if values[-1] > values[0]:
                    total[order[i]] += (values[i + 1] - values[i - 1]) / (values[-1] - values[0])
    return total


def cloud(seed):
    """Objectives with ties: a coarse grid for odd seeds, a plane for even ones."""
    rng = np.random.default_rng(seed)
    size, objectives = int(rng.integers(1, 25)), int(rng.integers(1, 4))
    points = rng.normal(size=(size, objectives))
    return np.round(points) if seed % 2 else points


@pytest.mark.parametrize("seed", range(12))
def test_nondominated_sort_and_crowding_equal_brute_force(seed):
    points = cloud(seed)
    ranks = selection.nondominated_ranks(tf.constant(points)).numpy()
    np.testing.assert_array_equal(ranks, brute_force_ranks(points))
    crowding = selection.crowding_distance(tf.constant(points), tf.constant(ranks)).numpy()
    np.testing.assert_allclose(crowding, brute_force_crowding(points, ranks), rtol=1e-12)
    order = np.lexsort((np.arange(len(points)), -crowding, ranks))
    mu = max(len(points) // 2, 1)
    survivors = selection.nsga2_survivors(tf.constant(points), mu)
    np.testing.assert_array_equal(survivors, order[:mu])


def test_nsga2_by_hand():
    # Front 0: a, b, c, d on a line; front 1: e under b; front 2: f under e.
    points = tf.constant([[0, 10], [1, 9], [5, 5], [10, 0], [1, 8], [0, 8]], tf.float64)
    ranks = selection.nondominated_ranks(points)
    np.testing.assert_array_equal(ranks, [0, 0, 0, 0, 1, 2])
    crowding = selection.crowding_distance(points, ranks).numpy()
    np.testing.assert_allclose(crowding[1:3], [0.5 + 0.5, 0.9 + 0.9])
    assert np.isinf(crowding[[0, 3, 4, 5]]).all()
    np.testing.assert_array_equal(selection.nsga2_survivors(points, 3), [0, 3, 2])
    np.testing.assert_array_equal(selection.nsga2_survivors(points, 5), [0, 3, 2, 1, 4])


def test_survival_runs_compiled():
    points = cloud(4)
    eager = selection.nsga2_survivors(tf.constant(points), 3)
    spec = tf.TensorSpec(points.shape, tf.float64)
    compiled = tf.function(lambda p: selection.nsga2_survivors(p, 3), input_signature=[spec])
    np.testing.assert_array_equal(compiled(tf.constant(points)), eager)


LOSSES = np.array([0.2, 1.5, 0.7])


def test_gman_goes_from_the_mean_to_the_maximum():
    losses = tf.constant(LOSSES)
    mean, largest = selection.gman_loss(losses, 0.0), selection.gman_loss(losses, 200.0)
    np.testing.assert_allclose(mean, LOSSES.mean(), rtol=1e-12)
    np.testing.assert_allclose(largest, LOSSES.max(), rtol=1e-12)
    weights = np.exp(LOSSES) / np.exp(LOSSES).sum()
    np.testing.assert_allclose(selection.gman_weights(losses, 1.0), weights, rtol=1e-12)
    np.testing.assert_allclose(selection.gman_loss(losses, 1.0), weights @ LOSSES, rtol=1e-12)


@pytest.mark.parametrize("detach", [False, True])
def test_gman_weights_are_differentiated_unless_detached(detach):
    losses = tf.Variable(LOSSES)
    with tf.GradientTape() as tape:
        total = selection.gman_loss(losses, 0.8, detach)
    weights = np.exp(0.8 * LOSSES) / np.exp(0.8 * LOSSES).sum()
    expected = weights if detach else weights * (1 + 0.8 * (LOSSES - weights @ LOSSES))
    np.testing.assert_allclose(tape.gradient(total, losses), expected, rtol=1e-12)


def test_hypervolume_loss_and_its_gradient():
    losses = tf.Variable(LOSSES)
    with tf.GradientTape() as tape:
        total = selection.hypervolume_loss(losses, 1.5)
    eta = 1.5 * 1.5 + 1e-8
    np.testing.assert_allclose(total, -np.log(eta - LOSSES).sum(), rtol=1e-12)
    expected = 1 / (eta - LOSSES)  # eta itself is no path of the gradient
    gradient = tape.gradient(total, losses).numpy()
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)
    weights = selection.hypervolume_weights(losses, 1.5).numpy()
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-12)
    assert weights.argmax() == LOSSES.argmax()


def test_hypervolume_tends_to_the_mean_with_a_large_slack():
    weights = selection.hypervolume_weights(tf.constant(LOSSES), 1e9)
    np.testing.assert_allclose(weights, np.full(3, 1 / 3), rtol=1e-8)


def test_hypervolume_is_finite_where_all_losses_are_equal_or_nothing():
    for losses in (np.full(4, 0.7), np.zeros(4)):
        assert np.isfinite(selection.hypervolume_loss(tf.constant(losses), 1.1))
        weights = selection.hypervolume_weights(tf.constant(losses), 1.1)
        np.testing.assert_allclose(weights, np.full(4, 0.25))
