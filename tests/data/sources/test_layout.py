import errno
import json
import os
import zipfile

import numpy as np
import pytest

from ganpipe.data import sources
from ganpipe.data.sources import layout, order, trees
from ganpipe.errors import UserError


def put(root, pictures, *names):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures.make(i).save(path)
    return root


def arrange(root):
    tree = trees.FolderTree(str(root))
    return layout.arrange(tree, tree.list())


def labels(found):
    return dict(zip(found.keys, found.labels.tolist(), strict=True))


def test_flat_folder_has_no_labels(tmp_path, pictures):
    found = arrange(put(tmp_path, pictures, "b.png", "a.JPG", "c.webp"))
    assert found.keys == ("a.JPG", "b.png", "c.webp")
    assert found.class_names == () and found.in_test is None


def test_class_folders_in_label_order(tmp_path, pictures):
    put(tmp_path, pictures, "bee/1.png", "ape/deep/er/1.png", "Cat/1.png", ".hidden/x.png")
    (tmp_path / "notes.txt").write_text("")
    found = arrange(tmp_path)
    assert found.class_names == ("Cat", "ape", "bee") and found.passed_over == 1
    assert labels(found) == {"Cat/1.png": 0, "ape/deep/er/1.png": 1, "bee/1.png": 2}


def test_numbered_classes_are_ordered_as_numbers():
    assert layout.class_order(["10", "9", "0"]) == ["0", "9", "10"]
    assert layout.class_order(["10", "9", "a"]) == ["10", "9", "a"]


def test_split_folders(tmp_path, pictures):
    found = arrange(put(tmp_path, pictures, "train/a/1.png", "train/b/1.png", "test/b/2.png"))
    assert found.class_names == ("a", "b")
    assert set(zip(found.keys, found.in_test.tolist(), found.labels.tolist(), strict=True)) == {
        ("train/a/1.png", False, 0),
        ("train/b/1.png", False, 1),
        ("test/b/2.png", True, 1),
    }


def test_one_sub_folder_is_no_label(tmp_path, pictures):
    found = arrange(put(tmp_path, pictures, "all/1.png", "all/2.png"))
    assert found.class_names == () and len(found.keys) == 2


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
        arrange(put(tmp_path, pictures, *names))


def test_missing_empty_and_empty_class(tmp_path, pictures):
    with pytest.raises(UserError, match="does not exist"):
        arrange(tmp_path / "none")
    (tmp_path / "x").write_text("")
    with pytest.raises(UserError, match="is a file"):
        arrange(tmp_path / "x")
    with pytest.raises(UserError, match=r"no pictures in .*1 other files"):
        arrange(tmp_path)
    put(tmp_path, pictures, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    with pytest.raises(UserError, match=r"class folder .*c holds no pictures"):
        arrange(tmp_path)


def test_stylegan2_labels_overrule_folders(tmp_path, pictures):
    put(tmp_path, pictures, "00000/img0.png", "00000/img1.png", "00001/img2.png")
    rows = [["00000/img0.png", 2], ["00000/img1.png", 0], ["00001/img2.png", 2]]
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": rows}))
    found = arrange(tmp_path)
    assert labels(found) == dict(rows) and found.class_names == ("0", "1", "2")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": None}))
    assert arrange(tmp_path).class_names == ()
    (tmp_path / "dataset.json").write_text(json.dumps({"title": "another tool's"}))
    assert arrange(tmp_path).class_names == ("00000", "00001")


def test_labels_by_name(tmp_path, pictures):
    put(tmp_path, pictures, "a.png", "b.png", "c.png")
    (tmp_path / "labels.json").write_text('{"a.png": "dog", "b.png": "cat", "c.png": "dog"}')
    found = arrange(tmp_path)
    assert labels(found) == {"a.png": 1, "b.png": 0, "c.png": 1}
    assert found.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    "text,message",
    [
        ("{", "not readable JSON"),
        ('{"a.png": 0}', "gives no label to 1 of 2 pictures, such as 'b.png'"),
        ('{"a.png": 0, "b.png": "x"}', "all ints or all texts"),
        ('{"a.png": -1, "b.png": 0}', "expected class indices from 0"),
        ('{"labels": [1, 2]}', "does not list labels"),
    ],
)
def test_labels_that_do_not_fit(tmp_path, pictures, text, message):
    put(tmp_path, pictures, "a.png", "b.png")
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(UserError, match=message):
        arrange(tmp_path)


def test_a_label_without_its_picture_is_told(tmp_path, pictures):
    put(tmp_path, pictures, "a.png")
    (tmp_path / "labels.json").write_text('{"a.png": 0, "gone.png": 1}')
    assert arrange(tmp_path).problems == (
        ("gone.png", "named by the file of labels, but not there"),
    )


def digests(count, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.bytes(8) for _ in range(count)]


