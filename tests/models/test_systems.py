"""What every system must do, and the parameter counts of the papers' bodies."""

import types

import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan
from ganpipe.models import inference, registry
from ganpipe.ops import losses
from tests import harness

SYSTEMS = [("gan", {}), ("cgan", {}), ("dcgan", {}), ("dcgan", {"num_classes": 3})]


@pytest.fixture(params=SYSTEMS, ids=["gan", "cgan", "dcgan", "dcgan-conditional"])
def system(request):
    name, arguments = request.param
    return harness.small(name, **arguments)


def some_labels(system, n):
    return np.arange(n) % system.num_classes if system.num_classes else None


# name, arguments, G, D: gan.md sections 2 and 5; dcgan.md section 4.
COUNTS = [
    ("gan", {"resolution": 28, "channels": 1}, 2_503_984, 1_231_441),
    ("cgan", {"resolution": 28, "channels": 1}, 2_413_984, 1_224_351),
    (
        "gan",
        {"resolution": 32, "hidden": 8000, "maxout_units": 1600, "body": "cifar"},
        89_395_072,
        37_393_601,
    ),
    ("cgan", {"resolution": 28, "channels": 1, "body": "conv"}, 6_820_538, 6_688_202),
    ("dcgan", {"resolution": 64}, 12_658_432, 11_036_160),
    ("dcgan", {"resolution": 64, "nf": 64}, 3_576_704, 2_765_568),
]


@pytest.mark.parametrize(("name", "arguments", "g", "d"), COUNTS)
def test_parameter_counts_of_the_papers(name, arguments, g, d):
    system = ganpipe.create(name, **arguments)
    assert (harness.count(system.generator), harness.count(system.discriminator)) == (g, d)
    assert harness.count(system.generator_ema) == 0
    shapes = [v.shape for v in system.generator.variables]
    assert [v.shape for v in system.generator_ema.variables] == shapes


def test_dcgan_with_5x5_kernels_has_the_count_of_the_usual_port():
    # dcgan.md: 18,855,040 / 17,232,768 with a per-channel first batch norm.
    system = ganpipe.create("dcgan", resolution=64, kernel_size=5)
    counts = (harness.count(system.generator), harness.count(system.discriminator))
    assert counts == (18_855_040, 17_232_768)


def test_dcgan_widths_double_downwards_and_are_capped():
    assert bodies_dcgan.widths(64, 128) == [1024, 512, 256, 128]
    assert bodies_dcgan.widths(32, 64) == [256, 128, 64]
    assert bodies_dcgan.widths(128, 64) == [512, 512, 256, 128, 64]


def test_sample_and_generate(system):
    images = system.sample(5, seed=3)
    assert images.shape == (5, 8, 8, 1)
    assert images.dtype == np.uint8
    z = np.random.default_rng(0).normal(size=(4, system.latent_dim)).astype(np.float32)
    labels = some_labels(system, 4)
    generated = system.generate(z, labels)
    assert generated.dtype == tf.float32
    assert float(tf.reduce_max(tf.abs(generated))) <= 1.0
    logits = system.discriminate(generated, labels)
    assert logits.shape == (4,)
    assert logits.dtype == tf.float32


def test_a_sample_depends_on_its_own_seed_only(system):
    labels = some_labels(system, 7)
    together = system.sample(7, seed=10, labels=labels)
    for i in (0, 4, 6):
        alone = system.sample(1, seed=10 + i, labels=None if labels is None else labels[i])
        assert np.abs(alone[0].astype(int) - together[i]).max() <= 1
    chunked = system.sample(7, seed=10, labels=labels, batch_size=3)
    assert np.abs(chunked.astype(int) - together).max() <= 1
    listed = system.sample(2, seed=[16, 10], labels=None if labels is None else labels[[6, 0]])
    assert np.abs(listed.astype(int) - together[[6, 0]]).max() <= 1


def test_truncation_goes_from_the_mean_to_the_whole(system):
    labels = None if not system.num_classes else 1
    z = tf.random.stateless_normal([6, system.latent_dim], [0, 1])
    at_zero = system.generate(z, labels, 0.0).numpy()
    assert np.abs(at_zero - at_zero[:1]).max() < 1e-6
    mean = 0.5 if system.system_name == "cgan" else 0.0
    center = tf.fill([6, system.latent_dim], mean)
    np.testing.assert_allclose(at_zero, system.generate(center, labels), atol=1e-6)
    half = system.generate(mean + 0.5 * (z - mean), labels)
    np.testing.assert_allclose(system.generate(z, labels, 0.5), half, atol=1e-5)


