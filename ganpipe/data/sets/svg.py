"""Vector icons as the iconify packages keep them, drawn at the size that is wanted."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import resvg_py

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    'width="{width}" height="{height}" viewBox="{left} {top} {w:g} {h:g}"{more}>{body}</svg>'
)


@lru_cache(maxsize=8)
def read_json(path: Path) -> dict[str, Any]:
    """A JSON file, parsed once per process."""
    return json.loads(path.read_text(encoding="utf-8"))


def icons(package: Path) -> dict[str, Any]:
    """`icons.json` of an iconify package: `icons`, `width`, `height`."""
    return read_json(package / "icons.json")


def by_code_point(package: Path) -> dict[str, str]:
    """Code points, as in `1f9d1-200d-1f680`, to the name of the icon; every icon once."""
    found: dict[str, str] = {}
    for points, name in sorted(read_json(package / "chars.json").items()):
        found.setdefault(name, points)
    return {points: name for name, points in found.items()}


def categories(package: Path) -> dict[str, str]:
    """Name of an icon to its category."""
    table = read_json(package / "metadata.json")["categories"]
    return {name: category for category, names in table.items() for name in names}


def draw(
    collection: Mapping[str, Any], name: str, height: int, width: int, more: str = ""
) -> bytes:
    """One icon as an RGBA PNG of the given size: whole, centred, as large as fits.

    Args:
      collection: what `icons` returned.
      name: key of `collection["icons"]`.
      height, width: in pixels, >= 1.
      more: further attributes of the <svg> element.
    """
    icon = collection["icons"][name]
    text = _SVG.format(
        width=width,
        height=height,
        left=icon.get("left", 0),
        top=icon.get("top", 0),
        w=icon.get("width", collection.get("width", 16)),
        h=icon.get("height", collection.get("height", 16)),
        more=more and f" {more}",
        body=icon["body"],
    )
    # Without system fonts: what is installed must not change the pixels, and it is much faster.
    return resvg_py.svg_to_bytes(svg_string=text, skip_system_fonts=True)
