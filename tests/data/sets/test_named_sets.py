"""What the named sets compute, on small inputs of our own: cuts, maps, drawings, choices."""

import io
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from ganpipe.data import sets
from ganpipe.data.sets import (
    code_points,
    earth,
    earth_labelmap,
    fluent_labelmap,
    glyphs,
    mnist,
    named,
    photos,
    svg,
)
from ganpipe.errors import UserError


def test_every_set_opens_without_fetching():
    prints = set()
    for name, entry in sets.NAMES.items():
        source = sets.open_set(name)
        assert source.spec == source.name == name
        assert source.licence and source.credit and entry.text and entry.megabytes > 0
        prints.add(source.fingerprint())
        assert pickle.loads(pickle.dumps(source)) == source
        assert source.files_to_survey() == [] and list(source.survey([])) == []
    assert len(prints) == len(sets.NAMES)
    assert sets.open_set("emoji", "noto").fingerprint() not in prints
    pair = sets.open_set("emoji", "openmoji,noto")
    assert (pair.spec, pair.name) == ("emoji:openmoji,noto", "emoji_openmoji_noto")
    assert pair.licence == "CC BY-SA 4.0, Apache-2.0"


@pytest.mark.parametrize(
    "name, option, words",
    [
        ("mnist", "letters", "it takes no option"),
        ("photo_crops", "64", r"photo_crops:256 \(sharp"),
        ("photos", "tests", r"photos:test \(15"),
        ("emoji", "apple", "noto, twemoji, openmoji, fluent3d"),
        ("emoji", "noto,noto", "two different styles"),
        ("emoji", "noto,twemoji,openmoji", "emoji:A,B"),
        ("glyph", "", "there are fashion_mnist, mnist, glyphs"),
    ],
)
def test_unknown_options(name, option, words):
    with pytest.raises(UserError, match=words):
        sets.open_set(name, option)


