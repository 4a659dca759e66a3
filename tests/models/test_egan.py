"""E-GAN: one generation recomputed outside the system, what children inherit, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe.errors import UserError
from ganpipe.layers import bodies_egan, population
from ganpipe.ops import selection
from ganpipe.train import checkpoint
from tests import harness

# egan.md section 1. The bodies alone: a system would make the 64 px generator twice.
COUNTS = [
    (32, "batch", 3_455_363, 2_637_441),
    (32, "none", 3_455_363, 2_636_673),
    (32, "spectral", 3_455_363, 2_636_673),
    (64, "batch", 33_121_283, 11_036_289),
]


@pytest.mark.parametrize(("resolution", "norm", "g", "d"), COUNTS)
def test_parameter_counts(resolution, norm, g, d):
    if norm == "batch":
        generator = bodies_egan.build_generator(resolution, 3, 100, 128, 0, "float32", "g")
        assert harness.count(generator) == g
        assert generator.output_shape == (None, resolution, resolution, 3)
    discriminator = bodies_egan.build_discriminator(resolution, 3, 128, norm, 0, "float32")
    assert harness.count(discriminator) == d


@pytest.mark.parametrize(("norm", "d"), [("batch", 527_873), ("none", 527_361)])
def test_parameter_counts_of_the_toys(norm, d):
    system = ganpipe.create(
        "egan", resolution=1, channels=2, latent_dim=2, body="points", norm=norm
    )
    assert (harness.count(system.generator), harness.count(system.discriminator)) == (527_874, d)


def points(mu=1, seed=0, width=8, compile_arguments=None, **arguments):
    """A small system of points: quick to trace."""
    system = ganpipe.create(
        "egan", resolution=1, channels=2, latent_dim=2, body="points", width=width, **arguments
    )
    given = {"n_critic": 2, "mu": mu, "seed": seed, "gamma": 0.5} | (compile_arguments or {})
    system.compile(**given)
    return system


def train(system, steps, batch=8, skip=0):
    """Trains on noise; returns the history."""
    data = harness.noise(system, batch).skip(skip)
    return system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history


def first_batch(system, batch=8):
    return next(iter(harness.noise(system, batch)))[0]


def adam_step(values, gradients, slots, rate, beta_1, beta_2, count):
    """Adam by hand: (new values, new slots [m, v, m, v, ...])."""
    new, new_slots = [], []
    for i, (w, g) in enumerate(zip(values, gradients, strict=True)):
        m = beta_1 * slots[2 * i] + (1 - beta_1) * g
        v = beta_2 * slots[2 * i + 1] + (1 - beta_2) * g**2
        scale = rate * np.sqrt(1 - beta_2 ** (count + 1)) / (1 - beta_1 ** (count + 1))
        new.append(w - scale * m / (np.sqrt(v) + 1e-8))
        new_slots += [m, v]
    return new, new_slots


def slots_of(optimizer):
    """[m, v, m, v, ...] of Adam, variable by variable."""
    pairs = zip(optimizer._momentums, optimizer._velocities, strict=True)
    return [v.numpy() for pair in pairs for v in pair]


def d_gradient_norm(system, real, fakes):
    """Norm of the plain cross entropy's gradient, D with batch statistics, D left as it is."""
    kept = system.discriminator.get_weights()
    with tf.GradientTape() as tape:
        r = system.discriminator(real, training=True)
        f = system.discriminator(fakes, training=True)
        loss = tf.reduce_mean(tf.nn.softplus(-r)) + tf.reduce_mean(tf.nn.softplus(f))
    gradients = tape.gradient(loss, system.discriminator.trainable_variables)
    system.discriminator.set_weights(kept)
    return float(tf.linalg.global_norm(gradients)), f.numpy()


FORMULAS = {
    "minimax": lambda p: tf.reduce_mean(tf.math.log(1 - p)),
    "heuristic": lambda p: tf.reduce_mean(-tf.math.log(p)),
    "least_squares": lambda p: tf.reduce_mean((p - 1) ** 2),
}


