"""A writer of small data folders of any kind, without example_gen."""

import json

import numpy as np
import pytest

from ganpipe.data import manifest, records
from pipeline import beam_options


@pytest.fixture(scope="module")
def without_beam():
    """Runs Beam's jobs in a loop: its start-up takes most of the time of a small test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            beam_options, "run_over", lambda elements, job, options: [job(e) for e in elements]
        )
        yield


@pytest.fixture
def write_folder():
    return write


@pytest.fixture(scope="module")
def write_folder_once():
    return write


def write(
    out, splits, *, class_names=(), map_classes=(), domains=(), encodings=None, levels=2, shard=16
):
    """Writes a data folder and returns its DatasetInfo.

    splits: {split: {"image": (N, H, W, C), "label": (N,), "map": (N, H, W), "pair": (N, H, W, P)}}.
    encodings: height -> encoding where not raw. shard: images a shard.
    """
    out.mkdir(parents=True)
    first = next(iter(splits.values()))
    height, width, channels = first["image"].shape[1:]
    factors = [1 << k for k in range(levels - 1, -1, -1)]
    about = [
        {
            "resolution": height // f,
            "shape": [height // f, width // f],
            "encoding": (encodings or {}).get(height // f, "raw"),
        }
        for f in factors
    ]

    def reduced(pictures, f):
        n, h, w, c = pictures.shape
        means = pictures.reshape(n, h // f, f, w // f, f, c).mean((2, 4))
        return np.rint(means).astype(np.uint8)

    shards, counts = {}, {}
    for split, arrays in splits.items():
        images = arrays["image"]
        labels = np.asarray(arrays.get("label", np.zeros(len(images), int)))
        keys = [f"{split}/{i:04d}.png" for i in range(len(images))]
        classes = len(class_names)
        counts[split] = {
            "count": len(images),
            "per_class": np.bincount(labels, minlength=classes)[:classes].tolist(),
        }
        of = max(1, -(-len(images) // shard))
        shards[split] = {}
        for f, level in zip(factors, about, strict=True):
            r, entries = level["resolution"], []
            for i in range(of):
                path = out / f"{split}-{r:04d}-{i:05d}-of-{of:05d}.tfrecord"
                writer = records.ShardWriter(path, (*level["shape"], channels), level["encoding"])
                rows = slice(i * shard, (i + 1) * shard)
                maps, pairs = arrays.get("map"), arrays.get("pair")
                writer.write(
                    reduced(images[rows], f),
                    labels[rows],
                    keys[rows],
                    None if maps is None else np.ascontiguousarray(maps[rows, ::f, ::f]),
                    None if pairs is None else reduced(pairs[rows], f),
                )
                entries.append(writer.close())
            shards[split][str(r)] = entries
    body = {
        "format": manifest.FORMAT,
        "name": out.name,
        "source": f"folder:{out.name}",
        "channels": channels,
        "levels": about,
        "num_classes": len(class_names),
        "class_names": list(class_names),
        "splits": counts,
        "shards": shards,
        "map_classes": list(map_classes),
        "pair_channels": first["pair"].shape[-1] if "pair" in first else 0,
        "domains": list(domains),
        "geometry": "as it is",
        "licence": "",
        "credit": "",
        "skipped": 0,
        "request": {},
    }
    body["fingerprint"] = manifest.content_fingerprint(body)
    (out / manifest.MANIFEST).write_text(json.dumps(body))
    return manifest.info(out)
