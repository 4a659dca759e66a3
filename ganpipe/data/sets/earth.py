"""What the two sets of satellite pictures share: tiles of a world map, cut by longitude.

A world map is an equirectangular picture: rows from 90 degrees north to south, columns from 180
degrees west to east. Tiles of 128x128 pixels lie on a grid of 64, so neighbours overlap; a random
cut would show half of most test tiles in training.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ganpipe.data.sets.named import parts
from ganpipe.data.sources import order

SIDE, STRIDE = 128, 64
TEST_FROM = 12  # degrees east: Europe and Africa, which have every climate and many lights


def tiles(land: np.ndarray, least_land: float, below_latitude: float) -> np.ndarray:
    """(n, 2) int32: top and left of the tiles with land, in the order of rows.

    Args:
      land: (H, W) bool.
      least_land: share of land that a tile must have, 0..1.
      below_latitude: bound on the absolute latitude of a tile's centre, in degrees.
    """
    height, width = land.shape
    sums = np.zeros((height + 1, width + 1), np.int64)
    sums[1:, 1:] = land.cumsum(0).cumsum(1)
    top, left = np.meshgrid(
        np.arange(0, height - SIDE + 1, STRIDE),
        np.arange(0, width - SIDE + 1, STRIDE),
        indexing="ij",
    )
    count = sums[top + SIDE, left + SIDE] - sums[top, left + SIDE]
    count = count - sums[top + SIDE, left] + sums[top, left]
    latitude = np.abs(90 - (top + SIDE / 2) / height * 180)
    good = (count >= least_land * SIDE * SIDE) & (latitude < below_latitude)
    return np.stack([top[good], left[good]], axis=1).astype(np.int32)


def cut(rows: np.ndarray, width: int, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Train and test tiles that share no pixel.

    Test is a band of longitudes from `TEST_FROM` eastwards that holds at least `fraction` of the
    tiles. Tiles that lie partly in it belong to neither side.

    Args:
      rows: (n, 2), as `tiles` returns them.
      width: of the world map, in pixels.
      fraction: 0..0.4; 0 for no test split.
    """
    if fraction <= 0:
        return rows, rows[:0]
    left = rows[:, 1]
    start = round((TEST_FROM + 180) / 360 * width)
    eastwards = np.sort(left[left >= start])
    last = eastwards[min(len(eastwards), max(1, round(fraction * len(rows)))) - 1]
    test = (left >= start) & (left <= last)
    train = (left + SIDE <= start) | (left >= last + SIDE)
    return rows[train], rows[test]


def splits(rows: np.ndarray, width: int, fraction: float, seed: int) -> dict[str, np.ndarray]:
    """`cut`, each side in an order of the seed."""
    sides = zip(("train", "test"), cut(rows, width, fraction), strict=True)
    return {
        split: part[order.permutation(seed, number, len(part))]
        for number, (split, part) in enumerate(sides)
        if len(part)
    }


@dataclasses.dataclass(frozen=True)
class Crops:
    """A run of tiles cut out of world maps that are memory-mapped."""

    rows: np.ndarray

    def keys(self) -> list[str]:
        """`TOP-LEFT` in pixels."""
        return [f"{top:04d}-{left:04d}" for top, left in self.rows]

    def of(self, world: np.ndarray) -> np.ndarray:
        """(n, 128, 128, ...): the tiles of one map."""
        return np.stack([world[top : top + SIDE, left : left + SIDE] for top, left in self.rows])


def crops(rows: np.ndarray, size: int) -> Iterator[Crops]:
    """Rows in runs of at most `size`."""
    return (Crops(part) for part in parts(rows, size))