def test_one_generation_recomputed_by_hand():
    """Children, their fitness and the choice, from the formulas of the paper."""
    system = points(compile_arguments={"g_learning_rate": 0.05})
    train(system, 3)  # slots are not empty, D has an opinion
    real, gamma = first_batch(system), 0.5
    d_before = system.discriminator.get_weights()
    start, slots = system.generator.get_weights(), slots_of(system.g_optimizer)
    count = int(system.g_optimizer.iterations)
    latents = [system.draw_latents(n, draw=k)[0] for k, n in enumerate((4, 4, 4, 8))]
    candidates = []
    for k, formula in enumerate(FORMULAS.values()):
        system.generator.set_weights(start)
        with tf.GradientTape() as tape:
            logits = system.discriminator(system.generator(latents[k]), training=True)
            loss = formula(tf.sigmoid(logits))
        system.discriminator.set_weights(d_before)
        gradients = tape.gradient(loss, system.generator.trainable_variables)
        gradients = [g.numpy() for g in gradients]
        child, child_slots = adam_step(start, gradients, slots, 0.05, 0.5, 0.999, count)
        system.generator.set_weights(child)
        norm, logits = d_gradient_norm(system, real, system.generator(latents[3]))
        quality, diversity = np.mean(1 / (1 + np.exp(-logits))), -np.log(norm)
        fitness = quality + gamma * diversity
        candidates.append((fitness, quality, diversity, float(loss), child, child_slots))
    assert len({round(c[0], 6) for c in candidates}) == 3  # the choice is a choice
    best = max(range(3), key=lambda k: candidates[k][0])
    _, quality, diversity, loss, child, child_slots = candidates[best]

    system.generator.set_weights(start)
    system.discriminator.set_weights(d_before)
    logs = {k: float(np.ravel(v)[-1]) for k, v in train(system, 1).items()}
    chosen = [logs[f"EGAN/{name}"] for name in FORMULAS]
    assert chosen == [float(k == best) for k in range(3)]
    assert logs["EGAN/F_q"] == pytest.approx(quality, rel=1e-4)
    assert logs["EGAN/F_d"] == pytest.approx(diversity, abs=1e-4)
    assert logs["G/loss"] == pytest.approx(loss, rel=1e-4)
    for ours, expected in zip(system.generator.get_weights(), child, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)
    for ours, expected in zip(slots_of(system.g_optimizer), child_slots, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-6)
    assert int(system.g_optimizer.iterations) == count + 1


def test_gamma_decides_between_quality_and_diversity():
    """The choice is the largest F_q at gamma 0, the largest F_d at a huge one."""
    system = points(compile_arguments={"g_learning_rate": 0.05, "run_eagerly": True})
    pool = system._pool(system.population.parents(), first_batch(system), 8, 4)
    # Numbers that disagree, put in place of the pool's own.
    pool = pool._replace(
        quality=tf.constant([0.1, 0.9, 0.5]), diversity=tf.constant([-3.0, -9.0, -1.0])
    )
    for gamma, best in ((0.0, 1), (0.06, 2), (1000.0, 2)):
        system.gamma = gamma
        assert system._survivors(pool).numpy().tolist() == [best]


