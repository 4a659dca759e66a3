"""StyleGAN2's networks: official counts, official outputs, names both ways, what noise may be."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_stylegan2 as g_bodies
from ganpipe.layers import bodies_stylegan2_discriminator as d_bodies
from ganpipe.layers import bodies_stylegan2_names as names
from ganpipe.layers.bodies_stylegan2 import StyleGenerator
from ganpipe.layers.bodies_stylegan2_discriminator import StyleDiscriminator
from tests import harness

GOLDEN = Path(__file__).parents[1] / "golden" / "stylegan2_networks.npz"
E = {"channel_base": 16384}


class Shapes:
    """Initialisers that cost nothing: only shapes are looked at."""

    def __init__(self, seed):
        self.normal = lambda *unused: "zeros"


@pytest.fixture
def shapes_only(monkeypatch):
    monkeypatch.setattr(g_bodies, "SeededInitializers", Shapes)
    monkeypatch.setattr(d_bodies, "SeededInitializers", Shapes)


# stylegan2.md section 9: resolution, arguments of both, G with 8 and with 2 mapping layers, D.
COUNTS = [
    (32, {}, 21_523_475, 19_947_539, 21_507_073),
    (64, {}, 27_032_600, None, 26_488_833),
    (128, {}, 29_328_669, None, 28_389_121),
    (256, {}, 30_034_338, None, 28_864_129),
    (512, {}, 30_276_583, 28_700_647, 28_982_849),
    (1024, {}, 30_370_060, 28_794_124, 29_012_513),
    (32, E, 21_523_475, 19_947_539, 21_507_073),
    (64, E, 23_819_544, 22_243_608, 23_407_361),
    (128, E, None, 22_949_277, 23_882_369),
    (256, E, 24_767_458, 23_191_522, 24_001_089),
    (1024, E, 24_900_764, None, 24_038_161),
]


@pytest.mark.parametrize(("resolution", "width", "g8", "g2", "d"), COUNTS)
def test_counts_of_the_published_configs(shapes_only, resolution, width, g8, g2, d):
    for layers, expected in ((8, g8), (2, g2)):
        if expected is not None:
            network = StyleGenerator(resolution, mapping_layers=layers, **width)
            assert harness.count(network) == expected
            del network
    assert harness.count(StyleDiscriminator(resolution, **width)) == d


ARCHITECTURES = {"orig": 23_596_292, "skip": 24_900_764, "resnet": 24_557_316}
D_ARCHITECTURES = {"orig": 23_077_137, "skip": 23_087_249, "resnet": 24_038_161}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_counts_of_every_architecture_at_1024(shapes_only, name):
    network = StyleGenerator(1024, architecture=name, **E)
    assert harness.count(network) == ARCHITECTURES[name]
    del network
    assert harness.count(StyleDiscriminator(1024, architecture=name, **E)) == D_ARCHITECTURES[name]


def test_counts_of_cifar(shapes_only):
    for classes, g, d in ((0, 19_947_539, 20_720_641), (10, 20_215_315, 23_089_664)):
        network = StyleGenerator(32, num_classes=classes, mapping_layers=2)
        assert harness.count(network) == g
        network = StyleDiscriminator(32, num_classes=classes, architecture="orig")
        assert harness.count(network) == d


def test_layers_of_the_styles(shapes_only):
    for resolution, num_ws in ((32, 8), (64, 10), (256, 14), (1024, 18)):
        network = StyleGenerator(resolution, channel_base=resolution, channel_max=2, w_dim=2)
        assert network.num_ws == num_ws
        assert len(network.noise_consts()) == num_ws - 1


# --- The official networks -------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {k: file[k] for k in file.files}


def meta(golden):
    return json.loads(str(golden["meta"]))


def official(golden, case):
    prefix = f"{case}/weights/"
    return {k[len(prefix) :]: v for k, v in golden.items() if k.startswith(prefix)}


def relative(got, expected):
    return np.abs(got - expected).max() / np.abs(expected).max()


def generator(golden, case, **arguments):
    kind = meta(golden)
    network = StyleGenerator(**kind["sizes"], **kind["latents"], **kind["cases"][case], **arguments)
    names.load(network, official(golden, case))
    return network


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("case", ["g_skip", "g_skip_labels", "g_resnet", "g_orig_labels"])
def test_generators_reproduce_the_official_images(golden, case, fused):
    network = generator(golden, case, fused=fused)
    labels = tf.constant(golden["labels"][:4]) if "labels" in case else None
    ws = network.mapping(tf.constant(golden["z"][:4]), labels)
    for psi, cutoff in ((1.0, None), (0.7, None), (0.5, 2)):
        images = network.synthesis(network.truncate(ws, tf.fill([4], psi), cutoff), "const")
        expected = golden[f"{case}/images/{psi}"].transpose(0, 2, 3, 1)
        assert relative(images.numpy(), expected) < 1e-5
    expected = golden[f"{case}/images/none"].transpose(0, 2, 3, 1)
    assert relative(network.synthesis(ws, None).numpy(), expected) < 1e-5
    assert relative(golden[f"{case}/images/1.0"], golden[f"{case}/images/none"]) > 0.05


@pytest.mark.parametrize("case", ["d_resnet", "d_resnet_labels", "d_skip", "d_orig_labels"])
def test_discriminators_reproduce_the_official_logits(golden, case):
    kind = meta(golden)
    network = StyleDiscriminator(**kind["sizes"], **kind["cases"][case])
    names.load(network, official(golden, case))
    images = tf.constant(golden["images"].transpose(0, 2, 3, 1))
    labels = tf.constant(golden["labels"])
    expected = golden[f"{case}/logits"]
    inputs = [images, labels] if "labels" in case else images
    assert relative(network(inputs).numpy(), expected) < 1e-5
    # Two batches in one call: neither's minibatch statistics see the other.
    two = tf.concat([images, 0.1 * images], axis=0)
    inputs = [two, tf.concat([labels, labels], axis=0)] if "labels" in case else two
    assert relative(network(inputs, parts=2)[:8].numpy(), expected) < 1e-5
    assert relative(network(inputs)[:8].numpy(), expected) > 1e-3


def test_names_go_both_ways(golden):
    for case in ("g_resnet", "g_skip_labels"):
        weights = official(golden, case)
        dumped = names.dump(generator(golden, case))
        assert dumped.keys() == weights.keys()
        for name, value in weights.items():
            np.testing.assert_array_equal(dumped[name], value, err_msg=name)


def test_the_flattened_map_is_permuted():
    value = np.arange(3 * 2 * 16).reshape(3, 32).astype(np.float32)  # out 3, C 2
    ours = names.to_ours(value, "flat_dense")
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    expected = value @ x.transpose(0, 3, 1, 2).reshape(-1)
    np.testing.assert_allclose(x.reshape(-1) @ ours, expected, rtol=1e-5)
    np.testing.assert_array_equal(names.to_official(ours, "flat_dense"), value)


def test_weights_that_do_not_fit_are_refused(golden):
    network, weights = generator(golden, "g_skip"), official(golden, "g_skip")
    before = names.dump(network)
    for change, message in (
        ({"synthesis.b8.conv0.weight": np.zeros((12, 12, 3, 1))}, r"b8.conv0.weight.*\(12, 12, 3"),
        ({"synthesis.b99.conv0.weight": np.zeros(3)}, "unknown .*b99"),
    ):
        with pytest.raises(UserError, match=message):
            names.load(network, {k: v + 1 for k, v in weights.items()} | change)
    with pytest.raises(UserError, match="missing .*mapping.w_avg"):
        names.load(network, {k: v for k, v in weights.items() if k != "mapping.w_avg"})
    after = names.dump(network)
    assert all(np.array_equal(before[k], after[k]) for k in before)  # all or nothing


# --- Behaviour ---------------------------------------------------------------------------------

NARROW = {"resolution": 16, "channel_base": 128, "channel_max": 8, "latent_dim": 6, "w_dim": 6}


def narrow(strength=0.5, **arguments):
    network = StyleGenerator(**NARROW, mapping_layers=2, **arguments)
    for layer in network.noise_layers():
        layer.noise_strength.assign(strength)
    return network


def latents(count=3, seed=0):
    return tf.random.stateless_normal([count, 6], [seed, 1])


def test_forms_of_noise():
    network = narrow()
    ws = network.mapping(latents())
    const = network.synthesis(ws, "const")
    maps = [tf.convert_to_tensor(n)[None, :, :, None] for n in network.noise_consts()]
    np.testing.assert_array_equal(network.synthesis(ws, maps), const)
    seeded = [network.synthesis(ws, tf.constant(seed)) for seed in ([1, 2], [1, 2], [1, 3])]
    np.testing.assert_array_equal(seeded[0], seeded[1])
    assert np.abs(seeded[0] - seeded[2]).max() > 1e-2
    rows = network.synthesis(ws, ("rows", tf.constant([5, 6, 7], tf.int64)))
    alone = network.synthesis(ws[1:2], ("rows", tf.constant([6], tf.int64)))
    np.testing.assert_allclose(rows[1:2], alone, atol=1e-5)
    assert np.abs(rows - const).max() > 1e-2
    with pytest.raises(ValueError, match="expected 5"):
        network.synthesis(ws, maps[1:])


def test_mixing_takes_other_styles_from_the_cutoff_on():
    network = narrow()
    z, others = latents(), latents(seed=1)
    ws, mean = network.mixed_mapping(z, others, None, tf.constant(2))
    own, other = network.mapping(z), network.mapping(others)
    np.testing.assert_allclose(ws[:, :2], own[:, :2], atol=1e-6)
    np.testing.assert_allclose(ws[:, 2:], other[:, 2:], atol=1e-6)
    np.testing.assert_allclose(mean, tf.reduce_mean(own[:, 0], axis=0), atol=1e-6)


def test_cutoffs_are_uniform_and_as_frequent_as_asked():
    keys = tf.stack([tf.range(2000), tf.range(2000)], axis=1)
    draw = tf.function(lambda keys: tf.map_fn(lambda k: g_bodies.mixing_cutoff(k, 0.9, 6), keys))
    cutoffs = draw(keys).numpy()
    counts = np.bincount(cutoffs, minlength=7) / 2000
    assert counts[0] == 0
    np.testing.assert_allclose(counts[1:6], 0.18, atol=0.04)
    np.testing.assert_allclose(counts[6], 0.1, atol=0.03)


def test_the_average_of_w_moves_in_training_only():
    network, z = narrow(), latents(64)
    ws = network.mapping(z)
    np.testing.assert_array_equal(network.w_average, 0.0)
    network.mapping(z, training=True)
    mean = ws.numpy()[:, 0].mean(0)
    np.testing.assert_allclose(network.w_average, 0.005 * mean, rtol=1e-4, atol=1e-8)


def test_bfloat16_is_for_the_highest_resolutions():
    assert g_bodies.bf16_resolutions(256, 4) == [32, 64, 128, 256]
    assert g_bodies.bf16_resolutions(16, 4) == [8, 16]
    assert g_bodies.bf16_resolutions(16, 0) == []
    z = latents()
    exact = narrow()(z)
    half = narrow(num_bf16_res=4, conv_clamp=256.0)(z)
    assert half.dtype == tf.float32
    gap = np.abs(exact - half).max() / np.abs(exact).max()
    assert 1e-5 < gap < 0.05


def test_convolutions_are_clamped():
    network = narrow(conv_clamp=0.5)
    image = network(latents())
    assert np.abs(image).max() <= 0.5 * 3 * 1.0001  # three resolutions add up


def test_freeze_d_counts_from_the_image():
    network = StyleDiscriminator(16, channel_base=128, channel_max=8, freeze=5)
    trained = {id(v) for v in network.trainable_variables}
    frozen = [
        name for name, (v, _) in names.official_names(network).items() if id(v) not in trained
    ]
    parts = ["b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0"]
    assert sorted({name.rpartition(".")[0] for name in frozen}) == sorted(parts)
    with pytest.raises(UserError, match="at most 7"):
        StyleDiscriminator(16, channel_base=128, channel_max=8, freeze=8)


@pytest.mark.parametrize("conditioning", g_bodies.CONDITIONINGS)
def test_labels_matter_in_every_conditioning(conditioning):
    arguments = {"num_classes": 3, "conditioning": conditioning}
    network = narrow(**arguments)
    z = tf.tile(latents(1), [2, 1])
    ws = network.mapping(z, tf.constant([0, 2]))
    assert np.abs(ws[0] - ws[1]).max() > 1e-3
    critic = StyleDiscriminator(16, channel_base=128, channel_max=8, **arguments)
    logits = critic([tf.zeros([2, 16, 16, 3]), tf.constant([0, 2])])
    assert logits.shape == (2, 1)
    layers = len(critic.mapper.dense) if critic.mapper is not None else None
    assert layers == {"ada": 8, "ada_tf": 0, "stylegan2": None}[conditioning]
    assert critic.b4.out.kernel.shape[1] == (3 if conditioning == "stylegan2" else 8)
