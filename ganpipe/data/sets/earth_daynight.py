"""`earth_daynight`: 383 satellite pictures by day, each with the same place by night, 128x128.

Both world maps are 4096x2048. Tiles lie on a grid of 64 pixels, are at least half land and have a
centre below 66 degrees of latitude; train and test are different longitudes.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ganpipe.data.sets import earth
from ganpipe.data.sets.earth_labelmap import GLOBE, world
from ganpipe.data.sets.named import NamedSet
from ganpipe.data.sets.packages import Package
from ganpipe.data.sources.base import Batch, Plan

LEAST_LAND, BELOW_LATITUDE = 0.5, 66
_MAPS = {"day": "earth-blue-marble.jpg", "night": "earth-night.jpg"}


@dataclasses.dataclass(frozen=True)
class EarthDayNight(NamedSet):
    """See the module's docstring. The picture is the day, its pair the night."""

    SET = "earth_daynight"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """One."""
        return (GLOBE,)

    def fixed_size(self) -> tuple[int, int] | None:
        """128x128."""
        return earth.SIDE, earth.SIDE

    def prepare(self, say) -> None:
        """Decodes both maps once and keeps them as .npy files to be mapped."""

        def make(folder: Path) -> None:
            images = self.place(GLOBE) / "example" / "img"
            for name, file in _MAPS.items():
                picture = np.asarray(Image.open(images / file).convert("RGB"))
                np.save(folder / f"{name}.npy", picture)
            water = Image.open(images / "earth-water.png").convert("L")  # white: water
            size = picture.shape[1::-1]
            land = np.asarray(water.resize(size, Image.Resampling.NEAREST)) < 128
            np.save(folder / "tiles.npy", earth.tiles(land, LEAST_LAND, BELOW_LATITUDE))

        self.once(make, say, "decoding the world maps")

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Cut by longitude, ordered by the seed; tiles astride the cut belong to neither side."""
        del surveyed
        rows = np.load(self.workshop / "tiles.npy")
        width = world(self.workshop / "day.npy").shape[1]
        splits = earth.splits(rows, width, test_fraction, seed)
        total = sum(map(len, splits.values()))
        channels = geometry.channels or 3
        return Plan((), channels, splits, [], total, pair_channels=channels)

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """(n, 128, 128, 3) arrays, twice."""
        del split, geometry
        day, night = (world(self.workshop / f"{name}.npy") for name in _MAPS)
        for tiles in earth.crops(rows, size):
            keys = tiles.keys()
            yield Batch(keys, np.zeros(len(keys), np.int64), tiles.of(day), pairs=tiles.of(night))