def test_d_is_fixed_while_g_evolves():
    """Weights and moving statistics of D after a whole generation are what they were."""
    system = points()
    real, before = first_batch(system), system.discriminator.get_weights()
    system._pool(system.population.parents(), real, 8, 4)
    assert len(system.discriminator.non_trainable_variables) == 2
    for old, new in zip(before, system.discriminator.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("choice", ["fitness", "nsga2"])
def test_survivors_take_genes_bit_for_bit(choice):
    """Weights, slots and averages of all parents after a generation are those of the pool."""
    system = points(mu=2, compile_arguments={"selection": choice, "run_eagerly": True})
    train(system, 1)
    real = first_batch(system)
    parents = [gene.numpy() for gene in system.population.parents()]
    size = len(system.generator.variables)
    own = [v.numpy()[None] for v in system.generator_ema.variables]
    others = [v.numpy() for v in system.population.averages]
    averages = [np.concatenate(pair) for pair in zip(own, others, strict=True)]
    pool = system._pool(system.population.parents(), real, 8, 4)
    survivors, keep = system._survivors(pool).numpy(), float(system.average_decay())
    assert len(set(survivors)) == 2
    if choice == "nsga2":  # re-evaluated parents are in the pool as they are
        for gene, parent in zip(pool.genes, parents, strict=True):
            np.testing.assert_array_equal(gene[6:], parent)
    # Put the parents back where `_pool` left its last candidate, and run the step.
    system.population.load([gene[0] for gene in parents])
    train(system, 1)
    for gene, kept in zip(pool.genes, system.population.parents(), strict=True):
        np.testing.assert_array_equal(kept, gene.numpy()[survivors])
    parent = [s // 3 if s < 6 else s - 6 for s in survivors]
    moved = [v.numpy() for v in system.population.averages]
    for i in range(size):
        expected = keep * averages[i][parent] + (1 - keep) * pool.genes[i].numpy()[survivors]
        np.testing.assert_allclose(moved[i], expected[1:], rtol=1e-5, atol=1e-7)
        average = system.generator_ema.variables[i]
        np.testing.assert_allclose(average, expected[0], rtol=1e-5, atol=1e-7)


def test_d_trains_on_the_survivors_samples():
    system = points(mu=2)
    images = tf.reshape(tf.range(2 * 8 * 2, dtype=tf.float32), [2, 8, 1, 1, 2])
    batches = system._fakes_for_d(images, 4)
    assert [b.shape for b in batches] == [(4, 1, 1, 2)] * 2
    seen = np.sort(np.concatenate(batches).reshape(-1))
    first_half = images.numpy()[:, :4].reshape(-1)
    np.testing.assert_array_equal(seen, np.sort(first_half))
    assert not np.array_equal(np.concatenate(batches).reshape(-1), first_half)  # shuffled


def test_mutations_are_the_papers():
    logits = tf.constant([-2.0, 0.5, 3.0])
    p = 1 / (1 + np.exp(-logits.numpy()))
    expected = {
        "minimax": np.mean(np.log(1 - p)),
        "heuristic": -np.mean(np.log(p)),
        "least_squares": np.mean((p - 1) ** 2),
        "least_squares_logits": np.mean((logits.numpy() - 1) ** 2),
    }
    assert expected.keys() == selection.MUTATIONS.keys()
    for name, value in expected.items():
        assert float(selection.MUTATIONS[name](logits)) == pytest.approx(value, rel=1e-5)


def everything(system):
    """Every array of the checkpoint tree."""
    extra = [*system.population.genes, *system.population.averages]
    return harness.values(system) | {f"population/{i}": v.numpy() for i, v in enumerate(extra)}


def test_resume_is_exact(tmp_path):
    whole, rest = points(mu=2), points(mu=2, seed=0)
    train(whole, 2)
    checkpoint.save(whole, tmp_path)
    train(whole, 2, skip=2)
    for variable in rest.population.genes:
        variable.assign(tf.zeros_like(variable))
    assert checkpoint.restore(rest, checkpoint.newest(tmp_path)) == 2
    train(rest, 2, skip=2)
    harness.assert_equal(everything(whole), everything(rest))


def test_steps_are_traced_once_and_reproducible_in_one_call():
    single, joined = points(2), points(2, compile_arguments={"steps_per_execution": 4})
    traces = []
    original = single._pool
    single._pool = lambda *arguments: traces.append(1) or original(*arguments)
    train(single, 4)
    assert len(traces) == 1
    train(joined, 4)
    harness.assert_equal(everything(single), everything(joined))


def test_parents_start_apart_and_a_step_counts_once():
    system = points(mu=3)
    first = system.population.parents()[0].numpy()
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first[1], first[2])
    logs = train(system, 2)
    assert int(system.step) == 2
    assert int(system.g_optimizer.iterations) == 2
    assert int(system.d_optimizer.iterations) == 4
    shares = [np.ravel(v)[-1] for k, v in logs.items() if k in {f"EGAN/{n}" for n in FORMULAS}]
    assert sum(shares) == pytest.approx(1.0)


def test_latents_are_shared_or_not():
    system = points(compile_arguments={"g_learning_rate": 0.0})
    for shared in (True, False):
        system.shared_latents = shared
        pool = system._pool(system.population.parents(), first_batch(system), 8, 4)
        same = np.array_equal(pool.images[0], pool.images[1])
        assert same is shared


def test_penalties_and_tips_reach_both_players():
    system = points(
        norm="none",
        compile_arguments={"penalties": {"gp": 2.0}, "tips": {"instance_noise": 0.1}},
    )
    logs = train(system, 2)
    assert np.ravel(logs["D/penalty"])[-1] > 0
    assert "D/gp_norm" in logs


def test_learning_rate_is_the_runs_not_an_individuals():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(model.trainable_variables)
    people = population.Population(model, model, optimizer)
    genes = people.read()
    optimizer.learning_rate = 0.01
    people.load(genes)
    assert float(optimizer.learning_rate) == pytest.approx(0.01)


BAD = [
    ({"resolution": 48}, {}, "data.resolution: 48.*8, 16, 32, 64"),
    ({"num_classes": 3}, {}, "egan is unconditional"),
    ({"body": "mlp"}, {}, "system.body.*conv or points"),
    ({"width": 8}, {}, "system.width: 8; system.body=conv"),
    ({"body": "points", "resolution": 1}, {}, "system.nf: 4; system.body=points"),
    ({"latent_distribution": "cauchy"}, {}, "system.latent_distribution: 'cauchy'"),
    ({}, {"loss": "rahinge"}, "relativistic"),
    ({}, {"mu": 0}, "optimizer.mu: 0"),
    ({}, {"mutations": ("minmax",)}, "optimizer.mutations.*minimax"),
    ({}, {"selection": "best"}, "optimizer.selection"),
    ({}, {"gamma": -0.1}, "optimizer.gamma"),
    ({}, {"penalties": {"zcr_d": 1.0}}, "zcr_d"),
    ({"norm": "batch"}, {"penalties": {"gp": 2.0}}, "batch normalisation"),
]


@pytest.mark.parametrize(("arguments", "compile_arguments", "message"), BAD)
def test_bad_settings_say_what_to_change(arguments, compile_arguments, message):
    with pytest.raises(UserError, match=message):
        harness.small(
            "egan", **({"resolution": 16} | arguments), compile_arguments=compile_arguments
        )


def test_children_may_be_judged_on_more_fakes_than_d_trains_on(monkeypatch):
    system = points(
        norm="none", compile_arguments={"evaluation_size": 20, "mutations": ["minimax"]}
    )
    real, judged, fakes = first_batch(system), [], []
    draw, terms = system.draw_latents, system.critic_terms

    def spy_draw(count, **which):
        judged.append(count)
        return draw(count, **which)

    def spy_terms(real_images, labels, fake_images, *rest, **more):
        fakes.append(fake_images)
        return terms(real_images, labels, fake_images, *rest, **more)

    monkeypatch.setattr(system, "draw_latents", spy_draw)
    monkeypatch.setattr(system, "critic_terms", spy_terms)
    z = draw(20, draw=1)[0]
    discriminator = [v.numpy() for v in system.discriminator.trainable_variables]
    logs = system.train_step(real)
    assert judged == [4, 20]
    images = system.generator(z)
    assert [f.shape[0] for f in fakes] == [4, 4]
    np.testing.assert_allclose(tf.concat(fakes, 0), images[:8], rtol=1e-5, atol=1e-6)
    # Fitness at D's weights before its updates: all 20 fakes beside the 8 real images.
    for v, old in zip(system.discriminator.trainable_variables, discriminator, strict=True):
        v.assign(old)
    with tf.GradientTape() as tape:
        logits = system.discriminator(images)
        loss = tf.reduce_mean(tf.nn.softplus(logits))
        loss += tf.reduce_mean(tf.nn.softplus(-system.discriminator(real)))
    norm = tf.linalg.global_norm(tape.gradient(loss, system.discriminator.trainable_variables))
    assert float(logs["EGAN/F_q"][0]) == pytest.approx(np.mean(tf.sigmoid(logits)), rel=1e-4)
    assert float(logs["EGAN/F_d"][0]) == pytest.approx(-np.log(float(norm)), rel=1e-4, abs=1e-4)


def test_evaluation_needs_what_d_trains_on():
    system = points(compile_arguments={"evaluation_size": 4})
    with pytest.raises(UserError, match="evaluation_size: 4.*expected 8 or more"):
        train(system, 1)


def test_several_devices_are_refused():
    devices = tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        pytest.skip("one logical CPU")
    with tf.distribute.MirroredStrategy(devices).scope(), pytest.raises(UserError, match="device"):
        points()


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_conv_body_trains(norm):
    system = harness.small("egan", norm=norm, compile_arguments={"n_critic": 2})
    before = system.generator.get_weights()
    train(system, 1, batch=8)
    assert all(
        not np.array_equal(a, b)
        for a, b in zip(before, system.generator.get_weights(), strict=True)
    )
    assert system.sample(2).shape == (2, 8, 8, 1)
