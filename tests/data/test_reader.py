"""`load`: what comes out, in which order, exactly again after a restart, and what is refused."""

import itertools
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from ganpipe import data
from ganpipe.data import reader
from ganpipe.errors import UserError
from tests.data import folders


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """(folder, truth): 63 images in seven shards of ten, all but the last; 4x4 and 8x8."""
    root = tmp_path_factory.mktemp("reader") / "data"
    return root, folders.make(root, splits=(("train", 63), ("test", 20)))


def batches(*args, take=None, **kwargs):
    stream = data.load(*args, **kwargs)
    return [tuple(v.numpy() for v in b) for b in (stream.take(take) if take else stream)]


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(u, v) for x, y in zip(a, b, strict=True) for u, v in zip(x, y, strict=True)
    )


def keys(got):
    """The keys of batches whose last feature is `key`, one after another."""
    return list(itertools.chain.from_iterable(b[-1].tolist() for b in got))


def test_static_shapes_range_and_types(folder):
    stream = data.load(folder[0], 8, 5)
    images, labels = stream.element_spec
    assert images.shape == (5, 8, 8, 3) and images.dtype == tf.float32
    assert labels.shape == (5,) and labels.dtype == tf.int32
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY
    x, _ = next(iter(stream))
    levels = (x.numpy() + 1) * 127.5
    assert x.numpy().min() >= -1 and x.numpy().max() <= 1
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)


def test_one_ordered_pass_is_the_folder(folder):
    root, truth = folder
    settings = {"repeat": False, "shuffle": False, "drop_remainder": False}
    got = batches(root, 8, 7, features=("image", "label", "key"), **settings)
    images, labels, names = (np.concatenate(part) for part in zip(*got, strict=True))
    np.testing.assert_array_equal(np.rint((images + 1) * 127.5), truth["train"][8]["image"])
    np.testing.assert_array_equal(labels, truth["train"]["label"])
    assert [name.decode() for name in names] == truth["train"]["key"]
    assert int(data.load(root, 8, 7, **settings).cardinality()) == len(got) == 9


def test_features_belong_together_in_any_order(folder):
    root, truth = folder
    at = {key: i for i, key in enumerate(truth["train"]["key"])}
    wanted = batches(root, 4, 8, features=("key", "label", "image"), seed=4, take=10)
    other = batches(root, 8, 8, features=("label", "key"), seed=4, take=10)
    for (names, labels, images), (low_labels, low_names) in zip(wanted, other, strict=True):
        rows = [at[name.decode()] for name in names]
        np.testing.assert_array_equal(labels, truth["train"]["label"][rows])
        pixels = np.rint((images + 1) * 127.5)
        np.testing.assert_array_equal(pixels, truth["train"][4]["image"][rows])
        np.testing.assert_array_equal(low_names, names)  # one order for all levels
        np.testing.assert_array_equal(low_labels, labels)


