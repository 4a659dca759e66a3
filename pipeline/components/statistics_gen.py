"""StatisticsGen: what a data folder holds, as standard tensorflow-metadata protos.

Writes two files that TFX's and TFDV's tools read:

* `FeatureStats.pb`, a `DatasetFeatureStatisticsList` with one entry per split;
* `schema.pbtxt`, a `Schema` inferred from them.

Features described: `image` (bytes; custom statistics `constant`, `black`, `grey`, `duplicates` and
`seen_in_train` count images), `height`, `width`, `channels`, `pixel_grey` or `pixel_red`, `_green`,
`_blue` (one value per pixel, 0..255), `brightness` and `contrast` (mean and standard deviation over
the pixels of an image, 0..255) and, with labels, `label` and `class_name`.

All is exact: every pixel of the largest level is counted into 256 bins per channel, and moments and
medians follow from the bins. One Beam element is one shard, read in batches.
"""

import dataclasses
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganpipe.cli import app
from ganpipe.data import manifest
from ganpipe.data.manifest import DatasetInfo
from pipeline import beam_options as beam_flags

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

STATISTICS = "FeatureStats.pb"
SCHEMA = "schema.pbtxt"
# Largest difference of a class's share between two splits that the schema allows.
CLASS_MIX_THRESHOLD = 0.1
_READ = 1024  # images at once
_CHANNEL_NAMES = {1: ("grey",), 3: ("red", "green", "blue")}


@dataclasses.dataclass(frozen=True)
class Measurements:
    """What is counted over a set of images.

    Attributes:
      pixels: (C, 256) int64, how often each value occurs per channel.
      labels: (K,) int64, images per class.
      brightness: (N,) float32, mean over pixels and channels of each image, 0..255.
      contrast: (N,) float32, standard deviation over pixels and channels of each image.
      digests: (N,) uint64, a hash of each image's bytes.
      constant, black, grey: images whose pixels are all equal, all zero, all without colour.
    """

    pixels: np.ndarray
    labels: np.ndarray
    brightness: np.ndarray
    contrast: np.ndarray
    digests: np.ndarray
    constant: int
    black: int
    grey: int

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray, num_classes: int) -> "Measurements":
        """Measures (N, H, W, C) uint8 images with (N,) labels."""
        count, channels = len(images), images.shape[-1]
        flat = images.reshape(count, int(np.prod(images.shape[1:])))
        # Integer sums are exact; float64 keeps the difference of squares exact enough.
        total = flat.sum(axis=1, dtype=np.int64)
        squares = np.einsum("ij,ij->i", flat, flat, dtype=np.int64)
        mean = total / flat.shape[1]
        variance = np.maximum(squares / flat.shape[1] - mean**2, 0)
        low, high = flat.min(axis=1, initial=255), flat.max(axis=1, initial=0)
        same_colour = (images == images[..., :1]).all(axis=(1, 2, 3))
        digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in flat]
        return cls(
            pixels=np.stack(
                [np.bincount(images[..., c].ravel(), minlength=256) for c in range(channels)]
            ),
            labels=np.bincount(labels, minlength=num_classes)[:num_classes].astype(np.int64),
            brightness=mean.astype(np.float32),
            contrast=np.sqrt(variance).astype(np.float32),
            digests=np.frombuffer(b"".join(digests), np.uint64),
            constant=int((low == high).sum()),
            black=int((high == 0).sum()),
            grey=int(same_colour.sum()),
        )

    @classmethod
    def merge(cls, parts: Iterable["Measurements"], channels: int, classes: int) -> "Measurements":
        """Adds up measurements of disjoint sets of images."""
        none = cls.of(np.zeros((0, 1, 1, channels), np.uint8), np.zeros(0, np.int64), classes)
        parts = [none, *parts]
        joined = {}
        for field in dataclasses.fields(cls):
            values = [getattr(part, field.name) for part in parts]
            if field.name in ("brightness", "contrast", "digests"):
                joined[field.name] = np.concatenate(values)
            else:
                joined[field.name] = np.sum(values, axis=0)
        return cls(**joined)


