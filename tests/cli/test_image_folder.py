"""A folder of pictures as an array, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from ganpipe.cli.image_folder import Folder
from ganpipe.errors import UserError


def save(path, mode="RGB", size=(8, 8), value=0):
    path.parent.mkdir(exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(mode)).save(path)


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(("sub/0.png", "1.png", "2.png")):
        save(tmp_path / name, value=40 * i)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_pictures_come_in_the_order_of_their_paths(folder):
    images = Folder(folder, 3).read()
    assert images.shape == (3, 8, 8, 3) and images.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == [40, 80, 0]  # 1.png, 2.png, sub/0.png
    assert Folder(folder, 3).size == (8, 8)


def test_a_part_is_a_choice_out_of_all_sub_folders(tmp_path):
    for kind in ("a", "b"):
        for i in range(50):
            save(tmp_path / kind / f"{i}.png", "L", value=0 if kind == "a" else 255)
    images = Folder(tmp_path, 1, num=40).read()
    assert images.shape == (40, 8, 8, 1) and 8 <= np.sum(images[:, 0, 0, 0] == 255) <= 32


def test_refusals(folder):
    with pytest.raises(UserError, match="does not exist"):
        Folder(folder / "none", 3)
    with pytest.raises(UserError, match=r"holds 3 pictures .* expected --num=4"):
        Folder(folder, 3, num=4)
    with pytest.raises(UserError, match=r"1.png is of the kind RGB, .* expected 8-bit grey"):
        Folder(folder, 1)
    (folder / "sub" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1.png cannot be read"):
        Folder(folder, 3).read()
    save(folder / "sub" / "1.png", size=(4, 8))
    with pytest.raises(UserError, match=r"sub/1.png is 8x4 .height x width., expected 8x8"):
        Folder(folder, 3).read()


@pytest.mark.parametrize(("mode", "what"), [("RGBA", "of the kind RGBA"), ("L", "grey")])
def test_alpha_and_grey_are_no_colour(tmp_path, mode, what):
    save(tmp_path / "a.png", mode)
    with pytest.raises(UserError, match=f"a.png is {what}, .* colour without alpha"):
        Folder(tmp_path, 3)


def test_sixteen_bits_are_not_clipped(tmp_path):
    save(tmp_path / "a.png", "I;16", value=40_000)
    with pytest.raises(UserError, match="of the kind I;16"):
        Folder(tmp_path, 1)
