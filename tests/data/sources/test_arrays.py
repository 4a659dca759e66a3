"""idx and npz: what is read, and what is refused."""

import gzip
import pickle
import resource
import struct
import tempfile

import numpy as np
import pytest

from ganpipe.data import sources, transforms
from ganpipe.errors import UserError
from pipeline.components import dry_run


def idx(array, kind=8):
    head = struct.pack(">BBBB", 0, 0, kind, array.ndim) + struct.pack(
        f">{array.ndim}I", *array.shape
    )
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def images(count, seed=0, shape=(28, 28)):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def geometry(side=32, channels=0):
    return transforms.Geometry(side, side, channels, transforms.levels_of(side, side))


def everything(source, place, test_fraction=0.1):
    """({split: {key: (picture, label)}}, plan)"""
    fetched = source.fetch(lambda line: None).unpack(place / "unpacked")
    plan = fetched.plan(geometry(), 0, test_fraction, None)
    found = {}
    for split, rows in plan.splits.items():
        found[split] = {}
        for batch in fetched.batches(split, rows, 7, geometry()):
            assert len(batch.keys) <= 7
            found[split] |= {
                key: (picture, int(label))
                for key, picture, label in zip(
                    batch.keys, batch.pictures, batch.labels, strict=True
                )
            }
    return found, plan


@pytest.mark.parametrize("packed", [True, False])
def test_idx_splits_and_labels(tmp_path, packed):
    given = {"train": images(20), "t10k": images(6, 1)}
    labels = {"train": np.arange(20, dtype=np.uint8) % 4, "t10k": np.arange(6, dtype=np.uint8) % 4}
    for part in given:
        for name, data in (
            (f"{part}-images-idx3-ubyte", idx(given[part])),
            (f"{part}-labels-idx1-ubyte", idx(labels[part])),
        ):
            path = tmp_path / (name + ".gz" if packed else name)
            path.write_bytes(gzip.compress(data) if packed else data)
    found, plan = everything(sources.open_source(f"idx:{tmp_path}"), tmp_path)
    assert plan.class_names == ("0", "1", "2", "3") and plan.channels == 1
    for split, part in (("train", "train"), ("test", "t10k")):
        assert len(found[split]) == len(given[part])
        for key, (picture, label) in found[split].items():
            row = int(key.partition("/")[2])
            np.testing.assert_array_equal(picture[..., 0], given[part][row])
            assert label == labels[part][row]


