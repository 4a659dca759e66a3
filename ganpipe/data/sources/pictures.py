"""`folder:DIR` and `zip:FILE`: picture files, surveyed once, then read by any number of workers."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ganpipe.data import decode, transforms
from ganpipe.data.decode import RejectedError
from ganpipe.data.sources import layout, order, trees
from ganpipe.data.sources.base import Batch, Plan
from ganpipe.errors import UserError


@dataclasses.dataclass(frozen=True)
class FileRows:
    """Some files with their labels; can be sliced.

    Attributes:
      keys: n keys.
      labels: (n,) int64.
      partners: n keys of the second picture or the map of each; empty for single pictures.
    """

    keys: Sequence[str]
    labels: np.ndarray
    partners: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, where: slice) -> "FileRows":
        return FileRows(self.keys[where], self.labels[where], self.partners[where])

    def take(self, rows: np.ndarray) -> "FileRows":
        """The rows of these numbers, in this order."""
        partners = [self.partners[i] for i in rows] if self.partners else ()
        return FileRows([self.keys[i] for i in rows], self.labels[rows], partners)


@dataclasses.dataclass
class Survey:
    """What opening every file once has shown, in columns.

    Attributes:
      digests: (n, 32) uint8, SHA-256 of the files.
      sizes: (n, 2) int64, width and height as people see the picture.
      grey: (n,) bool, whether the mode is grey.
      errors: row -> (kind, reason) of files that cannot be used.
      ids: ids that occur in label maps.
    """

    digests: np.ndarray
    sizes: np.ndarray
    grey: np.ndarray
    errors: dict[int, tuple[str, str]]
    ids: frozenset[int] = frozenset()

    @classmethod
    def of(cls, rows: Sequence[dict]) -> "Survey":
        """From the rows of `survey_files`, in order."""
        blank = "0" * 64
        digests = np.frombuffer(
            bytes.fromhex("".join(row.get("sha256", blank) for row in rows)), np.uint8
        )
        return cls(
            digests.reshape(-1, 32),
            np.array([row.get("size", (0, 0)) for row in rows], np.int64).reshape(-1, 2),
            np.array([row.get("grey", False) for row in rows], bool),
            {i: tuple(row["error"]) for i, row in enumerate(rows) if "error" in row},
            frozenset(i for row in rows for i in row.get("ids", ())),
        )

    @classmethod
    def join(cls, parts: Sequence["Survey"]) -> "Survey":
        """Several surveys one after the other."""
        errors, first = {}, 0
        for part in parts:
            errors |= {first + i: error for i, error in part.errors.items()}
            first += len(part.grey)
        return cls(
            np.concatenate([part.digests for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.grey for part in parts]),
            errors,
            frozenset().union(*(part.ids for part in parts)),
        )

    def part(self, start: int, stop: int) -> "Survey":
        """Some consecutive rows."""
        errors = {i - start: e for i, e in self.errors.items() if start <= i < stop}
        return Survey(
            self.digests[start:stop],
            self.sizes[start:stop],
            self.grey[start:stop],
            errors,
            self.ids,
        )

    def texts(self) -> list[bytes]:
        """Digests as n byte strings."""
        return [row.tobytes() for row in self.digests]


def survey_files(tree: trees.Tree, keys: Sequence[str]) -> Iterator[dict]:
    """Opens files (headers only) for their size and mode, and hashes their contents.

    Yields:
      {"sha256", "grey": bool, "size": [width, height]} or {"error": [kind, reason]} per key.

    Raises:
      OSError, UserError: as `Tree.read`: the tree as a whole cannot be read.
    """
    for key in keys:
        try:
            data = tree.read(key)
        except RejectedError as error:
            yield {"error": [error.kind, str(error)]}
            continue
        yield _survey_one(data)


def _survey_one(data: bytes) -> dict:
    """A row of `survey_files`."""
    try:
        image = decode.open_picture(data)
        return {
            "sha256": hashlib.sha256(data).hexdigest(),
            "grey": decode.is_grey(image),
            "size": list(decode.upright_size(image)),
        }
    except RejectedError as error:
        return {"error": [error.kind, str(error)]}
    except Exception as error:  # a damaged header can raise nearly anything inside Pillow
        kind = "not a readable image"
        return {"error": [kind, f"{kind} ({type(error).__name__})"]}


def usable(
    keys: Sequence[str], survey: Survey, geometry: transforms.Geometry
) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """(rows that can be used, (key, reason) of the others)."""
    good, skipped = [], []
    for row, key in enumerate(keys):
        if row in survey.errors:
            skipped.append((key, survey.errors[row][1]))
            continue
        try:
            transforms.check_size(tuple(survey.sizes[row].tolist()), geometry)
            good.append(row)
        except RejectedError as error:
            skipped.append((key, str(error)))
    return np.array(good, np.int64), skipped


@dataclasses.dataclass(frozen=True)
class Pictures:
    """Pictures in a folder or a zip file."""

    tree: trees.FolderTree | trees.ZipTree
    licence: str = ""
    credit: str = ""
    cheap_slices: bool = True

    @property
    def name(self) -> str:
        """The folder's or file's own name."""
        return Path(self.tree.path).stem or self.tree.kind

    @property
    def spec(self) -> str:
        """With the absolute path, so that messages can give commands that work."""
        return f"{self.tree.kind}:{self.tree.path}"

    @property
    def layout(self) -> layout.Layout:
        """What the tree holds."""
        return _layout(self.tree)

    def fingerprint(self) -> str:
        """Paths, sizes and modification times (CRCs in a zip file); the file of labels as well."""
        listing = self.tree.list()
        try:
            text = self.tree.read(listing.labels) if listing.labels else b""
        except (OSError, RejectedError) as error:
            where = f"{self.tree.path}/{listing.labels}"
            raise UserError(f"{where}: {error}; mend it or remove it") from error
        labels = hashlib.sha256(text).hexdigest() if text else ""
        return f"{self.tree.kind} {listing.fingerprint()} {labels}"

    def fetch(self, say: Callable[[str], None]) -> "Pictures":
        """Looks at the layout (UserError if there is nothing to use)."""
        _layout.cache_clear()  # the folder may have changed since an earlier run in this process
        found = self.layout
        classes = f"{len(found.class_names)} classes" if found.class_names else "no classes"
        say(
            f"{self.tree.path}: {len(found.keys):,} pictures, {classes}"
            + (", train and test folders" if found.in_test is not None else "")
            + (f"; {found.passed_over} other files passed over" if found.passed_over else "")
        )
        return self

    def fixed_size(self) -> tuple[int, int] | None:
        """Not known before the survey."""
        return None

    def files_to_survey(self) -> list[str]:
        """Every picture."""
        return list(self.layout.keys)

    def survey(self, keys: Sequence[str]) -> Iterator[dict]:
        """See `survey_files`."""
        return survey_files(self.tree, keys)

    def plan(self, geometry, seed, test_fraction, surveyed: Survey) -> Plan:
        """Leaves out what the survey found unusable, cuts the test split, orders by the seed."""
        found = self.layout
        good, skipped = usable(found.keys, surveyed, geometry)
        digests = surveyed.texts()
        rows = FileRows(found.keys, found.labels)
        in_test = found.in_test
        test = (
            in_test[good]
            if in_test is not None
            else order.held_out([digests[i] for i in good], found.labels[good], test_fraction)
        )
        splits = {}
        for split, chosen in (("train", good[~test]), ("test", good[test])):
            if len(chosen):
                ranks = order.ranked(
                    [digests[i] for i in chosen], [found.keys[i] for i in chosen], seed
                )
                splits[split] = rows.take(chosen[ranks])
        grey = len(good) > 0 and bool(surveyed.grey[good].all())
        return Plan(
            found.class_names,
            geometry.channels or (1 if grey else 3),
            splits,
            [*found.problems, *skipped],
            len(found.keys) + len(found.problems),
        )

    def batches(self, split: str, rows: FileRows, size: int, geometry) -> Iterator[Batch]:
        """Encoded files, read when they are wanted."""
        del split, geometry
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            files = [trees.LazyFile(self.tree, key) for key in part.keys]
            yield Batch(list(part.keys), part.labels, files)


@functools.lru_cache(maxsize=4)
def _layout(tree: trees.Tree) -> layout.Layout:
    return layout.arrange(tree, tree.list())
