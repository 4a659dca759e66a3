"""From any picture to uint8 arrays of one size at every level: geometry, pyramid, label maps.

The pyramid is that of the official ProGAN dataset tool: every level is a 2x2 mean of the
*unrounded* level above, then rounded half to even and clipped. So each level is the exact block
mean of the top level. Here that is done in integers: sums of 4^k pixels fit uint16 up to k = 4 and
uint32 up to k = 12, so no level is ever off by rounding, at a third of the cost of float32.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ganpipe.data import codecs, decode
from ganpipe.data.decode import Colour, RejectedError
from ganpipe.errors import UserError

FITS = ("crop", "pad", "stretch", "none")
FILTERS = {"lanczos": Image.Resampling.LANCZOS, "area": Image.Resampling.BOX}
MIN_RESOLUTION, MAX_RESOLUTION = 4, 4096
MAX_LEVELS = 11  # 4 -> 4096; the integer pyramid is exact up to 13
UNKNOWN = 255  # id of label-map pixels that lie outside the picture
MNIST_SIZE = (28, 28)  # (width, height): padded to 32 rather than resampled, as ProGAN's tool does


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a picture becomes (height, width, channels) uint8.

    Attributes:
      height, width: of the top level, in pixels; divisible by 2^(levels - 1).
      channels: 1 (grey, ITU-R 601 luma) or 3 (RGB); 0 while undecided.
      levels: number of levels, each half of the one above.
      fit: `crop` takes the largest centred part of the target's shape, `pad` keeps all and adds
        borders of the background colour, `stretch` changes the aspect ratio, `none` demands that
        every picture has the target's size.
      upscale: whether pictures smaller than the result may be enlarged.
      filter: `lanczos` or `area` (averages over pixel areas).
      background: RGB 0..255 on which transparent pictures are put.
    """

    height: int
    width: int
    channels: int
    levels: int
    fit: str = "crop"
    upscale: bool = False
    filter: str = "lanczos"
    background: Colour = decode.WHITE

    def __post_init__(self):
        """A geometry that cannot be halved often enough is a programming error."""
        unit = 1 << (self.levels - 1)
        assert self.levels >= 1 and self.height % unit == 0 and self.width % unit == 0, self

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the top level."""
        return self.height, self.width

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the top level, as Pillow counts."""
        return self.width, self.height

    def level_shapes(self) -> list[tuple[int, int]]:
        """(height, width) of every level, ascending."""
        return [(self.height >> k, self.width >> k) for k in reversed(range(self.levels))]

    def pads_mnist(self, size: tuple[int, int]) -> bool:
        """Whether a (width, height) is MNIST's at 32x32: padded by two pixels, not resampled."""
        return size == MNIST_SIZE and self.size == (32, 32) and self.fit != "none"

    def describe(self) -> str:
        """One sentence for reports and `dataset.json`."""
        target = f"{self.width}x{self.height}"
        name = {"lanczos": "Lanczos", "area": "area-average"}[self.filter]
        how = {
            "crop": f"centre crop to the shape of {target}, {name} resize to it",
            "pad": f"{name} resize to fit into {target}, borders of the background colour",
            "stretch": f"{name} resize to {target} without keeping the aspect ratio",
            "none": f"pictures of {target} as they are",
        }[self.fit]
        mnist = "; 28x28 pictures are padded by 2 black pixels" if self.pads_mnist((28, 28)) else ""
        small = "smaller pictures enlarged" if self.upscale else "smaller pictures left out"
        small = "" if self.fit == "none" else f"; {small}"
        on = "" if self.background == decode.WHITE else f" on #{bytes(self.background).hex()}"
        return f"{how}{on}{mnist}{small}; lower levels are exact 2x2 means"


