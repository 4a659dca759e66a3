"""What one span of data, by itself and by its schema, has wrong with it.

Every check yields `Finding`s: what was found, and what to do about it.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.components.duplicates import train_split_of
from pipeline.components.schema import TABLE, TABLES

# A share of images, or of a split's class mix, at which it is told and at which it blocks.
CONSTANT_WARNS, CONSTANT_BLOCKS = 0.01, 0.2
GREY_WARNS = 0.01
DUPLICATES_WARN = 0.05
LEAK_WARNS, LEAK_BLOCKS = 0.01, 0.5
MIX_BLOCKS = 0.3
FAIR_SHARE = 0.1
# Named in a message before "and N more".
NAMED = 5


@dataclasses.dataclass(frozen=True)
class Finding:
    """One anomaly.

    Attributes:
      feature: what it is about; "" for the data set as a whole.
      split: "" where it is about all of them.
      kind: name of the reason's type in the Anomalies proto.
      blocks: whether it must stop a training.
      short: a few words.
      text: what was found, a sentence without its full stop.
      remedy: what to do.
      measurement: of a comparison (type by name, value, threshold, "drift" or "skew"), or None.
    """

    feature: str
    split: str
    kind: str
    blocks: bool
    short: str
    text: str
    remedy: str
    measurement: tuple[str, float, float, str] | None = None

    @property
    def words(self) -> str:
        """What was found and what to do."""
        return f"{self.text}: {self.remedy}"


def features(dataset: Any) -> dict[str, Any]:
    """Feature name -> `FeatureNameStatistics` of a split."""
    return {feature.path.step[0]: feature for feature in dataset.features}


def custom(feature: Any) -> dict[str, float]:
    """Custom statistics of a feature by name; 0 for what older statistics lack."""
    return defaultdict(float, {stat.name: stat.num for stat in feature.custom_stats})


def mix(dataset: Any, name: str = "class_name") -> dict[str, float]:
    """Value -> how often it occurs, of a categorical feature; empty if there is none."""
    feature = features(dataset).get(name)
    values = feature.string_stats.top_values if feature else ()
    return {value.value: value.frequency for value in values}


def table(splits: Mapping[str, Any], name: str) -> list[str]:
    """All names of a categorical feature by id, absent ones too; [] of statistics without them."""
    for dataset in splits.values():
        feature = features(dataset).get(name)
        for stat in feature.custom_stats if feature else ():
            if stat.name == TABLE:
                return [bucket.label for bucket in stat.rank_histogram.buckets]
    return []


def some(names: list[str]) -> str:
    """The first few of some names, quoted, and how many more."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(repr(name) for name in names[:NAMED]) + more


def is_train(split: str) -> bool:
    """Whether models learn from this split."""
    return train_split_of(split) is None


def check(statistics: Any, schema: Any) -> Iterator[Finding]:
    """Yields what is wrong with a `DatasetFeatureStatisticsList`, by a `Schema`."""
    splits = {dataset.name: dataset for dataset in statistics.datasets}
    trains = [name for name in splits if is_train(name)] or ["train"]
    for name in trains:
        if name not in splits or not splits[name].num_examples:
            yield _empty(name)
            return
    yield from _against_schema(splits, trains, schema)
    if len(splits) == len(trains):
        yield Finding(
            "",
            "",
            "DATASET_LOW_NUM_EXAMPLES",
            False,
            "no test split",
            "there is no test split, so models will be judged on the images they learnt from",
            "prepare again with --test_fraction=0.1, or give the source a folder test/",
        )
    for split, dataset in splits.items():
        if dataset.num_examples == 0:
            yield _empty(split)
            continue
        train = splits.get(train_split_of(split) or split)
        yield from _images(split, dataset)
        yield from _duplicates(split, dataset)
        yield from _maps(split, dataset)
        yield from _classes(split, dataset, train, schema)


def _empty(split: str) -> Finding:
    return Finding(
        "",
        split,
        "DATASET_LOW_NUM_EXAMPLES",
        True,
        "empty split",
        f"split {split!r} has no images",
        "look at the source and at quarantine.jsonl, and prepare again",
    )


