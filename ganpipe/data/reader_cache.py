"""A split decoded once: in memory as arrays, or on disk as raw shards."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ganpipe.data import manifest, records
from ganpipe.data.manifest import DatasetInfo
from ganpipe.data.reader_records import RECORD_BYTES, Decoder, features_of
from ganpipe.errors import UserError

_BATCH = 256


def available_bytes() -> int:
    """Memory that this process could still take: of the machine and of its control group."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        found.append(int(fields["MemAvailable"].split()[0]) << 10)
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        found.append(limit - int((group / "memory.current").read_text()))
    except (OSError, ValueError, KeyError):
        pass  # not Linux, or no limit on the group ("max")
    return max(min(found), 0)


def in_memory(
    data: DatasetInfo, split: str, resolution: int, features: tuple[str, ...]
) -> dict[str, tf.Tensor]:
    """All images of a split, decoded, in the order of the folder.

    Args:
      data: the folder; its shards have been checked.
      split: which split.
      resolution: which level.
      features: what to keep of each record.

    Returns:
      Per feature a tensor in host memory: (N, H, W, C) uint8, (N,) int32 labels, (N,) string keys.

    Raises:
      UserError: it would take more than half of the memory that is available.
    """
    decoder, count = Decoder(data, resolution, features), data.count(split)
    signature = decoder.signature()
    pixels = sum(int(np.prod(s)) for s, dtype in signature.values() if dtype == tf.uint8)
    need = count * (pixels + RECORD_BYTES)
    free = available_bytes()
    if need > free // 2:
        height, width, _ = data.shape(resolution)
        raise UserError(
            f"cache='memory': the {count:,} images of {split} at {height}x{width} in {data.dir} "
            f"take {_gigabytes(need)} decoded, more than half of the {_gigabytes(free)} that are "
            "free; use a smaller level, cache=FOLDER on a fast disk, or no cache"
        )
    arrays = {
        name: np.empty((count, *shape), dtype.as_numpy_dtype)
        for name, (shape, dtype) in signature.items()
    }
    begin = 0
    for batch in _decoded(data.files(split, resolution), decoder):
        end = begin + len(next(iter(batch.values())))
        for name, values in batch.items():
            arrays[name][begin:end] = values
        begin = end
    with tf.device("CPU:0"):  # where there is a GPU, its memory is for the model
        return {name: tf.constant(arrays.pop(name)) for name in list(arrays)}


def on_disk(
    data: DatasetInfo, split: str, resolution: int, root: str | Path, *, hash_up_to: int
) -> DatasetInfo:
    """The folder below `root` that holds a split's level as raw shards; writes it if need be.

    It is a data folder of that one split and level, with as many shards of as many images, so that
    it gives the same stream. It appears whole or not at all; of several processes that ask at once
    one writes and the others wait.

    Args:
      data: the folder to decode from.
      split: which split.
      resolution: which level.
      root: folder for caches of any number of data sets; made if need be.
      hash_up_to: see `manifest.check_files`.

    Raises:
      UserError: `root` cannot be written, a shard of `data` is damaged, or one of the cache.
    """
    root = Path(root)
    folder = root / f"{data.fingerprint[:16]}-{split}-{resolution:04d}"
    request = {"cache_of": data.fingerprint, "split": split, "resolution": resolution}
    if not folder.exists():
        manifest.check_files(data, split, resolution, hash_up_to=hash_up_to)
        try:
            root.mkdir(parents=True, exist_ok=True)
            with open(root / f".{folder.name}.lock", "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not folder.exists():
                    _write(data, split, resolution, folder, request)
        except OSError as error:
            raise UserError(f"cache={root} cannot be written ({error})") from error
    try:
        cached = manifest.info(folder)
        if dict(cached.request) != request:
            raise UserError(f"it was made for {dict(cached.request)}, not {request}")
        manifest.check_files(cached, split, resolution, hash_up_to=hash_up_to)
    except UserError as error:
        raise UserError(
            f"the cache {folder} cannot be used; remove this folder, it is made again ({error})"
        ) from error
    return cached


def _write(
    data: DatasetInfo, split: str, resolution: int, folder: Path, request: dict[str, Any]
) -> None:
    """Writes raw shards and their dataset.json beside `folder`, then renames. Under the lock."""
    work = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(work, ignore_errors=True)  # what a killed process left
    work.mkdir()
    try:
        decoder = Decoder(data, resolution, features_of(data))
        entries = []
        for source in data.files(split, resolution):
            target = records.ShardWriter(work / source["file"], data.shape(resolution))
            for batch in _decoded([source], decoder):
                images, labels = batch["image"], batch["label"].tolist()
                keys = [key.decode("utf-8", "surrogateescape") for key in batch["key"]]
                maps = batch["map"][..., 0] if "map" in batch else None
                target.write(images, labels, keys, maps, batch.get("pair"))
            entries.append(target.close())
        level = next(level for level in data.levels if level["resolution"] == resolution)
        content = data.to_json() | {
            "levels": [{**level, "encoding": "raw"}],
            "splits": {split: dict(data.splits[split])},
            "shards": {split: {str(resolution): entries}},
            "request": request,
        }
        content["fingerprint"] = manifest.content_fingerprint(content)
        (work / manifest.MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")
        os.rename(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _decoded(entries: list[dict[str, Any]], decoder: Decoder) -> Iterator[dict[str, np.ndarray]]:
    """Batches of whole shards, decoded, in the order of the folder."""
    stream = tf.data.TFRecordDataset([str(e["path"]) for e in entries], buffer_size=1 << 20)
    stream = stream.batch(_BATCH)
    stream = stream.map(decoder, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return stream.prefetch(1).as_numpy_iterator()


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
