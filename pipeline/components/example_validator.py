"""ExampleValidator: what the statistics say that should stop a training, or at least be known.

Reads `FeatureStats.pb` and `schema.pbtxt` of StatisticsGen and writes `anomalies.pbtxt`, a standard
tensorflow-metadata `Anomalies` proto. Severity ERROR blocks, WARNING is only told.

| check | blocks | warns |
| --- | --- | --- |
| a split is empty; there is no test split | empty | none there |
| size, channels or classes are not those of the schema | always | |
| a class has no images | train | other splits |
| a class has under a tenth of its fair share (1 % with ten classes) | | train |
| class mix of train and another split differs, largest share (L-infinity) | over 0.3 | over 0.1 |
| images of one single value; all-black images | over 20 % | over 1 % |
| grey images in a colour set | | over 1 % |
| the same image twice in train; test images that are also in train | | over 5 %; over 1 % |
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError
from pipeline.components.statistics_gen import SCHEMA, STATISTICS

ANOMALIES = "anomalies.pbtxt"
DRIFT_BLOCKS = 0.3
CONSTANT_WARNS, CONSTANT_BLOCKS = 0.01, 0.2
GREY_WARNS = 0.01
DUPLICATES_WARN, LEAK_WARNS = 0.05, 0.01
FAIR_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Finding:
    """One anomaly: the feature it is about, the proto's reason type, and plain words."""

    feature: str
    split: str
    kind: str
    blocks: bool
    short: str
    text: str


def run(
    stats_dir: str | Path,
    out_dir: str | Path,
    *,
    previous_schema: str | Path | None = None,
) -> dict[str, Any]:
    """Validates the statistics of a data folder.

    Args:
      stats_dir: folder written by `statistics_gen.run`.
      out_dir: folder for `anomalies.pbtxt`; made if need be.
      previous_schema: a `schema.pbtxt` (or the folder of one) that the data must keep to, for
        instance that of the data the model in production was trained on; their own if None.

    Returns:
      {"anomalies": [blocking, in words], "warnings": [others, in words]}: fit for training when the
      first list is empty.

    Raises:
      UserError: statistics or schema missing or unreadable.
    """
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

    stats_dir = Path(stats_dir)
    schema_path = Path(previous_schema) if previous_schema else stats_dir
    if schema_path.is_dir():
        schema_path = schema_path / SCHEMA
    try:
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(
            (stats_dir / STATISTICS).read_bytes()
        )
        schema = text_format.Parse(schema_path.read_text(encoding="utf-8"), schema_pb2.Schema())
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing; run statistics_gen on the data folder first"
        ) from error
    except Exception as error:
        raise UserError(f"statistics or schema cannot be read ({error}); make them anew") from error

    findings = list(check(statistics, schema))
    anomalies = anomalies_pb2.Anomalies(baseline=schema)
    # A path-less finding is about the data set as a whole; the proto keys the others by feature.
    for finding in findings:
        _add(anomalies, finding)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{ANOMALIES}.{os.getpid()}"
    partial.write_text(text_format.MessageToString(anomalies, as_utf8=True), encoding="utf-8")
    os.replace(partial, out / ANOMALIES)
    return {
        "anomalies": [f.text for f in findings if f.blocks],
        "warnings": [f.text for f in findings if not f.blocks],
    }


def _add(anomalies, finding: Finding) -> None:
    """Adds a finding to the proto: one entry per feature, one reason per finding."""
    info = anomalies.anomaly_info[finding.feature]
    kind = info.Type.Value(finding.kind)
    severity = info.ERROR if finding.blocks else info.WARNING
    if not info.path.step:
        info.path.step.append(finding.feature)
    info.severity = max(info.severity, severity)
    info.reason.add(type=kind, short_description=finding.short, description=finding.text)
    info.short_description = (
        finding.short if len(info.reason) == 1 else f"{len(info.reason)} findings"
    )
    info.description = " ".join(reason.description + "." for reason in info.reason)


def check(statistics, schema) -> Iterator[Finding]:
    """Yields what is wrong with a `DatasetFeatureStatisticsList`, by a `Schema`."""
    splits = {dataset.name: dataset for dataset in statistics.datasets}
    if not splits.get("train") or not splits["train"].num_examples:
        yield _empty("train")
        return
    yield from _schema(splits["train"], schema)
    if len(splits) == 1:
        text = "there is no test split, so models will be judged on the images they learnt from"
        yield Finding("image", "", "DATASET_LOW_NUM_EXAMPLES", False, "no test split", text)
    for split, dataset in splits.items():
        if dataset.num_examples == 0:
            yield _empty(split)
            continue
        yield from _images(split, dataset)
        yield from _classes(split, dataset, splits["train"], schema)


def _empty(split: str) -> Finding:
    kind = "DATASET_LOW_NUM_EXAMPLES"
    return Finding("image", split, kind, True, "empty split", f"split {split!r} has no images")


def _features(dataset) -> dict[str, Any]:
    return {feature.path.step[0]: feature for feature in dataset.features}


def _mix(dataset) -> dict[str, float]:
    """Class name -> number of images."""
    feature = _features(dataset).get("class_name")
    values = feature.string_stats.top_values if feature else ()
    return {value.value: value.frequency for value in values}


