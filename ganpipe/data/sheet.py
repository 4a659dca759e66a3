"""Sample sheets: a picture of what a prepared folder holds, for reports and for looking."""

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

    Args:
      directory: folder written by `python -m pipeline.prepare`.
      out: PNG file to write; its folder is made.
      columns: images per row, >= 1.
      rows: rows of an unlabelled set, and the most classes shown of a labelled one.
      split: `train` or `test`.
      seed: which images.
      resolution: level to show; the largest up to 128 if None.
      min_side: smaller images are enlarged by a whole factor (no smoothing) to at least this side.

    Returns:
      `out` as a path.

    Raises:
      UserError: no such folder, split or resolution.
    """
    data = manifest.info(directory)
    if resolution is None:
        resolution = max(r for r in data.resolutions if r <= 128)
    classes = min(data.num_classes, rows)
    lines = classes or min(rows, -(-data.count(split) // columns))
    chosen = _choose(data, split, resolution, seed, lines, columns, by_class=bool(classes))

    factor = max(1, -(-min_side // resolution))
    side = resolution * factor
    font = ImageFont.load_default(size=max(11, min(16, side // 3)))
    names = [data.class_names[i] for i in range(classes)]
    margin = max((int(font.getlength(n)) for n in names), default=-14) + 14
    cell = side + _GAP
    title = (
        f"{data.name}: {data.count(split):,} {split} images, "
        f"{data.max_resolution}x{data.max_resolution}x{data.channels}"
    )
    top = 26
    width = max(margin + columns * cell + _GAP, int(font.getlength(title)) + 14)
    sheet = Image.new("RGB", (width, top + lines * cell + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((6, 5), title, fill=_TEXT, font=font)
    for row, images in enumerate(chosen):
        y = top + row * cell
        if names:
            draw.text((6, y + side // 2), names[row], fill=_TEXT, font=font, anchor="lm")
        for column, image in enumerate(images):
            big = image.repeat(factor, axis=0).repeat(factor, axis=1)  # (side, side, C)
            picture = Image.fromarray(big[..., 0] if data.channels == 1 else big)
            sheet.paste(picture, (margin + _GAP + column * cell, y))
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    sheet.save(partial, format="PNG")
    os.replace(partial, out)
    return out


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
    """`lines` lists of up to `columns` (R, R, C) uint8 images, in the order of a seeded stream."""
    from ganpipe.data import reader  # TensorFlow, only when a sheet is really made

    stream = reader.load(data.dir, resolution, 256, split, seed, repeat=False, drop_remainder=False)
    found: list[list[np.ndarray]] = [[] for _ in range(lines)]
    place = itertools.count()
    for images, labels in stream.as_numpy_iterator():
        pixels = np.rint(np.clip((images + 1) * 127.5, 0, 255)).astype(np.uint8)
        for image, label in zip(pixels, labels, strict=True):
            row = int(label) if by_class else next(place) // columns
            if row < lines and len(found[row]) < columns:
                found[row].append(image)
        # A rare class may need the whole split; nothing else does.
        if all(len(row) >= columns for row in found):
            break
    return found
