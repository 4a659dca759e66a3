"""Pairs that move apart, mixtures, and the counting of modes on planted samples."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.study import toys, worker


def test_grid_and_ring_have_unit_variance():
    for name, modes in (("grid", 25), ("ring", 8)):
        mixture = toys.MIXTURES[name]()
        assert mixture.means.shape == (modes, 2)
        points = mixture.sample(200_000, seed=0)
        np.testing.assert_allclose(points.std(axis=0), 1.0, rtol=0.01)
        np.testing.assert_allclose(points.mean(axis=0), 0.0, atol=0.01)
    # 2 apart with deviation 0.05 before the scaling: 40 deviations.
    grid = toys.grid_of_25()
    np.testing.assert_allclose(np.diff(np.unique(grid.means[:, 0].round(9))), 40 * grid.deviation)


def test_the_mixture_itself_is_good_everywhere():
    for make in toys.MIXTURES.values():
        mixture = make()
        count = mixture.count(mixture.sample(10_000, seed=1))
        assert count["modes"] == len(mixture.means)
        # P(|x| <= 3 s) of a round normal is 1 - exp(-4.5).
        np.testing.assert_allclose(count["good"], 1 - np.exp(-4.5), atol=0.005)


def test_planted_samples_are_counted():
    mixture = toys.grid_of_25()
    far = np.full((1, 2), 10.0)
    # Of 1,000 points: 10 (1 %) on mode 0, 9 on mode 1, 500 on mode 2, the rest nowhere.
    points = np.concatenate(
        [np.repeat(mixture.means[[0, 1, 2]], [10, 9, 500], axis=0), np.repeat(far, 481, axis=0)]
    )
    count = mixture.count(points)
    assert count["modes"] == 2
    assert count["good"] == 0.519
    np.testing.assert_allclose(count["shares"][:4], [0.01, 0.009, 0.5, 0.0])


@pytest.mark.parametrize(("deviations", "good"), [(2.99, 1.0), (3.01, 0.0)])
def test_good_ends_at_three_deviations(deviations, good):
    mixture = toys.grid_of_25()
    angles = np.linspace(0, 2 * np.pi, 50)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    points = mixture.means[12] + deviations * mixture.deviation * circle
    assert mixture.count(points)["good"] == good


def test_pairs_are_apart_by_theta():
    thetas = np.array([0.0, 0.5, 3.0])
    for pair in toys.PAIRS.values():
        real, fake = pair.batch(thetas, 4096, tf.constant([1, 2]))
        assert real.shape == fake.shape == (3, 4096, pair.dimensions)
        apart = (tf.reduce_mean(fake, axis=1) - tf.reduce_mean(real, axis=1)).numpy()
        np.testing.assert_allclose(apart[:, 0], thetas, atol=0.1)
        np.testing.assert_allclose(apart[:, 1:], 0.0, atol=0.1)
        again, _ = pair.batch(thetas, 4096, tf.constant([1, 2]))
        np.testing.assert_array_equal(real, again)


def test_training_batches_are_the_mixture():
    mixture = toys.ring_of_8()
    first, second = list(worker.batches(mixture, 4000, seed=3).take(2))
    assert first.shape == (4000, 1, 1, 2) and first.dtype == tf.float32
    assert not np.array_equal(first, second)
    count = mixture.count(tf.reshape(first, [-1, 2]).numpy())
    assert count["modes"] == 8 and 0.97 < count["good"] < 1.0
    np.testing.assert_allclose(count["shares"], 0.989 / 8, atol=0.03)
