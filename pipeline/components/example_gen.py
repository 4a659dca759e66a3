"""ExampleGen: images of any source to TFRecord shards at every power of two, with Apache Beam.

One Beam element is one shard's worth of images; a worker reads it in batches, brings each batch to
its size, computes the pyramid in NumPy and appends to one file per level. What a shard holds
depends on the source and the seed alone, never on the number of workers or the runner.

Everything is written into a hidden sibling of the output folder, which is renamed at the end: a run
that fails, or is killed, leaves no output folder. What a killed run left the next one removes.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganpipe.data import folder, manifest, records, scratch, sources, transforms
from ganpipe.data.manifest import DatasetInfo
from ganpipe.data.sources import source_fingerprint
from ganpipe.errors import UserError
from pipeline import beam_options as beam_flags

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["MAX_SKIPPED", "run", "source_fingerprint"]

# Raised when the same request would give other bytes than before.
CODE_VERSION = 1
# A run stops when more than this share of the pictures cannot be used.
MAX_SKIPPED = 0.05
_SHARD_IMAGES, _SHARD_BYTES = 8192, 64 << 20  # at the top level; whichever is reached first
_BATCH_IMAGES, _BATCH_BYTES = 512, 16 << 20  # pixel work at once, uint8 bytes at the top level
_SURVEY_FILES = 256


@dataclasses.dataclass(frozen=True)
class _Shard:
    """One Beam element."""

    split: str
    index: int
    of: int
    rows: Any


def run(
    source: str,
    out: str | Path,
    resolution: int = 32,
    channels: int = 0,
    fit: str = "crop",
    seed: int = 0,
    beam_options: "PipelineOptions | None" = None,
    *,
    upscale: bool = False,
    test_fraction: float = 0.1,
    name: str | None = None,
    tfds_data_dir: str | None = None,
    say: Callable[[str], None] = print,
    progress: bool = True,
) -> DatasetInfo:
    """Prepares a data folder, or returns the one that is there if the same was asked before.

    Args:
      source: `fashion_mnist`, `folder:DIR` or `tfds:NAME[/CONFIG][:VERSION]`.
      out: folder to make. May exist if empty.
      resolution: side of the largest level in pixels, a power of two from 4 to 1024.
      channels: 1, 3, or 0 to keep what the source has.
      fit: `crop`, `pad` or `stretch` (see `transforms.Geometry`).
      seed: decides the order in which images are written.
      beam_options: as from `beam_options.parse`; the in-process runner if None.
      upscale: allow pictures smaller than `resolution`.
      test_fraction: share cut off as test split where the source has none; 0 cuts none.
      name: name in reports; the source's own if None.
      tfds_data_dir: where TFDS keeps its data.
      say: receives a line for what takes time and for what was found.
      progress: whether to draw a progress bar on stderr (only ever on a terminal).

    Raises:
      UserError: anything wrong with the request, the source or more than 5 % of its pictures.
    """
    out = Path(out).absolute()
    transforms.check_resolution(resolution)
    if fit not in transforms.FITS:
        raise UserError(f"--fit={fit!r} is not known; expected {', '.join(transforms.FITS)}")
    if channels not in (0, 1, 3):
        raise UserError(f"--channels={channels} cannot be made; expected 1, 3 or 0 (keep)")
    if not 0 <= test_fraction < 1:
        raise UserError(f"--test_fraction={test_fraction} is out of range; expected 0 <= x < 1")
    opened = sources.open_source(source, tfds_data_dir)
    request = {
        "source": opened.fingerprint(),
        "resolution": resolution,
        "channels": channels,
        "fit": fit,
        "upscale": upscale,
        "seed": seed,
        "test_fraction": test_fraction,
        "name": name or opened.name,
        "code": CODE_VERSION,
    }
    fingerprint = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    made = _already_there(out, fingerprint, source)
    if made is not None:
        say(f"{out}: nothing to do, it holds exactly this")
        return made
    geometry = transforms.Geometry(resolution, channels, fit, upscale)
    _check_fixed_size(opened, geometry, source)
    opened = opened.fetch(say)

    options = beam_options if beam_options is not None else beam_flags.parse()
    with scratch.folder_beside(out) as place:
        surveyed = _survey(opened, place, options, progress)
        plan = opened.plan(geometry, seed, test_fraction, surveyed)
        _check_skipped(plan.skipped, plan.total, source, geometry)
        geometry = dataclasses.replace(geometry, channels=plan.channels)
        if "train" not in plan.splits:
            raise UserError(f"--source={source}: no usable picture is left for the train split")
        shards = _cut_shards(plan, geometry)
        num_classes = len(plan.class_names)
        job = functools.partial(
            _write_shard,
            source=opened,
            geometry=geometry,
            num_classes=num_classes,
            folder_path=str(place),
        )
        names = [f"{split}-*.done" for split in plan.splits]
        with scratch.counting(place / scratch.WORK, names, plan.total, "writing", progress):
            beam_flags.run_over(shards, job, options)
        results = _collect(place, shards)
        skipped = plan.skipped + [tuple(s) for r in results for s in r["skipped"]]
        _check_skipped(skipped, plan.total, source, geometry)
        content = _describe(results, plan, geometry)
        content |= {
            "name": request["name"],
            "source": opened.spec,
            "geometry": geometry.describe(),
            "skipped": len(skipped),
            "request": {**request, "fingerprint": fingerprint},
        }
        _finish(place, out, content, skipped)
    return manifest.info(out)


def _already_there(out: Path, fingerprint: str, source: str) -> DatasetInfo | None:
    """The data set in `out` if it is the one asked for; UserError if `out` holds anything else."""
    if not out.exists() and not out.is_symlink():
        parent = out.parent
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK):
            raise UserError(f"--out={out} cannot be made: {parent} is not a folder I may write to")
        return None
    if not out.is_dir():
        raise UserError(f"--out={out} is not a folder; give a folder that does not exist yet")
    if not any(out.iterdir()):
        return None
    if not (out / manifest.MANIFEST).is_file():
        raise UserError(
            f"--out={out} exists and is not a data folder; give a new folder or empty this one"
        )
    there = manifest.info(out)
    if there.request.get("fingerprint") == fingerprint:
        for split in there.splits:
            for level in there.resolutions:
                manifest.check_files(there, split, level, hash_up_to=0)
        return there
    raise UserError(
        f"--out={out} already holds another data set ({there.name}, {there.max_resolution}x"
        f"{there.max_resolution}x{there.channels}, {there.source}) than this request for {source}, "
        "or its source or settings have changed since; give another --out or remove that folder"
    )


def _check_fixed_size(source: sources.Source, geometry: transforms.Geometry, spec: str) -> None:
    """Refuses a target that no picture of the source reaches, before anything is fetched."""
    size = source.fixed_size()
    if size is None:
        return
    try:
        transforms.check_size(size, geometry)
    except transforms.RejectedError as error:
        reach = 32 if size == (28, 28) else 1 << (min(size).bit_length() - 1)
        raise UserError(
            f"--resolution={geometry.resolution}: the images of {spec} are {size[0]}x{size[1]}; "
            f"use --resolution={reach} or allow enlarging with --upscale"
        ) from error


def _check_skipped(
    skipped: Sequence[tuple[str, str]], total: int, source: str, geometry: transforms.Geometry
) -> None:
    """UserError, listing the first few, when more than MAX_SKIPPED of the pictures are unusable."""
    if len(skipped) <= MAX_SKIPPED * total:
        return
    shown = "; ".join(f"{key}: {reason}" for key, reason in skipped[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    small = sum("is smaller than" in reason for _, reason in skipped)
    hint = (
        "choose a smaller --resolution or allow enlarging with --upscale"
        if 2 * small > len(skipped)
        else "mend or remove them"
    )
    raise UserError(
        f"--source={source}: {len(skipped)} of {total} pictures cannot be used "
        f"(more than {MAX_SKIPPED:.0%}): {shown}{more}. {hint[0].upper()}{hint[1:]}; nothing was "
        f"written at {geometry.resolution}x{geometry.resolution}"
    )


def _survey(source: sources.Source, place: Path, options, progress: bool) -> dict[str, dict]:
    """Opens every file of a folder source: {key: row of `folder.survey`}."""
    keys = source.files_to_survey()
    if not keys:
        return {}
    chunks = [
        (i, keys[start : start + _SURVEY_FILES])
        for i, start in enumerate(range(0, len(keys), _SURVEY_FILES))
    ]
    job = functools.partial(_survey_chunk, root=source.directory, folder_path=str(place))
    with scratch.counting(place / scratch.WORK, "survey-*.done", len(keys), "looking at", progress):
        beam_flags.run_over(chunks, job, options)
    rows = {}
    for index, _ in chunks:
        for line in (place / scratch.WORK / f"survey-{index:06d}.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows[row["key"]] = row
    return rows


def _survey_chunk(chunk: tuple[int, list[str]], root: str, folder_path: str) -> None:
    index, keys = chunk
    lines = [json.dumps(row) for row in folder.survey(Path(root), keys)]
    work = Path(folder_path) / scratch.WORK
    scratch.write_atomically(work / f"survey-{index:06d}.jsonl", "\n".join(lines))
    scratch.write_atomically(work / f"survey-{index:06d}.done", f"{len(keys)} 0")


def _cut_shards(plan: sources.Plan, geometry: transforms.Geometry) -> list[_Shard]:
    """Equal shards of at most 8192 images or 64 MiB at the top level."""
    image_bytes = geometry.resolution**2 * geometry.channels
    most = max(1, min(_SHARD_IMAGES, _SHARD_BYTES // image_bytes))
    shards = []
    for split, rows in plan.splits.items():
        of = -(-len(rows) // most)
        edges = np.linspace(0, len(rows), of + 1).astype(int)
        shards += [_Shard(split, i, of, rows[edges[i] : edges[i + 1]]) for i in range(of)]
    return shards


def _write_shard(
    shard: _Shard,
    source: sources.Source,
    geometry: transforms.Geometry,
    num_classes: int,
    folder_path: str,
) -> None:
    """Writes one shard at every level, and a small JSON file that says what became of it."""
    out = Path(folder_path)
    levels = transforms.resolutions_up_to(geometry.resolution)
    side, channels = geometry.resolution, geometry.channels
    batch = max(1, min(_BATCH_IMAGES, _BATCH_BYTES // (side * side * channels)))
    stem = f"{shard.split}-{shard.index:05d}"
    per_class, skipped, done = [0] * num_classes, [], 0
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(min(16, os.cpu_count() or 1)))
        writers = {
            level: records.ShardWriter(
                out / f"{shard.split}-{level:04d}-{shard.index:05d}-of-{shard.of:05d}.tfrecord",
                (level, level, channels),
            )
            for level in levels
        }
        for writer in writers.values():
            stack.callback(writer.discard)
        for keys, labels, pictures in source.batches(shard.split, shard.rows, batch):
            images, kept, bad = transforms.to_squares(pictures, geometry, pool)
            skipped += [(keys[i], reason) for i, reason in bad]
            if num_classes:
                fine = [row for row, i in enumerate(kept) if 0 <= labels[i] < num_classes]
                if len(fine) < len(kept):
                    wrong = [i for i in kept if not 0 <= labels[i] < num_classes]
                    reason = f"is outside 0..{num_classes - 1}"
                    skipped += [(keys[i], f"label {labels[i]} {reason}") for i in wrong]
                    images, kept = images[fine], [kept[row] for row in fine]
            good = labels[kept] if num_classes else np.zeros(len(kept), np.int64)
            for level, reduced in transforms.pyramid(images).items():
                writers[level].write(reduced, good, [keys[i] for i in kept])
            for label in good if num_classes else ():
                per_class[label] += 1
            done += len(kept)
            scratch.write_atomically(out / scratch.WORK / f"{stem}.done", f"{done} {len(skipped)}")
        entries = {str(level): writer.close() for level, writer in writers.items()}
    result = {
        "split": shard.split,
        "index": shard.index,
        "count": done,
        "per_class": per_class,
        "skipped": skipped,
        "levels": entries,
    }
    scratch.write_atomically(out / scratch.WORK / f"{stem}.json", json.dumps(result))


def _collect(place: Path, shards: Sequence[_Shard]) -> list[dict]:
    """What the workers reported, in shard order."""
    results = []
    for shard in shards:
        path = place / scratch.WORK / f"{shard.split}-{shard.index:05d}.json"
        if not path.is_file():
            raise UserError(
                f"the Beam runner finished without writing shard {path.stem}: do all workers see "
                f"{place.parent} under that path?"
            )
        results.append(json.loads(path.read_text()))
    return results


def _describe(results: list[dict], plan: sources.Plan, geometry: transforms.Geometry) -> dict:
    """The part of `dataset.json` that depends on contents alone, with its fingerprint."""
    splits, shards = {}, {}
    for split in plan.splits:
        mine = [r for r in results if r["split"] == split]
        counts = np.sum([r["per_class"] for r in mine], axis=0).astype(int).tolist()
        splits[split] = {"count": sum(r["count"] for r in mine), "per_class": counts or []}
        levels = mine[0]["levels"]
        shards[split] = {level: [r["levels"][level] for r in mine] for level in levels}
    content = {
        "format": manifest.FORMAT,
        "channels": geometry.channels,
        "resolutions": transforms.resolutions_up_to(geometry.resolution),
        "num_classes": len(plan.class_names),
        "class_names": list(plan.class_names),
        "splits": splits,
        "shards": shards,
    }
    return content | {"fingerprint": manifest.content_fingerprint(content)}


def _finish(place: Path, out: Path, content: dict, skipped: Sequence[tuple[str, str]]) -> None:
    """Writes the manifest and moves the folder into place."""
    shutil.rmtree(place / scratch.WORK)
    if skipped:
        lines = [json.dumps({"key": key, "reason": reason}) for key, reason in sorted(skipped)]
        (place / manifest.QUARANTINE).write_text("\n".join(lines) + "\n")
    text = json.dumps(content, indent=1, ensure_ascii=False)
    (place / manifest.MANIFEST).write_text(text + "\n", encoding="utf-8")
    (place / scratch.LOCK).unlink()  # the lock itself is held until the caller closes the file
    try:
        os.rename(place, out)  # replaces an empty folder, fails on any other
    except OSError as error:
        raise UserError(
            f"--out={out} appeared while this run was working ({error.strerror}); nothing was "
            "changed there"
        ) from error
