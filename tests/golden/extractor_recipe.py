"""Seeded weights and images of the extractors' golden files, from names and shapes alone."""

import zlib

import numpy as np


def weight(name, shape, seed=0):
    """One entry of a state dict in PyTorch's layout, float32; step counters are int64 zero.

    Convolutions and matrices have gain sqrt(2 / fan-in), as in the workspace's LPIPS recipe, and
    biases 0.05; normalisations stay near the identity with positive variances.
    """
    part = name.rpartition(".")[2]
    if part == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    draw = np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32).standard_normal(shape)
    if part == "running_var":
        draw = 0.5 + np.abs(draw)
    elif part == "running_mean":
        draw = 0.1 * draw
    elif part == "bias":
        draw = 0.05 * draw
    elif len(shape) == 1:
        draw = 1.0 + 0.1 * draw
    else:
        draw = draw * np.sqrt(2.0 / np.prod(shape[1:]))
    return draw.astype(np.float32)


def state(shapes, seed=0):
    """{name: shape} -> {name: array}."""
    return {name: weight(name, tuple(shape), seed) for name, shape in shapes.items()}


def images(size, count=2, seed=0):
    """(count, size, size, 3) uint8: coarse blocks under noise, so that every frequency is there."""
    rng = np.random.RandomState(1000 * size + seed)
    blocks = -(-size // 8)
    coarse = np.kron(rng.randint(0, 160, (count, blocks, blocks, 3)), np.ones((1, 8, 8, 1), int))
    return (coarse[:, :size, :size] + rng.randint(0, 96, (count, size, size, 3))).astype(np.uint8)
