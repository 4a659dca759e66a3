"""Defense-GAN: the sizes of the paper's networks, a step of WGAN-GP, the projection."""

import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe.errors import UserError
from ganpipe.ops import projection
from tests import harness


@pytest.fixture(scope="module")
def system():
    system = harness.small("defense_gan", resolution=28)
    # Untrained images are nearly uniform; larger weights make them differ.
    system.generator_ema.set_weights([2.0 * w for w in system.generator_ema.get_weights()])
    return system


def test_parameter_counts_are_those_of_gan_mnist():
    system = ganpipe.create("defense_gan", resolution=28, channels=1)
    assert harness.count(system.generator) == 1554177
    assert harness.count(system.discriminator) == 1030145


def test_a_step_updates_both_and_logs_the_penalty():
    system = harness.small("defense_gan", resolution=28, compile_arguments={"n_critic": 2})
    before = harness.values(system)
    system.fit(harness.noise(system), steps_per_epoch=1, verbose=0)
    first = harness.values(system)
    # Step 0 is the critic's alone, as in gan_mnist.py.
    np.testing.assert_array_equal(before["generator/0"], first["generator/0"])
    assert not np.array_equal(before["discriminator/0"], first["discriminator/0"])
    history = system.fit(harness.noise(system), steps_per_epoch=1, verbose=0).history
    after = harness.values(system)
    for name in ("generator/0", "discriminator/0", "generator_ema/0"):
        assert not np.array_equal(before[name], after[name])
    assert {"D/penalty", "D/gp_norm", "D/distance", "G/loss"} <= history.keys()
    assert system.d_optimizer.iterations.numpy() == 4
    assert system.g_optimizer.iterations.numpy() == 1


def test_planted_images_are_found_again(system):
    """What G makes lies in its range."""
    images = system.sample(6, seed=1)
    found = [system.reconstruct(images, steps=n, restarts=3) for n in (0, 20, 100)]
    first, middle, last = (result.errors.mean() for result in found)
    assert first > 20 * middle > 100 * last
    np.testing.assert_allclose(found[-1].images, images / 127.5 - 1.0, atol=0.05)


def test_reconstruction_is_consistent_and_in_the_unit_scale(system):
    images = system.sample(5, seed=2)
    found = system.reconstruct(images, steps=5, restarts=4)
    np.testing.assert_allclose(system.generate(found.z), found.images, atol=1e-5)
    difference = (found.images - (images / 127.5 - 1.0)) / 2.0
    np.testing.assert_allclose(found.errors, np.mean(difference**2, axis=(1, 2, 3)), rtol=1e-4)
    np.testing.assert_array_equal(found.errors, found.restarts.min(axis=1))
    floats = system.reconstruct(images / 127.5 - 1.0, steps=5, restarts=4)
    np.testing.assert_allclose(floats.z, found.z, atol=1e-4)


