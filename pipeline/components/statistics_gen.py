"""StatisticsGen: what a data folder holds, as standard tensorflow-metadata protos.

Writes

* `FeatureStats.pb`, a `DatasetFeatureStatisticsList` with one entry per split, which TFX's and
  TFDV's tools read (`statistics_proto` lists its features);
* `schema.pbtxt`, a `Schema` inferred from the data (see `schema`);
* `gallery.json`, the images that the statistics page shows (see `gallery`).

One Beam element is one shard, read in batches; the search for duplicates needs all images' hashes
and runs here, in this process.
"""

import functools
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganpipe.data import manifest
from ganpipe.data.manifest import DatasetInfo
from pipeline import beam_options as beam_flags
from pipeline.components import duplicates, gallery, measure
from pipeline.components.measure import Measurements
from pipeline.components.schema import SCHEMA, infer_schema
from pipeline.components.statistics_proto import channel_names, pixel_moments, to_proto

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

STATISTICS = "FeatureStats.pb"


def run(
    data_dir: str | Path,
    out_dir: str | Path,
    *,
    beam_options: "PipelineOptions | None" = None,
) -> dict[str, Any]:
    """Computes statistics and schema of a data folder.

    Args:
      data_dir: folder written by `pipeline.prepare`.
      out_dir: folder for what is written; made if need be.
      beam_options: where to run; in this process if None.

    Returns:
      A flat summary (numbers and strings) for reports.

    Raises:
      UserError: no such folder, or a shard that is missing or damaged.
    """
    data = manifest.info(data_dir)
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".statistics-", dir=out) as scratch:
        measured = _measure(data, scratch, beam_options)
        found = duplicates.find(measured)
        shown = gallery.make(data, measured, found, Path(scratch))
    statistics = to_proto(data, measured, found)
    write(out / STATISTICS, statistics.SerializeToString(deterministic=True))
    from google.protobuf import text_format

    schema = text_format.MessageToString(infer_schema(data), as_utf8=True)
    write(out / SCHEMA, schema.encode())
    write(out / gallery.GALLERY, json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace"))
    return summarise(data, measured, found)


def _measure(
    data: DatasetInfo, scratch: str, beam_options: "PipelineOptions | None"
) -> dict[str, Measurements]:
    """Measures every shard of every split, on Beam's workers, and adds up."""
    top, small = data.max_resolution, measure.hash_level(data)
    elements: list[tuple[str, int, str, str | None]] = []
    for split in data.splits:
        for level in {top, small}:
            manifest.check_files(data, split, level, hash_up_to=512 << 20)
        # Shards of all levels are cut alike: number i holds the same images everywhere.
        files = zip(data.files(split, top), data.files(split, small), strict=True)
        elements += [
            (split, i, str(f["path"]), str(s["path"]) if small != top else None)
            for i, (f, s) in enumerate(files)
        ]
    job = functools.partial(measure.measure_shard, data=data, scratch=scratch)
    beam_flags.run_over(elements, job, beam_options)
    parts: dict[str, list[Measurements]] = {split: [] for split in data.splits}
    for split, index, *_ in elements:
        parts[split].append(measure.read_part(measure.part_path(scratch, split, index)))
    return {
        split: Measurements.merge(values, data.channels, data.num_classes, data.pair_channels)
        for split, values in parts.items()
    }


def write(path: Path, content: bytes) -> None:
    """Writes a file so that it appears whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, path)


def summarise(
    data: DatasetInfo, measured: Mapping[str, Measurements], found: duplicates.Duplicates
) -> dict[str, Any]:
    """A flat dictionary of JSON numbers and strings; channels are those of the train splits."""
    summary: dict[str, Any] = {f"{split}_images": m.count for split, m in measured.items()}
    summary |= {"resolution": data.max_resolution, "channels": data.channels}
    summary["classes"] = data.num_classes
    pixels = np.sum([measured[split].pixels for split in data.train_splits], axis=0)
    for name, counts in zip(channel_names(data.channels), pixels, strict=True):
        mean, std = pixel_moments(counts)
        summary[f"{name}_mean"], summary[f"{name}_std"] = round(mean, 3), round(std, 3)
    summary["constant_images"] = sum(m.constant for m in measured.values())
    for split, numbers in found.splits.items():
        if split.startswith("train"):
            summary[f"duplicate_{split}_images"] = numbers.copies
            summary[f"near_duplicate_{split}_images"] = numbers.near
        else:
            train = duplicates.train_split_of(split)
            summary[f"{split}_images_seen_in_{train}"] = numbers.seen
            summary[f"{split}_images_nearly_in_{train}"] = numbers.near_seen
    return summary
