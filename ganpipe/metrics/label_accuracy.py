"""How often a classifier agrees with the label a conditional generator was asked for.

The classifier is trained on real images only (`ganpipe.metrics.classifier`). Its own accuracy on
real test images is the ceiling that an honest generator can be expected to reach; a score above it
means samples more typical than real images, not better ones.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LabelAccuracy:
    """Agreement between labels asked for and labels seen.

    Attributes:
      overall: share of images in [0, 1] whose predicted class is the one asked for.
      per_class: (K,) float64, the same within each class asked for; NaN where none was asked for.
      confusion: (K, K) int64 counts; row = class asked for, column = class predicted.
    """

    overall: float
    per_class: np.ndarray
    confusion: np.ndarray


def label_accuracy(asked: np.ndarray, predicted: np.ndarray, num_classes: int) -> LabelAccuracy:
    """Agreement and confusion of two label vectors.

    Args:
      asked: (N,) integer labels in [0, num_classes) given to the generator, N >= 1.
      predicted: (N,) integer labels in [0, num_classes) given by the classifier.
      num_classes: K.

    Raises:
      ValueError: shapes that differ, no labels, or a label outside the range.
    """
    asked, predicted = np.asarray(asked), np.asarray(predicted)
    if asked.ndim != 1 or asked.shape != predicted.shape or not len(asked):
        raise ValueError(f"labels of shapes {asked.shape} and {predicted.shape} cannot be compared")
    for name, labels in (("asked", asked), ("predicted", predicted)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{name} labels are {labels.dtype}, expected integers")
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(
                f"{name} labels span {labels.min()}..{labels.max()}, expected 0..{num_classes - 1}"
            )
    flat = asked.astype(np.int64) * num_classes + predicted
    confusion = np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)
    totals = confusion.sum(axis=1)
    hits = np.diag(confusion)
    per_class = np.where(totals > 0, hits / np.maximum(totals, 1), np.nan)
    return LabelAccuracy(float(hits.sum() / totals.sum()), per_class, confusion)


def balanced_labels(count: int, num_classes: int) -> np.ndarray:
    """(count,) int64 labels i % num_classes: every class as often as every other, within one."""
    return np.arange(count, dtype=np.int64) % num_classes


def proportional_labels(count: int, class_counts: np.ndarray) -> np.ndarray:
    """(count,) int64 labels in the proportions of `class_counts`, largest remainders first.

    Equal counts give exactly `balanced_labels`.

    Args:
      count: number of labels.
      class_counts: (K,) how often each class occurs in the reference.

    Raises:
      ValueError: no classes, a negative count, or all counts 0.
    """
    counts = np.asarray(class_counts, np.float64)
    if counts.ndim != 1 or not len(counts) or counts.min() < 0 or counts.sum() == 0:
        raise ValueError(f"class counts {class_counts} give no proportions")
    if (counts == counts[0]).all():
        return balanced_labels(count, len(counts))
    exact = count * counts / counts.sum()
    share = np.floor(exact).astype(np.int64)
    # A stable sort keeps ties in class order, so the answer is the same everywhere.
    order = np.argsort(-(exact - share), kind="stable")
    share[order[: count - share.sum()]] += 1
    return np.repeat(np.arange(len(counts), dtype=np.int64), share)
