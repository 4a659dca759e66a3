"""Two trees at once: `pairs:A,B`, `labelmap:IMAGES,MAPS` and `unpaired:A,B`.

Pairs and maps are aligned by name: the path within the tree without the suffix. `labelmap` takes a
class table from `classes.txt` (one name a line, in id order) or `classes.json` (a list, or {"id":
"name"}) beside or in the folder of maps; without one the classes are the ids that occur, named by
number.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ganpipe.data import decode, transforms
from ganpipe.data.decode import RejectedError
from ganpipe.data.sources import order, trees
from ganpipe.data.sources.base import Batch, Plan
from ganpipe.data.sources.pictures import FileRows, Pictures, Survey, survey_files
from ganpipe.errors import UserError

# Sides of a pair may differ in aspect ratio by this much before they count as misaligned.
_ASPECT = 0.02


def _stem(key: str) -> str:
    return os.path.splitext(key)[0]


@dataclasses.dataclass(frozen=True)
class Couples:
    """Pictures with a partner each: a second picture, or a label map.

    Attributes:
      kind: `pairs` or `labelmap`.
      first, second: the trees of pictures and of partners.
    """

    kind: str
    first: trees.FolderTree | trees.ZipTree
    second: trees.FolderTree | trees.ZipTree
    licence: str = ""
    credit: str = ""
    cheap_slices: bool = True

    @property
    def name(self) -> str:
        """Both trees' own names."""
        return f"{Path(self.first.path).stem}-{Path(self.second.path).stem}"

    @property
    def spec(self) -> str:
        """With the absolute paths."""
        return f"{self.kind}:{self.first.path},{self.second.path}"

    @property
    def _maps(self) -> bool:
        return self.kind == "labelmap"

    def fingerprint(self) -> str:
        """Paths, sizes and modification times in both trees; the class table."""
        prints = [tree.list().fingerprint() for tree in (self.first, self.second)]
        return f"{self.kind} {' '.join(prints)} {self._class_table() if self._maps else ''}"

    def fetch(self, say: Callable[[str], None]) -> "Couples":
        """Aligns the trees by name; UserError naming what has no partner."""
        _aligned.cache_clear()
        rows = _aligned(self)
        say(f"{self.first.path}: {len(rows):,} pictures with partners in {self.second.path}")
        return self

    def fixed_size(self) -> tuple[int, int] | None:
        """Not known before the survey."""
        return None

    def files_to_survey(self) -> list[str]:
        """Every picture, then every partner, told apart by a leading A or B."""
        rows = _aligned(self)
        return [f"A{key}" for key in rows.keys] + [f"B{key}" for key in rows.partners]

    def survey(self, keys: Sequence[str]) -> Iterator[dict]:
        """Pictures as `survey_files`; maps are decoded, for the ids that occur ("ids")."""
        for key in keys:
            if self._maps and key[0] == "B":
                yield _survey_map(self.second, key[1:])
            else:
                yield from survey_files(self.first if key[0] == "A" else self.second, [key[1:]])

    def plan(self, geometry, seed, test_fraction, surveyed: Survey) -> Plan:
        """Leaves out couples of which either cannot be used; cut and order as for a folder."""
        rows = _aligned(self)
        count = len(rows)
        digests = surveyed.texts()
        good, skipped = [], []
        for row in range(count):
            reason = self._problem(row, count, surveyed, geometry)
            if reason is None:
                good.append(row)
            else:
                skipped.append((rows.keys[row], reason))
        good = np.array(good, np.int64)
        labels = np.zeros(len(good), np.int64)
        test = order.held_out([digests[i] for i in good], labels, test_fraction)
        splits = {}
        for split, chosen in (("train", good[~test]), ("test", good[test])):
            if len(chosen):
                ranks = order.ranked(
                    [digests[i] for i in chosen], [rows.keys[i] for i in chosen], seed
                )
                splits[split] = rows.take(chosen[ranks])
        grey_a = len(good) > 0 and bool(surveyed.grey[good].all())
        grey_b = len(good) > 0 and bool(surveyed.grey[good + count].all())
        channels = geometry.channels or (1 if grey_a else 3)
        return Plan(
            (),
            channels,
            splits,
            skipped,
            count,
            map_classes=self._map_classes(surveyed, count) if self._maps else (),
            pair_channels=0 if self._maps else geometry.channels or (1 if grey_b else 3),
        )

    def _problem(self, row: int, count: int, surveyed: Survey, geometry) -> str | None:
        """Why a couple cannot be used."""
        for where, name in ((row, ""), (row + count, "its partner: ")):
            if where in surveyed.errors:
                reason = surveyed.errors[where][1]
                return reason if reason.startswith("its map") else name + reason
        size, other = (tuple(surveyed.sizes[i].tolist()) for i in (row, row + count))
        try:
            transforms.check_size(size, geometry)
            if not self._maps:
                transforms.check_size(other, geometry)
        except RejectedError as error:
            return str(error)
        if self._maps and size != other:
            return f"its map is {other[0]}x{other[1]}, the picture {size[0]}x{size[1]}"
        skew = (size[0] * other[1]) / (size[1] * other[0])
        if not 1 - _ASPECT <= skew <= 1 + _ASPECT:
            return f"its partner has another shape ({other[0]}x{other[1]}, not {size[0]}x{size[1]})"
        return None

    def _class_table(self) -> list[str] | None:
        """Names in id order from `classes.txt` or `classes.json`; None if there is no table."""
        folder = Path(self.second.path)
        places = [folder] if folder.is_dir() else []
        for place in (*places, folder.parent):
            for name in ("classes.txt", "classes.json"):
                path = place / name
                if path.is_file():
                    return _read_table(path)
        return None

    def _map_classes(self, surveyed: Survey, count: int) -> tuple[str, ...]:
        table = self._class_table()
        used = surveyed.ids
        if table is None:
            known = [i for i in used if i != transforms.UNKNOWN]
            return tuple(map(str, range(max(known, default=0) + 1)))
        beyond = sorted(i for i in used if i >= len(table) and i != transforms.UNKNOWN)
        if beyond:
            raise UserError(
                f"--source={self.spec}: maps hold the ids {', '.join(map(str, beyond[:5]))}"
                f"{' ...' if len(beyond) > 5 else ''}, the class table has {len(table)} classes "
                f"(0..{len(table) - 1}; {transforms.UNKNOWN} is unknown); mend the maps or the "
                "table"
            )
        return tuple(table)

    def batches(self, split: str, rows: FileRows, size: int, geometry) -> Iterator[Batch]:
        """Encoded files of both trees, read when they are wanted."""
        del split, geometry
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            partners = [trees.LazyFile(self.second, key) for key in part.partners]
            yield Batch(
                list(part.keys),
                part.labels,
                [trees.LazyFile(self.first, key) for key in part.keys],
                maps=partners if self._maps else None,
                pairs=None if self._maps else partners,
            )


