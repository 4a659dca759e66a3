"""Sliced Wasserstein distance: pyramid, patches, known distances, batches, refusals."""

import tracemalloc

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import laplacian, patches
from ganpipe.metrics import sliced_wasserstein as swd


def images(seed, count=6, size=32, channels=3):
    return np.random.RandomState(seed).randint(0, 256, (count, size, size, channels)).astype("u1")


def score(real, fake, batch=100, **settings):
    meter = swd.SlicedWassersteinMeter(real.shape[1], real.shape[3], **settings)
    for update, x in ((meter.update_real, real), (meter.update_fake, fake)):
        for i in range(0, len(x), batch):
            update(x[i : i + batch])
    return meter.result()


def binomial(x):
    """The 5 x 5 filter as written: 25 taps, mirrored edges, float64. x (H, W)."""
    row = np.array([1, 4, 6, 4, 1]) / 16
    padded = np.pad(x, 2, mode="reflect")
    height, width = x.shape
    return sum(
        row[i] * row[j] * padded[i : i + height, j : j + width] for i in range(5) for j in range(5)
    )


@pytest.mark.parametrize("size", [4, 16])
def test_down_and_up_equal_the_plain_filter(size):
    x = np.random.RandomState(0).uniform(0, 255, (size, size))
    found = swd.halve(x[None, :, :, None].astype("f4"))[0, :, :, 0]
    np.testing.assert_allclose(found, binomial(x)[::2, ::2], rtol=1e-6)
    wide = np.zeros((2 * size, 2 * size))
    wide[::2, ::2] = x
    found = swd.double(x[None, :, :, None].astype("f4"))[0, :, :, 0]
    np.testing.assert_allclose(found, 4 * binomial(wide), rtol=1e-6)


def test_pyramid_adds_up_to_the_image():
    x = images(1, size=64)
    pyramid = swd.laplacian_pyramid(x, 3)
    assert [level.shape[1] for level in pyramid] == [64, 32, 16]
    back = pyramid[-1]
    for level in pyramid[-2::-1]:
        back = level + swd.double(back)
    np.testing.assert_allclose(back, x, atol=1e-3)


def test_flat_images_have_no_detail():
    pyramid = swd.laplacian_pyramid(np.full((1, 32, 32, 1), 77, np.uint8), 2)
    np.testing.assert_allclose(pyramid[0], 0, atol=1e-4)
    np.testing.assert_allclose(pyramid[1], 77, rtol=1e-6)


