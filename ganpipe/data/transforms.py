"""From any picture to square uint8 arrays at every power of two: decoding, geometry, pyramid.

The pyramid is that of the official ProGAN dataset tool: every level is a 2x2 mean of the
*unrounded* level above, then rounded half to even and clipped. So each level is the exact block
mean of the full-size image: for 8-bit pixels and up to eight halvings (1024 -> 4) all sums fit
float32's 24-bit mantissa, and no rounding happens before the last step.
"""

import dataclasses
import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps

from ganpipe.errors import UserError

FITS = ("crop", "pad", "stretch")
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"})
MIN_RESOLUTION = 4
MAX_RESOLUTION = 1024  # beyond it the float32 pyramid would no longer be exact

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})


class RejectedError(Exception):
    """One picture that cannot be used; the message says why. It is quarantined, not raised on."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a picture becomes `resolution` x `resolution` x `channels`.

    Attributes:
      resolution: side of the result in pixels, a power of two.
      channels: 1 (grey, ITU-R 601 luma) or 3 (RGB).
      fit: `crop` takes the centre square, `pad` keeps all and adds black borders, `stretch`
        changes the aspect ratio.
      upscale: whether pictures smaller than the result may be enlarged.
    """

    resolution: int
    channels: int
    fit: str = "crop"
    upscale: bool = False

    def describe(self) -> str:
        """One sentence for reports and `dataset.json`."""
        r = self.resolution
        how = {
            "crop": f"centre crop to a square, Lanczos resize to {r}x{r}",
            "pad": f"Lanczos resize of the longer side to {r}, black borders to {r}x{r}",
            "stretch": f"Lanczos resize to {r}x{r} without keeping the aspect ratio",
        }[self.fit]
        mnist = "; 28x28 pictures are padded by 2 black pixels" if r == 32 else ""
        small = "smaller pictures enlarged" if self.upscale else "smaller pictures left out"
        return f"{how}{mnist}; {small}; lower levels are exact 2x2 means"


def check_resolution(resolution: int) -> None:
    """UserError naming the nearest valid values unless a power of two from 4 to 1024."""
    if isinstance(resolution, int) and MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        if resolution & (resolution - 1) == 0:
            return
        below = 1 << (resolution.bit_length() - 1)
        hint = f"the nearest are {below} and {below * 2}"
    else:
        hint = f"the valid ones go from {MIN_RESOLUTION} to {MAX_RESOLUTION}"
    raise UserError(f"--resolution={resolution} is not a power of two that can be made; {hint}")


def resolutions_up_to(resolution: int) -> list[int]:
    """[4, 8, ..., resolution]."""
    return [1 << k for k in range(2, resolution.bit_length())]


def pyramid(images: np.ndarray) -> dict[int, np.ndarray]:
    """All levels of a batch, from its own size down to 4x4.

    Args:
      images: (N, R, R, C) uint8, R a power of two from 4 to 1024.

    Returns:
      {r: (N, r, r, C) uint8} for r = 4, 8, ..., R in ascending order. Level r is
      rint(mean over R/r x R/r blocks), half to even (ProGAN's dataset tool; see the module).
    """
    side = images.shape[1]
    assert images.dtype == np.uint8 and images.shape[2] == side, (images.dtype, images.shape)
    levels = {side: images}
    current = images.astype(np.float32)  # (N, R, R, C)
    while side > MIN_RESOLUTION:
        rows = current[:, 0::2] + current[:, 1::2]  # (N, R/2, R, C)
        current = (rows[:, :, 0::2] + rows[:, :, 1::2]) * np.float32(0.25)  # (N, R/2, R/2, C)
        side //= 2
        levels[side] = np.clip(np.rint(current), 0, 255).astype(np.uint8)
    return dict(sorted(levels.items()))


def is_grey(image: Image.Image) -> bool:
    """Whether a picture's *mode* is grey, without looking at its pixels."""
    if image.mode == "P":
        palette = image.getpalette("RGB") or []
        colours = np.asarray(palette, np.uint8).reshape(-1, 3)
        return bool(len(colours)) and bool((colours == colours[:, :1]).all())
    return image.mode in _GREY_MODES


