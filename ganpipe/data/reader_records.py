"""Records to tensors: what a `tf.train.Example` of a prepared folder holds, parsed by the batch."""

from collections.abc import Sequence

import tensorflow as tf

from ganpipe.data.manifest import DatasetInfo
from ganpipe.errors import UserError

FEATURES = ("image", "label", "map", "pair", "key")
# What a record takes in memory beside its pixels: label, shape, key, names, the string's header.
RECORD_BYTES = 128


def features_of(data: DatasetInfo) -> tuple[str, ...]:
    """Names out of FEATURES that the records of a folder have."""
    absent = {"map"} if not data.map_classes else set()
    absent |= {"pair"} if not data.pair_channels else set()
    return tuple(name for name in FEATURES if name not in absent)


def check_features(data: DatasetInfo, features: Sequence[str]) -> tuple[str, ...]:
    """`features` as a tuple; UserError for an unknown name, or what the folder does not have."""
    features, there = tuple(features), features_of(data)
    wrong = [name for name in features if name not in there]
    if wrong or not features:
        found = f"has no feature {wrong[0]!r}" if wrong else "was asked for no feature"
        remedy = {
            "map": "; label maps come with --source=labelmap:IMAGES,MAPS",
            "pair": "; pairs come with --source=pairs:DIR_A,DIR_B",
        }.get(wrong[0] if wrong else "", "")
        raise UserError(f"{data.dir} {found}; features={there} are what it has{remedy}")
    return features


def image_bytes(data: DatasetInfo, resolution: int) -> int:
    """Bytes that one record of a level takes in memory once decoded, whatever its encoding."""
    height, width, channels = data.shape(resolution)
    channels += data.pair_channels + bool(data.map_classes)
    return height * width * channels + RECORD_BYTES


class Decoder:
    """Parses and decodes batches of records of one level.

    Args:
      data: the folder.
      resolution: the level.
      features: names out of FEATURES; nothing else of a record is parsed.
    """

    def __init__(self, data: DatasetInfo, resolution: int, features: Sequence[str]):
        height, width, channels = data.shape(resolution)
        encoding = data.encoding(resolution)
        pictures = {"image": channels, "map": 1, "pair": data.pair_channels}
        self._shapes = {
            name: (height, width, pictures[name]) for name in features if name in pictures
        }
        # Ids survive no JPEG: maps are PNG where images are compressed at all.
        lossless = "raw" if encoding == "raw" else "png"
        self._encodings = {name: encoding.partition(":")[0] for name in self._shapes}
        self._encodings |= {"map": lossless} if "map" in self._shapes else {}
        self._spec = {
            name: tf.io.FixedLenFeature([], tf.int64 if name == "label" else tf.string)
            for name in dict.fromkeys(features)
        }

    def signature(self) -> dict[str, tuple[tuple[int, ...], tf.DType]]:
        """Shape (without the batch axis) and dtype of every feature as `__call__` returns it."""
        fixed = {"label": ((), tf.int32), "key": ((), tf.string)}
        return {
            name: fixed[name] if name in fixed else (self._shapes[name], tf.uint8)
            for name in self._spec
        }

    def __call__(self, records: tf.Tensor) -> dict[str, tf.Tensor]:
        """(N,) serialised Examples -> uint8 (N, H, W, C) pictures, int32 labels, string keys.

        A record whose pixels have another size fails here rather than being read askew.
        """
        values = tf.io.parse_example(records, self._spec)
        return {name: self._decode(name, value) for name, value in values.items()}

    def _decode(self, name: str, values: tf.Tensor) -> tf.Tensor:
        if name == "key":
            return values
        if name == "label":
            return tf.cast(values, tf.int32)
        height, width, channels = shape = self._shapes[name]
        encoding = self._encodings[name]
        if encoding == "raw":
            pixels = tf.io.decode_raw(values, tf.uint8)
            pixels = tf.ensure_shape(pixels, [None, height * width * channels])
            return tf.reshape(pixels, [-1, *shape])

        def one(content: tf.Tensor) -> tf.Tensor:
            if encoding == "jpeg":
                # The default method is faster, and not the same on every machine.
                image = tf.io.decode_jpeg(content, channels, dct_method="INTEGER_ACCURATE")
            else:
                image = tf.io.decode_png(content, channels)
            return tf.ensure_shape(image, shape)

        return tf.map_fn(one, values, fn_output_signature=tf.TensorSpec(shape, tf.uint8))
