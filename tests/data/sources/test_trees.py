"""Zip files and single pictures."""

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from ganpipe.data import decode, sources
from ganpipe.data.sources import trees
from ganpipe.errors import UserError
from pipeline.components import example_gen


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
