"""Tiny systems that the tests of latent tools share."""

import numpy as np

import ganpipe
from ganpipe.latent.space import Space
from tests import harness

STYLES = {
    "latent_dim": 6,
    "w_dim": 6,
    "mapping_layers": 2,
    "channel_base": 128,
    "channel_max": 8,
    "num_bf16_res": 0,
}


def styled(num_classes=0, resolution=8, channels=3, seed=1):
    """A StyleGAN2 whose noise and average of w are not 0."""
    system = ganpipe.create(
        "stylegan2",
        resolution=resolution,
        channels=channels,
        num_classes=num_classes,
        seed=seed,
        **STYLES,
    )
    rng = np.random.default_rng(0)
    for variable in system.generator_ema.variables:
        if variable.name in ("w_average", "noise_strength"):
            variable.assign(rng.normal(0, 0.3, variable.shape).astype(np.float32))
    return system


def plain(name="dcgan", **arguments):
    """A z system of the harness whose pictures are not all grey, as those of first weights are."""
    system = harness.small(name, **arguments)
    for variable in system.generator_ema.trainable_weights or system.generator_ema.weights:
        if len(variable.shape) >= 2:
            value = variable.numpy()
            fan_in = value.size / max(value.shape[-1], 1)
            variable.assign(value / max(value.std(), 1e-6) * 2.0 / fan_in**0.5)
    assert system.points or system.sample(4).std() > 20
    return system


def space(system, name=None, **arguments):
    """A space with small batches."""
    return Space(system, name, batch_size=arguments.pop("batch_size", 4), **arguments)
