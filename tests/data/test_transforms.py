import io

import numpy as np
import pytest
from PIL import Image

from ganpipe.data import decode
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
    assert list(levels) == [s for s in (4, 8, 16, 32, 64) if s <= side]
    for level, reduced in levels.items():
        assert reduced.dtype == np.uint8
        np.testing.assert_array_equal(reduced, block_mean(images, side // level))


def test_pyramid_is_exact_at_the_largest_size():
    images = np.random.default_rng(1).integers(0, 256, (1, 1024, 1024, 1), np.uint8)
    levels = T.pyramid(images)
    for side in (4, 32, 64):  # the ends of both integer widths
        np.testing.assert_array_equal(levels[side], block_mean(images, 1024 // side))
    white = np.full((1, 4096, 4096, 1), 255, np.uint8)
    assert (T.pyramid(white)[4] == 255).all()  # no sum overflows


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


@pytest.mark.parametrize(
    "bad,near", [(48, "32 and 64.*--base=6x6 --levels=4"), (0, "4 to 4096"), (8192, "4 to 4096")]
)
def test_resolution_must_be_a_power_of_two(bad, near):
    with pytest.raises(UserError, match=near):
        T.check_resolution(bad)


def geometry(height=8, width=None, channels=3, **settings):
    width = width or height
    return T.Geometry(height, width, channels, T.levels_of(height, width), **settings)


def squares(items, resolution=8, **settings):
    images, kept, left_out, *_ = T.to_images(items, geometry(resolution, **settings))
    return images, kept, [(i, str(error)) for i, error in left_out]


def test_exif_orientation_is_applied(pictures):
    image = Image.new("RGB", (16, 8), "red")
    image.paste((0, 0, 255), (8, 0, 16, 8))  # red left, blue right
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by 90 degrees: red above, blue below
    data = pictures.encode(image, "JPEG", exif=exif, quality=95)
    decoded = np.asarray(decode.decode(data))
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
    assert decode.is_grey(decode.open_picture(data))


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
        assert decode.is_grey(decode.open_picture(pictures.encode(image))) is grey, image.mode


def test_fits():
    wide = np.zeros((16, 32, 3), np.uint8)
    wide[:, 8:24] = 200  # the centre square
    crop, _, _ = squares([wide], fit="crop")
    assert (crop == 200).all()
    pad, _, _ = squares([np.full((16, 32, 3), 200, np.uint8)], fit="pad")
    assert (pad[0, 2:6] == 200).all() and (pad[0, :2] == 255).all() and (pad[0, 6:] == 255).all()
    red = squares([wide], fit="pad", background=(255, 0, 0))[0]
    assert red[0, 0, 0].tolist() == [255, 0, 0]
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


def test_shapes_that_are_not_square():
    target = geometry(24, 32, 3)
    assert target.level_shapes() == [(6, 8), (12, 16), (24, 32)]
    wide = np.zeros((48, 100, 3), np.uint8)
    wide[:, 18:82] = 200  # the centre 48x64
    images, kept, *_ = T.to_images([wide], target)
    assert kept == [0] and (images == 200).all()
    levels = T.pyramid(images, target.levels)
    assert {h: a.shape[1:3] for h, a in levels.items()} == {6: (6, 8), 12: (12, 16), 24: (24, 32)}
    tall, *_ = T.to_images([np.full((64, 48, 3), 7, np.uint8)], geometry(24, 32, 3, fit="pad"))
    assert (tall[0, :, 7:25] == 7).all() and (tall[0, :, :7] == 255).all()


def test_no_fit_takes_one_size_only():
    target = geometry(8, 8, 3, fit="none")
    right, wrong = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)
    _, kept, left_out, *_ = T.to_images([right, wrong], target)
    assert kept == [0] and str(left_out[0][1]) == "9x8 is not 8x8 (--fit=none)"


def test_area_filter_is_the_mean():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    images, _, _ = squares([image], resolution=16, filter="area")
    exact = image.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(images[0] - exact).max() <= 0.5 + 1e-4
    assert abs((images[0] - exact).mean()) < 0.05


def test_a_filter_does_not_alias():
    # A grating beyond the target's Nyquist frequency must become a plain grey.
    columns = 127.5 + 127.5 * np.cos(np.pi * np.arange(64))  # alternating black and white
    grating = np.broadcast_to(columns[None, :, None], (64, 64, 3)).astype(np.uint8)
    for name in T.FILTERS:
        images, _, _ = squares([grating], resolution=16, filter=name)
        assert np.abs(images[0, :, 2:-2].astype(int) - 127).max() <= 2, name


def test_maps_are_sampled_as_pillow_does():
    ids = np.random.default_rng(0).integers(0, 20, (2, 32, 64), np.uint8)
    levels = T.map_pyramid(ids, 4)
    assert [a.shape[1:] for a in levels.values()] == [(4, 8), (8, 16), (16, 32), (32, 64)]
    for height, reduced in levels.items():
        for one, whole in zip(reduced, ids, strict=True):
            small = Image.fromarray(whole).resize((2 * height, height), Image.Resampling.NEAREST)
            np.testing.assert_array_equal(one, np.asarray(small))


def test_a_map_goes_where_its_picture_goes(pictures):
    # The picture's left half is black, its map says so; after any fit they must still agree.
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 30:] = 255
    ids = (picture[..., 0] > 0).astype(np.uint8)
    for fit in ("crop", "pad", "stretch"):
        target = geometry(8, 8, 3, fit=fit, background=(0, 0, 255))
        image = T.to_image(picture, target)
        found = T.to_map(pictures.encode(Image.fromarray(ids)), (60, 40), target)
        inside = found != T.UNKNOWN
        sure = inside & ((image[..., 0] < 20) | (image[..., 0] > 235))
        assert sure.mean() > 0.4 and (found[sure] == (image[..., 0] > 127)[sure]).all()
        assert inside.all() == (fit != "pad")
        assert (image[~inside] == (0, 0, 255)).all()


@pytest.mark.parametrize(
    "array,message",
    [
        (np.zeros((8, 9), np.uint8), "its map is 9x8, the picture 8x8"),
        (np.full((8, 8), 300, np.int32), "ids 0..300; expected 0..255"),
        (np.zeros((8, 8), np.float32), "dtype float32"),
    ],
)
def test_maps_that_do_not_fit(array, message):
    if array.max() > 255:
        array[0, 0] = 300
    with pytest.raises(decode.RejectedError, match=message):
        T.to_map(array, (8, 8), geometry())
