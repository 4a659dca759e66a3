"""The real sets: counts, sizes, labels, cuts. Each test skips unless its packages are cached.

`python tools/contact_sheets.py` fetches all of them.
"""

import collections
import functools
import hashlib
import io
import types

import numpy as np
import pytest
from PIL import Image

from ganpipe.data import sets
from ganpipe.data.sets import code_points, earth, fashion_mnist, packages

GEOMETRY = types.SimpleNamespace(shape=(32, 32), channels=0, background=(255, 255, 255))


@functools.lru_cache(maxsize=2)
def opened(spec: str, fraction: float = 0.1):
    """Source and plan, or a skip."""
    name, _, option = spec.partition(":")
    source = sets.open_set(name, option)
    if name == "fashion_mnist":
        places = (fashion_mnist.DEBIAN_DIR, packages.cache_root() / "fashion-mnist")
        missing = not any(fashion_mnist.check(place) is None for place in places)
    else:
        missing = not all(packages.cached(package) for package in source.packages())
    if missing:
        pytest.skip(f"the packages of {spec} are not in {packages.cache_root()}")
    source = source.fetch(lambda line: None)
    return source, source.plan(GEOMETRY, 0, fraction, {})


def counts(plan) -> dict[str, int]:
    return {split: len(rows) for split, rows in plan.splits.items()}


def read(source, plan, split: str, count: int, size: int = 16):
    """The first batches of a split, checked for shape."""
    batches = list(source.batches(split, plan.splits[split][:count], size, GEOMETRY))
    assert [len(b.keys) for b in batches[:-1]] == [size] * (len(batches) - 1)
    for batch in batches:
        assert len(batch.pictures) == len(batch.keys) == len(batch.labels)
        assert batch.labels.dtype == np.int64
    return batches


def size_of(picture) -> tuple[int, int]:
    if isinstance(picture, bytes):
        return Image.open(io.BytesIO(picture)).size
    return picture.shape[1], picture.shape[0]


TABLE = [  # spec, all images of the plan, classes, channels, size of every picture
    ("fashion_mnist", 70_000, 10, 1, (28, 28)),
    ("mnist", 70_000, 10, 1, (28, 28)),
    ("glyphs", 25_698, 62, 1, (32, 32)),
    ("emoji", 3729 + 3988 + 4544 + 3375, 4, 3, None),
    ("emoji:noto", 3729, 9, 3, (32, 32)),
    ("emoji:twemoji", 3988, 9, 3, (32, 32)),
    ("emoji:openmoji", 4544, 11, 3, (32, 32)),
    ("emoji:fluent3d", 3375, 9, 3, (256, 256)),
    ("emoji:noto,twemoji", 3729 + 3988, 0, 3, (32, 32)),
    ("fluent3d", 3391, 9, 3, (256, 256)),
    ("fluent_labelmap", 1324, 0, 3, (256, 256)),
    ("earth_labelmap", 1046, 0, 3, (128, 128)),
    ("earth_daynight", 343, 0, 3, (128, 128)),
    ("photos", 39, 0, 3, None),
    ("photos:test", 15, 0, 3, None),
    ("photo_crops", 2671, 0, 3, (128, 128)),
    ("photo_crops:256", 684, 0, 3, (256, 256)),
]


@pytest.mark.parametrize("spec, total, classes, channels, size", TABLE, ids=[t[0] for t in TABLE])
def test_counts_sizes_labels(spec, total, classes, channels, size):
    source, plan = opened(spec)
    assert sum(counts(plan).values()) == plan.total == total and plan.skipped == []
    assert len(plan.class_names) == classes and plan.channels == channels
    assert source.fixed_size() in (None, size)
    for split in plan.splits:
        keys = set()
        for batch in read(source, plan, split, 40):
            keys.update(batch.keys)
            assert all(size in (None, size_of(picture)) for picture in batch.pictures)
            assert batch.labels.max(initial=0) < max(1, classes)
            assert (batch.maps is not None) == bool(plan.map_classes)
            assert (batch.pairs is not None) == bool(plan.pair_channels)
        assert len(keys) == min(40, len(plan.splits[split]))
    again = source.plan(GEOMETRY, 0, 0.1, {})
    other = source.plan(GEOMETRY, 1, 0.1, {})
    for split, rows in plan.splits.items():
        assert np.array_equal(rows, again.splits[split])
        # The seed changes the order, never the choice.
        assert len(rows) == len(other.splits[split])
        assert np.array_equal(np.sort(rows, axis=0), np.sort(other.splits[split], axis=0))
        assert total < 50 or not np.array_equal(rows, other.splits[split])


def test_mnist_order_is_the_official_one():
    source, _ = opened("mnist")
    first = next(source.batches("train", np.arange(10), 10, GEOMETRY))
    assert first.labels.tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4] and first.pictures.max() == 255
    test = next(source.batches("test", np.arange(10), 10, GEOMETRY))
    assert test.labels.tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_glyphs_every_class_and_no_face_on_both_sides():
    source, plan = opened("glyphs")
    faces, labels = {}, collections.Counter()
    kept = np.load(source.workshop / "kept.npy")
    for split, rows in plan.splits.items():
        faces[split] = set(kept[rows, 0].tolist())
        labels.update(kept[rows, 1].tolist())
    assert not faces["train"] & faces["test"] and len(faces["train"] | faces["test"]) == 418
    assert len(labels) == 62 and min(labels.values()) > 400
    assert 0.05 < len(plan.splits["test"]) / plan.total < 0.15


