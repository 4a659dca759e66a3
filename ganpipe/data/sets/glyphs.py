"""`glyphs`: A-Z, a-z and 0-9 in some 400 typefaces, white on black, drawn at any size.

A larger relative of notMNIST: 62 classes, one label a character. The faces are the upright, bold
and italic fonts of 28 packages of Debian (fonts.py). A face counts if it has all 62 characters.
Glyphs that look the same at 28x28, down to the byte, are kept once.

Every glyph of a face is drawn at one size, at which its `H` is 0.58 as high as the picture, and
centred by its ink; one that would not fit is drawn smaller. Drawing is four times too large and
then averaged, so that hinting hardly matters and centring is exact to a quarter of a pixel.

The test split is cut by face: all glyphs of a face are on one side.
"""

import dataclasses
import string
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganpipe.data.sets import fonts
from ganpipe.data.sets.named import NamedSet, held_out, parts
from ganpipe.data.sets.packages import Package
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan

CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits
CAP_HEIGHT = 0.58  # of the picture's side
MOST = 0.94  # of the side: the largest extent of a glyph
OVERSAMPLING = 4
COMPARED_AT = 28
_MISSING = "\uffff"  # a character that no font has: what it draws stands for "missing"


@lru_cache(maxsize=1024)
def _font(path: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=4096)
def _em(path: str) -> float:
    """Font size at which `H` is one pixel high, from a measurement at 1000."""
    left, top, right, bottom = _font(path, 1000).getbbox("H")
    del left, right
    return 1000 / max(1, bottom - top)


def draw(path: str, character: str, height: int, width: int) -> np.ndarray:
    """One glyph, (height, width) uint8, 0 background, 255 ink.

    Args:
      path: font file.
      character: one character that it has.
      height, width: in pixels, >= 4. The glyph is as large as in a square of the smaller side.
    """
    side = OVERSAMPLING * min(height, width)
    size = _em(path) * CAP_HEIGHT * side
    ink = _ink(path, character, size, side)
    if max(ink.size) > MOST * side:
        ink = _ink(path, character, size * MOST * side / max(ink.size), side)
    canvas = Image.new("L", (OVERSAMPLING * width, OVERSAMPLING * height))
    canvas.paste(ink, ((canvas.width - ink.width) // 2, (canvas.height - ink.height) // 2))
    return np.asarray(canvas.reduce(OVERSAMPLING))


def _ink(path: str, character: str, size: float, side: int) -> Image.Image:
    """A glyph cut to its ink. Measured in pixels: the font's own box includes the advance."""
    canvas = Image.new("L", (3 * side, 3 * side))
    pen = ImageDraw.Draw(canvas)
    pen.text((side, 2 * side), character, fill=255, font=_font(path, size), anchor="ls")
    return canvas.crop(canvas.getbbox() or (0, 0, 1, 1))


def is_complete(path: str) -> bool:
    """Whether a font has all characters, told from what it draws for one that it lacks."""
    try:
        font = _font(path, 64)
        missing = font.getmask(_MISSING)
        absent = (missing.size, bytes(missing))
        masks = (font.getmask(character) for character in CHARACTERS)
        return all(mask.getbbox() and (mask.size, bytes(mask)) != absent for mask in masks)
    except OSError:  # bitmap fonts and damaged ones
        return False


@dataclasses.dataclass(frozen=True)
class Glyphs(NamedSet):
    """See the module's docstring. Keys are `FACE/CHARACTER`, rows indices of kept glyphs."""

    SET = "glyphs"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """Fonts."""
        return fonts.PACKAGES

    def prepare(self, say) -> None:
        """Lists the faces and the glyphs that are kept."""

        def make(folder: Path) -> None:
            faces, kept = choose(self._font_files())
            (folder / "faces.txt").write_text("\n".join(faces))
            np.save(folder / "kept.npy", kept)

        self.once(make, say, "comparing glyphs (half a minute)")

    def _font_files(self) -> dict[str, str]:
        """Name of the face to its file, sorted; every file name once."""
        files = {}
        for package in self.packages():
            for path in sorted(self.place(package).rglob("*.[ot]tf")):
                files.setdefault(path.stem, str(path))
        return dict(sorted(files.items()))

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Cut by face, ordered by the seed."""
        del surveyed
        faces, kept = _index(self.workshop)
        test = held_out(faces, test_fraction)[kept[:, 0]]
        splits = {}
        for number, (split, where) in enumerate((("train", ~test), ("test", test))):
            rows = np.flatnonzero(where)
            if len(rows):
                splits[split] = rows[order.permutation(seed, number, len(rows))]
        return Plan(tuple(CHARACTERS), geometry.channels or 1, splits, [], len(kept))

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """(n, H, W, 1) arrays of the geometry's shape."""
        del split
        faces, kept = _index(self.workshop)
        files = _files(self)
        for part in parts(rows, size):
            chosen = kept[part]
            images = np.empty((len(part), *geometry.shape, 1), np.uint8)
            for image, (face, label) in zip(images, chosen, strict=True):
                image[..., 0] = draw(files[faces[face]], CHARACTERS[label], *geometry.shape)
            keys = [f"{faces[face]}/{CHARACTERS[label]}" for face, label in chosen]
            yield Batch(keys, chosen[:, 1].astype(np.int64), images)


@lru_cache(maxsize=2)
def _index(folder: Path) -> tuple[list[str], np.ndarray]:
    return (folder / "faces.txt").read_text().split("\n"), np.load(folder / "kept.npy")


@lru_cache(maxsize=2)
def _files(source: Glyphs) -> dict[str, str]:
    return source._font_files()


def choose(files: dict[str, str]) -> tuple[list[str], np.ndarray]:
    """Complete faces, and the glyphs that are distinct at 28x28.

    Args:
      files: name of a face to its font file.

    Returns:
      Names of the faces; (n, 2) int32 of face and character, the first of every picture.
    """
    faces: list[str] = []
    kept: list[tuple[int, int]] = []
    seen: set[bytes] = set()
    for face, path in files.items():
        if not is_complete(path):
            continue
        for label, character in enumerate(CHARACTERS):
            pixels = draw(path, character, COMPARED_AT, COMPARED_AT).tobytes()
            if pixels not in seen:
                seen.add(pixels)
                kept.append((len(faces), label))
        faces.append(face)
    return faces, np.array(kept, np.int32).reshape(-1, 2)
