import numpy as np
import pytest

from ganpipe.data import folder, sources
from ganpipe.errors import UserError


def put(root, pictures, *names):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.make(i).save(path)
    return root


def test_flat_folder_has_no_labels(tmp_path, pictures):
    layout = folder.scan(put(tmp_path, pictures, "b.png", "a.JPG", "c.webp"))
    assert [f.key for f in layout.files] == ["a.JPG", "b.png", "c.webp"]
    assert layout.class_names == () and not layout.has_splits


def test_class_folders_in_label_order(tmp_path, pictures):
    put(tmp_path, pictures, "bee/1.png", "ape/deep/er/1.png", "Cat/1.png", ".hidden/x.png")
    (tmp_path / "notes.txt").write_text("")
    layout = folder.scan(tmp_path)
    assert layout.class_names == ("Cat", "ape", "bee")
    assert {f.key: f.label for f in layout.files} == {
        "Cat/1.png": 0,
        "ape/deep/er/1.png": 1,
        "bee/1.png": 2,
    }


def test_numbered_classes_are_ordered_as_numbers():
    assert folder.class_order(["10", "9", "0"]) == ["0", "9", "10"]
    assert folder.class_order(["10", "9", "a"]) == ["10", "9", "a"]


def test_split_folders(tmp_path, pictures):
    put(tmp_path, pictures, "train/a/1.png", "train/b/1.png", "test/b/2.png")
    layout = folder.scan(tmp_path)
    assert layout.has_splits and layout.class_names == ("a", "b")
    assert {(f.key, f.split, f.label) for f in layout.files} == {
        ("train/a/1.png", "train", 0),
        ("train/b/1.png", "train", 1),
        ("test/b/2.png", "test", 1),
    }


def test_one_sub_folder_is_no_label(tmp_path, pictures):
    layout = folder.scan(put(tmp_path, pictures, "all/1.png", "all/2.png"))
    assert layout.class_names == () and len(layout.files) == 2


@pytest.mark.parametrize(
    "names,message",
    [
        (["a.png", "cls/b.png"], "pictures beside sub-folders"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], "'c' that train lacks"),
        (["train/1.png", "test/1.png", "more/1.png"], "beside 'more'"),
    ],
)
def test_mixed_layouts_are_refused(tmp_path, pictures, names, message):
    with pytest.raises(UserError, match=message):
        folder.scan(put(tmp_path, pictures, *names))


def test_missing_empty_and_empty_class(tmp_path, pictures):
    with pytest.raises(UserError, match="does not exist"):
        folder.scan(tmp_path / "none")
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="is a file"):
        folder.scan(tmp_path / "x")
    with pytest.raises(UserError, match=r"no pictures in .*1 other files"):
        folder.scan(tmp_path)
    put(tmp_path, pictures, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match=r"class folder .*c holds no pictures"):
        folder.scan(tmp_path)


def files_and_hashes(count, label=0):
    files = [folder.File(f"{label}/{i}", "", label) for i in range(count)]
    rng = np.random.default_rng(label)
    return files, {f.key: rng.bytes(8).hex() for f in files}


def test_test_cut_is_a_tenth_of_each_class_by_content():
    a, hashes = files_and_hashes(50, 0)
    b, more = files_and_hashes(20, 1)
    hashes |= more
    cut = folder.cut_test(a + b, hashes, 0.1)
    test = {f.key for f in cut if f.split == "test"}
    assert sum(k.startswith("0/") for k in test) == 5
    assert sum(k.startswith("1/") for k in test) == 2
    # Neither order nor names matter.
    renamed = [folder.File(f.key + "x", "", f.label) for f in reversed(a + b)]
    again = folder.cut_test(renamed, {k + "x": v for k, v in hashes.items()}, 0.1)
    assert {f.key[:-1] for f in again if f.split == "test"} == test
    assert all(f.split == "train" for f in folder.cut_test(a, hashes, 0.0))


def test_copies_stay_on_one_side():
    files, hashes = files_and_hashes(40)
    hashes = {f.key: hashes[f"0/{i % 10}"] for i, f in enumerate(files)}  # four copies of each
    cut = folder.cut_test(files, hashes, 0.1)
    sides = {}
    for f in cut:
        sides.setdefault(hashes[f.key], set()).add(f.split)
    assert all(len(side) == 1 for side in sides.values())
    assert sum(f.split == "test" for f in cut) == 4


def test_a_single_picture_is_for_training():
    files, hashes = files_and_hashes(1)
    assert [f.split for f in folder.cut_test(files, hashes, 0.1)] == ["train"]


def test_fingerprint_follows_the_files(tmp_path, pictures):
    put(tmp_path, pictures, "a.png", "b.png")
    spec = f"folder:{tmp_path}"
    before = sources.source_fingerprint(spec)
    assert before == sources.source_fingerprint(spec) and len(before) == 64
    put(tmp_path, pictures, "c.png")
    after = sources.source_fingerprint(spec)
    (tmp_path / "c.png").rename(tmp_path / "d.png")
    assert len({before, after, sources.source_fingerprint(spec)}) == 3


def test_unknown_sources(tmp_path):
    with pytest.raises(UserError, match="expected fashion_mnist, folder:DIR or tfds:NAME"):
        sources.open_source("mnist_fashion")
    with pytest.raises(UserError, match=f"Did you mean --source=folder:{tmp_path}"):
        sources.open_source(str(tmp_path))