def test_patches_come_from_the_drawn_places():
    level = np.arange(2 * 16 * 20, dtype="f4").reshape(2, 16, 20, 1)
    patches = swd.draw_patches(level, np.random.RandomState(3), per_image=5)
    rng = np.random.RandomState(3)
    xs, ys = rng.randint(3, 17, 10), rng.randint(3, 13, 10)  # All x first.
    for n, (x, y) in enumerate(zip(xs, ys, strict=True)):
        square = level[n // 5, y - 3 : y + 4, x - 3 : x + 4, 0]
        np.testing.assert_array_equal(patches[n, 0], square.T)  # Axis 2 runs over x.


def test_distance_of_shifted_lines():
    # One dimension, directions are +1 or -1: W1 of two sets shifted by 3 is 3 whatever is drawn.
    x = np.random.RandomState(0).standard_normal((50, 1)).astype("f4")
    rng = np.random.RandomState(1)
    found = swd.sliced_wasserstein(x, rng.permutation(x) + 3, rng, repeats=2, directions=20)
    assert found == pytest.approx(3.0, rel=1e-5)


def test_distance_of_a_shift_in_three_dimensions():
    # The mean of |<u, s>| over directions of the sphere is |s| / 2 in three dimensions.
    x = np.random.RandomState(0).standard_normal((20, 3)).astype("f4")
    shift = np.array([0, 3, 4], "f4")
    found = swd.sliced_wasserstein(x, x + shift, np.random.RandomState(1), directions=4000)
    assert found == pytest.approx(2.5, rel=0.03)  # std of the mean is 2.5 * .58 / sqrt(16000).


def test_blocks_of_directions_change_nothing(monkeypatch):
    x, y = np.random.RandomState(0).standard_normal((2, 50, 9)).astype("f4")
    whole = swd.sliced_wasserstein(x, y, np.random.RandomState(2))
    monkeypatch.setattr(swd, "_PROJECTIONS", 50 * 7)
    monkeypatch.setattr(swd, "_ROWS", 20)
    blocks = swd.sliced_wasserstein(x, y, np.random.RandomState(2))
    assert blocks == pytest.approx(whole, rel=1e-6)


def test_equal_sets_are_zero_and_still_draw():
    x = np.random.RandomState(0).standard_normal((9, 4)).astype("f4")
    one, two = np.random.RandomState(7), np.random.RandomState(7)
    assert swd.sliced_wasserstein(x, x, one) == 0
    assert swd.sliced_wasserstein(x, x.copy(), two) == 0
    assert one.randint(1 << 30) == two.randint(1 << 30)


def test_identical_images_are_near_and_noise_is_far():
    real = images(0, 12) // 2
    real[:, ::4] += 100  # Stripes that noise does not have.
    same, noise = score(real, real), score(real, images(2, 12))
    assert same.levels == (32, 16)
    assert same.images == 12
    assert (noise.distances > 3 * same.distances).all()  # Not 0: other patches are drawn.
    assert same.mean == pytest.approx(same.distances.mean(), rel=1e-12)


def test_blur_shows_at_the_finest_level_most():
    # Large shapes with fine noise: the filter takes the noise and leaves the shapes.
    shapes = images(3, 24, 4).repeat(8, axis=1).repeat(8, axis=2)
    real = shapes // 2 + images(4, 24) // 4
    fine = real.astype("f8")
    blurred = (fine + np.roll(fine, 1, 1) + np.roll(fine, 1, 2) + np.roll(fine, (1, 1), (1, 2))) / 4
    found = score(real, blurred.astype("u1")).distances
    assert found[0] > 1.4 * found[1]


def test_batches_change_nothing():
    real, fake = images(0, 7), images(1, 7)
    whole = score(real, fake, minibatch=3)
    for batch in (1, 5):
        np.testing.assert_array_equal(
            score(real, fake, batch=batch, minibatch=3).distances, whole.distances
        )
    assert (score(real, fake, minibatch=4, seed=1).distances != whole.distances).all()


def test_grey_images():
    assert (score(images(0, channels=1), images(1, channels=1)).distances > 0).all()


def test_settings_of_the_authors():
    assert [swd.minibatch_size(r) for r in (16, 32, 64, 1024, 4096)] == [256, 256, 128, 8, 4]
    assert swd.level_sizes(1024) == (1024, 512, 256, 128, 64, 32, 16)


def test_bad_input_is_refused():
    for resolution in (8, 24, 48):
        with pytest.raises(UserError, match="powers of two"):
            swd.SlicedWassersteinMeter(resolution)
    meter = swd.SlicedWassersteinMeter(32)
    with pytest.raises(UserError, match="expected uint8"):
        meter.update_real(images(0).astype("f4"))
    with pytest.raises(UserError, match=r"expected uint8 \(N, 32, 32, 3\)"):
        meter.update_real(images(0, channels=1))
    with pytest.raises(UserError, match="no images"):
        meter.update_fake(images(0))
    meter = swd.SlicedWassersteinMeter(32).update_real(images(0, 4))
    meter.update_fake(images(1, 3))
    with pytest.raises(ValueError, match="before the first fake"):
        meter.update_real(images(0))
    with pytest.raises(UserError, match="4 real and 3 generated"):
        meter.result()
    with pytest.raises(UserError, match="4 real and 5 generated"):
        meter.update_fake(images(1, 2))
    flat = np.full((4, 32, 32, 3), 9, np.uint8)
    with pytest.raises(UserError, match="constant in every patch"):
        swd.SlicedWassersteinMeter(32).update_real(flat).update_fake(flat)


def test_one_level_alone_is_that_of_the_pyramid():
    pictures = images(5, 3)
    pyramid = swd.laplacian_pyramid(pictures, 2)
    for i, level in enumerate(pyramid):
        np.testing.assert_array_equal(laplacian.laplacian_level(pictures, i, 2), level)


def test_blocks_are_the_normalised_patches_of_all_images():
    pictures = images(6, 7)
    found = swd.PatchSet(32, 3, np.random.RandomState(4), minibatch=3).update(pictures).finish()
    rng, expected = np.random.RandomState(4), ([], [])
    for i in range(0, 7, 3):
        for j, level in enumerate(swd.laplacian_pyramid(pictures[i : i + 3], 2)):
            expected[j].append(swd.draw_patches(level, rng))
    for level, parts in zip(found, expected, strict=True):
        whole = swd.normalise_patches(np.concatenate(parts))
        assert level.shape == whole.shape == (7 * 128, 147)
        np.testing.assert_allclose(np.concatenate(list(level.blocks())), whole, atol=2e-6)


def test_patches_by_hand():
    level = np.arange(2 * 9 * 10 * 3, dtype="f4").reshape(2, 9, 10, 3)
    (first, second) = patches.cut_patches(level, np.array([3, 6]), np.array([5, 4]))
    assert first.shape == (3, 7, 7)
    assert first[2, 0, 6] == level[0, 8, 0, 2] and first[1, 3, 3] == level[0, 5, 3, 1]
    assert second[0, 6, 1] == level[1, 2, 9, 0]


def test_memory_holds_images_not_descriptors():
    meter = swd.SlicedWassersteinMeter(32)
    pictures = images(8, 512)
    tracemalloc.start()
    meter.update_real(pictures)
    meter.update_fake(pictures[::-1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Two sets of 1.5 MB, one minibatch of patches; the descriptors of one set take 77 MB.
    assert peak < 65e6 + 4 * pictures.nbytes