def test_learning_rate_is_for_means_over_pixels_in_the_unit_scale(system):
    """One step without momentum, against the gradient written out in these terms."""
    images = system.sample(2, seed=3) / np.float32(127.5) - 1.0
    start = tf.constant(system.reconstruct(images, steps=0, restarts=1).z)
    with tf.GradientTape() as tape:
        tape.watch(start)
        unit = 0.5 * system.generator_ema(start) + 0.5
        error = tf.reduce_sum(tf.reduce_mean((unit - (0.5 * images + 0.5)) ** 2, [1, 2, 3]))
    expected = start - 10.0 * tape.gradient(error, start)
    found = system.reconstruct(images, steps=1, restarts=1)
    np.testing.assert_allclose(found.z, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(found.z - start).max() > 1e-3


def test_starts_are_small_normals_of_seed_image_and_restart(system):
    images = np.zeros((40, 28, 28, 1), np.uint8)
    z = system.reconstruct(images, steps=0, restarts=1).z
    # N(0, 1 / latent_dim), not N(0, 1).
    assert z.std() == pytest.approx(system.latent_dim**-0.5, rel=0.2)
    assert len(np.unique(z[:, 0])) == 40
    other = system.reconstruct(images, steps=0, restarts=1, seed=1).z
    assert not np.any(other == z)
    # Chunks do not matter, and further restarts only add.
    np.testing.assert_array_equal(system.reconstruct(images, 0, 1, chunk=7).z, z)
    one, three = system.reconstruct(images, 0, 1), system.reconstruct(images, 0, 3)
    np.testing.assert_allclose(three.restarts[:, :1], one.restarts, rtol=1e-5)
    assert np.all(three.errors <= one.errors + 1e-7)


def test_bfloat16_is_close_and_follows_the_weights(system):
    images = system.sample(4, seed=4)
    exact = system.reconstruct(images, steps=5, restarts=2)
    fast = system.reconstruct(images, steps=5, restarts=2, precision="mixed_bfloat16")
    np.testing.assert_allclose(fast.errors, exact.errors, rtol=0.3, atol=1e-4)
    assert not np.array_equal(fast.z, exact.z)
    np.testing.assert_allclose(system.generate(fast.z), fast.images, atol=1e-5)
    old = system.generator_ema.get_weights()
    try:
        system.generator_ema.set_weights([0.5 * w for w in old])
        changed = system.reconstruct(images, steps=5, restarts=2, precision="mixed_bfloat16")
    finally:
        system.generator_ema.set_weights(old)
    assert not np.allclose(changed.z, fast.z, atol=1e-3)


def test_projection_leaves_the_system_as_it_is(system):
    before = harness.values(system)
    system.reconstruct(system.sample(2), steps=2, restarts=2, precision="mixed_bfloat16")
    harness.assert_equal(before, harness.values(system))


def test_no_images(system):
    found = system.reconstruct(np.zeros((0, 28, 28, 1), np.uint8), restarts=3)
    assert found.images.shape == (0, 28, 28, 1) and found.restarts.shape == (0, 3)


def test_the_projection_inside_a_graph(system):
    """As BPDA uses it."""
    project = system.projector(steps=2, restarts=2)
    outer = tf.function(lambda x, keys: project(x, keys))
    images = tf.constant(system.sample(3) / np.float32(127.5) - 1.0)
    found = outer(images, tf.range(3, dtype=tf.int64))
    assert isinstance(found, projection.Projection)
    np.testing.assert_allclose(
        found.z, system.reconstruct(images.numpy(), steps=2, restarts=2).z, atol=1e-5
    )


IMAGES = np.zeros((2, 28, 28, 1), np.uint8)
BAD = [
    (lambda s: s.reconstruct(IMAGES[:, :14]), r"images: shape \(2, 14, 28, 1\)"),
    (lambda s: s.reconstruct(IMAGES + np.float32(7)), r"expected floats in \[-1, 1\]"),
    (lambda s: s.reconstruct(IMAGES * np.float32(np.nan)), r"expected floats in \[-1, 1\]"),
    (lambda s: s.reconstruct(IMAGES.astype(int)), "int64"),
    (lambda s: s.reconstruct(IMAGES, steps=-1), "steps: -1"),
    (lambda s: s.reconstruct(IMAGES, restarts=0), "restarts: 0"),
    (lambda s: s.reconstruct(IMAGES, learning_rate=0.0), "learning_rate"),
    (lambda s: s.reconstruct(IMAGES, momentum=1.0), "momentum"),
    (lambda s: s.reconstruct(IMAGES, decay_at=2.0), "decay_at"),
    (lambda s: s.reconstruct(IMAGES, precision="float16"), "mixed_bfloat16"),
    (lambda s: s.reconstruct(IMAGES, seed=-1), "seed: -1"),
    (lambda s: s.reconstruct(IMAGES, chunk=0), "chunk: 0"),
    (lambda s: ganpipe.create("defense_gan", resolution=32, channels=1), "--base=7x7 --levels=3"),
    (lambda s: ganpipe.create("defense_gan", resolution=28, num_classes=3), "unconditional"),
    (lambda s: ganpipe.create("defense_gan", resolution=28, dim=0), "system.dim: 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_bad_input_says_what_to_change(call, message, system):
    with pytest.raises(UserError, match=message):
        call(system)