@pytest.mark.parametrize("spec", ["emoji", "emoji:noto,twemoji", "fluent3d", "fluent_labelmap"])
def test_no_code_point_is_on_both_sides(spec):
    _, plan = opened(spec)
    sides = {"train": set(), "test": set()}
    for split, rows in plan.splits.items():
        sides[split[:-1] if plan.domains else split] |= {
            code_points.family(row.rpartition("/")[2]) for row in rows
        }
    assert not sides["train"] & sides["test"]
    share = len(sides["test"]) / (len(sides["test"]) + len(sides["train"]))
    assert 0.07 < share < 0.13


def test_emoji_hidden_pairs():
    _, plan = opened("emoji:noto,twemoji")
    points = {split: {row.split("/")[1] for row in rows} for split, rows in plan.splits.items()}
    train, test = (points[s + "A"] & points[s + "B"] for s in ("train", "test"))
    assert len(train) + len(test) == 3708


def test_fluent_maps_fit_their_pictures():
    source, plan = opened("fluent_labelmap")
    assert len(plan.map_classes) == 25 and plan.map_classes[:2] == ("nothing", "#ffffff")
    used = set()
    for batch in read(source, plan, "train", 100):
        for picture, ids in zip(batch.pictures, batch.maps, strict=True):
            alpha = np.asarray(Image.open(io.BytesIO(picture)).convert("RGBA"))[..., 3] >= 128
            ids = np.asarray(Image.open(io.BytesIO(ids)))
            assert ids.shape == alpha.shape == (256, 256) and ids.dtype == np.uint8
            used |= set(np.unique(ids).tolist())
            both, either = (alpha & (ids > 0)).sum(), (alpha | (ids > 0)).sum()
            assert both / either > 0.8
    assert used <= set(range(25)) and len(used) >= 20


@pytest.mark.parametrize(
    "spec, tiles, width", [("earth_labelmap", 1093, 5400), ("earth_daynight", 383, 4096)]
)
def test_earth_tiles(spec, tiles, width):
    source, plan = opened(spec)
    whole = source.plan(GEOMETRY, 0, 0, {})
    assert counts(whole) == {"train": tiles}
    shared = set()
    for _, left in plan.splits["train"]:
        shared.update(range(left, left + earth.SIDE))
    assert not any(shared & set(range(x, x + earth.SIDE)) for _, x in plan.splits["test"])
    assert 0.1 <= len(plan.splits["test"]) / plan.total < 0.15


def test_earth_maps_follow_the_coast():
    source, plan = opened("earth_labelmap")
    assert len(plan.map_classes) == 22
    blue, land = [], []
    for batch in read(source, plan, "test", 60):
        for picture, ids in zip(batch.pictures, batch.maps, strict=True):
            bluer = picture[..., 2].astype(int) - picture[..., 0]
            blue.append(bluer[ids == 0])
            land.append(bluer[ids > 1])
    assert np.mean(np.concatenate(blue) > 15) > 0.9  # the sea is blue,
    assert np.mean(np.concatenate(land) > 15) < 0.15  # the land is not


def test_day_is_brighter_than_its_night():
    source, plan = opened("earth_daynight")
    brighter = []
    for batch in read(source, plan, "train", 100):
        assert np.shape(batch.pairs) == np.shape(batch.pictures)
        brighter += (batch.pictures.mean((1, 2, 3)) > batch.pairs.mean((1, 2, 3))).tolist()
    assert np.mean(brighter) > 0.9


def test_photo_crops_no_photo_on_both_sides():
    _, plan = opened("photo_crops")
    photos = {split: set(rows[:, 0].tolist()) for split, rows in plan.splits.items()}
    assert not photos["train"] & photos["test"] and len(photos["train"] | photos["test"]) == 31
    assert 0.1 <= len(plan.splits["test"]) / plan.total < 0.3


@pytest.mark.parametrize(
    "spec, key, digest",
    [
        ("emoji:noto", "noto/1f600", "2f132911af8341d4"),
        ("glyphs", "DejaVuSans/g", "4f29b3802094964f"),
        ("fluent_labelmap", "1f600", "f2b236105187ba2a"),
    ],
)
def test_pixels_are_pinned(spec, key, digest):
    """When this fails although no package changed, raise CODE of the set."""
    source, _ = opened(spec)
    if spec == "glyphs":
        faces = (source.workshop / "faces.txt").read_text().split("\n")
        kept = np.load(source.workshop / "kept.npy").tolist()
        rows = np.array([kept.index([faces.index("DejaVuSans"), 26 + 6])])
    else:
        rows = [key]
    (batch,) = source.batches("train", rows, 1, GEOMETRY)
    assert batch.keys == [key]
    picture = batch.maps[0] if batch.maps else batch.pictures[0]
    if isinstance(picture, bytes):
        picture = np.asarray(Image.open(io.BytesIO(picture)))
    assert hashlib.sha256(picture.tobytes()).hexdigest()[:16] == digest
