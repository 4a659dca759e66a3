"""Where a data folder may lie, and what becomes of the one that was there."""

import numpy as np
import pytest
from PIL import Image

from ganpipe import data
from ganpipe.errors import UserError
from pipeline.components import example_gen


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def run(source, out, resolution=8, **kwargs):
    kwargs = {"say": lambda line: None, "progress": False} | kwargs
    return example_gen.run(f"folder:{source}", out, resolution, **kwargs)


def test_a_link_goes_on_pointing_where_it_did(source, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    run(source, tmp_path / "link")
    run(source, tmp_path / "link", 16, overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert data.verify(tmp_path / "real").max_resolution == 16
    assert {p.name for p in tmp_path.iterdir()} == {"in", "real", "link"}


def test_a_mount_point_is_refused_beforehand(source, tmp_path, monkeypatch):
    out = tmp_path / "volume"
    out.mkdir()
    monkeypatch.setattr(example_gen.os.path, "ismount", lambda path: str(path) == str(out))
    with pytest.raises(UserError, match="is a mount point.*a folder below it"):
        run(source, out)
    assert not list(out.iterdir())


def test_a_kill_between_the_renames_of_a_replacement_is_mended(source, tmp_path):
    first = run(source, tmp_path / "out")
    said = []
    (tmp_path / "out").rename(tmp_path / ".out.replaced")  # and then the power went
    assert run(source, tmp_path / "out", say=said.append) == first
    assert "put back in place" in said[0] and "nothing to do" in said[-1]
    # Killed after the second rename: the new one stays, the old one goes.
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced" / "dataset.json").write_text("{}")
    assert run(source, tmp_path / "out") == first
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}


def test_what_bounds_the_skipped_does_not_change_the_data(source, tmp_path):
    first = run(source, tmp_path / "out", max_skipped=0.5)
    said = []
    assert run(source, tmp_path / "out", max_skipped=0.1, say=said.append) == first
    assert "nothing to do" in said[0]


def test_grey_on_a_colour_is_colour(tmp_path):
    folder = tmp_path / "grey"
    folder.mkdir()
    for i in range(4):
        Image.new("LA", (8, 8), (50 * i, 128)).save(folder / f"{i}.png")
    assert run(folder, tmp_path / "a").channels == 1
    assert run(folder, tmp_path / "b", background="#ff0000").channels == 3
