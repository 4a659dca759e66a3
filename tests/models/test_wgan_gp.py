"""WGAN-GP: order of a step, no batch norm in the critic, the AC-GAN terms, decaying rates."""

import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe.errors import UserError
from ganpipe.layers.batch_norm import BatchNorm
from ganpipe.layers.dropout import StepDropout
from ganpipe.ops import penalties
from tests import harness


def toy(**compile_arguments):
    """Points with two coordinates: steps of milliseconds, run eagerly."""
    return harness.small(
        "wgan_gp",
        resolution=1,
        channels=2,
        latent_dim=2,
        dim=8,
        body="points",
        compile_arguments={"n_critic": 2} | compile_arguments,
    )


def images_of(system, batch, seed=0):
    shape = (batch, system.resolution, system.resolution, system.channels)
    return tf.constant(np.random.default_rng(seed).uniform(-1, 1, shape), tf.float32)


def weights(network):
    return [v.numpy() for v in network.trainable_variables]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


# wgan.md section 3.
COUNTS = [
    ({"resolution": 32}, 5_179_907, 4_114_689),
    ({"resolution": 32, "dim": 64}, 1_565_955, 1_033_345),
    ({"resolution": 28, "channels": 1, "body": "mnist"}, 1_554_177, 1_030_145),
    ({"resolution": 32, "body": "resnet"}, 1_204_483, 1_053_825),
    ({"resolution": 32, "body": "resnet", "num_classes": 10}, 1_218_307, 1_055_115),
    ({"resolution": 64, "body": "resnet"}, 8_540_483, 7_491_841),
]


@pytest.mark.parametrize(("arguments", "g", "c"), COUNTS)
def test_parameter_counts_and_no_batch_norm_in_the_critic(arguments, g, c):
    system = ganpipe.create("wgan_gp", **arguments)
    assert (harness.count(system.generator), harness.count(system.discriminator)) == (g, c)
    layers = system.discriminator._flatten_layers()
    assert not any(isinstance(layer, BatchNorm) for layer in layers)


@pytest.mark.parametrize("body", ["dcgan_layer_norm", "points"])
def test_other_bodies_have_no_batch_norm_in_the_critic(body):
    size = {"resolution": 1, "channels": 2} if body == "points" else {"resolution": 16}
    system = harness.small("wgan_gp", body=body, **size)
    layers = system.discriminator._flatten_layers()
    assert not any(isinstance(layer, BatchNorm) for layer in layers)


def test_generator_moves_first_and_rests_at_step_0(monkeypatch):
    system = toy()
    order, g_terms, c_terms = [], system.generator_terms, system.critic_terms
    monkeypatch.setattr(system, "generator_terms", lambda *a: order.append("G") or g_terms(*a))
    monkeypatch.setattr(system, "critic_terms", lambda *a: order.append("C") or c_terms(*a))
    start = weights(system.generator), weights(system.discriminator)
    system.train_step(images_of(system, 8))
    assert order == ["G", "C", "C"]
    assert same(start[0], weights(system.generator))
    assert not same(start[1], weights(system.discriminator))
    assert int(system.g_optimizer.iterations) == 0
    system.train_step(images_of(system, 8, 1))
    assert not same(start[0], weights(system.generator))
    assert int(system.g_optimizer.iterations) == 1
    assert int(system.d_optimizer.iterations) == 4


def test_each_critic_update_has_its_own_images_and_latents(monkeypatch):
    system = toy(n_critic=3)
    real, calls = images_of(system, 12), []
    terms = system.critic_terms
    monkeypatch.setattr(system, "critic_terms", lambda *a: calls.append(a) or terms(*a))
    system.train_step(real)
    for i, call in enumerate(calls):
        np.testing.assert_array_equal(call[0], real[4 * i : 4 * i + 4])
    z = {call[5].numpy().tobytes() for call in calls}
    assert len(z | {system.draw_latents(4)[0].numpy().tobytes()}) == 4


