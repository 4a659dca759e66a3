"""A folder of pictures as an array, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from ganpipe.cli import image_folder
from ganpipe.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        pixels = np.full((8, 8, 3), 40 * i, np.uint8)
        place = tmp_path if i else tmp_path / "sub"
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_pictures_come_in_the_order_of_their_paths(folder):
    images = image_folder.read(folder, 3)
    assert images.shape == (3, 8, 8, 3) and images.dtype == np.uint8
    assert images[:, 0, 0, 0].tolist() == [40, 80, 0]  # 1.png, 2.png, sub/0.png
    assert image_folder.read(folder, 1, num=2).shape == (2, 8, 8, 1)


def test_refusals(folder):
    with pytest.raises(UserError, match="does not exist"):
        image_folder.read(folder / "none", 3)
    with pytest.raises(UserError, match=r"holds 3 pictures .* expected --num=4"):
        image_folder.read(folder, 3, num=4)
    (folder / "sub" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1.png cannot be read"):
        image_folder.read(folder, 3)
    Image.fromarray(np.zeros((8, 4, 3), np.uint8)).save(folder / "sub" / "1.png")
    with pytest.raises(UserError, match=r"sub/1.png is 4x8, expected 8x8"):
        image_folder.read(folder, 3)
