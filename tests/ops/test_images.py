import numpy as np
import tensorflow as tf

from ganpipe.ops import images


def test_bytes_survive_the_way_in_and_out():
    levels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(images.to_uint8(images.to_float(levels)), levels)


def test_edges_are_clipped_and_halves_go_to_even():
    x = tf.constant([-3.0, -1.0, 1.0, 1.5, 0.0])  # 0 is level 127.5: the even neighbour is 128
    np.testing.assert_array_equal(images.to_uint8(x), [0, 0, 255, 255, 128])


def test_grid_puts_images_row_by_row():
    pictures = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * np.ones((1, 2, 3, 1), np.uint8)
    sheet = images.grid(pictures, columns=3, margin=1)
    assert sheet.shape == (2 * 3 + 1, 3 * 4 + 1, 1)
    assert sheet[1, 1, 0] == 0
    assert sheet[1, 5, 0] == 1
    assert sheet[4, 1, 0] == 3
    assert sheet[0, 0, 0] == sheet[3, 5, 0] == 255
