"""What every source of images answers, and what it hands to the rest of the pipeline.

A source is opened (`sources.open_source`: cheap checks, UserErrors), fetched (`fetch`: downloads),
surveyed (`survey`: every file is opened once, by the workers), planned (`plan`: which images go
into which split, in which order) and read (`batches`). Sources are small picklable records, so
that Beam workers can read on their own.

Two methods are optional: `to_fetch() -> str` tells what `fetch` would download, and
`unpack(folder: Path) -> Source` makes what the source cannot read in place. It is called after
`fetch` and before `plan`; all workers see the folder, which is removed when the run ends.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ganpipe.data import transforms


@dataclasses.dataclass
class Batch:
    """Some pictures in the order of their rows.

    Attributes:
      keys: n texts, unique within a data set: a path within the source, or `split/number`.
      labels: (n,) int64 class indices; zeros where the source has no classes.
      pictures: n encoded files (bytes), lazy ones (anything with `read() -> bytes` that raises
        `decode.RejectedError`) and/or (H, W), (H, W, 1|3|4) uint8 arrays; or one (n, H, W, C)
        uint8 array.
      maps: label maps of the pictures: n encoded palette or grey PNGs and/or (H, W) integer arrays;
        None for a source without.
      pairs: the second picture of every pair, as `pictures`; None for a source without.
    """

    keys: list[str]
    labels: np.ndarray
    pictures: Any
    maps: Sequence[Any] | None = None
    pairs: Any = None


class Unsurveyed:
    """The two methods of a source that needs no survey."""

    def files_to_survey(self) -> list[str]:
        """None."""
        return []

    def survey(self, keys: Sequence[str]) -> Iterator[dict]:
        """Nothing."""
        return iter(())


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which images will be written.

    Attributes:
      class_names: in label order; empty without labels.
      channels: 1 or 3.
      splits: per split the rows, in the order in which they will be written. Rows are whatever the
        source's `batches` understands; they have a length, can be sliced and pickled, and stay
        small (a shard's worth of them goes to a worker). Splits are `train` and, if any, `test`;
        of two domains `trainA`, `trainB` and, if any, `testA`, `testB`.
      skipped: (key, reason) of pictures that were found to be unusable.
      total: pictures looked at, skipped ones included.
      map_classes: names of the classes of label maps, in id order; empty without maps.
      pair_channels: 1 or 3 for a source of pairs, else 0.
      domains: names of domain A and B; empty unless the source holds two unpaired domains.
    """

    class_names: tuple[str, ...]
    channels: int
    splits: dict[str, Any]
    skipped: list[tuple[str, str]]
    total: int
    map_classes: tuple[str, ...] = ()
    pair_channels: int = 0
    domains: tuple[str, ...] = ()


class Source(Protocol):
    """What the rest of the pipeline knows of a source."""

    spec: str  # as recorded in dataset.json; given to --source it opens the same again
    name: str
    licence: str  # "" when not known, as for a folder of the user's
    credit: str

    def fingerprint(self) -> str:
        """Text that changes when the inputs change; cheap, nothing is fetched."""
        ...

    def fetch(self, say: Callable[[str], None]) -> "Source":
        """The source with its data on this machine."""
        ...

    def fixed_size(self) -> tuple[int, int] | None:
        """(width, height) when all pictures have one known size; known before `fetch`."""
        ...

    def files_to_survey(self) -> list[str]:
        """Keys of files that must be opened by `survey` before planning; empty for most sources."""
        ...

    def survey(self, keys: Sequence[str]) -> Iterator[dict]:
        """Opens files, in a worker. Yields JSON-able rows, one per key; see `pictures.survey`."""
        ...

    def plan(
        self,
        geometry: transforms.Geometry,
        seed: int,
        test_fraction: float,
        surveyed: Any,
    ) -> Plan:
        """Splits, order and classes. `geometry.channels` may be 0 here: the source decides."""
        ...

    def batches(
        self, split: str, rows: Any, size: int, geometry: transforms.Geometry
    ) -> Iterator[Batch]:
        """Reads rows of a split, in order, in batches of at most `size`.

        Pictures may have any size; `geometry` is for sources that draw theirs (vector graphics),
        which do best to draw at `geometry.shape` = (height, width) at once.
        """
        ...