def test_generate_uses_the_averaged_generator(system):
    z = tf.random.stateless_normal([1, system.latent_dim], [0, 1])
    labels = some_labels(system, 1)
    before = system.generate(z, labels).numpy()
    for variable in system.generator.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_array_equal(system.generate(z, labels), before)
    for variable in system.generator_ema.variables:
        variable.assign(variable * 1.5 + 0.1)
    assert np.abs(system.generate(z, labels) - before).max() > 1e-4


def test_a_step_moves_every_weight_once_and_counts(system):
    before = harness.values(system)
    system.fit(harness.noise(system), steps_per_epoch=1, epochs=1, verbose=0)
    after = harness.values(system)
    for name in before:
        if name.startswith(("generator/", "discriminator/")):
            assert not np.array_equal(before[name], after[name]), name
    assert after["step/0"] == 1


def test_average_follows_the_ramped_decay(system):
    old = [v.numpy() for v in system.generator_ema.variables]
    system.fit(harness.noise(system), steps_per_epoch=1, epochs=1, verbose=0)
    keep = min(system.ema_decay, 1 / 10)
    pairs = zip(old, system.generator.variables, system.generator_ema.variables, strict=True)
    for start, online, average in pairs:
        expected = keep * start + (1 - keep) * online.numpy()
        np.testing.assert_allclose(average, expected, rtol=1e-5, atol=1e-7)


def test_eager_step_equals_graph_step():
    results = []
    for eager in (False, True):
        system = harness.small("dcgan", compile_arguments={"run_eagerly": eager})
        system.fit(harness.noise(system), steps_per_epoch=2, epochs=1, verbose=0)
        results.append(harness.values(system))
    for name in results[0]:
        # Adam divides by the root of tiny second moments: last-bit differences grow to lr * 1e-2.
        np.testing.assert_allclose(results[0][name], results[1][name], atol=2e-5, err_msg=name)


def test_discriminator_step_sends_no_gradient_into_the_generator():
    system = harness.small("dcgan", compile_arguments={"g_learning_rate": 0.0})
    before = [v.numpy() for v in system.generator.trainable_variables]
    system.fit(harness.noise(system), steps_per_epoch=2, epochs=1, verbose=0)
    for old, variable in zip(before, system.generator.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, variable)


def test_dcgan_losses_are_those_of_the_ops():
    system = harness.small(
        "dcgan", norm="none", compile_arguments={"g_learning_rate": 0.0, "d_learning_rate": 0.0}
    )
    data = harness.noise(system)
    history = system.fit(data, steps_per_epoch=1, epochs=1, verbose=0).history
    images = next(iter(data))[0]
    z = latents_of_step_0(system, len(images))
    fakes = system.generator(z, training=True)
    real, fake = system.discriminate(images), system.discriminate(fakes)
    expected = losses.d_non_saturating(real, fake)
    np.testing.assert_allclose(np.ravel(history["D/loss"])[0], expected, rtol=1e-5)
    expected = losses.g_non_saturating(None, fake)
    np.testing.assert_allclose(np.ravel(history["G/loss"])[0], expected, rtol=1e-5)


def latents_of_step_0(system, batch):
    step = int(system.step.numpy())
    system.step.assign(0)
    z, _ = system.draw_latents(batch)
    system.step.assign(step)
    return z


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_discriminator_loss_of_the_mlp_systems_has_the_official_half(name):
    system = harness.small(name, d_irange=0.005)
    history = system.fit(harness.noise(system), steps_per_epoch=1, epochs=1, verbose=0).history
    # Weights of .005 make logits of almost 0: D = 1/2 * 2 ln 2, G = ln 2.
    np.testing.assert_allclose(np.ravel(history["D/loss"])[0], np.log(2), atol=2e-3)
    np.testing.assert_allclose(np.ravel(history["G/loss"])[0], np.log(2), atol=2e-3)


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_adapt_starts_at_the_mean_image(name):
    system = harness.small(name)
    mean = np.linspace(-0.9, 0.9, 64, dtype=np.float32).reshape(8, 8, 1)
    system.adapt(mean)
    for network in (system.generator, system.generator_ema):
        bias = network.variables[-1].numpy().reshape(8, 8, 1)
        np.testing.assert_allclose(np.tanh(bias / 2), mean, atol=1e-5)