def test_no_tensorflow():
    code = (
        "import sys; from ganpipe.data import sets\n"
        "for name in sets.NAMES: sets.open_set(name).fingerprint()\n"
        "assert not {'tensorflow', 'keras', 'tensorflow_datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_code_points():
    assert code_points.normal("23-fe0f-20e3") == code_points.normal("0023-20e3") == "0023-20e3"
    england = "1f3f4-e0067_e0062_e0065_e006e_e0067"
    assert code_points.normal(england) == england.replace("_", "-")
    family = code_points.family
    assert family("1f926-1f3fc-200d-2640-fe0f") == family("1f926") == "1f926"
    assert family("1f468-1f3ff-200d-1f692") == "1f468-200d-1f692" != family("1f468")
    assert family("2640") == "2640"  # the sign itself is a picture too


def test_held_out_groups():
    groups = [f"{i % 1000:x}" for i in range(3000)]
    test = named.held_out(groups, 0.1)
    assert (test[:1000] == test[1000:2000]).all()  # a group is on one side
    assert 70 <= test[:1000].sum() <= 130  # 100, standard deviation 9.5
    assert not named.held_out(groups, 0).any()
    larger = named.held_out(groups[:1000], 0.2)
    assert (larger | ~test[:1000]).all()  # a larger share only adds


def test_held_out_photos():
    names, counts = [f"p{i}" for i in range(20)], [1] * 19 + [300]
    for fraction in (0.05, 0.5):
        chosen = photos.held_out_photos(names, counts, fraction)
        assert 0 < len(chosen) < 20
    assert photos.held_out_photos(names, counts, 0) == set()
    assert photos.held_out_photos(["a", "b"], [1, 1], 1.0) != {"a", "b"}
    assert len(photos.held_out_photos(names, [5] * 20, 0.2)) == 4


def test_earth_tiles_against_a_loop():
    rng = np.random.default_rng(0)
    land = np.repeat(np.repeat(rng.random((6, 12)) < 0.3, 64, 0), 64, 1)
    expected = []
    for top in range(0, 384 - 127, 64):
        for left in range(0, 768 - 127, 64):
            share = land[top : top + 128, left : left + 128].mean()
            if share >= 0.5 and abs(90 - (top + 64) / 384 * 180) < 50:
                expected.append([top, left])
    assert expected and earth.tiles(land, 0.5, 50).tolist() == expected


@pytest.mark.parametrize("fraction", [0.05, 0.2])
def test_earth_cut_shares_no_pixel(fraction):
    rows = earth.tiles(np.ones((512, 4096), bool), 0.5, 90)
    train, test = earth.cut(rows, 4096, fraction)
    assert fraction <= len(test) / len(rows) < fraction + 0.02
    seen = np.zeros(4096, bool)
    for left in train[:, 1]:
        seen[left : left + 128] = True
    assert not any(seen[left : left + 128].any() for left in test[:, 1])
    # Only tiles astride the two cuts are lost: one column of 64 each, twice.
    assert len(rows) - len(train) - len(test) <= 4 * 7
    assert len(earth.cut(rows, 4096, 0)[1]) == 0


def test_earth_classes():
    mask = np.array([[1, 1, 0], [1, 2, 1], [1, 1, 1], [1, 1, 1]])  # centres at 67.5, 22.5, ...
    height = np.array([[0, 255, 9], [4, 9, 39], [3, 14, 40], [13, 0, 0]])
    ids = earth_labelmap.classify(mask, height)
    names = np.array(earth_labelmap.CLASSES)[ids].tolist()
    assert names[0] == ["polar lowland", "polar mountains", "sea"]
    assert names[1] == ["subtropics hills", "lake", "subtropics highland"]
    assert names[2] == ["subtropics lowland", "subtropics highland", "subtropics mountains"]
    assert len(earth_labelmap.CLASSES) == 22 and ids.dtype == np.uint8


def test_fluent_palette_and_map():
    bodies = ['<path fill="#f00"/>' * 3, '<path fill="#fe0000"/>' * 2, '<stop stop-color="#00F"/>']
    colours = fluent_labelmap.palette(bodies)
    assert colours.tolist() == [[255, 0, 0], [0, 0, 255]]  # one almost red is left out
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0] = [[255, 0, 0, 255], [200, 0, 40, 128], [200, 0, 0, 127]]
    rgba[1] = [[0, 0, 255, 255], [90, 0, 100, 255], [0, 0, 0, 0]]
    ids = fluent_labelmap.label_map(rgba, colours)
    assert ids.tolist() == [[1, 1, 0], [2, 2, 0]] and ids.dtype == np.uint8


def test_fluent_overlap():
    drawing = np.zeros((64, 64, 4), np.uint8)
    drawing[:, :32, 3] = 255
    half = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    half.paste((10, 20, 30, 255), (0, 0, 256, 128))
    # Upper half against left half: a quarter in common, three quarters in all.
    assert fluent_labelmap.overlap(drawing, half) == pytest.approx(1 / 3, abs=0.02)
    half = half.transpose(Image.Transpose.ROTATE_90)
    assert fluent_labelmap.overlap(drawing, half) == pytest.approx(1, abs=0.04)


def test_sharpness():
    slope = np.tile(np.arange(64, dtype=np.uint8), (16, 1))
    assert photos.sharpness(slope, 16).tolist() == [0, 0, 0, 0]
    board = np.indices((16, 32)).sum(0).astype(np.uint8) % 2 * 10
    assert photos.sharpness(board, 16).tolist() == [40, 40]  # four neighbours differ by 10
    assert photos.sharpness(board[:, :31], 16).tolist() == [40]


def test_sharp_crops_leave_out_blur_and_grain():
    rng = np.random.default_rng(0)
    picture = np.full((128, 400, 3), 128, np.float64)
    picture[:, 128:256] += rng.normal(0, 4, (128, 128, 1))  # grain
    picture[:, 256:384] += 60 * np.sign(np.sin(np.arange(128) / 5))[None, :, None]  # stripes
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    grain = photos.sharpness(pixels[:, 128:256, 0], 128)
    assert grain[0] > 2 * photos.LEAST_SHARPNESS  # the native criterion alone would keep it
    places, crops = photos.sharp_crops(Image.fromarray(pixels), 128)
    assert places.tolist() == [[0, 256]] and (crops[0] == pixels[:, 256:384]).all()
    assert photos.sharp_crops(Image.new("RGB", (100, 90)), 128)[1].shape == (0, 128, 128, 3)


