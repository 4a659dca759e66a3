"""Growing StyleGAN2 networks: official counts, the plain network at full size, fades, stages."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_stylegan2_grown as bodies
from ganpipe.layers.bodies_stylegan2 import StyleGenerator
from ganpipe.layers.bodies_stylegan2_discriminator import StyleDiscriminator
from ganpipe.layers.bodies_stylegan2_grown import GrownDiscriminator, GrownGenerator
from tests import harness

GOLDEN = Path(__file__).parents[1] / "golden" / "stylegan2_grown.npz"
NARROW = {"channel_base": 64, "channel_max": 8}
Z = {"latent_dim": 6, "w_dim": 6, "mapping_layers": 2}
STAGES = ((4, False), (8, True), (8, False), (16, True), (16, False))


class Shapes:
    """Initialisers that cost nothing: only shapes are looked at."""

    def __init__(self, seed):
        self.normal = lambda *unused: "zeros"


def generator(resolution=16, **arguments):
    """With noise strengths and biases away from 0."""
    network = GrownGenerator(resolution, 1, **(NARROW | Z | arguments))
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if variable.name in ("noise_strength", "bias"):
            variable.assign(variable + rng.normal(0, 0.3, variable.shape).astype(np.float32))
    return network


def discriminator(resolution=16, **arguments):
    return GrownDiscriminator(resolution, 1, **(NARROW | {"group_size": 2} | arguments))


def latents(n=3):
    return tf.random.stateless_normal([n, 6], [1, 2])


def pictures(side=16, n=4):
    return tf.random.stateless_uniform([n, side, side, 1], [0, 1], -1, 1)


# stylegan2.md section 9 for 1024; the rest is the skip architecture's at the same width.
COUNTS = [
    (32, 21_523_475, 20_726_785),
    (256, 24_767_458, 23_052_353),
    (1024, 24_900_764, 23_087_249),
]


@pytest.mark.parametrize(("resolution", "g", "d"), COUNTS)
def test_counts_of_configs_b_to_d(resolution, g, d, monkeypatch):
    monkeypatch.setattr(bodies, "SeededInitializers", Shapes)
    network = GrownGenerator(resolution)
    assert harness.count(network) == g
    assert harness.count(network.mapper) == 8 * (512 * 512 + 512)
    assert network.num_ws == 2 * len(network.blocks)
    del network
    assert harness.count(GrownDiscriminator(resolution)) == d


def test_a_grown_generator_is_the_plain_one():
    grown = generator(num_classes=2)
    arguments = {"architecture": "orig", "conditioning": "stylegan2", "num_classes": 2}
    plain = StyleGenerator(16, 1, **NARROW, **Z, **arguments)
    plain.mapper.set_weights(grown.mapper.get_weights())
    plain.blocks[0].const.assign(grown.blocks[0].const)
    for ours, theirs in zip(grown.blocks, plain.blocks, strict=True):
        for name in ("conv0", "conv1", "torgb"):
            if getattr(theirs, name) is not None:
                getattr(theirs, name).set_weights(getattr(ours, name).get_weights())
    labels = tf.constant([0, 1, 1])
    ws = grown.mapping(latents(), labels)
    np.testing.assert_allclose(plain.mapping(latents(), labels), ws, atol=1e-6)
    for noise in (None, "const", ("rows", tf.constant([3, 4, 5], tf.int64))):
        expected = plain.synthesis(ws, noise)
        np.testing.assert_allclose(grown.synthesis(ws, noise), expected, atol=1e-5)
    assert np.asarray(expected).std() > 0.1


@pytest.mark.parametrize("classes", [0, 3])
def test_a_grown_discriminator_is_the_plain_one(classes):
    grown = discriminator(num_classes=classes)
    arguments = {"architecture": "orig", "conditioning": "stylegan2", "num_classes": classes}
    plain = StyleDiscriminator(16, 1, **NARROW, group_size=2, **arguments)
    for theirs in plain.blocks:
        ours = next(b for b in grown.blocks if b.resolution == theirs.resolution)
        for name in ("fromrgb", "conv0", "conv1"):
            if getattr(theirs, name) is not None:
                getattr(theirs, name).set_weights(getattr(ours, name).get_weights())
    plain.b4.set_weights(grown.b4.get_weights())
    inputs = [pictures(), tf.constant([0, 2, 1, 1])] if classes else pictures()
    np.testing.assert_allclose(grown(inputs), plain(inputs), atol=1e-5)


def test_an_image_fades_from_the_level_below_to_its_own():
    network = generator()
    ws = network.mapping(latents())
    images = {}
    for side in (4, 8, 16):
        network.grow(side, fading=False)
        images[side] = network.synthesis(ws)
        assert images[side].shape == (3, side, side, 1)
    for side in (8, 16):
        old, new = images[side // 2].numpy().repeat(2, 1).repeat(2, 2), images[side].numpy()
        assert np.abs(old - new).max() > 0.1
        network.grow(side, fading=True)
        for alpha in (1.0, 0.25, 0.0):
            network.alpha.assign(alpha)
            expected = alpha * old + (1 - alpha) * new
            np.testing.assert_allclose(network.synthesis(ws), expected, atol=1e-5)


def test_a_fading_discriminator_goes_from_the_small_image_to_the_large_one():
    network = discriminator()
    images = pictures()
    new = network(images)
    network.grow(8, fading=False)
    old = network(tf.nn.avg_pool2d(images, 2, 2, "VALID"))
    network.grow(16, fading=True)
    for alpha, expected in ((1.0, old), (0.0, new)):
        network.alpha.assign(alpha)
        np.testing.assert_allclose(network(images), expected, atol=1e-5)


def test_features_of_a_fading_discriminator_are_mixed_linearly():
    network = discriminator(8)
    network.grow(8, fading=True)
    seen = []
    rest = type(network.b4).call
    network.b4.call = lambda x, *more: seen.append(x.numpy()) or rest(network.b4, x, *more)
    for alpha in (0.0, 1.0, 0.25):
        network.alpha.assign(alpha)
        network(pictures(8))
    new, old, mixed = seen
    assert new.shape == (4, 4, 4, 8)
    np.testing.assert_allclose(mixed, 0.25 * old + 0.75 * new, atol=1e-5)


def test_stages_use_the_weights_of_their_levels():
    network, critic = generator(num_classes=2), discriminator(num_classes=2)
    labels = tf.constant([0, 1, 1, 0])
    pairs = [*(b.torgb for b in network.blocks), *(critic.from_rgb(level) for level in (2, 3, 4))]
    colours = {id(v) for layer in pairs for v in layer.trainable_weights}
    before = set()
    for resolution, fading in STAGES:
        for net in (network, critic):
            net.grow(resolution, fading)
            net.alpha.assign(0.5)
        assert len(network.noise_consts()) == network.layers_now - 1
        assert network.layers_now == 2 * int(np.log2(resolution)) - 2
        with tf.GradientTape() as tape:
            fakes = network.synthesis(network.mapping(latents(4), labels), "const")
            loss = tf.reduce_sum(critic([fakes, labels]))
        variables = network.trainable_variables + critic.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        reached = {id(v) for v, g in zip(variables, gradients, strict=True) if g is not None}
        active = network.active_variables() + critic.active_variables()
        assert len(active) == len({id(v) for v in active})
        assert reached == {id(v) for v in active}
        # What a level has learned stays in use, but for the ways to and from its own colours.
        assert before - reached <= colours
        before = reached


def test_styles_and_noise_of_every_layer_act_from_their_level_on():
    network = generator()
    ws = network.mapping(latents(1)).numpy()
    layers = {4: 2, 8: 4, 16: 6}
    for side, count in layers.items():
        network.grow(side, fading=False)
        before = network.synthesis(tf.constant(ws))
        for layer in range(6):
            changed = ws.copy()
            changed[:, layer] += 1.0
            moved = np.abs(network.synthesis(tf.constant(changed)) - before).max()
            assert (moved > 1e-4) == (layer < count), (side, layer)
        maps = [c[None, :, :, None] for c in network.noise_consts()]
        np.testing.assert_array_equal(network.synthesis(tf.constant(ws), maps), before)
        assert np.abs(network.synthesis(tf.constant(ws), None) - before).max() > 1e-4
        drawn = network.synthesis(tf.constant(ws), tf.constant([1, 2]))
        assert np.abs(drawn - before).max() > 1e-4
        with pytest.raises(ValueError, match=f"expected {count - 1}"):
            network.synthesis(tf.constant(ws), [*maps, maps[0]])


def test_the_stage_lives_in_the_weights():
    first, second = generator(seed=1), generator(seed=2)
    first.set_lod(1.25)
    assert (first.resolution_now, first.fading, first.halvings) == (8, True, 1)
    second.set_weights(first.get_weights())
    second.resume()
    assert (second.resolution_now, second.fading) == (8, True)
    np.testing.assert_array_equal(second(latents()), first(latents()))
    for resolution, fading in ((32, False), (12, False), (4, True)):
        with pytest.raises(UserError, match="expected a power of two|grows from 4 to 16"):
            first.grow(resolution, fading)


def test_mixed_precision_is_close_to_float32():
    for resolution, fading in ((8, True), (16, False)):
        results = []
        for precision in ("float32", "mixed_bfloat16"):
            network, critic = generator(precision=precision), discriminator(precision=precision)
            for net in (network, critic):
                net.grow(resolution, fading)
                net.alpha.assign(0.5)
                assert all(v.dtype in ("float32", "int32") for v in net.variables)
            images = network(latents(4))
            results.append([images, critic(tf.clip_by_value(images, -1, 1))])
            assert {tensor.dtype for tensor in results[-1]} == {tf.float32}
        for exact, rounded in zip(*results, strict=True):
            error = np.abs(exact - rounded).max() / np.abs(exact).max()
            assert 0 < error < 0.05


BAD = [
    ({"resolution": 12}, "data.resolution: 12.*power of two"),
    ({"resolution": 4}, "data.resolution: 4"),
    ({"channel_base": 4}, "system.channel_base: 4; expected 8"),
    ({"group_size": 0}, "system.group_size: 0"),
    ({"mapping_layers": 0}, "system.mapping_layers: 0"),
    ({"ema_kimg": -1.0}, "system.ema_kimg: -1.0"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_says_what_to_change(change, message):
    given = {"resolution": 8, "group_size": 4, "ema_kimg": 1.0} | NARROW | Z
    bodies.check(given)
    with pytest.raises(UserError, match=message):
        bodies.check(given | change)


# --- Against the official graph ------------------------------------------------------------------


class Official:
    """The golden file, and which of its weights have been taken."""

    def __init__(self):
        self.values = np.load(GOLDEN)
        self.taken = set()

    def weight(self, name):
        self.taken.add(name)
        return self.values[name]

    def left(self):
        return {n for n in self.values.files if ":" in n} - self.taken - {"g:lod", "d:lod"}

    def fill(self, layer, name, turn=False):
        """A convolution; transposed ones are stored turned."""
        kernel = self.weight(name + "/weight")
        layer.kernel.assign(kernel[::-1, ::-1] if turn else kernel)
        layer.bias.assign(self.weight(name + "/bias"))
        if hasattr(layer, "style"):
            layer.style.kernel.assign(self.weight(name + "/mod_weight"))
            layer.style.bias.assign(self.weight(name + "/mod_bias") + 1)
        if hasattr(layer, "noise_strength"):
            layer.noise_strength.assign(self.weight(name + "/noise_strength"))

    def fill_generator(self, g):
        g.blocks[0].const.assign(self.weight("g:4x4/Const/const").transpose(0, 2, 3, 1))
        self.fill(g.blocks[0].conv1, "g:4x4/Conv")
        for block in g.blocks[1:]:
            at = f"g:{block.resolution}x{block.resolution}"
            self.fill(block.conv0, at + "/Conv0_up", turn=True)
            self.fill(block.conv1, at + "/Conv1")
        for i, block in enumerate(g.blocks):
            self.fill(block.torgb, f"g:ToRGB_lod{len(g.blocks) - 1 - i}")
        for i, layer in enumerate(g.noise_layers()):
            layer.noise.assign(self.weight(f"g:noise{i}")[0, 0])

    def fill_discriminator(self, d):
        for block in d.blocks:
            at = f"d:{block.resolution}x{block.resolution}"
            self.fill(block.conv0, at + "/Conv0")
            self.fill(block.conv1, at + "/Conv1_down")
        for lod in range(3):
            self.fill(d.from_rgb(4 - lod), f"d:FromRGB_lod{lod}")
        self.fill(d.b4.conv, "d:4x4/Conv")
        dense = self.weight("d:4x4/Dense0/weight")  # rows in the order (C, H, W)
        turned = dense.reshape(8, 4, 4, -1).transpose(1, 2, 0, 3)
        d.b4.fc.kernel.assign(turned.reshape(dense.shape))
        d.b4.fc.bias.assign(self.weight("d:4x4/Dense0/bias"))
        d.b4.out.kernel.assign(self.weight("d:Output/weight"))
        d.b4.out.bias.assign(self.weight("d:Output/bias"))


def test_images_and_scores_are_the_official_ones_at_every_lod():
    official = Official()
    g = GrownGenerator(16, 3, latent_dim=6, w_dim=6, mapping_layers=1, **NARROW)
    d = GrownDiscriminator(16, 3, 3, group_size=2, **NARROW)
    official.fill_generator(g)
    official.fill_discriminator(d)
    assert not official.left()
    values = official.values
    labels = tf.constant(values["c"].argmax(1))
    for lod in (0.0, 0.25, 1.0, 1.4):
        g.set_lod(lod)
        d.set_lod(lod)
        times, side = 1 << g.halvings, g.resolution_now
        # The official networks take and give images at full size; means and copies of pixels.
        images = g.synthesis(tf.constant(values["ws"]), "const").numpy()
        images = images.repeat(times, 1).repeat(times, 2)
        x = values["x"].transpose(0, 2, 3, 1).reshape(4, side, times, side, times, 3)
        scores = d([tf.constant(x.mean((2, 4))), labels]).numpy()
        for got, want in (
            (images, values[f"G/{lod}"].transpose(0, 2, 3, 1)),
            (scores, values[f"D/{lod}"]),
        ):
            assert np.abs(got - want).max() < 1e-5 * np.abs(want).max(), lod
