"""The workers' half of ExampleGen: one shard's worth of images, at every level, into files.

A shard is cut into blocks of some pictures. Threads take a block each through everything that
costs: reading, decoding, geometry, pyramid, encoding, record assembly (Pillow, NumPy and the
checksums let go of the interpreter lock meanwhile). The finished bytes are appended in order, so
what a shard holds never depends on the number of threads, workers or machines.
"""

import collections
import contextlib
import dataclasses
import functools
import json
import os
import threading
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe.data import codecs, records, scratch, transforms
from ganpipe.data.decode import RejectedError
from ganpipe.data.sources.base import Batch, Plan, Source

# A shard holds at most so many images, and bytes of raw pixels at the top level.
SHARD_IMAGES, SHARD_BYTES = 8192, 64 << 20
# A block holds at most so many images, and bytes of raw pixels at the top level.
_BLOCK_IMAGES, _BLOCK_BYTES = 64, 4 << 20
SURVEY_FILES = 256


@dataclasses.dataclass(frozen=True)
class Shard:
    """One Beam element."""

    split: str
    index: int
    of: int
    rows: Any

    @property
    def stem(self) -> str:
        """Name of the files in which a worker leaves its notes."""
        return f"{self.split}-{self.index:05d}"

    def file(self, height: int) -> str:
        """File name of a level."""
        return f"{self.split}-{height:04d}-{self.index:05d}-of-{self.of:05d}.tfrecord"


@dataclasses.dataclass(frozen=True)
class Target:
    """What becomes of the pictures: all that a worker must know besides its rows.

    Attributes:
      geometry: sizes and channels.
      encoding: as asked for (`codecs.choose` picks that of each level).
      num_classes: 0 without labels.
      map_classes: number of classes of label maps; 0 without maps.
      pair_channels: 0 without pairs.
    """

    geometry: transforms.Geometry
    encoding: str
    num_classes: int
    map_classes: int
    pair_channels: int

    @property
    def pair_geometry(self) -> transforms.Geometry:
        """That of the second pictures."""
        return dataclasses.replace(self.geometry, channels=self.pair_channels)

    def levels(self) -> list[dict[str, Any]]:
        """As in `dataset.json`."""
        return [
            {"resolution": h, "shape": [h, w], "encoding": codecs.choose(self.encoding, h, w)}
            for h, w in self.geometry.level_shapes()
        ]

    def encoders(self) -> dict[int, records.ExampleEncoder]:
        """Height -> encoder."""
        return {
            level["resolution"]: records.ExampleEncoder(
                (*level["shape"], self.geometry.channels), level["encoding"]
            )
            for level in self.levels()
        }

    def raw_bytes(self) -> int:
        """Of one record at the top level."""
        maps, g = bool(self.map_classes), self.geometry
        return g.height * g.width * (g.channels + self.pair_channels + maps)


@dataclasses.dataclass
class Block:
    """Finished records: bytes per height, and what happened on the way."""

    frames: dict[int, bytes]
    labels: np.ndarray
    skipped: list[tuple[str, str]]
    kinds: Counter[str]


