"""ExampleGen: images of any source to TFRecord shards at every level, with Apache Beam.

One Beam element is one shard's worth of images (shards.py). What a shard holds depends on the
source and the request alone, never on the number of workers or the runner.

Everything is written into a hidden sibling of the output folder, which is renamed at the end: a run
that fails, or is killed, leaves no output folder. The same command after a kill goes on with the
shards that were finished.
"""

import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from PIL import features

from ganpipe.data import manifest, scratch, sources, transforms
from ganpipe.data.manifest import DatasetInfo
from ganpipe.data.sources import source_fingerprint
from ganpipe.data.sources.base import Plan, Source
from ganpipe.data.sources.pictures import Survey
from ganpipe.errors import UserError
from pipeline import beam_options as beam_flags
from pipeline.components import shards
from pipeline.components.request import CODE_VERSION, Request, check_fixed_size

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["estimate", "run", "source_fingerprint"]


def run(
    source: str,
    out: str | Path,
    resolution: int | None = None,
    *,
    beam_options: "PipelineOptions | None" = None,
    name: str | None = None,
    tfds_data_dir: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = print,
    progress: bool = True,
    **settings: Any,
) -> DatasetInfo:
    """Prepares a data folder, or returns the one that is there if the same was asked before.

    Args:
      source: see `ganpipe.data.sources.KINDS` and `ganpipe.data.sets.NAMES`.
      out: folder to make. May exist if empty.
      resolution: side of square images in pixels, a power of two; the source's own default if None.
      beam_options: as from `beam_options.parse`; the in-process runner if None.
      name: name in reports; the source's own if None.
      tfds_data_dir: where TFDS keeps its data.
      overwrite: whether a data folder in `out` that holds something else may be replaced.
      say: receives a line for what takes time and for what was found.
      progress: whether to draw a progress bar on stderr (only ever on a terminal).
      **settings: further attributes of `request.Request`.

    Raises:
      UserError: anything wrong with the request, the source or too many of its pictures; a full
        disk. Nothing is left in `out` then.
    """
    out = _real(Path(out).absolute())
    request = Request(resolution, **settings)
    opened = sources.open_source(source, tfds_data_dir)
    what = {
        "source": opened.fingerprint(),
        **request.record(),
        "name": name or opened.name,
        "code": CODE_VERSION,
    }
    fingerprint = hashlib.sha256(
        json.dumps(what, sort_keys=True).encode("utf-8", "surrogateescape")
    ).hexdigest()
    _recover(out, say)
    made = _already_there(out, fingerprint, source, overwrite)
    if made is not None:
        say(f"{out}: nothing to do, it holds exactly this")
        return made
    check_fixed_size(opened, request)
    opened = opened.fetch(say)
    check_fixed_size(opened, request)
    options = beam_options if beam_options is not None else beam_flags.parse()
    # What was written by other libraries of picture formats is not gone on with.
    tools = f"{fingerprint} {PIL.__version__} {features.version('zlib')}"
    with scratch.folder_beside(out, hashlib.sha256(tools.encode()).hexdigest()) as place:
        try:
            if hasattr(opened, "unpack"):
                opened = opened.unpack(place / scratch.WORK)
            plan, target, sizes = _plan(opened, request, place, options, progress)
            _check_space(out, place, plan, target)
            skipped, content = _write(opened, request, plan, target, place, options, say, progress)
            content |= {
                "name": what["name"],
                "source": opened.spec,
                "geometry": target.geometry.describe(),
                "licence": opened.licence,
                "credit": opened.credit,
                "skipped": len(skipped),
                "original_sizes": _spread(sizes),
                "request": {**what, "fingerprint": fingerprint},
            }
            _finish(place, out, content, skipped, overwrite)
        except OSError as error:
            raise _disk(out, error) from error
    return manifest.info(out)


def _disk(out: Path, error: OSError) -> UserError:
    if scratch.no_space(error):
        return UserError(
            f"--out={out}: the disk is full ({error.strerror}); nothing was kept. Free some "
            "space or give an --out on another disk; --dry_run tells how much is needed"
        )
    return UserError(f"--out={out}: cannot read or write ({error}); nothing was kept")


