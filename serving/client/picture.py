"""A grid of images as a PNG file."""

import os
import pathlib
import tempfile

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 2
_PAPER = 255
# An image narrower than this is shown enlarged: one of 28 pixels is a stamp on today's screens.
_SMALLEST_TILE = 64


def grid(
    images: np.ndarray,
    columns: int,
    row_names: list[str] | None = None,
    scale: int = 0,
) -> Image.Image:
    """Lays images out row by row.

    Args:
      images: (N, H, W, C) uint8, C of 1 or 3.
      columns: images per row.
      row_names: text drawn to the left of each row.
      scale: how many times each pixel is enlarged, without smoothing; 0 chooses so that an image
        is about 64 pixels wide or its own size.

    Raises:
      ValueError: the images have another shape or dtype.
    """
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3):
        raise ValueError(f"expected (N, H, W, 1 or 3) uint8, got {images.shape} {images.dtype}")
    count, height, width, channels = images.shape
    scale = scale or max(1, _SMALLEST_TILE // width)
    images = images.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    rows = -(-count // columns)
    font = ImageFont.load_default(size=max(10, min(20, height // 3)))
    margin = 0
    if row_names:
        margin = int(max(font.getlength(name) for name in row_names)) + 4 * _GAP
    canvas = np.full(
        (
            rows * (height + _GAP) + _GAP,
            margin + columns * (width + _GAP) + _GAP,
            channels,
        ),
        _PAPER,
        np.uint8,
    )
    for index, image in enumerate(images):
        top = _GAP + index // columns * (height + _GAP)
        left = margin + _GAP + index % columns * (width + _GAP)
        canvas[top : top + height, left : left + width] = image
    picture = Image.fromarray(canvas[..., 0] if channels == 1 else canvas)
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(row_names or []):
        middle = _GAP + row * (height + _GAP) + height // 2
        draw.text(
            (margin - 2 * _GAP, middle),
            name,
            fill=0 if channels == 1 else "black",
            font=font,
            anchor="rm",
        )
    return picture


def write(path: pathlib.Path, save) -> None:
    """Calls `save(file)` on a temporary sibling and renames it to `path`.

    Raises:
      OSError: the folder is missing or not writable; nothing is left behind.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            save(file)
        # mkstemp makes files private; a picture gets the rights of any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
