"""`photos`: 39 pictures of three wallpaper packages, whole. `photo_crops`: sharp crops of them.

`photos` is for models that learn from one picture, and for looking; `photos:test` are 15 classic
test pictures of scikit-image instead, all in the split `train`.

`photo_crops` are 128x128 pixels (`photo_crops:256`: 256x256) at native size on a grid without
overlap, for super-resolution. Much of a wallpaper is sky and blur, so a crop is kept only if its
mean absolute Laplacian is at least 6, and still is after shrinking to a quarter. The second half
leaves out smooth crops with film grain (1,033 of 3,704), since averaging removes grain but not
edges. The test split is cut by photograph.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ganpipe.data.sets.named import NamedSet, parts
from ganpipe.data.sets.packages import Package, debian
from ganpipe.data.sources import order
from ganpipe.data.sources.base import Batch, Plan

_PLASMA = [
    "BytheWater",
    "ColdRipple",
    "ColorfulCups",
    "DarkestHour",
    "EveningGlow",
    "FallenLeaf",
    "Grey",
    "Kite",
    "OneStandsOut",
    "Path",
    "summer_1am",
]
# Without two patterns, `analogpattern` and `umang`.
_LOMIRI = [
    "Bridge_by_Sander_Klootwijk",
    "Dragonfly_by_Bolly",
    "Picture_0B_by_freespace",
    "Picture_1A_by_freespace",
    "Wine_by_Jakkub_Mede",
    "aitzgorri_by_Aitzol_Berasategi",
    "free_by_Peter_Nerlich",
    "friends_by_Aitzol_Berasategi",
    "greentock_by_Peter_Nerlich",
    "life_by_Aitzol_Berasategi",
    "picosdeeuropa_by_Aitzol_Berasategi",
    "seeding_by_Clements_Engelhardt",
    "sunset_by_Aitzol_Berasategi",
]
_BACKGROUNDS, _WALLPAPERS = "usr/share/backgrounds", "usr/share/wallpapers"
WALLPAPERS = (
    debian(
        "mate-backgrounds",
        "1.26.0-1",
        "ff65b537c4e2602d11712e663fae3ce06d3e61220c4c7e2a333e5bb871bc459b",
        46.6,
        f"{_BACKGROUNDS}/mate/nature/*.jpg",
    ),
    debian(
        "plasma-workspace-wallpapers",
        "4:5.27.5-2",
        "5ac272c2e5ae0f0bcfcf41b024b4f645b4252a587d10ba87ddea0c8fe7ba9d2b",
        94.0,
        *(f"{_WALLPAPERS}/{name}/contents/images/2560x1600.jpg" for name in _PLASMA),
        f"{_WALLPAPERS}/Volna/contents/images/5120x2880.jpg",
    ),
    debian(
        "lomiri-wallpapers-16.04",
        "20.04.0-2",
        "db0c147ca27c635d31313a93046238bf9890dc0e4b798feaa3b0856f63893051",
        15.8,
        *(f"{_BACKGROUNDS}/{name}.jpg" for name in _LOMIRI),
    ),
    debian(
        "lomiri-wallpapers-20.04",
        "20.04.0-2",
        "0d7c73a0d3bb447a0b37518901cf45af79dcb0b26fafa5fb7851a86630b460e9",
        11.4,
        f"{_BACKGROUNDS}/Fossa_by_Jasper_Roks.jpg",
        f"{_BACKGROUNDS}/Kleiber_by_Lukas_Baubkus.jpg",
    ),
)
# Those of scikit-image's pictures that its documentation puts under CC0 or the public domain.
_CLASSIC = [
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "coffee.png",
    "coins.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "retina.jpg",
    "rocket.jpg",
]
CLASSIC = Package(
    "pypi",
    "scikit-image",
    "0.26.0",
    "7169eb27499c4a330b06ac09e5f83ffe745edfd3545e6150a173938e40d6fd87",
    13.7,
    tuple(f"skimage/data/{name}" for name in _CLASSIC),
    hashed="members",  # the wheels of every platform hold the same pictures
)
LEAST_SHARPNESS = 6
GRAIN = 4  # shrunk by this factor, film grain is gone and edges are left


def photo_name(member: str) -> str:
    """`nature/Dune` of MATE is `Dune`, `wallpapers/Path/contents/...` is `Path`."""
    path = Path(member)
    return path.parts[-4] if path.parent.name == "images" else path.stem


def held_out_photos(names: Sequence[str], counts: Sequence[int], fraction: float) -> set[str]:
    """Names of the test photographs: by the hash of the name, until they hold `fraction` of all."""
    wanted, chosen, held = fraction * sum(counts), set(), 0
    ranked = sorted(
        zip(names, counts, strict=True), key=lambda item: hashlib.sha256(item[0].encode()).digest()
    )
    for name, count in ranked[:-1]:  # never all
        if held >= wanted:
            break
        chosen.add(name)
        held += count
    return chosen


@dataclasses.dataclass(frozen=True)
class Photos(NamedSet):
    """Whole pictures, each of its own size. Keys are their names."""

    SET = "photos"
    CODE = 1

    def packages(self) -> tuple[Package, ...]:
        """Wallpapers, or scikit-image."""
        return (CLASSIC,) if self.option == "test" else WALLPAPERS

    @property
    def licence(self) -> str:
        """Of the pictures that are read."""
        test = "CC0 and public domain, by scikit-image's documentation"
        return test if self.option == "test" else super().licence

    @property
    def credit(self) -> str:
        """Of the pictures that are read."""
        test = "the sources named in scikit-image's skimage.data"
        return test if self.option == "test" else super().credit

    def files(self) -> dict[str, Path]:
        """Name to file, sorted by name."""
        found = {}
        for package in self.packages():
            place = self.place(package)
            for path in place.rglob("*.*"):
                member = path.relative_to(place).as_posix()
                if package.wants(member):
                    found[photo_name(member)] = path
        return dict(sorted(found.items()))

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Some photographs for testing, none of scikit-image's; ordered by the seed."""
        del surveyed
        names = list(self.files())
        fraction = 0 if self.option == "test" else test_fraction
        test = held_out_photos(names, [1] * len(names), fraction)
        splits = {}
        for number, split in enumerate(("train", "test")):
            part = [name for name in names if (name in test) == (split == "test")]
            if part:
                splits[split] = [part[i] for i in order.permutation(seed, number, len(part))]
        return Plan((), geometry.channels or 3, splits, [], len(names))

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """Encoded files."""
        del split, geometry
        files = self.files()
        for names in parts(rows, size):
            pictures = [files[name].read_bytes() for name in names]
            yield Batch(list(names), np.zeros(len(names), np.int64), pictures)


