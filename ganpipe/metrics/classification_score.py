"""Classification accuracy score: train a classifier on fakes, test it on reals.

Ravuri & Vinyals 2019 (CAS). A classifier learns from generated images and the labels that they were
asked for, as many and as balanced as the real training set, and is scored on REAL held-out images.
It sees what a distance between features hides: a class without variety teaches little. Naive
augmentation trains on real and generated images together.

The published figures come from ResNet-50 (ImageNet) and ResNet-56 (CIFAR-10) trained to the end.
Here the network is `smallcnn`, trained from scratch in about a minute (CAS-smallcnn), or a
ResNet-20 in some ten (CAS-resnet20); any depth 6 n + 2 can be asked for, `resnet56` for one. What a
score may be compared with is the same network trained on reals (`reference`).
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics import smallcnn, smallresnet
from ganpipe.metrics.classifier import ClassifierExtractor
from ganpipe.metrics.label_accuracy import label_accuracy
from ganpipe.metrics.source import from_arrays

TOP_K = 5
NETWORK = "smallcnn"
_BATCH = 250


@dataclass(frozen=True)
class LabelledImages:
    """Images with their classes.

    Attributes:
      images: (N, R, R, C) uint8, R a power of two from 8 to 256, C 1 or 3.
      labels: (N,) integers in [0, K).
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class ClassificationScore:
    """Accuracy on real images of a classifier trained on the images named.

    Attributes:
      trained_on: "fake", "real" or "real+fake".
      top1: share of the test images whose class is the likeliest prediction, in [0, 1].
      top5: share whose class is among the five likeliest; None with five classes or fewer.
      per_class: (K,) float64 top-1 within each class of the test images; NaN where it has none.
      confusion: (K, K) int64 counts; row = true class, column = predicted.
      train_count: images trained on.
      test_count: images tested on.
      images_seen: images that went through training steps.
    """

    trained_on: str
    top1: float
    top5: float | None
    per_class: np.ndarray
    confusion: np.ndarray
    train_count: int
    test_count: int
    images_seen: int


def check(name: str, data: LabelledImages, num_classes: int) -> None:
    """Refuses images and labels that cannot be used.

    Raises:
      UserError: another dtype or shape, unlike numbers, labels outside the range, no images.
    """
    images, labels = np.asarray(data.images), np.asarray(data.labels)
    if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
        raise UserError(
            f"{name} images are {images.dtype} of shape {images.shape}, expected uint8 "
            "(N, H, W, C) in 0..255, N >= 1"
        )
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{name} labels are {labels.dtype} of shape {labels.shape}, expected integers "
            f"({len(images)},), one an image: the score needs labelled data and a conditional "
            "generator"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise UserError(
            f"{name} labels span {labels.min()}..{labels.max()}, expected 0..{num_classes - 1}"
        )


def check_balanced(data: LabelledImages, num_classes: int) -> None:
    """Refuses generated images whose classes are not equally frequent, within one image.

    Raises:
      UserError: names the rarest and the most frequent class.
    """
    counts = np.bincount(data.labels, minlength=num_classes)
    if counts.max() - counts.min() > 1:
        raise UserError(
            f"the generated images have {counts.min()} of class {counts.argmin()} and "
            f"{counts.max()} of class {counts.argmax()}: the score is defined for balanced "
            "classes; ask for label i mod K in image i, or pass balanced=False"
        )


def joined(first: LabelledImages, second: LabelledImages) -> LabelledImages:
    """Both sets, one behind the other; UserError for unlike shapes."""
    if first.images.shape[1:] != second.images.shape[1:]:
        raise UserError(
            f"images of shapes {first.images.shape[1:]} and {second.images.shape[1:]} cannot be "
            "trained on together"
        )
    return LabelledImages(
        np.concatenate([first.images, second.images]),
        np.concatenate([first.labels, second.labels]),
    )


