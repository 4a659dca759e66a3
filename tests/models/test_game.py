"""What training steps are written with: gated updates, draws, replay; any loss on any system."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import replay
from ganpipe.models import game
from ganpipe.ops import losses
from tests import harness

EAGER = {"run_eagerly": True}  # a trace costs more than a step of so small a network


def train(system, steps=2, n=1, seed=0):
    data = harness.noise(system, batch=8 * n, seed=seed)
    return system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history


@pytest.mark.parametrize("loss", losses.NAMES)
def test_any_loss_trains_a_discriminator_without_batch_norm(loss):
    system = harness.small("dcgan", d_norm="none", compile_arguments={"loss": loss, **EAGER})
    before = harness.values(system)
    history = train(system, steps=1)
    assert np.isfinite(history["D/loss"]).all()
    assert np.isfinite(history["G/loss"]).all()
    after = harness.values(system)
    assert any(np.any(before[k] != after[k]) for k in before if k.startswith("generator/"))


PENALTIES = ["gp", "gp_one_sided", "gp_zero", "r1", "r2", "dragan", "cr", "bcr", "zcr_d", "lecam"]


@pytest.mark.parametrize("name", PENALTIES)
def test_any_penalty_reaches_the_loss_of_d(name):
    arguments = {"penalties": {name: 1.0, "lecam_start": 0}, **EAGER}
    system = harness.small("dcgan", d_norm="none", resolution=16, compile_arguments=arguments)
    if name == "gp_one_sided":  # gradients below 1 cost nothing: make them larger
        for variable in system.discriminator.trainable_variables:
            variable.assign(20.0 * variable)
    logs = {k: np.ravel(v)[-1] for k, v in train(system, steps=2).items()}
    assert logs["D/penalty"] > 0
    assert logs["D/loss"] > logs["D/penalty"]  # adversarial + penalty
    if name in ("gp", "gp_one_sided"):
        assert logs["D/gp_norm"] > 0


@pytest.mark.parametrize(("name", "sign"), [("zcr_g", -1), ("orthogonal", 1)])
def test_penalties_of_g_reach_its_loss(name, sign):
    results = []
    for weight in (0.0, 10.0):
        rates = {"g_learning_rate": 0.0, "d_learning_rate": 0.0}
        arguments = {"penalties": {name: weight}, **rates, **EAGER}
        system = harness.small("dcgan", norm="none", compile_arguments=arguments)
        results.append(np.ravel(train(system, steps=1)["G/loss"])[0])
    assert sign * (results[1] - results[0]) > 1e-6


def test_orthogonality_is_of_kernels_with_output_channels_last():
    system = harness.small("dcgan", num_classes=3)
    shapes = [tuple(k.shape) for k in game.kernels(system.generator)]
    assert shapes == [(6 + 3, 64), (4, 4, 4 + 3, 1)]
    system = harness.small("sngan", resolution=32, num_classes=3, body="resnet", nf=4)
    tables = {(3, 4)}  # gains and offsets of conditional batch normalisation
    assert tables <= {tuple(v.shape) for v in system.generator.trainable_variables}
    assert not tables & {tuple(k.shape) for k in game.kernels(system.generator)}


def test_clip_is_applied_before_the_update_of_any_system():
    arguments = {"penalties": {"clip": 0.001}, "d_learning_rate": 0.0}
    system = harness.small("dcgan", d_norm="none", compile_arguments=arguments)
    train(system, steps=1)
    largest = max(np.abs(v.numpy()).max() for v in system.discriminator.trainable_variables)
    np.testing.assert_allclose(largest, 0.001, rtol=1e-6)


def test_an_inactive_update_changes_nothing():
    system = harness.small("dcgan")
    train(system, steps=2)
    before = harness.values(system)
    variables = system.generator.trainable_variables
    gradients = [tf.ones(v.shape) for v in variables]

    @tf.function
    def update(active):
        return system.minimize(system.g_optimizer, gradients, variables, active=active)

    update(tf.constant(False))
    harness.assert_equal(before, harness.values(system))
    update(tf.constant(True))
    after = harness.values(system)
    for name in before:
        moved = np.any(before[name] != after[name])
        trained = name.startswith(("g_optimizer", "generator/"))
        assert moved <= trained, name
    assert any(np.any(before[k] != after[k]) for k in before if k.startswith("generator/"))


def test_n_critic_takes_another_slice_for_every_update():
    system = harness.small("dcgan", norm="none", compile_arguments={"n_critic": 3})
    images = tf.reshape(tf.range(6.0), [6, 1, 1, 1]) * tf.ones([6, 8, 8, 1])
    parts = [part.numpy()[:, 0, 0, 0].tolist() for part, _ in system.critic_batches(images)]
    assert parts == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(UserError, match="does not divide by optimizer.n_critic=3"):
        system.critic_batches(images[:4])
    train(system, steps=2, n=3)
    assert int(system.d_optimizer.iterations.numpy()) == 6
    assert int(system.g_optimizer.iterations.numpy()) == 2


def test_draws_of_a_step_differ_and_come_back():
    system = harness.small("dcgan", num_classes=3)
    first = [system.draw_latents(64, draw)[0].numpy() for draw in range(3)]
    for i in range(3):
        np.testing.assert_array_equal(first[i], system.draw_latents(64, i)[0])
        for j in range(i):
            assert abs(np.corrcoef(first[i].ravel(), first[j].ravel())[0, 1]) < 0.2
    seeds = {tuple(system.draw_seed(draw).numpy()) for draw in range(5)}
    assert len(seeds) == 5
    system.step.assign_add(1)
    assert np.any(first[0] != system.draw_latents(64)[0])


@pytest.mark.parametrize("distribution", ["normal", "uniform", "sphere"])
def test_latents_can_be_spherical(distribution):
    system = harness.small("dcgan", latent_distribution=distribution)
    z = system.draw_latents(256)[0].numpy()
    lengths = np.linalg.norm(z, axis=1)
    if distribution == "sphere":
        np.testing.assert_allclose(lengths, np.sqrt(6), rtol=1e-5)
    else:
        assert lengths.std() > 0.1
    np.testing.assert_allclose(z.mean(), 0, atol=0.15)


# --- Replay ---------------------------------------------------------------------------------------


def test_pool_fills_then_exchanges_rows():
    pool = replay.ReplayPool(8, (1, 1, 1), share=0.5)

    def batch(start):
        return tf.reshape(tf.range(start, start + 4.0), [4, 1, 1, 1])

    given = set()
    for i in range(2):  # filling: new fakes pass through
        out, labels = pool(batch(4.0 * i), tf.range(4), tf.constant([0, i]))
        np.testing.assert_array_equal(out, batch(4.0 * i))
        np.testing.assert_array_equal(labels, range(4))
        given |= set(out.numpy().ravel())
    np.testing.assert_array_equal(np.sort(pool.pool.numpy().ravel()), np.arange(8.0))
    old = swapped = 0
    for i in range(2, 200):
        before = pool.pool.numpy().ravel()
        new = batch(4.0 * i)
        out, _ = pool(new, tf.range(4), tf.constant([0, i]))
        out, after = out.numpy().ravel(), pool.pool.numpy().ravel()
        # Nothing is lost, nothing is made: pool and batch exchange rows.
        everything = np.sort(np.concatenate([before, new.numpy().ravel()]))
        np.testing.assert_array_equal(np.sort(np.concatenate([out, after])), everything)
        old += len(out)
        swapped += np.sum(out < 4.0 * i)
    assert 0.42 < swapped / old < 0.58


def test_replay_needs_a_pool_as_large_as_the_batch():
    with pytest.raises(UserError, match="tips.replay_pool: 4 images"):
        replay.ReplayPool(4, (1, 1, 1), 0.5)(tf.zeros([8, 1, 1, 1]), None, tf.constant([0, 0]))


def test_replayed_runs_resume_exactly(tmp_path):
    from ganpipe.train import checkpoint

    def system():
        arguments = {"tips": {"replay": 0.5, "replay_pool": 16}, "penalties": {"lecam": 0.3}}
        return harness.small("dcgan", num_classes=3, compile_arguments=arguments)

    def all_values(system):
        extra = [*system.replay_pool.variables, system.logit_average]
        return harness.values(system) | {f"x{i}": v.numpy() for i, v in enumerate(extra)}

    whole = system()
    data = harness.noise(whole, count=1)  # one batch, repeated: the position does not matter
    whole.fit(data, steps_per_epoch=6, epochs=1, verbose=0)
    first = system()
    first.fit(data, steps_per_epoch=3, epochs=1, verbose=0)
    folder = checkpoint.save(first, tmp_path)
    second = system()
    checkpoint.restore(second, folder)
    harness.assert_equal(all_values(first), all_values(second))
    second.fit(data, steps_per_epoch=3, epochs=1, verbose=0)
    harness.assert_equal(all_values(whole), all_values(second))


def test_points_are_not_pictures():
    system = harness.small("dcgan", resolution=1, channels=2, body="points", nf=8)
    assert system.generate(tf.zeros([3, 6])).shape == (3, 1, 1, 2)
    train(system, steps=1)
    with pytest.raises(UserError, match="points, not pictures"):
        system.sample(2)
