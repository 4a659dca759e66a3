"""What a preparation would read and write, told without writing anything.

Of the files of a source only a sample is opened: it gives the sizes, the channels and, through the
workers' own code, the bytes of a record at every level and the time it takes.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from ganpipe.data import sources
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
    """A survey in which files that were not opened count as the nearest opened one."""
    keys = source.files_to_survey()
    if not keys:
        return None, 0
    count = min(_SAMPLE, len(keys))
    places = np.linspace(0, len(keys) - 1, count).astype(int)
    opened = Survey.of(list(source.survey([keys[i] for i in places])))
    good = [i for i in range(count) if i not in opened.errors]
    if not good:
        reason = opened.errors[0][1]
        raise UserError(f"{source.spec}: none of {count} pictures could be opened ({reason} ...)")
    # Row -> the nearest good sample before it.
    nearest = np.array(good)[
        np.maximum(np.searchsorted(places[good], np.arange(len(keys)), side="right") - 1, 0)
    ]
    # Digests stand for contents; made up here, they differ.
    digests = np.zeros((len(keys), 32), np.uint8)
    digests[:, :8] = np.arange(len(keys), dtype=np.uint64).view(np.uint8).reshape(-1, 8)
    return Survey(digests, opened.sizes[nearest], opened.grey[nearest], {}, opened.ids), count


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