def _against_schema(splits: Mapping[str, Any], trains: list[str], schema: Any) -> Iterator[Finding]:
    """Size, channels, classes and map ids against the schema."""
    first = trains[0]
    found = features(splits[first])
    for wanted in schema.feature:
        feature = found.get(wanted.name)
        if feature is None:
            yield Finding(
                wanted.name,
                first,
                "SCHEMA_MISSING_COLUMN",
                True,
                "feature missing",
                f"the schema asks for {wanted.name!r}, the data have no such thing",
                "prepare from a source that has it (labels, maps, pairs), or give no baseline and "
                "so infer a new schema",
            )
        elif wanted.HasField("int_domain") and wanted.name != "label":
            low, high = feature.num_stats.min, feature.num_stats.max
            domain = wanted.int_domain
            if low < domain.min or high > domain.max:
                remedy = "prepare with the --resolution and --channels of before"
                yield Finding(
                    wanted.name,
                    first,
                    "INT_TYPE_SMALL_INT" if low < domain.min else "INT_TYPE_BIG_INT",
                    True,
                    f"wrong {wanted.name}",
                    f"{wanted.name} is {low:g}, the schema asks for {domain.min}",
                    f"{remedy}, or give no baseline if the change is meant",
                )
        elif wanted.name in TABLES and wanted.HasField("string_domain"):
            yield from _against_table(splits, wanted)
    known = {feature.name for feature in schema.feature}
    for name, what in {**TABLES, "pair_channels": "second pictures"}.items():
        if name in found and name not in known:
            yield Finding(
                name,
                first,
                "SCHEMA_NEW_COLUMN",
                True,
                f"unexpected {what}",
                f"the data have {what}, the schema has none",
                "prepare from a source like that of before, or give no baseline if this is meant",
            )


def _against_table(splits: Mapping[str, Any], wanted: Any) -> Iterator[Finding]:
    """Names, and what ids stand for, against the schema; `_classes` tells of missing classes."""
    name, expected = wanted.name, list(wanted.string_domain.value)
    maps = name == "map_class"
    what = "map class" if maps else "class"

    def told(kind: str, short: str, text: str, remedy: str) -> Finding:
        return Finding(name, "", kind, True, short, text, remedy)

    found = table(splits, name)
    if not found and not maps:  # statistics of before know what occurs, not in which order
        present = set().union(*(mix(dataset) for dataset in splits.values()))
        found = [n for n in expected if n in present] + sorted(present - set(expected))
    unknown = [n for n in found if n not in expected]
    if unknown:
        one = len(unknown) == 1
        which = f"{what} {unknown[0]!r} is" if one else f"{len(unknown)} {what}es are"
        yield told(
            "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
            f"new {what}" if one else f"new {what}es",
            f"{which} not in the schema" + ("" if one else f" ({some(unknown)})"),
            "remove it from the source, or accept it: add its name to string_domain of "
            f"{name} in schema.pbtxt, or use these data as the baseline from now on",
        )
    missing = [n for n in expected if n not in found]
    if missing and maps and found:
        yield told(
            "FEATURE_TYPE_LOW_UNIQUE",
            "map classes missing",
            f"{len(missing)} of {len(expected)} map classes are not in the class table "
            f"({some(missing)})",
            "use the class table of before, or take them off the schema",
        )
    ours = [n for n in found if n in expected]
    theirs = [n for n in expected if n in ours]
    if ours != theirs:
        moved = next((n for n in theirs if found.index(n) != expected.index(n)), theirs[0])
        yield told(
            "CUSTOM_VALIDATION",
            f"{what}es in another order",
            f"{what} {moved!r} has the id {found.index(moved)} and {expected.index(moved)} in the "
            f"schema, so ids mean other {what}es than to models of before",
            "give them the order of before (labels, class table), or change that of string_domain "
            f"of {name} in schema.pbtxt and train anew",
        )


def _images(split: str, dataset: Any) -> Iterator[Finding]:
    """Images without content or without colour."""
    found, count = features(dataset), dataset.num_examples
    numbers = custom(found["image"])
    black, constant = numbers["black"] / count, numbers["constant"] / count
    for share, what in ((black, "all black"), (constant - black, "of one single colour")):
        if share > CONSTANT_WARNS:
            yield Finding(
                "image",
                split,
                "CUSTOM_VALIDATION",
                share > CONSTANT_BLOCKS,
                "images of nothing",
                f"{share:.1%} of the images of split {split!r} are {what}",
                "remove them from the source; statistics.html shows some with their keys",
            )
    grey = numbers["grey"] / count
    if found["channels"].num_stats.max > 1 and grey > GREY_WARNS:
        yield Finding(
            "image",
            split,
            "CUSTOM_VALIDATION",
            False,
            "grey among colour",
            f"{grey:.1%} of the images of split {split!r} are grey in a colour set",
            "prepare with --channels=1, three times lighter inputs"
            if grey == 1
            else "remove them from the source unless they belong to what is to be learnt",
        )


