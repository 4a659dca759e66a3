"""PSNR and SSIM: values by hand, luma, border, refusals."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import image_quality as quality


def noise(seed, shape=(2, 20, 24, 3)):
    return np.random.RandomState(seed).randint(0, 256, shape).astype("u1")


def test_psnr_by_hand():
    # Every pixel off by 5: 10 log10(255^2 / 25) = 34.1514 dB. One of four off by 10: the same.
    x = np.full((2, 8, 8, 1), 100, np.uint8)
    y = x.copy()
    y[0] += 5
    y[1, ::2, ::2] += 10
    np.testing.assert_allclose(quality.psnr(x, y), 34.15140352195873, rtol=1e-12)
    # No wrapping of unsigned differences.
    np.testing.assert_allclose(quality.psnr(y, x), quality.psnr(x, y), rtol=1e-15)


def test_opposite_images_are_0_db_and_equal_ones_infinite():
    black, white = np.zeros((1, 12, 12, 3), np.uint8), np.full((1, 12, 12, 3), 255, np.uint8)
    assert quality.psnr(black, white, on_luma=False) == 0
    # Luma spans 16..235 against a peak of 255.
    expected = 20 * np.log10(255 / 219)
    assert quality.psnr(black, white) == pytest.approx(expected, rel=1e-12)
    assert np.isposinf(quality.psnr(white, white)).all()
    assert quality.ssim(white, white) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_the_corners(rgb, expected):
    pixel = np.array(rgb, np.uint8).reshape(1, 1, 1, 3)
    assert quality.luma(pixel) == pytest.approx(expected, abs=1e-9)
    assert quality.luma(pixel, round_luma=True) == np.floor(expected + 0.5)


def test_grey_is_its_own_luma():
    x, y = noise(0, (2, 16, 16, 1)), noise(1, (2, 16, 16, 1))
    np.testing.assert_array_equal(quality.luma(x), x)
    np.testing.assert_allclose(quality.psnr(x, y), quality.psnr(x, y, on_luma=False), rtol=1e-15)


def test_luma_ignores_what_keeps_it():
    # 24.966 dB = -65.481 dR nearly: an error of colour that Y hardly sees, RGB does.
    x = np.full((1, 12, 12, 3), 100, np.uint8)
    y = x + np.array([10, 0, -26], np.int64).astype(np.uint8)
    assert quality.psnr(x, y) > 60 > 25 > quality.psnr(x, y, on_luma=False)


def test_border_hides_errors_at_the_border():
    x = noise(2)
    y = x.copy()
    y[:, :4] = y[:, -4:] = y[:, :, :4] = y[:, :, -4:] = 0
    assert np.isfinite(quality.psnr(x, y)).all()
    assert np.isfinite(quality.psnr(x, y, border=3)).all()
    assert np.isposinf(quality.psnr(x, y, border=4)).all()
    np.testing.assert_allclose(quality.ssim(x, y, border=4), 1, atol=1e-12)


def test_ssim_of_two_constant_images():
    # No variance: structure is 1 and luminance (2 a b + C1) / (a^2 + b^2 + C1) stays.
    a, b, c1 = 50, 100, 2.55**2
    x, y = (np.full((1, 16, 16, 1), v, np.uint8) for v in (a, b))
    expected = (2 * a * b + c1) / (a * a + b * b + c1)
    assert quality.ssim(x, y) == pytest.approx(expected, rel=1e-10)


def test_ssim_equals_the_sum_over_one_window():
    # An 11 x 11 image has one position: weighted moments written out.
    x, y = noise(3, (1, 11, 11, 1)).astype("f8"), noise(4, (1, 11, 11, 1)).astype("f8")
    r = np.arange(11) - 5
    w = np.exp(-(r[:, None] ** 2 + r**2) / (2 * 1.5**2))
    w = (w / w.sum())[None, :, :, None]
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum()
    cov = (w * (x - mx) * (y - my)).sum()
    c1, c2 = 2.55**2, 7.65**2
    cs = (2 * cov + c2) / (vx + vy + c2)
    ssim, found = quality.ssim_terms(x, y)
    assert found == pytest.approx(cs, rel=1e-10)
    assert ssim == pytest.approx(cs * (2 * mx * my + c1) / (mx**2 + my**2 + c1), rel=1e-10)


def test_ssim_of_noise_and_of_the_negative():
    x = noise(5, (1, 64, 64, 1))
    assert abs(quality.ssim(x, noise(6, x.shape))) < 0.05
    assert quality.ssim(x, 255 - x) < -0.8


def test_channels_are_averaged_without_luma():
    x, y = noise(7), noise(8)
    single = [quality.ssim(x[..., [c]], y[..., [c]]) for c in range(3)]
    found = quality.ssim(x, y, on_luma=False)
    np.testing.assert_allclose(found, np.mean(single, axis=0), rtol=1e-12)


def test_blocks_change_nothing(monkeypatch):
    x, y = noise(9, (5, 16, 16, 3)), noise(10, (5, 16, 16, 3))
    whole = quality.ssim(x, y)
    monkeypatch.setattr(quality, "_BLOCK_ELEMENTS", 600)
    np.testing.assert_allclose(quality.ssim(x, y), whole, rtol=1e-14)
    one = np.concatenate([quality.ssim(x[[i]], y[[i]]) for i in range(5)])
    np.testing.assert_allclose(one, whole, rtol=1e-14)


def test_bad_input_is_refused():
    x = noise(0)
    with pytest.raises(UserError, match="float64, expected uint8"):
        quality.psnr(x / 255.0, x)
    with pytest.raises(UserError, match="pixel by pixel"):
        quality.psnr(x, x[:, 1:])
    with pytest.raises(UserError, match="expected \\(N, H, W, C\\)"):
        quality.psnr(x[0], x[0])
    with pytest.raises(UserError, match="leaves nothing of 20x24"):
        quality.psnr(x, x, border=10)
    with pytest.raises(UserError, match="window is 11x11, but 10x14"):
        quality.ssim(x, x, border=5)
    with pytest.raises(UserError, match="1 or 3 channels, found 4"):
        quality.psnr(noise(0, (1, 12, 12, 4)), noise(0, (1, 12, 12, 4)))
