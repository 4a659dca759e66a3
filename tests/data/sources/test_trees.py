"""Zip files and single pictures."""

import errno
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from ganpipe.data import decode, sources, transforms
from ganpipe.data.sources import trees
from ganpipe.data.sources.pictures import Survey, survey_files
from ganpipe.errors import UserError
from pipeline.components import dry_run, example_gen


def run(source, out, resolution=8, **kwargs):
    kwargs = {"say": lambda line: None, "progress": False} | kwargs
    return example_gen.run(source, out, resolution, **kwargs)


def packed(folder, path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def test_a_zip_is_read_as_its_folder(class_folder, tmp_path):
    path = packed(class_folder, tmp_path / "zoo.zip", __MACOSX__x="", readme="hello")
    zipped = run(f"zip:{path}", tmp_path / "zipped")
    unzipped = run(f"folder:{class_folder}", tmp_path / "unzipped")
    assert zipped.shards == unzipped.shards and zipped.class_names == unzipped.class_names
    assert {p.name for p in tmp_path.iterdir()} == {"zoo.zip", "zipped", "unzipped"}


def test_labels_inside_a_zip(class_folder, tmp_path):
    keys = [str(p.relative_to(class_folder)) for p in sorted(class_folder.rglob("*.png"))]
    labels = json.dumps({"labels": [[key, i % 2] for i, key in enumerate(keys)]})
    path = packed(class_folder, tmp_path / "zoo.zip", **{"dataset.json": labels})
    info = run(f"zip:{path}", tmp_path / "out")
    assert info.class_names == ("0", "1")
    per_class = np.sum([info.splits[s]["per_class"] for s in info.splits], axis=0)
    assert per_class.tolist() == [32, 31]


def test_zip_files_that_are_wrong(class_folder, tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        run(f"zip:{tmp_path}/none.zip", tmp_path / "out")
    with pytest.raises(UserError, match="this is no file"):
        run(f"zip:{tmp_path}", tmp_path / "out")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(UserError, match="not a readable zip file"):
        run(f"zip:{tmp_path}/text.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(UserError, match="no pictures in it .*1 other files"):
        run(f"zip:{tmp_path}/empty.zip", tmp_path / "out")


def test_a_damaged_member_is_left_out(class_folder, tmp_path):
    path = packed(class_folder, tmp_path / "zoo.zip")
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("bee/03.png")
    data = bytearray(path.read_bytes())
    place = member.header_offset + 30 + len(member.filename) + 20
    data[place] ^= 0xFF
    path.write_bytes(bytes(data))
    info = run(f"zip:{path}", tmp_path / "out")
    row = json.loads((info.dir / "quarantine.jsonl").read_text())
    assert row["key"] == "bee/03.png" and "cannot be unpacked" in row["reason"]


def test_files_beyond_any_picture_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "MAX_FILE_BYTES", 1000)
    (tmp_path / "huge.png").write_bytes(b"x" * 1001)
    with pytest.raises(decode.RejectedError, match="at most"):
        trees.FolderTree(str(tmp_path)).read("huge.png")
    with zipfile.ZipFile(tmp_path / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", b"0" * 5000)
    with pytest.raises(decode.RejectedError, match="at most"):
        trees.ZipTree(str(tmp_path / "z.zip")).read("bomb.png")


def test_a_single_picture_keeps_its_size(tmp_path, pictures):
    pictures.make(0, (50, 33)).save(tmp_path / "one.png")
    info = run(f"single:{tmp_path}/one.png", tmp_path / "out", None)
    assert info.resolutions == (33,) and info.shape(33) == (33, 50, 3)
    assert {s: info.count(s) for s in info.splits} == {"train": 1}
    smaller = run(f"single:{tmp_path}/one.png", tmp_path / "small", 16)
    assert smaller.resolutions == (4, 8, 16)


def test_single_pictures_that_are_wrong(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        run(f"single:{tmp_path}/none.png", tmp_path / "out", None)
    with pytest.raises(UserError, match="is a folder"):
        run(f"single:{tmp_path}", tmp_path / "out", None)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match="not a readable image"):
        run(f"single:{tmp_path}/text.png", tmp_path / "out", None)
    Image.new("L", (8, 8)).save(tmp_path / "grey.png")
    assert run(f"single:{tmp_path}/grey.png", tmp_path / "out", None).channels == 1
    assert sources.open_source(f"single:{tmp_path}/grey.png").name == "grey"


def failing(monkeypatch, number):
    """Lets every opening of a file fail in one way."""

    def fail(path, *args, **kwargs):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr("builtins.open", fail)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOMEM])
def test_a_failing_disk_is_not_the_pictures_fault(tmp_path, pictures, monkeypatch, number):
    pictures.make(0).save(tmp_path / "a.png")
    tree = trees.FolderTree(str(tmp_path))
    failing(monkeypatch, number)
    with pytest.raises(OSError, match="a.png") as found:
        list(survey_files(tree, ["a.png"]))
    assert found.value.errno == number
    with pytest.raises(OSError, match=os.strerror(number)):
        trees.LazyFile(tree, "a.png").read()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG])
