"""From a picture file of any kind to an opaque 8-bit picture, with every danger met beforehand.

A file is judged by its header before a pixel is decoded: pictures of more than `MAX_PIXELS` are
refused, and large ones are decoded and resized one at a time in a process, so that neither a
decompression bomb nor a folder of posters takes more memory than one picture of that size needs.
"""

import functools
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps

Colour = tuple[int, int, int]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
WHITE: Colour = (255, 255, 255)
# 8192 x 8192: as RGBA, put on a background and resized, about 1 GB at the worst moment.
MAX_PIXELS = 1 << 26
# Files larger than this are refused unread: no picture of MAX_PIXELS needs so many bytes.
MAX_FILE_BYTES = 1 << 29
# Pictures of more pixels than this are decoded one at a time.
_LARGE_PIXELS = 1 << 23

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
# Where Pillow keeps metadata that may tell the orientation.
_ORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_THREAD = "large-pictures"


class RejectedError(Exception):
    """One picture that cannot be used. It is quarantined, not raised on.

    Attributes:
      kind: two or three words under which such pictures are counted.
    """

    def __init__(self, kind: str, text: str | None = None):
        super().__init__(text or kind)
        self.kind = kind


def open_picture(data: bytes) -> Image.Image:
    """Opens encoded bytes without decoding the pixels yet.

    Raises:
      RejectedError: empty, no picture, another format than those of `FORMATS`, too many pixels.
    """
    if not data:
        raise RejectedError("empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RejectedError("too many pixels", f"too many pixels ({error})") from error
    except Exception as error:
        raise RejectedError("not a readable image") from error
    check_pixels(image.size)
    return image


def check_pixels(size: tuple[int, int]) -> None:
    """RejectedError for a (width, height) of more than `MAX_PIXELS` pixels, or of none."""
    if size[0] * size[1] > MAX_PIXELS:
        raise RejectedError(
            "too many pixels", f"too many pixels ({size[0]}x{size[1]}, at most {MAX_PIXELS:,})"
        )
    if min(size) < 1:
        raise RejectedError("not a readable image", f"no pixels ({size[0]}x{size[1]})")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) as people see the picture, which EXIF or XMP may have turned."""
    return (image.height, image.width) if orientation(image) > 4 else image.size


def orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF counts; 1, upright, where nothing is said or the metadata are damaged."""
    if not any(place in image.info for place in _ORIENTATION):
        return 1
    try:
        # Not image.getexif(): that of PNG files decodes the pixels to look behind them.
        found = Image.Image.getexif(image).get(0x0112, 1)
    except Exception:  # Pillow raises nearly anything
        return 1
    return found if found in range(1, 9) else 1


def is_large(size: tuple[int, int]) -> bool:
    """Whether pictures of a (width, height) are handled one at a time."""
    return size[0] * size[1] > _LARGE_PIXELS


def one_at_a_time(size: tuple[int, int], work: Callable[..., Any], *args: Any) -> Any:
    """`work(*args)`; for a large picture in the one thread of the process that handles these.

    A thread rather than a lock: the allocator keeps memory for every thread that has used it.
    """
    if not is_large(size) or threading.current_thread().name.startswith(_THREAD):
        return work(*args)
    return _large_pictures(os.getpid()).submit(work, *args).result()


@functools.cache
def _large_pictures(process: int) -> ThreadPoolExecutor:
    del process  # a new one after a fork
    return ThreadPoolExecutor(1, thread_name_prefix=_THREAD)


def is_grey(image: Image.Image) -> bool:
    """Whether a picture's *mode* is grey, without looking at its pixels."""
    if image.mode == "P":
        palette = image.getpalette("RGB") or []
        colours = np.asarray(palette, np.uint8).reshape(-1, 3)
        return bool(len(colours)) and bool((colours == colours[:, :1]).all())
    return image.mode in _GREY_MODES


def decode(
    data: bytes, background: Colour = WHITE, shrink_to: tuple[int, int] | None = None
) -> Image.Image:
    """Decodes a picture as people see it: upright, opaque, 8 bits, mode L or RGB.

    EXIF orientation is applied, transparency composited on `background`, 16-bit grey scaled to 8
    bits, palettes and CMYK converted; of an animation the first frame is taken.

    Args:
      data: an encoded JPEG, PNG, WebP, BMP or GIF file.
      background: RGB, 0..255.
      shrink_to: the (width, height) it will be shrunk to, if known. JPEGs at least four times as
        large are then decoded at a reduced DCT scale that still leaves twice that size.

    Raises:
      RejectedError: unreadable, truncated, too many pixels.
    """
    return load(open_picture(data), background, shrink_to)