def open_picture(data: bytes) -> Image.Image:
    """Opens encoded bytes without decoding the pixels yet; RejectedError if no image is there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's notes on size and odd metadata
            return Image.open(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise RejectedError(f"too large to decode safely ({error})") from error
    except Exception as error:
        raise RejectedError("not a readable image" if data else "empty file") from error


def decode(data: bytes, resolution: int | None = None) -> Image.Image:
    """Decodes a picture as people see it: upright, opaque, 8 bits, mode L or RGB.

    EXIF orientation is applied, transparency composited on white, 16-bit grey scaled to 8 bits,
    palettes and CMYK converted; of an animation the first frame is taken.

    Args:
      data: an encoded JPEG, PNG, WebP, BMP or GIF file.
      resolution: the size it will be shrunk to, if known. JPEGs at least four times as large are
        then decoded at a reduced DCT scale that still leaves twice that size.

    Raises:
      RejectedError: unreadable or truncated.
    """
    image = open_picture(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if resolution and image.format == "JPEG" and min(image.size) >= 4 * resolution:
                image.draft(None, (2 * resolution, 2 * resolution))
            image.load()
            image = ImageOps.exif_transpose(image)
            return _flatten(image)
    except RejectedError:
        raise
    except Exception as error:
        raise RejectedError(f"truncated or damaged ({error})") from error


def _flatten(image: Image.Image) -> Image.Image:
    """Any Pillow mode to an opaque L or RGB picture of 8 bits."""
    grey = is_grey(image)
    if image.mode == "F":
        raise RejectedError("floating-point pixels have no known range")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        # 16-bit files open as I;16, or as I in older formats; 65535 = 257 * 255.
        if image.mode != "I" or values.max(initial=0) > 255:
            values = np.rint(values / 257.0)
        return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, rgba).convert("RGB")
    target = "L" if grey else "RGB"
    return image if image.mode == target else image.convert(target)


def fit_picture(image: Image.Image, geometry: Geometry, original: tuple[int, int] | None = None):
    """Brings an opaque L or RGB picture to (R, R, C) uint8.

    Args:
      image: from `decode`.
      geometry: what to do.
      original: (width, height) before any reduced-scale decoding, for the size check.

    Raises:
      RejectedError: smaller than the target and `upscale` is off.
    """
    side = geometry.resolution
    if image.size == (28, 28) and side == 32:
        # MNIST's family, as ProGAN's tool does it: no resampling blur.
        image = ImageOps.expand(image, border=2, fill=0)
    else:
        check_size(original or image.size, geometry)
    mode = "L" if geometry.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (side, side):
        image = _resize(image, side, geometry.fit)
    array = np.asarray(image, np.uint8)
    return array[..., None] if geometry.channels == 1 else array  # (R, R, C)


def _resize(image: Image.Image, side: int, fit: str) -> Image.Image:
    width, height = image.size
    lanczos = Image.Resampling.LANCZOS
    if fit == "stretch":
        return image.resize((side, side), lanczos)
    if fit == "crop":
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        # Cropped first: resize(box=...) lets the kernel reach beyond the box.
        image = image.crop((left, top, left + short, top + short))
        return image if short == side else image.resize((side, side), lanczos)
    long = max(width, height)
    size = (max(1, round(width * side / long)), max(1, round(height * side / long)))
    canvas = Image.new(image.mode, (side, side), 0)
    canvas.paste(image.resize(size, lanczos), ((side - size[0]) // 2, (side - size[1]) // 2))
    return canvas


def check_size(size: tuple[int, int], geometry: Geometry) -> None:
    """RejectedError if a picture of (width, height) would have to be enlarged but must not be."""
    side = geometry.resolution
    if geometry.upscale or (size == (28, 28) and side == 32):
        return
    decisive = max(size) if geometry.fit == "pad" else min(size)
    if decisive < side:
        raise RejectedError(f"{size[0]}x{size[1]} is smaller than {side}x{side}")


def from_array(array: np.ndarray) -> Image.Image:
    """A (H, W, 1|3|4) uint8 array as an opaque L or RGB picture (RGBA is put on white)."""
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    return _flatten(Image.fromarray(array))


def to_squares(
    pictures: Sequence[bytes | np.ndarray] | np.ndarray,
    geometry: Geometry,
    pool: ThreadPoolExecutor | None = None,
) -> tuple[np.ndarray, list[int], list[tuple[int, str]]]:
    """Brings a batch to one size.

    Args:
      pictures: encoded files (bytes) and/or (H, W, C) uint8 arrays; or one (N, H, W, C) uint8
        array, which takes a vectorised path where only padding and channels change.
      geometry: what to do.
      pool: threads for decoding; Pillow releases the interpreter lock while it works.

    Returns:
      images (M, R, R, C) uint8, the M indices kept, and (index, reason) of those left out.
    """
    if isinstance(pictures, np.ndarray):
        fast = _squares_at_once(pictures, geometry)
        if fast is not None:
            return fast, list(range(len(fast))), []

    def one(picture):
        try:
            if isinstance(picture, bytes):
                original = open_picture(picture).size
                return fit_picture(decode(picture, geometry.resolution), geometry, original)
            return fit_picture(from_array(picture), geometry)
        except RejectedError as error:
            return str(error)

    results = list((pool.map if pool else map)(one, pictures))
    kept = [i for i, r in enumerate(results) if not isinstance(r, str)]
    skipped = [(i, r) for i, r in enumerate(results) if isinstance(r, str)]
    side = geometry.resolution
    images = np.empty((len(kept), side, side, geometry.channels), np.uint8)
    for row, index in enumerate(kept):
        images[row] = results[index]
    return images, kept, skipped


def _squares_at_once(batch: np.ndarray, geometry: Geometry) -> np.ndarray | None:
    """(N, R, R, C) when no resampling and no luma is needed, else None."""
    side, channels = geometry.resolution, geometry.channels
    if batch.shape[1:3] == (28, 28) and side == 32:
        batch = np.pad(batch, ((0, 0), (2, 2), (2, 2), (0, 0)))
    if batch.shape[1:3] != (side, side) or batch.shape[3] not in (1, channels):
        return None
    return np.repeat(batch, channels, axis=3) if batch.shape[3] != channels else batch
