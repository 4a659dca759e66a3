"""StyleGAN2 that grows: configs B, C, D, both regularisers at full-size scale, stages, restarts."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.models.stylegan2_grown import StyleGAN2Grown
from ganpipe.ops.growth import Growth
from ganpipe.train import checkpoint
from tests import harness

SIZES = {"channel_base": 32, "channel_max": 4, "latent_dim": 5, "w_dim": 5, "mapping_layers": 1}
B, C, D = {"lazy": False, "pl_weight": 0.0}, {"pl_weight": 0.0}, {}
STILL = {"g_learning_rate": 0.0, "d_learning_rate": 0.0}


def growth(resolution=16, batch=4, **arguments):
    """Stages of 3, 1 (fading), 3, 1 (fading), ... steps."""
    given = {"train_kimg": 0.002 * batch, "fade_kimg": 0.002 * batch, "total_kimg": 0.02 * batch}
    return Growth(resolution, batch, repeats=1, **(given | arguments))


def small(resolution=8, channels=1, compile_arguments=None, **arguments):
    arguments = SIZES | {"group_size": 2} | arguments
    system = StyleGAN2Grown(resolution, channels, **arguments)
    system.compile(**({"run_eagerly": True} | (compile_arguments or {})))
    return system


def grown(index, compile_arguments=None, **arguments):
    """A system at the first step of a stage of `growth`."""
    given = {"growth": growth()} | (compile_arguments or {})
    system = small(given["growth"].resolution, compile_arguments=given, **arguments)
    stage = system.growth.stages[index]
    system.step.assign(stage.first_step)
    system.enter(stage, fresh=True)
    return system


def batch_of(system, n=4, seed=0):
    side = system.generator.resolution_now
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1, 1, (n, side, side, system.channels)).astype(np.float32)
    return images, (np.arange(n) % max(system.num_classes, 1)).astype(np.int32)


def fit(system, steps=1, n=4):
    data = tf.data.Dataset.from_tensors(batch_of(system, n)).repeat()
    history = system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history
    return {name: float(np.ravel(value)[0]) for name, value in history.items()}


def counts(system):
    return int(system.g_optimizer.iterations), int(system.d_optimizer.iterations)


# --- When what is regularised -------------------------------------------------------------------


def test_regularisers_follow_the_config():
    intervals = {"g_reg_interval": 2, "d_reg_interval": 3}
    seen = {}
    for name, config in (("b", B), ("c", C), ("d", D)):
        system = small(compile_arguments=config | intervals)
        steps = [fit(system) for _ in range(2)]  # G is due at step 0, D as well
        seen[name] = counts(system)
        assert [logs["D/r1"] > 0 for logs in steps] == [True, True]
        assert (steps[0]["D/r1"] == steps[1]["D/r1"]) == (name != "b")
        assert (steps[0]["G/path_length"] > 0) == (name == "d")
    # One update a step, and those of regularisers that are due.
    assert seen == {"b": (2, 2), "c": (2, 3), "d": (3, 3)}


def test_adam_is_corrected_in_c_and_d_at_every_stage():
    rates = {8: 0.5}
    for config, g, d in ((B, 1.0, 1.0), (C, 0.8, 16 / 17), (D, 0.8, 16 / 17)):
        system = small(compile_arguments=config | {"growth": growth(8, learning_rates=rates)})
        pairs = ((system.g_optimizer, g), (system.d_optimizer, d))
        for optimizer, c in pairs:
            assert float(optimizer.learning_rate) == pytest.approx(1e-3 * c)
            assert optimizer.beta_2 == pytest.approx(0.99**c)
            assert optimizer.beta_1 == 0.0
            optimizer.iterations.assign(3)
        system.enter(system.growth.stages[1], fresh=True)
        for optimizer, c in pairs:
            assert float(optimizer.learning_rate) == pytest.approx(0.5 * c)
            assert int(optimizer.iterations) == 0
        system.enter(system.growth.stages[0], fresh=False)
        for optimizer, c in pairs:
            assert float(optimizer.learning_rate) == pytest.approx(1e-3 * c)


def test_config_b_has_r1_in_the_loss_of_d():
    system = grown(1, B | STILL | {"style_mixing": 0.0}, num_classes=2)
    images, labels = batch_of(system)
    penalty = float(system.r1_penalty(tf.constant(images), labels))
    fakes = system.fake_images(system.draw_latents(4, 2)[0], labels, 2)  # labels of the reals
    real, fake = (system.discriminator([x, labels]).numpy() for x in (images, fakes))
    expected = np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean() + 10 * penalty
    logs = fit(system)
    assert penalty > 1e-6
    assert logs["D/r1"] == pytest.approx(penalty, rel=1e-4)
    assert logs["D/loss"] == pytest.approx(expected, rel=1e-4)


# --- Regularisers at the size of a stage --------------------------------------------------------


def test_r1_is_the_squared_slope_at_full_resolution():
    system = grown(1)
    assert system.discriminator.halvings == 1
    system.discriminator.alpha.assign(0.5)
    for layer in (system.discriminator.b4.fc, system.discriminator.b4.out):
        layer.kernel.assign(3.0 * layer.kernel)
    images, _ = batch_of(system, 2)
    full = images.repeat(2, 1).repeat(2, 2).reshape(2, 256)

    def scores(x):
        """(M, 2, 256) -> (M,); a row of M is a batch of its own, as the groups see it."""
        means = x.reshape(-1, 2, 8, 2, 8, 2, 1).mean((3, 5)).astype(np.float32)
        return np.array([tf.reduce_sum(score(rows)) for rows in means], np.float64)

    score = tf.function(lambda rows: system.discriminator(tf.ensure_shape(rows, [2, 8, 8, 1])))
    # Along a direction of the slope itself: its length is the slope's.
    with tf.GradientTape() as tape:
        x = tf.constant(images)
        tape.watch(x)
        total = tf.reduce_sum(system.discriminator(x))
    native = tape.gradient(total, x).numpy()
    slope = (native.repeat(2, 1).repeat(2, 2) / 4).reshape(2, 256)
    direction = slope / np.linalg.norm(slope)
    step = 1e-2
    ends = np.stack([full + step * direction, full - step * direction])
    along = np.subtract(*scores(ends)) / (2 * step)
    assert along == pytest.approx(np.linalg.norm(slope), rel=0.02)
    expected = 0.5 * np.square(slope).sum() / 2
    np.testing.assert_allclose(system.r1_penalty(tf.constant(images), None), expected, rtol=1e-4)


def test_path_lengths_are_those_of_the_picture_at_full_size():
    system = grown(1, {"pl_decay": 0.25})
    for network in (system.generator, system.discriminator):
        network.alpha.assign(0.5)
    system.path_average.assign(0.3)
    system._batch = 4
    penalty, (length, average, _) = system.path_penalty(None)
    z, _ = system.draw_latents(2, 1)
    ws, _ = system.training_styles(z, None, 1)
    native = tf.random.stateless_normal([2, 8, 8, 1], system.draw_seed(1)).numpy()
    # Full-size noise whose sums over blocks have the native noise's size, twice its own.
    y = native.repeat(2, 1).repeat(2, 2) / 2.0
    with tf.GradientTape() as tape:
        tape.watch(ws)
        made = system.generator.synthesis(ws, system._noise(1), training=True)
        full = tf.repeat(tf.repeat(made, 2, 1), 2, 2)
        total = tf.reduce_sum(full * y) / 16.0
    slopes = tape.gradient(total, ws).numpy()
    assert slopes.shape == (2, 6, 5)
    assert not slopes[:, 4:].any()  # two layers are still to come, and count as 0
    lengths = np.sqrt(np.square(slopes).sum(2).mean(1))
    new = 0.3 + 0.25 * (lengths.mean() - 0.3)
    np.testing.assert_allclose(length, lengths.mean(), rtol=1e-4)
    np.testing.assert_allclose(average, new, rtol=1e-4)
    np.testing.assert_allclose(penalty, np.square(lengths - new).mean(), rtol=1e-3)


# --- Growth -------------------------------------------------------------------------------------


def test_mixing_stays_within_the_grown_layers(monkeypatch):
    from ganpipe.models import stylegan2_grown

    seen = []
    draw = stylegan2_grown.mixing_cutoff
    monkeypatch.setattr(
        stylegan2_grown,
        "mixing_cutoff",
        lambda key, p, layers: seen.append((p, layers)) or draw(key, p, layers),
    )
    system = small(16)
    for resolution, fading in ((4, False), (8, True), (8, False), (16, True)):
        system.generator.grow(resolution, fading)
        system.training_styles(*system.draw_latents(2), 0)
    assert seen == [(0.9, 2), (0.9, 4), (0.9, 4), (0.9, 6)]


def test_every_stage_moves_its_weights_and_no_others():
    system = small(16, num_classes=2, compile_arguments={"growth": growth()})
    networks = (system.generator, system.discriminator)
    for stage in system.growth.stages[:3]:
        # The first fading step has alpha 1: new levels have no gradient yet.
        system.step.assign(16 * stage.index)
        system.enter(stage, fresh=True)
        system.growth.alpha = lambda stage, step: tf.constant(0.5 if stage.fading else 0.0)
        active = {id(v) for net in networks for v in net.active_variables()}
        before = [(v, v.numpy()) for net in networks for v in net.trainable_variables]
        logs = fit(system)
        assert all(np.isfinite(v) for v in logs.values())
        assert logs["growth/lod"] == pytest.approx(stage.lod + 0.5 * stage.fading)
        assert min(logs["D/r1"], logs["G/path_length"]) > 0
        for variable, old in before:
            same = np.array_equal(variable, old)
            assert same == (id(variable) not in active), (str(stage), variable.path)
        assert counts(system) == (2, 2)


def traces(system, monkeypatch, stages, steps):
    """Python runs of `train_step` while the stages are trained in a graph."""
    seen = []
    step = type(system).train_step
    monkeypatch.setattr(
        type(system), "train_step", lambda self, data: seen.append(self.stage) or step(self, data)
    )
    for stage in stages:
        system.step.assign(stage.first_step)
        system.enter(stage, fresh=True)
        logs = fit(system, steps)
        assert all(np.isfinite(v) for v in logs.values())
    return seen


def test_a_fading_stage_runs_in_a_graph_traced_once(monkeypatch):
    # With classes: their table's gradient is sparse, which a graph's conditions refuse.
    given = {"growth": growth(8), "run_eagerly": False}
    system = small(8, num_classes=2, compile_arguments=given)
    stage = system.growth.stages[1]
    assert stage.fading
    assert traces(system, monkeypatch, [stage], 2) == [stage]
    assert counts(system) == (3, 2)  # steps 3 and 4: the path length is due at 4


@pytest.mark.slow
@pytest.mark.parametrize("config", [B, C, D], ids=["b", "c", "d"])
def test_every_stage_runs_in_a_graph_traced_once(monkeypatch, config):
    given = config | {"growth": growth(16), "run_eagerly": False}
    system = small(16, compile_arguments=given, num_classes=2)
    stages = list(system.growth.stages[:5])
    assert [(s.resolution, s.fading) for s in stages] == [
        (4, False),
        (8, True),
        (8, False),
        (16, True),
        (16, False),
    ]
    assert traces(system, monkeypatch, stages, 3) == stages


@pytest.mark.slow
def test_eager_step_equals_graph_step():
    results = []
    for eager in (False, True):
        system = grown(1, {"run_eagerly": eager, "growth": growth(8)})
        results.append(fit(system) | harness.values(system))
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=2e-3, atol=2e-3, err_msg=name)


def test_a_run_killed_in_a_fade_goes_on_as_if_it_had_not(tmp_path):
    # Both regularisers act in the fade's first step, number 3, and what they keep is restored.
    arguments = {"growth": growth(8, fade_kimg=0.016), "g_reg_interval": 3, "d_reg_interval": 3}

    def started():
        system = small(num_classes=2, compile_arguments=arguments)
        stage = system.growth.stages[1]
        system.step.assign(stage.first_step)
        system.enter(stage, fresh=True)
        return system

    whole, half = started(), started()
    fit(whole, 2)
    fit(half, 1)
    path = checkpoint.save(half, tmp_path)
    again = small(num_classes=2, seed=5, compile_arguments=arguments)
    checkpoint.restore(again, path)
    again.resume()
    assert (again.generator_ema.resolution_now, again.generator_ema.fading) == (8, True)
    again.enter(again.growth.at(int(again.step)), fresh=False)
    fit(again, 1)
    assert 0 < float(again.generator.alpha) < 1
    harness.assert_equal(harness.values(whole), harness.values(again))
    for name in ("path_average", "last_length", "last_r1"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert float(again.path_average) > 0


def test_images_and_logits_have_full_size_at_every_stage():
    system = grown(1)
    z = tf.random.stateless_normal([2, 5], [0, 1])
    images = system.generate(z).numpy()
    assert images.shape == (2, 16, 16, 1)
    native = system.generator_ema(z)
    np.testing.assert_allclose(images, native.numpy().repeat(2, 1).repeat(2, 2), atol=1e-5)
    logits = system.discriminate(images)
    np.testing.assert_allclose(logits, system.discriminator(native)[:, 0], atol=1e-5)
    ws = system.map_latents(z, truncation=0.5)
    assert ws.shape == (2, 6, 5)
    expected = system.generate(z, truncation=0.5)
    np.testing.assert_allclose(system.synthesize_styles(ws), expected, atol=1e-5)
    again = StyleGAN2Grown.from_config(system.get_config())
    whole = again.generate(z)
    assert whole.shape == images.shape and np.abs(whole - images).max() > 1e-3


def test_average_halves_in_ten_thousand_images_and_copies_what_is_not_trained():
    system = grown(1, C)
    before = [v.numpy() for v in system.generator_ema.variables]
    fit(system)
    keep = 0.5 ** (4 / 10_000)
    pairs = zip(system.generator.variables, system.generator_ema.variables, before, strict=True)
    for online, average, old in pairs:
        if online.trainable:
            expected = keep * old + (1 - keep) * online.numpy()
            np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(average, online)
    assert float(system.generator_ema.alpha) == 0.5
    assert np.abs(system.generator.w_average).max() > 0


# --- Configs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fashion_mnist", "ffhq"])
@pytest.mark.parametrize("variant", ["", "b", "c", "d", "tiny"])
def test_configs_are_of_this_system(name, variant):
    config = config_lib.parse(f"stylegan2_grown_{name}:{variant}")
    assert config.system.name == "stylegan2_grown"
    assert set(config.system) - {"name"} < set(StyleGAN2Grown.__init__.__code__.co_varnames)
    assert set(config.optimizer) < set(StyleGAN2Grown.compile.__code__.co_varnames)
    expected = {"b": (False, 0.0), "c": (True, 0.0)}.get(variant, (True, 2.0))
    assert (config.optimizer.lazy, config.optimizer.pl_weight) == expected
    schedule = Growth(config.data.resolution, config.train.batch_size, **config.growth)
    assert schedule.stages[0].resolution == 8
    assert schedule.stages[-1].resolution == config.data.resolution
    assert not schedule.stages[-1].fading


def test_the_official_schedule_of_ffhq():
    config = config_lib.parse("stylegan2_grown_ffhq")
    assert config.optimizer.r1_gamma == 10.0
    schedule = Growth(1024, config.train.batch_size, **config.growth)
    assert schedule.batches == {8: 256, 16: 128, 32: 64, 64: 32} | dict.fromkeys(
        (128, 256, 512, 1024), 32
    )
    assert schedule.rates == {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}
    for kimg, lod in ((0, 7.0), (900, 6.5), (5000, 3.0), (8401, 0.0)):
        assert schedule.lod_at(1000 * kimg) == pytest.approx(lod), kimg


BAD = [
    (lambda: small(12), "data.resolution: 12.*power of two"),
    (lambda: small(channel_max=0), "system.channel_max: 0"),
    (lambda: fit(small(group_size=3)), "system.group_size"),
    (lambda: small(compile_arguments={"lazy": False}), "pl_weight: 2.0.*lazy=False.*pl_weight=0"),
    (lambda: small(compile_arguments={"r1_gamma": -1.0}), "optimizer.r1_gamma: -1.0"),
    (lambda: small(compile_arguments={"d_reg_interval": 0}), "optimizer.d_reg_interval: 0"),
    (lambda: small(compile_arguments={"style_mixing": 2.0}), "optimizer.style_mixing: 2.0"),
    (lambda: small(compile_arguments={"loss": "hing"}), "optimizer.loss.*hinge"),
    (lambda: small(compile_arguments={"penalties": {"zcr_d": 1}}), "penalties.zcr_d: 1"),
    (lambda: small(compile_arguments={"tips": {"replay": 0.5}}), "tips.replay: 0.5"),
    (lambda: small(compile_arguments={"tips": {"separate_batches": "no"}}), "Set auto"),
    (lambda: small(compile_arguments={"growth": Growth(32, 4)}), "growth from 4 to 32"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.slow
def test_it_draws_the_class_that_it_is_asked_for():
    system = small(
        num_classes=2,
        channel_base=128,
        channel_max=16,
        group_size=4,
        ema_kimg=0.2,
        compile_arguments={
            "run_eagerly": False,
            "r1_gamma": 1.0,
            "g_learning_rate": 3e-3,
            "d_learning_rate": 3e-3,
            "growth": Growth(
                8, 16, start_resolution=4, train_kimg=1.6, fade_kimg=0.8, total_kimg=9.6
            ),
        },
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256).astype(np.int32)
    bright = labels.reshape(-1, 1, 1, 1) * 1.4 - 0.7
    for stage in system.growth.stages:
        shape = (256, stage.resolution, stage.resolution, 1)
        images = (bright + rng.normal(0, 0.05, shape)).astype(np.float32)
        data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat().shuffle(256, seed=0)
        system.enter(stage, fresh=True)
        steps = stage.last_step - stage.first_step
        data = data.batch(16, drop_remainder=True)
        system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0)
    asked = np.arange(32) % 2
    means = system.sample(32, seed=0, labels=asked).astype(np.float32).mean((1, 2, 3)) / 127.5 - 1
    assert ((means > 0) == (asked == 1)).mean() > 0.95
    assert np.abs(means).mean() == pytest.approx(0.7, abs=0.3)