def _survey_map(tree: trees.Tree, key: str) -> dict:
    try:
        data = tree.read(key)
        ids = decode.decode_map(data)
        return {"size": [ids.shape[1], ids.shape[0]], "ids": np.unique(ids).tolist()}
    except RejectedError as error:
        text = str(error)
        return {"error": ["map", text if text.startswith("its map") else f"its map: {text}"]}


def _read_table(path: Path) -> list[str]:
    expected = 'expected one name a line, or a JSON list of names, or {"0": "sky", ...}'
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            names = [line.strip() for line in text.splitlines() if line.strip()]
        else:
            content = json.loads(text)
            if isinstance(content, dict):
                ids = {int(key): str(name) for key, name in content.items()}
                names = [ids.get(i, str(i)) for i in range(max(ids, default=-1) + 1)]
            else:
                names = [str(name) for name in content]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"class table {path} cannot be read ({error}); {expected}") from error
    if not 1 <= len(names) <= transforms.UNKNOWN:
        raise UserError(f"class table {path} has {len(names)} names; {expected}, at most 255")
    return names


@functools.lru_cache(maxsize=4)
def _aligned(couples: Couples) -> FileRows:
    """Keys with the keys of their partners; UserError unless all have exactly one."""
    sides = []
    for tree in (couples.first, couples.second):
        listing = tree.list()
        if not listing.keys:
            raise UserError(
                f"--source={couples.spec}: no pictures in {tree.path} (looked for "
                f"{trees.suffixes()})"
            )
        stems: dict[str, str] = {}
        for key in listing.keys:
            other = stems.setdefault(_stem(key), key)
            if other != key:
                raise UserError(
                    f"--source={couples.spec}: {tree.path} holds both {other!r} and {key!r}; "
                    "files are aligned by name without the suffix, so keep one of them"
                )
        sides.append(stems)
    first, second = sides
    alone = [(s, couples.second) for s in sorted(set(first) - set(second))]
    alone += [(s, couples.first) for s in sorted(set(second) - set(first))]
    if alone:
        shown = "; ".join(f"{stem!r} is not in {tree.path}" for stem, tree in alone[:3])
        raise UserError(
            f"--source={couples.spec}: {len(alone)} files have no partner: {shown}"
            f"{' ...' if len(alone) > 3 else ''}. Files are aligned by their path without suffix"
        )
    stems = sorted(first)
    return FileRows(
        [first[s] for s in stems], np.zeros(len(stems), np.int64), [second[s] for s in stems]
    )


