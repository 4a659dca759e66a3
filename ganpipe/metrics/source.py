"""Real images as the metrics see them: a data set at one resolution, with its identity.

`ganpipe.metrics` knows nothing of folders and records; who calls it wraps a reader in an
`ImageSource` (the command line wraps `ganpipe.data`, tests wrap arrays).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import images as image_ops


@dataclass(frozen=True)
class ImageSource:
    """A data set at one resolution.

    Attributes:
      name: what to call it in reports.
      fingerprint: hex digest of its contents; keys every cached artifact.
      resolution: height in pixels.
      channels: 1 or 3.
      class_names: one name per class; empty when the images have no labels.
      per_class: per split, images in each class (one entry, the total, when unlabelled).
      batches: `batches(split, batch_size, seed)` -> tf.data of (images (B, H, W, C) float32 in
        [-1, 1], labels (B,) integers). `seed=None`: one pass in a fixed order, last batch short.
        A seed: endless, shuffled as a function of the seed, full batches only.
      width: in pixels; None is that of squares.
    """

    name: str
    fingerprint: str
    resolution: int
    channels: int
    class_names: Sequence[str]
    per_class: Mapping[str, Sequence[int]]
    batches: Callable[[str, int, int | None], tf.data.Dataset] = field(repr=False)
    width: int | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.resolution, self.width or self.resolution, self.channels

    @property
    def size(self) -> str:
        """Height x width, for messages."""
        return "{}x{}".format(*self.image_shape)

    @property
    def square(self) -> bool:
        """Whether images are as wide as high."""
        return self.image_shape[0] == self.image_shape[1]

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 when unlabelled."""
        return len(self.class_names)

    def count(self, split: str) -> int:
        """Images in a split; UserError if there is no such split."""
        if split not in self.per_class:
            raise UserError(
                f"{self.name} has no split {split!r}; it has {', '.join(sorted(self.per_class))}"
            )
        return int(sum(self.per_class[split]))


def from_arrays(
    name: str,
    fingerprint: str,
    splits: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    class_names: Sequence[str] = (),
) -> ImageSource:
    """An `ImageSource` over images in memory.

    Args:
      name: see `ImageSource`.
      fingerprint: see `ImageSource`.
      splits: per split (images (N, H, W, C) uint8, labels (N,) integers, or None if unlabelled).
      class_names: one name per class; empty for unlabelled images.
    """

    def batches(split: str, batch_size: int, seed: int | None) -> tf.data.Dataset:
        images, labels = splits[split]
        labels = np.zeros(len(images)) if labels is None else labels
        x, y = tf.constant(images), tf.constant(labels, tf.int32)
        if seed is None:
            order = tf.data.Dataset.range(len(images))
        else:
            # Stateless: `Dataset.shuffle(seed=...)` also follows TensorFlow's global seed.
            order = tf.data.Dataset.counter().flat_map(
                lambda epoch: tf.data.Dataset.from_tensor_slices(
                    tf.random.experimental.stateless_shuffle(
                        tf.range(len(images), dtype=tf.int64), seed=tf.stack([seed, epoch])
                    )
                )
            )
        rows = order.batch(batch_size, drop_remainder=seed is not None)
        return rows.map(lambda i: (image_ops.to_float(tf.gather(x, i)), tf.gather(y, i)))

    _, height, width, channels = next(iter(splits.values()))[0].shape
    per_class = {
        split: np.bincount(labels, minlength=len(class_names)).tolist()
        if class_names
        else [len(images)]
        for split, (images, labels) in splits.items()
    }
    return ImageSource(name, fingerprint, height, channels, class_names, per_class, batches, width)
