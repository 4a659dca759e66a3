"""Inputs and summaries of stylegan2_training.npz: the same where it is made and tested."""

import zlib

import numpy as np

BATCH = 4
SETTINGS = {"r1_gamma": 10.0, "pl_batch_shrink": 2, "pl_decay": 0.01, "pl_weight": 2.0}


def inputs(z_dim: int, c_dim: int, size: int, channels: int) -> dict[str, np.ndarray]:
    """Latents z (B, z_dim), labels (B,), images and the path length's normal direction, NHWC."""
    rng = np.random.default_rng(1)
    shape = (BATCH, size, size, channels)
    squares = rng.uniform(-1, 1, (BATCH, 4, 4, channels)).repeat(size // 4, 1).repeat(size // 4, 2)
    made = {
        "z": rng.standard_normal((BATCH, z_dim)),
        "images": squares + rng.uniform(-0.3, 0.3, shape),
        "direction": rng.standard_normal(shape),
    }
    made = {key: value.astype(np.float32) for key, value in made.items()}
    return made | {"labels": np.arange(BATCH) % max(c_dim, 1)}


def summary(name: str, gradient: np.ndarray) -> np.ndarray:
    """(norm, product with a random direction of the name) of a gradient in official layout."""
    gradient = np.asarray(gradient, np.float64)
    direction = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(gradient.shape)
    return np.array([np.linalg.norm(gradient), np.sum(gradient * direction)])
