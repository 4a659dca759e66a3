"""StyleGAN: mixing, truncation, penalties at full-size scale, averages, growth, restarts."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.models.stylegan import StyleGAN
from ganpipe.ops.growth import Growth
from ganpipe.train import checkpoint
from tests import harness

SMALL = {"latent_dim": 6, "fmap_base": 64, "fmap_max": 4, "group_size": 2}


def growth(resolution=16, batch=4, **arguments):
    """Stages of 3, 2 (fading), 3, 2 (fading), ... steps."""
    given = {"train_kimg": 0.002 * batch, "fade_kimg": 0.002 * batch, "total_kimg": 0.02 * batch}
    return Growth(resolution, batch, repeats=1, **(given | arguments))


def small(resolution=8, channels=1, compile_arguments=None, **arguments):
    system = StyleGAN(resolution, channels, **(SMALL | arguments))
    system.compile(**({"run_eagerly": True} | (compile_arguments or {})))
    return system


def grown(index, compile_arguments=None, **arguments):
    """A system at a stage of `growth`, at the first step of it."""
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


def fit(system, steps=1, n=4, seed=0):
    data = tf.data.Dataset.from_tensors(batch_of(system, n, seed)).repeat()
    history = system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history
    return {name: float(np.ravel(value)[0]) for name, value in history.items()}


def test_stages_are_those_of_the_schedule():
    stages = [(s.resolution, s.fading, s.last_step - s.first_step) for s in growth().stages]
    assert stages[:4] == [(4, False, 3), (8, True, 1), (8, False, 3), (16, True, 1)]
    assert stages[4][:2] == (16, False)


# --- G in training ------------------------------------------------------------------------------


def test_mixing_stays_within_the_grown_layers():
    system = small(16)
    seeds = tf.stack([tf.zeros([600], tf.int32), tf.range(600)], axis=1)
    for resolution, fading, layers in ((4, False, 2), (8, True, 4), (8, False, 4), (16, True, 6)):
        system.generator.grow(resolution, fading)
        assert system.layers_now == layers
        draw = tf.function(
            lambda: tf.map_fn(system.mixing_cutoff, seeds, fn_output_signature=tf.int32)
        )
        drawn = draw().numpy()
        assert set(drawn) == set(range(1, layers + 1))
        assert (drawn == layers).mean() == pytest.approx(0.1, abs=0.04)  # not mixed
        for cutoff in range(1, layers):
            share = (drawn == cutoff).mean()
            assert share == pytest.approx(0.9 / (layers - 1), abs=0.06)


def test_layers_from_the_cutoff_on_follow_the_second_style_only():
    system = small()
    ws, others = tf.random.stateless_normal([2, 3, 6, 6], [0, 1])  # six layers
    mixed = system.mix(ws, others, tf.constant(4))
    np.testing.assert_array_equal(mixed[:, :4], ws[:, :4])
    np.testing.assert_array_equal(mixed[:, 4:], others[:, 4:])
    np.testing.assert_array_equal(system.mix(ws, others, tf.constant(6)), ws)


def test_fakes_are_mixed_with_second_latents_of_the_same_classes(monkeypatch):
    system = small(num_classes=2, mixing_prob=1.0)
    monkeypatch.setattr(system, "mixing_cutoff", lambda seed: tf.constant(3))
    seen = []
    synthesis = system.generator.synthesis
    monkeypatch.setattr(
        system.generator, "synthesis", lambda ws, noise: seen.append(ws) or synthesis(ws, noise)
    )
    z, labels = system.draw_latents(3, draw=1)
    system.fake_images(z, labels, 1)
    first = system.generator.mapping(z, labels)
    second = system.generator.mapping(system.draw_latents(3, draw=101)[0], labels)
    np.testing.assert_allclose(seen[0][:, :3], first[:, :3], atol=1e-6)
    np.testing.assert_allclose(seen[0][:, 3:], second[:, 3:], atol=1e-6)
    assert np.abs(first - second).min(axis=(1, 2)).max() > 1e-3


def test_mean_style_moves_in_both_updates_by_the_first_styles():
    system = small(compile_arguments={"g_learning_rate": 0.0})
    expected = np.zeros(6)
    for draw in (0, 1):
        z, _ = system.draw_latents(4, draw)
        mean = system.generator.mapping(z)[:, 0].numpy().mean(0)
        expected = 0.995 * expected + 0.005 * mean
    fit(system)
    np.testing.assert_allclose(system.generator.w_average, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(system.generator_ema.w_average, system.generator.w_average)
    assert np.abs(expected).max() > 1e-4


def test_average_halves_in_ten_thousand_images_and_copies_what_is_not_trained():
    system = grown(1)
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


def test_step_draws_new_latents_noise_and_cutoffs_each_time():
    system = small()
    z, _ = system.draw_latents(2)
    a = system.fake_images(z, None, 0)
    np.testing.assert_array_equal(system.fake_images(z, None, 0), a)
    for variable in system.generator.trainable_variables:
        if variable.path.endswith("noise_weight"):
            variable.assign(tf.ones_like(variable))
    a = system.fake_images(z, None, 0)
    assert np.abs(system.fake_images(z, None, 1) - a).max() > 1e-3
    system.step.assign(1)
    assert np.abs(system.fake_images(z, None, 0) - a).max() > 1e-3


# --- D's loss -----------------------------------------------------------------------------------


def full_size_gradients(system, images, step=2e-3):
    """d D / d x for x the images blown up to R, by central differences; rows are independent."""
    halvings = system.discriminator.halvings
    full = images.repeat(1 << halvings, 1).repeat(1 << halvings, 2)
    pixels = full[0].size
    moves = step * np.eye(pixels, dtype=np.float32).reshape(pixels, *full.shape[1:])

    def scores(x):
        side = system.discriminator.resolution_now
        block = 1 << halvings
        small = x.reshape(len(x), side, block, side, block, -1).mean((2, 4))
        return system.discriminator(tf.constant(small, tf.float32)).numpy()[:, 0].astype(np.float64)

    return np.stack([(scores(x + moves) - scores(x - moves)) / (2 * step) for x in full])


@pytest.mark.parametrize("index", [1, 4])
def test_r1_is_the_squared_slope_at_full_resolution(index):
    arguments = {"g_learning_rate": 0.0, "d_learning_rate": 0.0}
    system = grown(index, group_size=0, compile_arguments=arguments)
    images, _ = batch_of(system)
    slopes = full_size_gradients(system, images)
    expected = 10 / 2 * np.square(slopes).sum(1).mean()
    assert fit(system)["D/penalty"] == pytest.approx(expected, rel=5e-3)


def test_losses_are_the_official_ones():
    arguments = {"g_learning_rate": 0.0, "d_learning_rate": 0.0}
    system = grown(2, num_classes=2, compile_arguments=arguments)
    images, labels = batch_of(system)
    fakes = system.fake_images(system.draw_latents(4)[0], labels, 0)
    real, fake = (system.discriminator([x, labels]).numpy() for x in (images, fakes))
    z, others = system.draw_latents(4, draw=1)
    again = system.discriminator([system.fake_images(z, others, 1), others]).numpy()
    logs = fit(system)
    adversarial = np.logaddexp(0, -real).mean() + np.logaddexp(0, fake).mean()
    assert logs["D/loss"] - logs["D/penalty"] == pytest.approx(adversarial, rel=1e-4)
    assert logs["G/loss"] == pytest.approx(np.logaddexp(0, -again).mean(), rel=1e-4)
    assert logs["D/penalty"] > 0


def test_wgan_gp_is_the_critic_of_progan():
    arguments = {"loss": "wgan_gp", "g_learning_rate": 0.0, "d_learning_rate": 0.0, "drift": 2.0}
    system = grown(2, group_size=0, compile_arguments=arguments)
    images, _ = batch_of(system)
    fakes = system.fake_images(system.draw_latents(4)[0], None, 0).numpy()
    seed = tf.random.experimental.stateless_fold_in(system.draw_seed(), 2)
    u = tf.random.stateless_uniform([4, 1, 1, 1], seed).numpy()
    norms = np.linalg.norm(full_size_gradients(system, images + u * (fakes - images)), axis=1)
    real, fake = (system.discriminator(x).numpy() for x in (images, fakes))
    again = system.discriminator(system.fake_images(*system.draw_latents(4, 1), 1))
    logs = fit(system)
    expected = 10 * np.square(norms - 1).mean() + 2 * np.square(real).mean()
    assert logs["D/penalty"] == pytest.approx(expected, rel=1e-3)
    assert logs["D/gp_norm"] == pytest.approx(norms.mean(), rel=5e-3)
    assert logs["D/loss"] == pytest.approx(fake.mean() - real.mean() + expected, rel=1e-3)
    assert logs["G/loss"] == pytest.approx(-float(tf.reduce_mean(again)), rel=1e-4)


def test_real_images_and_fakes_do_not_meet_in_a_group():
    assert small().objective.tips["separate_batches"] == "yes"
    assert small(group_size=0).objective.tips["separate_batches"] == "auto"


# --- Growth -------------------------------------------------------------------------------------


def test_every_stage_moves_its_weights_and_no_others():
    system = small(16, num_classes=2, compile_arguments={"growth": growth()})
    for stage in system.growth.stages[:4]:
        system.step.assign(stage.first_step + stage.fading)
        system.enter(stage, fresh=True)
        active = {
            id(v)
            for net in (system.generator, system.discriminator)
            for v in net.active_variables()
        }
        # The first fading step has alpha 1: new levels have no gradient yet.
        for net in (system.generator, system.discriminator):
            net.alpha.assign(0.5)
        networks = (system.generator, system.discriminator)
        before = [(v, v.numpy()) for net in networks for v in net.trainable_variables]
        logs = fit(system)
        assert all(np.isfinite(v) for v in logs.values())
        assert logs["growth/lod"] == pytest.approx(float(system.growth.lod(stage, system.step - 1)))
        for variable, old in before:
            if id(variable) not in active:
                np.testing.assert_array_equal(variable, old)
            elif stage.fading is False:
                assert not np.array_equal(variable, old), variable.path


def test_rates_and_moments_start_anew_at_a_stage():
    rates = {8: 0.5, 16: 0.25}
    system = small(16, compile_arguments={"growth": growth(learning_rates=rates)})
    fit(system)
    assert float(system.g_optimizer.learning_rate) == pytest.approx(1e-3)
    assert int(system.d_optimizer.iterations) == 1
    system.enter(system.growth.stages[1], fresh=True)
    for optimizer in (system.g_optimizer, system.d_optimizer):
        assert float(optimizer.learning_rate) == 0.5
        slots = [v for v in optimizer.variables if v is not optimizer._learning_rate]
        assert all(not np.any(v) for v in slots)


def test_images_and_logits_have_full_size_at_every_stage():
    system = grown(1)
    z = tf.random.stateless_normal([2, 6], [0, 1])
    images = system.generate(z).numpy()
    assert images.shape == (2, 16, 16, 1)
    blocks = images.reshape(2, 8, 2, 8, 2, 1)
    np.testing.assert_array_equal(blocks, np.broadcast_to(blocks[:, :, :1, :, :1], blocks.shape))
    native = system.generator_ema(z)
    np.testing.assert_allclose(images[:, ::2, ::2], native, atol=1e-5)
    logits = system.discriminate(images)
    np.testing.assert_allclose(logits, system.discriminator(native)[:, 0], atol=1e-5)


def test_truncation_acts_on_styles():
    system = small(truncation_cutoff=2)
    system.generator_ema.w_average.assign(tf.linspace(-1.0, 1.0, 6))
    z = tf.random.stateless_normal([2, 6], [0, 1])
    ws = system.map_latents(z, truncation=0.5).numpy()
    whole = system.map_latents(z).numpy()
    np.testing.assert_array_equal(ws[:, 2:], whole[:, 2:])
    mean = system.generator_ema.w_average.numpy()
    np.testing.assert_allclose(ws[:, :2], mean + 0.5 * (whole[:, :2] - mean), atol=1e-6)
    images = system.synthesize_styles(ws)
    np.testing.assert_allclose(system.generate(z, truncation=0.5), images, atol=1e-5)


def test_a_run_killed_in_a_fade_goes_on_as_if_it_had_not(tmp_path):
    arguments = {"growth": growth(8, fade_kimg=0.016)}

    def started():
        system = small(num_classes=2, compile_arguments=arguments)
        stage = system.growth.stages[1]
        system.step.assign(stage.first_step)
        system.enter(stage, fresh=True)
        return system

    whole, half = started(), started()
    fit(whole, 3)
    fit(half, 2)
    path = checkpoint.save(half, tmp_path)
    again = small(num_classes=2, seed=5, compile_arguments=arguments)
    checkpoint.restore(again, path)
    again.resume()
    assert (again.generator_ema.resolution_now, again.generator_ema.fading) == (8, True)
    z = tf.random.stateless_normal([2, 6], [0, 1])
    labels = tf.constant([0, 1])
    averages = [system.generator_ema([z, labels]) for system in (again, half)]
    np.testing.assert_array_equal(*averages)
    again.enter(again.growth.at(int(again.step)), fresh=False)
    fit(again, 1)
    assert 0 < float(again.generator.alpha) < 1
    harness.assert_equal(harness.values(whole), harness.values(again))


@pytest.mark.slow
def test_eager_step_equals_graph_step():
    results = []
    for eager in (False, True):
        given = {"run_eagerly": eager, "growth": growth(8)}
        system = grown(1, compile_arguments=given)
        results.append(fit(system))
        results[-1] |= harness.values(system)
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=2e-3, atol=2e-3, err_msg=name)


def test_mixed_precision_is_close_to_float32():
    results = []
    for precision in ("float32", "mixed_bfloat16"):
        system = grown(1, precision=precision, fmap_max=8)
        results.append(fit(system))
        networks = (system.generator, system.discriminator, system.generator_ema)
        assert all(v.dtype in ("float32", "int32") for n in networks for v in n.variables)
        assert system.generate(np.zeros((1, 6))).dtype == tf.float32
    assert system.generator.block(4).compute_dtype == "bfloat16"
    assert system.generator_ema.block(4).compute_dtype == "float32"
    for name in ("D/loss", "G/loss"):
        assert results[0][name] == pytest.approx(results[1][name], rel=0.05)


CONFIGS = {  # the official ablation, table 1 of the paper
    "e": {"mixing_prob": 0.0},
    "d": {"mixing_prob": 0.0, "use_noise": False},
    "c": {"mixing_prob": 0.0, "use_noise": False, "const_input": False},
    "b": {
        "mixing_prob": 0.0,
        "use_noise": False,
        "const_input": False,
        "use_styles": False,
        "use_pixel_norm": True,
        "use_instance_norm": False,
        "mapping_layers": 0,
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_of_the_ablation_train(name):
    system = small(8, **CONFIGS[name])
    assert all(np.isfinite(v) for v in fit(system).values())
    assert system.sample(2).shape == (2, 8, 8, 1)
    assert system.map_latents(np.zeros((1, 6))).shape[1] == (1 if name == "b" else 4)
    config = config_lib.parse(f"stylegan_ffhq:{name}").system
    assert {key: config[key] for key in CONFIGS[name]} == CONFIGS[name]


def test_get_config_rebuilds_the_same_system():
    system = small()
    again = StyleGAN.from_config(system.get_config())
    z = np.ones((2, 6), np.float32)
    np.testing.assert_array_equal(again.generate(z), system.generate(z))


@pytest.mark.parametrize("name", ["fashion_mnist", "emoji", "ffhq", "folder"])
@pytest.mark.parametrize("variant", ["", ":tiny"])
def test_configs_are_of_this_system(name, variant):
    config = config_lib.parse(f"stylegan_{name}{variant}")
    assert config.system.name == "stylegan"
    assert set(config.system) - {"name"} < set(StyleGAN.__init__.__code__.co_varnames)
    assert set(config.optimizer) < set(StyleGAN.compile.__code__.co_varnames)
    Growth(config.data.resolution, config.train.batch_size, **config.growth)


def test_the_official_schedule_of_ffhq():
    config = config_lib.parse("stylegan_ffhq")
    schedule = Growth(1024, config.train.batch_size, **config.growth)
    for kimg, resolution, lod, batch, rate in (
        (0, 8, 7.0, 256, None),
        (900, 16, 6.5, 128, None),
        (1500, 16, 6.0, 128, None),
        (5000, 128, 3.0, 32, 0.0015),
        (8399, 1024, 1 / 600, 32, 0.003),
        (8401, 1024, 0.0, 32, 0.003),
        (24_999, 1024, 0.0, 32, 0.003),
    ):
        assert schedule.lod_at(1000 * kimg) == pytest.approx(lod), kimg
        stage = next(s for s in reversed(schedule.stages) if s.first_image <= 1000 * kimg)
        assert (stage.resolution, stage.batch_size, stage.learning_rate) == (
            resolution,
            batch,
            rate,
        )
    assert schedule.images(schedule.steps) == pytest.approx(25e6, rel=1e-4)


BAD = [
    (lambda: small(12), "data.resolution: 12.*power of two"),
    (lambda: small(mixing_prob=1.5), "system.mixing_prob: 1.5"),
    (lambda: small(use_styles=False, const_input=False), "system.mixing_prob=0"),
    (lambda: small(mapping_layers=-1), "system.mapping_layers: -1"),
    (lambda: small(fmap_max=0), "system.fmap_max: 0"),
    (lambda: small(16, fmap_base=4), "system.fmap_base: 4.*expected 8"),
    (lambda: small(mapping_lr_multiplier=0.0), "mapping_lr_multiplier: 0.0"),
    (lambda: fit(small(group_size=3)), "system.group_size"),
    (lambda: small(compile_arguments={"drift": -1.0}), "optimizer.drift"),
    (
        lambda: small(compile_arguments={"loss": "wgan_gp", "penalties": {"gp": 0}}),
        "penalties.gp=10",
    ),
    (lambda: small(compile_arguments={"loss": "hing"}), "optimizer.loss.*hinge"),
    (lambda: small(compile_arguments={"penalties": {"zcr_d": 1}}), "penalties.zcr_d"),
    (lambda: small(compile_arguments={"tips": {"replay": 0.5}}), "tips.replay"),
    (lambda: small(compile_arguments={"tips": {"separate_batches": "no"}}), "group_size=0"),
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
        fmap_max=16,
        group_size=4,
        ema_kimg=0.2,
        mapping_lr_multiplier=1.0,  # so short a run does not wait for a hundredth of the rate
        compile_arguments={
            "run_eagerly": False,
            "penalties": {"r1": 1.0},
            "growth": Growth(
                8, 16, start_resolution=4, train_kimg=0.8, fade_kimg=0.8, total_kimg=4.0
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
    assert np.abs(means).mean() == pytest.approx(0.7, abs=0.25)