def test_mixed_precision_trains_close_to_float32():
    results = []
    for precision in ("float32", "mixed_bfloat16"):
        system = harness.small("dcgan", resolution=16, nf=8, precision=precision)
        history = system.fit(harness.noise(system), steps_per_epoch=3, epochs=1, verbose=0).history
        results.append({k: np.ravel(v)[0] for k, v in history.items()})
        assert all(v.dtype == "float32" for v in system.generator.trainable_variables)
    assert results[0]["D/loss"] == pytest.approx(results[1]["D/loss"], rel=0.03)
    assert results[0]["G/loss"] == pytest.approx(results[1]["G/loss"], rel=0.03)


def test_get_config_rebuilds_the_same_system(system):
    again = type(system).from_config(system.get_config())
    np.testing.assert_array_equal(again.sample(2, seed=1), system.sample(2, seed=1))


@pytest.mark.parametrize("loss", ["minimax", "non_saturating"])
def test_gan_learns_dark_and_bright_images(loss):
    system = harness.small(
        "gan",
        hidden=64,
        maxout_units=32,
        maxout_pieces=3,
        ema_decay=0.95,
        compile_arguments={"loss": loss, "learning_rate": 0.5, "seed": 2},
    )
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 2, (256, 1, 1, 1)) * 1.6 - 0.8
    images = (bright + rng.normal(0, 0.05, (256, 8, 8, 1))).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).repeat().shuffle(256, seed=0)
    data = data.batch(64, drop_remainder=True)
    system.fit(data, steps_per_epoch=600, epochs=1, verbose=0)
    means = system.sample(200, seed=0).astype(np.float32).mean((1, 2, 3)) / 127.5 - 1
    dark, bright = (means < -0.3).mean(), (means > 0.3).mean()
    # The saturating loss finds one of the two modes (the failure the paper warns of). The other
    # finds both from some seeds only: 0 and 2 of the first six.
    assert (min(dark, bright) > 0.1) if loss == "non_saturating" else (max(dark, bright) > 0.6)


def bars(n, rng):
    """Class 0: a bright left half; 1: a bright upper half; 2: a bright centre."""
    labels = rng.integers(0, 3, n)
    images = rng.normal(-0.8, 0.05, (n, 8, 8, 1))
    images[labels == 0, :, :4] += 1.6
    images[labels == 1, :4] += 1.6
    images[labels == 2, 2:6, 2:6] += 1.6
    return images.astype(np.float32), labels.astype(np.int32)


def test_conditional_dcgan_draws_what_it_is_asked_for():
    system = harness.small(
        "dcgan",
        num_classes=3,
        nf=16,
        ema_decay=0.98,
        compile_arguments={"g_learning_rate": 1e-3, "d_learning_rate": 1e-3},
    )
    images, labels = bars(512, np.random.default_rng(0))
    data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat().shuffle(512, seed=0)
    data = data.batch(32, drop_remainder=True)
    system.fit(data, steps_per_epoch=250, epochs=1, verbose=0)
    asked = np.arange(60) % 3
    fakes = system.sample(60, seed=0, labels=asked).astype(np.float32) / 127.5 - 1
    prototypes = np.stack([images[labels == k].mean(0) for k in range(3)])
    nearest = ((fakes[:, None] - prototypes) ** 2).mean((2, 3, 4)).argmin(1)
    assert (nearest == asked).mean() > 0.9


@pytest.mark.parametrize("name", ["gan", "cgan"])
def test_each_player_may_have_a_rate_of_its_own(name):
    for own, expected in (
        ({}, (0.2, 0.2)),
        ({"d_learning_rate": 0.05}, (0.2, 0.05)),
        ({"g_learning_rate": 0.05}, (0.05, 0.2)),
    ):
        system = harness.small(name, compile_arguments={"learning_rate": 0.2} | own)
        rates = [float(o.learning_rate) for o in (system.g_optimizer, system.d_optimizer)]
        assert rates == pytest.approx(expected)