def test_loss_is_the_distance_and_the_weighted_penalty():
    system = harness.small(
        "wgan_gp", compile_arguments={"n_critic": 1, "g_learning_rate": 0.0, "d_learning_rate": 0.0}
    )
    real = images_of(system, 6)
    system.step.assign(3)
    z, _ = system.draw_latents(6, draw=1)
    seed = tf.random.experimental.stateless_fold_in(system.draw_seed(1), 2)
    logs = {k: float(v[0]) for k, v in system.train_step(real).items()}
    fake = system.generator(z, training=True)
    gap = np.mean(system.discriminate(real)) - np.mean(system.discriminate(fake))
    gp, norm = penalties.gradient_penalty(system.discriminator, tf.constant(real), fake, seed)
    assert logs["D/distance"] == pytest.approx(gap, rel=1e-3)
    assert logs["D/penalty"] == pytest.approx(10 * float(gp), rel=1e-3)
    assert logs["D/gp_norm"] == pytest.approx(float(norm), rel=1e-3)
    assert logs["D/loss"] == pytest.approx(-gap + 10 * float(gp), rel=1e-3)


def test_weight_of_the_penalty_is_the_scripts():
    assert toy().objective.weights["gp"] == 0.1
    system = harness.small("wgan_gp")
    assert system.objective.weights["gp"] == 10.0
    assert system.n_critic == 5
    for optimizer in (system.g_optimizer, system.d_optimizer):
        assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.9)
        assert float(optimizer.learning_rate) == pytest.approx(1e-4)


def test_rates_fall_linearly_to_nothing_in_the_steps_asked_for():
    system = toy(decay_steps=4, d_learning_rate=2e-4)
    rates = []
    for step in range(5):
        rates.append([float(o.learning_rate) for o in (system.g_optimizer, system.d_optimizer)])
        system.train_step(images_of(system, 4, step))
    # G makes no update at step 0.
    expected = [[1e-4, 2e-4], [1e-4, 1.5e-4], [7.5e-5, 1e-4], [5e-5, 5e-5], [2.5e-5, 0.0]]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-12)


def test_ac_gan_terms_are_on_real_images_in_the_critic_and_on_fakes_in_the_generator(monkeypatch):
    arguments = {"resolution": 32, "body": "resnet", "num_classes": 3, "g_batch_factor": 2}
    system = harness.small("wgan_gp", **arguments, compile_arguments={"n_critic": 1})
    real, labels = images_of(system, 4), tf.constant([0, 1, 2, 2])
    gradients, classes, adversarial = [], [], []
    class_loss, g_terms, minimize = system._class_loss, system.generator_terms, system.minimize

    def spy_class_loss(asked, **of):
        classes.append((asked.numpy(), float(class_loss(asked, **of))))
        return class_loss(asked, **of)

    monkeypatch.setattr(system, "_class_loss", spy_class_loss)
    monkeypatch.setattr(
        system, "generator_terms", lambda *a: adversarial.append(g_terms(*a)) or adversarial[0]
    )
    monkeypatch.setattr(
        system, "minimize", lambda o, g, *a, **k: gradients.append(g) or minimize(o, g, *a, **k)
    )
    logs = {k: float(v[0]) for k, v in system.train_step((real, labels)).items()}
    (g_labels, g_class), (c_labels, c_class) = classes
    assert len(g_labels) == 8
    np.testing.assert_array_equal(c_labels, labels)
    assert logs["G/loss"] == pytest.approx(float(adversarial[0].loss) + 0.1 * g_class, rel=1e-5)
    assert logs["D/class_loss"] == pytest.approx(c_class, rel=1e-5)
    score = -logs["D/distance"] + logs["D/penalty"]
    assert logs["D/loss"] == pytest.approx(score + c_class, rel=1e-4)
    # The class head and the embeddings learn too.
    assert not any(g is None for both in gradients for g in both)


def test_class_loss_is_the_cross_entropy_of_the_first_rows_of_the_first_call():
    system = harness.small("wgan_gp", resolution=32, body="resnet", num_classes=3)
    real, labels = images_of(system, 4), tf.constant([0, 1, 2, 2])
    critic = system.critic_at(0)
    critic(tf.concat([real, -real], 0), None)
    critic(-real, None)
    logits = system.discriminator(real)[1].numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -log_p[np.arange(4), labels.numpy()].mean()
    assert float(system._class_loss(labels, fakes=False)) == pytest.approx(expected, rel=1e-5)
    scores = system.discriminate(real, [0, 0, 0, 0])
    np.testing.assert_array_equal(scores, system.discriminate(real, [1, 2, 1, 2]))


