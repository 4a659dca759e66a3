"""Each resize convention against arithmetic by hand, and `clean` against PIL."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import resize


def row(values, size, convention):
    """One row of pixels, repeated to a square, resized; the result's first row."""
    square = np.tile(np.float32(values)[None, None, :, None], (1, len(values), 1, 1))
    out = resize.resize(tf.constant(square), size, convention).numpy()
    assert out.shape == (1, size, size, 1) and out.dtype == np.float32
    np.testing.assert_allclose(out[0, :, :, 0], np.tile(out[0, :1, :, 0], (size, 1)), atol=1e-4)
    return out[0, 0, :, 0]


def test_by_hand():
    # Twice as wide: legacy samples at 0, .5, 1, 1.5 (held at the last pixel), torch at -.25, ...
    np.testing.assert_allclose(row([0, 100], 4, "legacy"), [0, 50, 100, 100])
    np.testing.assert_allclose(row([0, 100], 4, "torch"), [0, 25, 75, 100])
    # Half as wide: legacy takes every second pixel, torch the mean of two.
    np.testing.assert_allclose(row([0, 40, 80, 240], 2, "legacy"), [0, 80])
    np.testing.assert_allclose(row([0, 40, 80, 240], 2, "torch"), [20, 160])
    # A third: torch reads the middle pixel alone, it does not average.
    np.testing.assert_allclose(row([0, 90, 0, 30, 60, 30], 2, "torch"), [90, 60])


def keys_cubic(x):
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((-0.5 * x + 2.5) * x - 4) * x + 2 if x < 2 else 0.0


def test_clean_by_hand_and_its_clipping():
    # Half as wide: the kernel is stretched by two and its weights are normalised.
    values = [10, 20, 200, 30, 40, 250]
    expected = []
    for i in range(3):
        w = [keys_cubic((j + 0.5 - (i + 0.5) * 2) / 2) for j in range(6)]
        expected.append(np.dot(w, values) / sum(w))
    np.testing.assert_allclose(row(values, 3, "clean"), expected, atol=1e-3)
    # Enlarging a step overshoots: cut to 0..255, and not rounded.
    out = row([0, 0, 0, 255, 255, 255], 13, "clean")
    assert out.min() == 0 and out.max() == 255
    assert np.abs(out - np.round(out)).max() > 0.1


@pytest.mark.parametrize("shape, size", [((32, 32), 75), ((75, 75), 32), ((40, 23), 29)])
def test_clean_is_pils(shape, size):
    images = np.random.RandomState(0).randint(0, 256, (2, *shape, 3)).astype(np.uint8)
    ours = resize.resize(tf.constant(images), size, "clean").numpy()
    for n in range(2):
        for c in range(3):
            channel = Image.fromarray(images[n, ..., c].astype(np.float32), mode="F")
            theirs = np.asarray(channel.resize((size, size), Image.Resampling.BICUBIC))
            assert np.abs(ours[n, ..., c] - np.clip(theirs, 0, 255)).max() < 5e-4 * 255


def test_conventions_differ_and_same_size_changes_nothing():
    images = np.random.RandomState(0).randint(0, 256, (1, 12, 12, 3)).astype(np.uint8)
    for name in resize.CONVENTIONS:
        np.testing.assert_array_equal(resize.resize(images, 12, name).numpy(), images)
        for other in resize.CONVENTIONS:
            if other != name:
                a, b = (resize.resize(images, 7, n).numpy() for n in (name, other))
                assert np.abs(a - b).max() > 5
    with pytest.raises(UserError, match="'lanczos'; known are legacy, torch, clean"):
        resize.resize(images, 7, "lanczos")