def test_the_true_reason_is_told(tmp_path, monkeypatch, number):
    failing(monkeypatch, number)
    with pytest.raises(decode.RejectedError, match=os.strerror(number)):
        trees.FolderTree(str(tmp_path)).read("a.png")


def test_a_file_that_has_gone_and_a_folder_that_has_gone(tmp_path, pictures):
    folder = tmp_path / "mounted"
    folder.mkdir()
    pictures.make(0).save(folder / "a.png")
    packed(folder, tmp_path / "z.zip")
    source = sources.open_source(f"folder:{folder}")
    files = [trees.LazyFile(source.tree, "a.png"), trees.LazyFile(source.tree, "gone.png")]
    files = pickle.loads(pickle.dumps(files))
    assert files[0].read() == (folder / "a.png").read_bytes()
    with pytest.raises(decode.RejectedError, match="No such file"):
        files[1].read()
    zipped = trees.LazyFile(trees.ZipTree(str(tmp_path / "z.zip")), "a.png")
    assert zipped.read() == files[0].read()
    folder.rename(tmp_path / "elsewhere")
    folder.mkdir()  # where it would be mounted
    with pytest.raises(UserError, match="does not see this folder"):
        files[0].read()
    folder.rmdir()
    (tmp_path / "z.zip").unlink()
    for file, what in ((files[0], "folder"), (zipped, "file")):
        with pytest.raises(UserError, match=f"the worker on .* does not see this {what}"):
            file.read()
        with pytest.raises(UserError, match=f"does not see this {what}"):
            list(survey_files(file.tree, ["a.png"]))


def test_the_disk_under_a_zip_file(tmp_path, pictures, monkeypatch):
    pictures.make(0).save(tmp_path / "a.png")
    tree = trees.ZipTree(str(packed(tmp_path, tmp_path / "z.zip")))
    tree.list()

    def fail(self, count=-1):
        raise error

    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    error = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="z.zip"):
        tree.read("a.png")
    error = OSError("Invalid data stream")  # bz2 of damaged contents
    with pytest.raises(decode.RejectedError, match="cannot be unpacked .Invalid data stream"):
        tree.read("a.png")


def test_batches_do_not_hold_files(class_folder, tmp_path, pictures):
    pictures.make(0).save(tmp_path / "one.png")
    specs = (
        f"folder:{class_folder}",
        f"pairs:{class_folder}/ape,{class_folder}/ape",
        f"single:{tmp_path}/one.png",
    )
    for spec in specs:
        source = sources.open_source(spec)
        geometry = transforms.Geometry(8, 8, 3, 1)
        survey = Survey.of(list(source.survey(source.files_to_survey())))
        rows = source.plan(geometry, 0, 0.0, survey).splits["train"]
        batch = next(source.batches("train", rows, 16, geometry))
        files = [*batch.pictures, *(batch.pairs or ())]
        assert len(files) in (1, 16, 32)
        assert all(isinstance(file, trees.LazyFile) for file in files)
        assert files[0].read()[1:4] == b"PNG"


def test_a_dry_run_keeps_couples_together(tmp_path, pictures):
    # Sizes alternate, so that a picture and the map of another do not fit.
    for i in range(120):
        size = (40, 40) if i % 2 else (48, 40)
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture = pictures.make(i, size, "L" if folder == "b" else "RGB")
            picture.point(lambda v: v % 3).save(tmp_path / folder / f"{i:03d}.png")
    (tmp_path / "a" / "000.png").write_bytes(b"damaged")  # the first of the sample
    spec = f"{tmp_path}/a,{tmp_path}/b"
    said = dry_run.run(f"labelmap:{spec}", say=print, resolution=32, test_fraction=0.0)
    assert "would write: 120 train" in said
    assert "would read: 120 pictures; 96 of them were opened for this estimate" in said
    said = dry_run.run(f"unpaired:{spec}", say=print, resolution=32, test_fraction=0.0)
    assert "would write: 120 trainA, 120 trainB" in said


def test_before_the_run_a_failing_disk_is_one_line(tmp_path, pictures, monkeypatch):
    pictures.make(0).save(tmp_path / "a.png")
    (tmp_path / "labels.json").write_text('{"a.png": 0}')
    (tmp_path / "x-r02.tfrecords").write_text("")
    opened = [
        sources.open_source(spec)
        for spec in (
            f"folder:{tmp_path}",
            f"single:{tmp_path}/a.png",
            f"tfrecord:{tmp_path}/x-r02.tfrecords",
        )
    ]
    failing(monkeypatch, errno.EIO)
    for source in opened:
        with pytest.raises(UserError, match="Input/output error"):
            source.fetch(print)
    for source in opened[:2]:
        with pytest.raises(UserError, match="Input/output error"):
            source.fingerprint()
