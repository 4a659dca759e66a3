"""A new version appears under its number whole, or not at all; numbers only go up."""

import os

import pytest

from ganpipe.errors import UserError
from pipeline.components import pusher


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "export" / "1"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_text("graph")
    (folder / "variables" / "variables.index").write_text("weights")
    return folder


def names(base):
    return sorted(p.name for p in base.iterdir())


def test_first_version_is_one_and_whole(export, tmp_path):
    base = tmp_path / "serving" / "m"
    assert pusher.push(export, base, {"model": "a"}) == 1
    assert names(base) == ["1"]
    assert (base / "1" / "variables" / "variables.index").read_text() == "weights"
    assert pusher.lineage(base, 1) == {"model": "a"}
    assert not (export / "assets.extra").exists()  # the artifact itself stays as it was


def test_versions_are_integers_and_the_next_is_above_the_highest(export, tmp_path):
    base = tmp_path / "m"
    for name in ("2", "00010", "tmp-99", "3.partial"):
        (base / name).mkdir(parents=True)
    (base / "77").write_text("a file is no version")
    assert pusher.versions(base) == [2, 10]
    assert pusher.push(export, base, {}) == 11


def test_number_appears_by_one_rename_of_a_finished_copy(export, tmp_path, monkeypatch):
    base = tmp_path / "m"
    seen = []
    rename = os.rename

    def watched(source, target):
        seen.append((names(base), sorted(p.name for p in source.rglob("*") if p.is_file())))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    pusher.push(export, base, {})
    ((before, files),) = seen
    assert len(before) == 1 and not before[0].isdigit()
    assert files == ["ganpipe_lineage.json", "saved_model.pb", "variables.index"]


def test_failed_copy_leaves_the_serving_folder_as_it_was(export, tmp_path, monkeypatch):
    base = tmp_path / "m"
    pusher.push(export, base, {"model": "a"})

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pusher, "_flush", full)
    with pytest.raises(UserError, match="No space left"):
        pusher.push(export, base, {"model": "b"})
    assert names(base) == ["1"] and pusher.lineage(base, 1) == {"model": "a"}


def test_what_a_killed_pusher_left_is_cleared(export, tmp_path):
    base = tmp_path / "m"
    (base / ".partial-dead").mkdir(parents=True)
    pusher.push(export, base, {})
    assert names(base) == ["1"]


def test_keep_versions_drops_the_oldest(export, tmp_path):
    base = tmp_path / "m"
    for _ in range(4):
        pusher.push(export, base, {}, keep_versions=2)
    assert names(base) == ["3", "4"]


def test_not_a_saved_model(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no saved_model\.pb"):
        pusher.push(tmp_path / "empty", tmp_path / "m", {})
    assert not (tmp_path / "m").exists()


def test_newest_of_others_and_still_served(export, tmp_path):
    base = tmp_path / "m"
    assert pusher.newest_of_others(base, "a") == 0
    first = pusher.run(tmp_path, export=export, base=base, record={"model": "a"})
    assert pusher.newest_of_others(base, "a") == 0 and pusher.still_served(first, base)
    second = pusher.run(tmp_path, export=export, base=base, record={"model": "b"})
    assert pusher.newest_of_others(base, "a") == 2 and pusher.newest_of_others(base, "b") == 1
    assert not pusher.still_served(first, base) and pusher.still_served(second, base)
