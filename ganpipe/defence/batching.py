"""Compiled functions over arrays of any length, in batches of one static shape."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm


def in_batches(
    function: Callable[..., Any],
    *arrays: np.ndarray,
    batch_size: int = 100,
    description: str | None = None,
) -> Any:
    """`function` over rows of `arrays`, compiled once; the last batch is filled up and cut.

    Args:
      function: tensors of `batch_size` rows -> a tensor, or a tuple of tensors, of as many rows.
        A `tf.function` is called as it is; any other callable becomes one.
      *arrays: of equal length N > 0.
      batch_size: rows at once; N where that is less.
      description: names the progress bar; None shows none.

    Returns:
      NumPy array(s) of N rows.
    """
    count = len(arrays[0])
    size = min(batch_size, count)
    if not hasattr(function, "get_concrete_function"):
        function = tf.function(function)
    parts = []
    with tqdm(
        total=count, desc=description, unit="image", disable=None if description else True
    ) as progress:
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            result = function(*(tf.constant(array[rows]) for array in arrays))
            done = min(size, count - start)
            parts.append(tf.nest.map_structure(lambda t, done=done: t.numpy()[:done], result))
            progress.update(done)
    return tf.nest.map_structure(lambda *values: np.concatenate(values), *parts)
