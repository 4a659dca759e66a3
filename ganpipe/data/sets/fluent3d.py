"""`fluent3d`: Microsoft's three-dimensional emoji, 3,391 pictures of 256x256 with transparency.

Classes are the nine categories of emoji, read from Twemoji's metadata. Four pictures are 256x264,
with empty rows at top or bottom, and lose four at each end. The test split is cut by code point,
with all skin tones and genders of a picture on one side.
"""

import dataclasses
import io
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ganpipe.data.sets import code_points, svg
from ganpipe.data.sets.named import NamedSet, held_out, parts
from ganpipe.data.sets.packages import Package
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan

SIDE = 256
FLUENT = Package(
    "npm",
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    15.8,
    ("assets/*.webp",),
)


def iconify(style: str, version: str, sha256: str, megabytes: float) -> Package:
    """A package of vector icons with code points and categories."""
    files = ("icons.json", "chars.json", "metadata.json")
    return Package("npm", f"@iconify-json/{style}", version, sha256, megabytes, files)


TWEMOJI = iconify(
    "twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7", 1.6
)


@lru_cache(maxsize=2)
def files(place: Path) -> tuple[str, ...]:
    """Names without suffix of all pictures of the unpacked `FLUENT`, sorted."""
    return tuple(sorted(path.stem for path in (place / "assets").glob("*.webp")))


def read(place: Path, name: str) -> bytes:
    """One picture of 256x256 as an encoded RGBA file: WebP, or PNG for the four that are cut."""
    data = (place / "assets" / f"{name}.webp").read_bytes()
    with Image.open(io.BytesIO(data)) as image:
        if image.size == (SIDE, SIDE):
            return data
        top = (image.height - SIDE) // 2
        buffer = io.BytesIO()
        image.crop((0, top, SIDE, top + SIDE)).save(buffer, "PNG")
    return buffer.getvalue()


@lru_cache(maxsize=8)
def category_of(place: Path) -> dict[str, str]:
    """Normal code points to category, from an unpacked iconify package."""
    names = svg.categories(place)
    table = svg.by_code_point(place)
    return {code_points.normal(points): names[name] for points, name in table.items()}


@dataclasses.dataclass(frozen=True)
class Fluent3D(NamedSet):
    """See the module's docstring. Keys are the package's own names of the files."""

    SET = "fluent3d"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """The pictures, and Twemoji for the categories."""
        return FLUENT, TWEMOJI

    def fixed_size(self) -> tuple[int, int] | None:
        """256x256."""
        return SIDE, SIDE

    def _classes(self) -> tuple[dict[str, str], tuple[str, ...]]:
        known = category_of(self.place(TWEMOJI))
        return known, tuple(sorted(set(known.values())))

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """All pictures; cut by code point, ordered by the seed."""
        del surveyed
        names = np.array(files(self.place(FLUENT)))
        test = held_out([code_points.family(name) for name in names], test_fraction)
        splits = {}
        for number, (split, where) in enumerate((("train", ~test), ("test", test))):
            if where.any():
                rows = names[where]
                splits[split] = rows[order.permutation(seed, number, len(rows))].tolist()
        return Plan(self._classes()[1], geometry.channels or 3, splits, [], len(names))

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """Encoded RGBA pictures."""
        del split, geometry
        place = self.place(FLUENT)
        known, classes = self._classes()
        for keys in parts(rows, size):
            labels = [classes.index(known[code_points.normal(key)]) for key in keys]
            pictures = [read(place, key) for key in keys]
            yield Batch(list(keys), np.array(labels, np.int64), pictures)


def tone_suffix(name: str) -> bool:
    """Whether an icon's name ends in a skin tone, as in `ear-medium-dark`."""
    return re.search(r"-(light|medium-light|medium|medium-dark|dark)$", name) is not None
