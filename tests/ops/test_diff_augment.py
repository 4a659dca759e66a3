import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import diff_augment as da
from tests.ops.test_ada import SEED, images


def test_shift_by_hand():
    x = images(3, 6, 5)
    y = da.shift(x, tf.constant([2, -1, 0]), tf.constant([-1, 0, 3])).numpy()
    for image, answer, (down, right) in zip(x.numpy(), y, [(2, -1), (-1, 0), (0, 3)], strict=True):
        expected = np.zeros_like(image)
        for i in range(6):
            for j in range(5):
                if 0 <= i - down < 6 and 0 <= j - right < 5:
                    expected[i, j] = image[i - down, j - right]
        np.testing.assert_array_equal(answer, expected)


def test_translation_is_uniform_up_to_an_eighth():
    x = np.zeros([4000, 16, 28, 1], np.float32)
    x[:, 8, 12] = 1
    y = da.translation(tf.constant(x), SEED).numpy()
    _, rows, columns, _ = np.nonzero(y)
    for found, middle, most in ((rows, 8, 2), (columns, 12, 3)):
        values, counts = np.unique(found - middle, return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-most, most + 1))
        assert np.abs(counts / 4000 - 1 / (2 * most + 1)).max() < 0.03
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.06


@pytest.mark.parametrize("size", [8, 10, 11])
def test_cutout_zeroes_half_the_side_at_uniform_centres(size):
    side = {8: 4, 10: 5, 11: 5}[size]
    y = da.cutout(tf.ones([6000, size, size, 2]), SEED).numpy()
    gone = y[..., 0] == 0
    np.testing.assert_array_equal(y[..., 0], y[..., 1])
    rows, columns = gone.any(axis=2), gone.any(axis=1)
    np.testing.assert_array_equal(gone, rows[:, :, None] & columns[:, None, :])
    centres = np.arange(size + 1 - side % 2)
    for hit in (rows, columns):
        first = centres[:, None] - side // 2
        share = (np.arange(size) >= first) & (np.arange(size) < first + side)
        assert np.abs(hit.mean(axis=0) - share.mean(axis=0)).max() < 0.03
        assert hit.sum(axis=1).max() == side


def test_color_by_hand():
    x = images(5, 6)
    u = tf.random.stateless_uniform([3, 5, 1, 1, 1], SEED).numpy()
    bright = x.numpy() + u[0] - 0.5
    grey = bright.mean(axis=3, keepdims=True)
    vivid = grey + 2 * u[1] * (bright - grey)
    mean = vivid.mean(axis=(1, 2, 3), keepdims=True)
    expected = mean + (0.5 + u[2]) * (vivid - mean)
    np.testing.assert_allclose(da.color(x, SEED), expected, atol=1e-6)


def test_whole_policy_in_a_graph():
    x = images(4, 16)
    step = tf.function(lambda x, seed: da.diff_augment(x, seed=seed))
    y = step(x, SEED)
    np.testing.assert_allclose(y, da.diff_augment(x, seed=SEED), atol=1e-6)
    assert np.abs(y - step(x, tf.constant([7, 9]))).max() > 0.1
    assert np.abs(y - x).max(axis=(1, 2, 3)).min() > 0.1
    np.testing.assert_array_equal(da.diff_augment(x, "", seed=SEED), x)
    half = da.diff_augment(tf.cast(x, tf.bfloat16), seed=SEED)
    assert half.dtype == tf.bfloat16


def test_operations_have_their_own_draws():
    x = images(4, 16)
    alone = da.diff_augment(x, "cutout", seed=SEED).numpy() == 0
    together = da.diff_augment(x, "color,cutout", seed=SEED).numpy() == 0
    np.testing.assert_array_equal(alone, together)


def test_gradients():
    x, weights, along = (images(3, 8, seed=seed) for seed in range(3))

    def value(x):
        return tf.reduce_sum(weights * da.diff_augment(x, seed=SEED))

    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.square(value(x))
        return tape.gradient(total, x)

    numeric = (value(x + along) ** 2 - value(x - along) ** 2) / 2
    np.testing.assert_allclose(tf.reduce_sum(slope(x) * along), numeric, rtol=1e-3)
    with tf.GradientTape() as tape:
        tape.watch(x)
        along_slope = tf.reduce_sum(slope(x) * along)
    second = tf.reduce_sum(tape.gradient(along_slope, x) * along)
    numeric = value(x + along) ** 2 - 2 * value(x) ** 2 + value(x - along) ** 2
    np.testing.assert_allclose(second, numeric, rtol=1e-3)


def test_unknown_policy():
    with pytest.raises(UserError, match="'colour' is unknown"):
        da.diff_augment(images(1, 8), "colour,cutout", seed=SEED)
