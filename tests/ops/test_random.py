"""Draws are functions of the numbers passed in, row by row and step by step."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import random

MOMENTS = {
    "normal": (0.0, 1.0),
    "uniform": (0.0, 1 / 3),
    "unit_variance_uniform": (0.0, 1.0),
    "unit_cube": (0.5, 1 / 12),
    "sphere": (0.0, 1.0),
}


def test_a_row_is_the_same_alone_and_in_any_batch():
    together = random.row_latents(tf.constant([7, 8, 9], tf.int64), 5).numpy()
    alone = random.row_latents(tf.constant([8], tf.int64), 5).numpy()
    np.testing.assert_array_equal(together[1], alone[0])
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("distribution", random.LATENT_DISTRIBUTIONS)
def test_moments_and_range(distribution):
    z = random.row_latents(tf.range(400, dtype=tf.int64), 100, distribution).numpy()
    mean, variance = MOMENTS[distribution]
    # 40,000 draws: standard error of the mean below 0.005, of the variance below 0.008.
    assert z.mean() == pytest.approx(mean, abs=0.02)
    assert z.var() == pytest.approx(variance, abs=0.03)
    assert random.latent_mean(distribution) == mean
    if distribution == "unit_variance_uniform":
        assert np.abs(z).max() <= np.sqrt(3)
    if distribution == "sphere":
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 10.0, rtol=1e-5)


def test_neighbouring_seeds_are_uncorrelated():
    z = random.row_latents(tf.range(200, dtype=tf.int64), 1000).numpy()
    correlation = np.corrcoef(z) - np.eye(200)
    assert np.abs(correlation).max() < 0.2  # 6 standard errors of 1/sqrt(1000)


def test_labels_are_kept_or_drawn_from_the_row():
    seeds = tf.range(3000, dtype=tf.int64)
    given = random.row_labels(seeds, tf.fill([3000], 4), 10).numpy()
    drawn = random.row_labels(seeds, tf.fill([3000], -1), 10).numpy()
    assert (given == 4).all()
    np.testing.assert_allclose(np.bincount(drawn, minlength=10) / 3000, 0.1, atol=0.03)
    assert random.row_labels(seeds[5:6], tf.constant([-1]), 10).numpy()[0] == drawn[5]


def test_steps_and_streams_differ_and_repeat():
    def draw(step):
        return random.step_latents(3, tf.constant(step), 4, 8).numpy()

    np.testing.assert_array_equal(draw(5), draw(5))
    assert not np.array_equal(draw(5), draw(6))
    assert not np.array_equal(random.step_seed(3, 5, 0), random.step_seed(3, 5, 1))


def test_dropout_keeps_the_mean_and_the_share():
    x = tf.ones([100, 200])
    y = random.dropout(x, 0.8, tf.constant([1, 2]), 0).numpy()
    assert set(np.unique(y)) == {0.0, 1.25}
    assert (y > 0).mean() == pytest.approx(0.8, abs=0.015)
    assert not np.array_equal(y, random.dropout(x, 0.8, tf.constant([1, 2]), 1).numpy())
    np.testing.assert_array_equal(random.dropout(x, 0.8, None, 0), x)


def test_unknown_distribution():
    with pytest.raises(ValueError, match="known: normal"):
        random.row_latents(tf.constant([1], tf.int64), 2, "cauchy")
