"""StyleGAN2: the phases of a step, both regularisers, lazy corrections, averages, augmentation."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.configs import _stylegan2
from ganpipe.errors import UserError
from ganpipe.layers.augmentation import Augmentation
from ganpipe.models.stylegan2 import StyleGAN2
from ganpipe.ops import lazy
from tests import harness

BATCH = 4
SIZES = {"channel_base": 32, "channel_max": 4, "latent_dim": 5, "w_dim": 5, "mapping_layers": 1}
RAMP = {"ema_kimg": 0.02, "ema_rampup": 0.05}


def small(compile_arguments=None, **arguments):
    system = StyleGAN2(**({"resolution": 8, "channels": 1} | SIZES | arguments))
    system.compile(**(compile_arguments or {}))
    return system


def fit(system, steps=1, **arguments):
    data = harness.noise(system, batch=BATCH, **arguments)
    return system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history


def images(seed=0, count=BATCH):
    return tf.random.stateless_uniform([count, 8, 8, 1], [seed, 2], -1.0, 1.0)


@pytest.fixture(scope="module")
def trained():
    """(values before, after one step, the system, logs)."""
    augment = {"augment": "ada", "ada_p": 0.5, "ada_pipe": "color"}
    system = small(augment, num_classes=3, **RAMP)
    before = harness.values(system)
    logs = fit(system)
    return before, harness.values(system), system, logs


def test_a_step_moves_every_weight(trained):
    before, after, system, logs = trained
    for network in ("generator", "discriminator"):
        variables = getattr(system, network).variables
        for i, variable in enumerate(variables):
            moved = not np.array_equal(before[f"{network}/{i}"], after[f"{network}/{i}"])
            assert moved == (variable.path.rpartition("/")[2] != "noise"), variable.path
    assert all(np.isfinite(v).all() for v in logs.values())
    assert float(system.path_average) > 0.0
    assert float(system.last_r1) > 0.0
    assert float(system.path_average) == pytest.approx(0.01 * float(system.last_length), rel=1e-5)
    # Four batches of images and an R1 phase count towards p; here one batch and R1.
    np.testing.assert_array_equal(system.augmentation.signs[1], 2 * BATCH)


def test_the_first_step_has_all_four_phases(trained):
    _, _, system, _ = trained
    assert (int(system.g_optimizer.iterations), int(system.d_optimizer.iterations)) == (2, 2)


def test_the_average_copies_buffers_and_starts_at_the_weights(trained):
    _, after, system, _ = trained
    for i, variable in enumerate(system.generator.variables):
        # With the ramp no image has been seen at step 0: nothing of the old average is kept.
        np.testing.assert_array_equal(after[f"generator_ema/{i}"], variable)


def test_samples_follow_seed_label_truncation_and_noise(trained):
    _, _, system, _ = trained
    together = system.sample(3, seed=5, labels=[0, 1, 2])
    assert together.shape == (3, 8, 8, 1)
    alone = system.sample(1, seed=6, labels=1)
    assert np.abs(alone[0].astype(int) - together[1]).max() <= 1
    z = tf.random.stateless_normal([2, 5], [3, 4])
    flat = system.generate(z, 1, truncation=0.0)
    np.testing.assert_allclose(flat[0], flat[1], atol=1e-5)


def test_updates_are_lazy_and_adam_is_corrected():
    system = small({"g_reg_interval": 2, "d_reg_interval": 3, "run_eagerly": True})
    fit(system, steps=3)  # steps 0 to 2: G is due at 0 and 2, D at 0
    assert (int(system.g_optimizer.iterations), int(system.d_optimizer.iterations)) == (5, 4)
    system = small()
    for optimizer, rate, beta in (
        (system.g_optimizer, 0.0016, 0.99**0.8),
        (system.d_optimizer, 0.0018823529, 0.9905855),
    ):
        assert float(optimizer.learning_rate) == pytest.approx(rate, rel=1e-6)
        assert optimizer.beta_2 == pytest.approx(beta, rel=1e-6)
        assert optimizer.beta_1 == 0.0


def test_fakes_take_the_labels_of_the_real_images(monkeypatch):
    system = small({"run_eagerly": True}, num_classes=3)
    seen = []
    mapping = system.training_styles

    def spy(z, labels, draw=0):
        seen.append(labels.numpy().tolist())
        return mapping(z, labels, draw)

    monkeypatch.setattr(system, "training_styles", spy)
    system.train_step((images(), tf.constant([2, 0, 2, 2])))
    assert seen == [[2, 0, 2, 2], [2, 0], [2, 0, 2, 2]]  # G, the path length, D


def test_without_regularisers_their_updates_do_not_happen_but_adam_stays_corrected():
    system = small({"pl_weight": 0.0, "r1_gamma": 0.0, "style_mixing": 0.0, "run_eagerly": True})
    fit(system)
    assert (int(system.g_optimizer.iterations), int(system.d_optimizer.iterations)) == (1, 1)
    assert float(system.g_optimizer.learning_rate) == pytest.approx(0.0016, rel=1e-6)


@pytest.mark.parametrize("augment", ["none", "diffaugment"])
def test_r1_is_that_of_finite_differences_at_the_images_themselves(augment):
    system = small({"augment": augment, "diffaugment_policy": "translation,cutout"})
    system._batch = 2
    for layer in (system.discriminator.b4.fc, system.discriminator.b4.out):
        layer.kernel.assign(3.0 * layer.kernel)
    x = images(count=2)
    penalty, (_, signs) = system.r1_penalty(x, None)
    logits = system.critic_at(3)(x, None)
    np.testing.assert_allclose(signs, np.sign(logits).sum())

    @tf.function
    def total(x):
        # A critic made anew draws the same augmentations.
        return tf.reduce_sum(tf.cast(system.critic_at(3)(x, None), tf.float64))

    step = 2e-3
    flat = np.zeros(128)
    for i in range(128):
        d = np.zeros(128, np.float32)
        d[i] = step
        d = d.reshape(x.shape)
        flat[i] = (total(x + d) - total(x - d)) / (2 * step)
    expected = 0.5 * (flat**2).sum() / 2
    assert expected > 1e-3
    np.testing.assert_allclose(penalty, expected, rtol=0.02)


def test_path_lengths_are_norms_of_the_jacobian():
    system = small({"pl_batch_shrink": 2, "pl_decay": 0.25})
    system._batch = BATCH
    system.path_average.assign(0.3)
    penalty, (length, average, _) = system.path_penalty(None)
    z, _ = system.draw_latents(2, 1)
    ws, _ = system.training_styles(z, None, 1)
    y = tf.random.stateless_normal([2, 8, 8, 1], system.draw_seed(1)) / 8.0
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(ws)
        made = system.generator.synthesis(ws, system._seed(301), training=True)
    jacobian = tape.batch_jacobian(made, ws, experimental_use_pfor=False)  # (2, 8, 8, 1, L, D)
    pulled = np.einsum("bhwcld,bhwc->bld", jacobian, y)
    lengths = np.sqrt((pulled**2).sum(2).mean(1))
    np.testing.assert_allclose(length, lengths.mean(), rtol=1e-4)
    new = 0.3 + 0.25 * (lengths.mean() - 0.3)
    np.testing.assert_allclose(average, new, rtol=1e-4)
    np.testing.assert_allclose(penalty, ((lengths - new) ** 2).mean(), rtol=1e-3)


def test_the_gradient_passes_through_the_new_average():
    lengths = tf.constant([1.0, 2.0, 4.0], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(lengths)
        penalty, a = lazy.path_penalty(lengths, tf.constant(0.5, tf.float64), 0.1)
    np.testing.assert_allclose(a, 0.5 + 0.1 * (7 / 3 - 0.5))
    gap = lengths.numpy() - a.numpy()
    expected = 2 / 3 * gap - 2 * gap.mean() * 0.1 / 3  # with a detached only the first term
    np.testing.assert_allclose(tape.gradient(penalty, lengths), expected, rtol=1e-12)


def test_not_a_number_becomes_nought_and_infinity_large():
    gradients = [tf.constant([1.0, np.nan, 2e5]), tf.constant([np.inf, -np.inf])]
    cleaned = lazy.finite(gradients)
    np.testing.assert_array_equal(cleaned[0], np.float32([1.0, 0.0, 2e5]))
    np.testing.assert_array_equal(cleaned[1], np.float32([1e5, -1e5]))
    fine = [tf.constant([1.0, -2.0])]
    np.testing.assert_array_equal(lazy.finite(fine)[0], fine[0])


@pytest.mark.parametrize(
    ("ramp", "step", "expected"),
    [
        (None, 0, 0.5 ** (4 / 20)),
        (0.05, 0, 0.0),
        (0.05, 25, 0.5 ** (4 / 5)),  # 100 images: a half-life of 5
        (0.05, 1000, 0.5 ** (4 / 20)),
    ],
)
def test_the_half_life_of_the_average_ramps_up(ramp, step, expected):
    system = small(ema_kimg=0.02, ema_rampup=ramp)
    system._images = BATCH
    system.step.assign(step)
    np.testing.assert_allclose(system.average_decay(), expected, rtol=1e-5, atol=1e-12)


def test_p_follows_a_script_of_signs():
    augmentation = Augmentation("ada", 8, 1, target=0.6, kimg=1.0, p=0.05)
    seen = []
    script = [1.0] * 4 + [1.0, 1.0, 0.0, 0.0] + [-1.0] * 8  # mean sign of each step's batch of 10
    for step, mean in enumerate(script):
        augmentation.adapt(tf.constant(10 * mean), tf.constant(10), tf.constant(step), 10)
        seen.append(round(float(augmentation.p), 6))
    move = 10 * 4 / 1000  # of p, every fourth step
    one, two, three = 0.05 + move, 0.05, 0.05 - move
    expected = [0.05] * 3 + [one] * 4 + [two] * 4 + [three] * 4 + [0.0]
    np.testing.assert_allclose(seen, expected, atol=1e-6)


def test_a_run_goes_on_as_if_it_had_not_stopped(tmp_path):
    def made():
        augment = {"augment": "ada", "ada_p": 0.5, "ada_pipe": "color", "ada_kimg": 0.01}
        return small(augment | {"g_reg_interval": 2, "d_reg_interval": 2})

    whole = made()
    data = harness.noise(whole, batch=BATCH)
    whole.fit(data, steps_per_epoch=5, epochs=1, verbose=0)
    first = made()
    first.fit(data, steps_per_epoch=3, epochs=1, verbose=0)
    path = tf.train.Checkpoint(**first.state()).write(str(tmp_path / "state"))
    second = made()
    tf.train.Checkpoint(**second.state()).read(path).assert_consumed()
    second.fit(data.skip(3), steps_per_epoch=2, epochs=1, verbose=0)
    harness.assert_equal(harness.values(second), harness.values(whole))
    for name in ("path_average", "last_r1"):
        np.testing.assert_array_equal(getattr(second, name), getattr(whole, name))
    np.testing.assert_array_equal(second.augmentation.p, whole.augmentation.p)
    assert float(whole.augmentation.p) != 0.5


def test_frozen_layers_of_d_stay():
    system = small({"run_eagerly": True, "r1_gamma": 0.0, "pl_weight": 0.0}, freeze_d=2)
    block = system.discriminator.blocks[0]
    before = [block.conv0.kernel.numpy(), block.conv1.kernel.numpy()]
    fit(system)
    np.testing.assert_array_equal(block.conv0.kernel, before[0])
    assert np.abs(block.conv1.kernel - before[1]).max() > 0


def test_mixed_precision_trains_close_to_float32():
    results = []
    for precision in ("float32", "mixed_bfloat16"):
        system = small({"run_eagerly": True}, precision=precision, channel_base=128, channel_max=16)
        results.append({k: np.ravel(v)[0] for k, v in fit(system).items()})
        assert all(v.dtype == "float32" for v in system.generator.variables)
        assert not system.generator_ema.half
    for name in ("D/loss", "G/loss", "G/path_length"):
        assert results[0][name] == pytest.approx(results[1][name], rel=0.05)


# --- Presets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolution", "gpus", "batch", "group", "gamma", "base", "rate"),
    [
        (32, 1, 32, 4, 0.0064, 16384, 0.0025),
        (64, 1, 32, 4, 0.0256, 16384, 0.0025),
        (128, 1, 32, 4, 0.1024, 16384, 0.0025),
        (256, 1, 16, 4, 0.8192, 16384, 0.0025),
        (512, 1, 8, 4, 6.5536, 32768, 0.0025),
        (1024, 1, 4, 4, 52.4288, 32768, 0.002),
        (1024, 8, 32, 4, 6.5536, 32768, 0.002),
        (256, 8, 64, 4, 0.2048, 16384, 0.0025),
    ],
)
def test_auto_is_the_published_formula(resolution, gpus, batch, group, gamma, base, rate):
    made = _stylegan2.preset("auto", resolution, gpus)
    assert made["train"]["batch_size"] == batch
    assert made["system"]["group_size"] == group
    assert made["optimizer"]["r1_gamma"] == pytest.approx(gamma)
    assert made["system"]["channel_base"] == base
    assert made["optimizer"]["g_learning_rate"] == rate
    assert made["system"]["ema_kimg"] == pytest.approx(batch * 10 / 32)
    assert (made["system"]["ema_rampup"], made["system"]["mapping_layers"]) == (0.05, 2)


def test_cifar_is_the_published_exception():
    made = _stylegan2.preset("cifar", 32)
    assert made["optimizer"]["pl_weight"] == made["optimizer"]["style_mixing"] == 0.0
    assert made["system"]["d_architecture"] == "orig"
    assert (made["train"]["batch_size"], made["system"]["group_size"]) == (64, 32)
    assert _stylegan2.preset("paper256", 256)["system"]["group_size"] == 8
    with pytest.raises(KeyError):
        _stylegan2.preset("paper128", 128)


BAD = [
    (lambda: small(resolution=12), "data.resolution: 12.*power of two"),
    (lambda: small(resolution=4), "data.resolution: 4"),
    (lambda: small(g_architecture="plain"), "system.g_architecture: 'plain'.*skip"),
    (lambda: small(conditioning="joint"), "system.conditioning: 'joint'"),
    (lambda: small(freeze_d=5), "system.freeze_d: 5; expected at most 4"),
    (lambda: small(group_size=0), "system.group_size: 0"),
    (lambda: small(mbstd_features=3), "system.mbstd_features: 3; expected a divisor of the 4"),
    (lambda: small(channel_base=4), "system.channel_base: 4"),
    (lambda: small(ema_kimg=-1.0), "system.ema_kimg: -1.0"),
    (lambda: small({"augment": "adaa"}), "optimizer.augment: 'adaa'"),
    (lambda: small({"g_reg_interval": 0}), "optimizer.g_reg_interval: 0; expected 1"),
    (lambda: small({"r1_gamma": -1.0}), "optimizer.r1_gamma: -1.0"),
    (lambda: small({"style_mixing": 2.0}), "optimizer.style_mixing: 2.0"),
    (lambda: small({"augment": "ada", "ada_pipe": "bgx"}), "'bgx' is unknown"),
    (lambda: small({"ada_target": 6.0}), "optimizer.ada_target: 6.0"),
    (lambda: fit(small({"run_eagerly": True}, group_size=3)), "groups of 3.*system.group_size"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()


REPLICAS = """
import numpy as np
from ganpipe.train import distribute
strategy = distribute.make("mirrored", logical_cpus=2)
import tensorflow as tf
from ganpipe.models.stylegan2 import StyleGAN2
with strategy.scope():
    sizes = {"channel_base": 32, "channel_max": 4, "latent_dim": 5, "w_dim": 5}
    system = StyleGAN2(8, 1, mapping_layers=1, **sizes)
    system.compile(augment="ada", ada_p=0.1, ada_pipe="color", g_reg_interval=2, d_reg_interval=2)
