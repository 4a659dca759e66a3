"""Attacks on a linear classifier, where the answers are formulas, and their bounds elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.defence import attacks

N, PIXELS, CLASSES = 6, 8, 3
RNG = np.random.default_rng(0)
WEIGHTS = tf.constant(RNG.normal(size=(PIXELS * PIXELS, CLASSES)), tf.float32)
IMAGES = tf.constant(RNG.uniform(0.2, 0.8, (N, PIXELS, PIXELS, 1)), tf.float32)
SEED = tf.constant([1, 2])


def linear(images):
    return tf.matmul(tf.reshape(images, [-1, PIXELS * PIXELS]), WEIGHTS)


def curved(images):
    """Two classes; each pixel's part of the loss rises and falls within the ball."""
    hidden = tf.sin(3.0 * tf.reshape(images, [-1, PIXELS * PIXELS]))
    return 0.2 * tf.matmul(hidden, WEIGHTS[:, :2])


def predicted(logits, images=IMAGES):
    return tf.argmax(logits(images), axis=1, output_type=tf.int32)


ATTACKS = {
    "fgsm": lambda f, x, y: attacks.fgsm(f, x, y, 0.1),
    "rand_fgsm": lambda f, x, y: attacks.rand_fgsm(f, x, y, SEED, 0.1, 0.04),
    "pgd": lambda f, x, y: attacks.pgd(f, x, y, SEED, 0.1, 0.03, 10, 2),
    "bpda": lambda f, x, y: attacks.BPDA(f, lambda x, draw: x, 0.1, 0.03)(x, y, 0, 10, 2),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_stay_in_the_ball_and_in_the_picture(name):
    images = tf.concat([IMAGES[:3], tf.round(IMAGES[3:])], 0)  # some pixels at the borders
    found = ATTACKS[name](curved, images, predicted(curved, images)).numpy()
    assert found.min() >= 0.0 and found.max() <= 1.0
    change = np.abs(found - images.numpy()).max(axis=(1, 2, 3))
    assert np.all(change <= 0.1 + 1e-6) and np.all(change > 0.05)


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_raise_the_loss(name):
    labels = predicted(curved)
    before = attacks.row_losses(curved, IMAGES, labels).numpy()
    after = attacks.row_losses(curved, ATTACKS[name](curved, IMAGES, labels), labels).numpy()
    assert np.all(after > before)


def test_fgsm_is_the_formula_of_a_linear_model():
    labels = predicted(linear)
    p = tf.nn.softmax(linear(IMAGES))
    gradient = tf.matmul(p - tf.one_hot(labels, CLASSES), WEIGHTS, transpose_b=True)
    expected = tf.clip_by_value(IMAGES + 0.3 * tf.sign(tf.reshape(gradient, IMAGES.shape)), 0, 1)
    np.testing.assert_allclose(attacks.fgsm(linear, IMAGES, labels), expected, atol=1e-6)


def test_rand_fgsm_steps_from_random_signs():
    labels = predicted(linear)
    found = attacks.rand_fgsm(linear, IMAGES, labels, SEED, 0.1, 0.04)
    noise = tf.sign(tf.random.stateless_normal(IMAGES.shape, SEED))
    start = tf.clip_by_value(IMAGES + 0.04 * noise, 0, 1)
    np.testing.assert_allclose(found, attacks.fgsm(linear, start, labels, 0.06), atol=1e-6)
    other = attacks.rand_fgsm(linear, IMAGES, labels, tf.constant([1, 3]), 0.1, 0.04)
    assert not np.array_equal(found, other)


def test_pgd_stops_where_fgsm_oversteps():
    """The worst picture is grey all over, inside the ball."""

    def bowl(images):
        square = tf.reduce_sum(tf.square(images - 0.5), axis=[1, 2, 3])
        return tf.stack([tf.zeros_like(square), 5.0 - square], axis=1)

    labels = tf.zeros([N], tf.int32)
    loss = lambda x: attacks.row_losses(bowl, x, labels).numpy()  # noqa: E731
    one_step = loss(attacks.fgsm(bowl, IMAGES, labels, 0.3))
    found = attacks.pgd(bowl, IMAGES, labels, SEED, 0.3, 0.02, 40)
    assert np.all(loss(found) > one_step + 0.1)
    np.testing.assert_allclose(found, 0.5, atol=0.021)


def test_pgd_restarts_help_where_there_are_many_maxima():
    labels = predicted(curved)
    loss = lambda x: attacks.row_losses(curved, x, labels).numpy()  # noqa: E731
    one = loss(attacks.pgd(curved, IMAGES, labels, SEED, 0.3, 0.02, 20))
    five = loss(attacks.pgd(curved, IMAGES, labels, SEED, 0.3, 0.02, 20, restarts=5))
    assert np.all(five >= one) and np.mean(five > one) >= 0.5


def test_pgd_on_a_linear_model_of_two_classes_reaches_the_corner():
    """The sign of the gradient never changes, so ascent ends where FGSM's one step does."""
    logits = lambda x: linear(x)[:, :2]  # noqa: E731
    labels = predicted(logits)
    corner = attacks.fgsm(logits, IMAGES, labels, 0.1)
    found = attacks.pgd(logits, IMAGES, labels, SEED, 0.1, 0.05, 10)
    np.testing.assert_allclose(found, corner, atol=1e-6)


def test_carlini_wagner_finds_the_distance_of_a_linear_model():
    """Two classes: the border is at |margin| / |difference of the weights|."""
    logits = lambda x: linear(x)[:, :2]  # noqa: E731
    labels = predicted(logits)
    values = logits(IMAGES).numpy()
    margin = np.abs(values[:, 0] - values[:, 1])
    distance = margin / np.linalg.norm(WEIGHTS[:, 0] - WEIGHTS[:, 1])
    found, won = tf.function(attacks.carlini_wagner)(
        logits, IMAGES, labels, 300, 6, 1.0, learning_rate=0.02
    )
    assert np.all(won)
    assert np.all(predicted(logits, found) != labels)
    l2 = np.linalg.norm(np.reshape(found - IMAGES, [N, -1]), axis=1)
    assert np.all(l2 >= distance * (1 - 1e-4))
    np.testing.assert_allclose(l2, distance, rtol=0.05)
    # FGSM with the least epsilon that succeeds everywhere goes further.
    epsilon = margin / np.abs(WEIGHTS[:, 0] - WEIGHTS[:, 1]).sum()
    assert np.all(l2 < epsilon * PIXELS)  # |epsilon sign| = epsilon sqrt(64)


def test_carlini_wagner_starts_at_the_image_and_stays_in_the_picture():
    seen = []
    images = tf.concat([IMAGES[:3], tf.round(IMAGES[3:])], 0)  # some pixels at the borders

    def logits(x):
        seen.append(x)
        return linear(x)

    labels = predicted(linear, images)
    attacks.carlini_wagner(logits, images, labels, 10, 2, 100.0, 1.0)
    np.testing.assert_allclose(seen[0], images, atol=1e-5)
    assert min(np.min(x) for x in seen) >= 0.0 and max(np.max(x) for x in seen) <= 1.0
    assert np.abs(seen[10] - images).max() > 0.3


def test_carlini_wagner_gives_clean_images_back_where_it_fails():
    found, won = attacks.carlini_wagner(
        lambda x: linear(x) * 0.0 + [1.0, 0.0, 0.0], IMAGES, tf.zeros([N], tf.int32), 5, 2
    )
    assert not np.any(won)
    np.testing.assert_array_equal(found, IMAGES)


def test_carlini_wagner_more_constants_never_find_a_longer_way():
    labels, attack = predicted(curved), tf.function(attacks.carlini_wagner)
    far = lambda search: np.linalg.norm(  # noqa: E731
        np.reshape(attack(curved, IMAGES, labels, 40, search, 10.0, 0.02)[0] - IMAGES, [N, -1]),
        axis=1,
    )
    one, many = far(1), far(4)
    assert np.all(many <= one + 1e-6) and np.any(many < 0.99 * one)


def test_straight_through_has_the_values_of_the_one_and_the_gradient_of_the_other():
    project = lambda x: tf.round(4.0 * x) / 4.0  # noqa: E731 (its own gradient is 0)
    labels = predicted(curved)
    through = attacks.straight_through(project)
    np.testing.assert_array_equal(through(IMAGES), project(IMAGES))
    _, gradient = attacks.losses_and_gradient(lambda x: curved(through(x)), IMAGES, labels)
    _, at_the_projection = attacks.losses_and_gradient(curved, project(IMAGES), labels)
    np.testing.assert_allclose(gradient, at_the_projection, rtol=1e-6)
    assert np.abs(gradient).max() > 0.0


def test_bpda_breaks_a_projection_that_hides_the_gradient():
    project = lambda x: tf.round(4.0 * x) / 4.0  # noqa: E731
    defended = lambda x: curved(project(x))  # noqa: E731
    labels = predicted(defended)
    # TensorFlow has no gradient of rounding at all: an attack on the whole finds nothing.
    with pytest.raises(ValueError, match="None"):
        attacks.fgsm(defended, IMAGES, labels, 0.3)
    found = attacks.BPDA(curved, lambda x, draw: project(x), 0.3, 0.03)(IMAGES, labels, 0, 30)
    assert np.all(predicted(defended, found) != labels)


def test_bpda_gives_every_call_another_draw():
    seen = []

    def project(x, draw):
        tf.py_function(lambda d: seen.append(int(d)), [draw], [])
        return x

    ticks = []
    attack = attacks.BPDA(linear, project, 0.1, 0.05)
    attack(IMAGES, predicted(linear), 0, steps=3, restarts=2, on_step=lambda: ticks.append(1))
    assert seen == list(range(6)) and len(ticks) == 6
