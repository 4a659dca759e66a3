"""Each metric as a function of a `Context`: which arrays it takes and with which settings."""

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics import (
    bins,
    classification_score,
    frechet,
    frechet_infinity,
    inception_score,
    kernel,
    material,
    modes,
    ms_ssim,
    neighbours,
    sliced_wasserstein,
    smallcnn,
    two_sample,
)
from ganpipe.metrics import label_accuracy as labels_metric
from ganpipe.metrics.context import Context, Score
from ganpipe.metrics.source import ImageSource

# Images that the costly metrics look at. Optimal transport costs N^3, pairs of images N.
TRANSPORT_IMAGES = 2000
SWD_IMAGES = 16_384
SSIM_IMAGES = 20_000
CLASSIFIER_IMAGES = 60_000
SAMPLES_PER_BIN = 20
SHUFFLE_SEED = 2020  # torch-fidelity's


def frechet_distance(context: Context) -> Score:
    """`frechet`."""
    value = frechet.frechet_from_features(context.fake.features, context.real_features)
    return Score({"frechet": value}, {"covariance": "ddof 1, float64"})


def frechet_at_infinity(context: Context) -> Score:
    """`frechet_infinity`: sizes from a tenth of the generated images to all, as 5k to 50k."""
    count = len(context.fake.features)
    found = frechet_infinity.frechet_infinity(
        context.fake.features, *context.real_statistics, min_size=max(count // 10, 2)
    )
    settings = {"smallest": found.sizes[0], "largest": found.sizes[-1], "points": len(found.sizes)}
    return Score({"frechet_infinity": found.value, "frechet_slope": found.slope}, settings)


def kernel_distance(context: Context) -> Score:
    """`kernel`."""
    distance = kernel.kernel_distance(context.fake.features, context.real_features)
    settings = {
        "kernel": "(x.y/d + 1)^3, unbiased, float64",
        "subsets": distance.subsets,
        "subset_size": distance.subset_size,
        "subset_seed": distance.seed,
    }
    return Score({"kernel": distance.mean, "kernel_std": distance.std}, settings)


def classifier_score(context: Context) -> Score:
    """`inception_score`: of whichever classifier the extractor is."""
    mean, std = inception_score.inception_score(context.fake.logits, shuffle_seed=SHUFFLE_SEED)
    values = {"inception_score": mean, "inception_score_std": std}
    return Score(values, {"splits": inception_score.SPLITS, "shuffle_seed": SHUFFLE_SEED})


def mode_score(context: Context) -> Score:
    """`mode_score`."""
    value = inception_score.mode_score(context.fake.logits, context.real_logits)
    return Score({"mode_score": value})


def precision(context: Context) -> Score:
    """`precision`."""
    return Score({"precision": context.precision_recall[0]}, {"k": neighbours.PRECISION_K})


def recall(context: Context) -> Score:
    """`recall`."""
    return Score({"recall": context.precision_recall[1]}, {"k": neighbours.PRECISION_K})


def density(context: Context) -> Score:
    """`density`."""
    return Score({"density": context.density_coverage[0]}, {"k": neighbours.DENSITY_K})


def coverage(context: Context) -> Score:
    """`coverage`."""
    return Score({"coverage": context.density_coverage[1]}, {"k": neighbours.DENSITY_K})


def gaussian_mmd(context: Context) -> Score:
    """`mmd`."""
    fake, real = context.pair(TRANSPORT_IMAGES)
    value = two_sample.gaussian_mmd(fake, real)
    return Score({"mmd": value}, {"images": len(fake), "kernel": "Gaussian, sigma 1"})


def wasserstein(context: Context) -> Score:
    """`wasserstein`."""
    fake, real = context.pair(TRANSPORT_IMAGES)
    return Score(
        {"wasserstein": two_sample.wasserstein(fake, real)},
        {"images": len(fake), "cost": "Euclidean"},
    )


def nearest_neighbour(context: Context) -> Score:
    """`nearest_neighbour`."""
    fake, real = context.pair(TRANSPORT_IMAGES)
    found = two_sample.nearest_neighbour_test(fake, real)
    values = {
        "nearest_neighbour": found.accuracy,
        "nearest_neighbour_real": found.accuracy_real,
        "nearest_neighbour_fake": found.accuracy_fake,
    }
    return Score(values, {"images": len(fake), "k": 1})


def different_bins(context: Context) -> Score:
    """`bins`: as many bins as both sides fill with 20 images each, at most 100."""
    fewest = min(len(context.fake.features), len(context.real_features))
    count = max(2, min(bins.NUM_BINS, fewest // SAMPLES_PER_BIN))
    found = bins.ndb(bins.fit_bins(context.real_features, num_bins=count), context.fake.features)
    settings = {"bins": count, "significance": bins.SIGNIFICANCE, "space": "features"}
    return Score({"bins": found.share, "bins_jsd": found.jsd}, settings)


def _class_counts(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Counts of the generated and the real images by the extractor's classes, (K,) both."""
    classes = context.fake.logits.shape[1]
    fake, real = (
        np.bincount(predicted, minlength=classes)
        for predicted in (context.fake.predicted, context.real_logits.argmax(axis=1))
    )
    return fake, real


def modes_covered(context: Context) -> Score:
    """`modes_covered`: of the classes that the extractor sees in the real images."""
    fake, real = _class_counts(context)
    there = real > 0
    values = {"modes_covered": int((fake[there] > 0).sum()), "modes_total": int(there.sum())}
    return Score(values, more={"mode_counts": fake.tolist()})


def reverse_kl(context: Context) -> Score:
    """`reverse_kl`: KL of the generated classes to the real ones.

    The other direction is infinite as soon as one class is missing. A class that is generated but
    not in the reference counts as one real image of it: rare, not impossible.
    """
    fake, real = _class_counts(context)
    known = np.where((real == 0) & (fake > 0), 1, real)
    divergence = modes.kl_divergence(fake / fake.sum(), known / known.sum())
    jsd = modes.js_divergence(fake / fake.sum(), real / real.sum())
    return Score({"reverse_kl": divergence, "class_jsd": jsd})


def sliced_distance(context: Context) -> Score:
    """`sliced_wasserstein`."""
    fake = context.fake_images(SWD_IMAGES)
    real = context.real_images(min(len(fake), context.source.count(context.split)))
    fake = fake[: len(real)]
    meter = sliced_wasserstein.SlicedWassersteinMeter(real.shape[1], real.shape[3])
    for images, update in ((real, meter.update_real), (fake, meter.update_fake)):
        for start in range(0, len(images), material.CHUNK):
            update(images[start : start + material.CHUNK])
    found = meter.result()
    values = {"sliced_wasserstein": found.mean}
    for level, distance in zip(found.levels, found.distances, strict=True):
        values[f"sliced_wasserstein_{level}"] = float(distance)
    return Score(values, {"images": found.images, "seed": 0, "unit": "x 1000"})


def image_diversity(context: Context) -> Score:
    """`ms_ssim`: and that of real images beside it."""
    fake = context.fake_images(SSIM_IMAGES)
    real = context.real_images(min(len(fake), context.source.count(context.split)))
    found, yardstick = ms_ssim.diversity(fake), ms_ssim.diversity(real)
    values = {"ms_ssim": found.mean, "ms_ssim_real": yardstick.mean}
    return Score(values, {"pairs": found.pairs, "pairs_real": yardstick.pairs})


def label_accuracy(context: Context) -> Score:
    """`label_accuracy`."""
    classes = context.source.num_classes
    accuracy = labels_metric.label_accuracy(context.asked, context.judged.predicted, classes)
    confusion = {
        "class_names": list(context.source.class_names),
        "rows": "class asked for",
        "columns": "class predicted",
        "matrix": accuracy.confusion.tolist(),
    }
    per_class = [None if np.isnan(v) else float(v) for v in accuracy.per_class]
    more = {"confusion": confusion, "label_accuracy_per_class": per_class}
    return Score({"label_accuracy": accuracy.overall}, more=more)


def trained_on_fakes(context: Context, network: str = "smallcnn") -> Score:
    """`classification_score`, and `classification_score_resnet` by another network."""
    images = context.judged.images[:CLASSIFIER_IMAGES]
    fake = classification_score.LabelledImages(images, context.asked[: len(images)])
    context.used_reference = True
    test = classification_score.LabelledImages(
        *material.real_arrays(context.source, context.split, context.source.count(context.split))
    )
    found = classification_score.classification_score(
        fake, test, context.source.num_classes, balanced=False, network=network
    )
    settings = {"train_count": found.train_count, "images_seen": found.images_seen}
    name = "classification_score" + ("_resnet" if network != "smallcnn" else "")
    values = {name: found.top1}
    if found.top5 is not None:
        values[f"{name}_top5"] = found.top5
    return Score(values, settings)


def fits_pyramid(source: ImageSource) -> None:
    """UserError unless the images have a pyramid."""
    _squares(source, "sliced_wasserstein")
    sliced_wasserstein.level_sizes(source.resolution)


def fits_classifier(source: ImageSource) -> None:
    """UserError unless the classifiers of `classification_score` take the images."""
    _squares(source, "classification_score")
    smallcnn.check_size(source.resolution, source.channels)


def fits_scales(source: ImageSource) -> None:
    """UserError unless the images have five scales."""
    least = min(source.image_shape[:2])
    if least < ms_ssim.SMALLEST:
        raise UserError(
            f"ms_ssim needs images of at least {ms_ssim.SMALLEST} pixels, those of {source.name} "
            f"have {least}: leave it out of --metrics"
        )


def _squares(source: ImageSource, metric: str) -> None:
    if not source.square:
        raise UserError(
            f"{metric} needs square images, those of {source.name} are {source.size} (height x "
            "width): leave it out of --metrics"
        )
