"""A folder of pictures as one array."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ganpipe.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def read(folder: str | os.PathLike, channels: int, num: int | None = None) -> np.ndarray:
    """(N, R, R, C) uint8 images of a folder and its sub-folders, in the order of their paths.

    Args:
      folder: of the files.
      channels: 1 or 3; pictures are converted.
      num: how many, from the front; None takes all.

    Raises:
      UserError: no folder, too few pictures, one that cannot be read, is not square or is not as
        large as the first.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"--images={folder} does not exist or is no folder")
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths or (num is not None and len(paths) < num):
        wanted = f"--num={num}" if num else "at least 1"
        raise UserError(
            f"--images={folder} holds {len(paths)} pictures ({', '.join(SUFFIXES)}), expected "
            f"{wanted}"
        )
    paths = paths[:num]
    images, side = None, 0
    for i, path in enumerate(tqdm(paths, desc="reading", unit="image", disable=None)):
        try:
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read as a picture: {error}") from error
        if images is None:
            side = pixels.shape[0]
            images = np.empty((len(paths), side, side, channels), np.uint8)
        if pixels.shape[:2] != (side, side):
            raise UserError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]}, expected {side}x{side} like the "
                f"first, {paths[0].name}, and square: resize them first"
            )
        images[i] = pixels.reshape(side, side, channels)
    return images
