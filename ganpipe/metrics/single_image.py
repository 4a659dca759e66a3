"""Single-image Frechet distance: do two images have the same patches, whatever their places?

Shaham et al. 2019 (SinGAN), section 3.1, "SIFID": the deep features of one image at all its
locations are the samples, one real image against one generated from it; the mean over pairs is the
score. Called SIFID only with the published features: 192 channels after the second convolution
block of torchvision's ImageNet Inception (not the FID net), inputs in [-1, 1], no resizing, so the
number of locations follows from the size of the image. Take the map from any extractor here and
name the score after it.

The source adds 1e-6 to the diagonals of both covariances where the square root of their product is
not finite. None is added here: `frechet_from_features` is exact for singular covariances. With
fewer than C + 1 locations (193) every covariance is singular; the distance is still defined, but
small images are then compared in a subspace, and their scores with each other only.

Covariances use ddof 1 and float64; values are in squared units of the features and not clipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics.frechet import frechet_from_features


@dataclass(frozen=True)
class SingleImageFrechet:
    """Single-image Frechet distances.

    Attributes:
      mean: over the pairs: the score.
      std: over the pairs (ddof 0).
      per_pair: (P,) float64.
      locations: (P, 2) int64 locations of the real and of the generated map.
      singular: pairs with too few locations for a covariance of full rank.
    """

    mean: float
    std: float
    per_pair: np.ndarray
    locations: np.ndarray
    singular: int


def locations(features: np.ndarray) -> np.ndarray:
    """(H, W, C) feature map -> (H * W, C), one row a location.

    Raises:
      UserError: another shape, fewer than two locations, or values that are not finite.
    """
    features = np.asarray(features)
    if features.ndim != 3 or features.shape[0] * features.shape[1] < 2:
        raise UserError(
            f"a feature map has shape {features.shape}, expected (H, W, C) with at least 2 "
            "locations: pooled features of one image have no distribution, use an earlier layer"
        )
    if not np.isfinite(features).all():
        raise UserError("a feature map holds NaN or infinity: the image or extractor is broken")
    return features.reshape(-1, features.shape[-1])


def map_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """Frechet distance between the locations of two maps.

    Args:
      real: (H, W, C) features of the training image.
      fake: (H', W', C) features of one generated image; its size may differ.

    Raises:
      UserError: as `locations`, or unlike channels.
    """
    x, y = locations(real), locations(fake)
    if x.shape[1] != y.shape[1]:
        raise UserError(
            f"feature maps have {x.shape[1]} and {y.shape[1]} channels: both images must go "
            "through the same layer of the same extractor"
        )
    return frechet_from_features(y, x)


def single_image_frechet(
    real: Sequence[np.ndarray], fake: Sequence[np.ndarray]
) -> SingleImageFrechet:
    """Mean distance over pairs (real[i], fake[i]).

    Args:
      real: P feature maps (H_i, W_i, C), or an array (P, H, W, C). Repeat one training image for
        several samples of it.
      fake: P feature maps of the images generated from them.

    Raises:
      UserError: as `map_distance`, unlike numbers of maps, or none.
    """
    if len(real) != len(fake) or not len(real):
        raise UserError(
            f"{len(real)} real and {len(fake)} generated feature maps: expected pairs, at least one"
        )
    real, fake = [np.asarray(a) for a in real], [np.asarray(b) for b in fake]
    values = np.array([map_distance(a, b) for a, b in zip(real, fake, strict=True)])
    counts = np.array(
        [
            [a.shape[0] * a.shape[1], b.shape[0] * b.shape[1]]
            for a, b in zip(real, fake, strict=True)
        ]
    )
    singular = int((counts.min(axis=1) <= real[0].shape[-1]).sum())
    return SingleImageFrechet(float(values.mean()), float(values.std()), values, counts, singular)
