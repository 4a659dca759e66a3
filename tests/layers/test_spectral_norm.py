"""Spectral norm: the true sigma, the true gradient, a u that moves in training only."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganpipe.layers.spectral_norm import SNConv2D, SNDense, SNEmbedding, normalise

# name -> (layer, inputs, the weight as a matrix with one row per output channel, u)
RNG = np.random.default_rng(0)
IMAGES = tf.constant(RNG.normal(size=(4, 6, 6, 5)), tf.float32)
ROWS = tf.constant(RNG.normal(size=(4, 5)), tf.float32)
LABELS = tf.constant([0, 3, 3, 6])


def transposed(weight):
    return weight.reshape(-1, weight.shape[-1]).T


CASES = {
    "conv": (lambda **k: SNConv2D(7, 3, **k), IMAGES, transposed, (1, 7)),
    "conv 4x4/2": (lambda **k: SNConv2D(7, 4, strides=2, **k), IMAGES, transposed, (1, 7)),
    "conv up": (lambda **k: SNConv2D(7, 3, "up", **k), IMAGES, transposed, (1, 7)),
    "conv 1x1 down": (lambda **k: SNConv2D(7, 1, "down", **k), IMAGES, transposed, (1, 7)),
    "dense": (lambda **k: SNDense(8, **k), ROWS, transposed, (1, 8)),
    "embedding": (lambda **k: SNEmbedding(9, 4, **k), LABELS, lambda w: w, (1, 9)),
}


@pytest.fixture(params=CASES)
def case(request):
    keras.utils.set_random_seed(1)
    make, inputs, matrix, u_shape = CASES[request.param]
    return make, inputs, matrix, u_shape


def weight_of(layer):
    return layer.embeddings if isinstance(layer, SNEmbedding) else layer.kernel


def as_plain(layer, inputs, weight):
    """The layer's output with `weight` in place of W / sigma."""
    layer.normalised = lambda *unused: tf.cast(weight, layer.compute_dtype)
    try:
        return layer(inputs)
    finally:
        del layer.normalised


def test_sigma_is_the_largest_singular_value_after_many_calls(case):
    make, inputs, matrix, u_shape = case
    layer = make()
    layer.build(inputs.shape)
    assert layer.u.shape == u_shape
    assert [v.path for v in layer.non_trainable_variables] == [layer.u.path]
    for _ in range(100):
        y = layer(inputs, training=True)
    w = weight_of(layer).numpy()
    sigma = np.linalg.svd(matrix(w), compute_uv=False)[0]
    np.testing.assert_allclose(y, as_plain(layer, inputs, w / sigma), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(layer(inputs), y, rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(tf.norm(layer.u), 1.0, rtol=1e-5)


def test_one_call_is_one_power_iteration_and_inference_none(case):
    make, inputs, matrix, _ = case
    layer = make()
    layer.build(inputs.shape)
    w, u = matrix(weight_of(layer).numpy().astype(np.float64)), layer.u.numpy()
    layer(inputs)
    np.testing.assert_array_equal(layer.u, u)
    y = layer(inputs, training=True)
    v = u @ w / np.linalg.norm(u @ w)
    new = v @ w.T / np.linalg.norm(v @ w.T)
    np.testing.assert_allclose(layer.u, new, rtol=1e-4, atol=1e-6)
    sigma = float((new @ w @ v.T)[0, 0])
    expected = as_plain(layer, inputs, weight_of(layer).numpy() / sigma)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    expected = as_plain(layer, inputs, weight_of(layer).numpy() / np.linalg.norm(new @ w))
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-4, atol=1e-5)


def test_gradient_goes_through_sigma_with_u_and_v_constant(case):
    make, inputs, matrix, _ = case
    layer = make()
    layer.build(inputs.shape)
    weight, u = weight_of(layer), layer.u.numpy()
    target = tf.constant(np.random.default_rng(2).normal(size=layer(inputs).shape), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(layer(inputs, training=True)) * target)
    gradient = tape.gradient(loss, weight.value).numpy()

    w = weight.numpy()
    m = matrix(w.astype(np.float64))
    v = u @ m / np.linalg.norm(u @ m)
    u = v @ m.T / np.linalg.norm(v @ m.T)

    def f(w):
        sigma = float((u @ matrix(w.astype(np.float64)) @ v.T)[0, 0])
        y = as_plain(layer, inputs, (w / sigma).astype(np.float32))
        return float(tf.reduce_sum(tf.sin(y) * target))

    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=w.shape)
        numeric = (f(w + 2e-3 * direction) - f(w - 2e-3 * direction)) / 4e-3
        np.testing.assert_allclose((gradient * direction).sum(), numeric, rtol=2e-2, atol=2e-2)
    # W / sigma does not change with the length of W, so the gradient is orthogonal to W.
    assert abs((gradient * w).sum()) < 1e-4 * np.linalg.norm(gradient) * np.linalg.norm(w)


