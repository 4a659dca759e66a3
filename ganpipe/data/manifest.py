"""`dataset.json`: what a prepared folder holds, checked before anything long starts."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError

FORMAT = 2
MANIFEST = "dataset.json"
QUARANTINE = "quarantine.jsonl"


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """A prepared data folder.

    Attributes:
      dir: the folder.
      name: short name, as shown in reports.
      source: where the images came from (`fashion_mnist`, `tfds:cifar10/3.0.2`, `folder:cats`).
      channels: 1 (grey) or 3 (RGB).
      levels: ascending in size, each `{"resolution": height, "shape": [height, width], "encoding":
        how its pixels are kept}`; every level is twice the one before. A level is named by its
        height, which for square images is the side. Encodings: `raw`, `png` or `jpeg:QUALITY`.
      num_classes: number of classes; 0 when the images have no labels.
      class_names: one name per class, in label order.
      splits: per split `{"count": images, "per_class": [images, ...]}`. `train` and, if any,
        `test`; for two unpaired domains `trainA`, `trainB` and, if any, `testA`, `testB`.
      shards: per split and resolution (as text) the list of
        `{"file", "count", "bytes", "sha256"}`.
      map_classes: names of the classes of label maps, in id order; empty where records have no
        `map`. Ids are 0..255; one beyond these names is "unknown".
      pair_channels: channels of the second picture of every record; 0 where records have no `pair`.
      domains: names of domain A and B; empty unless the splits are those of two domains.
      geometry: one sentence on how the images were brought to their size.
      licence, credit: of a named set; "" where not known.
      original_sizes: of the pictures of a folder or zip file before they were resized:
        `{"width": [least, median, most], "height": [...], "distinct": sizes}`; else empty.
      skipped: images left out (see `quarantine.jsonl`).
      fingerprint: SHA-256 over contents alone, the same wherever and by however many workers the
        folder was made.
      request: the settings of `pipeline.prepare` that made it, with a `fingerprint` of their own.
    """

    dir: Path
    name: str
    source: str
    channels: int
    levels: tuple[Mapping[str, Any], ...]
    num_classes: int
    class_names: tuple[str, ...]
    splits: Mapping[str, Mapping[str, Any]]
    shards: Mapping[str, Mapping[str, list[dict[str, Any]]]]
    geometry: str
    skipped: int
    fingerprint: str
    map_classes: tuple[str, ...] = ()
    pair_channels: int = 0
    domains: tuple[str, ...] = ()
    licence: str = ""
    credit: str = ""
    original_sizes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    request: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Heights of all levels, ascending."""
        return tuple(level["resolution"] for level in self.levels)

    @property
    def max_resolution(self) -> int:
        """Height of the largest images."""
        return self.resolutions[-1]

    @property
    def train_splits(self) -> tuple[str, ...]:
        """`("train",)`, or `("trainA", "trainB")` for two domains."""
        return ("trainA", "trainB") if self.domains else ("train",)

    @property
    def square(self) -> bool:
        """Whether images are as wide as high."""
        return all(level["shape"][0] == level["shape"][1] for level in self.levels)

    def shape(self, resolution: int) -> tuple[int, int, int]:
        """(height, width, channels) of a level; UserError if there is none."""
        height, width = self._level(resolution)["shape"]
        return int(height), int(width), self.channels

    def encoding(self, resolution: int) -> str:
        """`raw`, `png` or `jpeg:QUALITY`; UserError if there is no such level."""
        return self._level(resolution)["encoding"]

    def _level(self, resolution: int) -> Mapping[str, Any]:
        self.check_resolution(resolution)
        return next(level for level in self.levels if level["resolution"] == resolution)

    def count(self, split: str = "train") -> int:
        """Number of images of a split; UserError if there is no such split."""
        self.check_split(split)
        return int(self.splits[split]["count"])

    def check_split(self, split: str) -> None:
        """UserError, naming the splits there are, unless `split` is one of them."""
        if split not in self.splits:
            raise UserError(
                f"{self.dir} has no split {split!r}; it has {', '.join(sorted(self.splits))}"
            )

    def check_resolution(self, resolution: int) -> None:
        """UserError, with the command that makes it, unless the folder holds `resolution`."""
        if resolution in self.resolutions:
            return
        there = ", ".join(map(str, self.resolutions))
        raise UserError(
            f"{self.dir} holds no {resolution}x{resolution} images, only {there}; make them with "
            f"`python -m pipeline.prepare --source={self.source} --resolution={resolution} "
            f"--out={self.dir}-{resolution}`, or set data.resolution to one of these"
            if self.square
            else f"{self.dir} has no level of height {resolution}, only {there}"
        )

    def files(self, split: str, resolution: int) -> list[dict[str, Any]]:
        """Shard entries of a split at a resolution, with `path` added; UserError if unknown."""
        self.check_split(split)
        self.check_resolution(resolution)
        return [
            {**shard, "path": self.dir / shard["file"]}
            for shard in self.shards[split][str(resolution)]
        ]

    def to_json(self) -> dict[str, Any]:
        """The content of `dataset.json`."""
        fields = dataclasses.asdict(self)
        del fields["dir"]
        return {"format": FORMAT, **fields}


