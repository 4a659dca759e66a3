"""`load`: a prepared data folder as a `tf.data` stream whose order is a function of (seed, step).

The order of epoch e is drawn from (seed, e) in two stages: the order of the shards, then a full
shuffle within *groups* of consecutive shards. A group is as many shards as fit 512 MiB, the most
that is ever held in memory; a split of at most that size (Fashion-MNIST, CIFAR-10, 2,700 RGB images
of 256x256 ...) is one group, so its shuffle is a perfect one. Larger splits mix a random choice of
shards at a time.

Nothing else enters, so a stream can start anywhere: `start_step` finds the epoch, the group and the
place in it by arithmetic. Groups before it are not opened; of the one it lies in, records are drawn
without being decoded.
"""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from ganpipe.data import manifest
from ganpipe.errors import UserError

# Most bytes of records that are shuffled together, and hence held in memory.
SHUFFLE_BYTES = 512 << 20
# Up to this many bytes the contents of all shards are checked before use (about 1 GB/s, once).
HASH_BYTES = 512 << 20


def load(
    directory: str | Path,
    resolution: int,
    batch_size: int,
    split: str = "train",
    seed: int = 0,
    *,
    start_step: int = 0,
    repeat: bool = True,
    shuffle: bool = True,
    drop_remainder: bool = True,
) -> tf.data.Dataset:
    """Streams images and labels of a prepared folder.

    Args:
      directory: folder written by `python -m pipeline.prepare`.
      resolution: side in pixels; one of the levels of the folder.
      batch_size: images per batch, >= 1; the global batch under tf.distribute.
      split: `train` or `test`.
      seed: together with the step, all that the order depends on; any integer.
      start_step: batches to leave out from the beginning: the stream then equals that of
        `start_step=0` from there on, bit for bit, and costs at most the reading of one group.
      repeat: epoch after epoch without end, each in another order; else one epoch.
      shuffle: False keeps the order of the folder in every epoch.
      drop_remainder: True leaves out the last count % batch_size images of every epoch (others
        each time), so an epoch has count // batch_size steps. False with `repeat` lets batches run
        across the border of two epochs; False without `repeat` gives a shorter last batch.

    Returns:
      Dataset of images (B, R, R, C) float32 in [-1, 1], x = uint8 / 127.5 - 1, and labels (B,)
      int32 (zeros when the set has no classes). All shapes are static, but for the batch axis with
      `drop_remainder=False` and `repeat=False`. Deterministic; its auto-shard policy is DATA, and
      its cardinality is known.

    Raises:
      UserError: no such folder, split or resolution; fewer images than one batch; a shard that is
        missing, cut short or (checked up to 512 MiB; beyond that TFRecord's own CRC raises
        tf.errors.DataLossError when the record is read) changed.
    """
    data = manifest.info(directory)
    entries = data.files(split, resolution)
    if batch_size < 1 or start_step < 0:
        raise UserError(
            f"batch_size={batch_size} and start_step={start_step}: expected at least 1 and 0"
        )
    entries = [e for e in entries if e["count"]]
    count = sum(e["count"] for e in entries)
    if count == 0 or (drop_remainder and count < batch_size):
        raise UserError(
            f"split {split!r} of {data.dir} has {count} images, fewer than one batch of "
            f"{batch_size}; lower train.batch_size or prepare more images"
        )
    manifest.check_files(data, split, resolution, hash_up_to=HASH_BYTES)

    used = count - count % batch_size if drop_remainder else count  # images used of an epoch
    start = start_step * batch_size  # image at which the stream starts
    if not repeat and start >= used:
        raise UserError(f"start_step={start_step} lies beyond the one epoch of {used} images")
    first_epoch, offset = divmod(start, used)
    stream = _epochs(entries, seed, first_epoch, offset, used, repeat=repeat, shuffle=shuffle)
    stream = stream.batch(batch_size, drop_remainder=drop_remainder or repeat)
    stream = stream.map(
        _parser(resolution, data.channels, batch_size if drop_remainder or repeat else None),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    steps = math.ceil((used - offset) / batch_size)
    stream = stream.apply(
        tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY if repeat else steps)
    )
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return stream.with_options(options).prefetch(tf.data.AUTOTUNE)


