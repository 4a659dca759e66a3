"""Measurements as a `DatasetFeatureStatisticsList`, the proto that TFX's and TFDV's tools read.

| feature | type | of what |
| --- | --- | --- |
| image | BYTES | pixels of the top level; custom statistics, all numbers of images: `constant`, `black`, `grey`, `duplicates`, `look_alikes`, `near_duplicates`, `seen_in_train`, `look_alikes_seen_in_train`, `near_duplicates_seen_in_train` |
| height, width, channels | INT | one value per image |
| pixel_grey or pixel_red, _green, _blue | INT | one value per pixel, 0..255 |
| brightness, contrast | FLOAT | mean and standard deviation over an image's values, 0..255 |
| label, class_name | INT, STRING | one per image, with classes; custom statistic `table` of `class_name`: every name in the order of labels, absent ones too |
| map_class | STRING | one per pixel of label maps; 255 is called `unknown`, other ids without a name `id N`; custom statistics `unknown_pixels`, `images_with_unknown_ids`, `table` as above |
| pair_channels, pair_grey or pair_red, ... | INT | as `channels` and `pixel_...`, of second pictures |
"""  # noqa: E501

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ganpipe.data.manifest import DatasetInfo
from ganpipe.data.transforms import UNKNOWN
from pipeline.components.duplicates import Duplicates, SplitDuplicates
from pipeline.components.measure import UNKNOWN_ID, Measurements
from pipeline.components.schema import TABLE, printable

PIXEL_BUCKETS, VALUE_BUCKETS = 64, 20


def channel_names(channels: int) -> tuple[str, ...]:
    """Names of 1 or 3 channels."""
    return ("grey",) if channels == 1 else ("red", "green", "blue")


def to_proto(
    data: DatasetInfo, measured: Mapping[str, Measurements], found: Duplicates | None = None
) -> Any:
    """The `DatasetFeatureStatisticsList` of all splits, in the order of `measured`."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    result = statistics_pb2.DatasetFeatureStatisticsList()
    for split, m in measured.items():
        dataset = result.datasets.add(name=split, num_examples=m.count)
        _images(dataset, data, m, (found.splits[split] if found else SplitDuplicates()), split)
        height, width, _ = data.shape(data.max_resolution)
        area = height * width
        for prefix, counts in (("pixel", m.pixels), ("pair", m.pair_pixels)):
            for name, channel in zip(channel_names(len(counts)), counts, strict=False):
                feature = _feature(dataset, f"{prefix}_{name}", "INT")
                _from_counts(feature, np.arange(256), channel, area, buckets=PIXEL_BUCKETS)
        _from_values(_feature(dataset, "brightness", "FLOAT"), m.brightness)
        _from_values(_feature(dataset, "contrast", "FLOAT"), m.contrast)
        if data.num_classes:
            label = _feature(dataset, "label", "INT")
            _from_counts(label, np.arange(data.num_classes), m.labels, 1, buckets=data.num_classes)
            feature = _feature(dataset, "class_name", "STRING")
            _names(feature, data.class_names, m.labels, 1)
            _table(feature, data.class_names, m.labels)
        if data.map_classes:
            known = len(data.map_classes)
            names = [*data.map_classes, *(f"id {i}" for i in range(known, UNKNOWN)), "unknown"][
                :256
            ]
            feature = _feature(dataset, "map_class", "STRING")
            _names(feature, names, m.map_ids, area)
            unknown = int(m.map_ids[known:UNKNOWN].sum())
            feature.custom_stats.add(name="unknown_pixels", num=float(unknown))
            images = int(m.flagged(UNKNOWN_ID).sum())
            feature.custom_stats.add(name="images_with_unknown_ids", num=float(images))
            _table(feature, data.map_classes, m.map_ids)
    return result


def _images(
    dataset: Any, data: DatasetInfo, m: Measurements, found: SplitDuplicates, split: str
) -> None:
    """The features `image`, `height`, `width`, `channels` and `pair_channels`."""
    height, width, channels = data.shape(data.max_resolution)
    size = height * width * channels
    image = _feature(dataset, "image", "BYTES")
    _common(image.bytes_stats.common_stats, m.count, 1)
    image.bytes_stats.unique = m.count - found.copies
    image.bytes_stats.avg_num_bytes = image.bytes_stats.min_num_bytes = size
    image.bytes_stats.max_num_bytes = image.bytes_stats.max_num_bytes_int = size
    custom = {
        "constant": m.constant,
        "black": m.black,
        "grey": m.grey,
        "duplicates": found.copies,
        "look_alikes": found.look_alikes,
        "near_duplicates": found.near,
    }
    if not split.startswith("train"):
        custom |= {
            "seen_in_train": found.seen,
            "look_alikes_seen_in_train": found.look_alikes_seen,
            "near_duplicates_seen_in_train": found.near_seen,
        }
    for name, value in custom.items():
        image.custom_stats.add(name=name, num=float(value))
    whole = {"height": height, "width": width, "channels": channels}
    if data.pair_channels:
        whole["pair_channels"] = data.pair_channels
    for name, value in whole.items():
        _from_counts(_feature(dataset, name, "INT"), np.array([value]), np.array([m.count]), 1)


def pixel_moments(counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of values 0..255 that occur `counts` (256,) times."""
    values, total = np.arange(256), counts.sum()
    if total == 0:
        return 0.0, 0.0
    mean = float(counts @ values) / float(total)
    return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / total))


