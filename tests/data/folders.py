"""Prepared folders of format 2 written by hand, with the truth that reading them must give."""

import hashlib
import io
import json

import numpy as np
import tensorflow as tf
from PIL import Image

from ganpipe.data.manifest import content_fingerprint

CLASSES = ("ape", "bee", "cat")
MAP_CLASSES = ("sky", "sea", "land", "town")


def encoded(pixels, encoding):
    """(H, W, C) uint8 -> bytes."""
    if encoding == "raw":
        return pixels.tobytes()
    kind, _, quality = encoding.partition(":")
    buffer = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    image.save(buffer, kind.upper(), **({"quality": int(quality)} if quality else {}))
    return buffer.getvalue()


def example(features):
    """One serialised tf.train.Example; bytes are bytes, everything else int64."""
    made = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=value))
        for name, value in features.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def pictures(rng, count, shape):
    """Smooth random pictures (N, H, W, C) uint8, which JPEG keeps within a few levels."""
    height, width, channels = shape
    corners = rng.integers(30, 226, (count, 2, 2, channels))
    y, x = np.linspace(0, 1, height), np.linspace(0, 1, width)
    weights = np.stack([1 - y, y]), np.stack([1 - x, x])
    return np.rint(np.einsum("nijc,ih,jw->nhwc", corners, *weights)).astype(np.uint8)


def make(
    root,
    splits=(("train", 60), ("test", 20)),
    levels=((4, 4), (8, 8)),
    channels=3,
    encoding="raw",
    per_shard=10,
    maps=False,
    pair_channels=0,
    domains=(),
    seed=0,
):
    """Writes a folder; returns {split: {"label", "key", height: {"image", "map", "pair"}}}."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    truth, shards, counted = {}, {}, {}
    for split, count in splits:
        labels = rng.integers(0, len(CLASSES), count).astype(np.int32)
        keys = [f"{split}/{i:04d}.png" for i in range(count)]
        truth[split] = {"label": labels, "key": keys}
        per_class = np.bincount(labels, minlength=len(CLASSES)).tolist()
        counted[split] = {"count": count, "per_class": per_class}
        shards[split] = {}
        for height, width in levels:
            level = {"image": pictures(rng, count, (height, width, channels))}
            if maps:
                ids = rng.integers(0, len(MAP_CLASSES), (count, height, width, 1))
                level["map"] = ids.astype(np.uint8)
            if pair_channels:
                level["pair"] = pictures(rng, count, (height, width, pair_channels))
            truth[split][height] = level
            encodings = dict.fromkeys(level, encoding)
            encodings["map"] = "raw" if encoding == "raw" else "png"
            number = -(-count // per_shard)
            shards[split][str(height)] = []
            for index in range(number):
                name = f"{split}-{height:04d}-{index:05d}-of-{number:05d}.tfrecord"
                rows = range(index * per_shard, min(count, (index + 1) * per_shard))
                with tf.io.TFRecordWriter(str(root / name)) as file:
                    for i in rows:
                        pixels = {k: encoded(v[i], encodings[k]) for k, v in level.items()}
                        rest = {"label": [labels[i]], "key": keys[i].encode()}
                        shape = {"shape": [height, width, channels]}
                        file.write(example(pixels | rest | shape))
                content = (root / name).read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                entry = {"file": name, "count": len(rows), "bytes": len(content), "sha256": digest}
                shards[split][str(height)].append(entry)
    manifest = {
        "format": 2,
        "name": "handmade",
        "source": "folder:handmade",
        "channels": channels,
        "levels": [
            {"resolution": h, "shape": [h, w], "encoding": encoding} for h, w in sorted(levels)
        ],
        "num_classes": len(CLASSES),
        "class_names": list(CLASSES),
        "splits": counted,
        "shards": shards,
        "map_classes": list(MAP_CLASSES) if maps else [],
        "pair_channels": pair_channels,
        "domains": list(domains),
        "geometry": "as made",
        "licence": "",
        "credit": "",
        "skipped": 0,
        "request": {},
    }
    manifest["fingerprint"] = content_fingerprint(manifest)
    (root / "dataset.json").write_text(json.dumps(manifest))
    return truth
