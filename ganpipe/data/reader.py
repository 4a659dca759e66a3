"""`load`: a prepared data folder as a `tf.data` stream whose order is a function of (seed, step).

Shuffling is by groups of shards (`reader_order`): a group is as many shards, in an order drawn
anew for every epoch, as fit 512 MiB decoded. A split of at most that size (Fashion-MNIST, CIFAR-10,
2,700 RGB images of 256x256 ...) is one group: its shuffle is a perfect one, and its records are
read once and stay in memory. Of a larger one the next group is read while one is handed out, so two
are held, 1 GiB at most.

Nothing but (seed, step) enters, so a stream can start anywhere: `start_step` finds the epoch, the
group and the place in it by arithmetic. Groups before it are not opened, and of the one it lies in
no record is parsed that is not handed out. The same goes for the slices of other workers.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from ganpipe.data import manifest, reader_cache, reader_order, reader_records
from ganpipe.data.fade import fade as blend
from ganpipe.data.manifest import DatasetInfo
from ganpipe.errors import UserError
from ganpipe.ops import images as image_ops

# Most bytes of decoded images that are shuffled together.
SHUFFLE_BYTES = 512 << 20
# Up to this many bytes the contents of all shards are checked before use (about 1 GB/s, once).
HASH_BYTES = 512 << 20

Schedule = Callable[[tf.Tensor], tf.Tensor]


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
    features: Sequence[str] = ("image", "label"),
    mirror: bool = False,
    fade: Schedule | None = None,
    shard: tuple[int, int] = (0, 1),
    cache: str | Path | None = None,
) -> tf.data.Dataset:
    """Streams images, and what belongs to them, of a prepared folder.

    Args:
      directory: folder written by `python -m pipeline.prepare`.
      resolution: height in pixels of one of the folder's levels; no other level is opened.
      batch_size: images per batch, >= 1, over all workers; the global batch under tf.distribute.
      split: `train` or `test`; `trainA`, `trainB`, `testA` or `testB` of two unpaired domains.
      seed: together with the step, all that the order depends on; any integer.
      start_step: batches to leave out from the beginning: the stream then equals that of
        `start_step=0` from there on, bit for bit, and costs at most the reading of one group.
      repeat: epoch after epoch without end, each in another order; else one epoch.
      shuffle: False keeps the order of the folder in every epoch.
      drop_remainder: True leaves out the last count % batch_size images of every epoch (others
        each time), so an epoch has count // batch_size steps. False with `repeat` lets batches run
        across the border of two epochs; False without `repeat` gives a shorter last batch.
      features: what to yield, in this order, of `image`, `label`, `map`, `pair` and `key`.
      mirror: flips each image with probability 1/2, its map and pair with it; a function of (seed,
        position in the stream).
      fade: maps the step (int64 scalar) to alpha in [0, 1) (float32 scalar) in TensorFlow
        operations; `image` and `pair` are then `fade(x, alpha)`, see `ganpipe.data.fade`.
      shard: (index, count): cuts every batch into `count` equal slices and yields the one of
        `index`. All slices together are the stream of one worker, bit for bit.
      cache: None reads from `directory`. "memory" holds the split decoded, as one array, and
        shuffles it perfectly whatever its size. A path keeps it there, decoded, as raw shards;
        they are written once. Neither changes the stream, but for "memory" where a split is
        larger than one group.

    Returns:
      Dataset of tuples: image and pair (B, H, W, C) float32 in [-1, 1], x = uint8 / 127.5 - 1;
      label (B,) int32, zeros when the set has no classes; map (B, H, W) int32 ids; key (B,) string.
      B is batch_size / count of `shard`. All shapes are static, but for the batch axis with
      `drop_remainder=False` and `repeat=False`. Deterministic; its cardinality is known; its
      auto-shard policy is DATA, or OFF with `shard` of more than one.

    Raises:
      UserError: no such folder, split, level or feature; fewer images than one batch; a batch that
        the workers cannot share; not the memory for `cache="memory"`; a shard that is missing, cut
        short or (checked up to 512 MiB; beyond that TFRecord's own CRC raises
        tf.errors.DataLossError when the record is read) changed.
    """
    data = manifest.info(directory)
    _check_split(data, split)
    return _load(
        data,
        resolution,
        batch_size,
        split,
        reader_order.seed_words(seed),
        start_step=start_step,
        repeat=repeat,
        shuffle=shuffle,
        drop_remainder=drop_remainder,
        features=features,
        mirror=mirror,
        fade=fade,
        shard=shard,
        cache=cache,
    )


def load_domains(
    directory: str | Path,
    resolution: int,
    batch_size: int,
    split: str = "train",
    seed: int = 0,
    **settings: Any,
) -> tf.data.Dataset:
    """Streams two unpaired domains side by side, each in an order of its own, without end.

    Every domain goes through its epochs at its own pace: the smaller one starts again more often.

    Args:
      directory: folder with the splits trainA and trainB (and testA, testB).
      resolution: as in `load`.
      batch_size: images per batch of each domain.
      split: `train` or `test`.
      seed: as in `load`.
      **settings: `start_step`, `shuffle`, `drop_remainder`, `features`, `mirror`, `fade`, `shard`,
        `cache`: as in `load`, for both domains.

    Returns:
      Dataset of ((images_a, labels_a), (images_b, labels_b)), each as `load` yields them.

    Raises:
      UserError: as `load`; also a folder of one domain.
    """
    data = manifest.info(directory)
    if not data.domains:
        raise UserError(
            f"{data.dir} holds one domain; load it with `load(..., split={split!r})`, or prepare "
            "two with --source=unpaired:DIR_A,DIR_B"
        )
    if "repeat" in settings:
        raise TypeError("load_domains has no end; read an epoch of one domain with load")
    streams = [
        _load(
            data,
            resolution,
            batch_size,
            split + letter,
            reader_order.seed_words(seed, (number,)),
            **settings,
        )
        for number, letter in enumerate("AB")
    ]
    options = streams[0].options()
    return tf.data.Dataset.zip(*streams).with_options(options)


def _check_split(data: DatasetInfo, split: str) -> None:
    if data.domains and split in ("train", "test"):
        raise UserError(
            f"{data.dir} has no split {split!r} but two domains, {' and '.join(data.domains)}, in "
            f"the splits {', '.join(sorted(data.splits))}; choose one of these, or read both with "
            "ganpipe.data.load_domains"
        )
    data.check_split(split)


def _load(
    data: DatasetInfo,
    resolution: int,
    batch_size: int,
    split: str,
    words: Any,
    *,
    start_step: int = 0,
    repeat: bool = True,
    shuffle: bool = True,
    drop_remainder: bool = True,
    features: Sequence[str] = ("image", "label"),
    mirror: bool = False,
    fade: Schedule | None = None,
    shard: tuple[int, int] = (0, 1),
    cache: str | Path | None = None,
) -> tf.data.Dataset:
    """`load` of an open folder, with the words that its seed gives."""
    entries = [e for e in data.files(split, resolution) if e["count"]]
    features = reader_records.check_features(data, features)
    if batch_size < 1 or start_step < 0:
        raise UserError(
            f"batch_size={batch_size} and start_step={start_step}: expected at least 1 and 0"
        )
    full = drop_remainder or repeat  # all batches have batch_size images
    _check_shard(shard, batch_size, full)
    height, width, _ = data.shape(resolution)
    if fade is not None and (height % 2 or width % 2):
        raise UserError(f"fade: images of {height}x{width} cannot be halved; use a larger level")
    counts = tuple(e["count"] for e in entries)
    if not counts or (drop_remainder and sum(counts) < batch_size):
        raise UserError(
            f"split {split!r} of {data.dir} has {sum(counts)} images, fewer than one batch of "
            f"{batch_size}; lower train.batch_size or prepare more images"
        )
    used = sum(counts) - sum(counts) % batch_size if drop_remainder else sum(counts)
    start = start_step * batch_size
    if not repeat and start >= used:
        raise UserError(f"start_step={start_step} lies beyond the one epoch of {used} images")
    order = reader_order.Order(
        counts=counts,
        per_group=_per_group(data, resolution, counts, shuffle, cache),
        used=used,
        batch_size=batch_size,
        start=start,
        words=words,
        shuffle=shuffle,
        repeat=repeat,
        shard=shard,
    )

    if cache is not None and cache != "memory":
        data = reader_cache.on_disk(data, split, resolution, cache, hash_up_to=HASH_BYTES)
        entries = [e for e in data.files(split, resolution) if e["count"]]
    else:
        manifest.check_files(data, split, resolution, hash_up_to=HASH_BYTES)
    decode = reader_records.Decoder(data, resolution, features)
    if cache == "memory":
        held = reader_cache.in_memory(data, split, resolution, features)
        stream, pick = _places(order), lambda at: {k: tf.gather(v, at) for k, v in held.items()}
    else:
        stream, pick = _records(order, [str(e["path"]) for e in entries]), decode

    rows = order.rows if full else None

    def finish(step: tf.Tensor, batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        values = pick(batch)
        position = step * batch_size + shard[0] * order.rows + tf.range(tf.size(batch, tf.int64))
        flips = reader_order.coins(words[2], position) if mirror else None
        alpha = tf.cast(fade(step), tf.float32) if fade is not None else None
        return tuple(_finished(name, values[name], rows, flips, alpha) for name in features)

    steps = tf.data.Dataset.range(start_step, tf.int64.max)
    stream = tf.data.Dataset.zip(steps, stream)
    stream = stream.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    left = tf.data.INFINITE_CARDINALITY if repeat else math.ceil((used - start) / batch_size)
    stream = stream.apply(tf.data.experimental.assert_cardinality(left))
    policy = tf.data.experimental.AutoShardPolicy
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = policy.OFF if shard[1] > 1 else policy.DATA
    return stream.with_options(options).prefetch(tf.data.AUTOTUNE)


def _check_shard(shard: tuple[int, int], batch_size: int, full: bool) -> None:
    index, count = shard
    if not 0 <= index < count or batch_size % count:
        raise UserError(
            f"shard={shard} of batch_size={batch_size}: expected (index, count) with 0 <= index < "
            "count and a batch that divides by count"
        )
    if count > 1 and not full:
        raise UserError(
            f"shard={shard}: workers cannot share a shorter last batch; set drop_remainder=True"
        )


def _per_group(
    data: DatasetInfo,
    resolution: int,
    counts: tuple[int, ...],
    shuffle: bool,
    cache: str | Path | None,
) -> int:
    """Shards per group. By decoded size, so that encoding and a cache on disk change no order."""
    if cache == "memory":
        return len(counts)
    if not shuffle:
        return 1
    size = max(counts) * reader_records.image_bytes(data, resolution)
    return max(1, min(len(counts), SHUFFLE_BYTES // size))


def _places(order: reader_order.Order) -> tf.data.Dataset:
    """(rows,) int32 vectors: the places of each batch in the split, which is one group."""
    stream = order.numbers().flat_map(order.blocks)
    return stream.rebatch(order.rows)


def _records(order: reader_order.Order, paths: list[str]) -> tf.data.Dataset:
    """(rows,) string vectors: the serialised records of each batch."""
    paths = tf.constant(paths)

    def read(shards: tf.Tensor) -> tf.data.Dataset:
        # All records of some shards as one vector; no element at all without shards.
        lines = tf.data.TFRecordDataset(tf.gather(paths, shards), buffer_size=1 << 20)
        return lines.batch(sum(order.counts))

    if order.num_groups == 1:  # read once, for all epochs
        everything = read(tf.range(len(order.counts)))
        return everything.flat_map(
            lambda records: _places(order).map(lambda at: tf.gather(records, at))
        )

    def group(epoch: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        records = read(order.shards(epoch, number))
        return records.map(lambda lines: (lines, epoch, number))

    def hand_out(records: tf.Tensor, epoch: tf.Tensor, number: tf.Tensor) -> tf.data.Dataset:
        return order.blocks(epoch, number).map(lambda at: tf.gather(records, at))

    # The next group is read while one is handed out.
    return order.numbers().flat_map(group).prefetch(1).flat_map(hand_out).rebatch(order.rows)


def _finished(
    name: str,
    values: tf.Tensor,
    rows: int | None,
    flips: tf.Tensor | None,
    alpha: tf.Tensor | None,
) -> tf.Tensor:
    """One feature as it leaves the reader, from what `Decoder` makes of it."""
    if name in ("label", "key"):
        return tf.ensure_shape(values, [rows])
    if flips is not None:
        # Whole images are copied from one of two batches: a select by broadcasting takes ten times
        # as long as reading the batch.
        both = tf.concat([values, tf.reverse(values, [2])], axis=0)
        count = tf.size(flips)
        values = tf.gather(both, tf.range(count) + count * tf.cast(flips, tf.int32))
    values = tf.ensure_shape(values, [rows, *values.shape[1:]])
    if name == "map":
        return tf.cast(values[..., 0], tf.int32)
    values = image_ops.to_float(values)
    if alpha is None:
        return values
    # Most of a training shows images as they are.
    return tf.cond(alpha > 0, lambda: blend(values, alpha), lambda: values)