def _group_size(entries: list[dict]) -> int:
    """Shards per group: as many as fit SHUFFLE_BYTES, at least one."""
    return max(1, min(len(entries), SHUFFLE_BYTES // max(e["bytes"] for e in entries)))


def _epochs(
    entries: list[dict],
    seed: int,
    first_epoch: int,
    offset: int,
    used: int,
    *,
    repeat: bool,
    shuffle: bool,
) -> tf.data.Dataset:
    """Serialised records of epoch after epoch, `used` of each, the first from `offset` on."""
    paths = tf.constant([str(e["path"]) for e in entries])  # (S,)
    counts = tf.constant([e["count"] for e in entries], tf.int64)  # (S,)
    num_shards = len(entries)
    per_group = _group_size(entries) if shuffle else 1
    num_groups = -(-num_shards // per_group)
    # Any Python integer is a seed: two 32-bit words of it, as stateless operations take them.
    words = np.random.SeedSequence(abs(seed) * 2 + (seed < 0)).generate_state(2)
    key = tf.constant(words.astype(np.int64))

    def permutation(size, draw: tf.Tensor) -> tf.Tensor:
        # Sorting random integers, ties by position: well defined, and unlike Dataset.shuffle not
        # touched by tf.random.set_seed.
        noise = tf.random.stateless_uniform(
            [size], draw, minval=None, maxval=None, dtype=tf.int64, alg="philox"
        )
        return tf.argsort(noise, stable=True)

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        skip = tf.where(number == first_epoch, tf.constant(offset, tf.int64), 0)
        draw = tf.stack([key[0] + number, key[1]])
        order = permutation(num_shards, draw) if shuffle else tf.range(num_shards)
        shard_paths, shard_counts = tf.gather(paths, order), tf.gather(counts, order)
        padded = tf.pad(shard_counts, [[0, num_groups * per_group - num_shards]])
        group_counts = tf.reduce_sum(tf.reshape(padded, [num_groups, per_group]), axis=1)
        group_starts = tf.cumsum(group_counts, exclusive=True)

        def group(g: tf.Tensor) -> tf.data.Dataset:
            size = group_counts[g]
            skipped = tf.clip_by_value(skip - group_starts[g], 0, size)
            # A group that lies before the start altogether is not even opened.
            last = tf.where(skipped < size, (g + 1) * per_group, g * per_group)
            files = shard_paths[g * per_group : last]
            lines = tf.data.TFRecordDataset(files, buffer_size=1 << 20)
            if not shuffle:
                return lines.skip(skipped)
            # The whole group as one vector of strings, handed out in the drawn order.
            places = permutation(size, draw + tf.stack([tf.constant(0, tf.int64), g + 1]))
            places = tf.data.Dataset.from_tensor_slices(places[skipped:]).batch(256)

            def hand_out(records: tf.Tensor) -> tf.data.Dataset:
                return places.flat_map(
                    lambda at: tf.data.Dataset.from_tensor_slices(tf.gather(records, at))
                )

            return lines.batch(size).flat_map(hand_out)

        lines = tf.data.Dataset.range(num_groups).flat_map(group)
        return lines.take(used - skip)

    last_epoch = np.iinfo(np.int64).max if repeat else first_epoch + 1
    return tf.data.Dataset.range(first_epoch, last_epoch).flat_map(epoch)


def _parser(resolution: int, channels: int, batch_size: int | None):
    """Parses a batch of serialised Examples into images and labels."""
    spec = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }
    length = resolution * resolution * channels

    def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features = tf.io.parse_example(batch, spec)
        # A record of another length fails here rather than being read askew.
        pixels = tf.io.decode_raw(features["image"], tf.uint8)  # (B, R*R*C)
        pixels = tf.ensure_shape(pixels, [batch_size, length])
        images = tf.reshape(pixels, [-1, resolution, resolution, channels])
        images = tf.cast(images, tf.float32) / 127.5 - 1.0
        images = tf.ensure_shape(images, [batch_size, resolution, resolution, channels])
        labels = tf.ensure_shape(tf.cast(features["label"], tf.int32), [batch_size])
        return images, labels

    return parse
