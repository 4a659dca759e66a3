"""Every metric by name: what it is called, what it needs, which function computes it.

The mathematics is in the modules of the same names and knows nothing of this; `scores` says which
arrays and settings it is given.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass

from ganpipe.metrics import latent_scores, scores, smallresnet
from ganpipe.metrics.context import Context, Score
from ganpipe.metrics.material import Extractor
from ganpipe.metrics.source import ImageSource

FEATURES = frozenset({"features", "reference"})
CLASSES = frozenset({"classes", "reference"})
LABELS = frozenset({"labels", "classes"})
PIXELS = frozenset({"reference"})
LATENTS = frozenset({"latents", "features"})
ATTRIBUTES = frozenset({"latents", "classes"})


@dataclass(frozen=True)
class Metric:
    """One line of the table of metrics.

    Attributes:
      prefix: of the name it is printed with.
      summary: one line.
      compute: a function of `scores`.
      needs: out of "reference" (real images), "features", "classes" (an extractor that knows
        classes), "labels" (classes that were asked for; the own classifier's classes), "latents"
        (a generator, not images alone).
      lower: whether lower is better; None where neither is.
      least: images needed on each side.
      images: how many images of each side it looks at itself.
      fits: raises UserError for images that it cannot take.
      space: latent space that the generator must have: "z", "w", or "" for none.
    """

    prefix: str
    summary: str
    compute: Callable[[Context], Score]
    needs: frozenset[str] = FEATURES
    lower: bool | None = True
    least: int = 2
    images: int = 0
    fits: Callable[[ImageSource], None] | None = None
    space: str = ""


METRICS: dict[str, Metric] = {
    "frechet": Metric(
        "FD",
        "Frechet distance of the features; lower is better, 0 is ideal",
        scores.frechet_distance,
    ),
    "frechet_infinity": Metric(
        "FDinf",
        "Frechet distance extrapolated to infinitely many generated images; lower is better",
        scores.frechet_at_infinity,
        least=20,
    ),
    "kernel": Metric(
        "KD",
        "kernel distance (unbiased MMD^2) of the features; lower is better",
        scores.kernel_distance,
    ),
    "inception_score": Metric(
        "CS",
        "classifier score exp E KL(p(y|x) || p(y)), IS with Inception; higher is better",
        scores.classifier_score,
        needs=frozenset({"classes"}),
        lower=False,
        least=10,
    ),
    "mode_score": Metric(
        "MS",
        "the same, less the distance of generated to real class shares; higher is better",
        scores.mode_score,
        needs=CLASSES,
        lower=False,
    ),
    "precision": Metric(
        "Precision",
        "share of generated images inside the real manifold (k = 3); higher is better",
        scores.precision,
        lower=False,
        least=4,
    ),
    "recall": Metric(
        "Recall",
        "share of real images inside the generated manifold (k = 3); higher is better",
        scores.recall,
        lower=False,
        least=4,
    ),
    "density": Metric(
        "Density",
        "real balls around a generated image, over k = 5; higher is better, may exceed 1",
        scores.density,
        lower=False,
        least=6,
    ),
    "coverage": Metric(
        "Coverage",
        "share of real images with a generated one in their ball (k = 5); higher is better",
        scores.coverage,
        lower=False,
        least=6,
    ),
    "mmd": Metric(
        "MMD",
        "maximum mean discrepancy, Gaussian kernel, up to 2,000 images; lower is better",
        scores.gaussian_mmd,
    ),
    "wasserstein": Metric(
        "W1",
        "exact optimal transport, Euclidean, up to 2,000 images; lower is better",
        scores.wasserstein,
    ),
    "nearest_neighbour": Metric(
        "1NN",
        "leave-one-out accuracy of real against generated; 0.5 is ideal, 1 told apart, 0 copied",
        scores.nearest_neighbour,
        lower=None,
    ),
    "bins": Metric(
        "NDB",
        "share of statistically different bins (NDB/K); lower is better, 0.05 by chance",
        scores.different_bins,
        least=40,
    ),
    "modes_covered": Metric(
        "Modes",
        "classes that occur among the generated images; higher is better",
        scores.modes_covered,
        needs=CLASSES,
        lower=False,
    ),
    "reverse_kl": Metric(
        "RKL",
        "KL of generated to real class shares, nats; lower is better",
        scores.reverse_kl,
        needs=CLASSES,
    ),
    "sliced_wasserstein": Metric(
        "SWD",
        "sliced Wasserstein distance of patches, per pyramid level, x 1000; lower is better",
        scores.sliced_distance,
        needs=PIXELS,
        images=scores.SWD_IMAGES,
        fits=scores.fits_pyramid,
    ),
    "ms_ssim": Metric(
        "MS-SSIM",
        "likeness of pairs of generated images; ideal is that of real ones, higher is collapse",
        scores.image_diversity,
        needs=PIXELS,
        lower=None,
        images=scores.SSIM_IMAGES,
        fits=scores.fits_scales,
    ),
    "label_accuracy": Metric(
        "LA",
        "share of images the classifier sees as the class asked for",
        scores.label_accuracy,
        needs=LABELS,
        lower=False,
        least=1,
    ),
    "classification_score": Metric(
        "CAS-smallcnn",
        "test accuracy of a classifier trained on generated images alone; higher is better",
        scores.trained_on_fakes,
        needs=frozenset({"labels", "reference"}),
        lower=False,
        least=100,
        images=scores.CLASSIFIER_IMAGES,
        fits=scores.fits_classifier,
    ),
}


METRICS["classification_score_resnet"] = dataclasses.replace(
    METRICS["classification_score"],
    prefix=f"CAS-resnet{smallresnet.DEPTH}",
    summary="the same with a residual network, some ten minutes; higher is better",
    compute=functools.partial(scores.trained_on_fakes, network=f"resnet{smallresnet.DEPTH}"),
)

for _space in ("z", "w"):
    for _sampling, _suffix in (("full", ""), ("end", "_end")):
        METRICS[f"path_length_{_space}{_suffix}"] = Metric(
            f"PPL-{_space}{_suffix.replace('_', '-')}",
            f"perceptual path length in {_space}, {_sampling} path; lower is smoother",
            functools.partial(latent_scores.path, space=_space, sampling=_sampling),
            needs=LATENTS,
            fits=latent_scores.fits_path,
            space=_space,
        )
    METRICS[f"separability_{_space}"] = Metric(
        f"LS-{_space}",
        f"linear separability of the data's classes in {_space}; lower is better, 1 is ideal",
        functools.partial(latent_scores.separable, space=_space),
        needs=ATTRIBUTES,
        least=100,
        space=_space,
    )


def full_name(metric: str, extractor: Extractor) -> str:
    """What a score is called: `FD-smallcnn`; `FID` with the published weights; `SWD` of pixels."""
    entry = METRICS[metric]
    if not entry.needs & {"features", "classes"}:
        return entry.prefix
    return extractor.score_name(entry.prefix)
