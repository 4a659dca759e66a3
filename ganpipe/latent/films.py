"""Films: GIF by Pillow, MP4 (H.264) by the program that the package imageio-ffmpeg brings."""

import importlib.util
import os
from pathlib import Path

import numpy as np
from PIL import Image

from ganpipe.errors import UserError
from ganpipe.latent import sheet

KINDS = ("gif", "mp4")
PACKAGE = "imageio_ffmpeg"
SIDE = 128  # smaller films are enlarged by a whole factor


def can_write_mp4() -> bool:
    """Whether imageio-ffmpeg is installed; nothing is imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def check(kinds: list[str], fps: float) -> None:
    """Refuses films that cannot be written, before any work.

    Raises:
      UserError: an unknown kind, MP4 without its package, or frames a second outside 1..50.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"--films={','.join(kinds)}: {kind!r}; expected {' or '.join(KINDS)}")
    if "mp4" in kinds and not can_write_mp4():
        raise UserError(
            "--films=mp4 needs the package imageio-ffmpeg (pip install imageio-ffmpeg), which is "
            "not installed; --films=gif needs none"
        )
    if not 1 <= fps <= 50:
        raise UserError(f"--fps={fps:g}; expected 1 to 50 frames a second")


def write(path: Path, frames: np.ndarray, fps: float) -> None:
    """Writes a film aside and renames it.

    Args:
      path: ending in .gif or .mp4.
      frames: (T, H, W, 1 or 3) uint8; small ones are enlarged.
      fps: frames a second. GIF counts hundredths of a second and gets the nearest of these.

    Raises:
      UserError: the file cannot be written.
    """
    frames = sheet.enlarge(frames, SIDE)
    # The ending names the format, so it stays last.
    aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        (_gif if path.suffix == ".gif" else _mp4)(aside, frames, fps)
        aside.replace(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    finally:
        aside.unlink(missing_ok=True)


def _gif(path: Path, frames: np.ndarray, fps: float) -> None:
    grey = frames.shape[-1] == 1
    pictures = [Image.fromarray(frame[..., 0] if grey else frame) for frame in frames]
    if not grey:
        # A palette of its own for each frame: one for all shows bands in smooth colours.
        pictures = [picture.quantize(256, dither=Image.Dither.NONE) for picture in pictures]
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=max(20, 10 * round(100 / fps)),
        loop=0,
        optimize=False,
    )


def _mp4(path: Path, frames: np.ndarray, fps: float) -> None:
    import imageio_ffmpeg

    frames = np.broadcast_to(frames, (*frames.shape[:3], 3))
    # H.264 stores colour at half the size, so both sides have to be even.
    odd = [n % 2 for n in frames.shape[1:3]]
    frames = np.pad(frames, ((0, 0), (0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
    height, width = frames.shape[1:3]
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=fps, quality=8, macro_block_size=2
    )
    try:
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame).tobytes())
    finally:
        writer.close()
    if not path.is_file() or not path.stat().st_size:
        raise OSError("ffmpeg wrote nothing; its message stands above")
