"""From a sampler (or images) and a data set to scores with their passport.

    request = check(metrics=..., num=..., source=..., split=...)    # before any work
    extractor = classifier.get_or_train(source, cache_dir)
    result = evaluate(sampler, source, extractor, request, seed=0)

`result` is what `metrics.json` holds; its keys are described in `docs/metrics.md`.
"""

import datetime
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ganpipe.errors import UserError
from ganpipe.metrics import frechet, kernel, passport
from ganpipe.metrics import label_accuracy as labels_metric
from ganpipe.metrics.classifier import ClassifierExtractor
from ganpipe.metrics.source import ImageSource

# metric -> (prefix of its full name, the line that `--metrics=` errors and the docs show)
METRICS = {
    "frechet": ("FD", "Frechet distance of the features; lower is better, 0 is ideal"),
    "kernel": ("KD", "kernel distance (unbiased MMD^2) of the features; lower is better"),
    "label_accuracy": ("LA", "share of images the classifier sees as the class asked for"),
}
_DISTANCES = ("frechet", "kernel")

# Row i of an evaluation uses this times the seed, plus i: seeds 0 and 1 share no image.
SEED_STRIDE = 10**9
_CHUNK = 500

Sampler = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
      metrics: names out of `METRICS`, in order, each once.
      num: generated images to score.
      split: split of the data set to compare with.
      num_classes: classes of the generator; 0 when it takes no labels.
    """

    metrics: tuple[str, ...]
    num: int
    split: str
    num_classes: int


def full_name(metric: str, extractor_name: str) -> str:
    """`FD-smallcnn`: the score's name together with its extractor's."""
    return f"{METRICS[metric][0]}-{extractor_name}"


def check(
    *,
    metrics: Sequence[str],
    num: int,
    source: ImageSource,
    split: str = "test",
    num_classes: int = 0,
    resolution: int | None = None,
    channels: int | None = None,
) -> Request:
    """Refuses what cannot be evaluated, before anything is trained or sampled.

    Args:
      metrics: names.
      num: generated images to score.
      source: the real images.
      split: split to compare with.
      num_classes: classes of the generator (0: takes no labels); for images with labels given, the
        number of classes of the data set.
      resolution: of the generated images; None skips the comparison.
      channels: of the generated images; None skips the comparison.

    Raises:
      UserError: naming what was found, what was expected and which flag to change.
    """
    names = tuple(dict.fromkeys(metrics))
    known = ", ".join(METRICS)
    if not names:
        raise UserError(f"--metrics is empty; choose from {known}")
    for name in names:
        if name not in METRICS:
            raise UserError(f"--metrics: unknown metric {name!r}; known are {known}")
    if resolution is not None and resolution != source.resolution:
        raise UserError(
            f"generated images are {resolution}x{resolution}, the data set {source.name} was read "
            f"at {source.resolution}x{source.resolution}: give --data a folder that holds "
            f"{resolution}x{resolution} images"
        )
    if channels is not None and channels != source.channels:
        raise UserError(
            f"generated images have {channels} channel(s), the data set {source.name} has "
            f"{source.channels}: --data is not what this model was trained on"
        )
    if num_classes and source.num_classes and num_classes != source.num_classes:
        raise UserError(
            f"the model has {num_classes} classes, the data set {source.name} has "
            f"{source.num_classes}: --data is not what this model was trained on"
        )
    if "label_accuracy" in names:
        if not num_classes:
            raise UserError(
                "label_accuracy needs labels that were asked for, and there are none (an "
                "unconditional model, or images without labels): leave it out of --metrics"
            )
        if not source.num_classes:
            raise UserError(
                f"label_accuracy needs a data set with labels, {source.name} has none: leave it "
                "out of --metrics"
            )
        if num < num_classes:
            raise UserError(
                f"--num={num} images are too few for label_accuracy over {num_classes} classes: "
                f"at least {num_classes}"
            )
    reference = source.count(split)
    for name in _DISTANCES:
        if name in names and min(num, reference) < 2:
            raise UserError(
                f"{name} needs at least 2 images on each side, found {num} generated (--num) and "
                f"{reference} real ones in split {split!r} (--split)"
            )
    if num < 1:
        raise UserError(f"--num={num}: at least 1 image is needed")
    return Request(names, num, split, num_classes)


def evaluate(
    sampler: Sampler,
    source: ImageSource,
    extractor: ClassifierExtractor,
    request: Request,
    seed: int = 0,
) -> dict[str, Any]:
    """Samples `request.num` images and scores them.

    label_accuracy asks for class i % K in row i. The distances are taken on images in the
    reference's class proportions (the same images when the reference is balanced).

    Args:
      sampler: `sampler(n, seed=s, labels=...)` -> (n, R, R, C) uint8, where row i depends on seed
        s + i and its own label alone; `GANSystem.sample` is one. `labels` is (n,) int64, or None
        for an unconditional generator.
      source: the real images.
      extractor: from `classifier.get_or_train` on the same source.
      request: from `check`.
      seed: row i has the seed `seed * 10^9 + i`.

    Returns:
      The dict of `docs/metrics.md`, ready for JSON.

    Raises:
      UserError: the sampler's images do not fit the extractor.
    """
    start = time.monotonic()
    plans: dict[str, np.ndarray | None] = {}
    if not request.num_classes:
        plans["none"] = None
    else:
        balanced = labels_metric.balanced_labels(request.num, request.num_classes)
        counts = (
            source.per_class[request.split] if source.num_classes else np.ones(request.num_classes)
        )
        proportional = labels_metric.proportional_labels(request.num, counts)
        if np.array_equal(balanced, proportional):
            plans["balanced"] = balanced
        else:
            if "label_accuracy" in request.metrics:
                plans["balanced"] = balanced
            if set(request.metrics) & set(_DISTANCES):
                plans["reference proportions"] = proportional
    sets = {
        rule: _sampled_features(sampler, extractor, labels, request.num, seed)
        for rule, labels in plans.items()
    }
    distance_rule, accuracy_rule = list(sets)[-1], next(iter(sets))
    return _result(
        source=source,
        extractor=extractor,
        request=request,
        fake_features=sets[distance_rule][0],
        asked=plans[accuracy_rule],
        predicted=sets[accuracy_rule][1],
        passport_fields={
            "labels": {"distances": distance_rule, "label_accuracy": accuracy_rule},
            "seeds": {"samples": f"{seed} * 10^9 + row", "seed": seed},
        },
        start=start,
    )


def evaluate_images(
    images: np.ndarray,
    labels: np.ndarray | None,
    source: ImageSource,
    extractor: ClassifierExtractor,
    request: Request,
) -> dict[str, Any]:
    """Scores images that exist already, for example fetched from a server.

    Args:
      images: (N, R, R, C) uint8, N at least `request.num`; the first `request.num` are used.
      labels: (N,) integer labels that were asked for, or None.
      source: the real images.
      extractor: from `classifier.get_or_train` on the same source.
      request: from `check`.

    Returns:
      As `evaluate`.
    """
    start = time.monotonic()
    features, predicted = _features(extractor, images[: request.num])
    return _result(
        source=source,
        extractor=extractor,
        request=request,
        fake_features=features,
        asked=None if labels is None else np.asarray(labels)[: request.num],
        predicted=predicted,
        passport_fields={
            "labels": {"distances": "as given", "label_accuracy": "as given"},
            "seeds": {},
        },
        start=start,
    )


def _result(
    *,
    source: ImageSource,
    extractor: ClassifierExtractor,
    request: Request,
    fake_features: np.ndarray,
    asked: np.ndarray | None,
    predicted: np.ndarray,
    passport_fields: dict[str, Any],
    start: float,
) -> dict[str, Any]:
    scores: dict[str, float] = {}
    result: dict[str, Any] = {
        "scores": scores,
        "names": {m: full_name(m, extractor.name) for m in request.metrics},
        "extractor": {
            "name": extractor.name,
            "hash": extractor.hash,
            **{
                key: extractor.card[key]
                for key in ("test_accuracy", "test_count", "task", "feature_dim", "architecture")
            },
            "fingerprint": extractor.card["fingerprint"],
        },
    }
    fields: dict[str, Any] = {}
    counts = {"generated": len(fake_features)}
    if set(request.metrics) & set(_DISTANCES):
        real_features = reference_features(extractor, source, request.split)
        counts["reference"] = len(real_features)
    if "frechet" in request.metrics:
        scores["frechet"] = frechet.frechet_from_features(fake_features, real_features)
        fields["frechet"] = {"covariance": "ddof 1, float64"}
    if "kernel" in request.metrics:
        distance = kernel.kernel_distance(fake_features, real_features)
        scores["kernel"], scores["kernel_std"] = distance.mean, distance.std
        fields["kernel"] = {
            "kernel": "(x.y/d + 1)^3, unbiased, float64",
            "subsets": distance.subsets,
            "subset_size": distance.subset_size,
            "subset_seed": distance.seed,
        }
    if "label_accuracy" in request.metrics:
        accuracy = labels_metric.label_accuracy(asked, predicted, source.num_classes)
        scores["label_accuracy"] = accuracy.overall
        result["confusion"] = {
            "class_names": list(source.class_names),
            "rows": "class asked for",
            "columns": "class predicted",
            "matrix": accuracy.confusion.tolist(),
        }
        result["label_accuracy_per_class"] = [
            None if np.isnan(v) else float(v) for v in accuracy.per_class
        ]
    for name, value in scores.items():
        if not np.isfinite(value):
            raise RuntimeError(f"{name} is {value}: the images or the extractor are broken")
    result["passport"] = {
        "extractor": f"{extractor.name} {extractor.hash}",
        "counts": counts,
        "split": request.split,
        "resolution": source.resolution,
        "channels": source.channels,
        "dtype": "images uint8, features float32, algebra float64",
        **passport_fields,
        **fields,
        "data": {"name": source.name, "fingerprint": source.fingerprint},
        "code": {"version": passport.code_version(), "commit": passport.code_commit()},
        "seconds": round(time.monotonic() - start, 2),
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return result


def _features(extractor: ClassifierExtractor, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, d) features and (N,) arg-max outputs of given images, with a progress bar."""
    parts = [
        extractor.forward(images[i : i + _CHUNK])
        for i in tqdm(range(0, len(images), _CHUNK), desc="features", disable=None)
    ]
    return np.concatenate([f for f, _ in parts]), np.concatenate([y.argmax(1) for _, y in parts])


