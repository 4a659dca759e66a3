"""Initialisers that count: every weight of a network draws from its own numbered stream."""

import keras
import numpy as np


class SeededInitializers:
    """Hands out initialisers with reproducible, distinct seeds: no global random state.

    Args:
      seed: seed of the network. Two networks of one system take different seeds.
    """

    def __init__(self, seed: int):
        self._seeds = np.random.SeedSequence(seed)

    def _next(self) -> int:
        return int(self._seeds.spawn(1)[0].generate_state(1, np.uint32)[0] & 0x7FFFFFFF)

    def normal(self, stddev: float, mean: float = 0.0) -> keras.initializers.Initializer:
        """N(mean, stddev^2)."""
        return keras.initializers.RandomNormal(mean, stddev, seed=self._next())

    def uniform(self, limit: float) -> keras.initializers.Initializer:
        """U(-limit, limit)."""
        return keras.initializers.RandomUniform(-limit, limit, seed=self._next())

    def glorot_uniform(self, gain: float = 1.0) -> keras.initializers.Initializer:
        """U(-l, l), l = gain sqrt(6 / (fan in + fan out)): standard deviation gain sqrt(2 / ...).

        Gain sqrt(2) is what WGAN-GP's code calls "he" (1704.00028, appendix C) and what SN-GAN's
        takes for the convolutions on the residual path.
        """
        return keras.initializers.VarianceScaling(
            gain * gain, "fan_avg", "uniform", seed=self._next()
        )

    def he_uniform(self) -> keras.initializers.Initializer:
        """U(-l, l), l = sqrt(6 / fan in): standard deviation sqrt(2 / fan in)."""
        return keras.initializers.VarianceScaling(2.0, "fan_in", "uniform", seed=self._next())
