"""WGAN: clipping before each update, the critic's schedule, exact resume inside a long phase."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe.errors import UserError
from ganpipe.ops.rmsprop import RMSprop
from ganpipe.train import checkpoint
from tests import harness

SHORT = {"warmup_iterations": 0, "warmup_critic": 0, "warmup_every": 0, "n_critic": 2}


def toy(**compile_arguments):
    """Points with two coordinates: steps of milliseconds, run eagerly."""
    return harness.small(
        "wgan",
        resolution=1,
        channels=2,
        latent_dim=2,
        nf=8,
        body="points",
        compile_arguments=SHORT | compile_arguments,
    )


def images_of(system, batch, seed=0):
    shape = (batch, system.resolution, system.resolution, system.channels)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def weights(network):
    return [v.numpy() for v in network.trainable_variables]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# wgan.md section 1.
COUNTS = [
    ({"resolution": 64}, 3_576_704, 2_765_568),
    ({"resolution": 64, "g_norm": "none"}, 3_574_784, 2_765_568),
    ({"resolution": 64, "body": "mlp", "nf": 512}, 6_880_768, 6_817_793),
]


@pytest.mark.parametrize(("arguments", "g", "c"), COUNTS)
def test_parameter_counts(arguments, g, c):
    system = ganpipe.create("wgan", **arguments)
    assert (harness.count(system.generator), harness.count(system.discriminator)) == (g, c)


def test_every_parameter_is_clipped_before_each_update_and_not_after(monkeypatch):
    compile_arguments = SHORT | {"d_learning_rate": 1e-3}
    system = harness.small("wgan", resolution=16, compile_arguments=compile_arguments)
    seen = []
    loss = system.objective.critic_loss

    def spy(*args, **kwargs):
        seen.append(weights(system.discriminator))
        return loss(*args, **kwargs)

    monkeypatch.setattr(system.objective, "critic_loss", spy)
    gains = [v for v in system.discriminator.trainable_variables if "gamma" in v.path]
    assert gains and min(v.numpy().min() for v in gains) > 0.9
    logs = system.train_step(images_of(system, 8))
    assert len(seen) == 2
    for at_update in seen:
        assert max(np.abs(w).max() for w in at_update) == np.float32(0.01)
    # RMSprop's first step is 10 learning rates long: what it moved is not clipped afterwards.
    assert max(np.abs(w).max() for w in weights(system.discriminator)) > 0.0101
    share = np.mean(np.abs(np.concatenate([w.ravel() for w in seen[1]])) >= np.float32(0.01))
    assert float(logs["D/clipped_share"][0]) == pytest.approx(share, abs=1e-6)
    assert 0 < share < 1


def test_distance_is_the_critics_of_the_last_batch():
    system = toy(d_learning_rate=0.0, g_learning_rate=0.0)
    real = images_of(system, 8)
    z, _ = system.draw_latents(4, draw=2)
    fake = system.generator(z, training=True)
    logs = system.train_step(real)
    gap = np.mean(system.discriminate(real[4:])) - np.mean(system.discriminate(fake))
    assert float(logs["D/distance"][0]) == pytest.approx(gap, rel=1e-4)
    assert float(logs["D/loss"][0]) == pytest.approx(-gap, rel=1e-4)


def test_each_critic_update_has_its_own_images_and_latents(monkeypatch):
    system = toy(n_critic=3)
    real, calls = images_of(system, 12), []
    terms = system.critic_terms
    monkeypatch.setattr(system, "critic_terms", lambda *a: calls.append(a) or terms(*a))
    system.train_step(real)
    for i, call in enumerate(calls):
        np.testing.assert_array_equal(call[0], real[4 * i : 4 * i + 4])
    z = [call[5].numpy() for call in calls]
    assert len(calls) == 3
    assert len({x.tobytes() for x in z}) == 3
    assert z[0].tobytes() != system.draw_latents(4)[0].numpy().tobytes()


def official(iterations, critic, every, n_critic, steps):
    """G updates done after each step, by the official loop over critic updates."""
    done, since, result = 0, 0, []
    for _ in range(steps):
        since += n_critic
        long = done < iterations or (every and done % every == 0)
        if since >= (critic if long else n_critic):
            done, since = done + 1, 0
        result.append(done)
    return result


@pytest.mark.parametrize(
    "schedule",
    [(3, 4, 5), (3, 5, 0), (0, 4, 4), (0, 0, 0), (2, 0, 3)],
    ids=["all", "rounded up", "every", "off", "no length"],
)
def test_schedule_of_generator_updates(schedule):
    names = ("warmup_iterations", "warmup_critic", "warmup_every")
    system = toy(**dict(zip(names, schedule, strict=True)))
    counts, before = [], weights(system.generator)
    for step in range(14):
        system.train_step(images_of(system, 4, step))
        moved = not same(before, weights(system.generator))
        before = weights(system.generator)
        counts.append(int(system.g_updates))
        assert moved == (counts[-1] > (counts[-2] if len(counts) > 1 else 0)), step
        assert int(system.g_optimizer.iterations) == counts[-1]
    assert counts == official(*schedule, 2, 14)


def test_papers_schedule_is_the_default():
    system = harness.small("wgan", resolution=1, channels=2, body="points")
    assert system.n_critic == 5
    for done, length in ((0, 100), (24, 100), (25, 1), (499, 1), (500, 100), (501, 1), (1000, 100)):
        system.g_updates.assign(done)
        assert int(system.phase_length()) == length


def test_resume_in_the_middle_of_a_long_phase_is_exact(tmp_path):
    schedule = {"warmup_iterations": 3, "warmup_critic": 6, "warmup_every": 0}

    def run(system, steps):
        for step in steps:
            system.train_step(images_of(system, 4, step))

    whole, first, second = (toy(**schedule) for _ in range(3))
    run(whole, range(7))
    run(first, range(4))
    assert (int(first.g_updates), int(first.critic_updates)) == (1, 2)
    checkpoint.save(first, tmp_path)
    assert checkpoint.restore(second, checkpoint.newest(tmp_path)) == 4
    assert int(second.critic_updates) == 2
    run(second, range(4, 7))
    harness.assert_equal(harness.values(whole), harness.values(second))
    assert int(second.g_updates) == int(whole.g_updates) == 2


def test_graph_steps_equal_eager_ones():
    results = []
    for eager in (True, False):
        system = toy(warmup_iterations=1, warmup_critic=4, run_eagerly=eager)
        system.fit(harness.noise(system), steps_per_epoch=3, epochs=1, verbose=0)
        results.append(harness.values(system))
        assert int(system.g_updates) == 2
    for name in results[0]:
        # RMSprop divides by the root of tiny second moments: last bits grow to shares of the rate.
        np.testing.assert_allclose(results[0][name], results[1][name], atol=2e-5, err_msg=name)


def test_optimisers():
    system = toy()
    for optimizer in (system.g_optimizer, system.d_optimizer):
        assert isinstance(optimizer, RMSprop)
        assert (optimizer.rho, optimizer.epsilon) == (0.99, 1e-8)
        assert float(optimizer.learning_rate) == pytest.approx(5e-5)
    system = toy(algorithm="adam")
    assert isinstance(system.d_optimizer, keras.optimizers.Adam)
    assert (system.d_optimizer.beta_1, system.d_optimizer.beta_2) == (0.5, 0.999)


@pytest.mark.parametrize("body", ["dcgan", "mlp"])
def test_sample_and_generate_stay_in_range(body):
    system = harness.small("wgan", body=body, compile_arguments=SHORT)
    for v in system.generator_ema.trainable_variables + system.generator_ema.variables:
        v.assign(3.0 * v)
    images = system.generate(3.0 * tf.random.stateless_normal([4, 6], [0, 0]))
    assert 0.5 < float(tf.reduce_max(tf.abs(images))) <= 1.0
    assert system.sample(3, seed=1).shape == (3, 8, 8, 1)


BAD = [
    (lambda: harness.small("wgan", num_classes=3), "wgan is unconditional"),
    (lambda: harness.small("wgan", body="resnet"), "system.body: 'resnet'"),
    (lambda: harness.small("wgan", resolution=12), "data.resolution: 12"),
    (lambda: harness.small("wgan", d_norm="group"), "system.d_norm: 'group'"),
    (lambda: harness.small("wgan", body="mlp", d_norm="layer"), "system.d_norm: 'layer'; .*mlp"),
    (lambda: harness.small("wgan", body="mlp", n_extra_layers=1), "system.n_extra_layers: 1"),
    (lambda: harness.small("wgan", body="mlp", d_dropout=0.1), "system.d_dropout: 0.1"),
    (lambda: toy(algorithm="sgd"), "optimizer.algorithm: 'sgd'; expected rmsprop or adam"),
    (lambda: toy(warmup_every=-1), "optimizer.warmup_every: -1"),
    (lambda: toy(n_critic=0), "optimizer.n_critic: 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()
