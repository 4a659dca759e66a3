"""SN-GAN: the counts of the papers' bodies, the order of a step, its draws, and that it learns."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe.errors import UserError
from ganpipe.layers import bodies_sngan as bodies
from ganpipe.layers.dropout import StepDropout
from ganpipe.models.sngan import reference_widths
from ganpipe.ops.schedules import LinearDecay
from tests import harness

# resolution, classes, G, D: wgan.md section 5.
COUNTS = [
    (32, 0, 4_276_739, 1_053_824),
    (32, 10, 4_304_387, 1_055_104),
    (64, 0, 12_220_675, 10_141_441),
    (64, 143, 13_038_595, 10_287_873),
    (64, 1000, 17_974_915, 11_165_441),
    (128, 0, 32_150_787, 29_017_857),
    (128, 1000, 41_996_931, 30_041_857),
]


class Shapes:
    """Initialisers that cost nothing: only shapes are looked at."""

    def __init__(self, seed):
        self.zeros = lambda *unused: "zeros"

    def __getattr__(self, name):
        return self.zeros


@pytest.mark.parametrize(("resolution", "classes", "g", "d"), COUNTS)
def test_resnets_have_the_official_counts(resolution, classes, g, d, monkeypatch):
    monkeypatch.setattr(bodies, "SeededInitializers", Shapes)
    nf, d_nf = reference_widths("resnet", resolution)
    generator = bodies.build_resnet_generator(resolution, 3, classes, 128, nf, 0, "float32")
    discriminator = bodies.build_resnet_discriminator(resolution, 3, classes, d_nf, 0, "float32")
    assert (harness.count(generator), harness.count(discriminator)) == (g, d)


def test_create_builds_the_reference_body():
    system = ganpipe.create("sngan", resolution=32)
    counts = (harness.count(system.generator), harness.count(system.discriminator))
    assert counts == (4_276_739, 1_053_824)


def test_cnn_generator_has_the_count_of_hgan(monkeypatch):
    monkeypatch.setattr(bodies, "SeededInitializers", Shapes)
    counts = [
        harness.count(bodies.build_cnn_generator(32, 3, 0, 128, 64, 0, "float32", first_norm=norm))
        for norm in (True, False)
    ]
    assert counts == [3_813_379, 3_812_355]


def test_cnn_discriminator_is_table_3(monkeypatch):
    monkeypatch.setattr(bodies, "SeededInitializers", Shapes)
    network = bodies.build_cnn_discriminator(32, 3, 0, 64, 0, "float32")
    kernels = [tuple(v.shape) for v in network.trainable_variables if len(v.shape) == 4]
    assert kernels == [
        (3, 3, 3, 64),
        (4, 4, 64, 64),
        (3, 3, 64, 128),
        (4, 4, 128, 128),
        (3, 3, 128, 256),
        (4, 4, 256, 256),
        (3, 3, 256, 512),
    ]
    assert network.trainable_variables[-2].shape == (4 * 4 * 512, 1)


def small(body="cnn", n_critic=2, compile_arguments=None, **arguments):
    sizes = {"cnn": {"resolution": 8}, "resnet": {"resolution": 32}, "points": {"resolution": 1}}
    arguments = {"channels": 2 if body == "points" else 1, "nf": 4} | sizes[body] | arguments
    compile_arguments = {"n_critic": n_critic} | (compile_arguments or {})
    return harness.small("sngan", body=body, compile_arguments=compile_arguments, **arguments)


@pytest.mark.parametrize(("body", "count"), [("cnn", 7), ("resnet", 8)])
def test_dropout_is_behind_every_activation_of_the_discriminator(body, count):
    system = small(body, d_dropout=0.3)
    layers = system.discriminator._flatten_layers()
    assert [layer.rate for layer in layers if isinstance(layer, StepDropout)] == [0.3] * count


def fit(system, steps=1, batch=4, seed=0):
    data = harness.noise(system, batch=batch * system.n_critic, seed=seed)
    return system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history


BODIES = [
    ("resnet", {"num_classes": 3}),
    pytest.param("resnet", {"resolution": 64, "nf": 2}, marks=pytest.mark.slow),
    ("cnn", {"num_classes": 3}),
    pytest.param("cnn", {"resolution": 64, "nf": 2, "channels": 3}, marks=pytest.mark.slow),
    ("points", {}),
]


@pytest.mark.parametrize(("body", "arguments"), BODIES)
def test_a_step_moves_every_weight_and_every_u(body, arguments):
    system = small(body, n_critic=1, **arguments)
    before = harness.values(system)
    history = fit(system)
    after = harness.values(system)
    for name, old in before.items():
        if name.startswith(("generator/", "discriminator/")):
            # A vector u of one entry is 1 or -1 from the first iteration on.
            assert not np.array_equal(old, after[name]) or old.size == 1, name
    assert all(np.isfinite(v).all() for v in history.values())
    z = tf.random.stateless_normal([2, 6], [0, 1])
    shape = (2, system.resolution, system.resolution, system.channels)
    assert system.generate(z, 1 if system.num_classes else None).shape == shape


def test_g_takes_one_step_on_twice_the_batch_before_the_n_critic_of_d(monkeypatch):
    system = small("points", n_critic=3)
    order = []
    draw = system.draw_latents
    monkeypatch.setattr(
        system, "draw_latents", lambda n, number=0: order.append((n, number)) or draw(n, number)
    )
    fit(system, batch=4)
    # Keras traces the step once.
    assert order[:4] == [(8, 0), (4, 1), (4, 2), (4, 3)]
    assert (int(system.g_optimizer.iterations), int(system.d_optimizer.iterations)) == (1, 3)


def test_one_update_of_d_is_one_power_iteration():
    system = small("points", n_critic=1, compile_arguments={"g_learning_rate": 0.0})
    layer = next(layer for layer in system.discriminator.layers if hasattr(layer, "u"))
    w, u = layer.kernel.numpy().astype(np.float64), layer.u.numpy()
    fit(system)
    for _ in range(2):  # G's step and D's step see the same kernel: one iteration each
        v = u @ w.T / np.linalg.norm(u @ w.T)
        u = v @ w / np.linalg.norm(v @ w)
    np.testing.assert_allclose(layer.u, u, rtol=1e-4, atol=1e-5)


def layer_of(network, prefix):
    return [op for op in network.operations if op.name.startswith(prefix)][-1]


def test_projection_is_the_inner_product_with_the_class_vector():
    network = bodies.build_resnet_discriminator(32, 1, 3, 2, 0, "float32")
    images = tf.random.stateless_uniform([4, 32, 32, 1], [0, 1], -1, 1)
    logits = [network([images, tf.fill([4], k)]).numpy()[:, 0] for k in range(3)]
    dense, embedding = layer_of(network, "sn_dense"), layer_of(network, "sn_embedding")
    pooled = keras.Model(network.inputs, dense.input)([images, tf.zeros([4], tf.int32)])
    table = embedding(tf.range(3)).numpy()
    alone = dense(pooled).numpy()[:, 0]
    for k in range(3):
        expected = alone + (pooled.numpy() * table[k]).sum(1)
        np.testing.assert_allclose(logits[k], expected, rtol=1e-4, atol=1e-5)
    assert dense.bias is None  # the official D at 32 has none


def test_resnet_discriminator_pools_by_a_sum():
    """A constant feature map gives 64 times its value, not its mean."""
    network = bodies.build_resnet_discriminator(32, 1, 0, 2, 0, "float32")
    dense, relu = layer_of(network, "sn_dense"), layer_of(network, "relu")
    model = keras.Model(network.inputs, [relu.output, dense.input])
    maps, pooled = model(tf.random.stateless_uniform([2, 32, 32, 1], [0, 1], -1, 1))
    assert maps.shape == (2, 8, 8, 2)
    np.testing.assert_allclose(pooled, tf.reduce_sum(maps, [1, 2]), rtol=1e-5)


def test_learning_rates_fall_together_to_zero():
    arguments = {"decay_steps": 4, "decay_start": 2}
    system = small("points", n_critic=2, compile_arguments=arguments)
    for steps, share in ((0, 1.0), (3, 0.75), (6, 0.0)):
        g, d = (o._learning_rate for o in (system.g_optimizer, system.d_optimizer))
        assert float(g(steps)) == pytest.approx(2e-4 * share)
        assert float(d(2 * steps)) == pytest.approx(2e-4 * share)
    fit(system, steps=6)
    before = [v.numpy() for v in system.generator.trainable_variables]
    fit(system)
    for old, variable in zip(before, system.generator.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_linear_decay_is_its_formula():
    decay = LinearDecay(1.0, 10, 5)
    values = [float(decay(step)) for step in (0, 5, 10, 15, 99)]
    np.testing.assert_allclose(values, [1.0, 1.0, 0.5, 0.0, 0.0], atol=1e-6)
    assert float(LinearDecay(0.5, 0)(10**6)) == 0.5
    assert LinearDecay.from_config(decay.get_config())(10) == decay(10)


def test_dequantisation_adds_less_than_a_level_and_follows_seed_and_step():
    system = small(compile_arguments={"dequantize": True, "seed": 3})
    images = tf.zeros([64, 8, 8, 1])
    noise = system._with_noise(images, 1).numpy()
    assert noise.min() >= 0.0
    assert 0.0070 < noise.max() <= 1 / 128
    assert noise.mean() == pytest.approx(1 / 256, rel=0.05)
    np.testing.assert_array_equal(system._with_noise(images, 1), noise)
    assert not np.array_equal(system._with_noise(images, 2), noise)
    system.step.assign(1)
    assert not np.array_equal(system._with_noise(images, 1), noise)
    assert small()._with_noise(images, 1) is images


def test_eager_step_equals_graph_step():
    results = []
    for eager in (False, True):
        system = small(
            n_critic=1, compile_arguments={"run_eagerly": eager, "penalties": {"gp": 1.0}}
        )
        history = fit(system, steps=2)
        assert "D/penalty" in history
        results.append(harness.values(system))
    for name in results[0]:
        np.testing.assert_allclose(results[0][name], results[1][name], atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_mixed_precision_trains_close_to_float32():
    results = []
    for precision in ("float32", "mixed_bfloat16"):
        system = small("resnet", n_critic=1, precision=precision)
        history = fit(system, steps=2)
        results.append({k: np.ravel(v)[0] for k, v in history.items()})
        assert all(v.dtype == "float32" for v in system.discriminator.variables)
    assert results[0]["D/loss"] == pytest.approx(results[1]["D/loss"], rel=0.05)
    assert results[0]["D/grad_norm"] == pytest.approx(results[1]["D/grad_norm"], rel=0.1)


def test_it_draws_the_class_that_it_is_asked_for():
    system = harness.small(
        "sngan",
        num_classes=2,
        nf=8,
        ema_decay=0.95,
        g_batch_factor=1,
        compile_arguments={
            "n_critic": 1,
            "g_learning_rate": 1e-3,
            "d_learning_rate": 1e-3,
            "beta_1": 0.5,
        },
    )
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256).astype(np.int32)
    bright = labels.reshape(-1, 1, 1, 1) * 1.4 - 0.7
    images = (bright + rng.normal(0, 0.05, (256, 8, 8, 1))).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat().shuffle(256, seed=0)
    data = data.batch(16, drop_remainder=True)
    system.fit(data, steps_per_epoch=200, epochs=1, verbose=0)
    asked = np.arange(64) % 2
    means = system.sample(64, seed=0, labels=asked).astype(np.float32).mean((1, 2, 3)) / 127.5 - 1
    assert ((means > 0) == (asked == 1)).mean() > 0.95
    assert np.abs(means).mean() == pytest.approx(0.7, abs=0.25)


BAD = [
    (lambda: ganpipe.create("sngan", resolution=32, body="mlp"), "system.body: 'mlp'.*resnet, cnn"),
    (lambda: ganpipe.create("sngan", resolution=48), "data.resolution: 48.*body=cnn"),
    (lambda: ganpipe.create("sngan", resolution=12, body="cnn"), "multiple of 8"),
    (lambda: ganpipe.create("sngan", resolution=32, nf=0), "system.nf=0"),
    (lambda: ganpipe.create("sngan", resolution=32, first_norm=False), "system.first_norm"),
    (
        lambda: ganpipe.create("sngan", resolution=1, channels=2, body="points", num_classes=2),
        "has no labels",
    ),
    (lambda: small("points", d_dropout=0.1), "system.d_dropout: 0.1; system.body=points"),
    (lambda: small(compile_arguments={"decay_steps": -1}), "optimizer.decay_steps: -1"),
    (lambda: small(compile_arguments={"loss": "rsgan"}), "rsgan.*g_batch_factor"),
    (lambda: small().fit(harness.noise(small(), batch=5), steps_per_epoch=1), "n_critic=2"),
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
import ganpipe
with strategy.scope():
    system = ganpipe.create("sngan", resolution=8, channels=1, body="cnn", nf=2, num_classes=2)
    system.compile(n_critic=2)
before = [v.numpy() for v in system.discriminator.non_trainable_variables]
rng = np.random.default_rng(0)
images = rng.uniform(-1, 1, (32, 8, 8, 1)).astype(np.float32)
data = tf.data.Dataset.from_tensor_slices((images, np.arange(32, dtype=np.int32) % 2))
data = data.repeat().batch(16, drop_remainder=True)
system.fit(strategy.experimental_distribute_dataset(data), steps_per_epoch=3, verbose=0)
after = [v.numpy() for v in system.discriminator.non_trainable_variables]
assert all(np.abs(a - b).max() > 0 for a, b in zip(before, after) if a.size > 1)
variables = system.generator.variables + system.discriminator.variables
print("drift", distribute.largest_replica_difference(strategy, variables))
"""


@pytest.mark.slow
def test_replicas_hold_equal_u_and_weights():
    command = [sys.executable, "-c", REPLICAS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["drift", "0.0"]