def _feature(dataset: Any, name: str, kind: str) -> Any:
    """Adds a feature of a type given by name (INT, FLOAT, STRING, BYTES)."""
    feature = dataset.features.add()
    feature.type = feature.Type.Value(kind)
    feature.path.step.append(name)  # `path` has taken the place of `name` in the proto
    return feature


def _common(common: Any, examples: int, values_each: int) -> None:
    common.num_non_missing = examples
    common.min_num_values = common.max_num_values = values_each if examples else 0
    common.avg_num_values = float(values_each if examples else 0)
    common.tot_num_values = examples * values_each


def _from_counts(
    feature: Any, values: np.ndarray, counts: np.ndarray, values_each: int, buckets: int = 1
) -> None:
    """Numeric statistics of ascending whole `values` that occur `counts` times each."""
    stats, total = feature.num_stats, int(counts.sum())
    _common(stats.common_stats, total // values_each, values_each)
    if total == 0:
        return
    mean = float(counts @ values) / total
    present = values[counts > 0]
    stats.mean = mean
    stats.std_dev = float(np.sqrt((counts * (values - mean) ** 2).sum() / total))
    stats.num_zeros = int(counts[values == 0].sum())
    stats.min, stats.max = float(present[0]), float(present[-1])
    stats.median = float(values[np.searchsorted(np.cumsum(counts), (total + 1) // 2)])
    histogram = stats.histograms.add(type=0)
    for part, number in zip(
        np.array_split(values, buckets), np.array_split(counts, buckets), strict=True
    ):
        histogram.buckets.add(
            low_value=float(part[0]), high_value=float(part[-1] + 1), sample_count=number.sum()
        )


def _from_values(feature: Any, values: np.ndarray) -> None:
    """Numeric statistics, 20 equal bins over 0..255 and deciles, of one value per image."""
    stats = feature.num_stats
    _common(stats.common_stats, len(values), 1)
    if len(values) == 0:
        return
    values = values.astype(np.float64)
    stats.mean, stats.std_dev = float(values.mean()), float(values.std())
    stats.num_zeros = int((values == 0).sum())
    stats.min, stats.median, stats.max = map(float, np.quantile(values, [0, 0.5, 1]))
    counts, edges = np.histogram(values, bins=VALUE_BUCKETS, range=(0, 255))
    deciles = np.quantile(values, np.linspace(0, 1, 11))
    for kind, heights, borders in (
        (0, counts, edges),
        (1, np.full(10, len(values) / 10), deciles),
    ):
        histogram = stats.histograms.add(type=kind)
        for number, low, high in zip(heights, borders[:-1], borders[1:], strict=True):
            histogram.buckets.add(low_value=low, high_value=high, sample_count=float(number))


def _names(feature: Any, names: Sequence[str], counts: np.ndarray, values_each: int) -> None:
    """Categorical statistics, most frequent name first; absent names are left out."""
    stats, total = feature.string_stats, int(counts.sum())
    _common(stats.common_stats, total // values_each, values_each)
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
    stats.unique = len(order)
    names = [printable(name) for name in names]
    lengths = np.array([len(name.encode()) for name in names])
    stats.avg_length = float(counts @ lengths) / total if total else 0.0
    for rank, i in enumerate(order):
        stats.top_values.add(value=names[i], frequency=float(counts[i]))
        stats.rank_histogram.buckets.add(
            low_rank=rank, high_rank=rank, label=names[i], sample_count=float(counts[i])
        )


def _table(feature: Any, names: Sequence[str], counts: np.ndarray) -> None:
    """The names by id: what the values mean, which neither their frequency nor a schema tells."""
    table = feature.custom_stats.add(name=TABLE).rank_histogram
    for i, name in enumerate(names):
        table.buckets.add(
            low_rank=i, high_rank=i, label=printable(name), sample_count=float(counts[i])
        )
