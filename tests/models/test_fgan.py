"""f-GAN: the divergences at known logits, moves at once, the clip of v and its zero gradient."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.models import fgan
from ganpipe.ops import losses
from tests import harness

STILL = {"g_learning_rate": 0.0, "d_learning_rate": 0.0}


def images_of(system, batch, seed=0):
    shape = (batch, system.resolution, system.resolution, system.channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def small(**compile_arguments):
    widths = {"nf": 64, "g_units": 8, "d_units": 8}  # nf: the default, which "mlp" has no use for
    return harness.small("fgan", body="mlp", **widths, compile_arguments=compile_arguments)


@pytest.mark.parametrize("objective", ["alternative", "true"])
@pytest.mark.parametrize("divergence", fgan.DIVERGENCES)
def test_losses_of_a_step_are_those_of_the_ops(divergence, objective):
    system = small(divergence=divergence, generator_objective=objective, **STILL)
    for v in system.discriminator.trainable_variables:
        v.assign(40.0 * v)  # v of the order of 1
    real = images_of(system, 8)
    logs = {k: float(x[0]) for k, x in system.train_step(real).items()}
    system.step.assign(0)
    r = system.discriminate(real)
    f = system.discriminate(system.generator(system.draw_latents(8)[0], training=True))
    d_loss, _ = losses.pair(f"fgan_{divergence}")
    suffix = "_alt" if objective == "alternative" else ""
    _, g_loss = losses.pair(f"fgan_{divergence}{suffix}")
    assert logs["D/loss"] == pytest.approx(float(d_loss(r, f)), rel=1e-4, abs=1e-6)
    assert logs["G/loss"] == pytest.approx(float(g_loss(r, f)), rel=1e-4, abs=1e-6)
    assert logs["D/divergence"] == -logs["D/loss"]
    assert ("D/clamped_share" in logs) == (divergence in fgan.EXPONENTIAL)


def test_players_move_at_once():
    after = []
    for rate in (0.0, 0.1):
        system = small(d_learning_rate=rate)
        for step in range(1):
            system.train_step(images_of(system, 8, step))
        after.append([v.numpy() for v in system.generator.trainable_variables])
    for a, b in zip(*after, strict=True):
        np.testing.assert_array_equal(a, b)


def test_clip_keeps_the_losses_finite_and_is_logged():
    logs = []
    for clamp in (-1.0, 0.0):
        system = small(divergence="kl", clamp=clamp, **STILL)
        *_, last = system.discriminator.trainable_variables
        last.assign([300.0])
        logs.append({k: float(v[0]) for k, v in system.train_step(images_of(system, 4)).items()})
    assert np.isfinite(logs[0]["D/loss"])
    assert logs[0]["D/clamped_share"] == 1.0
    assert logs[0]["D/loss"] == pytest.approx(np.exp(9.0) - 10.0, rel=1e-5)
    assert not np.isfinite(logs[1]["D/loss"])
    assert "D/clamped_share" not in logs[1]


@pytest.mark.parametrize("divergence", fgan.DIVERGENCES)
def test_the_clip_goes_by_the_loss_however_it_is_named(divergence):
    for name in (f"fgan_{divergence}", f"fgan_{divergence}_alt"):
        by_name = small(loss=name)  # the divergence is then another one, js
        assert by_name.objective.loss_name == name
        assert by_name.clamp == (10.0 if divergence in fgan.EXPONENTIAL else 0.0)
    assert small(divergence=divergence).clamp == by_name.clamp


def test_another_loss_on_the_body_is_not_clipped():
    system = small(loss="hinge", divergence="kl")
    assert system.clamp == 0.0
    assert "D/clamped_share" not in system.train_step(images_of(system, 4))


def test_both_gradients_are_at_clipped_weights():
    gradients = []
    for clip_before in (False, True):
        system = small(penalties={"clip": 0.01}, **STILL)
        variables = system.discriminator.trainable_variables
        for v in variables:
            v.assign(tf.fill(v.shape, 0.05))
            if clip_before:
                v.assign(tf.fill(v.shape, 0.01))
        found, minimize = [], system.minimize
        system.minimize = lambda o, g, v, f=found, m=minimize: f.append(g) or m(o, g, v)
        system.train_step(images_of(system, 4))
        gradients.append(found)
    for raw, clipped in zip(*gradients, strict=True):  # of G, of D
        for a, b in zip(raw, clipped, strict=True):
            np.testing.assert_array_equal(a, b)


def test_n_critic_updates_have_slices_of_their_own(monkeypatch):
    system = small(n_critic=3)
    real, calls, order = images_of(system, 12), [], []
    terms, minimize = system.critic_terms, system.minimize
    monkeypatch.setattr(system, "critic_terms", lambda *a: calls.append(a) or terms(*a))
    monkeypatch.setattr(system, "minimize", lambda o, *a: order.append(o) or minimize(o, *a))
    system.train_step(real)
    for i, call in enumerate(calls):
        np.testing.assert_array_equal(call[0], real[4 * i : 4 * i + 4])
    d, g = system.d_optimizer, system.g_optimizer
    assert [o is d for o in order] == [True, True, False, True]
    assert (int(d.iterations), int(g.iterations)) == (3, 1)
    # G's fakes are those of the last update of D.
    assert len({call[5].numpy().tobytes() for call in calls}) == 3
    np.testing.assert_array_equal(calls[-1][5], system_latents(system, 4))


def system_latents(system, batch):
    """z of the step before: `train_step` counts up."""
    system.step.assign_sub(1)
    return system.draw_latents(batch)[0]


def test_gradient_through_the_clip_is_zero():
    system = small(divergence="reverse_kl", clamp=0.5)
    *_, last = system.discriminator.trainable_variables
    images = tf.constant(images_of(system, 4))
    for bias, expected in ((0.2, 1.0), (0.7, 0.0), (-0.7, 0.0)):
        last.assign([bias])
        with tf.GradientTape() as tape:
            v = tf.reduce_mean(system.critic_at(0)(images, None))
        assert float(v) == pytest.approx(np.clip(bias, -0.5, 0.5), abs=0.02)
        np.testing.assert_allclose(tape.gradient(v, last.value), [expected], atol=1e-6)


def test_a_step_moves_every_weight_of_the_dcgan_body():
    system = harness.small("fgan", num_classes=3)
    before = harness.values(system)
    system.train_step((images_of(system, 6), np.arange(6, dtype=np.int32) % 3))
    after = harness.values(system)
    for name in before:
        if name.startswith(("generator/", "discriminator/")):
            assert not np.array_equal(before[name], after[name]), name


BAD = [
    (lambda: small(loss="hing"), "optimizer.loss: .*hinge"),
    (lambda: small(divergence="tsallis"), "optimizer.divergence: 'tsallis'"),
    (lambda: small(generator_objective="both"), "alternative or true"),
    (lambda: harness.small("fgan", body="resnet"), "system.body: 'resnet'"),
    (lambda: harness.small("fgan", body="mlp", num_classes=3), "'mlp' is unconditional"),
    (lambda: harness.small("fgan", body="mlp"), "system.nf: 4; system.body=mlp has no"),
    (lambda: harness.small("fgan", body="mlp", nf=64, norm="none"), "system.norm: 'none'"),
    (lambda: harness.small("fgan", body="mlp", nf=64, d_norm="layer"), "system.d_norm: 'layer'"),
    (lambda: harness.small("fgan", body="mlp", nf=64, d_dropout=0.1), "system.d_dropout: 0.1"),
    (lambda: harness.small("fgan", d_units=8), "system.d_units: 8; system.body=dcgan"),
    (lambda: small(n_critic=0), "optimizer.n_critic: 0"),
    (lambda: harness.small("fgan", resolution=12), "data.resolution: 12"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()
