"""Systems that grow (ProGAN, StyleGAN): entering a stage, fading, sizes.

A growing system has networks with `grow(resolution, fading)`, the weights `alpha` (share of the
old level in a fade) and `level` (log2 of the resolution), and `resume()`, which takes the stage
from these weights. The functions are methods of `GANSystem`, which lends them its state.
"""

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ganpipe.ops import resample

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem
    from ganpipe.ops.growth import Stage

COMPILED = ("_rows", "_generate", "_logits", "_map", "_styles")


def networks(system: "GANSystem") -> list[Any]:
    """The networks that grow; [] for a system that does not."""
    found = (system.generator, system.generator_ema, system.discriminator)
    return [network for network in found if hasattr(network, "grow")]


def reset_optimizer(optimizer: Any) -> None:
    """Adam as it was before its first update; the learning rate stays."""
    for variable in optimizer.variables:
        if variable is not optimizer._learning_rate:
            variable.assign(tf.zeros_like(variable.value))


def enter(system: "GANSystem", stage: "Stage", fresh: bool) -> None:
    """Makes the networks those of a stage; call it before `fit` of every stage.

    Args:
      stage: of `system.growth`.
      fresh: the stage begins here: both optimisers start anew (1710.10196's code, at either end of
        a fade).
    """
    system.stage = stage
    for network in networks(system):
        network.grow(stage.resolution, stage.fading)
        network.alpha.assign(system.growth.alpha(stage, system.step.value))
    optimizers = (system.g_optimizer, system.d_optimizer)
    for optimizer, rate in zip(optimizers, system.base_rates, strict=True):
        if stage.learning_rate is not None:
            rate = stage.learning_rate
        if networks(system):
            optimizer.learning_rate = rate
            if fresh:
                reset_optimizer(optimizer)
    forget(system)


def forget(system: "GANSystem") -> None:
    """Drops compiled functions, which hold the networks of another stage."""
    for name in COMPILED:
        system.__dict__.pop(name, None)
    system.train_function = None


def resume(system: "GANSystem") -> None:
    """After weights were restored: the networks take their stage from them."""
    for network in networks(system):
        network.resume()
    if networks(system):
        forget(system)


def fade_in(system: "GANSystem") -> tf.Tensor:
    """Sets and returns this step's alpha, float32 scalar; the first line of a train step."""
    alpha = system.growth.alpha(system.stage, system.step.value)
    for network in networks(system):
        network.alpha.assign(alpha)
    return alpha


def data_shape(system: "GANSystem") -> tuple[int, int, int]:
    """(height, width, C) of the images that a train step takes now."""
    height, width, channels = system.image_shape
    stage = getattr(system, "stage", None)
    halvings = height // stage.resolution if stage is not None else 1
    return height // halvings, width // halvings, channels


def title(system: "GANSystem") -> str:
    """The stage that training is in, such as "6x10 fading in"; "" before the first."""
    if getattr(system, "stage", None) is None:
        return ""
    height, width, _ = data_shape(system)
    return f"{height}x{width}" + (" fading in" if system.stage.fading else "")


def full_size(system: "GANSystem", images: tf.Tensor) -> tf.Tensor:
    """(B, h, w, C) of the current stage -> (B, H, W, C), nearest neighbour."""
    while images.shape[1] < system.resolution:
        images = resample.upsample(images)
    return images


def own_size(system: "GANSystem", images: tf.Tensor) -> tf.Tensor:
    """(B, H, W, C) -> (B, h, w, C), the size that D takes at the current stage; means of blocks."""
    size = getattr(system.discriminator, "resolution_now", system.resolution)
    while images.shape[1] > size:
        images = resample.mean_pool(images)
    return images
