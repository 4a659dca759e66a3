"""Images from tensorflow-datasets: `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`.

Without SPLIT the data set's own splits are used; with one, which is anything that TFDS understands
(`test`, `train[:10%]`, `train+validation`), that is the whole collection.

Data that lies prepared in the data folder (`--tfds_data_dir`, `$TFDS_DATA_DIR`, else
`~/tensorflow_datasets`) is read as it is, also when this TFDS has no code for it. Anything else is
downloaded and prepared by TFDS, after asking whether the server answers: TFDS itself retries for
minutes when there is no network.
"""

import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from absl import logging

from ganpipe.data.sets.clients import reachable
from ganpipe.data.sources.base import Batch, Plan, Unsurveyed
from ganpipe.errors import UserError


def default_data_dir() -> Path:
    """`$TFDS_DATA_DIR`, else `~/tensorflow_datasets`, as in TFDS itself."""
    return Path(os.environ.get("TFDS_DATA_DIR") or Path.home() / "tensorflow_datasets")


@functools.lru_cache(maxsize=8)
def builder(name: str, data_dir: str):
    """The TFDS builder of `NAME[/CONFIG][:VERSION]`.

    Raises:
      UserError: unknown name, configuration or version; close names are told.
    """
    import tensorflow_datasets as tfds

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # what matters is raised below, in one line
    try:
        return tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        bare = name.partition(":")[0].partition("/")[0]
        known = set(tfds.list_builders(with_community_datasets=False))
        known |= {p.name for p in Path(data_dir).glob("*") if p.is_dir()} - {"downloads"}
        if bare in known:
            line = next(iter(str(error).strip().splitlines()), "not found")
            raise UserError(f"--source=tfds:{name}: {line}") from error
        close = difflib.get_close_matches(bare, sorted(known), n=4, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else "see tensorflow.org/datasets"
        raise UserError(
            f"--source=tfds:{name}: no TFDS data set is called {bare!r} and {data_dir} holds none "
            f"prepared under that name (flag --tfds_data_dir); {hint}"
        ) from error
    except (ValueError, AssertionError, OSError, ImportError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise UserError(
            f"--source=tfds:{name}: {lines[0].strip() if lines else type(error).__name__}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)


@dataclasses.dataclass(frozen=True)
class Features:
    """Which features of a TFDS data set are the image and its class.

    Attributes:
      image: feature name.
      label: feature name, or None.
      channels: 1, 3 or 4 as stored.
      size: (height, width) when all images have one size, else None.
      class_names: empty without labels.
    """

    image: str
    label: str | None
    channels: int
    size: tuple[int, int] | None
    class_names: tuple[str, ...]


def find_features(b) -> Features:
    """Picks the image and label features of a builder; UserError if it holds no images."""
    import tensorflow_datasets as tfds

    features = b.info.features
    supervised = [k for k in (b.info.supervised_keys or ()) if isinstance(k, str)]
    names = list(features.keys()) if hasattr(features, "keys") else []
    images = [n for n in names if isinstance(features[n], tfds.features.Image)]
    labels = [n for n in names if isinstance(features[n], tfds.features.ClassLabel)]
    if not images:
        raise UserError(
            f"--source=tfds:{b.name}: it has no image feature, only {', '.join(names) or 'none'}"
        )
    image = next((n for n in (*supervised, "image") if n in images), images[0])
    label = next((n for n in (*supervised, "label") if n in labels), None)
    if label is None and len(labels) == 1:
        label = labels[0]
    if features[image].np_dtype != np.uint8:
        raise UserError(
            f"--source=tfds:{b.name}: images are {features[image].np_dtype}, expected uint8"
        )
    height, width, channels = features[image].shape
    return Features(
        image=image,
        label=label,
        channels=int(channels or 3),
        size=(int(height), int(width)) if height and width else None,
        class_names=tuple(map(str, features[label].names)) if label else (),
    )


def make_available(name: str, data_dir: str, say: Callable[[str], None]) -> None:
    """Downloads and prepares a data set unless it lies prepared in `data_dir`.

    Raises:
      UserError: no network, a download that TFDS refuses, files to be fetched by hand.
    """
    import tensorflow_datasets as tfds

    b = builder(name, data_dir)
    if b.is_prepared():
        return
    # Some builders list no addresses; the bucket that TFDS mirrors to stands for the network then.
    url = next(iter(b.url_infos or ()), "https://storage.googleapis.com/tfds-data/")
    downloads = Path(data_dir) / "downloads"
    seeded = downloads.is_dir() and any(p.is_file() for p in downloads.rglob("*"))
    if not seeded and url.startswith("http") and not reachable(url):
        raise UserError(
            f"--source=tfds:{name} has to be downloaded from {url.split('/')[2]}, which does not "
            f"answer; connect to the network or put the prepared data into {data_dir} "
            "(flag --tfds_data_dir)"
        )
    say(f"tfds:{name}: downloading and preparing into {data_dir}")
    try:
        b.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=not seeded)
        )
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            f"--source=tfds:{name}: TFDS could not prepare it ({type(error).__name__}: "
            f"{' '.join(lines[:3])[:400]})"
        ) from error


# A version ends the builder's name; anything else after a colon is a split.
_SPEC = re.compile(r"^(?P<builder>[^:]+(?::\d+\.\d+\.\d+|:\*)?)(?::(?P<split>.+))?$")


@dataclasses.dataclass(frozen=True)
class TfdsRows:
    """Runs of rows of TFDS splits, one after the other; slices like a list.

    Attributes:
      runs: (split, first, last + 1).
    """

    runs: tuple[tuple[str, int, int], ...]

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self.runs)

    def __getitem__(self, where: slice) -> "TfdsRows":
        first, last, _ = where.indices(len(self))
        kept, place = [], 0
        for split, start, stop in self.runs:
            low, high = max(first - place, 0), min(last - place, stop - start)
            if low < high:
                kept.append((split, start + low, start + high))
            place += stop - start
        return TfdsRows(tuple(kept))


