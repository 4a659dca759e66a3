"""StyleGAN's networks: the official code's outputs and counts, parts by hand, growth."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import stylegan_names as names
from ganpipe.layers import stylegan_parts as parts
from ganpipe.layers.bodies_stylegan import StyleDiscriminator, StyleGenerator
from ganpipe.layers.stylegan_mapping import Mapping
from tests import harness
from tests.golden import stylegan_recipe as recipe

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "stylegan_networks.npz")
OURS = {"const_input_layer": "const_input"}  # where an official argument has another name
G_ONLY = ("use_styles", "const_input", "use_noise", "use_pixel_norm", "use_instance_norm")

# stylegan.md section 8: resolution, G trainable, G all variables, D trainable.
COUNTS = [
    (32, 22_841_356, 22_844_590, 20_726_785),
    (64, 25_137_935, 25_149_361, 22_498_049),
    (128, 25_843_858, 25_888_052, 22_941_313),
    (256, 26_086_229, 26_261_495, 23_052_353),
    (512, 26_179_768, 26_879_322, 23_080_225),
    (1024, 26_219_627, 29_016_333, 23_087_249),
]


class Shapes:
    """Initialisers that cost nothing: only shapes are looked at."""

    def __init__(self, seed):
        self.normal = lambda *unused: "zeros"


def size(variables):
    return sum(int(np.prod(v.shape)) for v in variables)


@pytest.mark.parametrize(("resolution", "g", "every", "d"), COUNTS)
def test_networks_have_the_official_counts(resolution, g, every, d, monkeypatch):
    for module in ("bodies_stylegan", "stylegan_discriminator"):
        monkeypatch.setattr(f"ganpipe.layers.{module}.SeededInitializers", Shapes)
    network = StyleGenerator(resolution)
    assert (harness.count(network), size(network.variables)) == (g, every)
    assert harness.count(network.mapper) == 2_101_248
    del network
    assert harness.count(StyleDiscriminator(resolution)) == d


def test_mapping_with_labels_has_the_official_count():
    assert harness.count(Mapping(512, 512, 10, 8, 512, 0.01, True, Shapes(0))) == 2_368_512


def networks(case):
    """Both networks of a golden case with its weights, and the official names."""
    resolution, classes, arguments, _ = recipe.CASES[case]
    given = recipe.NARROW | {OURS.get(k, k): v for k, v in arguments.items()}
    fused = given.pop("fused_scale", "auto")
    d_given = {k: v for k, v in given.items() if k.startswith("fmap")}
    g = StyleGenerator(resolution, 3, classes, recipe.LATENT, **given)
    d = StyleDiscriminator(resolution, 3, classes, group_size=2, **d_given)
    for scope, table in (
        ("G", names.generator_names(g, fused)),
        ("D", names.discriminator_names(d)),
    ):
        for name, weight in table.items():
            value = recipe.value(case, f"{scope}/{name}", names.official_shape(weight))
            weight.variable.assign(names.to_ours(weight, value))
    return g, d


def error(ours, theirs):
    """Largest difference, as a share of the largest value."""
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("case", recipe.CASES)
def test_networks_agree_with_the_official_code(case):
    resolution, classes, _, pairs = recipe.CASES[case]
    g, d = networks(case)
    z, labels, images = recipe.inputs(case)
    labels = tf.constant(labels.argmax(1)) if classes else None
    ws = g.mapping(tf.constant(z), labels)
    for lod, psi in pairs:
        for network in (g, d):
            network.set_lod(lod)
        truncated = g.truncate(ws, tf.fill([len(z)], psi), g.default_cutoff)
        made = g.synthesis(truncated, "const").numpy()
        full = made.repeat(1 << g.halvings, axis=1).repeat(1 << g.halvings, axis=2)
        wanted = GOLDEN[f"{case}/G/{lod}/{psi}"]
        assert error(recipe.kept(full, resolution), wanted) < 2e-5, (lod, psi)
        side, block = g.resolution_now, 1 << g.halvings
        small = images.reshape(len(z), side, block, side, block, 3).mean((2, 4))
        scores = d([tf.constant(small), labels] if classes else tf.constant(small))
        assert error(scores, GOLDEN[f"{case}/D/{lod}/{psi}"]) < 2e-5, (lod, psi)
    for network, scope in ((g, "G"), (d, "D")):
        trainable, every = GOLDEN[f"{case}/{scope}/count"]
        assert harness.count(network) == trainable
        # Two "lod" of G and one of D there, alpha and level here.
        assert size(network.variables) == every + (scope == "D")


def small_generator(resolution=16, **arguments):
    """With noise weights away from 0."""
    arguments = {"latent_dim": 6, "fmap_max": 4, "fmap_base": 64} | arguments
    network = StyleGenerator(resolution, 1, **arguments)
    for variable in network.trainable_variables:
        if variable.path.endswith("noise_weight"):
            variable.assign(0.3 + 0.1 * tf.range(variable.shape[0], dtype=tf.float32))
    return network


def latents(n=3, dim=6):
    return tf.random.stateless_normal([n, dim], [1, 2])


def test_blur_is_the_binomial_filter_with_zeros_around():
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    expected = np.zeros_like(x)
    for i, a in enumerate((1, 2, 1)):
        for j, b in enumerate((1, 2, 1)):
            expected += a * b / 16 * padded[:, i : i + 5, j : j + 4]
    np.testing.assert_allclose(parts.blur(tf.constant(x)), expected, atol=1e-5)


def test_blur_has_derivatives_of_any_order():
    x, a, b = (tf.random.stateless_normal([1, 4, 4, 2], [0, i]) for i in range(3))
    with tf.GradientTape(persistent=True) as outer:
        outer.watch([x, a])
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = tf.reduce_sum(a * parts.blur(tf.square(x)))
        slope = inner.gradient(value, x)
        along = tf.reduce_sum(b * slope)
    # slope = 2 x blur(a), so d/dx (b slope) = 2 b blur(a) and d/da = blur(2 b x).
    np.testing.assert_allclose(slope, 2 * x * parts.blur(a), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outer.gradient(along, x), 2 * b * parts.blur(a), atol=1e-5)
    np.testing.assert_allclose(outer.gradient(along, a), parts.blur(2 * b * x), atol=1e-5)


def test_instance_norm_takes_the_biased_variance_of_each_map():
    x = np.random.default_rng(0).normal(3, 2, (2, 4, 5, 3)).astype(np.float32)
    mean, variance = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-8)
    np.testing.assert_allclose(parts.instance_norm(tf.constant(x)), expected, atol=1e-5)
    flat = tf.fill([1, 4, 4, 1], 7.0)
    np.testing.assert_array_equal(parts.instance_norm(flat), tf.zeros([1, 4, 4, 1]))


def test_epilogue_by_hand():
    layer = parts.Epilogue(3, 4, 5, True, False, True, parts.SeededInitializers(0), "float32")
    rng = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    x, noise, w = (
        rng.normal(size=s).astype(np.float32) for s in ((2, 4, 4, 3), (2, 4, 4, 1), (2, 5))
    )
    y = x + noise * layer.noise_weight.numpy() + layer.bias.numpy()
    y = np.where(y > 0, y, 0.2 * y)
    y = (y - y.mean((1, 2), keepdims=True)) / np.sqrt(y.var((1, 2), keepdims=True) + 1e-8)
    style = w @ layer.style.kernel.numpy() / np.sqrt(5) + layer.style.bias.numpy()
    expected = y * (1 + style[:, None, None, :3]) + style[:, None, None, 3:]
    np.testing.assert_allclose(layer(*map(tf.constant, (x, noise, w))), expected, atol=2e-5)


def test_truncation_pulls_the_layers_below_the_cutoff_to_the_mean():
    network = small_generator()
    network.w_average.assign(np.linspace(-1, 1, 6))
    ws, mean = network.mapping(latents()), network.w_average.numpy()
    pulled = network.truncate(ws, tf.constant([0.0, 0.7, 1.0]), 2).numpy()
    np.testing.assert_array_equal(pulled[:, 2:], ws[:, 2:])
    np.testing.assert_array_equal(pulled[0, :2], [mean, mean])
    np.testing.assert_allclose(pulled[1, :2], mean + 0.7 * (ws[1, :2] - mean), atol=1e-5)
    np.testing.assert_array_equal(pulled[2], ws[2])
    assert network.default_cutoff == 8
    everywhere = network.truncate(ws, tf.zeros([3]), None)
    image = network.synthesis(tf.tile(mean[None, None], [1, 6, 1]), "const")
    for row in network.synthesis(everywhere, "const"):
        np.testing.assert_allclose(row, image[0], atol=1e-5)


def test_a_style_acts_from_its_layer_on():
    network = small_generator()
    ws = network.mapping(latents(1)).numpy()
    before = network.synthesis(tf.constant(ws), None)
    for layer in range(6):
        changed = ws.copy()
        changed[:, layer] += 1.0
        network.grow(16, fading=False)
        assert np.abs(network.synthesis(tf.constant(changed), None) - before).max() > 1e-3
        network.grow(1 << (2 + layer // 2), fading=False)
        own = network.synthesis(tf.constant(changed), None)
        below = network.synthesis(tf.constant(ws), None)
        assert np.abs(own - below).max() > 1e-3
        if layer >= 2:
            network.grow(1 << (1 + layer // 2), fading=False)  # without the layer
            same = network.synthesis(tf.constant(changed), None)
            np.testing.assert_array_equal(same, network.synthesis(tf.constant(ws), None))


def test_noise_of_every_kind():
    network = small_generator()
    ws = tf.repeat(network.mapping(latents(1)), 4, axis=0)
    none, const = network.synthesis(ws, None), network.synthesis(ws, "const")
    assert np.abs(none - const).max() > 1e-3
    maps = [c[None, :, :, None] for c in network.noise_consts()]
    assert [m.shape[1] for m in maps] == [4, 4, 8, 8, 16, 16]
    np.testing.assert_array_equal(network.synthesis(ws, maps), const)
    zeros = [tf.zeros_like(m) for m in maps]
    np.testing.assert_allclose(network.synthesis(ws, zeros), none, atol=1e-5)
    np.testing.assert_array_equal(const[0], const[1])
    drawn = network.synthesis(ws, tf.constant([1, 2]))
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3  # every row its own
    np.testing.assert_array_equal(drawn, network.synthesis(ws, tf.constant([1, 2])))
    assert np.abs(drawn - network.synthesis(ws, tf.constant([1, 3]))).max() > 1e-3
    rows = network.synthesis(ws, ("rows", tf.constant([5, 6, 5, 7], tf.int64)))
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-5)
    alone = network.synthesis(ws[:1], ("rows", tf.constant([7], tf.int64)))
    np.testing.assert_allclose(alone[0], rows[3], atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 1e-3


def test_drawn_noise_is_standard_normal_and_another_one_at_every_layer():
    maps = parts.draw_noise(tf.constant([3, 4]), [], [64, 64], 4)
    flat = np.stack([m.numpy().ravel() for m in maps])
    np.testing.assert_allclose([flat.mean(), flat.std()], [0, 1], atol=0.02)
    assert abs(np.corrcoef(flat)[0, 1]) < 0.03
    maps = parts.draw_noise(("rows", tf.range(4, dtype=tf.int64)), [], [64, 64], 4)
    flat = np.stack([m.numpy().ravel() for m in maps])
    np.testing.assert_allclose([flat.mean(), flat.std()], [0, 1], atol=0.02)
    assert abs(np.corrcoef(flat)[0, 1]) < 0.03
    for wrong in ("random", [tf.zeros([1, 4, 4, 1])]):
        with pytest.raises(UserError, match="noise"):
            parts.draw_noise(wrong, [], [4, 4], 1)


def test_a_fade_goes_from_the_old_level_to_the_new_one():
    network = small_generator()
    ws = network.mapping(latents())
    network.grow(8, fading=False)
    old = network.synthesis(ws).numpy().repeat(2, 1).repeat(2, 2)
    network.grow(16, fading=False)
    new = network.synthesis(ws).numpy()
    network.grow(16, fading=True)
    for alpha in (1.0, 0.25, 0.0):
        network.alpha.assign(alpha)
        expected = alpha * old + (1 - alpha) * new
        np.testing.assert_allclose(network.synthesis(ws), expected, atol=1e-5)


def test_a_fading_discriminator_goes_from_the_small_image_to_the_large_one():
    network = StyleDiscriminator(16, 1, fmap_max=4, fmap_base=64, group_size=2)
    images = tf.random.stateless_uniform([4, 16, 16, 1], [0, 1], -1, 1)
    new = network(images)
    network.grow(8, fading=False)
    old = network(tf.nn.avg_pool2d(images, 2, 2, "VALID"))
    network.grow(16, fading=True)
    for alpha, expected in ((1.0, old), (0.0, new)):
        network.alpha.assign(alpha)
        np.testing.assert_allclose(network(images), expected, atol=1e-5)
    network.alpha.assign(0.5)
    assert np.abs(network(images) - new).max() > 1e-4


def test_growing_state_lives_in_the_weights():
    first, second = small_generator(seed=1), small_generator(seed=2)
    first.set_lod(0.75)
    assert (first.resolution_now, first.fading, first.halvings) == (16, True, 0)
    first.set_lod(1.25)
    assert (first.resolution_now, first.fading, first.halvings) == (8, True, 1)
    second.set_weights(first.get_weights())
    assert second.resolution_now == 16
    second.resume()
    assert (second.resolution_now, second.fading) == (8, True)
    np.testing.assert_array_equal(second(latents()), first(latents()))
    for resolution, fading in ((32, False), (12, False), (4, True)):
        with pytest.raises(UserError, match="expected a power of two|grows from 4 to 16"):
            first.grow(resolution, fading)


def test_active_variables_are_those_that_get_gradients():
    network = small_generator(num_classes=2)
    critic = StyleDiscriminator(16, 1, 2, fmap_max=4, fmap_base=64)
    labels = tf.constant([0, 1, 1, 0])
    for resolution, fading in ((4, False), (8, True), (8, False), (16, True), (16, False)):
        for net in (network, critic):
            net.grow(resolution, fading)
            net.alpha.assign(0.5)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(critic([network([latents(4), labels]), labels]))
        variables = network.trainable_variables + critic.trainable_variables
        gradients = tape.gradient(loss, [v.value for v in variables])
        reached = {id(v) for v, g in zip(variables, gradients, strict=True) if g is not None}
        active = network.active_variables() + critic.active_variables()
        assert reached == {id(v) for v in active}


def test_a_conditional_score_is_the_one_of_the_class():
    network = StyleDiscriminator(8, 1, 3, fmap_max=4, fmap_base=64, group_size=0)
    images = tf.random.stateless_uniform([3, 8, 8, 1], [0, 1], -1, 1)
    scores = np.stack([network([images, tf.fill([3], k)])[:, 0] for k in range(3)], axis=1)
    picked = network([images, tf.constant([2, 0, 1])])
    np.testing.assert_allclose(picked[:, 0], scores[[0, 1, 2], [2, 0, 1]], atol=1e-5)
    assert np.abs(scores[:, 0] - scores[:, 1]).max() > 1e-4


def test_class_vectors_are_normalised_together_with_z():
    mapping = Mapping(4, 4, 2, 0, 4, 0.01, True, parts.SeededInitializers(0))
    z = latents(3, 4)
    joint = np.concatenate([z, mapping.class_vectors.numpy()[[0, 1, 1]]], axis=1)
    expected = joint / np.sqrt((joint**2).mean(1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(mapping(z, tf.constant([0, 1, 1])), expected, atol=1e-5)


def test_mapping_starts_as_a_plain_network_and_learns_a_hundredth_as_fast():
    mapping = Mapping(64, 64, 0, 1, 64, 0.01, True, parts.SeededInitializers(0))
    dense = mapping.dense0
    assert float(np.std(dense.kernel)) == pytest.approx(100, rel=0.05)
    effective = dense.scaled_kernel().numpy()
    assert effective.std() == pytest.approx(np.sqrt(2 / 64), rel=0.05)
    dense.kernel.assign_add(tf.ones_like(dense.kernel))
    step = dense.scaled_kernel().numpy() - effective
    np.testing.assert_allclose(step, 0.01 * np.sqrt(2 / 64), rtol=1e-2)


def test_names_go_there_and_back():
    g, d = small_generator(const_input=False), StyleDiscriminator(16, 1, fmap_max=4, fmap_base=64)
    tables = names.generator_names(g, True) | names.discriminator_names(d)
    assert len(tables) == len(g.trainable_variables) + len(d.trainable_variables) + 6 + 1
    for weight in tables.values():
        value = np.random.default_rng(0).normal(size=names.official_shape(weight))
        np.testing.assert_array_equal(
            names.to_official(weight, names.to_ours(weight, value)), value
        )
    with pytest.raises(ValueError, match="expected"):
        names.to_ours(tables["4x4/Dense0/weight"], np.zeros((4, 4)))


BAD = [
    (lambda: StyleGenerator(12), "data.resolution: 12.*power of two"),
    (lambda: StyleGenerator(8, use_styles=False), "const_input=True"),
    (
        lambda: StyleGenerator(8, latent_dim=4, w_dim=6, mapping_layers=0),
        "system.w_dim: 6.*gives 4",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_says_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()
