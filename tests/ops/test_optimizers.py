import keras
import numpy as np
import tensorflow as tf

from ganpipe.ops.optimizers import Adam, MomentumSGD


def test_fused_adam_is_keras_adam():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 4)).astype(np.float32)
    results = []
    for kind in (Adam, keras.optimizers.Adam):
        w, optimizer = keras.Variable(start), kind(1e-2, 0.5, 0.999, epsilon=1e-8)
        optimizer.build([w])
        gradients = np.random.default_rng(1)
        for _ in range(5):
            g = gradients.normal(size=(3, 4)).astype(np.float32)
            optimizer.apply_gradients([(tf.constant(g), w)])
        results.append([w, *optimizer.variables])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-5, atol=1e-7)
    assert np.abs(results[0][0].numpy() - start).max() > 1e-3


def test_three_updates_by_hand():
    # v <- m v - lr g, w <- w + v with lr_t = .1 / 2^t, m from .5 to .7 over 2 updates, g = 1.
    w = keras.Variable(1.0)
    optimizer = MomentumSGD(0.1, decay=2.0, momentum=0.5, final_momentum=0.7, momentum_ramp=2)
    optimizer.build([w])
    expected_w, v = 1.0, 0.0
    for t, momentum in enumerate([0.5, 0.6, 0.7, 0.7]):
        optimizer.apply_gradients([(np.float32(1.0), w)])
        v = momentum * v - 0.1 / 2**t
        expected_w += v
        np.testing.assert_allclose(float(w.numpy()), expected_w, rtol=1e-6)


def test_rate_has_a_floor():
    w = keras.Variable(0.0)
    optimizer = MomentumSGD(0.1, decay=10.0, min_learning_rate=0.01, momentum_ramp=0)
    optimizer.build([w])
    for _ in range(5):
        optimizer.apply_gradients([(np.float32(0.0), w)])
    rate, momentum = optimizer.rates()
    np.testing.assert_allclose([rate, momentum], [0.01, 0.7], rtol=1e-6)
