"""Where images come from: one small class per kind of source, all with the same four answers.

| source | kind |
| --- | --- |
| `fashion_mnist` | the embedded default, 70,000 28x28 grey images (fashion_mnist.py) |
| `folder:DIR` | pictures in a folder, flat or in class sub-folders (folder.py) |
| `tfds:NAME` | tensorflow-datasets (tfds_source.py) |

A source is opened (`open_source`: cheap checks, UserErrors), fetched (`fetch`: downloads), planned
(`plan`: which images go into which split, in which order) and read (`batches`). Sources are small
picklable records, so that Beam workers can read on their own.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ganpipe.data import fashion_mnist, folder, tfds_source, transforms
from ganpipe.errors import UserError

# One batch of pictures: keys, labels (n,) int64, and either encoded files (bytes) and/or
# (H, W, C) uint8 arrays, or one (n, H, W, C) uint8 array.
Batch = tuple[list[str], np.ndarray, Any]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which images will be written.

    Attributes:
      class_names: in label order; empty without labels.
      channels: 1 or 3.
      splits: per split the rows, in the order in which they will be written; rows can be sliced.
      skipped: (key, reason) of pictures that were found to be unusable.
      total: pictures looked at, skipped ones included.
    """

    class_names: tuple[str, ...]
    channels: int
    splits: dict[str, Any]
    skipped: list[tuple[str, str]]
    total: int


class Source(Protocol):
    """What the rest of the pipeline knows of a source."""

    spec: str  # as recorded in dataset.json
    name: str

    def fingerprint(self) -> str:
        """Text that changes when the inputs change; cheap, nothing is fetched."""
        ...

    def fetch(self, say: Callable[[str], None]) -> "Source":
        """The source with its data on this machine."""
        ...

    def fixed_size(self) -> tuple[int, int] | None:
        """(width, height) when all pictures have one known size."""
        ...

    def files_to_survey(self) -> list[str]:
        """Keys of files that must be opened (see `folder.survey`) before planning."""
        ...

    def plan(
        self,
        geometry: transforms.Geometry,
        seed: int,
        test_fraction: float,
        surveyed: dict[str, dict],
    ) -> Plan:
        """Splits, order and classes. `geometry.channels` may be 0 here: the source decides."""
        ...

    def batches(self, split: str, rows: Any, size: int) -> Iterator[Batch]:
        """Reads rows of a split in batches of at most `size`."""
        ...


def open_source(spec: str, tfds_data_dir: str | None = None) -> Source:
    """Understands `--source`.

    Args:
      spec: `fashion_mnist`, `folder:DIR` or `tfds:NAME[/CONFIG][:VERSION]`.
      tfds_data_dir: where TFDS keeps its data; `$TFDS_DATA_DIR` or `~/tensorflow_datasets` if None.

    Raises:
      UserError: unknown kind, missing or empty folder, unknown TFDS name.
    """
    kind, _, rest = spec.partition(":")
    if spec == "fashion_mnist":
        return FashionMnist()
    if kind == "folder" and rest:
        # No resolve(): a linked folder keeps the name that its owner gave it.
        return Folder(str(Path(rest).expanduser().absolute()))
    if kind == "tfds" and rest:
        data_dir = str(Path(tfds_data_dir or tfds_source.default_data_dir()).expanduser())
        tfds_source.builder(rest, data_dir)
        return Tfds(rest, data_dir)
    hint = f" Did you mean --source=folder:{spec}?" if Path(spec).is_dir() else ""
    raise UserError(
        f"--source={spec!r} is not known; expected fashion_mnist, folder:DIR or tfds:NAME.{hint}"
    )


def source_fingerprint(spec: str, tfds_data_dir: str | None = None) -> str:
    """Cheap fingerprint of a source's inputs, to decide whether to prepare again.

    fashion_mnist: the pinned SHA-256 of its files. folder: relative paths, sizes and modification
    times of all pictures. tfds: name, configuration and version. Nothing is fetched or decoded.

    Returns:
      64 hex digits.

    Raises:
      UserError: as `open_source`.
    """
    text = open_source(spec, tfds_data_dir).fingerprint()
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class FashionMnist:
    """The embedded default data set; `directory` is known once fetched."""

    directory: str | None = None
    spec: str = "fashion_mnist"
    name: str = "fashion_mnist"

    def fingerprint(self) -> str:
        """The pinned hashes: the data cannot change."""
        return f"fashion_mnist {sorted(fashion_mnist.PINNED.items())}"

    def fetch(self, say: Callable[[str], None]) -> "FashionMnist":
        """Finds or fetches the files."""
        return dataclasses.replace(self, directory=str(fashion_mnist.locate(say)))

    def fixed_size(self) -> tuple[int, int] | None:
        """Always 28x28."""
        return (28, 28)

    def files_to_survey(self) -> list[str]:
        """None."""
        return []

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """The official train and test splits, each permuted by the seed."""
        del test_fraction, surveyed
        splits = {}
        for number, split in enumerate(("train", "test")):
            count = len(_fashion_mnist_arrays(self.directory, split)[1])
            splits[split] = np.random.default_rng([seed, number]).permutation(count)
        return Plan(
            fashion_mnist.CLASS_NAMES,
            geometry.channels or 1,
            splits,
            [],
            sum(map(len, splits.values())),
        )

    def batches(self, split: str, rows: np.ndarray, size: int) -> Iterator[Batch]:
        """28x28 arrays."""
        images, labels = _fashion_mnist_arrays(self.directory, split)
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            keys = [f"{split}/{i:05d}" for i in part]
            yield keys, labels[part].astype(np.int64), images[part]


