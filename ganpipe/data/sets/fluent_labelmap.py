"""`fluent_labelmap`: three-dimensional emoji with maps of 25 classes, from their flat drawings.

Microsoft drew every emoji twice, flat and in three dimensions. A map is the flat drawing without
anti-aliasing: class 0 is what is transparent (alpha < 128), every other pixel has the nearest of 24
colours of `palette`. The picture is the one in three dimensions, on transparent ground.

Only pairs that fit are kept: no skin tones (their drawings often disagree in tone or gender), and
foregrounds whose intersection over union is at least 0.85, compared at 64x64, where the foreground
of the picture on white is what has a channel below 245. That leaves 1,324 of 3,025 pairs.
"""

import collections
import dataclasses
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ganpipe.data.sets import code_points, fluent3d, svg
from ganpipe.data.sets.fluent3d import FLUENT, iconify
from ganpipe.data.sets.named import NamedSet, held_out, parts
from ganpipe.data.sets.packages import Package
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan

FLAT = iconify(
    "fluent-emoji-flat",
    "1.2.6",
    "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    1.2,
)
COLOURS, APART = 24, 52  # number of colours, and the least RGB distance between two of them
SIDE, SMALL = 256, 64  # of pictures and maps; of what is compared
LEAST_OVERLAP, WHITE = 0.85, 245
_FILL = re.compile(r'(?:fill|stop-color)="(#[0-9a-fA-F]{6}|#[0-9a-fA-F]{3})"')


def rgb(colour: str) -> tuple[int, int, int]:
    """`#f80` or `#ff8800` as three numbers 0..255."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def palette(bodies: Iterable[str]) -> np.ndarray:
    """(24, 3) uint8: the most used fills, each at least `APART` from those before it."""
    fills = collections.Counter(colour.lower() for body in bodies for colour in _FILL.findall(body))
    chosen: list[np.ndarray] = []
    for colour, _ in sorted(fills.items(), key=lambda item: (-item[1], item[0])):
        candidate = np.array(rgb(colour))
        if all(np.linalg.norm(candidate - other) >= APART for other in chosen):
            chosen.append(candidate)
        if len(chosen) == COLOURS:
            break
    return np.array(chosen, np.uint8)


def label_map(rgba: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """(H, W, 4) and (24, 3) uint8 to (H, W) uint8 ids: 0 transparent, 1..24 the nearest colour."""
    # Few distinct colours, so that nearly all of the work is one sort of 32-bit numbers.
    packed = np.ascontiguousarray(rgba).view(np.uint32).reshape(-1)
    distinct, where = np.unique(packed, return_inverse=True)
    flat = distinct.view(np.uint8).reshape(-1, 4)
    distance = ((flat[:, None, :3].astype(int) - colours[None].astype(int)) ** 2).sum(-1)
    ids = np.where(flat[:, 3] < 128, 0, 1 + distance.argmin(1)).astype(np.uint8)
    return ids[where].reshape(rgba.shape[:2])


def overlap(rgba_flat: np.ndarray, picture: Image.Image) -> float:
    """Intersection over union of the foregrounds of a (64, 64, 4) drawing and an RGBA picture."""
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    small = ground.convert("RGB").resize((SMALL, SMALL), Image.Resampling.LANCZOS)
    a, b = rgba_flat[..., 3] >= 128, np.asarray(small).min(-1) < WHITE
    return (a & b).sum() / max(1, (a | b).sum())


@lru_cache(maxsize=2)
def _maps(path: Path) -> dict[str, bytes]:
    """All maps as PNGs, by key; 2 MB."""
    with zipfile.ZipFile(path) as file:
        return {name.removesuffix(".png"): file.read(name) for name in sorted(file.namelist())}


@dataclasses.dataclass(frozen=True)
class FluentLabelmap(NamedSet):
    """See the module's docstring. Keys are code points; maps are grey PNGs of 256x256."""

    SET = "fluent_labelmap"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """Both drawings."""
        return FLUENT, FLAT

    def fixed_size(self) -> tuple[int, int] | None:
        """Of pictures and maps."""
        return SIDE, SIDE

    def pairs(self) -> dict[str, tuple[str, str]]:
        """All 3,025 pairs: code points to the names of the flat icon and of the picture."""
        pictures: dict[str, str] = {}
        for name in fluent3d.files(self.place(FLUENT)):
            pictures.setdefault(code_points.normal(name), name)
        icons = svg.by_code_point(self.place(FLAT))
        found = {code_points.normal(points): name for points, name in icons.items()}
        return {points: (found[points], pictures[points]) for points in found if points in pictures}

    def _drawing(self, icon: str, side: int) -> np.ndarray:
        collection = svg.icons(self.place(FLAT))
        data = svg.draw(collection, icon, side, side, 'shape-rendering="crispEdges"')
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))

    def _picture(self, name: str) -> Image.Image:
        return Image.open(io.BytesIO(self._encoded(name))).convert("RGBA")

    def _encoded(self, name: str) -> bytes:
        return fluent3d.read(self.place(FLUENT), name)

    def prepare(self, say) -> None:
        """Compares the drawings of all pairs and keeps the maps of those that fit."""

        def make(folder: Path) -> None:
            collection = svg.icons(self.place(FLAT))
            colours = palette(icon["body"] for icon in collection["icons"].values())
            with zipfile.ZipFile(folder / "maps.zip", "w") as file:
                for points, (icon, name) in sorted(self.pairs().items()):
                    if fluent3d.tone_suffix(icon):
                        continue
                    if overlap(self._drawing(icon, SMALL), self._picture(name)) < LEAST_OVERLAP:
                        continue
                    buffer = io.BytesIO()
                    ids = label_map(self._drawing(icon, SIDE), colours)
                    Image.fromarray(ids).save(buffer, "PNG")
                    file.writestr(zipfile.ZipInfo(f"{points}.png"), buffer.getvalue())

        self.once(make, say, "comparing drawings and making maps (half a minute)")

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Cut by code point, ordered by the seed."""
        del surveyed
        keys = np.array(list(_maps(self.workshop / "maps.zip")))
        test = held_out([code_points.family(key) for key in keys], test_fraction)
        splits = {}
        for number, (split, where) in enumerate((("train", ~test), ("test", test))):
            if where.any():
                shuffled = order.permutation(seed, number, int(where.sum()))
                splits[split] = keys[where][shuffled].tolist()
        colours = palette(i["body"] for i in svg.icons(self.place(FLAT))["icons"].values())
        names = ("nothing", *(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours))
        return Plan((), geometry.channels or 3, splits, [], len(keys), map_classes=names)

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """RGBA pictures and PNG maps, both encoded."""
        del split, geometry
        maps = _maps(self.workshop / "maps.zip")
        pairs = self.pairs()
        for keys in parts(rows, size):
            pictures = [self._encoded(pairs[key][1]) for key in keys]
            zeros = np.zeros(len(keys), np.int64)
            yield Batch(list(keys), zeros, pictures, maps=[maps[key] for key in keys])
