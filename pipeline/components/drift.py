"""What has changed between an earlier span of the data and this one.

Distances are those of TFDV's comparators, with the bounds that the schema keeps. What two small
samples of the same pictures differ by is not called drift: chance is allowed for on top of each
bound, so that a folder of fifty pictures does not cry wolf, and at thousands it hardly counts.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from pipeline.components.checks import MIX_BLOCKS, Finding, features, is_train, mix, worst_gap

# Beyond the schema's bounds, which warn: where drift stops a training.
SHAPE_BLOCKS = 0.5  # Jensen-Shannon divergence in bits
LEAST_BLOCKS = 0.5  # of the baseline's images
# A channel's mean may move by this share of its standard deviation, over all pixels.
MEAN_WARNS, MEAN_BLOCKS = 0.25, 1.0


def check(statistics: Any, baseline: Any, schema: Any) -> Iterator[Finding]:
    """Yields how the train splits differ from those of earlier statistics.

    Args:
      statistics, baseline: `DatasetFeatureStatisticsList`, now and before.
      schema: `Schema` with the bounds; a comparator that it lacks is not applied.
    """
    before = {dataset.name: dataset for dataset in baseline.datasets}
    wanted = {feature.name: feature for feature in schema.feature}
    for dataset in statistics.datasets:
        earlier = before.get(dataset.name)
        if not is_train(dataset.name):
            continue
        if earlier is None:
            yield _nothing_before(dataset.name, before)
            continue
        if not dataset.num_examples or not earlier.num_examples:
            continue
        yield from _count(dataset, earlier, schema)
        yield from _mix(dataset, earlier, wanted.get("class_name"))
        for name in ("brightness", "contrast"):
            yield from _shape(name, dataset, earlier, wanted.get(name))
        yield from _means(dataset, earlier)


def _nothing_before(split: str, before: Iterable[str]) -> Finding:
    return Finding(
        "",
        split,
        "COMPARATOR_CONTROL_DATA_MISSING",
        False,
        "nothing to compare with",
        f"the baseline has no split {split!r}, only {', '.join(before)}, so drift was not looked "
        "for",
        "give the report of data of the same kind as baseline",
    )


def _count(dataset: Any, earlier: Any, schema: Any) -> Iterator[Finding]:
    """Number of images against that of before."""
    comparator = schema.dataset_constraints.num_examples_drift_comparator
    share = dataset.num_examples / earlier.num_examples
    if share < comparator.min_fraction_threshold:
        yield Finding(
            "",
            dataset.name,
            "COMPARATOR_LOW_NUM_EXAMPLES",
            share < LEAST_BLOCKS,
            "fewer images",
            f"split {dataset.name!r} has {dataset.num_examples} images, the baseline "
            f"{earlier.num_examples}",
            "see whether the source is whole (a folder not mounted, a copy cut short), and what "
            "quarantine.jsonl lists",
        )


def _mix(dataset: Any, earlier: Any, wanted: Any) -> Iterator[Finding]:
    """Class mix: largest difference of a share, L-infinity."""
    gap = worst_gap(mix(dataset), mix(earlier))
    if wanted is None or not wanted.drift_comparator.HasField("infinity_norm") or gap is None:
        return
    name, distance, now, then = gap
    bound = wanted.drift_comparator.infinity_norm.threshold
    pooled = (now + then) / 2
    chance = 2 * math.sqrt(pooled * (1 - pooled) * _inverse_size(dataset, earlier))
    if distance > bound + chance:
        yield Finding(
            "class_name",
            dataset.name,
            "COMPARATOR_L_INFTY_HIGH",
            distance > MIX_BLOCKS + chance,
            "class mix has drifted",
            f"class {name!r} is {now:.1%} of split {dataset.name!r} and was {then:.1%} in the "
            "baseline",
            "bring the mix back, or accept it: use these data as the baseline from now on",
            ("L_INFTY", distance, bound, "drift"),
        )


def _shape(name: str, dataset: Any, earlier: Any, wanted: Any) -> Iterator[Finding]:
    """Distribution of one value per image: Jensen-Shannon divergence of the histograms."""
    if wanted is None or not wanted.drift_comparator.HasField("jensen_shannon_divergence"):
        return
    now, then = (features(d).get(name) for d in (dataset, earlier))
    if now is None or then is None:
        return
    counts = [_histogram(feature) for feature in (now, then)]
    if any(c is None for c in counts) or len(counts[0]) != len(counts[1]):
        return
    divergence = jensen_shannon(*counts)
    bound = wanted.drift_comparator.jensen_shannon_divergence.threshold
    chance = by_chance(*counts)
    if divergence > bound + chance:
        yield Finding(
            name,
            dataset.name,
            "COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH",
            divergence > SHAPE_BLOCKS + chance,
            f"{name} has drifted",
            f"{name} of split {dataset.name!r} is {now.num_stats.mean:.0f} ± "
            f"{now.num_stats.std_dev:.0f} and was {then.num_stats.mean:.0f} ± "
            f"{then.num_stats.std_dev:.0f} in the baseline (Jensen-Shannon divergence "
            f"{divergence:.2f}, bound {bound:.2f})",
            "look for another camera, lamp or converter in the source, or use these data as the "
            "baseline from now on",
            ("JENSEN_SHANNON_DIVERGENCE", divergence, bound, "drift"),
        )


def _means(dataset: Any, earlier: Any) -> Iterator[Finding]:
    """Means of channels, in standard deviations of before: one finding for all that moved."""
    now, then = features(dataset), features(earlier)
    spread = then["brightness"].num_stats.std_dev if "brightness" in then else 0.0
    chance = 2 * spread * math.sqrt(_inverse_size(dataset, earlier))  # of an average, in values
    for prefix, whose in (("pixel_", ""), ("pair_", " of the second pictures")):
        moved = []
        for name in now:
            if name in then and name.startswith(prefix) and name != "pair_channels":
                mean, before = now[name].num_stats.mean, then[name].num_stats.mean
                unit = max(then[name].num_stats.std_dev, 1.0)
                shift = max(abs(mean - before) - chance, 0.0) / unit
                if shift > MEAN_WARNS:
                    moved.append((shift, name, f"{mean:.0f}", f"{before:.0f}"))
        if not moved:
            continue
        most, worst, *_ = max(moved)
        channels = [name.removeprefix(prefix) for _, name, *_ in moved]
        means, were = (", ".join(row[i] for row in moved) for i in (2, 3))
        several = len(moved) > 1
        yield Finding(
            worst,
            dataset.name,
            "CUSTOM_VALIDATION",
            most > MEAN_BLOCKS,
            "colour has shifted" if channels != ["grey"] else "grey has shifted",
            f"the mean{'s' * several} of {', '.join(channels)}{whose} {'are' if several else 'is'} "
            f"{means} in split {dataset.name!r} and {'were' if several else 'was'} {were} in the "
            "baseline",
            "look for another colour space, white balance or background, or use these data as "
            "the baseline from now on",
        )


def _inverse_size(dataset: Any, earlier: Any) -> float:
    return 1 / dataset.num_examples + 1 / earlier.num_examples


def _histogram(feature: Any) -> np.ndarray | None:
    """Counts of the feature's histogram of equal bins."""
    for histogram in feature.num_stats.histograms:
        if histogram.type == histogram.STANDARD:
            return np.array([bucket.sample_count for bucket in histogram.buckets])
    return None


def jensen_shannon(first: Sequence[float], second: Sequence[float]) -> float:
    """Jensen-Shannon divergence, in bits (0 to 1), of two histograms over the same bins.

    Args:
      first, second: (K,) counts, neither all zero.
    """
    p = np.asarray(first, np.float64) / np.sum(first)
    q = np.asarray(second, np.float64) / np.sum(second)
    middle = (p + q) / 2

    def divergence(x: np.ndarray) -> float:
        there = x > 0
        return float(np.sum(x[there] * np.log2(x[there] / middle[there])))

    return (divergence(p) + divergence(q)) / 2


def by_chance(first: Sequence[float], second: Sequence[float]) -> float:
    """What `jensen_shannon` hardly exceeds for two samples of one and the same distribution.

    To second order the divergence of two samples of n and m values in k occupied bins is
    chi2(k - 1) (1/n + 1/m) / (8 ln 2); this is its mean plus two standard deviations.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    free = max(int(np.count_nonzero(first + second)) - 1, 0)
    inverse = 1 / first.sum() + 1 / second.sum()
    return (free + 2 * math.sqrt(2 * free)) * inverse / (8 * math.log(2))
