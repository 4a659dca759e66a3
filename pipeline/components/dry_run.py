"""What a preparation would read and write, told without writing anything.

Of the files of a source only a sample is opened: it gives the sizes, the channels and, through the
workers' own code, the bytes of a record at every level and the time it takes.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe.data import scratch, sources
from ganpipe.data.sources import couples
from ganpipe.data.sources.base import Source
from ganpipe.data.sources.pictures import Survey
from ganpipe.errors import UserError
from pipeline.components import example_gen, shards
from pipeline.components.request import Request, check_fixed_size

_SAMPLE = 48


def run(
    source: str,
    *,
    tfds_data_dir: str | None = None,
    say: Callable[[str], None] = print,
    resolution: int | None = None,
    **settings: Any,
) -> list[str]:
    """Lines that tell what `example_gen.run` would do; arguments as there.

    Raises:
      UserError: as `example_gen.run`, as far as it can be seen from a sample.
    """
    request = Request(resolution, **settings)
    opened = sources.open_source(source, tfds_data_dir)
    check_fixed_size(opened, request)
    to_fetch = getattr(opened, "to_fetch", str)()
    if to_fetch:
        return [f"would first fetch {to_fetch}; what is in it can be told when that is done"]
    opened = opened.fetch(say)
    if not hasattr(opened, "unpack"):
        return _told(opened, request)
    with tempfile.TemporaryDirectory(prefix="ganpipe-dry-run-") as place:
        try:
            opened = opened.unpack(Path(place))
        except OSError as error:
            what = "is full" if scratch.no_space(error) else "cannot be used"
            raise UserError(
                f"--dry_run: the disk of {place} {what} ({error.strerror}), into which "
                f"{opened.spec} is unpacked; set TMPDIR to a folder on another disk"
            ) from error
        return _told(opened, request)


def _told(opened: Source, request: Request) -> list[str]:
    """The lines of `run`, of a source whose data are there."""
    surveyed, sampled = _sample(opened)
    sizes = Counter(map(tuple, surveyed.sizes.tolist())) if surveyed is not None else Counter()
    geometry = request.geometry(opened, sizes)
    plan = opened.plan(geometry, request.seed, request.test_fraction, surveyed)
    target = example_gen.target_of(opened, request, plan, geometry)
    measured, seconds, made = _measure(opened, plan, target)
    counts = {split: len(rows) for split, rows in plan.splits.items()}
    total = sum(counts.values())
    cut = shards.cut(plan, target)
    lines = [
        f"source: {opened.spec}" + (f" (licence: {opened.licence})" if opened.licence else ""),
        f"would read: {plan.total:,} pictures"
        + (f"; {sampled} of them were opened for this estimate" if sampled else ""),
        "would write: " + ", ".join(f"{n:,} {split}" for split, n in counts.items()),
        f"geometry: {geometry.describe()}",
        f"classes: {len(plan.class_names)}"
        + (f"; map classes: {len(plan.map_classes)}" if plan.map_classes else "")
        + (f"; domains: {', '.join(plan.domains)}" if plan.domains else ""),
        f"{'level':>12}  {'encoding':<9} {'shards':>6}  {'estimated size':>14}",
    ]
    for level in target.levels():
        h, w = level["shape"]
        size = total * (measured[h] if made else 0)
        name = f"{h}x{w}x{target.geometry.channels}"
        lines.append(f"{name:>12}  {level['encoding']:<9} {len(cut):>6}  {_size(size):>14}")
    whole = total * sum(measured.values())
    lines.append(f"estimated size: {_size(whole)}, from {made} pictures")
    if made:
        lines.append(f"estimated time: {total * seconds / made:,.0f} s on one core")
    return lines


def _size(count: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:,.2f} {unit}"
    return f"{count / 1e3:,.1f} kB"


def _sample(source: Source) -> tuple[Survey | None, int]:
    """A survey in which files that were not opened count as the nearest opened one; how many were.

    The two files of a couple are opened together, and a couple counts as the nearest couple; the
    pictures of a domain count as pictures of that domain.
    """
    keys = source.files_to_survey()
    if not keys:
        return None, 0
    if isinstance(source, couples.Couples):
        half = len(keys) // 2
        columns, opened = _filled(source, keys[:half], keys[half:])
        return Survey.join(columns), opened
    if isinstance(source, couples.Unpaired):
        domains = [[key for key in keys if key[0] == mark] for mark in "AB"]
        filled = [_filled(source, domain) for domain in domains]
        return Survey.join([columns[0] for columns, _ in filled]), sum(n for _, n in filled)
    columns, opened = _filled(source, keys)
    return columns[0], opened


def _filled(source: Source, *columns: Sequence[str]) -> tuple[list[Survey], int]:
    """(a survey per column of files, how many were opened); the columns are opened at one row."""
    total = len(columns[0])
    places = np.linspace(0, total - 1, min(_SAMPLE, total)).astype(int)
    opened = [Survey.of(list(source.survey([keys[i] for i in places]))) for keys in columns]
    bad = {row: error for survey in opened for row, error in survey.errors.items()}
    good = np.array([row for row in range(len(places)) if row not in bad], int)
    if not len(good):
        raise UserError(
            f"{source.spec}: none of {len(places)} pictures could be opened ({bad[0][1]} ...)"
        )
    # Row -> the nearest good sample before it, or the first.
    before = np.searchsorted(places[good], np.arange(total), side="right") - 1
    nearest = good[np.maximum(before, 0)]
    filled = []
    for number, survey in enumerate(opened):
        # Digests stand for contents; made up here, they differ.
        digests = np.zeros((total, 32), np.uint8)
        digests[:, :8] = np.arange(total, dtype=np.uint64).view(np.uint8).reshape(-1, 8)
        digests[:, 8] = number
        filled.append(Survey(digests, survey.sizes[nearest], survey.grey[nearest], {}, survey.ids))
    return filled, len(places) * len(columns)


def _measure(source: Source, plan, target: shards.Target) -> tuple[dict[int, float], float, int]:
    """(mean bytes of a record per height, seconds, records made) of a sample."""
    split, rows = next(iter(plan.splits.items()))
    maker = shards.BlockMaker(split, source, target, 1)
    places = np.linspace(0, len(rows) - 1, min(_SAMPLE, len(rows))).astype(int)
    sizes = dict.fromkeys(target.encoders(), 0)
    made, started = 0, time.perf_counter()
    for place in sorted(set(places.tolist())):
        for item in maker.items(rows[place : place + 1]):
            block = maker(item)
            made += len(block.labels)
            for height, frames in block.frames.items():
                sizes[height] += len(frames)
    seconds = time.perf_counter() - started
    return {height: size / max(made, 1) for height, size in sizes.items()}, seconds, made