def _duplicates(split: str, dataset: Any) -> Iterator[Finding]:
    """Copies within a train split, and images of another that are in its train split too."""
    numbers, count = custom(features(dataset)["image"]), dataset.num_examples

    def told(short: str, text: str, remedy: str, blocks: bool = False) -> Finding:
        return Finding("image", split, "CUSTOM_VALIDATION", blocks, short, text, remedy)

    train = train_split_of(split)
    if train is None:
        if numbers["duplicates"] > DUPLICATES_WARN * count:
            yield told(
                "duplicates",
                f"{numbers['duplicates']:.0f} of the {count} images of split {split!r} are exact "
                "copies of another",
                "remove them from the source; models learn copied images by heart",
            )
        near = numbers["near_duplicates"]
        if near > DUPLICATES_WARN * count:
            yield told(
                "near-duplicates",
                f"{near:.0f} of the {count} images of split {split!r} look the same as another",
                "look at the pairs in statistics.html and thin them out if they are no variants",
            )
        return
    seen, near = numbers["seen_in_train"], numbers["near_duplicates_seen_in_train"]
    if seen > LEAK_WARNS * count:
        yield told(
            "leak from train",
            f"{seen:.0f} of the {count} images of split {split!r} are also in {train!r}",
            "remove them from one of the two, else scores tell what was learnt by heart",
            seen > LEAK_BLOCKS * count,
        )
    if near > LEAK_WARNS * count:
        yield told(
            "near-duplicates across splits",
            f"{near:.0f} of the {count} images of split {split!r} look the same as one of "
            f"{train!r}",
            "look at the pairs in statistics.html; keep versions of one picture on one side",
        )


def _maps(split: str, dataset: Any) -> Iterator[Finding]:
    """Ids of label maps that have no name."""
    feature = features(dataset).get("map_class")
    if feature is None:
        return
    numbers = custom(feature)
    if numbers["unknown_pixels"]:
        ids = [v.value for v in feature.string_stats.top_values if v.value.startswith("id ")]
        yield Finding(
            "map_class",
            split,
            "ENUM_TYPE_UNEXPECTED_STRING_VALUES",
            True,
            "map ids outside the class table",
            f"label maps of split {split!r} hold ids outside the class table ({some(ids)}), "
            f"{numbers['images_with_unknown_ids']:.0f} of {dataset.num_examples}",
            "add them to the class table, or mend these maps; statistics.html shows some",
        )


def _classes(split: str, dataset: Any, train: Any, schema: Any) -> Iterator[Finding]:
    """Missing and rare classes, and the class mix against that of the train split."""
    wanted = next((f for f in schema.feature if f.name == "class_name"), None)
    mine = mix(dataset)
    if wanted is None or not mine:
        return
    names, total = list(wanted.string_domain.value), sum(mine.values())
    missing = [name for name in names if not mine.get(name)]
    if missing:
        yield Finding(
            "class_name",
            split,
            "FEATURE_TYPE_LOW_UNIQUE",
            is_train(split),
            "classes missing",
            f"{len(missing)} of {len(names)} classes have no images in split {split!r} "
            f"({some(missing)})",
            "add images of them to the source, or take them off the schema",
        )
    if is_train(split):
        least = FAIR_SHARE * total / len(names)
        rare = [name for name in names if 0 < mine.get(name, 0) < least]
        if rare:
            yield Finding(
                "class_name",
                split,
                "CUSTOM_VALIDATION",
                False,
                "rare classes",
                f"{len(rare)} of {len(names)} classes have fewer than {least:.0f} of the "
                f"{total:.0f} training images ({some(rare)})",
                "add images of them; few are learnt by heart or not at all",
            )
        return
    gap = worst_gap(mine, mix(train)) if train is not None else None
    # Schemas of before had one bound for both comparisons.
    bound = (
        wanted.skew_comparator.infinity_norm.threshold
        or wanted.drift_comparator.infinity_norm.threshold
        or 1.0
    )
    if gap and gap[1] > bound:
        name, distance, here, there = gap
        yield Finding(
            "class_name",
            split,
            "COMPARATOR_L_INFTY_HIGH",
            distance > MIX_BLOCKS,
            "class mix differs",
            f"class {name!r} is {there:.1%} of {train.name!r} and {here:.1%} of {split!r}",
            "draw both splits from the same pictures; scores compare generated images of the one "
            "mix with real ones of the other",
            ("L_INFTY", distance, bound, "skew"),
        )


def worst_gap(
    mine: Mapping[str, float], other: Mapping[str, float]
) -> tuple[str, float, float, float] | None:
    """The name whose shares differ most between two mixes (their L-infinity distance).

    Returns:
      (name, difference, share in `mine`, share in `other`), or None if one of them is empty.
    """
    total, base = sum(mine.values()), sum(other.values())
    if not total or not base:
        return None
    shares = {n: (mine.get(n, 0) / total, other.get(n, 0) / base) for n in {*mine, *other}}
    # The later name where two differ equally.
    name = max(shares, key=lambda n: (abs(shares[n][0] - shares[n][1]), n))
    here, there = shares[name]
    return name, abs(here - there), here, there