def _sampled_features(
    sampler: Sampler,
    extractor: ClassifierExtractor,
    labels: np.ndarray | None,
    num: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """As `_features`, of sampled images; holds one chunk of images at a time."""
    features, predicted = [], []
    with tqdm(total=num, desc="samples", unit="image", disable=None) as progress:
        for i in range(0, num, _CHUNK):
            count = min(_CHUNK, num - i)
            asked = None if labels is None else labels[i : i + count]
            images = np.asarray(sampler(count, seed=seed * SEED_STRIDE + i, labels=asked))
            if images.dtype != np.uint8 or len(images) != count:
                raise UserError(
                    f"the sampler returned {images.shape} {images.dtype}, expected {count} uint8 "
                    "images"
                )
            f, y = extractor.forward(images)
            features.append(f)
            predicted.append(y.argmax(axis=1))
            progress.update(count)
    return np.concatenate(features), np.concatenate(predicted)


def reference_features(
    extractor: ClassifierExtractor, source: ImageSource, split: str
) -> np.ndarray:
    """(N, d) float32 features of a whole split in its fixed order, cached beside the extractor.

    The cached file is keyed by the split and trusted only with the extractor's hash and the
    split's count in it; anything else is computed anew.
    """
    count = source.count(split)
    cached = None if extractor.folder is None else extractor.folder / f"reference-{split}.npz"
    if cached is not None and cached.exists():
        try:
            with np.load(cached) as archive:
                if str(archive["hash"]) == extractor.hash and len(archive["features"]) == count:
                    return archive["features"]
        except Exception as error:  # zipfile, zlib and numpy each raise their own
            print(f"{cached} cannot be read ({error}): computing it again", file=sys.stderr)
    parts = []
    with tqdm(total=count, desc="reference", unit="image", disable=None) as progress:
        for images, _ in source.batches(split, extractor.batch_size, None):
            parts.append(extractor.features(images.numpy()))
            progress.update(len(parts[-1]))
    features = np.concatenate(parts)
    if len(features) != count:
        raise RuntimeError(f"{source.name}: split {split!r} gave {len(features)} of {count} images")
    if cached is not None:
        _write_npz(cached, features=features, hash=np.array(extractor.hash))
    return features


def _write_npz(path: Path, **arrays: np.ndarray) -> None:
    """Writes beside the place and renames; a cache that cannot be written is only slower."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        print(f"{path} is not kept: {error}", file=sys.stderr)
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
