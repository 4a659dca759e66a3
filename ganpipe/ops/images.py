"""Pixels at the edges: uint8 [0, 255] outside, float32 [-1, 1] inside; grids of samples."""

import math

import numpy as np
import tensorflow as tf


def to_uint8(images: tf.Tensor) -> tf.Tensor:
    """float [-1, 1] -> uint8 [0, 255], rounded half to even, clipped. Any shape."""
    levels = (tf.cast(images, tf.float32) + 1.0) * 127.5
    return tf.cast(tf.round(tf.clip_by_value(levels, 0.0, 255.0)), tf.uint8)


def to_float(images: tf.Tensor) -> tf.Tensor:
    """uint8 [0, 255] -> float32 [-1, 1]. Any shape."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def grid(images: np.ndarray, columns: int | None = None, margin: int = 1) -> np.ndarray:
    """Lays images out row by row on a white sheet.

    Args:
      images: (N, H, W, C) uint8.
      columns: images a row; None makes the sheet as square as it goes.
      margin: white pixels around every image.

    Returns:
      (H', W', C) uint8.
    """
    n, height, width, channels = images.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cell_h, cell_w = height + margin, width + margin
    sheet = np.full((rows * cell_h + margin, columns * cell_w + margin, channels), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = divmod(i, columns)
        top, left = y * cell_h + margin, x * cell_w + margin
        sheet[top : top + height, left : left + width] = image
    return sheet