def cut(plan: Plan, target: Target) -> list[Shard]:
    """Equal shards, bounded in images and bytes."""
    most = max(1, min(SHARD_IMAGES, SHARD_BYTES // target.raw_bytes()))
    shards = []
    for split, rows in plan.splits.items():
        of = -(-len(rows) // most)
        edges = np.linspace(0, len(rows), of + 1).astype(int)
        shards += [Shard(split, i, of, rows[edges[i] : edges[i + 1]]) for i in range(of)]
    return shards


def finished(shard: Shard, folder: Path) -> dict | None:
    """What an earlier, broken-off run left of a shard, if it is whole: its result."""
    path = folder / scratch.WORK / f"{shard.stem}.json"
    try:
        result = json.loads(path.read_text())
        for entry in result["levels"].values():
            if (folder / entry["file"]).stat().st_size != entry["bytes"]:
                return None
        return result
    except (OSError, ValueError, KeyError):
        return None


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The process' threads for blocks; made anew after a fork."""
    del process
    return ThreadPoolExecutor(_threads(), thread_name_prefix="blocks")


def _threads() -> int:
    return max(2, min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4))


def in_order(work: Any, items: Iterator[Any]) -> Iterator[Any]:
    """Results of `work(item)` in the order of the items, a bounded number of them under way."""
    pool, window = _pool(os.getpid()), collections.deque()
    try:
        for item in items:
            window.append(pool.submit(work, item))
            if len(window) > _threads() + 2:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        for future in window:
            future.cancel()


@contextlib.contextmanager
def _no_remarks() -> Iterator[None]:
    """Without Pillow's warnings on odd metadata; once a shard, as filters are global."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_no_remarks()
def write(shard: Shard, source: Source, target: Target, folder: str) -> None:
    """Writes one shard at every level, and a small JSON file that says what became of it."""
    out = Path(folder)
    work = out / scratch.WORK
    size = max(1, min(_BLOCK_IMAGES, _BLOCK_BYTES // target.raw_bytes()))
    make = BlockMaker(shard.split, source, target, size)
    per_class = np.zeros(target.num_classes, np.int64)
    skipped, kinds, done = [], Counter(), 0
    with contextlib.ExitStack() as stack:
        writers = {}
        for height, encoder in target.encoders().items():
            writer = records.ShardWriter(out / shard.file(height), encoder.shape, encoder.encoding)
            stack.callback(writer.discard)
            writers[height] = writer
        for block in in_order(make, make.items(shard.rows)):
            for height, frames in block.frames.items():
                writers[height].append(frames, len(block.labels))
            if target.num_classes:
                per_class += np.bincount(block.labels, minlength=target.num_classes)
            skipped += block.skipped
            kinds += block.kinds
            done += len(block.labels)
            scratch.note(work / f"{shard.stem}.done", done, kinds)
        entries = {str(height): writer.close() for height, writer in writers.items()}
    result = {
        "split": shard.split,
        "index": shard.index,
        "count": done,
        "per_class": per_class.tolist(),
        "skipped": skipped,
        "levels": entries,
    }
    scratch.write_atomically(work / f"{shard.stem}.json", json.dumps(result))


class BlockMaker:
    """From some rows, or a batch that was read already, to finished records."""

    def __init__(self, split: str, source: Source, target: Target, size: int):
        self._split, self._source, self._target, self._size = split, source, target, size
        self._local = threading.local()  # encoders keep small caches: one a thread

    def items(self, rows: Any) -> Iterator[Any]:
        """What `__call__` takes: slices of rows where a source reads them cheaply, else batches."""
        if getattr(self._source, "cheap_slices", False):
            yield from (rows[i : i + self._size] for i in range(0, len(rows), self._size))
        else:
            geometry = self._target.geometry
            yield from self._source.batches(self._split, rows, self._size, geometry)

    def __call__(self, item: Any) -> Block:
        """The records of one item of `items`."""
        if isinstance(item, Batch):
            return self._make(item)
        batches = self._source.batches(self._split, item, self._size, self._target.geometry)
        return self._make(next(iter(batches)))

    def _make(self, batch: Batch) -> Block:
        target = self._target
        if not hasattr(self._local, "encoders"):
            self._local.encoders = target.encoders()
        top = self._local.encoders[target.geometry.height]
        fitted = transforms.to_images(
            batch.pictures, target.geometry, keep_png=top.encoding == "png"
        )
        maps = pairs = None
        if target.num_classes:
            fitted = self._labelled(batch, fitted)
        if target.map_classes:
            fitted, maps = self._mapped(batch, fitted)
        if target.pair_channels:
            fitted, pairs = self._paired(batch, fitted)
        labels = np.zeros(len(fitted.kept), np.int64)
        if target.num_classes:
            labels = np.asarray(batch.labels)[fitted.kept]
        keys = [batch.keys[i] for i in fitted.kept]
        levels = target.geometry.levels
        images_at = transforms.pyramid(fitted.images, levels)
        maps_at = transforms.map_pyramid(maps, levels) if maps is not None else {}
        pairs_at = transforms.pyramid(pairs, levels) if pairs is not None else {}
        frames = {}
        for h, encoder in self._local.encoders.items():
            files = fitted.files if encoder is top else ()
            frames[h] = encoder.frames(
                images_at[h], labels, keys, maps_at.get(h), pairs_at.get(h), files
            )
        return Block(
            frames,
            labels,
            [(batch.keys[i], str(error)) for i, error in fitted.left_out],
            Counter(error.kind for _, error in fitted.left_out),
        )

    def _labelled(self, batch: Batch, fitted: transforms.Fitted) -> transforms.Fitted:
        """Leaves out pictures whose class there is not."""
        classes, fine = self._target.num_classes, []
        for row, i in enumerate(fitted.kept):
            if 0 <= batch.labels[i] < classes:
                fine.append(row)
            else:
                text = f"label {batch.labels[i]} is outside 0..{classes - 1}"
                fitted.left_out.append((i, RejectedError("wrong label", text)))
        return fitted.take(fine)

    def _mapped(
        self, batch: Batch, fitted: transforms.Fitted
    ) -> tuple[transforms.Fitted, np.ndarray]:
        """The label maps of the pictures, without those whose map cannot be used."""
        target, rows, made = self._target, [], []
        for row, i in enumerate(fitted.kept):
            try:
                if fitted.turned[row]:
                    text = "its EXIF orientation turns it, but not its map; save it upright"
                    raise RejectedError("map", text)
                ids = transforms.to_map(batch.maps[i], fitted.sizes[row], target.geometry)
                beyond = ids[(ids >= target.map_classes) & (ids != transforms.UNKNOWN)]
                if beyond.size:
                    last = target.map_classes - 1
                    text = f"its map has the id {beyond[0]}, the classes are 0..{last}"
                    raise RejectedError("map", text)
                rows.append(row)
                made.append(ids)
            except RejectedError as error:
                fitted.left_out.append((i, error))
        maps = np.stack(made) if made else np.zeros((0, *target.geometry.shape), np.uint8)
        return fitted.take(rows), maps

    def _paired(
        self, batch: Batch, fitted: transforms.Fitted
    ) -> tuple[transforms.Fitted, np.ndarray]:
        """The second pictures, without couples of which that cannot be used."""
        wanted = [batch.pairs[i] for i in fitted.kept]
        if isinstance(batch.pairs, np.ndarray):
            wanted = batch.pairs[fitted.kept]
        pairs = transforms.to_images(wanted, self._target.pair_geometry)
        for row, error in pairs.left_out:
            told = RejectedError(error.kind, f"its partner: {error}")
            fitted.left_out.append((fitted.kept[row], told))
        return fitted.take(pairs.kept), pairs.images


@_no_remarks()
def survey(chunk: tuple[int, Sequence[str]], source: Source, folder: str) -> None:
    """Opens some files of a source and leaves what was found in a JSON-lines file."""
    index, keys = chunk
    work = Path(folder) / scratch.WORK
    parts = [keys[i : i + 32] for i in range(0, len(keys), 32)]
    rows = [row for part in in_order(lambda p: list(source.survey(p)), iter(parts)) for row in part]
    bad = Counter(row["error"][0] for row in rows if "error" in row)
    text = "\n".join(json.dumps(row) for row in rows)
    scratch.write_atomically(work / f"survey-{index:06d}.jsonl", text)
    scratch.note(work / f"survey-{index:06d}.done", len(rows) - bad.total(), bad)
