import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, PngImagePlugin

from ganpipe.data import codecs, records
from ganpipe.errors import UserError


def image(channels=3, side=16):
    return np.random.default_rng(0).integers(0, 256, (side, side, channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_lossless_encodings_come_back(encoding, channels):
    array = image(channels)
    back = codecs.decode(codecs.encode(array, encoding), encoding, array.shape)
    np.testing.assert_array_equal(back, array)


def test_tensorflow_reads_what_we_write():
    array = image(3)
    np.testing.assert_array_equal(tf.io.decode_png(codecs.encode(array, "png")), array)
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    for quality, worst in ((95, 8), (40, 60)):
        payload = codecs.encode(smooth, f"jpeg:{quality}")
        error = np.abs(tf.io.decode_jpeg(payload).numpy().astype(int) - smooth)
        assert 0 < error.max() <= worst
    small, large = (len(codecs.encode(image(3, 64), f"jpeg:{q}")) for q in (40, 95))
    assert small < 0.7 * large


def test_choice_by_size():
    assert codecs.choose("auto", 128, 128) == "raw" and codecs.choose("auto", 256, 128) == "png"
    assert codecs.choose("jpeg:90", 64, 64) == "raw"
    assert codecs.choose("jpeg:90", 256, 256) == "jpeg:90"
    assert codecs.choose("png", 4, 4) == "png" and codecs.choose("raw", 1024, 1024) == "raw"


def test_names():
    assert codecs.check("jpeg") == "jpeg:95" and codecs.check("jpeg:7") == "jpeg:7"
    for wrong in ("jpeg:101", "jpg", "webp", ""):
        with pytest.raises(UserError, match="expected auto, raw, png, jpeg"):
            codecs.check(wrong)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_records_with_maps_and_pairs(tmp_path, encoding):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 6, 8, 3), np.uint8)
    maps = rng.integers(0, 20, (3, 6, 8), np.uint8)
    pairs = rng.integers(0, 256, (3, 6, 8, 1), np.uint8)
    writer = records.ShardWriter(tmp_path / "s.tfrecord", (6, 8, 3), encoding)
    writer.write(images, [5, 0, 300], ["a", "b/ü", "c"], maps, pairs)
    entry = writer.close()
    rows = list(tf.data.TFRecordDataset(str(tmp_path / "s.tfrecord")).as_numpy_iterator())
    assert len(rows) == entry["count"] == 3
    assert entry["bytes"] == (tmp_path / "s.tfrecord").stat().st_size
    for i, row in enumerate(rows):
        feature = tf.train.Example.FromString(row).features.feature
        assert set(feature) == {"image", "shape", "label", "key", "map", "pair"}
        for name, expected in (("image", images), ("map", maps), ("pair", pairs)):
            payload = feature[name].bytes_list.value[0]
            found = codecs.decode(payload, encoding, expected.shape[1:])
            np.testing.assert_array_equal(found, expected[i])
        assert feature["label"].int64_list.value[0] == [5, 0, 300][i]
        assert list(feature["shape"].int64_list.value) == [6, 8, 3]


def plain(array, **options):
    out = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array).save(out, "PNG", **options)
    return out.getvalue()


def test_plain_pngs_are_kept_byte_for_byte(tmp_path):
    smooth = np.zeros((16, 16, 3), np.uint8)
    files = [plain(smooth, compress_level=9), plain(smooth, compress_level=1)]
    frames = records.ExampleEncoder((16, 16, 3), "png").frames(
        np.stack([smooth, smooth]), [0, 0], ["a", "b"], sources=files
    )
    assert all(file in frames for file in files) and files[0] != files[1]


def interlaced(data):
    """A PNG whose header says Adam7, which Pillow cannot write (the pixels do not follow)."""
    head = data[12:28] + b"\1"
    return data[:12] + head + struct.pack(">I", zlib.crc32(head)) + data[33:]


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_a_plain_png(channels):
    array = np.zeros((16, 16, channels), np.uint8)
    good = plain(array)
    assert codecs.is_plain_png(good, array.shape)
    words = PngImagePlugin.PngInfo()
    words.add_text("Author", "me")
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = io.BytesIO()
    Image.fromarray(array[..., 0].astype(np.uint16)).save(deep, "PNG")
    assert Image.open(io.BytesIO(interlaced(good))).info["interlace"] == 1
    bad = {
        "other size": plain(np.zeros((16, 8, channels), np.uint8)),
        "other channels": plain(np.zeros((16, 16, 4 - channels), np.uint8)),
        "turned": plain(array, exif=exif),
        "words": plain(array, pnginfo=words),
        "transparent": plain(array, transparency=0 if channels == 1 else (0, 0, 0)),
        "16 bits": deep.getvalue(),
        "interlaced": interlaced(good),
        "empty": b"",
        "padded": good + b"\0" * 1000,
    }
    for what, data in bad.items():
        assert not codecs.is_plain_png(data, array.shape), what
