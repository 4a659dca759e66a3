"""Files that want to do harm, or are merely odd."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from ganpipe.data import decode


def bomb(width, height):
    """A sound PNG header that announces far more pixels than the file holds."""

    def chunk(kind, payload):
        check = struct.pack(">I", zlib.crc32(kind + payload))
        return struct.pack(">I", len(payload)) + kind + payload + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 4096)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(30_000, 30_000), (8193, 8192)])
def test_bombs_are_refused_by_their_header(size):
    with pytest.raises(decode.RejectedError, match="too many pixels") as caught:
        decode.decode(bomb(*size))
    assert caught.value.kind == "too many pixels"
    with pytest.raises(decode.RejectedError, match="damaged"):
        decode.decode(bomb(64, 64))


def test_other_formats_are_no_pictures(pictures):
    with pytest.raises(decode.RejectedError, match="not a readable image"):
        decode.open_picture(pictures.encode(pictures.make(0), "TIFF"))


def test_first_frame_of_an_animation(pictures):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        out = io.BytesIO()
        options = {"lossless": True} if kind == "WEBP" else {}
        frames[0].save(out, kind, save_all=True, append_images=frames[1:], **options)
        assert np.asarray(decode.decode(out.getvalue()))[4, 4].tolist() == [255, 0, 0]


def test_damaged_exif_costs_nothing_but_itself(pictures):
    data = pictures.encode(Image.new("RGB", (16, 8), "red"), "JPEG", exif=b"Exif\0\0garbage!!!!")
    image = decode.decode(data)
    assert image.size == (16, 8) and np.asarray(image)[4, 4, 0] > 250
    assert decode.upright_size(decode.open_picture(data)) == (16, 8)


def test_background_of_transparent_pictures(pictures):
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    found = np.asarray(decode.decode(pictures.encode(half), background=(0, 0, 255)))
    assert np.abs(found[0, 0].astype(int) - (128, 0, 127)).max() <= 1
    grey = Image.new("LA", (4, 4), (0, 0))
    assert decode.decode(pictures.encode(grey), background=(9, 9, 9)).mode == "L"
    assert decode.decode(pictures.encode(grey), background=(255, 0, 0)).mode == "RGB"


@pytest.mark.parametrize("mode", ["P", "L", "I;16"])
def test_maps_keep_their_ids(mode):
    ids = np.arange(64, dtype=np.uint8).reshape(8, 8)
    if mode == "P":
        image = Image.fromarray(ids, "P")
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
    else:
        image = Image.fromarray(ids.astype(np.uint16) if mode == "I;16" else ids)
    out = io.BytesIO()
    image.save(out, "PNG")
    np.testing.assert_array_equal(decode.decode_map(out.getvalue()), ids)


@pytest.mark.parametrize(
    "image,kind,message",
    [
        (Image.new("RGB", (8, 8)), "PNG", "mode RGB; expected a palette or grey PNG"),
        (Image.new("L", (8, 8)), "JPEG", "JPEG, which does not keep ids"),
    ],
)
def test_what_is_no_map(pictures, image, kind, message):
    with pytest.raises(decode.RejectedError, match=message):
        decode.decode_map(pictures.encode(image, kind))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
def test_large_pictures_come_out_the_same(mode, pictures, monkeypatch):
    image = pictures.make(5, (40, 30), "RGBA")
    image.putalpha(Image.fromarray(np.arange(1200, dtype=np.uint8).reshape(30, 40)))
    data = pictures.encode(image.quantize(50) if mode == "P" else image.convert(mode))
    small = np.asarray(decode.decode(data, background=(9, 200, 30)))
    monkeypatch.setattr(decode, "_LARGE_PIXELS", 100)  # strips of two rows, in a thread of its own
    assert decode.is_large((40, 30))
    np.testing.assert_array_equal(decode.decode(data, background=(9, 200, 30)), small)


def test_maps_of_few_bits_keep_their_ids():
    for depth in (1, 2, 4):
        ids = np.arange(64, dtype=np.uint8).reshape(8, 8) % (1 << depth)
        rows = b"".join(b"\0" + pack(row, depth) for row in ids)
        data = png(8, 8, depth, 0, rows)
        np.testing.assert_array_equal(decode.decode_map(data), ids)


def pack(row, depth):
    bits = "".join(format(value, f"0{depth}b") for value in row)
    return bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))


def png(width, height, depth, kind, rows):
    def chunk(name, payload):
        check = struct.pack(">I", zlib.crc32(name + payload))
        return struct.pack(">I", len(payload)) + name + payload + check

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = zlib.compress(rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_orientation_of_xmp_counts_everywhere(pictures):
    words = PngImagePlugin.PngInfo()
    words.add_itxt(
        "XML:com.adobe.xmp",
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="r"><rdf:Description '
        'xmlns:tiff="t" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>',
    )
    data = pictures.encode(Image.new("RGB", (24, 16), "red"), pnginfo=words)
    opened = decode.open_picture(data)
    assert decode.upright_size(opened) == (16, 24) and decode.orientation(opened) == 6
    assert decode.decode(data).size == (16, 24)
