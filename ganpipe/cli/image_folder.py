"""A folder of pictures as one array."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ganpipe.errors import UserError
from ganpipe.metrics import material

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
GREY = ("1", "L")
COLOUR = ("RGB", "P")


class Folder:
    """The pictures of a folder and its sub-folders, 8 bits a channel, all of one size.

    Args:
      folder: of the files.
      channels: 1 or 3, what the pictures have to be.
      num: how many, a fixed random choice (folders are often sorted by class); None takes all.

    Raises:
      UserError: no folder, too few pictures, or a first one that does not fit.
    """

    def __init__(self, folder: str | os.PathLike, channels: int, num: int | None = None):
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"--images={folder} does not exist or is no folder")
        paths = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
        paths.sort()
        if not paths or (num is not None and len(paths) < num):
            wanted = f"--num={num}" if num else "at least 1"
            raise UserError(
                f"--images={folder} holds {len(paths)} pictures ({', '.join(SUFFIXES)}), expected "
                f"{wanted}"
            )
        rows = np.sort(material.mixed_rows(len(paths), len(paths) if num is None else num))
        self.paths, self.channels = [paths[i] for i in rows], channels
        self.size: tuple[int, int] | None = None  # (height, width)
        self.size = self._pixels(self.paths[0]).shape[:2]

    def read(self) -> np.ndarray:
        """(N, H, W, C) uint8, in the order of the paths.

        Raises:
          UserError: a picture that cannot be read, is grey and not coloured or the other way
            round, or is not as large as the first.
        """
        images = np.empty((len(self.paths), *self.size, self.channels), np.uint8)
        for i, path in enumerate(tqdm(self.paths, desc="reading", unit="image", disable=None)):
            images[i] = self._pixels(path)
        return images

    def _pixels(self, path: Path) -> np.ndarray:
        try:
            with Image.open(path) as picture:
                mode, size = picture.mode, picture.size
                pixels = np.asarray(picture.convert("L" if self.channels == 1 else "RGB"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as a picture: {error}") from error
        expected = GREY if self.channels == 1 else COLOUR
        if mode not in expected:
            what = {"1": "grey", "L": "grey"}.get(mode, f"of the kind {mode}")
            raise UserError(
                f"{path} is {what}, the data set has {self.channels} channel(s): expected 8-bit "
                f"{'grey' if self.channels == 1 else 'colour without alpha'}; convert it first"
            )
        height, width = self.size or size[::-1]
        if size != (width, height):
            raise UserError(
                f"{path} is {size[1]}x{size[0]} (height x width), expected {height}x{width} like "
                f"the first, {self.paths[0].name}: resize them first"
            )
        return pixels.reshape(height, width, self.channels)
