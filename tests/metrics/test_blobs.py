"""Blobs of hand-made maps: a droplet is seen; texture, edges, objects and constants are not."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import blobs


def texture(seed=0, n=1, size=64, channels=4, strength=1.0):
    return strength * np.random.RandomState(seed).standard_normal((n, size, size, channels))


def droplet(place, size=64, channels=4, height=30.0, width=1.0):
    i, j = np.mgrid[:size, :size]
    bump = np.exp(-((i - place[0]) ** 2 + (j - place[1]) ** 2) / (2 * width**2))
    return height * np.repeat(bump[None, :, :, None], channels, axis=3)


def test_one_droplet_on_texture():
    maps = texture() + droplet((20, 41))
    found = blobs.find_blobs(maps)
    assert found.peaks.tolist() == [1]
    energy = blobs.energy(maps)[0]
    # A window of five pixels, two from its middle, by hand.
    assert found.share[0] == pytest.approx(energy[18:23, 39:44].sum() / energy.sum(), rel=1e-12)
    assert 0.2 < found.share[0] < 0.6


def test_texture_however_strong_has_none():
    for strength in (1e-3, 1.0, 1e3):
        found = blobs.find_blobs(texture(1, n=3, strength=strength))
        assert found.peaks.tolist() == [0, 0, 0] and found.mean_share == 0 == found.with_blobs


def test_a_single_hot_pixel_on_silence_is_all_there_is():
    maps = np.zeros((1, 32, 32, 2))
    maps[0, 7, 9] = 5.0
    found = blobs.find_blobs(maps)
    # The mean that is taken off leaves (5 / 1024)^2 a pixel elsewhere.
    assert found.peaks.tolist() == [1] and found.share[0] == pytest.approx(1, abs=2e-3)


def test_edges_lines_and_large_objects_are_no_droplets():
    maps = texture(2, n=3, strength=0.1)
    maps[0, :, 30:32] += 30.0  # a line
    maps[1, :, 40:] += 30.0  # half of the picture
    maps[2, 10:40, 20:50] += 30.0  # an object
    assert blobs.find_blobs(maps).peaks.tolist() == [0, 0, 0]


def test_a_constant_map_has_none():
    found = blobs.find_blobs(np.full((2, 16, 16, 3), 0.1, np.float32))
    assert found.share.tolist() == [0, 0]


def test_two_droplets_and_one_at_the_rim():
    maps = texture(3) + droplet((10, 10)) + droplet((50, 0), height=40)
    assert blobs.find_blobs(maps).peaks.tolist() == [2]


def test_rows_stand_alone_and_scale_does_not_matter():
    maps = np.concatenate([texture(4), texture(5) + droplet((30, 30)), texture(6)])
    found = blobs.find_blobs(maps)
    assert found.peaks.tolist() == [0, 1, 0] and found.with_blobs == pytest.approx(1 / 3)
    alone = blobs.find_blobs(-1e4 * maps[1:2])
    assert alone.share[0] == pytest.approx(found.share[1], rel=1e-12)


def test_the_share_grows_with_the_droplet():
    shares = [
        blobs.find_blobs(texture(7) + droplet((30, 30), height=h)).share[0]
        for h in (20, 40, 80, 160)
    ]
    assert shares == sorted(shares) and shares[-1] > 0.9


@pytest.mark.parametrize(
    ("maps", "settings", "message"),
    [
        (np.zeros((2, 64, 64)), {}, "expected .N, H, W, C."),
        (np.zeros((2, 4, 64, 1)), {}, "at least 8"),
        (np.full((1, 16, 16, 1), np.nan), {}, "NaN"),
        (np.zeros((1, 16, 16, 1)), {"window": 4}, "window=4"),
        (np.zeros((1, 16, 16, 1)), {"window": 9}, "window=9"),
        (np.zeros((1, 16, 16, 1)), {"factor": 1.0}, "factor"),
    ],
)
def test_refusals(maps, settings, message):
    with pytest.raises(UserError, match=message):
        blobs.find_blobs(maps, **settings)
