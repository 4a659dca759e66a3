"""`emoji`: emoji in the styles of Noto, Twemoji, OpenMoji and Fluent 3D.

| spec | what |
| --- | --- |
| `emoji` | all four, the style as class |
| `emoji:STYLE` | one of them, its categories as classes |
| `emoji:A,B` | two of them as unpaired domains, for translation |

The first three are vector graphics and drawn at the size that is wanted. Keys are
`STYLE/CODE-POINTS`, the same code points in every style, so that the hidden pairs of a
translation can be found: the part behind the `/` is equal. The test split is cut by code point,
over all styles alike and with all skin tones and genders of a picture on one side: nothing is in
train of one domain and in test of the other.
"""

import dataclasses
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from ganpipe.data.sets import code_points, fluent3d, svg
from ganpipe.data.sets.entries import STYLE_CREDITS
from ganpipe.data.sets.fluent3d import FLUENT, TWEMOJI, iconify
from ganpipe.data.sets.named import NamedSet, held_out, parts
from ganpipe.data.sets.packages import Package
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan
from ganpipe.errors import UserError

PACKAGES = {
    "noto": iconify(
        "noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad", 3.1
    ),
    "twemoji": TWEMOJI,
    "openmoji": iconify(
        "openmoji",
        "1.2.29",
        "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
        1.3,
    ),
    "fluent3d": FLUENT,
}
STYLES = tuple(PACKAGES)


@lru_cache(maxsize=8)
def _members(style: str, place: Path) -> dict[str, str]:
    """Normal code points to what the package calls the picture; sorted, each only once."""
    if style == "fluent3d":
        found = ((name, name) for name in fluent3d.files(place))
    else:
        found = svg.by_code_point(place).items()
    members: dict[str, str] = {}
    for points, name in sorted(found):
        # Fluent 3D has 16 code points in two spellings.
        members.setdefault(code_points.normal(points), name)
    return dict(sorted(members.items()))


@dataclasses.dataclass(frozen=True)
class Emoji(NamedSet):
    """See the module's docstring. Rows are keys."""

    SET = "emoji"
    CODE = 1

    @property
    def styles(self) -> tuple[str, ...]:
        """Those that are read."""
        return tuple(self.option.split(",")) if self.option else STYLES

    @property
    def licence(self) -> str:
        """Of the styles that are read."""
        return ", ".join(dict.fromkeys(STYLE_CREDITS[style][0] for style in self.styles))

    @property
    def credit(self) -> str:
        """Of the styles that are read."""
        return "; ".join(STYLE_CREDITS[style][1] for style in self.styles)

    def check_option(self) -> None:
        """UserError unless one style or two different ones are named."""
        unknown = [style for style in self.styles if style not in STYLES]
        if (
            unknown
            or (self.option and len(self.styles) > 2)
            or len(set(self.styles)) < len(self.styles)
        ):
            raise UserError(
                f"--source={self.spec}: expected emoji (all styles as classes), emoji:STYLE (its "
                "categories as classes) or emoji:A,B (two different styles as domains), with the "
                f"styles {', '.join(STYLES)}"
            )

    @property
    def _packages(self) -> dict[str, Package]:
        """Per style its package."""
        return {style: PACKAGES[style] for style in self.styles}

    def packages(self) -> tuple[Package, ...]:
        """One a style; Twemoji too for the categories of Fluent 3D."""
        more = (TWEMOJI,) if self.option == "fluent3d" else ()
        return (*self._packages.values(), *more)

    def _categories(self) -> dict[str, str]:
        """Normal code points to category; for one style."""
        package = TWEMOJI if self.option == "fluent3d" else PACKAGES[self.option]
        return fluent3d.category_of(self.place(package))

    def _class_names(self) -> tuple[str, ...]:
        if not self.option:
            return STYLES
        if len(self.styles) == 2:
            return ()
        known = self._categories()
        members = _members(self.option, self.place(PACKAGES[self.option]))
        return tuple(sorted({known[points] for points in members}))

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Cut by code point, ordered by the seed; with two styles `trainA`, `trainB` and so on."""
        del surveyed
        keys = {
            style: [f"{style}/{points}" for points in _members(style, self.place(package))]
            for style, package in self._packages.items()
        }
        domains = self.styles if len(self.styles) == 2 else ()
        groups = list(keys.values()) if domains else [[k for part in keys.values() for k in part]]
        splits = {}
        for letter, group in zip("AB" if domains else ("",), groups, strict=True):
            families = [code_points.family(key.partition("/")[2]) for key in group]
            test = held_out(families, test_fraction)
            for split, where in (("train", ~test), ("test", test)):
                rows = np.array(group)[where]
                if len(rows):
                    shuffled = order.permutation(seed, len(splits), len(rows))
                    splits[f"{split}{letter}"] = rows[shuffled].tolist()
        total = sum(map(len, groups))
        channels = geometry.channels or 3
        return Plan(self._class_names(), channels, splits, [], total, domains=domains)

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """PNGs of the geometry's size, or Fluent's WebP files of 256x256."""
        del split
        classes = self._class_names()
        known = self._categories() if len(self.styles) == 1 else {}
        for keys in parts(rows, size):
            labels = np.zeros(len(keys), np.int64)
            pictures = []
            for i, key in enumerate(keys):
                style, _, points = key.partition("/")
                pictures.append(self._draw(style, points, geometry))
                if classes:
                    labels[i] = classes.index(known[points] if self.option else style)
            yield Batch(list(keys), labels, pictures)

    def _draw(self, style: str, points: str, geometry) -> bytes:
        place = self.place(PACKAGES[style])
        name = _members(style, place)[points]
        if style == "fluent3d":
            return fluent3d.read(place, name)
        return svg.draw(svg.icons(place), name, *geometry.shape)