images = np.random.default_rng(0).uniform(-1, 1, (32, 8, 8, 1)).astype(np.float32)
data = tf.data.Dataset.from_tensor_slices(images).repeat().batch(8, drop_remainder=True)
system.fit(strategy.experimental_distribute_dataset(data), steps_per_epoch=4, verbose=0)

def strength():
    return float(strategy.experimental_local_results(system.augmentation.p.value)[0])

@tf.function
def adapt():  # means of signs 1 and .5: .75 of both is above the target of .6
    index = tf.distribute.get_replica_context().replica_id_in_sync_group
    signs = tf.where(tf.equal(index, 0), 4.0, 2.0)
    system.augmentation.adapt(signs, tf.constant(4), tf.constant(3, tf.int64), 8)

before = strength()
strategy.run(adapt)
print("moved", round((strength() - before) * 500000 / 32, 3))
variables = system.generator.variables + system.discriminator.variables
counts = [
    int(strategy.experimental_local_results(o.iterations.value)[0])
    for o in (system.g_optimizer, system.d_optimizer)
]
drift = distribute.largest_replica_difference(strategy, variables)
print("updates", *counts, "drift", drift)
"""


@pytest.mark.slow
def test_replicas_regularise_together():
    command = [sys.executable, "-c", REPLICAS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-5:] == ["updates", "6", "6", "drift", "0.0"]
    assert "moved 1.0" in done.stdout