@lru_cache(maxsize=2)
def _fashion_mnist_arrays(directory: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    return fashion_mnist.read(Path(directory), split)


@dataclasses.dataclass(frozen=True)
class Folder:
    """Pictures in a folder."""

    directory: str

    @property
    def name(self) -> str:
        """The folder's own name."""
        return Path(self.directory).name or "folder"

    @property
    def spec(self) -> str:
        """`folder:` and the absolute path, so that messages can give commands that work."""
        return f"folder:{self.directory}"

    @property
    def _layout(self) -> folder.Layout:
        return _layout(self.directory)

    def fingerprint(self) -> str:
        """Relative paths, sizes and modification times."""
        return f"folder {folder.fingerprint(folder.scan(self.directory))}"

    def fetch(self, say: Callable[[str], None]) -> "Folder":
        """Looks at the layout (UserError if there is nothing to use)."""
        _layout.cache_clear()  # the folder may have changed since an earlier run in this process
        layout = self._layout
        classes = f"{len(layout.class_names)} classes" if layout.class_names else "no classes"
        say(
            f"{self.directory}: {len(layout.files)} pictures, {classes}"
            + (", train and test folders" if layout.has_splits else "")
            + (f"; {layout.passed_over} other files passed over" if layout.passed_over else "")
        )
        return self

    def fixed_size(self) -> tuple[int, int] | None:
        """Not known before the survey."""
        return None

    def files_to_survey(self) -> list[str]:
        """Every picture."""
        return [file.key for file in self._layout.files]

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """Leaves out what the survey found unusable, cuts the test split, orders by the seed."""
        layout = self._layout
        good, skipped = [], []
        for file in layout.files:
            row = surveyed.get(file.key, {"error": "not surveyed"})
            if "error" in row:
                skipped.append((file.key, row["error"]))
                continue
            try:
                transforms.check_size(tuple(row["size"]), geometry)
                good.append(file)
            except transforms.RejectedError as error:
                skipped.append((file.key, str(error)))
        hashes = {file.key: surveyed[file.key]["sha256"] for file in good}
        if not layout.has_splits:
            good = folder.cut_test(good, hashes, test_fraction)
        splits = {}
        for split in ("train", "test"):
            rows = [file for file in good if file.split == split]
            if rows:
                splits[split] = folder.shuffled(rows, hashes, seed)
        grey = bool(good) and all(surveyed[file.key]["grey"] for file in good)
        return Plan(
            layout.class_names,
            geometry.channels or (1 if grey else 3),
            splits,
            skipped,
            len(layout.files),
        )

    def batches(self, split: str, rows: Sequence[folder.File], size: int) -> Iterator[Batch]:
        """Encoded files."""
        return folder.read_batches(Path(self.directory), rows, size)


@lru_cache(maxsize=4)
def _layout(directory: str) -> folder.Layout:
    return folder.scan(directory)


@dataclasses.dataclass(frozen=True)
class Tfds:
    """A tensorflow-datasets data set."""

    builder_name: str
    data_dir: str

    @property
    def name(self) -> str:
        """TFDS' name without configuration and version."""
        return self.builder_name.partition(":")[0].partition("/")[0]

    @property
    def spec(self) -> str:
        """`tfds:NAME...`, as asked for."""
        return f"tfds:{self.builder_name}"

    @property
    def _builder(self):
        return tfds_source.builder(self.builder_name, self.data_dir)

    def fingerprint(self) -> str:
        """Name, configuration and version."""
        return f"tfds {self._builder.info.full_name}"

    def fetch(self, say: Callable[[str], None]) -> "Tfds":
        """Downloads and prepares where needed."""
        tfds_source.find_features(self._builder)  # before a long download
        tfds_source.make_available(self.builder_name, self.data_dir, say)
        return self

    def fixed_size(self) -> tuple[int, int] | None:
        """As declared by the data set."""
        size = tfds_source.find_features(self._builder).size
        return size and (size[1], size[0])

    def files_to_survey(self) -> list[str]:
        """None."""
        return []

    def _splits(self, test_fraction: float) -> dict[str, tuple[str, range]]:
        """Per split of ours: TFDS' split and the rows of it."""
        counts = {name: s.num_examples for name, s in self._builder.info.splits.items()}
        counts = {name: n for name, n in counts.items() if n}
        if not counts:
            raise UserError(f"--source={self.spec}: it has no images in any split")
        train = "train" if "train" in counts else max(counts, key=counts.get)
        test = next((s for s in ("test", "validation") if s in counts and s != train), None)
        if test:
            return {"train": (train, range(counts[train])), "test": (test, range(counts[test]))}
        # TFDS' own order is a pseudo-random one, so its last tenth is a fair sample.
        total = counts[train]
        held = max(1, round(test_fraction * total)) if test_fraction > 0 and total > 1 else 0
        cut = {"train": (train, range(total - held))}
        return cut | ({"test": (train, range(total - held, total))} if held else {})

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """TFDS' train and test (or validation) splits in TFDS' order; the seed has no part."""
        del seed, surveyed
        features = tfds_source.find_features(self._builder)
        splits = self._splits(test_fraction)
        rows = {ours: TfdsRows(theirs, where) for ours, (theirs, where) in splits.items()}
        return Plan(
            features.class_names,
            geometry.channels or (1 if features.channels == 1 else 3),
            rows,
            [],
            sum(map(len, rows.values())),
        )

    def batches(self, split: str, rows: "TfdsRows", size: int) -> Iterator[Batch]:
        """Decoded arrays."""
        del split
        return tfds_source.read_batches(
            self.builder_name, self.data_dir, rows.split, rows.rows, size
        )


@dataclasses.dataclass(frozen=True)
class TfdsRows:
    """A run of rows of a TFDS split; slices like a list."""

    split: str
    rows: range

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, where: slice) -> "TfdsRows":
        return TfdsRows(self.split, self.rows[where])
