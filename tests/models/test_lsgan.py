"""LSGAN: both codings, the losses of a step, other losses on its body."""

import keras
import numpy as np
import pytest

import ganpipe
from ganpipe.errors import UserError
from tests import harness

STILL = {"g_learning_rate": 0.0, "d_learning_rate": 0.0}


def images_of(system, batch, seed=0):
    shape = (batch, system.resolution, system.resolution, system.channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def test_parameter_counts():
    system = ganpipe.create("lsgan", resolution=64)
    counts = harness.count(system.generator), harness.count(system.discriminator)
    assert counts == (3_576_704, 2_765_568)


@pytest.mark.parametrize(("coding", "a", "b", "c"), [("0/1/1", 0, 1, 1), ("-1/1/0", -1, 1, 0)])
def test_losses_of_a_step_are_squares_around_the_targets(coding, a, b, c):
    system = harness.small("lsgan", compile_arguments=STILL | {"coding": coding})
    for v in system.discriminator.trainable_variables:
        v.assign(20.0 * v)  # logits of the order of 1
    real = images_of(system, 8)
    logs = {k: float(v[0]) for k, v in system.train_step(real).items()}
    system.step.assign(0)
    r = np.asarray(system.discriminate(real), np.float64)
    d_fakes, g_fakes = (
        np.asarray(system.discriminate(system.generator(z, training=True)))
        for z in (system.draw_latents(8, draw)[0] for draw in (1, 0))
    )
    expected = 0.5 * np.mean((r - b) ** 2) + 0.5 * np.mean((d_fakes - a) ** 2)
    assert np.std(r) > 0.05
    assert logs["D/loss"] == pytest.approx(expected, rel=1e-4)
    assert logs["G/loss"] == pytest.approx(0.5 * np.mean((g_fakes - c) ** 2), rel=1e-4)


def test_a_step_moves_both_networks_and_critic_updates_take_their_own_images(monkeypatch):
    system = harness.small("lsgan", num_classes=3, compile_arguments={"n_critic": 2})
    real, labels = images_of(system, 8), np.arange(8, dtype=np.int32) % 3
    calls, terms = [], system.critic_terms
    monkeypatch.setattr(system, "critic_terms", lambda *a: calls.append(a) or terms(*a))
    before = harness.values(system)
    system.train_step((real, labels))
    after = harness.values(system)
    for name in before:
        if name.startswith(("generator/", "discriminator/")):
            assert not np.array_equal(before[name], after[name]), name
    for i, call in enumerate(calls):
        np.testing.assert_array_equal(call[0], real[4 * i : 4 * i + 4])
        np.testing.assert_array_equal(call[1], labels[4 * i : 4 * i + 4])
    assert len(calls) == 2


def test_optimisers():
    system = harness.small("lsgan")
    assert isinstance(system.g_optimizer, keras.optimizers.Adam)
    assert float(system.g_optimizer.beta_1) == 0.5
    system = harness.small("lsgan", compile_arguments={"algorithm": "rmsprop"})
    assert isinstance(system.d_optimizer, keras.optimizers.RMSprop)
    assert system.d_optimizer.rho == 0.99


BAD = [
    (lambda: harness.small("lsgan", compile_arguments={"coding": "0/1"}), "optimizer.coding"),
    (lambda: harness.small("lsgan", compile_arguments={"algorithm": "sgd"}), "adam or rmsprop"),
    (lambda: harness.small("lsgan", compile_arguments={"loss": "hing"}), "optimizer.loss"),
    (lambda: harness.small("lsgan", resolution=12), "data.resolution: 12; lsgan"),
    (lambda: harness.small("lsgan", d_dropout=1.5), "system.d_dropout: 1.5"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()
