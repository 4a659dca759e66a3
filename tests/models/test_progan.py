"""ProGAN: its losses by hand, what a step moves at each stage, and that it goes on bit for bit."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.models import dcgan, progan, registry, stages
from ganpipe.ops.growth import Growth
from ganpipe.train import checks
from tests import harness

BATCH = 8


def growth(resolution=8, **arguments):
    """Four steps a phase: 4x4, 8x8 fading in, 8x8."""
    sizes = {"train_kimg": 0.032, "fade_kimg": 0.032, "total_kimg": 0.128, "repeats": 1}
    return Growth(resolution, BATCH, **(sizes | arguments))


def small(resolution=8, compile_arguments=None, stages=True, **arguments):
    sizes = {"channels": 1, "latent_dim": 6, "fmap_base": 64, "fmap_max": 8}
    system = ganpipe.create("progan", resolution=resolution, **(sizes | arguments))
    compile_arguments = dict(compile_arguments or {})
    if stages:
        compile_arguments.setdefault("growth", growth(resolution))
    system.compile(**compile_arguments)
    return system


def batch_of(system, seed=0):
    """(images of the stage, labels)."""
    random = np.random.default_rng(seed)
    images = random.uniform(-1, 1, (BATCH, *stages.data_shape(system))).astype(np.float32)
    return images, random.integers(0, max(system.num_classes, 1), BATCH).astype(np.int32)


def fit(system, steps=1, data=None):
    data = tf.data.Dataset.from_tensor_slices(data or batch_of(system)).repeat().batch(BATCH, True)
    history = system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history
    return {name: float(np.ravel(value)[-1]) for name, value in history.items()}


def stage_of(system, resolution, fading):
    stages = system.growth.stages
    return next(s for s in stages if (s.resolution, s.fading) == (resolution, fading))


def enter(system, resolution, fading, step=0):
    stage = stage_of(system, resolution, fading)
    system.step.assign(stage.first_step + step)
    system.enter(stage, fresh=True)


# --- The step ---------------------------------------------------------------------------------


def test_a_step_moves_what_the_stage_runs_and_nothing_else():
    system = small(num_classes=3)
    for resolution, fading in ((4, False), (8, True), (8, False)):
        # Behind the first step: at an alpha of 1 the new level has no gradient.
        enter(system, resolution, fading, step=1)
        for network in (system.generator, system.discriminator):
            before = {v.path: v.numpy() for v in network.trainable_variables}
            logs = fit(system)
            moved = {
                v.path
                for v in network.trainable_variables
                if not np.array_equal(before[v.path], v.numpy())
            }
            assert moved == {v.path for v in network.active_variables()}
        assert all(np.isfinite(value) for value in logs.values())
        # The last one of two steps.
        assert logs["growth/lod"] == pytest.approx(0.25 if fading else 8 // resolution - 1)
        labels = np.arange(4) % 3
        images = system.generate(tf.random.stateless_normal([4, 6], [0, 1]), labels)
        assert images.shape == (4, 8, 8, 1)
        assert system.discriminate(images, labels).shape == (4,)


def test_a_base_of_3x5_trains_at_every_stage():
    schedule = {"growth": growth(6, start_resolution=3)}
    system = small(6, schedule, stages=False, base="3x5", group_size=4)
    assert system.image_shape == (6, 10, 1)
    for (height, width), fading in (((3, 5), False), ((6, 10), True), ((6, 10), False)):
        enter(system, height, fading, step=1)
        assert stages.data_shape(system) == (height, width, 1)
        assert stages.title(system) == f"{height}x{width}" + " fading in" * fading
        before = [v.numpy() for v in system.generator.active_variables()]
        logs = fit(system)
        assert all(np.isfinite(value) for value in logs.values())
        pairs = zip(before, system.generator.active_variables(), strict=True)
        assert all(not np.array_equal(old, v.numpy()) for old, v in pairs)
        images = system.generate(tf.random.stateless_normal([4, 6], [0, 1])).numpy()
        assert images.shape == (4, 6, 10, 1)
        if height == 3:  # enlarged
            np.testing.assert_array_equal(images, images[:, ::2, ::2].repeat(2, 1).repeat(2, 2))
        assert system.discriminate(images).shape == (4,)
    with pytest.raises(UserError, match=r"images: .*expected .batch, .*6, 10, 1"):
        system.discriminate(images.transpose(0, 2, 1, 3))
    with pytest.raises(UserError, match=r"gives images of .6, 6, 1.*built for .6, 10, 1"):
        fit(system, data=(np.zeros((BATCH, 6, 6, 1), np.float32), np.zeros(BATCH, np.int32)))


def test_a_base_has_one_form_in_a_run_folder():
    assert create(base="4x4")().get_config()["base"] == 4
    system = create(base="3x5", resolution=12, fmap_max=4)()
    assert system.get_config()["base"] == "3x5"
    again = registry.create("progan", **system.get_config())
    assert again.image_shape == (12, 20, 3)


def test_data_of_other_shapes_than_the_base_are_refused():
    wide = [(3, 5), (6, 10)]
    progan.ProGAN.check_sizes(wide, {"base": "3x5"})
    progan.ProGAN.check_sizes(wide[1:], {"base": "3x5"})
    progan.ProGAN.check_sizes([(4, 4), (8, 8)], {})
    message = r"system.base=4: 4x4.*is not 6x10.*such as 3x5.*growth.start_resolution=3"
    with pytest.raises(UserError, match=message):
        progan.ProGAN.check_sizes(wide, {"base": 4})
    for base in ("5x3", "12x20", "2x3", "4"):
        with pytest.raises(UserError, match=f"system.base={base}"):
            progan.ProGAN.check_sizes([(6, 10)], {"base": base})
    with pytest.raises(UserError, match="data.resolution=3: expected at least 4"):
        progan.ProGAN.check_sizes([(3, 5)], {"base": "3x5"})
    with pytest.raises(UserError, match=r"data.resolution=6: .* 6 high and 10 wide.*only progan"):
        dcgan.DCGAN.check_sizes(wide, {})


def test_both_updates_draw_latents_of_their_own(monkeypatch):
    system, order = small(), []
    draw = system.draw_latents

    def noted(batch, draw_number=0, **kwargs):
        order.append((batch, kwargs.get("draw", draw_number)))
        return draw(batch, *kwargs.values() or (draw_number,))

    monkeypatch.setattr(system, "draw_latents", noted)
    fit(system)
    assert order[:2] == [(BATCH, 0), (BATCH, 1)]
    assert (int(system.g_optimizer.iterations), int(system.d_optimizer.iterations)) == (1, 1)


def softmax_entropy(logits, labels):
    logits = logits - logits.max(1, keepdims=True)
    logits = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -logits[np.arange(len(labels)), labels].mean()


def test_losses_are_those_of_the_paper():
    rates = {"g_learning_rate": 0.0, "d_learning_rate": 0.0}
    settings = {"gp_target": 2.0, "drift": 0.5, "cond_weight": 3.0, "penalties": {"gp": 7.0}}
    system = small(num_classes=3, compile_arguments=rates | settings)
    images, labels = batch_of(system)  # 4x4, where the full resolution is 8x8
    z, _ = system.draw_latents(BATCH)
    g_z, g_labels = system.draw_latents(BATCH, 1)
    seed = system.draw_seed()
    logs = fit(system)
    fakes = system.generator([z, labels])
    real, fake = system.discriminator(images).numpy(), system.discriminator(fakes).numpy()
    u = tf.random.stateless_uniform([BATCH, 1, 1, 1], seed).numpy()
    mixed = tf.constant(images + u * (fakes.numpy() - images))
    with tf.GradientTape() as tape:
        tape.watch(mixed)
        total = tf.reduce_sum(system.discriminator(mixed)[:, 0])
    norms = np.sqrt((tape.gradient(total, mixed).numpy() ** 2).sum((1, 2, 3))) / 2.0
    penalty = 7.0 / 4.0 * ((norms - 2.0) ** 2).mean() + 0.5 * (real[:, 0] ** 2).mean()
    entropies = softmax_entropy(real[:, 1:], labels) + softmax_entropy(fake[:, 1:], labels)
    distance = real[:, 0].mean() - fake[:, 0].mean()
    assert logs["D/gp_norm"] == pytest.approx(norms.mean(), rel=1e-4)
    assert logs["D/penalty"] == pytest.approx(penalty, rel=1e-4)
    assert logs["D/class_loss"] == pytest.approx(3.0 * entropies, rel=1e-4)
    assert logs["D/loss"] == pytest.approx(-distance + penalty + 3.0 * entropies, rel=1e-4)
    scores = system.discriminator(system.generator([g_z, g_labels])).numpy()
    expected = -scores[:, 0].mean() + 3.0 * softmax_entropy(scores[:, 1:], g_labels.numpy())
    assert logs["G/loss"] == pytest.approx(expected, rel=1e-4)


def test_penalty_is_that_of_finite_differences_and_so_is_its_gradient():
    system = small()
    images, _ = batch_of(system)
    fakes = images[::-1].copy()
    network, seed = system.discriminator, tf.constant([3, 4])
    u = tf.random.stateless_uniform([BATCH, 1, 1, 1], seed).numpy()
    mixed, step = images + u * (fakes - images), 1e-3
    images, fakes = tf.constant(images), tf.constant(fakes)

    def total(x):
        return float(tf.reduce_sum(network(x)[:, 0]))

    gradient = np.zeros(mixed.shape)
    for index in np.ndindex(mixed.shape):
        up, down = mixed.copy(), mixed.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (total(up) - total(down)) / (2 * step)
    norms = np.sqrt((gradient**2).sum((1, 2, 3))) / 2.0
    value, norm = system.gradient_penalty(images, fakes, seed)
    assert float(norm) == pytest.approx(norms.mean(), rel=5e-3)
    assert float(value) == pytest.approx(((norms - 1.0) ** 2).mean(), rel=5e-3)

    # Behind a kink of the leaky ReLUs the slope is another one: the step is small.
    for layer in (network.pixels[0], network.conv, network.dense, network.score):
        kernel = layer.kernel
        with tf.GradientTape() as tape:
            value, _ = system.gradient_penalty(images, fakes, seed)
        slope = tape.gradient(value, kernel.value).numpy()
        start, length = kernel.numpy(), np.linalg.norm(slope)
        ends = []
        for sign in (1.0, -1.0):
            kernel.assign(start + sign * 1e-3 * slope / length)
            ends.append(float(system.gradient_penalty(images, fakes, seed)[0]))
        kernel.assign(start)
        assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(length, rel=2e-3), layer.name


def test_the_average_keeps_999_of_1000_from_the_first_step():
    system = small()
    enter(system, 8, True, step=1)
    old = [v.numpy() for v in system.generator_ema.variables]
    fit(system)
    rows = (old, system.generator.variables, system.generator_ema.variables)
    for start, online, average in zip(*rows, strict=True):
        if online.trainable:
            expected = 0.999 * start + 0.001 * online.numpy()
            np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)
        else:
            np.testing.assert_array_equal(average, online)
    assert float(system.generator_ema.alpha) == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    system = small()
    fit(system)
    before = harness.values(system)
    images, labels = batch_of(system)
    images[0, 0, 0, 0] = bad
    logs = fit(system, data=(images, labels))
    after = harness.values(system)
    assert not np.isfinite(logs["D/grad_norm"])
    for name, old in before.items():
        if name.startswith(("discriminator", "d_optimizer")):
            np.testing.assert_array_equal(after[name], old, err_msg=name)
    assert int(system.g_optimizer.iterations) == 2
    assert int(system.d_optimizer.iterations) == 1
    assert all(np.isfinite(v).all() for v in after.values())


def test_mixed_precision_trains_close_to_float32():
    results = []
    for precision in ("float32", "mixed_bfloat16"):
        system = small(precision=precision)
        enter(system, 8, True)
        results.append(fit(system))
        assert all(v.dtype == "float32" for v in system.discriminator.trainable_variables)
    for name in ("D/loss", "D/penalty", "D/grad_norm"):
        assert results[0][name] == pytest.approx(results[1][name], rel=0.05)
        assert results[0][name] != results[1][name]


# --- Stages -----------------------------------------------------------------------------------


def test_images_are_blown_up_and_pooled_at_inference():
    system = small(16)
    enter(system, 8, True)
    for variable in system.generator_ema.trainable_variables:
        variable.assign(variable + 0.1)
    z = tf.random.stateless_normal([4, 6], [0, 1])
    images = system.generate(z).numpy()
    native = system.generator_ema(z).numpy()
    assert native.shape == (4, 8, 8, 1)
    np.testing.assert_array_equal(images, native.repeat(2, 1).repeat(2, 2))
    assert system.sample(2).shape == (2, 16, 16, 1)
    scores = system.discriminator(native).numpy()[:, 0]
    np.testing.assert_allclose(system.discriminate(images), scores, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_stopped_in_a_fade_it_goes_on_bit_for_bit(tmp_path):
    def on_to_the_end(system, first_fade_step):
        for resolution, fading in ((8, True), (8, False)):
            stage = stage_of(system, resolution, fading)
            first = first_fade_step if fading else 0
            system.enter(stage, fresh=first == 0)
            fit(system, stage.last_step - stage.first_step - first)
        return harness.values(system)

    whole = small(num_classes=2)
    fit(whole, 4)
    expected = on_to_the_end(whole, 0)

    begun = small(num_classes=2)
    fit(begun, 4)
    begun.enter(stage_of(begun, 8, True), fresh=True)
    fit(begun, 2)
    path = tf.train.Checkpoint(**begun.state()).write(str(tmp_path / "state"))
    pictures = begun.sample(3)

    again = small(num_classes=2, seed=5)
    tf.train.Checkpoint(**again.state()).read(path).assert_consumed()
    again.resume()
    assert (again.generator.resolution_now, again.generator.fading) == (8, True)
    np.testing.assert_array_equal(again.sample(3), pictures)
    harness.assert_equal(on_to_the_end(again, 2), expected)


def test_without_stages_it_trains_at_full_size():
    system = small(stages=False)
    logs = fit(system)
    assert system.discriminator.resolution_now == 8
    assert "growth/lod" not in logs


@pytest.mark.slow
def test_it_draws_the_class_that_it_is_asked_for():
    system = small(
        num_classes=2,
        ema_decay=0.95,
        compile_arguments={
            "g_learning_rate": 0.02,
            "d_learning_rate": 0.02,
            "growth": growth(train_kimg=1.0, fade_kimg=0.5, total_kimg=1.75),
        },
    )
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 256).astype(np.int32)
    bright = labels.reshape(-1, 1, 1, 1) * 1.2 - 0.6
    for stage in system.growth.stages:
        system.enter(stage, fresh=True)
        shape = (256, stage.resolution, stage.resolution, 1)
        images = (bright + random.normal(0, 0.05, shape)).astype(np.float32)
        fit(system, stage.last_step - stage.first_step, (images, labels))
    asked = np.arange(64) % 2
    means = system.sample(64, labels=asked).astype(np.float32).mean((1, 2, 3)) / 127.5 - 1
    assert ((means > 0) == (asked == 1)).mean() > 0.9
    assert np.abs(means).mean() == pytest.approx(0.6, abs=0.25)


# --- Settings ---------------------------------------------------------------------------------

VARIANTS = {
    "fashion_mnist": ("", "tiny"),
    "emoji": ("", "tiny"),
    "fluent3d": ("", "px64", "tiny"),
    "celeba": ("", "tiny"),
    "folder": ("", "px1024", "tiny"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_batches_of_the_configs_divide_into_groups(name):
    for variant in VARIANTS[name]:
        config = config_lib.load(f"progan_{name}:{variant}")
        stages = checks.growth(config).stages
        assert len(stages) == 2 * np.log2(config.data.resolution) - 3
        for stage in stages:
            group = min(config.system.group_size, stage.batch_size)
            assert stage.batch_size % group == 0
    with pytest.raises(UserError, match="no such variant"):
        config_lib.load(f"progan_{name}:huge")


def penalised(**penalties):
    return lambda: small(compile_arguments={"penalties": penalties})


def create(**arguments):
    return lambda: ganpipe.create("progan", **({"resolution": 8} | arguments))


BAD = [
    (create(resolution=24), "data.resolution: 24; expected 4"),
    (create(base=16), "data.resolution: 8; expected 16"),
    (create(base=0), "system.base: 0"),
    (create(base="3x"), "system.base: 3x; expected HEIGHTxWIDTH"),
    (create(base="3x5"), "data.resolution: 8; expected 3 .height of system.base"),
    (create(fmap_base=3), "system.fmap_base: 3.*Expected 4"),
    (create(group_size=-1), "system.group_size=-1"),
    (create(latent_dim=-1), "latent_dim=-1"),
    (penalised(r1=10.0), "penalties.r1: 10.0"),
    (lambda: small(compile_arguments={"tips": {"replay": 0.5}}), "tips.replay: 0.5"),
    (lambda: small(compile_arguments={"loss": "rsgan"}), "optimizer.loss: 'rsgan'"),
    (lambda: small(compile_arguments={"gp_target": 0.0}), "optimizer.gp_target=0.0"),
    (lambda: small(compile_arguments={"growth": growth(16)}), "growth from 4 to 16.*data.resol"),
    (lambda: small(base=8), "growth from 4 to 8.*levels 8 .system.base"),
    (lambda: fit_of_six(), "batch of 6 images.*groups of 4"),
]


def fit_of_six():
    system = small()
    data = tf.data.Dataset.from_tensor_slices(batch_of(system)).repeat().batch(6, True)
    system.fit(data, steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()


REPLICAS = """
import numpy as np
from ganpipe.train import distribute
strategy = distribute.make("mirrored", logical_cpus=2)
import tensorflow as tf
import ganpipe
from ganpipe.ops.growth import Growth
growth = Growth(8, 16, train_kimg=.064, fade_kimg=.064, total_kimg=.256, repeats=1)
sizes = {"channels": 1, "fmap_base": 64, "fmap_max": 8, "num_classes": 2}
with strategy.scope():
    system = ganpipe.create("progan", resolution=8, **sizes)
    system.compile(growth=growth)
for stage in growth.stages:
    with strategy.scope():
        system.enter(stage, fresh=True)
    shape = (32, stage.resolution, stage.resolution, 1)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((images, np.arange(32, dtype=np.int32) % 2))
    data = data.repeat().batch(16, drop_remainder=True)
    system.fit(strategy.experimental_distribute_dataset(data), steps_per_epoch=2, verbose=0)
images[:] = np.nan
before = [v.numpy() for v in system.discriminator.variables]
data = tf.data.Dataset.from_tensor_slices((images, np.arange(32, dtype=np.int32) % 2))
data = data.batch(16, drop_remainder=True)
system.fit(strategy.experimental_distribute_dataset(data), steps_per_epoch=1, verbose=0)
after = [v.numpy() for v in system.discriminator.variables]
assert all(np.array_equal(a, b) for a, b in zip(before, after))
variables = system.generator.variables + system.discriminator.variables
print("drift", distribute.largest_replica_difference(strategy, variables))
"""


@pytest.mark.slow
def test_replicas_hold_equal_weights():
    command = [sys.executable, "-c", REPLICAS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["drift", "0.0"]
