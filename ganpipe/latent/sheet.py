"""Tables of pictures with a head on every row and column, as one RGB sheet."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_INK, _PAPER, _GAP, _SPACE = (40, 40, 40), (255, 255, 255), 2, 8
SIDE = 64  # smaller pictures are enlarged by a whole factor to at least this


def enlarge(images: np.ndarray, side: int = SIDE) -> np.ndarray:
    """(N, H, W, C) -> every pixel repeated until the height is `side` or more."""
    factor = max(1, -(-side // images.shape[1]))
    return images.repeat(factor, axis=1).repeat(factor, axis=2)


def rgb(image: np.ndarray) -> np.ndarray:
    """(H, W, 1 or 3) uint8 -> (H, W, 3)."""
    return np.broadcast_to(image, (*image.shape[:2], 3))


def table(
    images: np.ndarray,
    rows: Sequence[str] | np.ndarray = (),
    columns: Sequence[str] | np.ndarray = (),
    title: str = "",
    side: int = SIDE,
) -> np.ndarray:
    """Pictures in rows and columns.

    Args:
      images: (R, K, H, W, C) uint8.
      rows: a text before every row, or a picture (R, H, W, C); empty for none.
      columns: a text above every column, or a picture (K, H, W, C); empty for none.
      title: above it all.
      side: see `enlarge`.

    Returns:
      (H', W', 3) uint8.
    """
    count, across = images.shape[:2]
    big = enlarge(images.reshape(-1, *images.shape[2:]), side)
    height, width = big.shape[1:3]
    font = ImageFont.load_default(size=12)
    left, pictures_left = _margin(rows, width, lambda texts: max(map(font.getlength, texts)))
    top, pictures_top = _margin(columns, height, lambda texts: 14)
    head = 20 if title else 0
    size = (
        max(left + across * (width + _GAP) + _GAP, int(font.getlength(title)) + 12),
        head + top + count * (height + _GAP) + _GAP,
    )
    canvas = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((6, 3), title, fill=_INK, font=font)

    def paste(image: np.ndarray, x: int, y: int) -> None:
        canvas.paste(Image.fromarray(np.ascontiguousarray(rgb(image))), (x, y))

    heads = enlarge(np.asarray(rows), side) if pictures_left else rows
    for i, what in enumerate(heads):
        y = head + top + _GAP + i * (height + _GAP)
        if pictures_left:
            paste(what, _GAP, y)
        else:
            draw.text((left - 5, y + height // 2), what, fill=_INK, font=font, anchor="rm")
    heads = enlarge(np.asarray(columns), side) if pictures_top else columns
    for i, what in enumerate(heads):
        x = left + _GAP + i * (width + _GAP)
        if pictures_top:
            paste(what, x, head + _GAP)
        else:
            draw.text((x + width // 2, head + top - 2), what, fill=_INK, font=font, anchor="ms")
    for i, image in enumerate(big):
        y, x = divmod(i, across)
        paste(image, left + _GAP + x * (width + _GAP), head + top + _GAP + y * (height + _GAP))
    return np.asarray(canvas)


def _margin(heads, side: int, of_texts) -> tuple[int, bool]:
    """(pixels before the pictures, whether the heads are pictures)."""
    if not len(heads):
        return 0, False
    if isinstance(heads, np.ndarray) and heads.ndim == 4:
        return side + _SPACE, True
    return int(of_texts(heads)) + 10, False


def stack(sheets: Sequence[np.ndarray]) -> np.ndarray:
    """RGB sheets below each other, flush left, on white."""
    width = max(s.shape[1] for s in sheets)
    padded = []
    for one in sheets:
        gap = ((0, _SPACE), (0, width - one.shape[1]), (0, 0))
        padded.append(np.pad(one, gap, constant_values=255))
    return np.concatenate(padded)[:-_SPACE]


def tile(frames: np.ndarray) -> np.ndarray:
    """(T, N, H, W, C) films side by side -> (T, H', W', C), enlarged, as square as it goes."""
    # TensorFlow comes with it, and flags are checked without.
    from ganpipe.ops import images as image_ops

    return np.stack([image_ops.grid(enlarge(frame)) for frame in frames])
