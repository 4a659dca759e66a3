import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import ada, ada_geometry
from ganpipe.ops.ada_draws import Draws

SEED = tf.constant([7, 8])
ALL = ("blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc")


def images(batch, height, width=None, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return tf.constant(rng.uniform(-1, 1, [batch, height, width or height, channels]), tf.float32)


@pytest.mark.parametrize("pipe", ALL)
def test_p_0_is_the_identity_to_the_bit(pipe):
    for channels in (1, 3):
        x = images(3, 16, channels=channels)
        y = ada.Augment(pipe, 16, channels)(x, 0.0, SEED)
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("pipe", ["geom", "color", "filter", "noise", "cutout"])
def test_p_1_changes_every_image(pipe):
    x = images(32, 8)
    y = ada.Augment(pipe, 8)(x, 1.0, SEED)
    # A coin or a cutout apart, continuous parameters leave nothing as it is.
    assert np.abs(y - x).max(axis=(1, 2, 3)).min() > 1e-4


@pytest.mark.parametrize("p", [0.2, 0.7])
@pytest.mark.parametrize(
    ("options", "share"),
    [
        ({"scale": 1}, lambda p: p),
        ({"scale": 0.5}, lambda p: p / 2),
        ({"rotate": 1}, lambda p: p),  # one of two rotations
        ({"brightness": 1}, lambda p: p),
        ({"noise": 1}, lambda p: p),
        ({"xflip": 1}, lambda p: p / 2),  # then a fair coin
        ({"lumaflip": 1}, lambda p: p / 2),
        ({"rotate90": 1}, lambda p: p * 3 / 4),
    ],
)
def test_each_operation_happens_with_probability_p(options, share, p):
    count = 4000
    x = images(1, 4) * tf.ones([count, 1, 1, 1])
    off = dict.fromkeys(ada.PIPES["bgcfnc"], 0.0)
    y = ada.Augment("bgcfnc", 4, 3, **off | options)(x, tf.constant(p), SEED)
    hit = np.mean(np.any(np.abs(y - x) > 1e-7, axis=(1, 2, 3)))
    expected = share(p)
    assert abs(hit - expected) < 4 * np.sqrt(expected * (1 - expected) / count)


def test_operations_are_drawn_independently():
    x = images(1, 4) * tf.ones([4000, 1, 1, 1])
    off = dict.fromkeys(ada.PIPES["bgc"], 0.0)

    def hit(**on):
        y = ada.Augment("bgc", 4, 3, **off | on)(x, 0.5, SEED)
        return np.any(np.abs(y - x) > 1e-7, axis=(1, 2, 3))

    hits = [hit(scale=1), hit(aniso=1), hit(xfrac=1), hit(brightness=1), hit(contrast=1)]
    correlation = np.corrcoef(np.array(hits, float))
    assert np.abs(correlation - np.eye(len(hits))).max() < 4 / np.sqrt(4000)
    # Another operation in the pipe does not change an operation's draws.
    np.testing.assert_array_equal(hit(scale=1, aniso=1), hits[0] | hits[1])


def test_same_seed_same_result_other_seed_another():
    x, augment = images(4, 16), ada.Augment("bgcfnc", 16)
    a = augment(x, 0.8, SEED)
    np.testing.assert_array_equal(a, augment(x, 0.8, SEED))
    assert np.abs(a - augment(x, 0.8, [7, 9])).max() > 0.1


def test_p_above_1_acts_as_1():
    x, augment = images(4, 16), ada.Augment("bgc", 16)
    np.testing.assert_array_equal(augment(x, 1.0, SEED), augment(x, 3.0, SEED))


def test_noise_has_the_standard_deviation_of_its_percentile():
    x = images(4, 64)
    added = ada.Augment("noise", 64)(x, 0.0, SEED, percentile=0.8427008) - x  # erfinv: 1
    assert abs(np.std(added) - 0.1) < 4 * 0.1 / np.sqrt(2 * added.shape.num_elements())
    rows = tf.reshape(added, [12, -1])
    assert np.abs(np.corrcoef(rows) - np.eye(12)).max() < 0.1


def test_noise_amplitude_is_a_half_normal():
    x = tf.zeros([3000, 8, 8, 3])
    sigma = np.std(ada.Augment("noise", 8)(x, 1.0, SEED), axis=(1, 2, 3))
    assert abs(np.sqrt(np.mean(sigma**2)) - 0.1) < 0.005
    assert abs(np.mean(sigma) - 0.1 * np.sqrt(2 / np.pi)) < 0.004


def test_cutout_zeroes_half_the_side_around_its_centre():
    x = tf.ones([1, 8, 16, 3])
    y = ada.Augment("cutout", (8, 16))(x, 0.0, SEED, percentile=0.5).numpy()
    expected = np.ones([8, 16, 3])
    expected[2:6, 4:12] = 0
    np.testing.assert_array_equal(y[0], expected)
    # Anywhere: the corners are hit when the centre is within a quarter of the side.
    y = ada.Augment("cutout", 8)(tf.ones([4000, 8, 8, 1])[..., :1] * tf.ones([3]), 1.0, SEED)
    corner, middle = np.mean(y[:, 0, 0, 0] == 0), np.mean(y[:, 4, 4, 0] == 0)
    assert abs(corner - (0.25 + 0.5 / 8) ** 2) < 0.03
    assert abs(middle - 0.25) < 0.03


def test_graph_cond_and_dynamic_batch_agree_with_eager():
    x, augment = images(3, 16), ada.Augment("bgcfnc", 16)
    expected = augment(x, 0.6, SEED)

    @tf.function(input_signature=[tf.TensorSpec([None, 16, 16, 3]), tf.TensorSpec([])])
    def step(x, p):
        return tf.cond(p > 0, lambda: augment(x, p, SEED), lambda: x)

    np.testing.assert_allclose(step(x, tf.constant(0.6)), expected, atol=2e-6)
    np.testing.assert_array_equal(step(x, tf.constant(0.0)), x)
    assert step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("p", [0.02, 0.05, 0.1, 0.3])  # branches: few, a quarter, half, all
def test_a_part_of_the_batch_is_warped_as_the_whole_and_the_rest_not_touched(p):
    x, augment = images(16, 16), ada.Augment("bg", 16)

    @tf.function  # compiled: there 1 / 1 was not 1, and every image counted as moved
    def step(x, seed):
        draws = Draws(16, tf.constant(p), seed)
        inverse = ada_geometry.inverse_transforms(draws, augment.options, 16, 16)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = augment(x, p, seed)
            loss = tf.reduce_sum(y**3)
        whole = ada_geometry.warp(x, inverse)
        return inverse, y, whole, tape.gradient(loss, x)

    numbers = set()
    for i in range(6):
        inverse, y, whole, gradient = (t.numpy() for t in step(x, tf.constant([1, i])))
        moved = np.any(inverse != np.eye(3), axis=(1, 2))
        numbers.add(int(moved.sum()))
        np.testing.assert_array_equal(y[~moved], x.numpy()[~moved])
        np.testing.assert_allclose(y[moved], whole[moved], atol=2e-6)
        np.testing.assert_allclose(gradient[~moved], 3 * x.numpy()[~moved] ** 2, rtol=1e-6)
        assert np.all(np.abs(gradient[moved]).sum(axis=(1, 2, 3)) > 1.0)
    assert max(numbers) < 16 or p == 0.3
    assert len(numbers) > 1


def test_half_precision_is_computed_in_float32():
    augment = ada.Augment("bgc", 16)
    x = tf.cast(images(3, 16), tf.bfloat16)
    y = augment(x, 0.8, SEED)
    assert y.dtype == tf.bfloat16
    wide = augment(tf.cast(x, tf.float32), 0.8, SEED)
    np.testing.assert_array_equal(y, tf.cast(wide, tf.bfloat16))


def test_gradient_agrees_with_finite_differences():
    augment = ada.Augment("bgcfnc", 8)
    x, direction = images(4, 8), images(4, 8, seed=1)
    weights = images(4, 8, seed=2)

    def value(x):
        y = augment(x, 0.9, SEED)
        return tf.reduce_sum(weights * y)

    with tf.GradientTape() as tape:
        tape.watch(x)
        total = value(x)
    slope = tf.reduce_sum(tape.gradient(total, x) * direction)
    # The map is affine in the images: a wide difference is exact but for rounding.
    numeric = (value(x + direction) - value(x - direction)) / 2
    np.testing.assert_allclose(slope, numeric, rtol=1e-4)
    assert abs(slope) > 0.1


def test_second_order_gradient_agrees_with_finite_differences():
    """The R1 pattern: |d D(augment(x)) / dx|^2 by the parameters of D, in a graph."""
    augment = ada.Augment("bgcfnc", 8)
    x, kernel = images(3, 8), images(1, 8, seed=1)[0]
    direction = images(1, 8, seed=2)[0]

    @tf.function
    def penalty(kernel, x):
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = augment(x, 0.9, SEED)
            logits = tf.reduce_sum(tf.sin(y * kernel), axis=[1, 2, 3])
        return tf.reduce_sum(tf.square(inner.gradient(logits, x)))

    def slopes(kernel, x):
        with tf.GradientTape() as tape:
            tape.watch([kernel, x])
            total = penalty(kernel, x)
        return tape.gradient(total, [kernel, x])

    by_kernel, by_images = slopes(kernel, x)
    step = 1e-2
    numeric = (penalty(kernel + step * direction, x) - penalty(kernel - step * direction, x)) / (
        2 * step
    )
    np.testing.assert_allclose(tf.reduce_sum(by_kernel * direction), numeric, rtol=5e-3)
    along = images(3, 8, seed=3)
    numeric = (penalty(kernel, x + step * along) - penalty(kernel, x - step * along)) / (2 * step)
    np.testing.assert_allclose(tf.reduce_sum(by_images * along), numeric, rtol=5e-3)


def test_p_gets_no_gradient():
    p = tf.Variable(0.5)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(ada.Augment("bgcfnc", 8)(images(2, 8), p, SEED))
    assert tape.gradient(total, p) is None


def test_p_follows_a_scripted_sequence_of_signs():
    # 4 batches of 16 at ada_kimg 1: steps of 0.064.
    signs = [0.5, 0.7, 0.9, 0.6, 0.61, 0.2, 1.0, -1.0, -1.0, -1.0, -1.0, 0.8]
    by_hand = [0, 1, 2, 2, 3, 2, 3, 2, 1, 0, 0, 1]
    p = tf.constant(0.0)
    for sign, steps in zip(signs, by_hand, strict=True):
        p = ada.next_p(p, tf.constant(sign), 0.6, 64, 1)
        np.testing.assert_allclose(p, 0.064 * steps, atol=1e-6)


def test_p_has_no_upper_limit_and_its_step_does_not_depend_on_the_excess():
    p = ada.next_p(1.5, 1.0, 0.6, 128, 500)
    np.testing.assert_allclose(p, 1.5 + 128 / 500000, rtol=1e-6)
    np.testing.assert_allclose(ada.next_p(1.5, 0.6001, 0.6, 128, 500), p)
    np.testing.assert_allclose(ada.next_p(0.0001, 0.0, 0.6, 128, 500), 0.0)


def test_validation_overfitting():
    real, fake = tf.constant([2.0, 4.0]), tf.constant([-1.0, -3.0])
    np.testing.assert_allclose(ada.validation_overfitting(real, fake, real), 0.0)
    np.testing.assert_allclose(ada.validation_overfitting(real, fake, fake), 1.0)
    np.testing.assert_allclose(ada.validation_overfitting(real, fake, tf.constant([2.0])), 0.2)
    assert ada.validation_overfitting(fake, real, real) < 0  # as officially: divisor 1e-8


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pipe": "bcg"}, "'bcg' is unknown"),
        ({"rotat90": 0}, "'rotat90' is unknown"),
        ({"channels": 4}, "needs 1 or 3 channels, found 4"),
        ({"resolution": (3, 8)}, "found 3x8"),
        ({"imgfilter_bands": (1, 1)}, "needs 4 multipliers, found 2"),
    ],
)
def test_bad_arguments(arguments, words):
    with pytest.raises(UserError, match=words):
        ada.Augment(**{"pipe": "bgc", "resolution": 16} | arguments)


def test_images_of_another_size():
    with pytest.raises(UserError, match=r"\(16, 16, 3\), found \(8, 8, 3\)"):
        ada.Augment("bgc", 16)(images(1, 8), 0.5, SEED)


def test_colours_of_other_channels_are_left_alone():
    x = images(2, 8, channels=4)
    assert ada.Augment("bg", 8, 4)(x, 0.9, SEED).shape == x.shape