def test_test_cut_is_a_tenth_of_each_class_by_content():
    found, classes = digests(70), np.repeat([0, 1], [50, 20])
    test = order.held_out(found, classes, 0.1)
    assert test[:50].sum() == 5 and test[50:].sum() == 2
    # The order does not matter.
    again = order.held_out(found[::-1], classes[::-1], 0.1)
    np.testing.assert_array_equal(again[::-1], test)
    assert not order.held_out(found, classes, 0.0).any()


def test_copies_stay_on_one_side():
    copies = digests(10) * 4  # four copies of each
    test = order.held_out(copies, np.zeros(40, int), 0.1).reshape(4, 10)
    assert (test == test[0]).all() and test.sum() == 4


def test_a_single_picture_is_for_training():
    assert order.held_out(digests(1), np.zeros(1, int), 0.1).tolist() == [False]


def test_orders_depend_on_seed_and_content():
    found, keys = digests(50), [str(i) for i in range(50)]
    ranks = order.ranked(found, keys, 0)
    assert sorted(ranks.tolist()) == list(range(50))
    turned = order.ranked(found[::-1], keys[::-1], 0)
    assert [keys[::-1][i] for i in turned] == [keys[i] for i in ranks]
    assert order.ranked(found, keys, 1).tolist() != ranks.tolist()
    assert order.permutation(3, 0, 20).tolist() != order.permutation(3, 1, 20).tolist()
    assert order.permutation(-3, 0, 20).tolist() != order.permutation(3, 0, 20).tolist()


def test_loops_and_dead_links_are_listed(tmp_path, pictures):
    put(tmp_path, pictures, "a/1.png", "b/1.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "dead.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "a" / "self.png").symlink_to(tmp_path / "a" / "self.png")
    os.mkfifo(tmp_path / "b" / "pipe.png")
    (tmp_path / "b" / "good.png").symlink_to(tmp_path / "a" / "1.png")
    found = arrange(tmp_path)
    assert found.keys == ("a/1.png", "b/1.png", "b/good.png")
    reasons = dict(found.problems)
    assert set(reasons) == {"a/loop/", "a/dead.png", "a/self.png", "b/pipe.png"}
    assert reasons["a/loop/"] == "symbolic link loop"
    assert reasons["b/pipe.png"] == "not a regular file"


def test_fingerprint_follows_the_files(tmp_path, pictures):
    put(tmp_path, pictures, "a.png", "b.png")
    spec = f"folder:{tmp_path}"
    before = sources.source_fingerprint(spec)
    assert before == sources.source_fingerprint(spec) and len(before) == 64
    put(tmp_path, pictures, "c.png")
    after = sources.source_fingerprint(spec)
    (tmp_path / "c.png").rename(tmp_path / "d.png")
    renamed = sources.source_fingerprint(spec)
    (tmp_path / "labels.json").write_text('{"a.png": 0, "b.png": 0, "d.png": 0}')
    assert len({before, after, renamed, sources.source_fingerprint(spec)}) == 4


def test_unknown_sources(tmp_path):
    with pytest.raises(
        UserError, match=r"expected folder:DIR.*tfds:NAME.*Did you mean fashion_mnist"
    ):
        sources.open_source("fashion_mist")
    with pytest.raises(UserError, match=f"Did you mean --source=folder:{tmp_path}"):
        sources.open_source(str(tmp_path))
    (tmp_path / "x.zip").write_text("")
    with pytest.raises(UserError, match="Did you mean --source=zip:"):
        sources.open_source(str(tmp_path / "x.zip"))
    with pytest.raises(UserError, match="this is a file; did you mean --source=zip:"):
        sources.open_source(f"folder:{tmp_path / 'x.zip'}")


def test_a_source_without_its_place_is_told_how_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spec in ("folder", "folder:"):
        with pytest.raises(UserError, match=r"It is written folder:DIR\.$") as found:
            sources.open_source(spec)
        assert "Did you mean" not in str(found.value)


