"""Pairs, label maps and unpaired domains, through the whole preparation."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganpipe.data import codecs
from ganpipe.errors import UserError
from pipeline.components import example_gen


def run(source, out, resolution=8, **kwargs):
    kwargs = {"say": lambda line: None, "progress": False} | kwargs
    return example_gen.run(source, out, resolution, **kwargs)


def records(info, split, level):
    """{key: feature map}"""
    found = {}
    for shard in info.files(split, level):
        for raw in tf.data.TFRecordDataset(str(shard["path"])).as_numpy_iterator():
            feature = tf.train.Example.FromString(raw).features.feature
            found[feature["key"].bytes_list.value[0].decode()] = feature
    return found


def pixels(feature, name, shape):
    return np.frombuffer(feature[name].bytes_list.value[0], np.uint8).reshape(shape)


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def pairs(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(20):
        save(rng.integers(0, 256, (8, 8, 3), np.uint8), tmp_path / "day" / "x" / f"{i}.png")
        save(rng.integers(0, 256, (8, 8), np.uint8), tmp_path / "night" / "x" / f"{i}.bmp")
    return tmp_path


def test_pairs_stay_together(pairs):
    info = run(f"pairs:{pairs}/day,{pairs}/night", pairs / "out")
    assert (info.channels, info.pair_channels, info.num_classes) == (3, 1, 0)
    total = 0
    for split in info.splits:
        for key, feature in records(info, split, 8).items():
            stem = key.removesuffix(".png")
            day = np.asarray(Image.open(pairs / "day" / key))
            night = np.asarray(Image.open(pairs / "night" / f"{stem}.bmp"))
            np.testing.assert_array_equal(pixels(feature, "image", (8, 8, 3)), day)
            np.testing.assert_array_equal(pixels(feature, "pair", (8, 8)), night)
            low = records(info, split, 4)[key]
            mean = night.reshape(4, 2, 4, 2).astype(float).mean((1, 3))
            np.testing.assert_array_equal(pixels(low, "pair", (4, 4)), np.rint(mean))
            total += 1
    assert total == 20


def test_pairs_without_a_partner(pairs):
    (pairs / "night" / "x" / "3.bmp").unlink()
    with pytest.raises(UserError, match=r"1 files have no partner: 'x/3' is not in .*night"):
        run(f"pairs:{pairs}/day,{pairs}/night", pairs / "out")
    save(np.zeros((8, 8), np.uint8), pairs / "night" / "x" / "3.png")
    save(np.zeros((8, 8), np.uint8), pairs / "night" / "x" / "3.bmp")
    with pytest.raises(UserError, match="holds both 'x/3.bmp' and 'x/3.png'"):
        run(f"pairs:{pairs}/day,{pairs}/night", pairs / "out")
    with pytest.raises(UserError, match="expected two folders with a comma"):
        run(f"pairs:{pairs}/day", pairs / "out")
    with pytest.raises(UserError, match="does not exist"):
        run(f"pairs:{pairs}/day,{pairs}/dusk", pairs / "out")
    assert not (pairs / "out").exists()


def test_pairs_of_other_shapes_are_left_out(pairs):
    save(np.zeros((8, 16), np.uint8), pairs / "night" / "x" / "4.bmp")
    (pairs / "night" / "x" / "5.bmp").write_bytes(b"BM no picture")
    info = run(f"pairs:{pairs}/day,{pairs}/night", pairs / "out")
    rows = [json.loads(r) for r in (info.dir / "quarantine.jsonl").read_text().splitlines()]
    reasons = {row["key"]: row["reason"] for row in rows}
    assert "another shape (16x8, not 8x8)" in reasons["x/4.png"]
    assert "its partner: not a readable image" in reasons["x/5.png"] and len(reasons) == 2


@pytest.fixture
def streets(tmp_path):
    """Pictures whose pixels say which class they are: red = 40 * id."""
    rng = np.random.default_rng(1)
    for i in range(20):
        ids = rng.integers(0, 4, (8, 16), np.uint8)
        ids[0, 0] = 255 if i == 7 else 3
        image = np.zeros((8, 16, 3), np.uint8)
        image[..., 0] = np.where(ids == 255, 7, 40 * ids)
        image[..., 1] = i
        save(image, tmp_path / "images" / f"{i}.png")
        picture = Image.fromarray(ids, "P")
        picture.putpalette([c for k in range(256) for c in (k, 255 - k, 9)])
        (tmp_path / "maps").mkdir(exist_ok=True)
        picture.save(tmp_path / "maps" / f"{i}.png")
    (tmp_path / "maps" / "classes.txt").write_text("sky\nroad\ncar\ntree\n")
    return tmp_path


def test_label_maps_of_wide_pictures(streets):
    source = f"labelmap:{streets}/images,{streets}/maps"
    info = run(source, streets / "out", None, base="4x8", levels=2)
    assert info.map_classes == ("sky", "road", "car", "tree")
    assert info.shape(8) == (8, 16, 3) and info.shape(4) == (4, 8, 3)
    for split in info.splits:
        low = records(info, split, 4)
        for key, feature in records(info, split, 8).items():
            image, ids = pixels(feature, "image", (8, 16, 3)), pixels(feature, "map", (8, 16))
            np.testing.assert_array_equal(image[..., 0], np.where(ids == 255, 7, 40 * ids))
            np.testing.assert_array_equal(pixels(low[key], "map", (4, 8)), ids[1::2, 1::2])


def test_ids_beyond_the_class_table(streets):
    (streets / "maps" / "classes.txt").write_text("sky\nroad\ncar\n")
    with pytest.raises(UserError, match=r"hold the ids 3, the class table has 3 classes \(0..2"):
        run(f"labelmap:{streets}/images,{streets}/maps", streets / "out")
    (streets / "maps" / "classes.txt").unlink()
    (streets / "classes.json").write_text('{"0": "sky", "3": "tree"}')
    info = run(f"labelmap:{streets}/images,{streets}/maps", streets / "out")
    assert info.map_classes == ("sky", "1", "2", "tree")
    (streets / "classes.json").write_text("[")
    with pytest.raises(UserError, match="class table .*classes.json cannot be read"):
        run(f"labelmap:{streets}/images,{streets}/maps", streets / "more")


def test_maps_of_another_size_are_left_out(streets):
    save(np.zeros((8, 8), np.uint8), streets / "maps" / "3.png")
    save(np.zeros((8, 16, 3), np.uint8), streets / "maps" / "4.png")
    info = run(f"labelmap:{streets}/images,{streets}/maps", streets / "out")
    rows = [json.loads(r) for r in (info.dir / "quarantine.jsonl").read_text().splitlines()]
    reasons = {row["key"]: row["reason"] for row in rows}
    assert reasons["3.png"] == "its map is 8x8, the picture 16x8"
    assert "mode RGB; expected a palette or grey PNG" in reasons["4.png"] and len(reasons) == 2


def test_unpaired_domains(tmp_path):
    rng = np.random.default_rng(2)
    for i in range(12):
        save(rng.integers(0, 256, (8, 8, 3), np.uint8), tmp_path / "horse" / f"{i}.png")
    for i in range(30):
        save(rng.integers(0, 256, (8, 8), np.uint8), tmp_path / "zebra" / f"{i}.png")
    info = run(f"unpaired:{tmp_path}/horse,{tmp_path}/zebra", tmp_path / "out")
    assert info.domains == ("horse", "zebra") and info.channels == 3
    counts = {split: info.count(split) for split in info.splits}
    assert counts == {"trainA": 11, "testA": 1, "trainB": 27, "testB": 3}
    found = records(info, "trainB", 8)
    assert len(found) == 27 and all(key.startswith("B/") for key in found)
    key = next(iter(found))
    original = np.asarray(Image.open(tmp_path / "zebra" / key[2:]))
    image = pixels(found[key], "image", (8, 8, 3))
    np.testing.assert_array_equal(image, np.repeat(original[..., None], 3, axis=2))


def patches(rng, count, shape):
    """Pictures of 256x256 in even patches, which PNG keeps in few bytes: (count, *shape) uint8."""
    small = rng.integers(0, 4, (count, 16, 16, *shape), np.uint8)
    return small.repeat(16, axis=1).repeat(16, axis=2)


def cut_short(path):
    """Leaves the header of a picture, and some of its pixels."""
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("kind", ["pairs", "labelmap"])
def test_partners_stay_together_behind_damaged_pictures(tmp_path, kind):
    """Damage that only decoding finds moves nothing that comes after it in a block."""
    rng, count = np.random.default_rng(3), 36
    images, partners = 60 * patches(rng, count, (3,)), patches(rng, count, ())
    for i in range(count):
        for folder, array in (("images", images[i]), ("partners", partners[i])):
            path = tmp_path / folder / f"{i}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(array).save(path, compress_level=9)
    bad = {*range(0, count, 4)}
    for i in bad:
        cut_short(tmp_path / "images" / f"{i}.png")
    if kind == "pairs":  # maps are decoded before the blocks are cut
        for i in (1, 10, 15, 30):
            cut_short(tmp_path / "partners" / f"{i}.png")
            bad.add(i)
    source = f"{kind}:{tmp_path}/images,{tmp_path}/partners"
    info = run(source, tmp_path / "out", 256, max_skipped=0.5)
    rows = [json.loads(r) for r in (info.dir / "quarantine.jsonl").read_text().splitlines()]
    assert {row["key"] for row in rows} == {f"{i}.png" for i in bad}
    name = "pair" if kind == "pairs" else "map"
    assert info.encoding(256) == "png" and info.encoding(128) == "raw"
    seen = set()
    for split in info.splits:
        half = records(info, split, 128)
        for key, feature in records(info, split, 256).items():
            i = int(key.removesuffix(".png"))
            seen.add(i)
            kept = feature["image"].bytes_list.value[0]
            assert kept == (tmp_path / "images" / key).read_bytes(), key
            other = codecs.decode(feature[name].bytes_list.value[0], "png", (256, 256))
            np.testing.assert_array_equal(other, partners[i], err_msg=key)
            low = pixels(half[key], "image", (128, 128, 3))
            np.testing.assert_array_equal(low, images[i, ::2, ::2], err_msg=key)
            low = pixels(half[key], name, (128, 128))
            np.testing.assert_array_equal(low, partners[i, ::2, ::2], err_msg=key)
    assert seen == {*range(count)} - bad
