"""A cache changes where images come from, never which."""

import shutil
import threading

import numpy as np
import pytest

from ganpipe import data
from ganpipe.data import reader, reader_cache
from ganpipe.errors import UserError
from tests.data import folders

FEATURES = ("image", "label", "map", "pair", "key")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """63 PNG images of 4x6 with map and pair, in seven shards."""
    root = tmp_path_factory.mktemp("cached") / "data"
    levels = ((2, 3), (4, 6))
    splits = (("train", 63),)
    folders.make(root, splits, levels, encoding="png", maps=True, pair_channels=3)
    return root


def batches(root, take=25, **settings):
    settings = {"features": FEATURES, "seed": 4, "mirror": True} | settings
    return list(reader.load(root, 4, 6, **settings).take(take).as_numpy_iterator())


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(u, v) for x, y in zip(a, b, strict=True) for u, v in zip(x, y, strict=True)
    )


def test_one_group_is_the_same_from_anywhere(folder, tmp_path):
    plain = batches(folder)
    assert same(plain, batches(folder, cache="memory"))
    assert same(plain, batches(folder, cache=tmp_path))
    assert same(plain[9:], batches(folder, 16, cache="memory", start_step=9))
    ordered = batches(folder, shuffle=False)
    assert not same(plain, ordered)
    assert same(ordered, batches(folder, shuffle=False, cache="memory"))


def test_a_disk_cache_keeps_groups_too(folder, tmp_path, monkeypatch):
    one_group = batches(folder)
    monkeypatch.setattr(reader, "SHUFFLE_BYTES", 3 * 10 * (4 * 6 * 7 + 128))  # three shards
    plain = batches(folder)
    assert not same(plain, one_group)
    assert same(plain, batches(folder, cache=tmp_path))
    assert same(one_group, batches(folder, cache="memory"))  # which shuffles perfectly


def test_disk_cache_is_written_once_and_read_alone(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    expected = batches(copy, cache=tmp_path / "cache")
    (made,) = (p for p in (tmp_path / "cache").iterdir() if p.is_dir())
    fingerprint = data.info(folder).fingerprint
    assert made.name == f"{fingerprint[:16]}-train-0004"
    cached = data.info(made)
    assert cached.resolutions == (4,) and cached.encoding(4) == "raw"
    assert data.verify(made).request["cache_of"] == fingerprint
    assert not list((tmp_path / "cache").glob(".*writing*"))
    for shard in copy.glob("*.tfrecord"):
        shard.unlink()
    before = {p.name: p.stat().st_mtime_ns for p in made.iterdir()}
    assert same(expected, batches(copy, cache=tmp_path / "cache"))
    assert before == {p.name: p.stat().st_mtime_ns for p in made.iterdir()}


def test_two_at_once_write_one_cache(folder, tmp_path):
    info, found = data.info(folder), []

    def ask():
        found.append(reader_cache.on_disk(info, "train", 4, tmp_path, hash_up_to=1 << 30))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len({f.fingerprint for f in found}) == 1
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 1


def test_what_a_killed_writer_left_is_no_cache(folder, tmp_path):
    name = f"{data.info(folder).fingerprint[:16]}-train-0004"
    left = tmp_path / f".{name}.writing"
    left.mkdir()
    (left / "train-0004-00000-of-00007.tfrecord").write_bytes(b"half")
    assert same(batches(folder, 5), batches(folder, 5, cache=tmp_path))
    assert not left.exists()


def test_damaged_caches_are_told(folder, tmp_path):
    batches(folder, 1, cache=tmp_path)
    (made,) = (p for p in tmp_path.iterdir() if p.is_dir())
    shard = made / "train-0004-00000-of-00007.tfrecord"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=f"cache {made}.*remove this folder.*cut short"):
        batches(folder, cache=tmp_path)
    shard.unlink()
    with pytest.raises(UserError, match="missing"):
        batches(folder, cache=tmp_path)
    shutil.rmtree(made)
    assert same(batches(folder, 3), batches(folder, 3, cache=tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file.* cannot be written"):
        batches(folder, cache=tmp_path / "file")


def test_memory_that_is_not_there_is_told(folder, monkeypatch):
    need = 63 * (4 * 6 * 7 + 128)
    monkeypatch.setattr(reader_cache, "available_bytes", lambda: 2 * need - 2)
    with pytest.raises(UserError, match=r"63 images of train at 4x6.*GB decoded.*cache=FOLDER"):
        batches(folder, cache="memory")
    monkeypatch.setattr(reader_cache, "available_bytes", lambda: 2 * need)
    batches(folder, 1, cache="memory")


def test_available_memory_is_plausible():
    assert 1 << 20 < reader_cache.available_bytes() < 1 << 46
