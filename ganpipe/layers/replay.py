"""A pool of past fakes (Shrivastava et al. 2017, arXiv 1612.07828, section 2.3; CycleGAN's too)."""

import keras
import tensorflow as tf

from ganpipe.errors import UserError


class ReplayPool(keras.layers.Layer):
    """Keeps past fakes and hands some of them to the discriminator in place of new ones.

    A batch meets as many consecutive rows of the pool, from a random one on. Each of its rows is,
    with probability `share`, exchanged: the old fake goes to the discriminator and the new one
    into the pool. Until the pool is full new fakes only fill it. The pool is part of the
    checkpoint.

    Args:
      rows: images in the pool, at least the batch.
      shape: (H, W, C).
      share: probability of an exchange.
    """

    def __init__(self, rows: int, shape: tuple[int, int, int], share: float):
        super().__init__(name="replay_pool", dtype="float32")
        self.rows, self.share = rows, share

        def weight(name: str, shape: tuple, dtype: str) -> keras.Variable:
            return self.add_weight(
                name=name, shape=shape, initializer="zeros", trainable=False, dtype=dtype
            )

        self.pool = weight("pool", (rows, *shape), "float32")
        self.labels = weight("labels", (rows,), "int32")
        self.filled = weight("filled", (), "int32")
        self.built = True

    def call(
        self, images: tf.Tensor, labels: tf.Tensor | None, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """(B, H, W, C) fakes, (B,) labels or None, (2,) seed -> fakes and labels for D.

        Raises:
          UserError: a batch larger than the pool.
        """
        batch = images.shape[0]
        if batch > self.rows:
            raise UserError(
                f"tips.replay_pool: {self.rows} images; expected at least the batch of {batch}."
            )
        seeds = tf.random.experimental.stateless_split(seed, 2)
        filled = self.filled.value
        full = filled >= self.rows
        start = tf.random.stateless_uniform([], seeds[0], 0, self.rows, tf.int32)
        index = (tf.where(full, start, filled) + tf.range(batch)) % self.rows
        swap = full & (tf.random.stateless_uniform([batch], seeds[1]) < self.share)
        enter = tf.logical_or(swap, tf.logical_not(full))

        def exchange(pool: keras.Variable, new: tf.Tensor) -> tf.Tensor:
            old = tf.gather(pool.value, index)
            wide = [-1, *[1] * (new.shape.rank - 1)]
            kept = tf.where(tf.reshape(enter, wide), new, old)
            pool.assign(tf.tensor_scatter_nd_update(pool.value, index[:, None], kept))
            return tf.where(tf.reshape(swap, wide), old, new)

        images = exchange(self.pool, tf.cast(images, tf.float32))
        labels = None if labels is None else exchange(self.labels, tf.cast(labels, tf.int32))
        self.filled.assign(tf.minimum(filled + batch, self.rows))
        return images, labels