def test_idx_that_is_wrong(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        sources.open_source(f"idx:{tmp_path}/none").fetch(print)
    with pytest.raises(UserError, match="no file like train-images-idx3-ubyte.*found nothing"):
        sources.open_source(f"idx:{tmp_path}").fetch(print)
    path = tmp_path / "train-images-idx3-ubyte"
    whole = idx(images(3))
    path.write_bytes(whole[:-5])
    with pytest.raises(UserError, match=f"holds {len(whole) - 5} bytes.*announces {len(whole)}"):
        sources.open_source(f"idx:{tmp_path}").fetch(print)
    path.write_bytes(b"PNG!")
    with pytest.raises(UserError, match="is no idx file"):
        sources.open_source(f"idx:{tmp_path}").fetch(print)
    path.rename(tmp_path / "train-images-idx3-ubyte.gz")
    with pytest.raises(UserError, match="cannot be read"):
        sources.open_source(f"idx:{tmp_path}").fetch(print)


def test_npz_of_keras(tmp_path):
    x, y = images(20), np.arange(20) % 3
    np.savez_compressed(tmp_path / "m.npz", x_train=x, y_train=y, x_test=x[:5], y_test=y[:5, None])
    found, plan = everything(sources.open_source(f"npz:{tmp_path}/m.npz"), tmp_path)
    assert len(found["train"]) == 20 and len(found["test"]) == 5
    assert plan.class_names == ("0", "1", "2")
    picture, label = found["test"]["test/0000003"]
    np.testing.assert_array_equal(picture[..., 0], x[3])
    assert label == 0


def test_npz_without_test_is_cut_by_content(tmp_path):
    x = images(30, shape=(8, 8, 3))
    x[10] = x[11]  # two copies stay on one side
    np.savez(tmp_path / "a.npz", images=x)
    found, plan = everything(sources.open_source(f"npz:{tmp_path}/a.npz"), tmp_path)
    assert plan.channels == 3 and plan.class_names == ()
    assert len(found["test"]) in (3, 4) and len(found["train"]) + len(found["test"]) == 30
    sides = {s for s in found for key in found[s] if key in ("train/0000010", "train/0000011")}
    assert len(sides) == 1
    assert set(everything(sources.open_source(f"npz:{tmp_path}/a.npz"), tmp_path, 0.0)[0]) == {
        "train"
    }


@pytest.mark.parametrize(
    "arrays,message",
    [
        ({"stuff": np.zeros(3)}, r"^--source=npz:[^ ]* holds stuff; expected images as x_train"),
        ({"images": np.zeros((3, 8, 8))}, r"are float64; expected uint8.*numpy.rint"),
        ({"images": np.zeros((3, 3, 8, 8), np.uint8)}, "8 channels.*channels come last"),
        ({"images": np.zeros((3, 8), np.uint8)}, r"expected \(N, H, W\)"),
        (
            {"images": np.zeros((3, 8, 8), np.uint8), "labels": np.zeros(2, int)},
            "expected 3 integers",
        ),
        (
            {"images": np.zeros((3, 8, 8), np.uint8), "labels": np.array([0, -1, 2])},
            "labels go from -1 to 2",
        ),
        ({"images": np.array([{}, {}], object)}, "not a readable .npz"),
    ],
)
def test_npz_that_is_wrong(tmp_path, arrays, message):
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(UserError, match=message):
        sources.open_source(f"npz:{tmp_path}/w.npz").fetch(print).unpack(tmp_path / "unpacked")


def test_npz_that_is_missing(tmp_path):
    with pytest.raises(UserError, match="does not exist; expected a .npz"):
        sources.open_source(f"npz:{tmp_path}/none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UserError, match="not a readable .npz"):
        sources.open_source(f"npz:{tmp_path}/text.npz").fetch(print)


def test_fetch_looks_at_headers_alone(tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("unpacked")

    monkeypatch.setattr(tempfile, "mkdtemp", never)
    for part, count in (("train", 9), ("test", 4)):
        path = tmp_path / f"{part}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(idx(images(count, shape=(6, 10))))[:200])  # cut: unseen
    source = sources.open_source(f"idx:{tmp_path}")
    assert source.fixed_size() is None
    said = []
    fetched = source.fetch(said.append)
    assert fetched.fixed_size() == (10, 6) and [line[-14:] for line in said] == [
        "9 images 6x10".rjust(14),
        "4 images 6x10".rjust(14),
    ]
    with pytest.raises(UserError, match="cannot be read .*fetch it again"):
        fetched.unpack(tmp_path / "work")
    np.savez_compressed(tmp_path / "a.npz", images=images(5, shape=(6, 10, 3)))
    fetched = sources.open_source(f"npz:{tmp_path}/a.npz").fetch(said.append)
    assert fetched.fixed_size() == (10, 6) and not fetched.unpacked


def test_workers_read_what_lies_in_the_work_folder(tmp_path):
    np.savez(tmp_path / "a.npz", images=images(5), labels=np.arange(5))
    source = sources.open_source(f"npz:{tmp_path}/a.npz").fetch(lambda line: None)
    made = pickle.loads(pickle.dumps(source.unpack(tmp_path / "work")))
    assert {p.parent for p in (tmp_path / "work").rglob("*.npy")} == {tmp_path / "work" / "arrays"}
    assert all(p.startswith(str(tmp_path / "work")) for _, *paths in made.unpacked for p in paths)
    assert made.plan(geometry(), 0, 0.0, None).class_names == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize("kind", ["idx", "npz"])
def test_a_full_disk_is_not_the_files_fault(tmp_path, kind):
    np.savez(tmp_path / "a.npz", images=images(50))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images(50)))
    spec = f"idx:{tmp_path}" if kind == "idx" else f"npz:{tmp_path}/a.npz"
    source = sources.open_source(spec).fetch(lambda line: None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            source.unpack(tmp_path / "work")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_dry_run_unpacks_and_leaves_nothing(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", images=images(50), labels=np.arange(50) % 2)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    said = dry_run.run(f"npz:{tmp_path}/a.npz", say=lambda line: None, resolution=16)
    assert "classes: 2" in said and "would read: 50 pictures" in said
    assert not list((tmp_path / "temporary").iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(UserError, match="is full .*set TMPDIR"):
            dry_run.run(f"npz:{tmp_path}/a.npz", say=lambda line: None, resolution=16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