def arrange_zip(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    tree = trees.ZipTree(str(path))
    return layout.arrange(tree, tree.list())


@pytest.mark.parametrize("around", ["faces", "a/b/faces"])
def test_a_folder_around_everything_is_looked_through(tmp_path, pictures, around):
    names = ["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"]
    put(tmp_path / "given", pictures, *(f"{around}/{name}" for name in names))
    put(tmp_path / "plain", pictures, *(f"{around}/{name}" for name in ("cat/1.png", "dog/2.png")))
    for found in (
        arrange(tmp_path / "given"),
        arrange_zip(tmp_path / "given", tmp_path / "given.zip"),
    ):
        assert found.class_names == ("cat", "dog") and labels(found) == {
            f"{around}/{name}": label for name, label in zip(names, (0, 1, 0), strict=True)
        }
        split = dict(zip(found.keys, found.in_test.tolist(), strict=True))
        assert [split[f"{around}/{name}"] for name in names] == [False, False, True]
    plain = arrange(tmp_path / "plain")
    assert labels(plain) == {f"{around}/cat/1.png": 0, f"{around}/dog/2.png": 1}
    # Something beside it: it is no wrapping.
    (tmp_path / "plain" / "empty").mkdir()
    with pytest.raises(UserError, match="class folder .*empty holds no pictures"):
        arrange(tmp_path / "plain")


def test_one_sub_folder_of_pictures_and_folders_is_no_label(tmp_path, pictures):
    found = arrange(put(tmp_path, pictures, "all/1.png", "all/more/2.png"))
    assert found.class_names == () and len(found.keys) == 2


@pytest.mark.parametrize("start", ["", "faces/"])
@pytest.mark.parametrize("names", [("1.png", "2.png"), ("00/1.png", "01/2.png")])
def test_a_file_of_labels_inside_a_wrapper(tmp_path, pictures, start, names):
    put(tmp_path, pictures, *(f"faces/{name}" for name in names))
    given = {start + name: label for label, name in zip("yx", names, strict=True)}
    (tmp_path / "faces" / "labels.json").write_text(json.dumps(given))
    (tmp_path / "notes.txt").write_text("")
    for found in (arrange(tmp_path), arrange_zip(tmp_path, tmp_path.with_suffix(".zip"))):
        assert found.class_names == ("x", "y") and found.problems == ()
        assert labels(found) == {f"faces/{names[0]}": 1, f"faces/{names[1]}": 0}
        assert found.passed_over == 1
    before = sources.source_fingerprint(f"folder:{tmp_path}")
    (tmp_path / "faces" / "labels.json").write_text(json.dumps(given | {start + names[0]: "x"}))
    assert sources.source_fingerprint(f"folder:{tmp_path}") != before


@pytest.mark.parametrize("around", ["", "faces/"])
def test_given_splits_beside_a_file_of_labels(tmp_path, pictures, around):
    names = ["train/1.png", "train/2.png", "val/3.png"]
    put(tmp_path / around, pictures, *names)
    (tmp_path / around / "labels.json").write_text(json.dumps(dict(zip(names, "aba", strict=True))))
    found = arrange(tmp_path)
    assert dict(zip(found.keys, found.in_test.tolist(), strict=True)) == {
        f"{around}{name}": name == "val/3.png" for name in names
    }
    assert labels(found) == {f"{around}{n}": i for n, i in zip(names, (0, 1, 0), strict=True)}


def test_links_that_fan_out_and_join_do_not_multiply_files(tmp_path, pictures):
    put(tmp_path, pictures, "z/1.png")
    inner = tmp_path / "z"
    for depth in range(12):
        outer = tmp_path / f"d{depth:02d}"
        outer.mkdir()
        for side in "lr":
            (outer / side).symlink_to(inner)
        inner = outer
    tree = trees.FolderTree(str(tmp_path))
    listing = tree.list()
    # What lies in the tree itself is kept under its own name, whatever links come before it.
    assert listing.keys == ("z/1.png",) and len(listing.problems) == 24
    assert dict(listing.problems)["d00/l/"] == f"folder seen before, as {tmp_path}/z"
    elsewhere = tmp_path / "other"
    (elsewhere / "a").mkdir(parents=True)
    for name in ("k", "b"):
        (elsewhere / name).symlink_to(tmp_path / "z")
    listing = trees.FolderTree(str(elsewhere)).list()
    assert listing.keys == ("b/1.png",) and [key for key, _ in listing.problems] == ["k/"]


def test_an_unreadable_sub_folder_is_told(tmp_path, pictures, monkeypatch):
    put(tmp_path, pictures, "a/1.png", "b/1.png", "c/1.png")
    scandir, number = os.scandir, errno.EACCES

    def guarded(path):
        if str(path).rstrip("/").endswith("/b"):
            raise OSError(number, os.strerror(number), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = arrange(tmp_path)
    assert found.class_names == ("a", "c")
    assert found.problems == (("b/", "folder cannot be read (Permission denied)"),)
    number = errno.EIO  # says nothing of the folder: what is behind it must not get lost
    with pytest.raises(UserError, match="cannot be read .*Input/output error"):
        arrange(tmp_path)


def test_fingerprint_follows_folders_and_problems(tmp_path, pictures):
    put(tmp_path, pictures, "a/1.png", "b/1.png")
    spec = f"folder:{tmp_path}"
    prints = [sources.source_fingerprint(spec)]
    (tmp_path / "c").mkdir()
    prints.append(sources.source_fingerprint(spec))
    (tmp_path / "b" / "dead.png").symlink_to(tmp_path / "nowhere")
    prints.append(sources.source_fingerprint(spec))
    assert len(set(prints)) == 3