def load(
    image: Image.Image, background: Colour = WHITE, shrink_to: tuple[int, int] | None = None
) -> Image.Image:
    """As `decode`, of a picture from `open_picture`."""
    return one_at_a_time(image.size, _load, image, background, shrink_to)


def _load(image: Image.Image, background: Colour, shrink_to) -> Image.Image:
    try:
        if shrink_to and image.format == "JPEG":
            side = max(shrink_to)  # EXIF may turn it: one bound for both axes
            if min(image.size) >= 4 * side:
                image.draft(None, (2 * side, 2 * side))
        image.load()
        if orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        return flatten(image, background)
    except RejectedError:
        raise
    except Exception as error:
        text = str(error) or type(error).__name__
        raise RejectedError("truncated or damaged", f"truncated or damaged ({text})") from error


def flatten(image: Image.Image, background: Colour = WHITE) -> Image.Image:
    """Any Pillow mode to an opaque L or RGB picture of 8 bits."""
    grey = is_grey(image)
    if image.mode == "F":
        raise RejectedError("floating point", "floating-point pixels have no known range")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        # 16-bit files open as I;16, or as I in older formats; 65535 = 257 * 255.
        if image.mode != "I" or values.max(initial=0) > 255:
            values = np.rint(values / 257.0)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = _on_paper(image, background)
        grey = grey and len(set(background)) == 1
    target = "L" if grey else "RGB"
    return image if image.mode == target else image.convert(target)


def _on_paper(image: Image.Image, background: Colour) -> Image.Image:
    """A transparent picture put on a colour, RGB; in strips, so that no second copy is needed."""
    paper = Image.new("RGB", image.size, background)
    rows = max(1, _LARGE_PIXELS // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        strip = (image if box[3] - top == image.height else image.crop(box)).convert("RGBA")
        under = Image.new("RGBA", strip.size, (*background, 255))
        under.alpha_composite(strip)
        paper.paste(under.convert("RGB"), (0, top))
    return paper


def from_array(array: np.ndarray, background: Colour = WHITE) -> Image.Image:
    """A (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8 array as an opaque L or RGB picture."""
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype != np.uint8:
        raise RejectedError("not 8 bits", f"pixels are {array.dtype}, expected uint8")
    return flatten(Image.fromarray(np.ascontiguousarray(array)), background)


def decode_map(data: bytes | np.ndarray) -> np.ndarray:
    """A label map as (H, W) uint8 class ids.

    Args:
      data: a palette or grey PNG (ids are palette indices or grey values), or an integer array.

    Raises:
      RejectedError: unreadable, a colour picture, ids beyond 255.
    """
    if isinstance(data, np.ndarray):
        values = data[..., 0] if data.ndim == 3 and data.shape[-1] == 1 else data
    else:
        image = open_picture(data)
        if image.format == "JPEG":
            raise RejectedError("map", "its map is a JPEG, which does not keep ids; use PNG")
        if image.mode not in ("P", "L", "1", "I", "I;16", "I;16B", "I;16L"):
            raise RejectedError(
                "map", f"its map is of mode {image.mode}; expected a palette or grey PNG of ids"
            )
        try:
            values = one_at_a_time(image.size, np.asarray, image)
        except Exception as error:
            raise RejectedError("map", f"its map is truncated or damaged ({error})") from error
        if image.format == "PNG" and image.mode == "L" and data[24] in (2, 4):
            values = values // {2: 85, 4: 17}[data[24]]  # Pillow stretches 2 and 4 bits to 0..255
    if values.ndim != 2 or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool):
        raise RejectedError(
            "map", f"its map has shape {values.shape} and dtype {values.dtype}; expected (H, W) ids"
        )
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > 255:
        raise RejectedError("map", f"its map has ids {low}..{high}; expected 0..255")
    return values.astype(np.uint8)


# A truncated file must be rejected, not filled with grey, whatever another library has set.
ImageFile.LOAD_TRUNCATED_IMAGES = False
