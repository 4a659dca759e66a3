"""Inputs of the golden files of `ganpipe import`: the same where they are made and tested."""

import numpy as np


def inputs(z_dim: int, c_dim: int, size: int, channels: int = 3, batch: int = 4) -> dict:
    """Latents z (B, z_dim), labels (B,) and images (2B, size, size, channels), from seed 0.

    Image i of the second half has the label of image i of the first; images are squares of 1/4 of
    the side with a little noise, so that a discriminator sees something.
    """
    rng = np.random.default_rng(0)
    z = rng.standard_normal((batch, z_dim)).astype(np.float32)
    squares = rng.uniform(-1, 1, (2 * batch, 4, 4, channels))
    squares = squares.repeat(size // 4, 1).repeat(size // 4, 2)
    images = squares + rng.uniform(-0.3, 0.3, squares.shape)
    labels = np.arange(batch) % max(c_dim, 1)
    return {"z": z, "labels": labels, "images": images.astype(np.float32)}