def content_fingerprint(manifest: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of what a data set is: its shape, classes, counts and shard contents."""
    parts = ("channels", "levels", "num_classes", "class_names", "splits")
    parts += ("map_classes", "pair_channels", "domains")
    what = {key: manifest[key] for key in parts}
    what["format"] = FORMAT
    what["shards"] = {
        split: {r: [shard["sha256"] for shard in entries] for r, entries in levels.items()}
        for split, levels in manifest["shards"].items()
    }
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def info(directory: str | Path) -> DatasetInfo:
    """Reads a prepared folder's `dataset.json` (a file of a few kB; no image is opened).

    Args:
      directory: folder written by `python -m pipeline.prepare`.

    Raises:
      UserError: it is not there, is not such a folder, or has another format.
    """
    directory = Path(directory)
    path = directory / MANIFEST
    if not path.is_file():
        found = "is not a folder" if not directory.is_dir() else f"has no {MANIFEST}"
        raise UserError(
            f"{directory} {found}; expected a data folder made by "
            "`python -m pipeline.prepare --source=fashion_mnist --out=DIR` (flag --data, "
            "field data.dir)"
        )
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); prepare the data again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else type(manifest).__name__
        raise UserError(
            f"{path} has format {found!r}; this version of ganpipe reads format {FORMAT}. "
            "Prepare the data again with `python -m pipeline.prepare`"
        )
    try:
        result = DatasetInfo(
            dir=directory,
            name=manifest["name"],
            source=manifest["source"],
            channels=int(manifest["channels"]),
            levels=tuple(sorted(manifest["levels"], key=lambda level: int(level["resolution"]))),
            num_classes=int(manifest["num_classes"]),
            class_names=tuple(manifest["class_names"]),
            splits=manifest["splits"],
            shards=manifest["shards"],
            map_classes=tuple(manifest["map_classes"]),
            pair_channels=int(manifest["pair_channels"]),
            domains=tuple(manifest["domains"]),
            geometry=manifest["geometry"],
            licence=manifest["licence"],
            credit=manifest["credit"],
            skipped=int(manifest["skipped"]),
            fingerprint=manifest["fingerprint"],
            original_sizes=manifest.get("original_sizes", {}),
            request=manifest.get("request", {}),
        )
        for split in result.splits:
            for resolution in result.resolutions:
                total = sum(s["count"] for s in result.shards[split][str(resolution)])
                if total != result.count(split):
                    raise ValueError(f"shards of {split} at {resolution} hold {total} images")
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} is not a sound {MANIFEST} ({type(error).__name__}: {error}); prepare the "
            "data again"
        ) from error
    return result


def check_files(data: DatasetInfo, split: str, resolution: int, *, hash_up_to: int) -> None:
    """Raises UserError unless the shards of a split and resolution are there and whole.

    Sizes are always compared. Contents are compared too (SHA-256, about 1 GB/s, once per process)
    when all of them together are at most `hash_up_to` bytes.
    """
    entries = data.files(split, resolution)
    for shard in entries:
        try:
            found = shard["path"].stat().st_size
        except OSError:
            raise UserError(
                f"shard {shard['path']} is missing; prepare {data.dir} again with "
                f"`python -m pipeline.prepare --source={data.source}` (remove the folder first)"
            ) from None
        if found != shard["bytes"]:
            raise UserError(
                f"shard {shard['path']} has {found} bytes, {MANIFEST} says {shard['bytes']}: it "
                "is cut short or was changed; remove the folder and prepare it again"
            )
    if sum(shard["bytes"] for shard in entries) <= hash_up_to:
        for shard in entries:
            stat = shard["path"].stat()
            if _sha256(shard["path"], stat.st_size, stat.st_mtime_ns) != shard["sha256"]:
                raise UserError(
                    f"shard {shard['path']} is corrupt: its SHA-256 is not the one in {MANIFEST}; "
                    "remove the folder and prepare it again"
                )


def verify(directory: str | Path) -> DatasetInfo:
    """Checks every shard of a prepared folder against `dataset.json`, byte for byte.

    Raises:
      UserError: naming the first shard that is missing, cut short or changed.
    """
    data = info(directory)
    for split in data.splits:
        for resolution in data.resolutions:
            check_files(data, split, resolution, hash_up_to=2**63)
    return data


@functools.lru_cache(maxsize=65536)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file; size and time are there to make the cached answer go stale."""
    del size, mtime_ns
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
