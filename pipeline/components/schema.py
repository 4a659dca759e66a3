"""The `Schema` proto: inferred once from data that are right, kept to by later ones.

It holds every bound that a person may want to move; `schema.pbtxt` is text, made to be edited.

| bound | where |
| --- | --- |
| size and channels | `int_domain` of `height`, `width`, `channels`, `pair_channels` |
| classes, in the order of labels | `string_domain` of `class_name`; ids of maps: of `map_class` |
| class mix against the baseline (L-infinity) | `drift_comparator` of `class_name` |
| class mix of test against train | `skew_comparator` of `class_name` |
| brightness, contrast against the baseline (Jensen-Shannon) | their `drift_comparator` |
| share of the baseline's images that must be there | `dataset_constraints.num_examples_drift_comparator` |
"""  # noqa: E501

from typing import Any

from ganpipe.data.manifest import DatasetInfo

SCHEMA = "schema.pbtxt"
# Features whose values are names, and what these are; statistics keep all names by id in TABLE.
TABLES = {"class_name": "classes", "map_class": "label maps"}
TABLE = "table"
# Largest difference of a class's share, of 1.
CLASS_MIX_THRESHOLD = 0.1
# Jensen-Shannon divergence in bits, 0..1: two bell curves apart by 3/4 of their width have 0.1.
SHAPE_THRESHOLD = 0.1
# A later span may have this many times the baseline's images and no fewer.
LEAST_IMAGES = 0.8


def printable(name: str) -> str:
    """A name as a proto can hold it: bytes of a file name that are no UTF-8 become U+FFFD."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def infer_schema(data: DatasetInfo) -> Any:
    """The `Schema` that further data of this kind must keep to."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    schema = schema_pb2.Schema()
    constraints = schema.dataset_constraints
    constraints.num_examples_drift_comparator.min_fraction_threshold = LEAST_IMAGES

    def add(name: str, kind: int) -> Any:
        feature = schema.feature.add(name=name, type=kind)
        feature.presence.min_fraction, feature.presence.min_count = 1.0, 1
        return feature

    add("image", schema_pb2.BYTES).shape.dim.add(size=1)
    height, width, channels = data.shape(data.max_resolution)
    whole = {"height": height, "width": width, "channels": channels}
    if data.pair_channels:
        whole["pair_channels"] = data.pair_channels
    for name, value in whole.items():
        feature = add(name, schema_pb2.INT)
        feature.shape.dim.add(size=1)
        feature.int_domain.min = feature.int_domain.max = value
    for name in ("brightness", "contrast"):
        feature = add(name, schema_pb2.FLOAT)
        feature.shape.dim.add(size=1)
        feature.float_domain.min, feature.float_domain.max = 0.0, 255.0
        feature.drift_comparator.jensen_shannon_divergence.threshold = SHAPE_THRESHOLD
    if data.num_classes:
        feature = add("label", schema_pb2.INT)
        feature.shape.dim.add(size=1)
        domain = feature.int_domain
        domain.min, domain.max, domain.is_categorical = 0, data.num_classes - 1, True
        feature = add("class_name", schema_pb2.BYTES)
        feature.shape.dim.add(size=1)
        feature.string_domain.name = "class_name"
        feature.string_domain.value.extend(map(printable, data.class_names))
        feature.drift_comparator.infinity_norm.threshold = CLASS_MIX_THRESHOLD
        feature.skew_comparator.infinity_norm.threshold = CLASS_MIX_THRESHOLD
    if data.map_classes:
        feature = add("map_class", schema_pb2.BYTES)
        for size in (height, width):
            feature.shape.dim.add(size=size)
        feature.string_domain.name = "map_class"
        feature.string_domain.value.extend(map(printable, data.map_classes))
    return schema
