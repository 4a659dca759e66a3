"""Draws docs/img/sets/: a contact sheet of every named set, with maps and pairs below the pictures.

    .venv/bin/python tools/contact_sheets.py              # all
    .venv/bin/python tools/contact_sheets.py emoji mnist  # some; NAME:OPTION works too

Fetches what is not in the cache.
"""

import argparse
import colorsys
import io
import types
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganpipe.data import sets
from ganpipe.data.sources.base import Batch, Plan, Source

OUT = Path(__file__).resolve().parents[1] / "docs" / "img" / "sets"
ALL = (*sets.NAMES, "emoji:noto,twemoji", "photos:test", "photo_crops:256")
GAP, WIDTH, MOST_BYTES = 2, 960, 120_000
PER_CLASS_LIMIT = 12  # sets of at most this many classes get a row for each


def as_image(picture, side: int) -> Image.Image:
    """Any picture of a `Batch`, on white, at most side x side."""
    if isinstance(picture, bytes):
        image = Image.open(io.BytesIO(picture))
    else:
        image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    if image.mode in ("RGBA", "LA", "P", "PA"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image)
        image = ground
    image = image.convert("RGB")
    if max(image.size) <= side // 2:
        factor = side // max(image.size)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def map_colours(names: tuple[str, ...]) -> np.ndarray:
    """(n, 3) uint8: colours named by the classes themselves, or hues of our own."""
    colours = []
    for i, name in enumerate(names):
        if name.startswith("#"):
            colours.append([int(name[k : k + 2], 16) for k in (1, 3, 5)])
        elif name == "nothing":
            colours.append([238, 221, 255])
        elif name in ("sea", "lake"):
            colours.append([20, 50, 120] if name == "sea" else [90, 170, 255])
        else:
            hue, level = divmod(i - 2, 4)
            value = 0.45 + 0.17 * level
            colours.append([255 * c for c in colorsys.hsv_to_rgb(0.33 - 0.08 * hue, 0.65, value)])
    return np.array(colours).astype(np.uint8)


def as_map(ids, names: tuple[str, ...], side: int) -> Image.Image:
    """A label map in colours."""
    ids = np.asarray(Image.open(io.BytesIO(ids))) if isinstance(ids, bytes) else ids
    return Image.fromarray(map_colours(names)[ids]).resize((side, side), Image.Resampling.NEAREST)


def choose(source: Source, plan: Plan, split: str, count: int, geometry) -> list[Batch]:
    """The first `count` pictures of a split, or of each of its few classes."""
    per_class = 0 < len(plan.class_names) <= PER_CLASS_LIMIT
    found: dict[int, list[Batch]] = {}
    for batch in source.batches(split, plan.splits[split], 64, geometry):
        for i, label in enumerate(batch.labels):
            row = found.setdefault(int(label) if per_class else 0, [])
            if len(row) < count:
                maps = None if batch.maps is None else batch.maps[i : i + 1]
                pairs = None if batch.pairs is None else batch.pairs[i : i + 1]
                part = Batch([batch.keys[i]], batch.labels[i : i + 1], batch.pictures[i : i + 1])
                part.maps, part.pairs = maps, pairs
                row.append(part)
        full = len(found) == max(1, len(plan.class_names) if per_class else 1)
        if full and all(len(row) >= count for row in found.values()):
            break
    return [found[label] for label in sorted(found)]


def sheet(spec: str) -> Path:
    """Draws one sheet and returns its path."""
    name, _, option = spec.partition(":")
    source = sets.open_set(name, option).fetch(print)
    side = {"photos": 188, "photo_crops": 94, "earth_labelmap": 94, "earth_daynight": 94}.get(
        name, 78 if name.startswith("fluent") else 62
    )
    geometry = types.SimpleNamespace(shape=(side, side), channels=0, background=(255, 255, 255))
    plan = source.plan(geometry, 0, 0.1, {})
    columns = WIDTH // (side + GAP)
    few = 0 < len(plan.class_names) <= PER_CLASS_LIMIT
    lines = []
    for split in ("trainA", "trainB") if plan.domains else ("train",):
        if few:
            columns = (WIDTH - 130) // (side + GAP)
            rows = choose(source, plan, split, columns, geometry)
            lines += list(zip(plan.class_names, rows, strict=True))
        else:
            count = 3 * columns if plan.domains or name == "earth_labelmap" else 6 * columns
            row = choose(source, plan, split, min(count, len(plan.splits[split])), geometry)[0]
            lines += [("", row[start : start + columns]) for start in range(0, len(row), columns)]
    tall = 2 if plan.map_classes or plan.pair_channels else 1
    lines = lines[: 12 if tall == 1 else 4]
    step = (side * 2 // 3 if name == "photos" else side) + GAP
    margin = 130 if few else 0
    canvas = Image.new("RGB", (WIDTH, len(lines) * tall * step), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    for number, (label, row) in enumerate(lines):
        top = number * tall * step
        pen.text((4, top + step // 2), label, fill=(40, 40, 40), font=font, anchor="lm")
        for column, one in enumerate(row):
            left = margin + column * (side + GAP)
            tiles = [as_image(one.pictures[0], side)]
            if one.maps is not None:
                tiles.append(as_map(one.maps[0], plan.map_classes, side))
            if one.pairs is not None:
                tiles.append(as_image(one.pairs[0], side))
            for k, tile in enumerate(tiles):
                box = (side, step - GAP)
                if name == "photos":
                    tile.thumbnail(box, Image.Resampling.LANCZOS)
                offset = ((box[0] - tile.width) // 2, (box[1] - tile.height) // 2)
                canvas.paste(tile, (left + offset[0], top + k * step + offset[1]))
    return save(canvas, OUT / f"{source.name}.jpg")


def save(canvas: Image.Image, path: Path) -> Path:
    """A JPEG of at most `MOST_BYTES`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for quality in range(88, 30, -6):
        buffer = io.BytesIO()
        canvas.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    path.write_bytes(buffer.getvalue())
    return path


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("spec", nargs="*", default=ALL, help="sets to draw; all by default")
    for spec in parser.parse_args().spec:
        path = sheet(spec)
        print(f"{path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
