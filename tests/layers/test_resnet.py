import keras
import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import resnet
from ganpipe.layers.initializers import SeededInitializers
from ganpipe.layers.resample_conv import ResampledConv2D
from tests import harness

# resolution, classes, G, C: wgan.md section 3.
COUNTS = [
    (64, 0, 8_540_483, 7_491_841),
    (32, 0, 1_204_483, 1_053_825),
    (32, 10, 1_218_307, 1_055_115),
]


@pytest.mark.parametrize(("resolution", "classes", "g", "c"), COUNTS)
def test_wgan_gp_bodies_have_the_official_counts(resolution, classes, g, c):
    generator = resnet.wgan_gp_resnet_generator(resolution, num_classes=classes)
    critic = resnet.wgan_gp_resnet_critic(resolution, num_classes=classes)
    assert (harness.count(generator), harness.count(critic)) == (g, c)


@pytest.mark.parametrize(
    ("resolution", "classes", "precision"), [(32, 3, "float32"), (64, 0, "mixed_bfloat16")]
)
def test_wgan_gp_bodies_take_and_give_what_they_say(resolution, classes, precision):
    arguments = {"dim": 4, "num_classes": classes, "channels": 1, "precision": precision}
    generator = resnet.wgan_gp_resnet_generator(resolution, latent_dim=5, **arguments)
    critic = resnet.wgan_gp_resnet_critic(resolution, **arguments)
    z = tf.random.stateless_normal([3, 5], [0, 1])
    labels = tf.constant([0, 1, 2])
    with tf.GradientTape() as tape:
        images = generator([z, labels] if classes else z, training=True)
        outputs = critic(images, training=True)
        outputs = outputs if classes else [outputs]
        loss = sum(tf.reduce_sum(tf.sin(o)) for o in outputs)
    assert images.shape == (3, resolution, resolution, 1)
    assert [o.shape for o in outputs] == [(3, 1), (3, 3)][: len(outputs)]
    assert all(t.dtype == tf.float32 for t in [images, *outputs])
    variables = generator.trainable_variables + critic.trainable_variables
    for gradient, variable in zip(tape.gradient(loss, variables), variables, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all()


def test_wgan_gp_bodies_refuse_other_sizes():
    with pytest.raises(UserError, match="data.resolution: 48.*32 and 64"):
        resnet.wgan_gp_resnet_critic(48)


def test_blocks_put_resampling_where_the_codes_put_it():
    """Up: before the first convolution; down: after the second; the first block keeps raw x."""
    for resample, first, expected in (
        ("up", False, [("first", "up", 6), ("second", "", 6), ("shortcut", "up", 6)]),
        ("down", False, [("first", "", 4), ("second", "down", 6), ("shortcut", "down", 6)]),
        ("down", True, [("first", "", 6), ("second", "down", 6), ("shortcut", "down", 6)]),
    ):
        calls = []

        def conv(x, width, size, gain, resample="", place="", calls=calls):
            calls.append((place, resample, width))
            return ResampledConv2D(width, size, resample)(x)

        x = keras.Input((8, 8, 4))
        y = resnet.block(x, 6, conv, resample=resample, first=first)
        side = {"up": 16, "down": 4}[resample]
        assert y.shape == (None, side, side, 6)
        assert calls == expected


def test_plain_block_of_zero_weights_is_the_identity():
    x = keras.Input((4, 4, 3))

    def conv(x, width, size, **unused):
        return ResampledConv2D(width, size, kernel_initializer="zeros")(x)

    values = tf.random.stateless_normal([2, 4, 4, 3], [0, 1])
    model = keras.Model(x, resnet.block(x, 3, conv))
    np.testing.assert_array_equal(model(values), values)


def test_gains_are_the_papers_standard_deviations():
    init = SeededInitializers(0)
    shape = (3, 3, 64, 128)
    fan_in, fan_out = 9 * 64, 9 * 128
    for initializer, expected in (
        (init.glorot_uniform(), np.sqrt(2 / (fan_in + fan_out))),
        (init.glorot_uniform(resnet.HE), np.sqrt(4 / (fan_in + fan_out))),
        (init.he_uniform(), np.sqrt(2 / fan_in)),
    ):
        values = np.asarray(initializer(shape))
        np.testing.assert_allclose(values.std(), expected, rtol=0.02)
        np.testing.assert_allclose(np.abs(values).max(), np.sqrt(3) * expected, rtol=0.02)