def test_gradient_of_sigma_is_u_times_v():
    rng = np.random.default_rng(3)
    matrix, u = tf.constant(rng.normal(size=(6, 4)), tf.float32), tf.ones([1, 4])
    with tf.GradientTape() as tape:
        tape.watch(matrix)
        sigma, new = normalise(matrix, u, True)
    v = (matrix.numpy() @ u.numpy().T).T
    v /= np.linalg.norm(v)
    np.testing.assert_allclose(tape.gradient(sigma, matrix), v.T @ new.numpy(), atol=1e-5)


def test_second_order_as_a_gradient_penalty_needs_it():
    """d/dW of |dD/dx|^2 through SN and a merged pooling convolution, by finite differences."""
    layer = SNConv2D(3, 3, "down", kernel_initializer=keras.initializers.RandomNormal(seed=4))
    layer.build(IMAGES.shape)
    u = layer.u.numpy()

    def penalty():
        layer.u.assign(u)
        with tf.GradientTape() as tape:
            tape.watch(IMAGES)
            score = tf.reduce_sum(tf.tanh(layer(IMAGES, training=True)))
        return tf.reduce_sum(tape.gradient(score, IMAGES) ** 2)

    w = layer.kernel.numpy()
    # The numeric derivative moves u and v along with W; where they have converged sigma is
    # stationary in them, and the two derivatives agree.
    for _ in range(200):
        layer(IMAGES, training=True)
    u = layer.u.numpy()
    with tf.GradientTape() as tape:
        value = penalty()
    gradient = tape.gradient(value, layer.kernel.value).numpy()
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=w.shape).astype(np.float32)
        values = []
        for sign in (1, -1):
            layer.kernel.assign(w + sign * 1e-3 * direction)
            values.append(float(penalty()))
        layer.kernel.assign(w)
        numeric = (values[0] - values[1]) / 2e-3
        np.testing.assert_allclose((gradient * direction).sum(), numeric, rtol=3e-2, atol=1e-2)


def test_mixed_precision_keeps_sigma_in_float32():
    results = []
    for dtype in ("float32", "mixed_bfloat16"):
        layer = SNConv2D(
            7,
            3,
            dtype=dtype,
            kernel_initializer=keras.initializers.RandomNormal(seed=5),
            u_initializer=keras.initializers.RandomNormal(seed=6),
        )
        with tf.GradientTape() as tape:
            y = layer(IMAGES, training=True)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
        gradient = tape.gradient(loss, layer.kernel.value)
        assert (layer.u.dtype, gradient.dtype) == ("float32", tf.float32)
        assert y.dtype == (tf.float32 if dtype == "float32" else tf.bfloat16)
        results.append((layer.u.numpy(), tf.cast(y, tf.float32).numpy()))
    # u comes from float32 products: bfloat16's rounding (0.4%) would show.
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-6)
    np.testing.assert_allclose(results[0][1], results[1][1], atol=0.05)


def test_u_moves_in_graphs_and_checkpoints_hold_it(tmp_path):
    def model():
        x = keras.Input((5,))
        return keras.Model(x, SNDense(8)(x))

    first, second = model(), model()
    step = tf.function(lambda x: first(x, training=True))
    before = first.layers[-1].u.numpy()
    step(ROWS)
    once = first.layers[-1].u.numpy()
    step(ROWS)
    assert np.abs(before - once).max() > 1e-3
    assert np.abs(first.layers[-1].u.numpy() - once).max() > 1e-5
    path = tf.train.Checkpoint(model=first).save(tmp_path / "ckpt")
    tf.train.Checkpoint(model=second).restore(path).assert_consumed()
    np.testing.assert_array_equal(first.layers[-1].u, second.layers[-1].u)
    np.testing.assert_array_equal(first(ROWS), second(ROWS))


@pytest.mark.parametrize("name", CASES)
def test_layers_come_back_from_their_config(name):
    make, inputs, _, _ = CASES[name]
    layer = make()
    layer(inputs)
    again = type(layer).from_config(layer.get_config())
    again(inputs)
    assert [v.shape for v in again.variables] == [v.shape for v in layer.variables]