def _plan(
    source: Source, request: Request, place: Path, options, progress: bool
) -> tuple[Plan, shards.Target, Counter[tuple[int, int]]]:
    """Surveys the source and decides what will be written; (width, height) -> pictures."""
    surveyed = _survey(source, place, options, progress)
    sizes: Counter[tuple[int, int]] = Counter()
    if surveyed is not None:
        good = [i for i in range(len(surveyed.sizes)) if i not in surveyed.errors]
        sizes.update(map(tuple, surveyed.sizes[good].tolist()))
    geometry = request.geometry(source, sizes)
    plan = source.plan(geometry, request.seed, request.test_fraction, surveyed)
    return plan, target_of(source, request, plan, geometry), sizes


def _spread(sizes: Counter[tuple[int, int]]) -> dict[str, Any]:
    """Least, median and most of a set of (width, height), for `dataset.json`."""
    if not sizes:
        return {}
    counts = np.fromiter(sizes.values(), np.int64)
    found = {}
    for axis, name in enumerate(("width", "height")):
        values = np.repeat([size[axis] for size in sizes], counts)
        found[name] = [int(v) for v in np.quantile(values, (0, 0.5, 1), method="lower")]
    return found | {"distinct": len(sizes)}


def target_of(
    source: Source, request: Request, plan: Plan, geometry: transforms.Geometry
) -> shards.Target:
    """What the workers make of a plan; UserError if too little of it can be used."""
    geometry = dataclasses.replace(geometry, channels=plan.channels)
    check_skipped(plan.skipped, plan.total, source.spec, geometry, request.max_skipped)
    needed = ("trainA", "trainB") if plan.domains else ("train",)
    for split in needed:
        if split not in plan.splits:
            raise UserError(f"--source={source.spec}: no usable picture is left for {split}")
    return shards.Target(
        geometry,
        request.record()["encoding"],
        len(plan.class_names),
        len(plan.map_classes),
        plan.pair_channels,
    )


def _survey(source: Source, place: Path, options, progress: bool) -> Survey | None:
    """Opens every file of a source of files, by the workers."""
    keys = source.files_to_survey()
    if not keys:
        return None
    chunks = [
        (i, keys[start : start + shards.SURVEY_FILES])
        for i, start in enumerate(range(0, len(keys), shards.SURVEY_FILES))
    ]
    work = place / scratch.WORK
    todo = [c for c in chunks if not (work / f"survey-{c[0]:06d}.jsonl").is_file()]
    job = functools.partial(shards.survey, source=source, folder=str(place))
    with scratch.counting(work, "survey-*.done", len(keys), "looking at", progress):
        beam_flags.run_over(todo, job, options, work)
    parts = []
    for index, chunk in chunks:
        lines = (work / f"survey-{index:06d}.jsonl").read_text().splitlines()
        assert len(lines) == len(chunk), (index, len(lines), len(chunk))
        parts.append(Survey.of([json.loads(line) for line in lines]))
    return Survey.join(parts)


def _write(
    source: Source,
    request: Request,
    plan: Plan,
    target: shards.Target,
    place: Path,
    options,
    say: Callable[[str], None],
    progress: bool,
) -> tuple[list[tuple[str, str]], dict]:
    """Writes all shards that are not there yet; (what was left out, what `dataset.json` says)."""
    cut = shards.cut(plan, target)
    todo = [shard for shard in cut if shards.finished(shard, place) is None]
    if len(todo) < len(cut):
        say(
            f"going on with an interrupted run: {len(cut) - len(todo)} of {len(cut)} shards are "
            "done"
        )
    job = functools.partial(shards.write, source=source, target=target, folder=str(place))
    names = [f"{split}-*.done" for split in plan.splits]
    total = sum(map(len, plan.splits.values()))
    with scratch.counting(place / scratch.WORK, names, total, "writing", progress):
        beam_flags.run_over(todo, job, options, place / scratch.WORK)
    results = []
    for shard in cut:
        result = shards.finished(shard, place)
        if result is None:
            raise UserError(
                f"the Beam runner finished without writing shard {shard.stem}: do all workers see "
                f"{place.parent} under that path?"
            )
        results.append(result)
    skipped = plan.skipped + [tuple(s) for result in results for s in result["skipped"]]
    check_skipped(skipped, plan.total, source.spec, target.geometry, request.max_skipped)
    return skipped, _describe(results, plan, target)


