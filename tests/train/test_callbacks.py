"""Sample grids: as ever up to 128 pixels, and of bounded size above."""

import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganpipe.train import callbacks


@pytest.mark.parametrize("resolution", [1, 28, 32, 64, 100, 128])
@pytest.mark.parametrize(("classes", "columns"), [(0, 8), (1, 1), (3, 3), (10, 10), (1000, 16)])
def test_grids_up_to_128_pixels_are_as_ever(resolution, classes, columns):
    assert callbacks.grid_shape(resolution, classes) == (columns, 8)


@pytest.mark.parametrize("resolution", [129, 200, 256, 400, 512, 1000, 1024, 2048, 4096])
@pytest.mark.parametrize("classes", [0, 1, 2, 3, 10, 1000])
def test_large_grids_are_bounded_but_never_empty(resolution, classes):
    columns, rows = callbacks.grid_shape(resolution, classes)
    assert columns * rows >= 4 and columns <= (classes or 8)
    for count in (columns, rows):
        # Beyond the bound only where four images would not fit.
        assert count * resolution <= 2048 or columns * rows <= 4
    if resolution <= 1024 and classes != 1:
        assert max(columns, rows) * resolution <= 2048


def test_known_shapes():
    found = {r: callbacks.grid_shape(r) for r in (256, 512, 1024, 4096)}
    assert found == {256: (8, 8), 512: (4, 4), 1024: (2, 2), 4096: (2, 2)}


@pytest.mark.parametrize(
    ("resolution", "classes", "size", "labels"),
    [
        (16, 3, (3 * 17 + 1, 8 * 17 + 1), [0, 1, 2] * 8),
        (1024, 0, (2051, 2051), None),
        (1024, 10, (2051, 2051), [0, 1, 0, 1]),
    ],
)
def test_the_grid_is_drawn_from_fixed_seeds(tmp_path, resolution, classes, size, labels):
    asked = []

    def sample(count, seed, labels):
        asked.append((count, seed, labels))
        return np.zeros((count, resolution, resolution, 1), np.uint8)

    summaries = callbacks.Summaries(tmp_path, lambda step: step, 1, 1, 2)
    summaries.set_model(
        types.SimpleNamespace(
            image_shape=(resolution, resolution, 1),
            num_classes=classes,
            sample=sample,
            step=tf.constant(0),
        )
    )
    (tmp_path / "samples").mkdir()
    summaries.on_train_begin()
    summaries.close()
    ((_, seed, given),) = asked
    assert seed == 0 and (given is None if labels is None else given.tolist() == labels)
    with Image.open(tmp_path / "samples" / "step_00000000.png") as sheet:
        assert sheet.size == size
