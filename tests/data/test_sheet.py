"""Sample sheets of every kind of folder."""

import numpy as np
import pytest
from PIL import Image

from ganpipe import data
from ganpipe.errors import UserError
from tests.data import folders


def read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def test_a_row_for_each_class(tmp_path):
    truth = folders.make(tmp_path / "d", levels=((4, 4), (16, 16)))["train"]
    sheet = data.sample_sheet(tmp_path / "d", tmp_path / "deep" / "sheet.png", columns=8)
    assert [p.name for p in sheet.parent.iterdir()] == ["sheet.png"]
    pixels = read(sheet)
    assert pixels.shape[0] == 26 + 3 * 50 + 2  # 16 pixels, three times enlarged, and a gap
    left = pixels.shape[1] - 8 * 50
    for row in range(3):
        for column in range(8):
            y, x = 26 + row * 50, left + column * 50
            shown = pixels[y : y + 48 : 3, x : x + 48 : 3]
            match = np.abs(truth[16]["image"] - shown).max((1, 2, 3)) == 0
            assert truth["label"][match].tolist() == [row]


def test_wide_images_with_maps_and_pairs(tmp_path):
    truth = folders.make(
        tmp_path / "d", (("train", 30),), ((40, 60),), maps=True, pair_channels=1, channels=1
    )["train"]
    sheet = read(data.sample_sheet(tmp_path / "d", tmp_path / "s.png", columns=2, rows=1))
    shown = sheet[26:66, -2 * 182 : -184]  # the first cell: image, map, pair
    at = np.abs(truth[40]["image"] - shown[:, :60, :1]).max((1, 2, 3)).argmin()
    np.testing.assert_array_equal(shown[:, :60], np.repeat(truth[40]["image"][at], 3, -1))
    np.testing.assert_array_equal(shown[:, 120:180], np.repeat(truth[40]["pair"][at], 3, -1))
    colours = {}
    for number, colour in zip(
        truth[40]["map"][at].ravel(), shown[:, 60:120].reshape(-1, 3), strict=True
    ):
        assert colours.setdefault(int(number), tuple(colour)) == tuple(colour)
    assert len(set(colours.values())) == 4


def test_two_domains_share_the_rows(tmp_path):
    splits = (("trainA", 12), ("trainB", 9))
    truth = folders.make(tmp_path / "d", splits, ((256, 256),), domains=("horse", "zebra"))
    assert truth["trainA"][256]["image"].shape[1] == 256  # no level of 128: the lowest is shown
    both = read(data.sample_sheet(tmp_path / "d", tmp_path / "a.png", columns=2, rows=6))
    assert both.shape[0] == 26 + 6 * 258 + 2
    one = read(data.sample_sheet(tmp_path / "d", tmp_path / "b.png", split="trainB", columns=2))
    assert one.shape[0] == 26 + 3 * 258 + 2
    with pytest.raises(UserError, match="no split 'testA'"):
        data.sample_sheet(tmp_path / "d", tmp_path / "c.png", split="test")