def sharpness(grey: np.ndarray, side: int) -> np.ndarray:
    """Mean |4 p - up - down - left - right| of the crops in a row, over the inside of each.

    Args:
      grey: (side, W) uint8.
      side: of a crop.

    Returns:
      (W // side,) float32, 0 for a crop of one colour or an even slope.
    """
    count = grey.shape[1] // side
    crops = grey[:, : count * side].astype(np.int16).reshape(side, count, side)
    inside = 4 * crops[1:-1, :, 1:-1] - crops[:-2, :, 1:-1] - crops[2:, :, 1:-1]
    inside = inside - crops[1:-1, :, :-2] - crops[1:-1, :, 2:]
    return np.abs(inside).mean(axis=(0, 2), dtype=np.float32)


def sharp_crops(photo: Image.Image, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 2) int32 as top and left, and pixels (n, side, side, 3) uint8 of sharp crops."""
    grey = photo.convert("L")
    scales = [(np.asarray(grey.reduce(k) if k > 1 else grey), k) for k in (1, GRAIN)]
    pixels = np.asarray(photo.convert("RGB"))
    places = []
    for top in range(0, photo.height - side + 1, side):
        strips = [(plane[top // k : (top + side) // k], side // k) for plane, k in scales]
        # `reduce` rounds the width up, so that a plane may show a crop that is not all there.
        values = [sharpness(*strip)[: photo.width // side] for strip in strips]
        for column in np.flatnonzero(np.min(values, axis=0) >= LEAST_SHARPNESS):
            places.append((top, int(column) * side))
    crops = [pixels[top : top + side, left : left + side] for top, left in places]
    shape = (-1, side, side, 3)
    return np.array(places, np.int32).reshape(-1, 2), np.array(crops, np.uint8).reshape(shape)


@dataclasses.dataclass(frozen=True)
class PhotoCrops(NamedSet):
    """See the module's docstring. Keys are `PHOTO/TOP-LEFT`, rows indices of photo and crop."""

    SET = "photo_crops"
    CODE = 1

    @property
    def side(self) -> int:
        """Of the crops, in pixels."""
        return int(self.option or 128)

    def packages(self) -> tuple[Package, ...]:
        """Wallpapers."""
        return WALLPAPERS

    def fixed_size(self) -> tuple[int, int] | None:
        """The crops'."""
        return self.side, self.side

    def prepare(self, say) -> None:
        """Decodes the photographs once and keeps the sharp crops of each as .npy files."""

        def make(folder: Path) -> None:
            for name, path in Photos(cache=self.cache).files().items():
                with Image.open(path) as photo:
                    places, crops = sharp_crops(photo, self.side)
                if len(places):
                    np.save(folder / f"{name}.places.npy", places)
                    np.save(folder / f"{name}.crops.npy", crops)

        self.once(make, say, "cutting out crops (130 MB)")

    def _names(self) -> list[str]:
        return sorted(p.name.removesuffix(".places.npy") for p in self.workshop.glob("*.places.*"))

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Cut by photograph, ordered by the seed."""
        del surveyed
        names = self._names()
        counts = [len(np.load(self.workshop / f"{name}.places.npy")) for name in names]
        test = held_out_photos(names, counts, test_fraction)
        splits = {}
        for number, split in enumerate(("train", "test")):
            rows = [
                (photo, crop)
                for photo, name in enumerate(names)
                for crop in range(counts[photo])
                if (name in test) == (split == "test")
            ]
            if rows:
                rows = np.array(rows, np.int32)
                splits[split] = rows[order.permutation(seed, number, len(rows))]
        return Plan((), geometry.channels or 3, splits, [], sum(counts))

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """(n, side, side, 3) arrays, read from memory-mapped files."""
        del split, geometry
        names = self._names()
        for part in parts(rows, size):
            keys, pictures = [], []
            for photo, crop in part:
                places, crops = _photo(self.workshop, names[photo])
                keys.append("{}/{:04d}-{:04d}".format(names[photo], *places[crop]))
                pictures.append(crops[crop])
            yield Batch(keys, np.zeros(len(keys), np.int64), np.stack(pictures))


@lru_cache(maxsize=64)
def _photo(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    places = np.load(folder / f"{name}.places.npy")
    return places, np.load(folder / f"{name}.crops.npy", mmap_mode="r")