@dataclasses.dataclass(frozen=True)
class Tfds(Unsurveyed):
    """A tensorflow-datasets data set."""

    builder_name: str
    data_dir: str
    split: str = ""
    licence: str = ""
    credit: str = ""

    @property
    def name(self) -> str:
        """TFDS' name without configuration and version."""
        return self.builder_name.partition(":")[0].partition("/")[0]

    @property
    def spec(self) -> str:
        """`tfds:NAME...`, as asked for."""
        return f"tfds:{self.builder_name}" + (f":{self.split}" if self.split else "")

    @property
    def _builder(self):
        return builder(self.builder_name, self.data_dir)

    def fingerprint(self) -> str:
        """Name, configuration, version and split."""
        return f"tfds {self._builder.info.full_name} {self.split}".strip()

    def fetch(self, say: Callable[[str], None]) -> "Tfds":
        """Downloads and prepares where needed."""
        find_features(self._builder)  # before a long download
        make_available(self.builder_name, self.data_dir, say)
        return self

    def to_fetch(self) -> str:
        """What `fetch` would have to download; "" when all is there."""
        if self._builder.is_prepared():
            return ""
        size = getattr(self._builder.info, "download_size", None)
        return f"tfds:{self.name}" + (f" ({int(size) / 1e6:,.0f} MB)" if size else "")

    def fixed_size(self) -> tuple[int, int] | None:
        """As declared by the data set."""
        size = find_features(self._builder).size
        return size and (size[1], size[0])

    def _splits(self, test_fraction: float) -> dict[str, TfdsRows]:
        """Rows per split of ours."""
        import tensorflow_datasets as tfds

        counts = {name: s.num_examples for name, s in self._builder.info.splits.items()}
        counts = {name: n for name, n in counts.items() if n}
        if not counts:
            raise UserError(f"--source={self.spec}: it has no images in any split")
        if self.split:
            try:
                where = tfds.core.ReadInstruction.from_spec(self.split)
                runs = where.to_absolute(self._builder.info.splits)
                whole = TfdsRows(
                    tuple((r.splitname, r.from_ or 0, r.to or counts[r.splitname]) for r in runs)
                )
            except Exception as error:
                raise UserError(
                    f"--source={self.spec}: no split {self.split!r} ({error}); it has "
                    f"{', '.join(counts)}, and TFDS' slices of these such as train[:10%]"
                ) from error
        else:
            train = "train" if "train" in counts else max(counts, key=counts.get)
            test = next((s for s in ("test", "validation") if s in counts and s != train), None)
            if test:
                return {
                    "train": TfdsRows(((train, 0, counts[train]),)),
                    "test": TfdsRows(((test, 0, counts[test]),)),
                }
            whole = TfdsRows(((train, 0, counts[train]),))
        # TFDS' own order is a pseudo-random one, so its last tenth is a fair sample.
        total = len(whole)
        if not total:
            raise UserError(f"--source={self.spec}: this split is empty")
        held = max(1, round(test_fraction * total)) if test_fraction > 0 and total > 1 else 0
        cut = {"train": whole[: total - held]}
        return cut | ({"test": whole[total - held :]} if held else {})

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """TFDS' train and test (or validation) splits in TFDS' order; the seed has no part."""
        del seed, surveyed
        features = find_features(self._builder)
        rows = self._splits(test_fraction)
        return Plan(
            features.class_names,
            geometry.channels or (1 if features.channels == 1 else 3),
            rows,
            [],
            sum(map(len, rows.values())),
        )

    def batches(self, split: str, rows: TfdsRows, size: int, geometry) -> Iterator[Batch]:
        """Decoded arrays."""
        del split, geometry
        for name, start, stop in rows.runs:
            yield from _read(self._builder, name, start, stop, size)


def parse(rest: str, data_dir: str) -> Tfds:
    """`NAME[/CONFIG][:VERSION][:SPLIT]`; UserError if there is no such data set."""
    match = _SPEC.match(rest)
    if match is None:
        raise UserError(f"--source=tfds:{rest}: expected tfds:NAME[/CONFIG][:VERSION][:SPLIT]")
    builder(match["builder"], data_dir)
    return Tfds(match["builder"], data_dir, match["split"] or "")


def _read(b, split: str, start: int, stop: int, size: int) -> Iterator[Batch]:
    """Rows of a TFDS split in TFDS' own order.

    Pictures are (n, H, W, C) uint8 where all have one size, else a list of (H, W, C) uint8.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    features = find_features(b)
    dataset = b.as_dataset(
        split=f"{split}[{start}:{stop}]",
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )

    def pick(example):
        label = example[features.label] if features.label else tf.constant(0, tf.int64)
        return example[features.image], label

    dataset = dataset.map(pick, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if not features.size:  # pictures of many sizes go through a batch as ragged rows of bytes
        dataset = dataset.map(
            lambda image, label: ((tf.shape(image), tf.reshape(image, [-1])), label)
        )
        dataset = dataset.ragged_batch(size)
    else:
        dataset = dataset.batch(size)
    for images, labels in dataset.prefetch(1):
        if not features.size:
            shapes, rows = images[0].numpy(), images[1]
            images = [rows[i].numpy().reshape(shape) for i, shape in enumerate(shapes)]
        else:
            images = images.numpy()
        labels = labels.numpy()
        yield Batch([f"{split}/{start + i:07d}" for i in range(len(labels))], labels, images)
        start += len(labels)
