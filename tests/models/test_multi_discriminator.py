"""Several discriminators: aggregation, slices, frozen projections, one Adam that is K Adams."""

import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe.errors import UserError
from ganpipe.models import multi_discriminator
from ganpipe.ops import losses, selection
from ganpipe.train import checkpoint
from tests import harness

NAME = "multi_discriminator"


def train(system, steps, skip=0, batch=8):
    data = harness.noise(system, batch).skip(skip)
    return system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history


def last(history, name):
    return float(np.ravel(history[name])[-1])


def test_generator_of_hgan_has_the_parameters_of_the_sheet():
    arguments = {"resolution": 32, "body": "cnn", "latent_dim": 128, "discriminators": 1}
    system = ganpipe.create(NAME, **arguments)
    assert harness.count(system.generator) == 3_812_355


def test_discriminators_differ_and_the_wrapper_is_their_mean():
    system = harness.small(NAME, discriminators=3)
    images = tf.random.stateless_uniform([5, 8, 8, 1], [0, 1], -1, 1)
    each = np.stack([critic(images, training=False)[:, 0] for critic in system.critics])
    assert len(np.unique(each[:, 0])) == 3
    np.testing.assert_allclose(system.discriminate(images), each.mean(0), rtol=1e-5, atol=1e-7)
    total = sum(harness.count(critic) for critic in system.critics)
    assert harness.count(system.discriminator) == total


@pytest.mark.parametrize(("aggregation", "loss"), [("gman", "minimax"), ("hypervolume", "")])
def test_losses_and_weights_of_a_step(aggregation, loss):
    """With both learning rates at 0, what is logged is the formula on the first fakes."""
    system = harness.small(
        NAME,
        discriminators=3,
        d_norm="none",
        compile_arguments={
            "aggregation": aggregation,
            "loss": loss or "non_saturating",
            "g_learning_rate": 0.0,
            "d_learning_rate": 0.0,
        },
    )
    for k, critic in enumerate(system.critics):
        critic.layers[-1].kernel.assign(critic.layers[-1].kernel * (1e3 + 2e3 * k))
    z, _ = system.draw_latents(8)
    fakes = system.generator(z, training=True)
    g_loss = losses.g_minimax if loss else losses.g_non_saturating
    each = tf.stack([g_loss(None, critic(fakes)) for critic in system.critics])
    weights = (
        selection.gman_weights(each, 1.0) if loss else selection.hypervolume_weights(each, 1.5)
    )
    expected = (
        tf.reduce_sum(weights * each)
        if loss
        else -tf.reduce_sum(tf.math.log(1.5 * max(each) - each))
    )
    history = train(system, 1)
    assert last(history, "G/loss") == pytest.approx(float(expected), rel=1e-4)
    assert last(history, "MultiD/loss_max") == pytest.approx(max(each.numpy()), rel=1e-4)
    assert last(history, "MultiD/weight_min") == pytest.approx(min(weights.numpy()), rel=1e-4)
    assert np.ptp(weights.numpy()) > 0.01