def _schema(dataset, schema) -> Iterator[Finding]:
    """Size, channels and classes against the schema."""
    found = _features(dataset)
    for wanted in schema.feature:
        feature = found.get(wanted.name)
        if feature is None:
            text = f"feature {wanted.name!r} of the schema is missing: the data have no such thing"
            yield Finding(
                wanted.name, "train", "FEATURE_TYPE_NOT_PRESENT", True, "feature missing", text
            )
        elif wanted.HasField("int_domain") and wanted.name != "label":
            low, high = feature.num_stats.min, feature.num_stats.max
            domain = wanted.int_domain
            if low < domain.min or high > domain.max:
                kind = "INT_TYPE_SMALL_INT" if low < domain.min else "INT_TYPE_BIG_INT"
                text = f"{wanted.name} is {low:g}, the schema asks for {domain.min}"
                yield Finding(wanted.name, "train", kind, True, f"wrong {wanted.name}", text)
        elif wanted.HasField("string_domain"):
            unknown = sorted(set(_mix(dataset)) - set(wanted.string_domain.value))
            if unknown:
                names = ", ".join(repr(name) for name in unknown[:5])
                text = f"{len(unknown)} classes are not in the schema: {names}"
                kind = "ENUM_TYPE_UNEXPECTED_STRING_VALUES"
                yield Finding(wanted.name, "train", kind, True, "unknown classes", text)
    known = {feature.name for feature in schema.feature}
    if "class_name" in found and "class_name" not in known:
        text = "the data have classes, the schema has none"
        yield Finding("class_name", "train", "SCHEMA_NEW_COLUMN", True, "unexpected classes", text)


def _images(split: str, dataset) -> Iterator[Finding]:
    """Images without content, without colour, or more than once."""
    features, count = _features(dataset), dataset.num_examples
    custom = {stat.name: stat.num for stat in features["image"].custom_stats}
    black, constant = custom["black"] / count, custom["constant"] / count
    for share, what in ((black, "all black"), (constant - black, "of one single colour")):
        if share > CONSTANT_WARNS:
            text = f"{share:.1%} of the images of split {split!r} are {what}"
            blocks = share > CONSTANT_BLOCKS
            yield Finding("image", split, "CUSTOM_VALIDATION", blocks, "images of nothing", text)
    grey = custom["grey"] / count
    if features["channels"].num_stats.max > 1 and grey > GREY_WARNS:
        text = f"{grey:.1%} of the images of split {split!r} are grey in a colour set"
        if grey == 1:
            text += "; --channels=1 would train three times lighter inputs"
        yield Finding("image", split, "CUSTOM_VALIDATION", False, "grey among colour", text)
    if split == "train" and custom["duplicates"] > DUPLICATES_WARN * count:
        text = f"{custom['duplicates']:.0f} images of split 'train' occur more than once"
        yield Finding("image", split, "CUSTOM_VALIDATION", False, "duplicates", text)
    seen = custom.get("seen_in_train", 0)
    if seen > LEAK_WARNS * count:
        text = f"{seen:.0f} of the {count} images of split {split!r} are also in 'train'"
        yield Finding("image", split, "CUSTOM_VALIDATION", False, "leak from train", text)


def _classes(split: str, dataset, train, schema) -> Iterator[Finding]:
    """Missing and rare classes, and the class mix against that of the train split."""
    wanted = next((f for f in schema.feature if f.HasField("string_domain")), None)
    mix = _mix(dataset)
    if wanted is None or not mix:
        return
    names, total = list(wanted.string_domain.value), sum(mix.values())
    missing = [name for name in names if not mix.get(name)]
    if missing:
        shown = ", ".join(repr(name) for name in missing[:5])
        text = f"{len(missing)} of {len(names)} classes have no images in split {split!r}: {shown}"
        kind = "FEATURE_TYPE_LOW_UNIQUE"
        yield Finding("class_name", split, kind, split == "train", "classes missing", text)
    if split == "train":
        least = FAIR_SHARE * total / len(names)
        rare = [f"{name!r} ({mix[name]:.0f})" for name in names if 0 < mix.get(name, 0) < least]
        if rare:
            text = (
                f"{len(rare)} of {len(names)} classes have fewer than {least:.0f} of the "
                f"{total:.0f} training images: {', '.join(rare[:5])}"
            )
            yield Finding("class_name", split, "CUSTOM_VALIDATION", False, "rare classes", text)
        return
    other = _mix(train)
    base = sum(other.values())
    if not base:
        return
    gaps = {n: abs(mix.get(n, 0) / total - other.get(n, 0) / base) for n in {*mix, *other}}
    worst = max(gaps, key=lambda n: (gaps[n], n))  # the later name where two differ equally
    threshold = wanted.drift_comparator.infinity_norm.threshold or 1.0
    if gaps[worst] > threshold:
        text = (
            f"class {worst!r} is {other.get(worst, 0) / base:.1%} of 'train' and "
            f"{mix.get(worst, 0) / total:.1%} of {split!r}"
        )
        kind, blocks = "COMPARATOR_L_INFTY_HIGH", gaps[worst] > DRIFT_BLOCKS
        yield Finding("class_name", split, kind, blocks, "class mix differs", text)