@dataclasses.dataclass(frozen=True)
class Unpaired:
    """Two collections of pictures without correspondence: domains A and B."""

    domains: tuple[Pictures, Pictures]
    licence: str = ""
    credit: str = ""
    cheap_slices: bool = True

    @property
    def name(self) -> str:
        """Both domains' names."""
        return "-".join(domain.name for domain in self.domains)

    @property
    def spec(self) -> str:
        """With the absolute paths."""
        return "unpaired:" + ",".join(domain.tree.path for domain in self.domains)

    def fingerprint(self) -> str:
        """Of both."""
        return "unpaired " + " ".join(domain.fingerprint() for domain in self.domains)

    def fetch(self, say: Callable[[str], None]) -> "Unpaired":
        """Looks at both layouts."""
        for domain in self.domains:
            domain.fetch(say)
        return self

    def fixed_size(self) -> tuple[int, int] | None:
        """Not known before the survey."""
        return None

    def files_to_survey(self) -> list[str]:
        """Every picture, told apart by a leading A or B."""
        return [
            mark + key
            for mark, domain in zip("AB", self.domains, strict=True)
            for key in domain.files_to_survey()
        ]

    def survey(self, keys: Sequence[str]) -> Iterator[dict]:
        """See `survey_files`."""
        for key in keys:
            yield from self.domains["AB".index(key[0])].survey([key[1:]])

    def plan(self, geometry, seed, test_fraction, surveyed: Survey) -> Plan:
        """Each domain's own plan, with the channels of the richer one; classes are not kept."""
        count = len(self.domains[0].files_to_survey())
        parts = (surveyed.part(0, count), surveyed.part(count, len(surveyed.grey)))
        plans = [
            domain.plan(geometry, seed, test_fraction, part)
            for domain, part in zip(self.domains, parts, strict=True)
        ]
        splits = {}
        for split in ("train", "test"):
            for mark, plan in zip("AB", plans, strict=True):
                if split in plan.splits:
                    splits[split + mark] = plan.splits[split]
        return Plan(
            (),
            max(plan.channels for plan in plans),
            splits,
            [
                (f"{mark}/{key}", reason)
                for mark, plan in zip("AB", plans, strict=True)
                for key, reason in plan.skipped
            ],
            sum(plan.total for plan in plans),
            domains=tuple(domain.name for domain in self.domains),
        )

    def batches(self, split: str, rows: FileRows, size: int, geometry) -> Iterator[Batch]:
        """Encoded files; keys begin with their domain."""
        mark = split[-1]
        for batch in self.domains["AB".index(mark)].batches(split, rows, size, geometry):
            keys = [f"{mark}/{key}" for key in batch.keys]
            # Sub-folders of a domain are no labels here.
            yield dataclasses.replace(batch, keys=keys, labels=np.zeros_like(batch.labels))
