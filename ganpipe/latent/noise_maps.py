"""Noise maps under optimisation: kept white, so that they carry no picture (1912.04958, app. D)."""

from collections.abc import Sequence

import tensorflow as tf

SMALLEST = 8


def regularisation(maps: Sequence[tf.Tensor]) -> tf.Tensor:
    """(B,) sum over maps and their pyramids of the squared correlations with a shifted copy.

    Args:
      maps: (B, H, W, 1) each. A map is averaged down by 2 until its side is 8 or less; on each
        level mean(n x n shifted by one row)^2 + mean(n x n shifted by one column)^2, cyclic.
    """
    total = 0.0
    for noise in maps:
        while True:
            for axis in (1, 2):
                shifted = tf.roll(noise, shift=1, axis=axis)
                total += tf.square(tf.reduce_mean(noise * shifted, axis=(1, 2, 3)))
            if noise.shape[1] <= SMALLEST:
                break
            noise = tf.nn.avg_pool2d(noise, 2, 2, "VALID")
    return total


def renormalised(maps: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Each map (B, H, W, 1) with mean 0 and mean square 1 in every row."""
    found = []
    for noise in maps:
        noise = noise - tf.reduce_mean(noise, axis=(1, 2, 3), keepdims=True)
        power = tf.reduce_mean(tf.square(noise), axis=(1, 2, 3), keepdims=True)
        found.append(noise * tf.math.rsqrt(power))
    return found