def test_one_adam_over_all_is_an_adam_for_each():
    """Two steps of D_1 of three equal those of a system that has D_1 alone."""
    joint = harness.small(NAME, discriminators=3, compile_arguments={"g_learning_rate": 0.0})
    alone = harness.small(NAME, discriminators=1, compile_arguments={"g_learning_rate": 0.0})
    alone.critics[0].set_weights(joint.critics[1].get_weights())
    train(joint, 2)
    train(alone, 2)
    pairs = zip(joint.critics[1].get_weights(), alone.critics[0].get_weights(), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_own_slices_and_the_whole_batch():
    rows = tf.reshape(tf.range(12.0), [6, 2])
    system = harness.small(NAME, discriminators=3, compile_arguments={"own_slices": True})
    parts = system._slices(rows)
    np.testing.assert_array_equal(tf.concat(parts, axis=0), rows)
    assert [p.shape for p in parts] == [(2, 2)] * 3
    system.compile(own_slices=False)
    assert all(part is rows for part in system._slices(rows))
    system.compile(own_slices=True)
    with pytest.raises(UserError, match="batch of 8 .* slices for 3 discriminators"):
        train(system, 1)


def test_gman_keeps_other_units_in_every_discriminator():
    keeps = [multi_discriminator.keep_probability(k, 5) for k in range(5)]
    np.testing.assert_allclose(keeps, [0.44, 0.48, 0.52, 0.56, 0.60])
    system = harness.small(
        NAME,
        dropout=True,
        d_norm="none",
        compile_arguments={"aggregation": "gman", "own_slices": True},
    )
    images = tf.random.stateless_uniform([4, 8, 8, 1], [0, 1], -1, 1)
    dropped = system.critic_at(0)(images, None)
    assert np.abs(dropped - system.critics[0](images, training=False)).max() > 0
    np.testing.assert_array_equal(dropped, system.critic_at(0)(images, None))
    train(system, 1)


@pytest.mark.parametrize(("resolution", "size"), [(16, 4), (64, 8)])
def test_projections_are_frozen_unit_filters_that_differ(resolution, size):
    system = harness.small(NAME, resolution=resolution, nf=2, projection=True)
    layers = [critic.layers[1] for critic in system.critics]
    kernels = [layer.kernel.numpy() for layer in layers]
    for layer, kernel in zip(layers, kernels, strict=True):
        assert kernel.shape == (size, size, 1, 1)
        assert np.linalg.norm(kernel) == pytest.approx(1.0, rel=1e-5)
        assert not any(v is layer.kernel for v in system.discriminator.trainable_variables)
        assert layer(tf.zeros([2, resolution, resolution, 1])).shape[1] == resolution // 2
    assert not np.array_equal(*kernels)
    if resolution == 16:
        train(system, 2)
        for layer, kernel in zip(layers, kernels, strict=True):
            np.testing.assert_array_equal(layer.kernel, kernel)


def test_a_step_moves_everything_and_counts():
    system = harness.small(NAME, compile_arguments={"n_critic": 2})
    before = harness.values(system)
    train(system, 1)
    after = harness.values(system)
    for name, value in before.items():
        if name.startswith(("generator/", "discriminator/")):
            assert not np.array_equal(value, after[name]), name
    assert int(system.d_optimizer.iterations) == 2
    assert int(system.g_optimizer.iterations) == 1


def test_resume_is_exact(tmp_path):
    whole, first, second = (harness.small(NAME, dropout=True) for _ in range(3))
    train(whole, 3)
    train(first, 1)
    checkpoint.save(first, tmp_path)
    checkpoint.restore(second, checkpoint.newest(tmp_path))
    train(second, 2, skip=1)
    harness.assert_equal(harness.values(whole), harness.values(second))


BAD = [
    ({"num_classes": 3}, {}, "multi_discriminator is unconditional"),
    ({"discriminators": 0}, {}, "system.discriminators: 0"),
    ({"body": "resnet"}, {}, "system.body: 'resnet'"),
    ({"projection": True}, {}, "data.resolution: 8.*16 or more"),
    ({"body": "cnn", "dropout": True}, {}, "system.dropout"),
    ({"body": "cnn", "d_norm": "layer"}, {}, "system.d_norm: 'layer'; system.body=cnn"),
    ({}, {"aggregation": "geometric"}, "optimizer.aggregation.*average, gman, hypervolume"),
    ({}, {"slack": 1.0}, "optimizer.slack: 1.0"),
    ({}, {"loss": "wasserstein"}, "can be negative"),
    ({}, {"loss": "minimax"}, "can be negative"),
    ({}, {"penalties": {"orthogonal": 1e-4}}, "penalties.orthogonal"),
    ({}, {"penalties": {"lecam": 0.3}}, "penalties.lecam"),
    ({"resolution": 16}, {"penalties": {"gp": 10.0}}, "batch normalisation"),
]


@pytest.mark.parametrize(("arguments", "compile_arguments", "message"), BAD)
def test_bad_settings_say_what_to_change(arguments, compile_arguments, message):
    with pytest.raises(UserError, match=message):
        harness.small(NAME, **arguments, compile_arguments=compile_arguments)


def test_losses_called_nonnegative_are():
    logits = tf.constant(np.random.default_rng(0).normal(0, 5, 400), tf.float32)
    for name in losses.NAMES:
        _, g_loss = losses.pair(name)
        values = [float(g_loss(logits[200:], chunk)) for chunk in tf.split(logits, 2)]
        values += [float(g_loss(c * tf.ones([3]), -c * tf.ones([3]))) for c in (-9.0, 0.0, 9.0)]
        if name in multi_discriminator.NONNEGATIVE:
            assert min(values) >= 0.0, name
