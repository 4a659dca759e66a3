"""ProGAN's networks: counts of the sheet, the official code's outputs, what growing may change."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_progan as bodies
from ganpipe.ops import resample
from tests import harness
from tests.golden import progan_recipe as recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "progan_networks.npz"

# arguments, G, D: progan.md section 8.
COUNTS = [
    ({"resolution": 32}, 20_719_628, 20_726_785),
    ({"resolution": 64}, 22_490_383, 22_498_049),
    ({"resolution": 128}, 22_933_394, 22_941_313),
    ({"resolution": 256}, 23_044_309, 23_052_353),
    ({"resolution": 512}, 23_072_120, 23_080_225),
    ({"resolution": 1024}, 23_079_115, 23_087_249),
    ({"resolution": 32, "fmap_base": 4096, "fmap_max": 128}, 1_296_908, 1_298_689),
    ({"resolution": 128, "fmap_base": 2048}, 13_629_810, 13_636_897),
    ({"resolution": 32, "num_classes": 10}, 20_801_548, 20_731_915),
]


class Zeros:
    """Initialisers that cost little: only shapes are looked at."""

    def __init__(self, seed):
        pass

    def normal(self, stddev):
        return "zeros"


@pytest.mark.parametrize(("arguments", "g", "d"), COUNTS)
def test_counts_are_the_official_ones(arguments, g, d, monkeypatch):
    monkeypatch.setattr(bodies, "SeededInitializers", Zeros)
    generator, discriminator = bodies.Generator(**arguments), bodies.Discriminator(**arguments)
    assert (harness.count(generator), harness.count(discriminator)) == (g, d)


def networks(case):
    resolution, classes, arguments, _ = recipe.CASES[case]
    sizes = {"num_classes": classes, "channels": arguments.get("num_channels", 3)} | recipe.NARROW
    generator = bodies.Generator(resolution, latent_dim=recipe.LATENT, **sizes)
    group = arguments.get("mbstd_group_size", 4)
    discriminator = bodies.Discriminator(resolution, group_size=group, **sizes)
    recipe.fill(case, "G", generator)
    recipe.fill(case, "D", discriminator)
    return generator, discriminator


def error(ours, official):
    """Largest difference, relative to the largest official value."""
    assert ours.shape == official.shape
    return np.abs(ours - official).max() / np.abs(official).max()


@pytest.mark.parametrize("case", recipe.CASES)
def test_outputs_and_slopes_are_the_official_ones(case):
    golden = np.load(GOLDEN)
    resolution, classes, _, lods = recipe.CASES[case]
    generator, discriminator = networks(case)
    for lod in lods:
        z, labels, images = recipe.inputs(case, lod)
        for net in (generator, discriminator):
            net.grow(resolution >> int(lod), lod != int(lod))
            net.alpha.assign(lod - int(lod))
        made = generator([z, labels] if classes else z).numpy()[:2]
        assert error(made, golden[f"{case}/G/{lod}"]) < 1e-5, lod
        images = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = discriminator(images)
            total = tf.reduce_sum(scores[:, 0])
        assert error(scores.numpy(), golden[f"{case}/D/{lod}"]) < 1e-5, lod
        # By images at full size: each of their 4^floor(lod) equal pixels has its part.
        norms = np.sqrt((tape.gradient(total, images).numpy() ** 2).sum((1, 2, 3)))
        assert error(norms / 2 ** int(lod), golden[f"{case}/norms/{lod}"]) < 1e-5, lod


def small(kind, resolution=16, **arguments):
    arguments = {"channels": 2, "fmap_base": 64, "fmap_max": 8} | arguments
    if kind == "generator":
        return bodies.Generator(resolution, latent_dim=6, **arguments)
    return bodies.Discriminator(resolution, **arguments)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_generator_fades_from_the_old_level_to_the_new_one():
    net, z = small("generator"), normal(3, 6)

    def at(resolution, fading, alpha):
        net.grow(resolution, fading)
        net.alpha.assign(alpha)
        return net(z).numpy()

    for resolution in (8, 16):
        old = resample.upsample(at(resolution // 2, False, 0.0)).numpy()
        new = at(resolution, False, 0.0)
        assert np.abs(new - old).max() > 0.1
        np.testing.assert_array_equal(at(resolution, True, 0.0), new)
        np.testing.assert_allclose(at(resolution, True, 1.0), old, atol=1e-6)
        half = at(resolution, True, 0.25)
        np.testing.assert_allclose(half, 0.75 * new + 0.25 * old, atol=1e-6)


def test_discriminator_fades_from_the_old_level_to_the_new_one():
    net = small("discriminator")

    def at(resolution, fading, alpha, images):
        net.grow(resolution, fading)
        net.alpha.assign(alpha)
        return net(images).numpy()

    images = normal(4, 16, 16, 2)
    new = at(16, False, 0.0, images)
    old = at(8, False, 0.0, resample.mean_pool(tf.constant(images)))
    assert np.abs(new - old).max() > 1e-3
    np.testing.assert_array_equal(at(16, True, 0.0, images), new)
    np.testing.assert_allclose(at(16, True, 1.0, images), old, atol=1e-6)


@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_active_variables_are_those_that_matter(kind):
    net = small(kind)
    for resolution, fading in [(4, False), (8, True), (8, False), (16, True), (16, False)]:
        net.grow(resolution, fading)
        net.alpha.assign(0.5 if fading else 0.0)
        inputs = normal(4, 6) if kind == "generator" else normal(4, resolution, resolution, 2)
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(tf.square(net(inputs)))
        gradients = tape.gradient(total, [v.value for v in net.trainable_variables])
        reached = [
            v.path
            for v, g in zip(net.trainable_variables, gradients, strict=True)
            if g is not None and np.abs(g).max() > 0
        ]
        assert sorted(reached) == sorted(v.path for v in net.active_variables())
    assert len(reached) == len(net.trainable_variables) - 4  # the pixels of 4 and 8


def test_a_stage_comes_back_from_the_weights():
    net, again = small("generator"), small("generator", seed=1)
    net.grow(8, True)
    net.alpha.assign(0.25)
    again.set_weights(net.get_weights())
    again.resume()
    assert (again.resolution_now, again.fading) == (8, True)
    assert int(net.level) == 3
    z = normal(2, 6)
    np.testing.assert_array_equal(net(z), again(z))
    net.alpha.assign(0.0)
    again.set_weights(net.get_weights())
    again.resume()
    assert (again.resolution_now, again.fading) == (8, False)


def test_forms_of_a_base():
    for form in (4, np.int64(4), "4", "4x4", [4, 4], (4, 4)):
        assert bodies.base_size(form) == (4, 4)
    assert bodies.base_size("3x5") == (3, 5)
    for form in (0, "", "0x4", "3x5x7", "3,5", "3.5", 4.5, (3.7, 5), None, (), (3, -5)):
        with pytest.raises(UserError, match=r"system.base: .*expected HEIGHTxWIDTH"):
            bodies.base_size(form)


@pytest.mark.parametrize("base", [(4, 6), (3, 5), (1, 2)])
def test_bases_need_not_be_square(base):
    top = 4 * base[0]
    generator = small("generator", top, base=base)
    discriminator = small("discriminator", top, base=base)
    for level in range(3):
        for fading in (False, True)[: 1 + (level > 0)]:
            for net in (generator, discriminator):
                net.grow(base[0] << level, fading)
            images = generator(normal(4, 6))
            assert images.shape == (4, base[0] << level, base[1] << level, 2)
            assert discriminator(images).shape == (4, 1)
    generator.resume()
    assert generator.resolution_now == top


def test_latents_and_labels_are_normalised_together():
    net = small("generator", 4, num_classes=3)
    seen = []
    net.dense.call = lambda x: seen.append(x.numpy()) or tf.zeros([len(x), 4, 4, 8])
    z = normal(2, 6)
    net([z, np.array([0, 2])])
    x = np.concatenate([z, [[1, 0, 0], [0, 0, 1]]], axis=1)
    expected = x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(seen[0], expected, rtol=1e-5)


def test_mixed_precision_is_near_float32_and_says_float32():
    found = []
    for precision in ("float32", "mixed_bfloat16"):
        generator = small("generator", precision=precision)
        discriminator = small("discriminator", precision=precision)
        assert all(v.dtype in ("float32", "int32") for v in generator.variables)
        made, scores = generator(normal(4, 6)), discriminator(normal(4, 16, 16, 2))
        assert made.dtype == scores.dtype == tf.float32
        found.append((made.numpy(), scores.numpy()))
    for one, other in zip(*found, strict=True):  # bfloat16 has 8 bits: 0.4 % a rounding
        relative = np.sqrt(np.mean((other - one) ** 2) / np.mean(one**2))
        assert 1e-4 < relative < 0.05


BAD = [
    (lambda: small("generator", 24), "data.resolution: 24; expected 4"),
    (lambda: small("discriminator", 2), "data.resolution: 2"),
    (lambda: small("generator", 16, base=(0, 4)), "system.base"),
    (lambda: small("generator").grow(32, False), "levels of this generator are 4, 8, 16"),
    (lambda: small("discriminator").grow(4, True), "4, fading in.*does not fade in"),
    (lambda: small("discriminator")(normal(6, 16, 16, 2)), "batch of 6.*system.group_size"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_sizes_are_refused(call, message):
    with pytest.raises(UserError, match=message):
        call()