def run(
    data_dir: str | Path,
    out_dir: str | Path,
    *,
    beam_options: "PipelineOptions | None" = None,
) -> dict[str, Any]:
    """Computes statistics and schema of a data folder.

    Args:
      data_dir: folder written by `pipeline.prepare`.
      out_dir: folder for `FeatureStats.pb` and `schema.pbtxt`; made if need be.
      beam_options: where to run; in this process if None.

    Returns:
      A flat summary (numbers and strings) for reports.

    Raises:
      UserError: no such folder, or a shard that is missing or damaged.
    """
    data = manifest.info(data_dir)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    top = data.max_resolution
    with tempfile.TemporaryDirectory(prefix=".statistics-", dir=out) as scratch:
        elements = []
        for split in data.splits:
            manifest.check_files(data, split, top, hash_up_to=512 << 20)
            files = data.files(split, top)
            elements += [(split, i, str(f["path"])) for i, f in enumerate(files)]
        job = functools.partial(
            _measure_shard,
            shape=(top, top, data.channels),
            num_classes=data.num_classes,
            scratch=scratch,
        )
        beam_flags.run_over(elements, job, beam_options)
        parts: dict[str, list[Measurements]] = {split: [] for split in data.splits}
        for split, index, _ in elements:
            parts[split].append(_read_part(Path(scratch) / f"{split}-{index:05d}.npz"))
    measured = {
        split: Measurements.merge(values, data.channels, data.num_classes)
        for split, values in parts.items()
    }
    statistics = to_proto(data, measured)
    _write(out / STATISTICS, statistics.SerializeToString(deterministic=True))
    from google.protobuf import text_format

    schema = text_format.MessageToString(infer_schema(data), as_utf8=True)
    _write(out / SCHEMA, schema.encode())
    return summarise(data, measured)


def _measure_shard(
    element: tuple[str, int, str], shape: tuple[int, int, int], num_classes: int, scratch: str
) -> None:
    """Measures one shard, leaving the result as an .npz file."""
    app.import_tensorflow()
    import tensorflow as tf

    split, index, path = element
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    dataset = tf.data.TFRecordDataset(path, buffer_size=1 << 20).batch(_READ)
    dataset = dataset.map(lambda rows: tf.io.parse_example(rows, spec))
    dataset = dataset.map(lambda f: (tf.io.decode_raw(f["image"], tf.uint8), f["label"]))
    parts = [
        Measurements.of(pixels.reshape(-1, *shape), labels, num_classes)
        for pixels, labels in dataset.prefetch(1).as_numpy_iterator()
    ]
    whole = Measurements.merge(parts, shape[-1], num_classes)
    target = Path(scratch) / f"{split}-{index:05d}.npz"
    partial = target.with_name(f".{target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with open(partial, "wb") as file:
        np.savez(file, **{f.name: getattr(whole, f.name) for f in dataclasses.fields(whole)})
    os.replace(partial, target)


def _read_part(path: Path) -> Measurements:
    with np.load(path) as arrays:
        return Measurements(**{name: arrays[name] for name in arrays.files})


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, path)


