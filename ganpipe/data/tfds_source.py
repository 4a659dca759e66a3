"""Images from tensorflow-datasets: `tfds:NAME`, `tfds:NAME/CONFIG`, `tfds:NAME:VERSION`.

Data that lies prepared in the data folder (`--tfds_data_dir`, `$TFDS_DATA_DIR`, else
`~/tensorflow_datasets`) is read as it is, also when this TFDS has no code for it. Anything else is
downloaded and prepared by TFDS, after asking whether the server answers: TFDS itself retries for
minutes when there is no network.
"""

import dataclasses
import difflib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ganpipe.data import fashion_mnist
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
    if not seeded and url.startswith("http") and not fashion_mnist.reachable(url):
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


def read_batches(
    name: str, data_dir: str, split: str, rows: range, size: int
) -> Iterator[tuple[list[str], np.ndarray, list[np.ndarray] | np.ndarray]]:
    """Yields (keys, labels (n,) int64, images) of rows of a TFDS split in TFDS' own order.

    Images are (n, H, W, C) uint8 where all have one size, else a list of (H, W, C) uint8.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    b = builder(name, data_dir)
    features = find_features(b)
    dataset = b.as_dataset(
        split=f"{split}[{rows.start}:{rows.stop}]",
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )

    def pick(example):
        label = example[features.label] if features.label else tf.constant(0, tf.int64)
        return example[features.image], label

    dataset = dataset.map(pick, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    first = rows.start
    if features.size:
        for images, labels in dataset.batch(size).as_numpy_iterator():
            yield [f"{split}/{first + i:07d}" for i in range(len(labels))], labels, images
            first += len(labels)
        return
    images, labels = [], []
    for image, label in dataset.as_numpy_iterator():
        images.append(image)
        labels.append(label)
        if len(images) == size:
            keys = [f"{split}/{first + i:07d}" for i in range(size)]
            yield keys, np.array(labels, np.int64), images
            first += size
            images, labels = [], []
    if images:
        keys = [f"{split}/{first + i:07d}" for i in range(len(images))]
        yield keys, np.array(labels, np.int64), images
