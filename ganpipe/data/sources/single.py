"""`single:FILE`: one picture, kept at its own size and shape, for models that learn from one image.

Without `--resolution` or `--base` there is one level, the picture itself: SinGAN makes its own
scales from it (by factors that are no powers of two).
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ganpipe.data import decode
from ganpipe.data.decode import RejectedError
from ganpipe.data.sources import trees
from ganpipe.data.sources.base import Batch, Plan, Unsurveyed
from ganpipe.errors import UserError


@dataclasses.dataclass(frozen=True)
class Single(Unsurveyed):
    """One picture file."""

    path: str
    licence: str = ""
    credit: str = ""
    native_size: bool = True  # the default geometry is the picture's own

    @property
    def name(self) -> str:
        """The file's own name."""
        return Path(self.path).stem

    @property
    def spec(self) -> str:
        """With the absolute path."""
        return f"single:{self.path}"

    @property
    def _tree(self) -> trees.FolderTree:
        return trees.FolderTree(str(Path(self.path).parent))

    def _read(self) -> bytes:
        if not os.path.isfile(self.path):
            what = "is a folder" if os.path.isdir(self.path) else "does not exist"
            raise UserError(f"--source=single:{self.path}: this {what}; expected one picture file")
        try:
            return self._tree.read(Path(self.path).name)
        except (OSError, RejectedError) as error:
            raise UserError(f"--source=single:{self.path}: {error}") from error

    def _open(self):
        try:
            return decode.open_picture(self._read())
        except RejectedError as error:
            raise UserError(f"--source=single:{self.path}: {error}") from error

    def fingerprint(self) -> str:
        """Hash of the file."""
        return f"single {hashlib.sha256(self._read()).hexdigest()}"

    def fetch(self, say: Callable[[str], None]) -> "Single":
        """Looks at its header."""
        width, height = decode.upright_size(self._open())
        say(f"{self.path}: {width}x{height}")
        return self

    def fixed_size(self) -> tuple[int, int] | None:
        """As people see it."""
        return decode.upright_size(self._open())

    def plan(self, geometry, seed, test_fraction, surveyed) -> Plan:
        """The picture, for training."""
        del seed, test_fraction, surveyed
        channels = geometry.channels or (1 if decode.is_grey(self._open()) else 3)
        return Plan((), channels, {"train": [Path(self.path).name]}, [], 1)

    def batches(self, split: str, rows, size: int, geometry) -> Iterator[Batch]:
        """The encoded file, read when it is wanted."""
        del split, size, geometry
        file = trees.LazyFile(self._tree, Path(self.path).name)
        yield Batch(list(rows), np.zeros(len(rows), np.int64), [file] * len(rows))
