"""Minibatch standard deviation (Karras et al. 2018, arXiv 1710.10196, 3), by groups of images.

As the official TensorFlow code computes it: the groups are strided (of N images in groups of G,
image i is in group i mod N / G), the variance is the biased one, 1e-8 is added to it, and the
standard deviations are averaged over pixels and channels. The paper itself takes the whole batch
as one group. Official code of StyleGAN2 has more than one such number: `features` slices of the
channels, one each.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError

EPSILON = 1e-8
_alone = False  # see `rows_alone`


@contextlib.contextmanager
def rows_alone() -> Iterator[None]:
    """Every image is a group of its own in the calls (and traces) made meanwhile.

    For servers, which join requests into batches of any size: the images of strangers must not
    change an answer, nor a batch that does not divide into groups be refused.
    """
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def group_of(batch: int, group_size: int | None) -> int:
    """Images in a group: a batch smaller than the group is one group.

    Raises:
      UserError: groups do not divide the batch.
    """
    size = batch if group_size is None else min(group_size, batch)
    if batch % size:
        raise UserError(
            f"minibatch standard deviation: a batch of {batch} images (of one replica) does not "
            f"divide into groups of {size}; set system.group_size to a divisor of {batch}, or "
            f"train.batch_size (with growth: its batch of this resolution) to a multiple of {size}."
        )
    return size


class MinibatchStddev(keras.layers.Layer):
    """Appends `features` maps, constant over each image: the spread of the image's group.

    Args:
      group_size: images in a group; None takes the whole batch.
      features: slices of the channels with a number of their own; divides the channels.
      **kwargs: `name`, `dtype`.

    Raises:
      UserError: (when called) groups do not divide a static batch. A batch whose size is only
        known at run time raises InvalidArgumentError instead.
      ValueError: group_size or features below 1.
    """

    def __init__(self, group_size: int | None = 4, features: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        if features < 1 or (group_size is not None and group_size < 1):
            raise ValueError(f"group_size={group_size}, features={features}; expected 1 or more")
        self.group_size, self.features = group_size, features

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks the channels."""
        if input_shape[-1] % self.features:
            raise ValueError(f"{input_shape[-1]} channels; expected a multiple of {self.features}")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(N, H, W, C) -> (N, H, W, C + features); statistics are float32."""
        batch, height, width, channels = inputs.shape
        group = 1 if _alone else self.group_size
        if batch is not None:
            size = group_of(batch, group)
            groups = batch // size
        else:
            batch = tf.shape(inputs)[0]
            size = batch if group is None else tf.minimum(group, batch)
            groups = batch // size
            message = f"groups of {group} do not divide the batch (system.group_size)"
            check = tf.debugging.assert_equal(groups * size, batch, message)
            # Otherwise the reshape may run first, and fail with less to say.
            with tf.control_dependencies([check]):
                size = tf.identity(size)
        slices = channels // self.features
        x = tf.cast(inputs, tf.float32) if inputs.dtype.size < 4 else inputs
        x = tf.reshape(x, [size, groups, height * width, self.features, slices])
        variance = tf.reduce_mean(tf.square(x - tf.reduce_mean(x, axis=0, keepdims=True)), axis=0)
        spread = tf.reduce_mean(tf.sqrt(variance + EPSILON), axis=(1, 3))  # (groups, features)
        spread = tf.tile(tf.cast(spread, inputs.dtype), [size, 1])
        maps = tf.broadcast_to(
            spread[:, tf.newaxis, tf.newaxis], [batch, height, width, self.features]
        )
        return tf.concat([inputs, maps], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """(N, H, W, C + features)."""
        return (*input_shape[:-1], input_shape[-1] + self.features)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return super().get_config() | {"group_size": self.group_size, "features": self.features}
