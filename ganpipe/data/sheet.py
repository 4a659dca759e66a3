"""Sample sheets: a picture of what a prepared folder holds, for reports and for looking."""

import colorsys
import itertools
import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganpipe.data import manifest

_TEXT, _PAPER, _GAP = (40, 40, 40), (255, 255, 255), 2


def sample_sheet(
    directory: str | Path,
    out: str | Path,
    *,
    columns: int = 10,
    rows: int = 10,
    split: str = "train",
    seed: int = 0,
    resolution: int | None = None,
    min_side: int = 40,
) -> Path:
    """Writes a PNG grid of real images: one row per class with its name, or unlabelled rows.

    Label maps (a colour per id) and second pictures stand to the right of their image. Two domains
    share the rows, each with its name.

    Args:
      directory: folder written by `python -m pipeline.prepare`.
      out: PNG file to write; its folder is made.
      columns: images per row, >= 1.
      rows: rows of an unlabelled set, and the most classes shown of a labelled one.
      split: `train` or `test`; of two domains also `trainA` etc. for one of them.
      seed: which images.
      resolution: level (height) to show; the largest up to 128 if None.
      min_side: lower images are enlarged by a whole factor (no smoothing) to at least this height.

    Returns:
      `out` as a path.

    Raises:
      UserError: no such folder, split or resolution.
    """
    data = manifest.info(directory)
    if resolution is None:
        small = [r for r in data.resolutions if r <= 128]
        resolution = max(small, default=data.resolutions[0])
    both = data.domains and split in ("train", "test")
    splits = [split + "A", split + "B"] if both else [split]
    names, lines = _lines(data, splits, resolution, seed, rows, columns)

    height, width, channels = data.shape(resolution)
    factor = max(1, -(-min_side // height))
    pictures = 1 + bool(data.map_classes) + bool(data.pair_channels)
    cell_height, cell_width = height * factor + _GAP, width * factor * pictures + _GAP
    font = ImageFont.load_default(size=max(11, min(16, height * factor // 3)))
    margin = max((int(font.getlength(n)) for n in names), default=-14) + 14
    top_height, top_width, _ = data.shape(data.max_resolution)
    count = sum(data.count(part) for part in splits)
    title = f"{data.name}: {count:,} {split} images, {top_height}x{top_width}x{channels}"
    top = 26
    whole = max(margin + columns * cell_width + _GAP, int(font.getlength(title)) + 14)
    sheet = Image.new("RGB", (whole, top + len(lines) * cell_height + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((6, 5), title, fill=_TEXT, font=font)
    for row, images in enumerate(lines):
        y = top + row * cell_height
        if names:
            draw.text((6, y + cell_height // 2), names[row], fill=_TEXT, font=font, anchor="lm")
        for column, image in enumerate(images):
            big = image.repeat(factor, axis=0).repeat(factor, axis=1)
            sheet.paste(Image.fromarray(big), (margin + _GAP + column * cell_width, y))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    sheet.save(partial, format="PNG")
    os.replace(partial, out)
    return out


def _lines(
    data: manifest.DatasetInfo,
    splits: list[str],
    resolution: int,
    seed: int,
    rows: int,
    columns: int,
) -> tuple[list[str], list[list[np.ndarray]]]:
    """(names of the rows, or none; the RGB pictures of each row)."""
    names, lines = [], []
    each = max(1, rows // len(splits))
    for number, split in enumerate(splits):
        data.check_split(split)
        classes = min(data.num_classes, each)
        wanted = classes or min(each, -(-data.count(split) // columns))
        lines += _choose(data, split, resolution, seed, wanted, columns, by_class=bool(classes))
        domain = data.domains[number] if len(splits) > 1 else ""
        labels = [data.class_names[i] for i in range(classes)]
        if domain:
            labels = [f"{domain} {label}" for label in labels] or [domain] * wanted
        names += labels
    return names, lines


def _choose(
    data: manifest.DatasetInfo,
    split: str,
    resolution: int,
    seed: int,
    lines: int,
    columns: int,
    *,
    by_class: bool,
) -> list[list[np.ndarray]]:
    """`lines` lists of up to `columns` RGB pictures, in the order of a seeded stream."""
    from ganpipe.data import reader  # TensorFlow, only when a sheet is really made

    there = (True, bool(data.map_classes), bool(data.pair_channels))
    shown = [name for name, here in zip(("image", "map", "pair"), there, strict=True) if here]
    stream = reader.load(
        data.dir,
        resolution,
        256,
        split,
        seed,
        features=("label", *shown),
        repeat=False,
        drop_remainder=False,
    )
    found: list[list[np.ndarray]] = [[] for _ in range(lines)]
    place = itertools.count()
    for labels, *values in stream.as_numpy_iterator():
        for label, *pictures in zip(labels, *values, strict=True):
            row = int(label) if by_class else next(place) // columns
            if row < lines and len(found[row]) < columns:
                found[row].append(np.concatenate([_rgb(p) for p in pictures], axis=1))
        # A rare class may need the whole split; nothing else does.
        if all(len(row) >= columns for row in found):
            break
    return found


def _rgb(values: np.ndarray) -> np.ndarray:
    """(H, W, C) float32 in [-1, 1], or (H, W) int32 ids, -> (H, W, 3) uint8."""
    if values.ndim == 3:
        pixels = np.rint(np.clip((values + 1) * 127.5, 0, 255)).astype(np.uint8)
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    # Hues a golden section apart: neighbouring ids never look alike.
    hues = (np.arange(256) * 0.618034) % 1
    table = [colorsys.hsv_to_rgb(hue, 0.45 + 0.4 * (i % 2), 0.9) for i, hue in enumerate(hues)]
    return (np.array(table) * 255).astype(np.uint8)[values]