@pytest.mark.parametrize("groups", [1, 2, 7])
def test_epochs_are_permutations_that_differ(folder, groups, limit_groups):
    limit_groups(folder[0], groups)
    got = keys(batches(folder[0], 4, 1, features=("key",), seed=1, take=3 * 63))
    epochs = [got[:63], got[63:126], got[126:]]
    assert all(len(set(epoch)) == 63 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    other = keys(batches(folder[0], 4, 1, features=("key",), seed=2, take=63))
    assert set(other) == set(got) and other not in epochs
    # Images of one shard lie far apart where the shuffle goes beyond it.
    shard = [i for i, key in enumerate(epochs[0]) if key < b"train/0010"]
    assert (max(shard) - min(shard) > 30) == (groups < 7)


def test_groups_are_of_other_shards_every_epoch(folder, limit_groups):
    limit_groups(folder[0], 2)
    got = keys(batches(folder[0], 4, 1, features=("key",), seed=1, take=6 * 63))
    # Six shards and one: which one comes last is drawn anew.
    lasts = [{int(k[6:10]) // 10 for k in got[63 * e + 60 : 63 * e + 63]} for e in range(6)]
    assert all(len(shards) == 1 for shards in lasts)
    assert len(set.union(*lasts)) > 1


def test_order_does_not_depend_on_the_encoding(folder, limit_groups, tmp_path):
    folders.make(tmp_path / "png", (("train", 63),), ((4, 4),), encoding="png")
    limit_groups(folder[0], 2)
    settings = {"features": ("key",), "seed": 3, "take": 20}
    assert same(batches(folder[0], 4, 6, **settings), batches(tmp_path / "png", 4, 6, **settings))


@pytest.fixture
def limit_groups(monkeypatch):
    """Lowers SHUFFLE_BYTES so that a split of 7 shards is shuffled in that many groups."""

    def limit(root, groups):
        counts = (10,) * 6 + (3,)
        for shards in range(7, 0, -1):
            monkeypatch.setattr(reader, "SHUFFLE_BYTES", shards * 10 * (4 * 4 * 3 + 128))
            if -(-7 // reader._per_group(data.info(root), 4, counts, True, None)) == groups:
                return
        raise AssertionError(groups)

    return limit


@pytest.mark.parametrize(
    ("groups", "drop_remainder"), [(1, True), (1, False), (2, True), (7, False)]
)
def test_restart_is_exact(folder, groups, drop_remainder, limit_groups):
    limit_groups(folder[0], groups)
    settings = {
        "seed": 9,
        "drop_remainder": drop_remainder,
        "mirror": True,
        "features": ("image", "label", "key"),
        "fade": lambda step: tf.cast(step % 10, tf.float32) / 10,
    }
    unbroken = batches(folder[0], 4, 6, take=40, **settings)
    per_epoch = 63 // 6
    for start in (0, 3, 2 * per_epoch - 1):
        again = batches(folder[0], 4, 6, take=40 - start, start_step=start, **settings)
        assert same(unbroken[start:], again), start


def test_restart_of_an_ordered_pass_is_exact(folder):
    ordered = {"shuffle": False, "repeat": False, "drop_remainder": False}
    whole = batches(folder[0], 4, 6, **ordered)
    assert len(whole) == 11 and len(whole[-1][0]) == 3
    assert same(whole[4:], batches(folder[0], 4, 6, start_step=4, **ordered))


def test_restart_opens_no_earlier_group(folder, tmp_path, limit_groups):
    copy = tmp_path / "copy"
    shutil.copytree(folder[0], copy)
    limit_groups(copy, 7)
    unbroken = batches(copy, 4, 6, features=("key",), seed=5, take=10)
    stream = data.load(copy, 4, 6, features=("key",), seed=5, start_step=7)
    left = {key for (b,) in unbroken[7:] for key in b.tolist()}
    shards = {int(key[6:10]) // 10 for key in left} | {6}  # a short epoch may leave shard 6 out
    for index in set(range(7)) - shards:
        (copy / f"train-0004-{index:05d}-of-00007.tfrecord").unlink()
    assert len(shards) < 7
    assert same(unbroken[7:], [tuple(v.numpy() for v in b) for b in stream.take(3)])


def test_order_does_not_depend_on_the_global_seed(folder):
    tf.random.set_seed(1)
    a = batches(folder[0], 4, 8, seed=3, mirror=True, take=9)
    tf.random.set_seed(2)
    assert same(a, batches(folder[0], 4, 8, seed=3, mirror=True, take=9))


@pytest.mark.parametrize(("groups", "cache"), [(1, None), (7, None), (2, "memory"), (2, "disk")])
def test_workers_share_every_batch(folder, groups, cache, limit_groups, tmp_path):
    limit_groups(folder[0], groups)
    settings = {
        "seed": 3,
        "mirror": True,
        "fade": lambda step: tf.cast(step % 4, tf.float32) / 4,
        "features": ("image", "key"),
        "cache": tmp_path / "cache" if cache == "disk" else cache,
        "start_step": 2,
    }
    one = batches(folder[0], 4, 6, take=25, **settings)
    parts = [batches(folder[0], 4, 6, take=25, shard=(i, 3), **settings) for i in range(3)]
    joined = [
        tuple(np.concatenate(v) for v in zip(*p, strict=True)) for p in zip(*parts, strict=True)
    ]
    assert parts[0][0][0].shape == (2, 4, 4, 3)
    assert same(one, joined)


def test_no_record_of_other_workers_is_parsed(folder, monkeypatch, tmp_path):
    """A record that cannot be parsed stops the worker that it belongs to, and no other."""
    copy = tmp_path / "copy"
    shutil.copytree(folder[0], copy)
    info = json.loads((copy / "dataset.json").read_text())
    first = info["shards"]["train"]["4"][0]
    lines = [r.numpy() for r in tf.data.TFRecordDataset(str(copy / first["file"]))]
    lines[4] = b"\x07" * len(lines[4])  # no protocol buffer begins so
    with tf.io.TFRecordWriter(str(copy / first["file"])) as file:
        for line in lines:
            file.write(line)
    monkeypatch.setattr(reader, "HASH_BYTES", 0)
    settings = {"shuffle": False, "repeat": False}
    assert len(batches(copy, 4, 6, shard=(0, 2), **settings)) == 10  # rows 0..2, 6..8, ...
    with pytest.raises(tf.errors.InvalidArgumentError, match="parse"):
        batches(copy, 4, 6, shard=(1, 2), **settings)


def test_only_the_level_asked_for_is_opened(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder[0], copy)
    for path in {*copy.glob("*-0008-*"), *copy.glob("test-*")}:
        path.unlink()
    assert same(batches(copy, 4, 6, take=12), batches(folder[0], 4, 6, take=12))
    with pytest.raises(UserError, match="missing"):
        data.load(copy, 8, 6)


def test_auto_shard_policy(folder):
    policy = tf.data.experimental.AutoShardPolicy
    stream = data.load(folder[0], 4, 8)
    assert stream.options().experimental_distribute.auto_shard_policy == policy.DATA
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    got, _ = next(iter(strategy.experimental_distribute_dataset(stream)))
    np.testing.assert_array_equal(got, next(iter(stream))[0])
    stream = data.load(folder[0], 4, 8, shard=(1, 2))
    assert stream.options().experimental_distribute.auto_shard_policy == policy.OFF


def test_bad_requests_are_told(folder, tmp_path):
    root, _ = folder
    with pytest.raises(UserError, match=r"no 64x64 images, only 4, 8.*--resolution=64"):
        data.load(root, 64, 4)
    with pytest.raises(UserError, match="no split 'val'; it has test, train"):
        data.load(root, 8, 4, split="val")
    with pytest.raises(UserError, match="fewer than one batch of 500"):
        data.load(root, 8, 500)
    with pytest.raises(UserError, match="at least 1"):
        data.load(root, 8, 0)
    with pytest.raises(UserError, match="beyond the one epoch"):
        data.load(root, 8, 4, repeat=False, start_step=1000)
    with pytest.raises(UserError, match="is not a folder"):
        data.load(tmp_path / "nowhere", 8, 4)
    with pytest.raises(UserError, match=r"no feature 'map'.*'image', 'label', 'key'.*labelmap"):
        data.load(root, 8, 4, features=("image", "map"))
    with pytest.raises(UserError, match="no feature 'depth'"):
        data.load(root, 8, 4, features=("depth",))
    with pytest.raises(UserError, match="asked for no feature"):
        data.load(root, 8, 4, features=())
    for shard in ((2, 2), (0, 3), (-1, 2)):
        with pytest.raises(UserError, match="divides by count"):
            data.load(root, 8, 4, shard=shard)
    with pytest.raises(UserError, match="drop_remainder=True"):
        data.load(root, 8, 4, shard=(0, 2), repeat=False, drop_remainder=False)


def test_damaged_folders_are_told(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder[0], copy)
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
    assert data.verify(copy).fingerprint == data.info(folder[0]).fingerprint

    path = copy / "dataset.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(UserError, match=r"format 99.*reads format 2"):
        data.info(copy)
    path.write_text(json.dumps({k: v for k, v in content.items() if k != "shards"}))
    with pytest.raises(UserError, match=r"not a sound dataset.json"):
        data.info(copy)
    path.write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        data.info(copy)
