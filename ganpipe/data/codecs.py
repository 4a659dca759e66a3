"""How pixels are kept in records: raw, PNG or JPEG, chosen by size unless said otherwise.

Measured by `python benchmarks/prepare.py codecs`, with the table in docs/data.md: raw costs nothing
to decode and is small below 128 px; above, PNG takes a fraction of the space, and a core still
decodes more of them than a network of that size can train on.
"""

import io
import re
import struct

import numpy as np
from PIL import Image

from ganpipe.errors import UserError

# The largest number of pixels at which records are raw by default.
RAW_PIXELS = 128 * 128
# zlib level 3 writes at half the time of level 6 and files 12 % larger (see the benchmark).
_PNG_LEVEL = 3
_JPEG = re.compile(r"^jpeg(?::(\d{1,3}))?$")


def check(encoding: str) -> str:
    """The encoding in full (`auto`, `raw`, `png`, `jpeg:95`); UserError if there is no such."""
    if encoding in ("auto", "raw", "png"):
        return encoding
    match = _JPEG.match(encoding)
    if match and 1 <= int(match[1] or 95) <= 100:
        return f"jpeg:{int(match[1] or 95)}"
    raise UserError(
        f"--encoding={encoding!r} is not known; expected auto, raw, png, jpeg or jpeg:QUALITY "
        "with a quality from 1 to 100"
    )


def choose(encoding: str, height: int, width: int) -> str:
    """The encoding of a level: small levels are raw, unless raw or png is asked for by name."""
    if encoding in ("raw", "png"):
        return encoding
    if height * width <= RAW_PIXELS:
        return "raw"
    return "png" if encoding == "auto" else encoding


def encode(array: np.ndarray, encoding: str) -> bytes:
    """A (H, W), (H, W, 1) or (H, W, 3) uint8 array as bytes.

    JPEGs keep all chroma samples (4:4:4): at the sizes of networks halved chroma shows.
    """
    if encoding == "raw":
        return array.tobytes()
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 and array.ndim == 3 else array)
    out = io.BytesIO()
    if encoding == "png":
        image.save(out, "PNG", compress_level=_PNG_LEVEL)
    else:
        image.save(out, "JPEG", quality=int(encoding.partition(":")[2]), subsampling=0)
    return out.getvalue()


# Chunks that a plain PNG may have: none changes what is decoded, none carries words.
_PLAIN = frozenset({b"IHDR", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"cHRM", b"pHYs"})


def is_plain_png(data: bytes, shape: tuple[int, int, int]) -> bool:
    """Whether a file is what `encode(array, "png")` might have written for a shape (H, W, C).

    Such files (8 bits, grey or RGB, not interlaced, without transparency or metadata, and no larger
    than the raw pixels) are kept byte for byte: that saves two thirds of the work of a set that has
    its size already.
    """
    height, width, channels = shape
    return (
        data[:8] == b"\x89PNG\r\n\x1a\n"
        and data[16:24] == struct.pack(">II", width, height)
        and data[24:26] == bytes((8, 0 if channels == 1 else 2))
        and data[28:29] == b"\0"
        and len(data) <= height * width * channels
        and _chunks(data) <= _PLAIN
    )


def _chunks(data: bytes) -> set[bytes]:
    """The kinds of chunks of a PNG file; with b"" if it does not end with the last one."""
    kinds, place = set(), 8
    while place + 12 <= len(data):
        kinds.add(data[place + 4 : place + 8])
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return kinds if place == len(data) else kinds | {b""}


def decode(payload: bytes, encoding: str, shape: tuple[int, ...]) -> np.ndarray:
    """The (H, W) or (H, W, C) uint8 array of one record; for tools and tests, not for training."""
    if encoding == "raw":
        return np.frombuffer(payload, np.uint8).reshape(shape)
    return np.asarray(Image.open(io.BytesIO(payload)), np.uint8).reshape(shape)