def pixel_moments(counts: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of values 0..255 that occur `counts` (256,) times."""
    values, total = np.arange(256), counts.sum()
    if total == 0:
        return 0.0, 0.0
    mean = float(counts @ values) / float(total)
    return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / total))


def summarise(data: DatasetInfo, measured: Mapping[str, Measurements]) -> dict[str, Any]:
    """A flat dictionary of JSON numbers and strings."""
    first = next(iter(measured.values()))
    summary: dict[str, Any] = {f"{split}_images": len(m.digests) for split, m in measured.items()}
    summary |= {"resolution": data.max_resolution, "channels": data.channels}
    summary["classes"] = data.num_classes
    for name, counts in zip(_CHANNEL_NAMES[data.channels], first.pixels, strict=True):
        mean, std = pixel_moments(counts)
        summary[f"{name}_mean"], summary[f"{name}_std"] = round(mean, 3), round(std, 3)
    summary["constant_images"] = sum(int(m.constant) for m in measured.values())
    duplicates = len(first.digests) - len(np.unique(first.digests))
    summary["duplicate_train_images"] = duplicates
    if "test" in measured and "train" in measured:
        seen = np.isin(measured["test"].digests, measured["train"].digests)
        summary["test_images_seen_in_train"] = int(seen.sum())
    return summary


def to_proto(data: DatasetInfo, measured: Mapping[str, Measurements]):
    """The `DatasetFeatureStatisticsList` of all splits."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    result = statistics_pb2.DatasetFeatureStatisticsList()
    train = measured.get("train")
    for split, m in measured.items():
        count = len(m.digests)
        dataset = result.datasets.add(name=split, num_examples=count)
        side = data.max_resolution
        image = _feature(dataset, "image", "BYTES")
        size = side * side * data.channels
        _common(image.bytes_stats.common_stats, count, 1)
        image.bytes_stats.unique = len(np.unique(m.digests))
        image.bytes_stats.avg_num_bytes = image.bytes_stats.min_num_bytes = size
        image.bytes_stats.max_num_bytes = image.bytes_stats.max_num_bytes_int = size
        custom = {"constant": m.constant, "black": m.black, "grey": m.grey}
        custom["duplicates"] = count - len(np.unique(m.digests))
        if train is not None and split != "train":
            custom["seen_in_train"] = int(np.isin(m.digests, train.digests).sum())
        for name, value in custom.items():
            image.custom_stats.add(name=name, num=float(value))
        for name, value in (("height", side), ("width", side), ("channels", data.channels)):
            _from_counts(_feature(dataset, name, "INT"), np.array([value]), np.array([count]), 1)
        for name, counts in zip(_CHANNEL_NAMES[data.channels], m.pixels, strict=True):
            feature = _feature(dataset, f"pixel_{name}", "INT")
            _from_counts(feature, np.arange(256), counts, side * side, buckets=16)
        _from_values(_feature(dataset, "brightness", "FLOAT"), m.brightness)
        _from_values(_feature(dataset, "contrast", "FLOAT"), m.contrast)
        if data.num_classes:
            label = _feature(dataset, "label", "INT")
            _from_counts(label, np.arange(data.num_classes), m.labels, 1, buckets=data.num_classes)
            _class_names(_feature(dataset, "class_name", "STRING"), data.class_names, m.labels)
    return result


def _feature(dataset, name: str, kind: str):
    """Adds a feature of a type given by name (INT, FLOAT, STRING, BYTES)."""
    feature = dataset.features.add()
    feature.type = feature.Type.Value(kind)
    feature.path.step.append(name)  # `path` has taken the place of `name` in the proto
    return feature


def _common(common, examples: int, values_each: int) -> None:
    common.num_non_missing = examples
    common.min_num_values = common.max_num_values = values_each if examples else 0
    common.avg_num_values = float(values_each if examples else 0)
    common.tot_num_values = examples * values_each


def _from_counts(
    feature, values: np.ndarray, counts: np.ndarray, values_each: int, buckets: int = 1
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


def _from_values(feature, values: np.ndarray) -> None:
    """Numeric statistics, 20 equal bins over 0..255 and deciles, of one value per image."""
    stats = feature.num_stats
    _common(stats.common_stats, len(values), 1)
    if len(values) == 0:
        return
    values = values.astype(np.float64)
    stats.mean, stats.std_dev = float(values.mean()), float(values.std())
    stats.num_zeros = int((values == 0).sum())
    stats.min, stats.median, stats.max = map(float, np.quantile(values, [0, 0.5, 1]))
    counts, edges = np.histogram(values, bins=20, range=(0, 255))
    deciles = np.quantile(values, np.linspace(0, 1, 11))
    for kind, heights, borders in (
        (0, counts, edges),
        (1, np.full(10, len(values) / 10), deciles),
    ):
        histogram = stats.histograms.add(type=kind)
        for number, low, high in zip(heights, borders[:-1], borders[1:], strict=True):
            histogram.buckets.add(low_value=low, high_value=high, sample_count=float(number))


def _class_names(feature, names: Sequence[str], counts: np.ndarray) -> None:
    """Categorical statistics, most frequent class first; absent classes are left out."""
    stats, total = feature.string_stats, int(counts.sum())
    _common(stats.common_stats, total, 1)
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i]]
    stats.unique = len(order)
    lengths = [len(name.encode()) for name in names]
    stats.avg_length = float(counts @ np.array(lengths)) / total if total else 0.0
    for rank, i in enumerate(order):
        stats.top_values.add(value=names[i], frequency=float(counts[i]))
        stats.rank_histogram.buckets.add(
            low_rank=rank, high_rank=rank, label=names[i], sample_count=float(counts[i])
        )


def infer_schema(data: DatasetInfo):
    """The `Schema` that further data of this kind must keep to."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()

    def add(name: str, kind: int):
        feature = schema.feature.add(name=name, type=kind)
        feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
        feature.shape.dim.add(size=1)
        return feature

    side = data.max_resolution
    add("image", schema_pb2.BYTES)
    for name, value in (("height", side), ("width", side), ("channels", data.channels)):
        domain = add(name, schema_pb2.INT).int_domain
        domain.min = domain.max = value
    if data.num_classes:
        domain = add("label", schema_pb2.INT).int_domain
        domain.min, domain.max, domain.is_categorical = 0, data.num_classes - 1, True
        feature = add("class_name", schema_pb2.BYTES)
        feature.string_domain.name = "class_name"
        feature.string_domain.value.extend(data.class_names)
        feature.drift_comparator.infinity_norm.threshold = CLASS_MIX_THRESHOLD
    return schema
