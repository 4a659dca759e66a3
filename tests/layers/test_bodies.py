"""Bodies of dcgan, improved_wgan and the MLPs: parameter counts of the sheets, options, shapes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_dcgan, bodies_improved_wgan, bodies_mlp, dropout
from ganpipe.layers.batch_norm import BatchNorm
from tests import harness

F32 = "float32"


def dcgan_pair(nf, kernel_size, norm="batch", g_options=None, d_options=None, resolution=64):
    g = bodies_dcgan.build_generator(
        resolution, 3, 0, 100, nf, kernel_size, norm, 0, F32, "g", **(g_options or {})
    )
    d = bodies_dcgan.build_discriminator(
        resolution, 3, 0, nf, kernel_size, norm, 1, F32, **(d_options or {})
    )
    return harness.count(g), harness.count(d)


# dcgan.md section 4; wgan.md section 1.
DCGAN_COUNTS = [
    (64, 4, False, 3_576_704, 2_765_568),
    (128, 4, False, 12_658_432, 11_036_160),
    (128, 5, False, 18_855_040, 17_232_768),
    (128, 5, True, 18_885_760, 17_232_768),
    (64, 5, True, 5_142_080, 4_315_584),
]


@pytest.mark.parametrize(("nf", "kernel_size", "per_unit", "g", "d"), DCGAN_COUNTS)
def test_dcgan_counts(nf, kernel_size, per_unit, g, d):
    options = {"per_unit_first_norm": per_unit}
    assert dcgan_pair(nf, kernel_size, g_options=options) == (g, d)


def test_dcgan_generator_without_batch_norm_has_the_wgan_count():
    assert dcgan_pair(64, 4, norm="none")[0] == 3_574_784


def test_extra_layers_are_3x3_convolutions_with_norm_at_the_largest_map():
    options = {"n_extra_layers": 2}
    plain = dcgan_pair(8, 4, resolution=16)
    extra = dcgan_pair(8, 4, "batch", options, options, resolution=16)
    layer = 9 * 8 * 8 + 2 * 8
    assert np.subtract(extra, plain).tolist() == [2 * layer, 2 * layer]


def kinds(network):
    return [type(layer).__name__ for layer in network._flatten_layers()]


@pytest.mark.parametrize(
    ("norm", "kind", "count"),
    [("batch", "BatchNorm", 2), ("layer", "LayerNorm2D", 2), ("spectral", "SNConv2D", 3)],
)
def test_discriminator_norms(norm, kind, count):
    d = bodies_dcgan.build_discriminator(32, 1, 0, 4, 4, norm, 0, F32)
    assert kinds(d).count(kind) == count
    assert ("BatchNorm" in kinds(d)) == (norm == "batch")
    assert d(tf.zeros([2, 32, 32, 1])).shape == (2, 1)


def test_dropout_behind_every_activation_draws_from_the_step():
    d = bodies_dcgan.build_discriminator(16, 1, 0, 4, 4, "none", 0, F32, dropout=0.5)
    assert kinds(d).count("StepDropout") == 2
    x = tf.random.stateless_normal([4, 16, 16, 1], [0, 0])
    np.testing.assert_array_equal(d(x, training=True), d(x))
    with dropout.step_seed(tf.constant([0, 1], tf.int64)):
        first, second = d(x, training=True), d(x, training=True)
    assert np.abs(first - d(x)).max() > 0
    assert np.abs(first - second).max() > 0


@pytest.mark.parametrize(
    ("dim", "g", "c"), [(128, 5_179_907, 4_114_689), (64, 1_565_955, 1_033_345)]
)
def test_counts_of_gan_cifar(dim, g, c):
    generator = bodies_improved_wgan.build_cifar_generator(32, 3, 128, dim, 0)
    critic = bodies_improved_wgan.build_cifar_critic(32, 3, dim, 1)
    assert (harness.count(generator), harness.count(critic)) == (g, c)
    assert "BatchNorm" not in kinds(critic)
    # The first norm has a gain a unit of the 4x4 map.
    first = next(layer for layer in generator.layers if isinstance(layer, BatchNorm))
    assert first.gamma.shape == (64 * dim,)


def test_counts_and_maps_of_gan_mnist():
    generator = bodies_improved_wgan.build_mnist_generator()
    critic = bodies_improved_wgan.build_mnist_critic()
    assert (harness.count(generator), harness.count(critic)) == (1_554_177, 1_030_145)
    assert "BatchNorm" not in kinds(generator) + kinds(critic)
    images = generator(50.0 * tf.random.stateless_normal([3, 128], [0, 0]))
    assert images.shape == (3, 28, 28, 1)
    assert 0.5 < float(tf.reduce_max(tf.abs(images))) <= 1.0
    maps = [layer.output.shape[1] for layer in critic.layers if "conv" in layer.name]
    assert maps == [14, 7, 4]


def test_improved_wgan_weights_have_the_codes_spread():
    critic = bodies_improved_wgan.build_cifar_critic(32, 3, 64, 1)
    generator = bodies_improved_wgan.build_cifar_generator(32, 3, 128, 64, 0)
    conv = next(v for v in critic.trainable_variables if v.shape == (5, 5, 64, 128)).numpy()
    up = next(v for v in generator.trainable_variables if v.shape == (5, 5, 128, 256)).numpy()
    dense = next(v for v in generator.trainable_variables if v.shape == (128, 4096)).numpy()
    expected = {
        "conv": 4 / (25 * 64 + 25 * 128 / 4),
        "up": 4 / (25 * 256 / 4 + 25 * 128),
        "dense": 2 / (128 + 4096),
    }
    for (name, variance), value in zip(expected.items(), (conv, up, dense), strict=True):
        assert value.var() == pytest.approx(variance, rel=0.02), name
        assert np.abs(value).max() == pytest.approx(np.sqrt(3 * variance), rel=0.01), name


def test_counts_of_the_mlps():
    wgan = (
        bodies_mlp.build_wgan_generator(64, 3, 100, 512, 0),
        bodies_mlp.build_wgan_critic(64, 3, 512, 1),
    )
    assert [harness.count(n) for n in wgan] == [6_880_768, 6_817_793]
    # egan.md section 1: batch norm on D's second layer when there is no penalty.
    points = (
        bodies_mlp.build_points_generator(),
        bodies_mlp.build_points_discriminator(norm="batch"),
        bodies_mlp.build_points_discriminator(),
    )
    assert [harness.count(n) for n in points] == [527_874, 527_873, 527_361]
    fgan = (
        bodies_mlp.build_fgan_generator(28, 1, 100, 1200, 0),
        bodies_mlp.build_fgan_critic(28, 1, 240, 1),
    )
    g = 100 * 1200 + 1200 * 1200 + 1200 * 784 + 2 * 1200 + 784 + 4 * 1200
    assert [harness.count(n) for n in fgan] == [g, 784 * 240 + 240 * 240 + 240 + 2 * 240 + 1]


@pytest.mark.parametrize("norm", bodies_mlp.POINTS_NORMS)
def test_points_in_and_out(norm):
    g = bodies_mlp.build_points_generator(3, 2, 8)
    d = bodies_mlp.build_points_discriminator(3, 8, norm=norm)
    points = g(tf.random.stateless_normal([5, 2], [0, 0]))
    assert points.shape == (5, 1, 1, 3)
    assert d(points, training=True).shape == (5, 1)


def test_points_start_as_asked():
    g = bodies_mlp.build_points_generator(stddev=0.02)
    assert g.trainable_variables[2].numpy().std() == pytest.approx(0.02, rel=0.02)
    g = bodies_mlp.build_points_generator()
    assert g.trainable_variables[2].numpy().var() == pytest.approx(2 / 512, rel=0.02)


def networks():
    yield bodies_dcgan.build_generator(16, 1, 0, 6, 4, 4, "batch", 0, F32, "g"), (6,)
    yield bodies_dcgan.build_discriminator(16, 1, 0, 4, 4, "layer", 0, F32), (16, 16, 1)
    yield bodies_improved_wgan.build_cifar_generator(16, 1, 6, 4, 0), (6,)
    yield bodies_improved_wgan.build_cifar_critic(16, 1, 4, 0), (16, 16, 1)
    yield bodies_improved_wgan.build_mnist_generator(2, 6), (6,)
    yield bodies_improved_wgan.build_mnist_critic(2), (28, 28, 1)
    yield bodies_mlp.build_points_generator(2, 2, 8), (2,)
    yield bodies_mlp.build_points_discriminator(2, 8), (1, 1, 2)
    yield bodies_mlp.build_wgan_generator(8, 1, 6, 8, 0), (6,)
    yield bodies_mlp.build_wgan_critic(8, 1, 8, 0), (8, 8, 1)
    yield bodies_mlp.build_fgan_generator(8, 1, 6, 8, 0), (6,)
    yield bodies_mlp.build_fgan_critic(8, 1, 8, 0), (8, 8, 1)


def test_every_weight_gets_a_gradient():
    for network, shape in networks():
        x = tf.random.stateless_normal([4, *shape], [0, 1])
        with tf.GradientTape() as tape:
            y = network(x, training=True)
            loss = tf.reduce_sum(y * tf.random.stateless_normal(y.shape, [0, 2]))
        gradients = tape.gradient(loss, network.trainable_variables)
        for variable, gradient in zip(network.trainable_variables, gradients, strict=True):
            assert gradient is not None, variable.path
            assert float(tf.norm(gradient)) > 0, variable.path


def test_mixed_precision_gives_float32_out():
    for build, shape in (
        (bodies_improved_wgan.build_cifar_critic(16, 1, 4, 0, "mixed_bfloat16"), (2, 16, 16, 1)),
        (bodies_improved_wgan.build_cifar_generator(16, 1, 6, 4, 0, "mixed_bfloat16"), (2, 6)),
        (bodies_mlp.build_points_generator(2, 6, 8, precision="mixed_bfloat16"), (2, 6)),
        (bodies_mlp.build_wgan_critic(8, 1, 8, 0, "mixed_bfloat16"), (2, 8, 8, 1)),
    ):
        assert build(tf.zeros(shape)).dtype == tf.float32
        assert all(v.dtype == "float32" for v in build.trainable_variables)
        policies = {layer.compute_dtype for layer in build.layers if layer.weights}
        assert "bfloat16" in policies
    assert keras.config.floatx() == "float32"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bodies_dcgan.check(48, 4, 4, "x"), "data.resolution: 48; x doubles"),
        (lambda: bodies_dcgan.check(32, 0, 4, "x"), "nf=0"),
        (lambda: bodies_dcgan.check_dropout(1.0), "system.d_dropout: 1.0"),
        (
            lambda: bodies_dcgan.check_norm("system.norm", "layer", bodies_dcgan.G_NORMS),
            "system.norm: 'layer'; expected 'batch' or 'none'",
        ),
    ],
)
def test_checks_say_what_to_change(call, message):
    with pytest.raises(UserError, match=message):
        call()
