"""What a metric is given and what it gives back."""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe.metrics import material, neighbours
from ganpipe.metrics.frechet import GaussianStatistics
from ganpipe.metrics.latents import LatentModel
from ganpipe.metrics.material import Extractor, Seen
from ganpipe.metrics.source import ImageSource


@dataclass(frozen=True)
class Score:
    """One metric's outcome.

    Attributes:
      values: score -> number; the first is the metric's own.
      settings: stands in the passport.
      more: further keys of the result, for example a confusion matrix.
      name: what the score is printed as, where that depends on how it was taken.
    """

    values: dict[str, float]
    settings: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    name: str | None = None


@dataclass
class Context:
    """What metrics are computed from. Each part of the real side is computed at most once.

    Attributes:
      source: the real images.
      split: of them that is compared with.
      extractor: of the features.
      fake: the generated images, in the class proportions of the reference.
      judged: the generated images that belong to `asked`.
      asked: (N,) classes asked for, or None.
      cache_dir: where features of the reference are kept.
      latents: the generator from its latents; None where only images are there.
      seed: of the evaluation.
      kept: what metrics of one kind share, by name.
    """

    source: ImageSource
    split: str
    extractor: Extractor
    fake: Seen
    judged: Seen
    asked: np.ndarray | None
    cache_dir: Path | None = None
    used_reference: bool = False
    latents: LatentModel | None = None
    seed: int = 0
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Generated images that were asked for."""
        return len(self.fake.features)

    @functools.cached_property
    def _reference(self) -> tuple[np.ndarray, np.ndarray]:
        self.used_reference = True
        return material.reference(self.extractor, self.source, self.split, self.cache_dir)

    @property
    def real_features(self) -> np.ndarray:
        """(M, d) float32 features of the whole split."""
        return self._reference[0]

    @property
    def real_logits(self) -> np.ndarray:
        """(M, K) float32 outputs of the whole split."""
        return self._reference[1]

    @functools.cached_property
    def real_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """(d,) mean and (d, d) covariance of the real features, float64."""
        statistics = GaussianStatistics.of(self.real_features)
        return statistics.mean, statistics.cov

    def real_images(self, count: int) -> np.ndarray:
        """(count, R, R, C) uint8, a fixed random choice out of the split."""
        self.used_reference = True
        return material.real_arrays(self.source, self.split, count)[0]

    def pair(self, most: int) -> tuple[np.ndarray, np.ndarray]:
        """Equally many generated and real features, at most `most`: a fixed random choice."""
        count = min(len(self.fake.features), len(self.real_features), most)
        fake, real = (
            features[material.mixed_rows(len(features), count)]
            for features in (self.fake.features, self.real_features)
        )
        return fake, real

    def fake_images(self, most: int) -> np.ndarray:
        """At most `most` generated images, of those kept, in a fixed random order."""
        images = self.fake.images
        return images[material.mixed_rows(len(images), most)]

    @functools.cached_property
    def precision_recall(self) -> tuple[float, float]:
        """Improved precision and recall, k = 3."""
        return neighbours.precision_recall(self.fake.features, self.real_features)

    @functools.cached_property
    def density_coverage(self) -> tuple[float, float]:
        """Density and coverage, k = 5."""
        return neighbours.density_coverage(self.fake.features, self.real_features)
