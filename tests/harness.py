"""What the tests of systems share: tiny systems, batches of noise, the checks each one passes."""

import numpy as np
import tensorflow as tf

import ganpipe

SMALL = {
    "gan": {"hidden": 16, "maxout_units": 8, "maxout_pieces": 2, "g_irange": 0.3, "d_irange": 0.3},
    "cgan": {
        "num_classes": 3,
        "z_units": 8,
        "y_units": 8,
        "joint_units": 16,
        "maxout_x": 8,
        "maxout_y": 4,
        "maxout_joint": 8,
        "g_irange": 0.3,
        "d_irange": 0.3,
    },
    "dcgan": {"nf": 4},
    "defense_gan": {"dim": 4},  # at resolution 28 only
    "sngan": {"body": "cnn", "nf": 4},
    "egan": {"nf": 4},
    "multi_discriminator": {"nf": 4, "discriminators": 2},
    "fgan": {"nf": 4},
    "lsgan": {"nf": 4},
    "wgan": {"nf": 4},
    "wgan_gp": {"dim": 4},
    "progan": {"fmap_base": 64, "fmap_max": 4, "group_size": 2},
    "stylegan": {"fmap_base": 64, "fmap_max": 4, "group_size": 2, "w_dim": 6},
    "stylegan2": {"channel_base": 32, "channel_max": 4, "group_size": 2, "w_dim": 6},
    "stylegan2_grown": {"channel_base": 32, "channel_max": 4, "group_size": 2, "w_dim": 6},
}


def small(name, resolution=8, channels=1, compile_arguments=None, **arguments):
    """A system of a few thousand weights, compiled."""
    arguments = SMALL[name] | {"latent_dim": 6} | arguments
    system = ganpipe.create(name, resolution=resolution, channels=channels, **arguments)
    system.compile(**(compile_arguments or {}))
    return system


def noise(system, batch=8, count=4, seed=0):
    """A data set of uniform noise with labels, static shapes, repeating."""
    rng = np.random.default_rng(seed)
    shape = (batch * count, *system.image_shape)
    images = rng.uniform(-1, 1, shape).astype(np.float32)
    labels = rng.integers(0, max(system.num_classes, 1), batch * count).astype(np.int32)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat()
    return data.batch(batch, drop_remainder=True)


def count(network):
    """Number of trainable parameters."""
    return sum(int(np.prod(v.shape)) for v in network.trainable_variables)


def values(system):
    """Every variable of the checkpoint tree as arrays, by a readable name."""
    parts = {
        "generator": system.generator.variables,
        "generator_ema": system.generator_ema.variables,
        "discriminator": system.discriminator.variables,
        "g_optimizer": system.g_optimizer.variables,
        "d_optimizer": system.d_optimizer.variables,
        "step": [system.step],
    }
    return {f"{k}/{i}": v.numpy() for k, vs in parts.items() for i, v in enumerate(vs)}


def assert_equal(a, b):
    """Two `values` are equal bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
