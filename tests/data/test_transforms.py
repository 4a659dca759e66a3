import io

import numpy as np
import pytest
from PIL import Image

from ganpipe.data import transforms as T  # noqa: N812
from ganpipe.errors import UserError


def block_mean(images, factor):
    """Exact rational block mean, rounded half to even in Python integers."""
    n, side, _, channels = images.shape
    small = side // factor
    sums = images.reshape(n, small, factor, small, factor, channels).astype(np.int64).sum((2, 4))
    area = factor * factor
    down, rest = np.divmod(sums, area)
    up = (2 * rest > area) | ((2 * rest == area) & (down % 2 == 1))
    return (down + up).astype(np.uint8)


@pytest.mark.parametrize("side,channels", [(64, 3), (8, 1), (4, 1)])
def test_pyramid_levels_are_exact_means_of_the_top(side, channels):
    images = np.random.default_rng(0).integers(0, 256, (5, side, side, channels), np.uint8)
    levels = T.pyramid(images)
    assert list(levels) == T.resolutions_up_to(side)
    for level, reduced in levels.items():
        assert reduced.dtype == np.uint8
        np.testing.assert_array_equal(reduced, block_mean(images, side // level))


def test_pyramid_is_exact_at_the_largest_size():
    images = np.random.default_rng(1).integers(0, 256, (1, 1024, 1024, 1), np.uint8)
    np.testing.assert_array_equal(T.pyramid(images)[4], block_mean(images, 256))


def test_pyramid_rounds_half_to_even():
    # One 2x2 block per output pixel; means 0.5, 1.5, 2.5, 254.5 -> 0, 2, 2, 254.
    image = np.zeros((1, 8, 8, 1), np.uint8)
    for column, (low, high) in enumerate([(0, 1), (1, 2), (2, 3), (254, 255)]):
        image[0, 0, 2 * column : 2 * column + 2, 0] = low
        image[0, 1, 2 * column : 2 * column + 2, 0] = high
    assert T.pyramid(image)[4][0, 0, :, 0].tolist() == [0, 2, 2, 254]


def test_pyramid_does_not_round_between_levels():
    # Four 2x2 blocks of means 0.5, 0.5, 0.75, 0.75: their mean is 0.625 -> 1; rounding them
    # first (0, 0, 1, 1) would give 0.5 -> 0.
    image = np.zeros((1, 16, 16, 1), np.uint8)
    for (row, column), total in {(0, 0): 2, (0, 2): 2, (2, 0): 3, (2, 2): 3}.items():
        image[0, row, column, 0] = total
    assert T.pyramid(image)[4][0, 0, 0, 0] == 1


@pytest.mark.parametrize("bad,near", [(48, "32 and 64"), (0, "4 to 1024"), (2048, "4 to 1024")])
def test_resolution_must_be_a_power_of_two(bad, near):
    with pytest.raises(UserError, match=near):
        T.check_resolution(bad)


def squares(items, **geometry):
    settings = {"resolution": 8, "channels": 3} | geometry
    return T.to_squares(items, T.Geometry(**settings))


def test_exif_orientation_is_applied(pictures):
    image = Image.new("RGB", (16, 8), "red")
    image.paste((0, 0, 255), (8, 0, 16, 8))  # red left, blue right
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees: red above, blue below
    data = pictures.encode(image, "JPEG", exif=exif, quality=95)
    decoded = np.asarray(T.decode(data))
    assert decoded.shape == (16, 8, 3)
    assert decoded[2, 4, 0] > 200 and decoded[13, 4, 2] > 200


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_put_on_white(mode, pictures):
    # A hidden colour under full transparency must not show.
    image = Image.new("RGBA", (8, 8), (40, 40, 40, 0))
    image.paste((10, 10, 10, 255), (0, 0, 4, 8))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    images, kept, skipped = squares([pictures.encode(image)])
    assert kept == [0] and not skipped
    assert (images[0, :, 5:] == 255).all() and (images[0, :, :3] <= 12).all()


def test_sixteen_bit_grey_is_scaled(pictures):
    data = pictures.encode(Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)))
    images, _, _ = squares([data], channels=1)
    assert (images == 100).all()
    assert T.is_grey(T.open_picture(data))


def test_cmyk_and_bilevel(pictures):
    cmyk = pictures.encode(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG")
    bilevel = pictures.encode(Image.new("1", (8, 8), 1))
    images, kept, _ = squares([cmyk, bilevel])
    assert kept == [0, 1] and (images >= 254).all()


def test_grey_modes(pictures):
    grey_palette = Image.new("L", (8, 8), 3).convert("P", palette=Image.Palette.ADAPTIVE)
    for image, grey in [
        (Image.new("L", (8, 8)), True),
        (Image.new("LA", (8, 8)), True),
        (Image.new("RGB", (8, 8)), False),
        (pictures.make(0).convert("P"), False),
        (grey_palette, True),
    ]:
        assert T.is_grey(T.open_picture(pictures.encode(image))) is grey, image.mode


def test_fits():
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 200  # the centre square
    crop, _, _ = squares([wide], fit="crop")
    assert (crop == 200).all()
    pad, _, _ = squares([np.full((16, 32, 3), 200, np.uint8)], fit="pad")
    assert (pad[0, 2:6] == 200).all() and not pad[0, :2].any() and not pad[0, 6:].any()
    stretch, _, _ = squares([wide], fit="stretch")
    assert stretch[0, 4, 0, 0] < 30 and stretch[0, 4, 4, 0] > 190


def test_small_pictures_are_rejected_unless_upscaled():
    small = np.full((6, 20, 3), 9, np.uint8)
    _, kept, skipped = squares([small])
    assert kept == [] and skipped == [(0, "20x6 is smaller than 8x8")]
    assert squares([small], fit="pad")[1] == [0]  # its longer side reaches 8
    assert squares([small], upscale=True)[1] == [0]


def test_mnist_sizes_are_padded_by_two_black_pixels():
    digits = np.random.default_rng(0).integers(1, 256, (3, 28, 28, 1), np.uint8)
    at_once, _, _ = squares(digits, resolution=32, channels=1)
    one_by_one, _, _ = squares(list(digits), resolution=32, channels=1)
    np.testing.assert_array_equal(at_once, np.pad(digits, ((0, 0), (2, 2), (2, 2), (0, 0))))
    np.testing.assert_array_equal(at_once, one_by_one)
    colour, _, _ = squares(digits, resolution=32, channels=3)
    np.testing.assert_array_equal(colour, np.repeat(at_once, 3, axis=3))


def test_luma_of_colour():
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 1] = 255
    grey, _, _ = squares([image], channels=1)
    assert abs(int(grey[0, 0, 0, 0]) - 0.587 * 255) <= 1  # ITU-R 601


def test_unreadable_and_truncated(pictures):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    whole = pictures.encode(noise)
    items = [b"", b"not an image", whole[: len(whole) // 2], whole]
    _, kept, skipped = squares(items)
    assert kept == [3]
    assert [i for i, _ in skipped] == [0, 1, 2]
    assert "empty" in skipped[0][1] and "readable" in skipped[1][1] and "damaged" in skipped[2][1]


def test_reduced_jpeg_decoding_stays_close(pictures):
    image = pictures.make(3, (512, 512))
    data = pictures.encode(image, "JPEG", quality=95)
    fast, _, _ = squares([data], resolution=32)
    full = Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.LANCZOS)
    assert np.abs(fast[0].astype(int) - np.asarray(full).astype(int)).max() <= 3
