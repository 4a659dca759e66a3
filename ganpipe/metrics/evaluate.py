"""From a sampler (or images) and a data set to scores with their passport.

    request = check(metrics=..., num=..., source=..., split=...)    # before any work
    extractor = classifier.get_or_train(source, cache_dir)
    result = evaluate(sampler, source, extractor, request, seed=0)

`result` is what `metrics.json` holds; its keys are described in `docs/metrics.md`. What a metric is
and what it needs is said in `ganpipe.metrics.suite`.
"""

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe.errors import UserError
from ganpipe.metrics import label_accuracy as labels_metric
from ganpipe.metrics import material, passport, suite
from ganpipe.metrics.context import Context
from ganpipe.metrics.latents import LatentModel
from ganpipe.metrics.material import Extractor, Sampler, Seen
from ganpipe.metrics.source import ImageSource
from ganpipe.metrics.suite import METRICS

Inspect = Callable[[Context, dict[str, Any]], None]

# Of the extractor's card these stand in the result, where the extractor has them.
_CARD_KEYS = (
    "test_accuracy",
    "test_count",
    "task",
    "feature_dim",
    "architecture",
    "fingerprint",
    "input",
)


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
      metrics: names out of `METRICS`, in order, each once.
      num: generated images to score.
      split: split of the data set to compare with.
      num_classes: classes of the generator; 0 when it takes no labels.
      looked_at: images of each side that are kept besides what the metrics need.
    """

    metrics: tuple[str, ...]
    num: int
    split: str
    num_classes: int
    looked_at: int = 0

    def needs(self, what: str) -> bool:
        """Whether any metric needs it."""
        return any(what in METRICS[name].needs for name in self.metrics)

    @property
    def looks_at_samples(self) -> bool:
        """Whether images are needed beside those that metrics of latents make themselves."""
        return bool(self.looked_at) or any(not METRICS[name].space for name in self.metrics)

    @property
    def keep(self) -> int:
        """Images of each side that the metrics look at."""
        most = max(METRICS[name].images for name in self.metrics)
        return min(self.num, max(most, self.looked_at))


def check(
    *,
    metrics: Sequence[str],
    num: int,
    source: ImageSource,
    split: str = "test",
    num_classes: int = 0,
    resolution: int | None = None,
    width: int | None = None,
    channels: int | None = None,
    classes_known: bool | None = None,
    looked_at: int = 0,
    spaces: Sequence[str] = (),
) -> Request:
    """Refuses what cannot be evaluated, before anything is trained or sampled.

    Args:
      metrics: names.
      num: generated images to score.
      source: the real images.
      split: split to compare with.
      num_classes: classes of the generator (0: takes no labels); for images with labels given, the
        number of classes of the data set.
      resolution: height of the generated images; None skips the comparison.
      width: of the generated images; None: they are square.
      channels: of the generated images; None skips the comparison.
      classes_known: whether the extractor tells classes apart; None: when the source has them.
      looked_at: images of each side to keep for `inspect`.
      spaces: latent spaces of the generator, see `ganpipe.metrics.latents`; () for images alone.

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
    size = f"{resolution}x{width or resolution}"
    if resolution is not None and size != source.size:
        raise UserError(
            f"generated images are {size}, the data set {source.name} was read at {source.size}: "
            f"give --data a folder that holds {size} images"
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
    if num < 1:
        raise UserError(f"--num={num}: at least 1 image is needed")
    reference = source.count(split)
    for name in names:
        _check_space(name, spaces, num_classes)
        _check_metric(name, num, reference, source, split, num_classes, classes_known)
    return Request(names, num, split, num_classes, looked_at)


def _check_space(name: str, spaces: Sequence[str], num_classes: int) -> None:
    """Whether the generator has the latent space of a metric."""
    space = METRICS[name].space
    if space and space not in spaces:
        found = f"this generator has {', '.join(spaces)} alone" if spaces else "here are images"
        hint = "a system with a mapping network" if space == "w" and spaces else "`eval --run`"
        raise UserError(
            f"{name} moves in the latent space {space} of a generator, {found}: leave it out of "
            f"--metrics; it takes {hint}"
        )
    if name == "separability_z" and num_classes:
        raise UserError(
            "separability_z: this generator is told the class beside z, so z holds nothing of it: "
            "leave it out of --metrics"
        )


def _check_metric(
    name: str,
    num: int,
    reference: int,
    source: ImageSource,
    split: str,
    num_classes: int,
    classes_known: bool | None,
) -> None:
    """Whether one metric can be computed from what there is."""
    metric = METRICS[name]
    if metric.fits is not None:
        metric.fits(source)
    if "labels" in metric.needs:
        if not num_classes:
            raise UserError(
                f"{name} needs labels that were asked for, and there are none (an unconditional "
                "model, or images without labels): leave it out of --metrics"
            )
        if not source.num_classes:
            raise UserError(
                f"{name} needs a data set with labels, {source.name} has none: leave it out of "
                "--metrics"
            )
        if num < num_classes:
            raise UserError(
                f"--num={num} images are too few for {name} over {num_classes} classes: at least "
                f"{num_classes}"
            )
    known = bool(source.num_classes) if classes_known is None else classes_known
    if "classes" in metric.needs and not known:
        raise UserError(
            f"{name} needs an extractor that knows classes; that of {source.name} was trained "
            "without labels: leave it out of --metrics, or choose another --extractor"
        )
    found = min(num, reference) if "reference" in metric.needs else num
    if found < metric.least:
        raise UserError(
            f"{name} needs at least {metric.least} images on each side, found {num} generated "
            f"(--num) and {reference} real ones in split {split!r} (--split)"
        )


def evaluate(
    sampler: Sampler,
    source: ImageSource,
    extractor: Extractor,
    request: Request,
    seed: int = 0,
    cache_dir: Path | None = None,
    inspect: Inspect | None = None,
    latents: LatentModel | None = None,
) -> dict[str, Any]:
    """Samples `request.num` images and scores them.

    Metrics of labels ask for class i % K in row i. All others are taken on images in the
    reference's class proportions (the same images when the reference is balanced).

    Args:
      sampler: `sampler(n, seed=s, labels=...)` -> (n, R, R, C) uint8, where row i depends on seed
        s + i and its own label alone; `GANSystem.sample` is one. `labels` is (n,) int64, or None
        for an unconditional generator.
      source: the real images.
      extractor: of the features.
      request: from `check`.
      seed: row i has the seed `seed * 10^9 + i`.
      cache_dir: where features of the reference are kept for extractors without a folder.
      inspect: gets the context and the result, before this returns; `report.write` is one.
      latents: the generator from its latents, for the metrics that need it.

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
            if request.needs("labels"):
                plans["balanced"] = balanced
            if any("labels" not in METRICS[name].needs for name in request.metrics):
                # Sorted by class as it stands: its front, of which images are kept, would be of a
                # few classes only.
                order = material.mixed_rows(request.num, request.num)
                plans["reference proportions"] = proportional[order]
    sets: dict[str, Seen] = {
        rule: material.sample(sampler, extractor, labels, request.num, seed, request.keep)
        if request.looks_at_samples
        else material.nothing(request.num, source)
        for rule, labels in plans.items()
    }
    distance_rule, accuracy_rule = list(sets)[-1], next(iter(sets))
    context = Context(
        source,
        request.split,
        extractor,
        fake=sets[distance_rule],
        judged=sets[accuracy_rule],
        asked=plans[accuracy_rule],
        cache_dir=cache_dir,
        latents=latents,
        seed=seed,
    )
    fields = {
        "labels": {"distances": distance_rule, "label_accuracy": accuracy_rule},
        "seeds": {"samples": f"{seed} * 10^9 + row", "seed": seed},
    }
    return _result(context, request, fields, start, inspect)


def evaluate_images(
    images: np.ndarray,
    labels: np.ndarray | None,
    source: ImageSource,
    extractor: Extractor,
    request: Request,
    cache_dir: Path | None = None,
    inspect: Inspect | None = None,
) -> dict[str, Any]:
    """Scores images that exist already, for example fetched from a server.

    Args:
      images: (N, R, R, C) uint8, N at least `request.num`, of which a fixed random choice is
        used.
      labels: (N,) integer labels that were asked for, or None.
      source: the real images.
      extractor: of the features.
      request: from `check`.
      cache_dir: as in `evaluate`.
      inspect: as in `evaluate`.

    Returns:
      As `evaluate`.
    """
    start = time.monotonic()
    # Folders are sorted by class: a front of them would be of a few classes only.
    rows = material.mixed_rows(len(images), request.num)
    labels = None if labels is None else np.asarray(labels)[rows]
    seen = material.see(extractor, images[rows], request.keep)
    context = Context(
        source,
        request.split,
        extractor,
        fake=seen,
        judged=seen,
        asked=labels,
        cache_dir=cache_dir,
    )
    fields = {"labels": {"distances": "as given", "label_accuracy": "as given"}, "seeds": {}}
    return _result(context, request, fields, start, inspect)


def _result(
    context: Context,
    request: Request,
    fields: dict[str, Any],
    start: float,
    inspect: Inspect | None,
) -> dict[str, Any]:
    extractor, source = context.extractor, context.source
    outcomes = {name: METRICS[name].compute(context) for name in request.metrics}
    scores = {k: float(v) for score in outcomes.values() for k, v in score.values.items()}
    for name, value in scores.items():
        if not np.isfinite(value):
            raise RuntimeError(f"{name} is {value}: the images or the extractor are broken")
    counts = {"generated": len(context.fake.features)}
    if context.used_reference:
        counts["reference"] = source.count(request.split)
    result: dict[str, Any] = {
        "scores": scores,
        "names": {
            name: score.name or suite.full_name(name, extractor) for name, score in outcomes.items()
        },
        "extractor": {
            "name": extractor.name,
            "hash": extractor.hash,
            **{key: extractor.card[key] for key in _CARD_KEYS if key in extractor.card},
        },
    }
    for score in outcomes.values():
        result |= score.more
    result["passport"] = {
        "extractor": f"{extractor.name} {extractor.hash}",
        "extractor_fingerprint": extractor.card["fingerprint"],
        "counts": counts,
        "split": request.split,
        "resolution": source.resolution,
        "channels": source.channels,
        "dtype": "images uint8, features float32, algebra float64",
        **fields,
        **{name: score.settings for name, score in outcomes.items() if score.settings},
        "data": {"name": source.name, "fingerprint": source.fingerprint},
        "code": {"version": passport.code_version(), "commit": passport.code_commit()},
        "seconds": round(time.monotonic() - start, 2),
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    if inspect is not None:
        inspect(context, result)
    return result