def test_only_arrays_are_unpickled():
    # As NumPy 1 wrote it under Python 2: bytes as "strings", old module names.
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x18"
    )
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = mnist.load_arrays(io.BytesIO(data + array.tobytes() + b"tb."))
    assert found.dtype == np.float32 and (found == array).all()
    for evil in (subprocess.run, np.load, eval):
        with pytest.raises(pickle.UnpicklingError, match="not allowed"):
            mnist.load_arrays(io.BytesIO(pickle.dumps(evil)))


def test_idx():
    array = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    head = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3])
    assert mnist.idx(array) == head + bytes(range(6))


@pytest.fixture(scope="module")
def dejavu():
    import matplotlib

    path = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    return path


@pytest.mark.parametrize("height, width", [(28, 28), (64, 64), (48, 64)])
def test_glyphs_are_centred_and_fit(dejavu, height, width):
    side = min(height, width)
    for character in "HWgjo.i":
        picture = glyphs.draw(dejavu, character, height, width)
        assert picture.shape == (height, width) and picture.dtype == np.uint8
        ys, xs = np.nonzero(picture > 0)
        assert abs(ys.min() + ys.max() + 1 - height) <= 2
        assert abs(xs.min() + xs.max() + 1 - width) <= 2
        assert picture[0].max() == picture[:, 0].max() == 0  # nothing is cut off
    tall = np.nonzero(glyphs.draw(dejavu, "H", height, width) > 127)[0]
    assert np.ptp(tall) + 1 == pytest.approx(glyphs.CAP_HEIGHT * side, abs=1.5)
    # Sizes are those of one face: o is about 3/4 of O (x-height to cap height of DejaVu Sans).
    small, large = (np.nonzero(glyphs.draw(dejavu, c, 64, 64) > 127)[0] for c in "oO")
    assert np.ptp(small) / np.ptp(large) == pytest.approx(0.75, abs=0.06)


def test_glyphs_are_kept_once(dejavu, tmp_path):
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    faces, kept = glyphs.choose({"a": dejavu, "b": dejavu, "c": str(tmp_path / "broken.ttf")})
    assert faces == ["a", "b"] and len(kept) <= 62 and set(kept[:, 0]) == {0}
    assert not glyphs.is_complete(dejavu.replace("DejaVuSans.ttf", "STIXSizOneSymReg.ttf"))


def test_svg_is_whole_at_any_shape():
    body = '<rect width="20" height="10" fill="#00f"/>'
    collection = {"icons": {"flag": {"body": body, "width": 20}}, "width": 10, "height": 10}
    picture = np.asarray(Image.open(io.BytesIO(svg.draw(collection, "flag", 40, 40))))
    assert picture.shape == (40, 40, 4)
    rows = picture[..., 3].any(axis=1)
    assert rows.sum() == 20 and rows[10:30].all()  # twice as wide as high, centred
    assert (picture[20, :] == [0, 0, 255, 255]).all()
    wide = np.asarray(Image.open(io.BytesIO(svg.draw(collection, "flag", 20, 60))))
    assert wide.shape == (20, 60, 4) and wide[..., 3].any(axis=0).sum() == 40


def test_work_is_done_once_and_appears_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("GANPIPE_CACHE", str(tmp_path))
    source = types.SimpleNamespace(calls=0)
    crops = photos.PhotoCrops(cache=str(tmp_path))

    def make(folder):
        source.calls += 1
        (folder / "x").write_text("x")
        if source.calls == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crops.once(make, lambda line: None, "working")
    assert not crops.workshop.exists()
    assert not [p for p in (tmp_path / "prepared").iterdir() if p.is_dir()]
    for _ in range(2):
        assert (crops.once(make, lambda line: None, "working") / "x").read_text() == "x"
    assert source.calls == 2