def cross_entropy(system, images, labels):
    """Of the critic's class logits, by hand."""
    logits = system.discriminator(images, training=True)[1].numpy().astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels.numpy()].mean()


@pytest.mark.parametrize("passes", ["yes", "no"])
def test_class_loss_of_g_is_on_the_fakes_under_a_relativistic_loss(monkeypatch, passes):
    compile_arguments = {"loss": "rasgan", "n_critic": 1, "tips": {"separate_batches": passes}}
    arguments = {"resolution": 32, "body": "resnet", "num_classes": 3, "dim": 2}
    system = harness.small("wgan_gp", **arguments, compile_arguments=compile_arguments)
    seen, class_loss = [], system._class_loss

    def spy(labels, **of):
        if not seen:  # G's: first in a step
            seen.append(float(class_loss(labels, **of)))
        return class_loss(labels, **of)

    monkeypatch.setattr(system, "_class_loss", spy)
    z, fake_labels = system.draw_latents(4)
    expected = cross_entropy(system, system.fake_images(z, fake_labels), fake_labels)
    real = images_of(system, 4)
    system.train_step((real, tf.constant([0, 1, 2, 2])))
    assert seen[0] == pytest.approx(expected, rel=1e-4)
    assert seen[0] != pytest.approx(cross_entropy(system, real, fake_labels), rel=1e-3)


@pytest.mark.parametrize("body", ["dcgan", "dcgan_layer_norm", "mnist", "resnet"])
def test_dropout_is_behind_every_activation_of_the_critic(body):
    size = {"mnist": 28, "resnet": 32}.get(body, 8)
    system = harness.small("wgan_gp", body=body, resolution=size, d_dropout=0.3)
    layers = system.discriminator._flatten_layers()
    rates = [layer.rate for layer in layers if isinstance(layer, StepDropout)]
    assert rates == [0.3] * {"mnist": 3, "resnet": 8}.get(body, 1)
    images = images_of(system, 4)
    a, b = (system.critic_at(draw)(images, None).numpy() for draw in (0, 1))
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(a, system.critic_at(0)(images, None))


def test_samples():
    system = harness.small("wgan_gp")
    assert system.sample(3, seed=1).shape == (3, 8, 8, 1)
    system = harness.small("wgan_gp", body="mnist", resolution=28)
    assert system.sample(2).shape == (2, 28, 28, 1)


@pytest.mark.slow
def test_learns_dark_and_bright_images():
    system = harness.small(
        "wgan_gp",
        dim=16,
        ema_decay=0.95,
        compile_arguments={"g_learning_rate": 1e-3, "d_learning_rate": 1e-3, "n_critic": 3},
    )
    rng = np.random.default_rng(0)
    bright = rng.integers(0, 2, (256, 1, 1, 1)) * 1.6 - 0.8
    images = (bright + rng.normal(0, 0.05, (256, 8, 8, 1))).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).repeat().shuffle(256, seed=0)
    system.fit(data.batch(96, drop_remainder=True), steps_per_epoch=300, epochs=1, verbose=0)
    means = system.sample(200, seed=0).astype(np.float32).mean((1, 2, 3)) / 127.5 - 1
    dark, bright = (means < -0.3).mean(), (means > 0.3).mean()
    assert min(dark, bright) > 0.25
    assert dark + bright > 0.8


BAD = [
    (lambda: harness.small("wgan_gp", num_classes=3), "only 'resnet' is conditional"),
    (lambda: harness.small("wgan_gp", body="mnist"), "body 'mnist' is for 28x28"),
    (lambda: harness.small("wgan_gp", body="vgg"), "system.body: 'vgg'"),
    (lambda: harness.small("wgan_gp", body="resnet", resolution=16), "data.resolution: 16"),
    (lambda: harness.small("wgan_gp", resolution=12), "data.resolution: 12"),
    (
        lambda: ganpipe.create("wgan_gp", resolution=1, body="points", d_dropout=0.1),
        "system.d_dropout: 0.1; system.body=points",
    ),
    (lambda: harness.small("wgan_gp", d_dropout=1.0), "system.d_dropout: 1.0"),
    (lambda: toy(decay_steps=-1), "optimizer.decay_steps: -1"),
    (
        lambda: harness.small("wgan_gp", g_batch_factor=2, compile_arguments={"loss": "rsgan"}),
        "g_batch_factor=1",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()