def check_resolution(resolution: int) -> None:
    """UserError naming the nearest valid values unless a power of two from 4 to 4096."""
    if isinstance(resolution, int) and MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        if resolution & (resolution - 1) == 0:
            return
        below = 1 << (resolution.bit_length() - 1)
        odd, levels = resolution, 1
        while odd % 2 == 0 and odd // 2 >= MIN_RESOLUTION:
            odd, levels = odd // 2, levels + 1
        hint = (
            f"the nearest are {below} and {below * 2}; for other sizes give --base and --levels, "
            f"here --base={odd}x{odd} --levels={levels}"
        )
    else:
        hint = f"the valid ones go from {MIN_RESOLUTION} to {MAX_RESOLUTION}"
    raise UserError(f"--resolution={resolution} is not a power of two that can be made; {hint}")


def levels_of(height: int, width: int) -> int:
    """How many levels a size has: halved while both sides are even and stay at least 4."""
    levels = 1
    while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= MIN_RESOLUTION:
        height, width, levels = height // 2, width // 2, levels + 1
    return min(levels, MAX_LEVELS)


def pyramid(images: np.ndarray, levels: int | None = None) -> dict[int, np.ndarray]:
    """All levels of a batch.

    Args:
      images: (N, H, W, C) uint8, H and W divisible by 2^(levels - 1).
      levels: how many; down to a smaller side of 4 if None.

    Returns:
      {h: (N, h, w, C) uint8} in ascending order of height. The level k halvings down is
      rint(mean over 2^k x 2^k blocks), half to even (ProGAN's dataset tool; see the module).
    """
    height, width = images.shape[1:3]
    levels = levels_of(height, width) if levels is None else levels
    assert images.dtype == np.uint8 and levels <= 13, (images.dtype, levels)
    made, sums = {height: images}, images
    for k in range(1, levels):
        kind = np.uint16 if k <= 4 else np.uint32  # 255 * 4^k fits
        rows = np.add(sums[:, 0::2], sums[:, 1::2], dtype=kind)  # (N, h/2, w, C)
        # Channel by channel: NumPy's innermost loop then runs over a row, not over three values.
        sums = np.empty((*rows.shape[:2], rows.shape[2] // 2, rows.shape[3]), kind)
        for c in range(rows.shape[3]):
            np.add(rows[:, :, 0::2, c], rows[:, :, 1::2, c], out=sums[..., c])  # (N, h/2, w/2)
        # Half to even: add half - 1, and one more where the quotient is odd.
        shift = 2 * k
        rounded = (sums >> kind(shift)) & kind(1)
        rounded += sums
        rounded += kind((1 << (shift - 1)) - 1)
        rounded >>= kind(shift)
        made[height >> k] = rounded.astype(np.uint8)
    return dict(sorted(made.items()))


def map_pyramid(maps: np.ndarray, levels: int) -> dict[int, np.ndarray]:
    """All levels of label maps, (N, H, W) uint8 ids: {h: (N, h, w)} in ascending order of height.

    Nearest neighbour as Pillow samples it: of every 2^k x 2^k block the pixel right below and right
    of the centre, for ids cannot be averaged.
    """
    made = {}
    for k in range(levels):
        step, first = 1 << k, (1 << k) >> 1
        made[maps.shape[1] >> k] = np.ascontiguousarray(maps[:, first::step, first::step])
    return dict(sorted(made.items()))


def check_size(size: tuple[int, int], geometry: Geometry) -> None:
    """RejectedError if a picture of (width, height) has not the size that is asked for."""
    (width, height), (w, h) = size, geometry.size
    if geometry.fit == "none":
        if size != geometry.size:
            raise RejectedError("wrong size", f"{width}x{height} is not {w}x{h} (--fit=none)")
        return
    if geometry.upscale or geometry.pads_mnist(size):
        return
    fits = width >= w or height >= h if geometry.fit == "pad" else width >= w and height >= h
    if not fits:
        raise RejectedError("too small", f"{width}x{height} is smaller than {w}x{h}")


def to_image(picture: bytes | np.ndarray, geometry: Geometry) -> np.ndarray:
    """One picture, encoded or (H, W[, C]) uint8, as (height, width, channels) uint8.

    Raises:
      RejectedError: unreadable, or not of the size that is asked for.
    """
    if isinstance(picture, np.ndarray):
        return fit_picture(decode.from_array(picture, geometry.background), geometry)
    opened = decode.open_picture(picture)
    return _fit_opened(opened, decode.upright_size(opened), geometry)


def _fit_opened(opened: Image.Image, size: tuple[int, int], geometry: Geometry) -> np.ndarray:
    check_size(size, geometry)  # before the pixels are decoded

    def work() -> np.ndarray:
        image = decode.load(opened, geometry.background, geometry.size)
        if image is not opened:
            opened.close()  # its pixels are not needed any more, and may be many
        return fit_picture(image, geometry, size)

    return decode.one_at_a_time(opened.size, work)


def fit_picture(
    image: Image.Image, geometry: Geometry, original: tuple[int, int] | None = None
) -> np.ndarray:
    """Brings an opaque L or RGB picture to (height, width, channels) uint8.

    Args:
      image: from `decode`.
      geometry: what to do.
      original: (width, height) before any reduced-scale decoding, for the size check.

    Raises:
      RejectedError: not of the size that is asked for.
    """
    check_size(original or image.size, geometry)
    mode = "L" if geometry.channels == 1 else "RGB"
    if geometry.pads_mnist(image.size):
        image = ImageOps.expand(image, border=2, fill=0)
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != geometry.size:
        fill = geometry.background if mode == "RGB" else _luma(geometry.background)
        image = _resize(image, geometry, FILTERS[geometry.filter], fill)
    array = np.asarray(image, np.uint8)
    return array[..., None] if geometry.channels == 1 else array  # (H, W, C)


def to_map(data: Any, size: tuple[int, int], geometry: Geometry) -> np.ndarray:
    """One label map as (height, width) uint8 ids, brought to size as its picture is.

    Args:
      data: see `decode.decode_map`.
      size: (width, height) of the picture, which the map must have too.
      geometry: what to do; borders of `pad` get the id `UNKNOWN`.

    Raises:
      RejectedError: unreadable, or of another size than the picture.
    """
    ids = decode.decode_map(data.read() if hasattr(data, "read") else data)
    if ids.shape != (size[1], size[0]):
        raise RejectedError(
            "map",
            f"its map is {ids.shape[1]}x{ids.shape[0]}, the picture {size[0]}x{size[1]}",
        )
    image = Image.fromarray(ids)
    if image.size == geometry.size:
        return ids
    return np.asarray(_resize(image, geometry, Image.Resampling.NEAREST, UNKNOWN), np.uint8)


def _luma(colour: Colour) -> int:
    return Image.new("RGB", (1, 1), colour).convert("L").getpixel((0, 0))


def _scale(image: Image.Image, size: tuple[int, int], method) -> Image.Image:
    """Pillow's resize; averages in float32, as its 8-bit path rounds up twice (+0.27 levels)."""
    if method != Image.Resampling.BOX:
        return image.resize(size, method)
    bands = [
        np.asarray(image.getchannel(band).convert("F").resize(size, method))
        for band in image.getbands()
    ]
    rounded = np.clip(np.rint(np.stack(bands, axis=-1)), 0, 255).astype(np.uint8)
    return Image.fromarray(rounded[..., 0] if len(bands) == 1 else rounded)


def _resize(image: Image.Image, geometry: Geometry, method, fill) -> Image.Image:
    assert geometry.fit != "none", (image.size, geometry)  # sizes were checked
    (width, height), (w, h) = image.size, geometry.size
    if geometry.fit == "stretch":
        return _scale(image, (w, h), method)
    if geometry.fit == "crop":
        # The largest part with the target's shape; for square targets the centre square.
        cut_w = min(width, max(1, round(height * w / h)))
        cut_h = min(height, max(1, round(width * h / w)))
        left, top = (width - cut_w) // 2, (height - cut_h) // 2
        # Cropped first: resize(box=...) lets the kernel reach beyond the box.
        if (cut_w, cut_h) != image.size:
            image = image.crop((left, top, left + cut_w, top + cut_h))
        return image if image.size == (w, h) else _scale(image, (w, h), method)
    scale = min(w / width, h / height)
    inner = (min(w, max(1, round(width * scale))), min(h, max(1, round(height * scale))))
    canvas = Image.new(image.mode, (w, h), fill)
    small = image if image.size == inner else _scale(image, inner, method)
    canvas.paste(small, ((w - inner[0]) // 2, (h - inner[1]) // 2))
    return canvas


def at_once(batch: np.ndarray, geometry: Geometry) -> np.ndarray | None:
    """(N, H, W, C) when a batch of arrays needs no resampling, no luma and no compositing."""
    channels = geometry.channels
    if batch.ndim != 4 or batch.dtype != np.uint8:
        return None
    if geometry.pads_mnist((batch.shape[2], batch.shape[1])):
        batch = np.pad(batch, ((0, 0), (2, 2), (2, 2), (0, 0)))
    if batch.shape[1:3] != geometry.shape or batch.shape[3] not in (1, channels):
        return None
    return np.repeat(batch, channels, axis=3) if batch.shape[3] != channels else batch


class Fitted(NamedTuple):
    """A batch of pictures brought to one size.

    Attributes:
      images: (M, H, W, C) uint8.
      kept: the M indices of the batch that could be used.
      left_out: (index, why) of the others.
      sizes: (width, height) that each of the M had, as people see it.
      turned: M truths: whether EXIF turned it.
      files: M files that are plain PNGs of this very size, or None each; empty unless asked for.
    """

    images: np.ndarray
    kept: list[int]
    left_out: list[tuple[int, RejectedError]]
    sizes: list[tuple[int, int]]
    turned: list[bool]
    files: list[bytes | None]

    def take(self, rows: Sequence[int]) -> "Fitted":
        """Only these of the M pictures; what `left_out` says stays."""
        if len(rows) == len(self.kept):
            return self
        chosen = [[part[row] for row in rows] for part in (self.kept, self.sizes, self.turned)]
        files = [self.files[row] for row in rows] if self.files else []
        return Fitted(self.images[list(rows)], chosen[0], self.left_out, *chosen[1:], files)


def to_images(
    pictures: Sequence[Any] | np.ndarray, geometry: Geometry, *, keep_png: bool = False
) -> Fitted:
    """Brings a batch of pictures to one size, one after the other: memory stays that of one.

    Args:
      pictures: see `sources.base.Batch`: files, arrays, or lazy files with a `read()`.
      geometry: what to do.
      keep_png: whether to hand out files that can be kept as they are.
    """
    if isinstance(pictures, np.ndarray):
        fast = at_once(pictures, geometry)
        if fast is not None:
            count, size = len(fast), (pictures.shape[2], pictures.shape[1])
            return Fitted(fast, list(range(count)), [], [size] * count, [False] * count, [])
    shape = (*geometry.shape, geometry.channels)
    images = np.empty((len(pictures), *shape), np.uint8)
    done = Fitted(images, [], [], [], [], [])
    for index, picture in enumerate(pictures):
        try:
            if hasattr(picture, "read"):
                picture = picture.read()
            if isinstance(picture, np.ndarray):
                images[len(done.kept)] = to_image(picture, geometry)
                size, turned = (picture.shape[1], picture.shape[0]), False
            else:
                opened = decode.open_picture(picture)
                size, turned = decode.upright_size(opened), decode.orientation(opened) != 1
                images[len(done.kept)] = _fit_opened(opened, size, geometry)
        except RejectedError as error:
            done.left_out.append((index, error))
            continue
        done.kept.append(index)
        done.sizes.append(size)
        done.turned.append(turned)
        if keep_png:
            plain = isinstance(picture, bytes) and codecs.is_plain_png(picture, shape)
            done.files.append(picture if plain else None)
    return done._replace(images=images[: len(done.kept)])
