"""Which image comes when: a function of (seed, step) alone, so that a stream can start anywhere.

The images of a split are numbered as they lie in its shards. Epoch after epoch they are handed
out; the *position* of an image is its number in the endless stream of all epochs, and batch s of B
holds positions s B to s B + B - 1. The order of an epoch is drawn in two stages: the order of the
shards, then a full shuffle within *groups* of consecutive shards.

Nothing else enters. How records are encoded or cached, how many workers read, and TensorFlow's
global seed have no part.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf


def seed_words(seed: int, stream: tuple[int, ...] = ()) -> np.ndarray:
    """(3,) int64 below 2**32 from any integer: two for the order, one for the mirror.

    Args:
      seed: the user's.
      stream: tells streams apart that must differ under one seed; () is `load` itself.
    """
    sequence = np.random.SeedSequence(abs(seed) * 2 + (seed < 0), spawn_key=stream)
    return sequence.generate_state(3).astype(np.int64)


def permutation(size: int | tf.Tensor, words: tf.Tensor) -> tf.Tensor:
    """(size,) int32 random permutation, a function of `words` (2,) int64 alone."""
    # Sorting random integers, ties by position: well defined, and unlike Dataset.shuffle not
    # touched by tf.random.set_seed.
    noise = tf.random.stateless_uniform(
        [size], words, minval=None, maxval=None, dtype=tf.int64, alg="philox"
    )
    return tf.argsort(noise, stable=True)


def coins(word: int, positions: tf.Tensor) -> tf.Tensor:
    """Fair coins: bool of the shape of `positions` (int64), each a function of (word, position).

    The top bit of SplitMix64 (Steele, Lea and Flood 2014), whose state after n draws is its seed
    plus n * 0x9E3779B97F4A7C15 modulo 2**64, so that no draw needs those before it.
    """
    z = tf.cast(positions + 1, tf.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z += np.uint64(int(word) << 32)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = tf.bitwise.bitwise_xor(z, tf.bitwise.right_shift(z, np.uint64(shift)))
        z *= np.uint64(factor)
    z = tf.bitwise.bitwise_xor(z, tf.bitwise.right_shift(z, np.uint64(31)))
    return tf.bitwise.right_shift(z, np.uint64(63)) > 0


@dataclasses.dataclass(frozen=True)
class Order:
    """The order of one stream, cut for one worker.

    Attributes:
      counts: images of each shard, >= 1, in the order of the folder.
      per_group: shards per group, >= 1.
      used: images of an epoch that are handed out, <= sum(counts).
      batch_size: B, over all workers.
      start: first position.
      words: see `seed_words`.
      shuffle: False keeps the order of the folder.
      repeat: epoch after epoch without end; else the one of `start`.
      shard: (index, count) of workers; a worker has its slice of B / count of every batch.
    """

    counts: tuple[int, ...]
    per_group: int
    used: int
    batch_size: int
    start: int
    words: np.ndarray
    shuffle: bool
    repeat: bool
    shard: tuple[int, int]

    @property
    def rows(self) -> int:
        """Images of a batch of this worker."""
        return self.batch_size // self.shard[1]

    @property
    def num_groups(self) -> int:
        """Groups of an epoch."""
        return math.ceil(len(self.counts) / self.per_group)

    def numbers(self) -> tf.data.Dataset:
        """(epoch, group), int64 scalars, of all groups from the epoch of `start` on."""
        first = self.start // self.used
        last = np.iinfo(np.int64).max // self.num_groups if self.repeat else first + 1
        numbers = tf.data.Dataset.range(first * self.num_groups, last * self.num_groups)
        return numbers.map(lambda n: (n // self.num_groups, n % self.num_groups))

    def shards(self, epoch: tf.Tensor, group: tf.Tensor) -> tf.Tensor:
        """(n,) int32: the shards of a group; none when all of it lies before the start."""
        begin, size = self._extent(epoch, group)
        first, end = group * self.per_group, (group + 1) * self.per_group
        over = epoch * self.used + begin + size <= self.start
        return self._shards(epoch)[first : tf.where(over, first, end)]

    def places(self, epoch: tf.Tensor, group: tf.Tensor) -> tf.Tensor:
        """(n,) int32: where in the group's shards, one after another, this worker's images lie.

        In the order in which they are due, from the start on.
        """
        begin, size = self._extent(epoch, group)
        if self.shuffle:
            words = self._words(epoch) + tf.stack([tf.constant(0, tf.int64), group + 1])
            drawn = permutation(size, words)
        else:
            drawn = tf.range(tf.cast(size, tf.int32))
        within = begin + tf.range(size)  # in the epoch
        position = epoch * self.used + within
        index, _ = self.shard
        mine = tf.equal(position % self.batch_size // self.rows, index)
        mine &= (within < self.used) & (position >= self.start)
        return tf.boolean_mask(drawn, mine)

    def blocks(self, epoch: tf.Tensor, group: tf.Tensor) -> tf.data.Dataset:
        """`places` in vectors of at most `rows`."""
        places = self.places(epoch, group)
        starts = tf.data.Dataset.range(0, tf.size(places, tf.int64), self.rows)
        return starts.map(lambda i: places[i : i + self.rows])

    def _words(self, epoch: tf.Tensor) -> tf.Tensor:
        """(2,) int64 that the order of an epoch's shards is drawn from."""
        return tf.stack([self.words[0] + epoch, tf.constant(self.words[1])])

    def _shards(self, epoch: tf.Tensor) -> tf.Tensor:
        """(S,) int32: all shards in the order of an epoch."""
        # One group is shuffled as a whole, and stays in memory in one order for all epochs.
        if self.shuffle and self.num_groups > 1:
            return permutation(len(self.counts), self._words(epoch))
        return tf.range(len(self.counts))

    def _extent(self, epoch: tf.Tensor, group: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """(images of the epoch before the group, images of the group), int64 scalars."""
        counts = tf.gather(tf.constant(self.counts, tf.int64), self._shards(epoch))
        ends = tf.pad(tf.cumsum(counts), [[1, 0]])
        shards = tf.constant(len(self.counts), tf.int64)
        begin = ends[group * self.per_group]
        return begin, ends[tf.minimum((group + 1) * self.per_group, shards)] - begin
