"""A generator as the latent metrics see it: from z, or from w, to float images without rounding.

`ganpipe.metrics` knows no models; who calls it hands over a `LatentModel`. `of_system` makes one of
a `ganpipe.models` system, whose noise inputs stay fixed ("const") and whose weights are averaged.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# Latents of these distributions have no preferred length: between two of them lies a straight line.
STRAIGHT = ("uniform", "unit_variance_uniform", "unit_cube")


@dataclass(frozen=True)
class LatentModel:
    """A generator and its latents.

    Attributes:
      z_dim: length of z.
      num_classes: 0: takes no labels.
      distribution: name of that of z, for the passport.
      draw: (n,) int64 seeds -> (n, z_dim) float32, row by row.
      generate: (z (B, z_dim), labels (B,) or None) -> (B, H, W, C) float32 in [-1, 1], not rounded.
      map_latents: (z, labels) -> w (B, L, w_dim) float32; None without a mapping network.
      synthesize: w -> images as `generate`; None likewise.
    """

    z_dim: int
    num_classes: int
    distribution: str
    draw: Callable[[np.ndarray], np.ndarray]
    generate: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    map_latents: Callable[[np.ndarray, np.ndarray | None], np.ndarray] | None = None
    synthesize: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def styles(self) -> bool:
        """Whether there is a space w."""
        return self.map_latents is not None

    @property
    def spaces(self) -> tuple[str, ...]:
        """Latent spaces: z, and w where styles are mapped."""
        return ("z", "w") if self.styles else ("z",)

    @property
    def interpolation(self) -> str:
        """How two z are joined: key of `path_length.INTERPOLATIONS`.

        A mapping network normalises z, so only directions count there; elsewhere lengths are kept.
        """
        if self.styles:
            return "slerp"
        return "lerp" if self.distribution in STRAIGHT else "slerp_any"

    def labels(self, index: np.ndarray) -> np.ndarray | None:
        """(B,) classes of numbered rows, all equally often; None without classes."""
        return index % self.num_classes if self.num_classes else None


def of_system(system: Any) -> LatentModel | None:
    """The latents of a system of `ganpipe.models`; None of what has none (a stub, a plain sampler).

    Its averaged generator is used, truncation 1, noise inputs at their constants.
    """
    if not hasattr(system, "latent_dim") or getattr(system, "points", False):
        return None
    from ganpipe.ops import random

    def draw(seeds: np.ndarray) -> np.ndarray:
        return random.row_latents(seeds, system.latent_dim, system.latent_distribution).numpy()

    def generate(z: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return system.generate(z, labels, noise="const").numpy()

    def map_latents(z: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        return system.map_latents(z, labels).numpy()

    def synthesize(w: np.ndarray) -> np.ndarray:
        return system.synthesize_styles(w, noise="const").numpy()

    mapped = (map_latents, synthesize) if system.styles else (None, None)
    distribution = system.latent_distribution
    return LatentModel(system.latent_dim, system.num_classes, distribution, draw, generate, *mapped)