@pytest.mark.parametrize("name", ["gan_fashion_mnist", "cgan_fashion_mnist"])
def test_those_rates_are_keys_of_the_command_line(name):
    assert config_lib.parse(name).optimizer.g_learning_rate is None
    given = config_lib.parse(name, ["--config.optimizer.g_learning_rate=0.05"])
    assert given.optimizer.g_learning_rate == 0.05


def test_gan_takes_its_bodys_latents_unless_told():
    kinds = [harness.small("gan", **a).latent_distribution for a in ({}, {"body": "cifar"})]
    assert kinds == ["unit_variance_uniform", "normal"]
    assert harness.small("gan", latent_distribution="sphere").latent_distribution == "sphere"


def points(**arguments):
    """dcgan's fully connected body."""
    return ganpipe.create("dcgan", resolution=1, channels=2, body="points", nf=8, **arguments)


BAD = [
    (lambda: ganpipe.create("dcgam", resolution=32), "Did you mean 'dcgan'"),
    (lambda: ganpipe.create("dcgan", resolution=32, nff=3), "Did you mean 'nf'"),
    (lambda: ganpipe.create("dcgan", resolution=48), "data.resolution: 48.*power of two"),
    (lambda: ganpipe.create("dcgan", resolution=32, channels=2), "data.channels: 2"),
    (lambda: ganpipe.create("dcgan", resolution=32, norm="layer"), "system.norm"),
    (lambda: ganpipe.create("dcgan", resolution=32, ema_decay=1.0), "ema_decay"),
    (lambda: points(d_dropout=0.1), "system.d_dropout: 0.1; system.body=points"),
    (lambda: points(kernel_size=5), "system.kernel_size: 5; .*Leave it at 4"),
    (lambda: points(per_unit_first_norm=True), "system.per_unit_first_norm: True"),
    (lambda: harness.small("dcgan", norm="none", per_unit_first_norm=True), "norm='batch', not"),
    (lambda: harness.small("cgan", body="conv"), "system.z_units: 8; system.body=conv"),
    (lambda: ganpipe.create("gan", resolution=8, num_classes=10), "gan is unconditional"),
    (lambda: ganpipe.create("cgan", resolution=8, num_classes=0), "cgan is conditional"),
    (lambda: harness.small("dcgan", compile_arguments={"loss": "hing"}), "optimizer.loss.*hinge"),
    (lambda: harness.small("dcgan").sample(2, labels=1), "unconditional"),
    (lambda: harness.small("cgan").sample(2, labels=[0, 3]), "labels: 3; expected classes 0 to 2"),
    (lambda: harness.small("cgan").sample(2, labels=[0, 1, 2]), "one class for each of 2"),
    (lambda: harness.small("cgan").generate(np.zeros((2, 6))), "labels are missing"),
    (lambda: harness.small("dcgan").generate(np.zeros((2, 5))), r"expected \(batch, 6\)"),
    (lambda: harness.small("dcgan").discriminate(np.zeros((2, 4, 4, 1))), "images: shape"),
    (lambda: harness.small("dcgan").generate(np.zeros((2, 6)), truncation=np.nan), "nan; expected"),
    (lambda: harness.small("dcgan").generate(np.zeros((2, 6)), truncation=[1] * 3), "each of 2"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()


@pytest.mark.parametrize(
    ("resolution", "rows"), [(1, 64), (8, 64), (256, 64), (512, 16), (1024, 4)]
)
def test_large_images_are_made_few_at_a_time(resolution, rows):
    shape = (resolution, resolution, 3)
    assert inference.rows_at_once(types.SimpleNamespace(image_shape=shape)) == rows


def test_fit_refuses_data_that_does_not_fit():
    system = harness.small("cgan")
    wrong_size = harness.noise(harness.small("dcgan", resolution=16))
    with pytest.raises(UserError, match=r"\(16, 16, 1\).*built for \(8, 8, 1\)"):
        system.fit(wrong_size, steps_per_epoch=1)
    without_labels = harness.noise(system).map(lambda images, labels: images)
    with pytest.raises(UserError, match="without labels"):
        system.fit(without_labels, steps_per_epoch=1)


def test_names_are_sorted_and_known():
    known = registry.names()
    assert known == sorted(known)
    assert {"cgan", "dcgan", "egan", "fgan", "gan", "lsgan", "sngan", "wgan", "wgan_gp"} <= set(
        known
    )
