"""`gallery.json`: the few real images that the statistics page shows, and the words beside them.

Written by statistics_gen while the data are at hand, so that the page can be made from the
statistics alone, later and elsewhere. Pictures are PNGs as `data:` addresses.
"""

import base64
import io
import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ganpipe.data.manifest import DatasetInfo
from ganpipe.data.sheet import sample_sheet
from pipeline.components import measure
from pipeline.components.duplicates import Duplicates
from pipeline.components.measure import Measurements
from pipeline.components.schema import printable

GALLERY = "gallery.json"
MOST = 8  # images shown of each kind of oddity
LARGEST = 128  # height of the level shown, where there is one as small


def show_level(data: DatasetInfo) -> int:
    """The level to show: the largest of at most 128, or the smallest there is."""
    return max((r for r in data.resolutions if r <= LARGEST), default=data.resolutions[0])


def make(
    data: DatasetInfo, measured: Mapping[str, Measurements], found: Duplicates, folder: Path
) -> dict[str, Any]:
    """Collects what the page shows of the data.

    Args:
      data: the folder.
      measured: its measurements.
      found: its duplicates.
      folder: an existing folder for files made on the way.

    Returns:
      JSON: `data` (facts), `complete`, `sheets` ([{split, image}]), `pairs` ([{a, b, bits}]) and
      `odd` ([{what, images}]), images as {split, key, image}.
    """
    level = show_level(data)
    wanted: dict[str, list[tuple[str, int]]] = {"pairs": []}
    for pair in found.pairs:
        wanted["pairs"] += [pair.first, pair.second]
    kinds = [("of one single colour", measure.CONSTANT)]
    if data.channels == 3:
        kinds.append(("grey in a colour set", measure.GREY))
    if data.map_classes:
        kinds.append(("maps with ids outside the class table", measure.UNKNOWN_ID))
    for what, flag in kinds:
        places = []
        for split, m in measured.items():
            which = m.flagged(flag)
            if flag == measure.GREY:  # black and white squares are told of already
                which = which & ~m.flagged(measure.CONSTANT)
            places += [(split, int(i)) for i in np.flatnonzero(which)[:MOST]]
        wanted[what] = places[:MOST]
    images = _read(data, level, set(itertools.chain(*wanted.values())))
    pairs = [
        {"a": images[pair.first], "b": images[pair.second], "bits": pair.bits}
        for pair in found.pairs
    ]
    odd = [
        {"what": what, "images": [images[place] for place in places]}
        for what, places in wanted.items()
        if what != "pairs" and places
    ]
    sheets = []
    for split in data.train_splits:
        if measured[split].count:
            path = folder / f"sheet-{split}.png"
            rows = 16 if data.num_classes else 8
            sample_sheet(data.dir, path, split=split, columns=12, rows=rows, resolution=level)
            sheets.append({"split": split, "image": _address(path.read_bytes())})
    height, width, channels = data.shape(data.max_resolution)
    facts = {
        "name": printable(data.name),
        "source": printable(data.source),
        "fingerprint": data.fingerprint,
        "shape": [height, width, channels],
        "levels": [
            {
                "shape": list(data.shape(r)[:2]),
                "encoding": data.encoding(r),
                "megabytes": sum(f["bytes"] for s in data.splits for f in data.files(s, r)) / 1e6,
            }
            for r in data.resolutions
        ],
        "class_names": [printable(name) for name in data.class_names],
        "map_classes": [printable(name) for name in data.map_classes],
        "pair_channels": data.pair_channels,
        "domains": list(data.domains),
        "geometry": data.geometry,
        "licence": data.licence,
        "original_sizes": dict(data.original_sizes),
        "credit": data.credit,
        "skipped": data.skipped,
    }
    return {
        "data": facts,
        "complete": found.complete,
        "sheets": sheets,
        "pairs": pairs,
        "odd": odd,
    }


def read(folder: Path) -> dict[str, Any] | None:
    """What `make` returned, from a folder of statistics_gen; None if it has none."""
    try:
        return json.loads((folder / GALLERY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _read(
    data: DatasetInfo, level: int, places: Iterable[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, str]]:
    """Reads single images: (split, place in its order) -> {split, key, image}."""
    by_split: dict[str, list[int]] = defaultdict(list)
    for split, place in places:
        by_split[split].append(place)
    images = {}
    for split, rows in by_split.items():
        start = 0
        for shard in data.files(split, level):
            mine = sorted(row for row in rows if start <= row < start + shard["count"])
            at = start
            if mine:
                for batch in measure.shard_batches(str(shard["path"]), data, level, 256):
                    for row in mine:
                        if at <= row < at + len(batch["key"]):
                            key = batch["key"][row - at].decode("utf-8", "replace")
                            content = _png(batch["image"][row - at])
                            images[split, row] = {"split": split, "key": key, "image": content}
                    at += len(batch["key"])
                    if at > mine[-1]:
                        break
            start += shard["count"]
    return images


def _png(pixels: np.ndarray) -> str:
    """A (H, W, C) uint8 image as the `data:` address of a PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG")
    return _address(file.getvalue())


def _address(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