def top_k_accuracy(logits: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of rows whose label is among the k largest logits; a tie counts against the row.

    Args:
      logits: (N, K) real.
      labels: (N,) integers.
      k: how many may be larger.

    Raises:
      ValueError: a logit is NaN or infinite; nothing is larger than NaN, which would be a hit.
    """
    if not np.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinity: the classifier is broken")
    own = np.take_along_axis(logits, np.asarray(labels)[:, None], axis=1)
    others_ahead = (logits >= own).sum(axis=1) - 1
    return float((others_ahead < k).mean())


def find_network(
    name: str,
) -> tuple[Callable[..., keras.Model], smallcnn.TrainingSettings]:
    """(maker, settings of the training) of `smallcnn` or `resnetDEPTH`.

    Raises:
      UserError: another name, or a depth that is not 6 n + 2.
    """
    if name == "smallcnn":
        return smallcnn.build, smallcnn.TrainingSettings()
    depth = name.removeprefix("resnet")
    if not (name.startswith("resnet") and depth.isdecimal() and int(depth) % 6 == 2):
        raise UserError(f"network={name!r}: expected smallcnn, resnet20, resnet56 (6 n + 2 layers)")
    if int(depth) < 8:
        raise UserError(f"network={name!r}: the shallowest is resnet8")
    return functools.partial(smallresnet.build, depth=int(depth)), smallresnet.SETTINGS


def train_and_test(
    train: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    *,
    trained_on: str = "fake",
    settings: smallcnn.TrainingSettings | None = None,
    network: str = NETWORK,
) -> ClassificationScore:
    """Trains a fresh classifier on one set and tests it on another.

    Args:
      train: any labelled images.
      test: real images that were in no training set.
      num_classes: K, at least 2.
      trained_on: what `train` is, for the report.
      settings: of the training; None for the network's defaults.
      network: see `find_network`.

    Raises:
      UserError: images or labels that cannot be used, unlike shapes, a class without training
        images.
      RuntimeError: the loss is not finite.
    """
    if num_classes < 2:
        raise UserError(f"a classifier needs at least 2 classes, found {num_classes}")
    check(trained_on, train, num_classes)
    check("test", test, num_classes)
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UserError(
            f"{trained_on} images are {train.images.shape[1:]}, test images "
            f"{test.images.shape[1:]}: bring both to one size and number of channels"
        )
    missing = np.flatnonzero(np.bincount(train.labels, minlength=num_classes) == 0)
    if len(missing):
        raise UserError(f"{trained_on} images: classes {missing.tolist()} have none to learn from")
    maker, defaults = find_network(network)
    names = [str(i) for i in range(num_classes)]
    splits = {"train": (train.images, train.labels), "test": (test.images, test.labels)}
    digest = hashlib.sha256(train.images.tobytes()).hexdigest()
    source = from_arrays(trained_on, digest, splits, names)
    model, seen = smallcnn.train(source, settings or defaults, maker)
    card = {"name": f"{network} on {trained_on}", "num_classes": num_classes}
    logits = ClassifierExtractor(model, card, _BATCH).logits(test.images)
    agreement = label_accuracy(test.labels, logits.argmax(axis=1), num_classes)
    return ClassificationScore(
        trained_on,
        agreement.overall,
        top_k_accuracy(logits, test.labels, TOP_K) if num_classes > TOP_K else None,
        agreement.per_class,
        agreement.confusion,
        len(train.images),
        len(test.images),
        seen,
    )


def classification_score(
    fake: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    *,
    balanced: bool = True,
    settings: smallcnn.TrainingSettings | None = None,
    network: str = NETWORK,
) -> ClassificationScore:
    """CAS: trained on generated images only, tested on real ones. As `train_and_test`.

    Raises:
      UserError: also for classes that are not balanced, unless `balanced` is False.
    """
    check("fake", fake, num_classes)
    if balanced:
        check_balanced(fake, num_classes)
    how = {"settings": settings, "network": network}
    return train_and_test(fake, test, num_classes, trained_on="fake", **how)


def naive_augmentation(
    real: LabelledImages,
    fake: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    *,
    settings: smallcnn.TrainingSettings | None = None,
    network: str = NETWORK,
) -> ClassificationScore:
    """Trained on real and generated images together, tested on real ones; see `train_and_test`.

    With the default settings the steps follow the number of images: twice the images, twice the
    steps. Fix `min_steps` and `max_steps` to compare at equal training.
    """
    check("real", real, num_classes)
    check("fake", fake, num_classes)
    both = joined(real, fake)
    how = {"settings": settings, "network": network}
    return train_and_test(both, test, num_classes, trained_on="real+fake", **how)


def reference(
    real: LabelledImages,
    test: LabelledImages,
    num_classes: int,
    *,
    settings: smallcnn.TrainingSettings | None = None,
    network: str = NETWORK,
) -> ClassificationScore:
    """Trained on real images: what the score would be of a perfect generator."""
    how = {"settings": settings, "network": network}
    return train_and_test(real, test, num_classes, trained_on="real", **how)