def _real(out: Path) -> Path:
    """Where `out` really lies: a link is followed, so that it goes on pointing there."""
    out = Path(os.path.realpath(out)) if out.is_symlink() else out
    if os.path.ismount(out):
        raise UserError(
            f"--out={out} is a mount point, which cannot be made in one rename; give a folder "
            f"below it, such as --out={out}/data"
        )
    return out


def _aside(out: Path) -> Path:
    """Where a data folder waits while its successor takes its place."""
    return out.with_name(f".{out.name}.replaced")


def _recover(out: Path, say: Callable[[str], None]) -> None:
    """Ends a replacement that was killed between its two renames."""
    aside = _aside(out)
    if not aside.exists():
        return
    if out.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        say(f"{out}: put back in place; an earlier run was killed while replacing it")
        os.rename(aside, out)


def _strangers(out: Path) -> list[str]:
    """What lies in a folder that `prepare` did not write; UserError if it is no data folder."""
    refused = UserError(
        f"--out={out} exists and is not a data folder made by pipeline.prepare; give a new "
        "folder, or empty this one yourself"
    )
    try:
        there = json.loads((out / manifest.MANIFEST).read_text(encoding="utf-8"))
        ours = {manifest.MANIFEST, manifest.QUARANTINE}
        for levels in there["shards"].values():
            for entries in levels.values():
                ours |= {entry["file"] for entry in entries}
        int(there["format"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise refused from None
    return sorted(path.name for path in out.iterdir() if path.name not in ours)


def _already_there(out: Path, fingerprint: str, source: str, overwrite: bool) -> DatasetInfo | None:
    """The data set in `out` if it is the one asked for; UserError if `out` holds anything else."""
    if not out.exists():
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
    strangers = _strangers(out)
    problem = None
    try:
        there = manifest.info(out)
        if there.request.get("fingerprint") == fingerprint:
            for split in there.splits:
                for level in there.resolutions:
                    manifest.check_files(there, split, level, hash_up_to=0)
            return there
    except UserError as error:
        problem = error
    if not overwrite:
        if problem is not None:
            raise problem
        height, width, channels = there.shape(there.max_resolution)
        raise UserError(
            f"--out={out} already holds another data set ({there.name}, "
            f"{height}x{width}x{channels}, {there.source}) than this request for {source}, or "
            "its source or settings have changed since; give another --out, or --overwrite to "
            "replace it"
        )
    if strangers:
        raise UserError(
            f"--out={out} --overwrite: it holds {len(strangers)} files that prepare did not write, "
            f"such as {strangers[0]!r}; move them away first"
        )
    return None


def check_skipped(
    skipped: Sequence[tuple[str, str]],
    total: int,
    source: str,
    geometry: transforms.Geometry,
    most: float,
) -> None:
    """UserError, listing the first few, when more than a share `most` is unusable."""
    if len(skipped) <= most * total:
        return
    shown = "; ".join(f"{key}: {reason}" for key, reason in sorted(skipped)[:5])
    more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    small = sum("is smaller than" in reason for _, reason in skipped)
    hint = (
        "choose a smaller --resolution or allow enlarging with --upscale"
        if 2 * small > len(skipped)
        else "mend or remove them, or allow more with --max_skipped"
    )
    raise UserError(
        f"--source={source}: {len(skipped)} of {total} pictures cannot be used "
        f"(more than {most:.0%}): {shown}{more}. {hint[0].upper()}{hint[1:]}; nothing was "
        f"written at {geometry.height}x{geometry.width}"
    )


def estimate(plan_total: int, target: shards.Target, encoded: dict[int, float]) -> int:
    """Bytes that a number of records will take; `encoded`: measured bytes a record, per height."""
    overhead = 120  # key, shape, label, framing
    size = 0.0
    for level in target.levels():
        h, w = level["shape"]
        g = target.geometry
        raw = h * w * (g.channels + target.pair_channels + bool(target.map_classes))
        size += overhead + encoded.get(level["resolution"], raw)
    return int(plan_total * size)


def _check_space(out: Path, place: Path, plan: Plan, target: shards.Target) -> None:
    """Refuses to begin what cannot end; compressed levels are counted at an eighth of raw."""
    eighth = {
        level["resolution"]: np.prod(level["shape"])
        * (target.geometry.channels + target.pair_channels + bool(target.map_classes))
        / 8
        for level in target.levels()
        if level["encoding"] != "raw"
    }
    needed = estimate(sum(map(len, plan.splits.values())), target, eighth)
    done = [shards.finished(shard, place) for shard in shards.cut(plan, target)]
    needed -= sum(e["bytes"] for result in done if result for e in result["levels"].values())
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        error = UserError(
            f"--out={out}: about {needed / 1e9:,.2f} GB will be needed, {free / 1e9:,.2f} GB are "
            "free there; free some space, give an --out on another disk, or choose a smaller size "
            "or --encoding=jpeg"
        )
        error.keep_work = any(done)  # what an earlier run has finished is not thrown away
        raise error


def _describe(results: list[dict], plan: Plan, target: shards.Target) -> dict:
    """The part of `dataset.json` that depends on contents alone, with its fingerprint."""
    splits, entries = {}, {}
    for split in plan.splits:
        mine = [r for r in results if r["split"] == split]
        counts = np.sum([r["per_class"] for r in mine], axis=0).astype(int).tolist()
        splits[split] = {"count": sum(r["count"] for r in mine), "per_class": counts or []}
        levels = mine[0]["levels"]
        entries[split] = {level: [r["levels"][level] for r in mine] for level in levels}
    content = {
        "format": manifest.FORMAT,
        "channels": target.geometry.channels,
        "levels": target.levels(),
        "num_classes": target.num_classes,
        "class_names": list(plan.class_names),
        "map_classes": list(plan.map_classes),
        "pair_channels": plan.pair_channels,
        "domains": list(plan.domains),
        "splits": splits,
        "shards": entries,
    }
    return content | {"fingerprint": manifest.content_fingerprint(content)}


def _finish(
    place: Path, out: Path, content: dict, skipped: Sequence[tuple[str, str]], overwrite: bool
) -> None:
    """Writes the manifest and moves the folder into place."""
    if skipped:
        lines = [json.dumps({"key": key, "reason": reason}) for key, reason in sorted(skipped)]
        (place / manifest.QUARANTINE).write_text("\n".join(lines) + "\n")
    text = json.dumps(content, indent=1, ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:  # class names from folders whose names are no UTF-8
        data = json.dumps(content, indent=1).encode()
    (place / manifest.MANIFEST).write_bytes(data + b"\n")
    shutil.rmtree(place / scratch.WORK)
    (place / scratch.LOCK).unlink()  # the lock itself is held until the caller closes the file
    aside = _aside(out)
    if overwrite and (out / manifest.MANIFEST).is_file():
        strangers = _strangers(out)  # again: it may have changed meanwhile
        if strangers:
            raise UserError(f"--out={out} --overwrite: {strangers[0]!r} has appeared there")
        os.rename(out, aside)
    try:
        os.rename(place, out)  # replaces an empty folder, fails on any other
    except OSError as error:
        if aside.exists():
            os.rename(aside, out)
        raise UserError(
            f"--out={out} appeared while this run was working ({error.strerror}); nothing was "
            "changed there"
        ) from error
    shutil.rmtree(aside, ignore_errors=True)
