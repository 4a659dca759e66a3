"""Penalties: the sheet's values, gradients against finite differences, invariances."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import penalties

SEED = tf.constant([3, 5], tf.int64)
BATCH, SIDE, CHANNELS = 4, 8, 2


def linear(w):
    """D(x) = w . x on (B, 1, 1, n) images: the gradient is w everywhere."""
    w = tf.constant(w, tf.float64)
    return lambda images: tf.linalg.matvec(tf.reshape(images, [-1, w.shape[0]]), w)


def points(n=2, batch=5, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(batch, 1, 1, n)))


@pytest.mark.parametrize(
    ("w", "two_sided", "one_sided", "r1"), [((3, 4), 16, 16, 12.5), ((0.3, 0.4), 0.25, 0, 0.125)]
)
def test_values_of_the_sheet_on_a_linear_critic(w, two_sided, one_sided, r1):
    # losses.md section 4: with weight 10 GP = 160 and 2.5, R1 (gamma 10) = 125 and 1.25.
    critic, real, fake = linear(w), points(), points(seed=1)
    value, norm = penalties.gradient_penalty(critic, real, fake, SEED)
    np.testing.assert_allclose(value, two_sided, rtol=1e-12)
    np.testing.assert_allclose(norm, np.hypot(*w), rtol=1e-12)
    value, _ = penalties.gradient_penalty(critic, real, fake, SEED, one_sided=True)
    np.testing.assert_allclose(value, one_sided, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(penalties.r1(critic, real), r1, rtol=1e-12)
    np.testing.assert_allclose(penalties.dragan(critic, real, SEED), two_sided, rtol=1e-12)
    value = penalties.zero_centred_gradient_penalty(critic, real, fake, SEED)
    np.testing.assert_allclose(value, 2 * r1, rtol=1e-12)


def test_norms_have_a_zero_gradient_at_zero():
    x = tf.zeros([2, 3], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        n = penalties.norms(x)
    np.testing.assert_array_equal(n, [0, 0])
    np.testing.assert_array_equal(tape.gradient(n, x), np.zeros([2, 3]))


def test_interpolation_takes_one_number_a_row():
    a, b = tf.zeros([6, 4, 4, 1]), tf.ones([6, 4, 4, 1])
    x = penalties.interpolate(a, b, SEED).numpy()
    rows = x[:, 0, 0, 0]
    np.testing.assert_array_equal(x, np.broadcast_to(rows[:, None, None, None], x.shape))
    assert len(set(rows)) == 6
    assert np.all((rows >= 0) & (rows < 1))
    # On the line: between different ends, at the same place.
    ends = penalties.interpolate(a - 2.0, b, SEED).numpy()[:, 0, 0, 0]
    np.testing.assert_allclose(ends, -2 + 3 * rows, rtol=1e-6)


# --- Gradients of every penalty, float64, against central differences ----------------------------


def network(theta, images):
    """A smooth critic of 2 hidden units whose weights are `theta`."""
    x = tf.reshape(images, [-1, SIDE * SIDE * CHANNELS])
    kernel = tf.reshape(theta[:-4], [SIDE * SIDE * CHANNELS, 2])
    hidden = tf.tanh(tf.matmul(x, kernel) + theta[None, -4:-2])
    return tf.linalg.matvec(hidden, theta[-2:])


REAL = tf.constant(np.random.default_rng(1).normal(size=(BATCH, SIDE, SIDE, CHANNELS)))
FAKE = tf.constant(np.random.default_rng(2).normal(size=(BATCH, SIDE, SIDE, CHANNELS)))
THETA = np.random.default_rng(3).normal(size=SIDE * SIDE * CHANNELS * 2 + 4) * 0.3


def toy_generator(theta):
    """w (B, 3) -> images, its weights in `theta`; squared so that the Jacobian depends on w."""
    kernel = tf.reshape(theta[:48], [3, 16])
    return lambda w: tf.reshape(tf.matmul(w, kernel) ** 2, [-1, 4, 4, 1])


PATH_W = tf.constant(np.random.default_rng(4).normal(size=(3, 3)))
PATH_NOISE = tf.constant(np.random.default_rng(5).normal(size=(3, 4, 4, 1)))

PENALTIES = {
    "gp": lambda t: penalties.gradient_penalty(lambda x: network(t, x), REAL, FAKE, SEED)[0],
    "gp_one_sided": lambda t: penalties.gradient_penalty(
        lambda x: network(3.0 * t, x), REAL, FAKE, SEED, one_sided=True
    )[0],
    "gp_zero": lambda t: penalties.zero_centred_gradient_penalty(
        lambda x: network(t, x), REAL, FAKE, SEED
    ),
    "r1": lambda t: penalties.r1(lambda x: network(t, x), REAL),
    "r2": lambda t: penalties.r1(lambda x: network(t, x), FAKE),
    "dragan": lambda t: penalties.dragan(lambda x: network(t, x), REAL, SEED),
    "cr": lambda t: penalties.consistency(
        network(t, REAL), network(t, penalties.flip_and_shift(REAL, SEED))
    ),
    "bcr": lambda t: penalties.consistency(
        network(t, FAKE), network(t, penalties.flip_and_shift(FAKE, SEED))
    ),
    "zcr_d": lambda t: penalties.consistency(network(t, FAKE), network(t, FAKE + 0.05)),
    "zcr_g": lambda t: penalties.latent_diversity(
        toy_generator(t)(PATH_W), toy_generator(t)(PATH_W + 0.05)
    ),
    "orthogonal": lambda t: penalties.orthogonality(tf.reshape(t[:60], [2, 2, 3, 5])),
    "lecam": lambda t: penalties.lecam(
        network(t, REAL), network(t, FAKE), tf.constant([0.5, -0.5], tf.float64)
    ),
    "top_k": lambda t: tf.reduce_mean(penalties.top_k(network(t, FAKE), 2)),
    "path_length": lambda t: penalties.path_length(
        toy_generator(t), PATH_W, PATH_NOISE, tf.constant(0.7, tf.float64)
    )[0],
}


@pytest.mark.parametrize("name", PENALTIES)
def test_gradient_equals_finite_differences(name):
    penalty = tf.function(PENALTIES[name])
    theta = tf.constant(THETA)
    with tf.GradientTape() as tape:
        tape.watch(theta)
        value = penalty(theta)
    gradient = tape.gradient(value, theta).numpy()
    assert value.dtype == tf.float64
    assert np.linalg.norm(gradient) > 1e-6
    step = 1e-5
    # Along random directions and the largest coordinates: the whole gradient is in play.
    rng = np.random.default_rng(0)
    directions = [v / np.linalg.norm(v) for v in rng.normal(size=(4, len(THETA)))]
    directions += [np.eye(len(THETA))[i] for i in np.argsort(-np.abs(gradient))[:3]]
    directions.append(gradient / np.linalg.norm(gradient))
    for v in directions:

        def at(t, v=v):
            return float(penalty(tf.constant(THETA + t * step * v)))

        # Five points: the error is of order step^4.
        slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)
        np.testing.assert_allclose(
            gradient @ v, slope, rtol=1e-6, atol=1e-6 * np.linalg.norm(gradient)
        )


# --- The rest --------------------------------------------------------------------------------


def test_clip_weights_takes_the_nearest_value():
    variables = [tf.Variable([-0.5, 0.005, 0.02]), tf.Variable([[0.01]])]
    penalties.clip_weights(variables, 0.01)
    np.testing.assert_allclose(variables[0], [-0.01, 0.005, 0.01])
    np.testing.assert_allclose(variables[1], [[0.01]])


def test_flip_and_shift_moves_pixels_and_reflects_borders():
    images = tf.reshape(tf.range(40 * 16 * 16, dtype=tf.float32), [40, 16, 16, 1])
    out = penalties.flip_and_shift(images, SEED).numpy()[..., 0]
    shifts, flips = set(), 0
    for before, after in zip(images.numpy()[..., 0], out, strict=True):
        padded = np.pad(before, 2, mode="reflect")
        found = [
            (dy, dx, flip)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            for flip in (False, True)
            if np.array_equal(
                after, padded[2 + dy : 18 + dy, 2 + dx : 18 + dx][:, :: -1 if flip else 1]
            )
        ]
        assert len(found) == 1
        shifts.add(found[0][:2])
        flips += found[0][2]
    assert len(shifts) > 10
    assert {dy for dy, _ in shifts} == {-2, -1, 0, 1, 2}
    assert 8 < flips < 32


def test_orthogonality_takes_output_channels_as_rows():
    # losses.md: W = [[1, 2], [3, 4]] with rows as output channels gives 242 (392 the other way).
    rows = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(penalties.orthogonality(tf.constant(rows.T)), 242)
    np.testing.assert_allclose(penalties.orthogonality(tf.constant(rows)), 392)
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 3)))
    np.testing.assert_allclose(penalties.orthogonality(tf.constant(q)), 0, atol=1e-12)


def test_top_k_count_and_choice():
    steps = tf.constant([0, 999, 1000, 10_000, 200_000])
    counts = [int(penalties.top_k_count(64, s, 0.99, 0.5, 1000)) for s in steps]
    assert counts == [64, 64, 63, 58, 32]
    np.testing.assert_array_equal(penalties.top_k(tf.constant([1.0, 5, 3, 4]), 2), [5, 4])


def test_path_length_of_a_linear_generator():
    a = np.random.default_rng(0).normal(size=(16, 3))
    noise = tf.constant(np.random.default_rng(1).normal(size=(5, 4, 4, 1)))
    w = points(3).numpy().reshape(5, 3)
    penalty, lengths = penalties.path_length(
        lambda w: tf.reshape(tf.matmul(w, tf.constant(a.T)), [-1, 4, 4, 1]),
        tf.constant(w),
        noise,
        tf.constant(0.5, tf.float64),
    )
    expected = np.linalg.norm(noise.numpy().reshape(5, 16) / 4 @ a, axis=1)
    np.testing.assert_allclose(lengths, expected, rtol=1e-10)
    np.testing.assert_allclose(penalty, np.mean((expected - 0.5) ** 2), rtol=1e-10)


def test_half_precision_is_summed_in_float32():
    images = tf.zeros([2, 8, 8, 4], tf.bfloat16)
    norm = penalties.norms(penalties.input_gradients(lambda x: tf.reduce_sum(x, [1, 2, 3]), images))
    assert norm.dtype == tf.float32
    np.testing.assert_allclose(norm, [16, 16])
