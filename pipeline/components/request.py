"""What is asked of ExampleGen, checked before anything is read, and the geometry that follows."""

import dataclasses
import math
import re
from collections import Counter
from typing import Any

from ganpipe.data import codecs, decode, transforms
from ganpipe.data.sources.base import Source
from ganpipe.errors import UserError

# Raised when the same request would give other bytes than before.
CODE_VERSION = 2
_NAMED_COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128)}


@dataclasses.dataclass(frozen=True)
class Request:
    """The settings of one preparation; one attribute a flag of `pipeline.prepare`.

    Attributes:
      resolution: side of square images, a power of two; None: by `base`, or the source's own.
      base: "HxW" of the smallest level, with `levels`; "" for none.
      levels: number of levels; 0: all down to a smaller side of 4.
      channels: 1, 3, or 0 to keep what the source has.
      fit: `crop`, `pad`, `stretch` or `none`.
      filter: `lanczos` or `area`.
      background: `white`, `black`, `grey` or `#rrggbb`.
      upscale: allow pictures smaller than the target.
      encoding: `auto`, `raw`, `png` or `jpeg:QUALITY`.
      seed: decides the order in which images are written.
      test_fraction: share cut off as test split where the source has none.
      max_skipped: share of pictures that may be unusable.
    """

    resolution: int | None = None
    base: str = ""
    levels: int = 0
    channels: int = 0
    fit: str = "crop"
    filter: str = "lanczos"
    background: str = "white"
    upscale: bool = False
    encoding: str = "auto"
    seed: int = 0
    test_fraction: float = 0.1
    max_skipped: float = 0.25

    def __post_init__(self):
        """Refuses what can be seen to be wrong without looking at a source."""
        if self.resolution is not None:
            transforms.check_resolution(self.resolution)
            if self.base:
                raise UserError("--resolution and --base are both given; give one of them")
        if self.fit not in transforms.FITS:
            raise UserError(
                f"--fit={self.fit!r} is not known; expected {', '.join(transforms.FITS)}"
            )
        if self.filter not in transforms.FILTERS:
            raise UserError(
                f"--filter={self.filter!r} is not known; expected {', '.join(transforms.FILTERS)}"
            )
        if self.channels not in (0, 1, 3):
            raise UserError(f"--channels={self.channels} cannot be made; expected 1, 3 or 0 (keep)")
        if not 0 <= self.test_fraction < 1:
            raise UserError(
                f"--test_fraction={self.test_fraction} is out of range; expected 0 <= x < 1"
            )
        if not 0 <= self.max_skipped <= 1:
            raise UserError(
                f"--max_skipped={self.max_skipped} is out of range; expected 0 <= x <= 1"
            )
        if not 0 <= self.levels <= transforms.MAX_LEVELS:
            raise UserError(
                f"--levels={self.levels} is out of range; expected 1 to "
                f"{transforms.MAX_LEVELS}, or "
                "0 for all"
            )
        codecs.check(self.encoding)
        self.colour()
        self.base_size()

    def record(self) -> dict[str, Any]:
        """The settings as they enter fingerprints: all that contents depend on."""
        settings = {**dataclasses.asdict(self), "encoding": codecs.check(self.encoding)}
        del settings["max_skipped"]
        return settings

    def colour(self) -> decode.Colour:
        """The background as RGB."""
        text = self.background.lower()
        if text in _NAMED_COLOURS:
            return _NAMED_COLOURS[text]
        if re.fullmatch(r"#[0-9a-f]{6}", text):
            return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))
        raise UserError(
            f"--background={self.background!r} is no colour; expected "
            f"{', '.join(_NAMED_COLOURS)} or "
            "#rrggbb"
        )

    def base_size(self) -> tuple[int, int] | None:
        """(height, width) of `base`."""
        if not self.base:
            return None
        match = re.fullmatch(r"(\d+)x(\d+)", self.base)
        if not match or not all(map(int, match.groups())) or not self.levels:
            raise UserError(
                f"--base={self.base!r} --levels={self.levels}: expected the height and width of "
                "the smallest level and how many levels there are, such as --base=3x4 "
                "--levels=8 for 384x512"
            )
        base = int(match[1]), int(match[2])
        top = tuple(side << (self.levels - 1) for side in base)
        if max(top) > transforms.MAX_RESOLUTION:
            raise UserError(
                f"--base={self.base} --levels={self.levels} gives {top[0]}x{top[1]}; at most "
                f"{transforms.MAX_RESOLUTION} pixels a side can be made"
            )
        return base

    def geometry(self, source: Source, sizes: Counter[tuple[int, int]]) -> transforms.Geometry:
        """The geometry for a source.

        Args:
          source: asked for its fixed or default size.
          sizes: (width, height) -> number of pictures, where the source was surveyed.

        Raises:
          UserError: sizes that differ under `fit=none`, or that cannot be halved.
        """
        height, width = self._top(source, sizes)
        most = transforms.levels_of(height, width)
        if self.base:
            most = self.levels  # sizes below 4 are allowed when asked for by name
        if self.levels > most:
            raise UserError(
                f"--levels={self.levels}: {height}x{width} has at most {most} levels (every "
                "level is half the one above, in whole pixels, and no side is smaller than 4)"
            )
        native = getattr(source, "native_size", False) and not self.resolution and not self.base
        levels = self.levels or (1 if native else most)
        colour = self.colour()
        return transforms.Geometry(
            height,
            width,
            # Grey pictures on a coloured background are none.
            self.channels or (3 if len(set(colour)) > 1 else 0),
            levels,
            self.fit,
            self.upscale,
            self.filter,
            colour,
        )

    def _top(self, source: Source, sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
        """(height, width) of the top level."""
        if self.fit == "none" and len(sizes) > 1:
            raise self._mixed(source, sizes)
        base = self.base_size()
        if base:
            return base[0] << (self.levels - 1), base[1] << (self.levels - 1)
        if self.resolution is not None:
            return self.resolution, self.resolution
        fixed = source.fixed_size()
        if getattr(source, "native_size", False):
            return fixed[1], fixed[0]
        if self.fit == "none":
            return self._common(source, sizes or Counter([fixed] if fixed else []))
        side = getattr(source, "default_resolution", None) or 32
        return side, side

    def _common(self, source: Source, sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
        """The one size of all pictures."""
        if len(sizes) == 1:
            width, height = next(iter(sizes))
            return height, width
        if not sizes:
            raise UserError(
                f"--fit=none: the size of {source.spec} is not known beforehand; give --resolution "
                "or --base and --levels"
            )
        raise self._mixed(source, sizes)

    def _mixed(self, source: Source, sizes: Counter[tuple[int, int]]) -> UserError:
        shown = ", ".join(f"{w}x{h} ({n:,})" for (w, h), n in sizes.most_common(4))
        return UserError(
            f"--fit=none (--crop=none) needs pictures of one size; {source.spec} has {len(sizes)} "
            f"sizes: {shown}{', ...' if len(sizes) > 4 else ''}. Use --fit=crop, pad or stretch"
        )


def check_fixed_size(source: Source, request: Request) -> None:
    """Refuses a target that no picture of the source reaches, before anything is fetched."""
    size = source.fixed_size()
    if size is None or (request.resolution is None and not request.base):
        return
    geometry = request.geometry(source, Counter())
    try:
        transforms.check_size(size, geometry)
    except decode.RejectedError as error:
        reach = 32 if size == transforms.MNIST_SIZE else 1 << int(math.log2(min(size)))
        raise UserError(
            f"--resolution={geometry.height}: the images of {source.spec} are {size[0]}x{size[1]}; "
            f"use --resolution={reach} or allow enlarging with --upscale"
        ) from error
