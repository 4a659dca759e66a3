import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from ganpipe import data
from ganpipe.data import reader
from ganpipe.errors import UserError


def batches(*args, take=None, **kwargs):
    stream = data.load(*args, **kwargs)
    return [(x.numpy(), y.numpy()) for x, y in (stream.take(take) if take else stream)]


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x, u) and np.array_equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def test_static_shapes_range_and_types(data_dir):
    stream = data.load(data_dir, 16, 5)
    images, labels = stream.element_spec
    assert images.shape == (5, 16, 16, 3) and images.dtype == tf.float32
    assert labels.shape == (5,) and labels.dtype == tf.int32
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY
    x, _ = next(iter(stream))
    levels = (x.numpy() + 1) * 127.5
    assert x.numpy().min() >= -1 and x.numpy().max() <= 1
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)


def test_one_ordered_pass_sees_everything_once(data_dir):
    info = data.info(data_dir)
    got = batches(data_dir, 8, 7, repeat=False, shuffle=False, drop_remainder=False)
    labels = np.concatenate([y for _, y in got])
    assert len(labels) == info.count("train") and len(got) == -(-info.count("train") // 7)
    assert np.bincount(labels).tolist() == info.splits["train"]["per_class"]
    stream = data.load(data_dir, 8, 7, repeat=False, shuffle=False, drop_remainder=False)
    assert int(stream.cardinality()) == len(got)


def test_labels_and_levels_belong_together(data_dir):
    top = batches(data_dir, 16, 8, seed=4, take=10)
    low = batches(data_dir, 4, 8, seed=4, take=10)
    for (x, y), (u, v) in zip(top, low, strict=True):
        np.testing.assert_array_equal(y, v)  # one order for all resolutions
        pixels = np.rint((x + 1) * 127.5)
        mean = pixels.reshape(8, 4, 4, 4, 4, 3).mean((2, 4))
        np.testing.assert_allclose(np.rint(mean), np.rint((u + 1) * 127.5), atol=1e-3)


def test_epochs_are_permutations_that_differ(data_dir):
    count = data.info(data_dir).count("train")
    got = batches(data_dir, 4, 1, seed=1, take=2 * count)
    keys = [x.tobytes() for x, _ in got]
    first, second = keys[:count], keys[count:]
    assert sorted(first) == sorted(second) and first != second
    other = [x.tobytes() for x, _ in batches(data_dir, 4, 1, seed=2, take=count)]
    assert sorted(other) == sorted(first) and other != first


@pytest.mark.parametrize("group_bytes", [1 << 30, 1])  # one group; a group per shard
@pytest.mark.parametrize("drop_remainder", [True, False])
def test_restart_is_exact(sharded, group_bytes, drop_remainder, monkeypatch):
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", group_bytes)
    settings = {"seed": 9, "drop_remainder": drop_remainder}
    unbroken = batches(sharded, 8, 6, take=40, **settings)
    assert same(unbroken, batches(sharded, 8, 6, take=40, **settings))
    per_epoch = data.info(sharded).count("train") // 6
    for start in (3, per_epoch, 2 * per_epoch - 1):
        again = batches(sharded, 8, 6, take=40 - start, start_step=start, **settings)
        assert same(unbroken[start:], again), start


def test_restart_does_not_depend_on_the_global_seed(data_dir):
    tf.random.set_seed(1)
    a = batches(data_dir, 4, 8, seed=3, take=9)
    tf.random.set_seed(2)
    assert same(a, batches(data_dir, 4, 8, seed=3, take=9))


@pytest.fixture
def sharded(class_folder, tmp_path, monkeypatch):
    """The same pictures in shards of at most ten."""
    from pipeline.components import example_gen

    monkeypatch.setattr(example_gen, "_SHARD_IMAGES", 10)
    out = tmp_path / "sharded"
    example_gen.run(f"folder:{class_folder}", out, 8, say=lambda line: None, progress=False)
    assert len(data.info(out).shards["train"]["8"]) == 6
    return out


def test_groups_cover_every_image_once_an_epoch(sharded, monkeypatch):
    size = data.info(sharded).shards["train"]["8"][0]["bytes"]
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", 4 * size + 1)  # four shards, then two
    count = data.info(sharded).count("train")
    got = [x.tobytes() for x, _ in batches(sharded, 8, 1, take=2 * count)]
    assert len(set(got[:count])) == count and set(got[count:]) == set(got[:count])
    assert got[:count] != got[count:]


def test_auto_shard_policy(data_dir):
    stream = data.load(data_dir, 4, 8)
    policy = stream.options().experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.DATA
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    got, _ = next(iter(strategy.experimental_distribute_dataset(stream)))
    np.testing.assert_array_equal(got, next(iter(stream))[0])


def test_bad_requests_are_told(data_dir, tmp_path):
    with pytest.raises(UserError, match=r"no 64x64 images, only 4, 8, 16.*--resolution=64"):
        data.load(data_dir, 64, 4)
    with pytest.raises(UserError, match="no split 'val'; it has test, train"):
        data.load(data_dir, 8, 4, split="val")
    with pytest.raises(UserError, match="fewer than one batch of 500"):
        data.load(data_dir, 8, 500)
    with pytest.raises(UserError, match="at least 1"):
        data.load(data_dir, 8, 0)
    with pytest.raises(UserError, match="beyond the one epoch"):
        data.load(data_dir, 8, 4, repeat=False, start_step=1000)
    with pytest.raises(UserError, match="is not a folder"):
        data.load(tmp_path / "nowhere", 8, 4)


def test_damaged_folders_are_told(data_dir, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    shard = copy / data.info(copy).shards["train"]["8"][0]["file"]
    whole = shard.read_bytes()

    shard.write_bytes(whole[:-1])
    with pytest.raises(UserError, match="cut short"):
        data.load(copy, 8, 4)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    shard.write_bytes(bytes(flipped))
    with pytest.raises(UserError, match=f"{shard.name} is corrupt"):
        data.load(copy, 8, 4)
    with pytest.raises(UserError, match="corrupt"):
        data.verify(copy)
    shard.unlink()
    with pytest.raises(UserError, match="missing"):
        data.load(copy, 8, 4)
    shard.write_bytes(whole)
    assert data.verify(copy).fingerprint == data.info(data_dir).fingerprint

    path = copy / "dataset.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(UserError, match=r"format 99.*reads format 1"):
        data.info(copy)
    path.write_text(json.dumps({k: v for k, v in content.items() if k != "shards"}))
    with pytest.raises(UserError, match=r"not a sound dataset.json"):
        data.info(copy)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        data.info(copy)


def test_sample_sheet(data_dir, tmp_path):
    from PIL import Image

    sheet = data.sample_sheet(data_dir, tmp_path / "deep" / "sheet.png", columns=4)
    with Image.open(sheet) as image:
        assert image.width > 4 * 48 and image.height > 3 * 48
        assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 50
    assert [p.name for p in sheet.parent.iterdir()] == ["sheet.png"]
