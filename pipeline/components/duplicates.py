"""Which images occur twice, exactly or nearly, within a split and across train and test."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from pipeline.components import perceptual_hash
from pipeline.components.measure import CONSTANT, Measurements

# Pairs kept for showing, of one split and across splits each.
SHOWN = 6
_CANDIDATES = 400  # closest pairs held while searching


@dataclasses.dataclass
class SplitDuplicates:
    """Numbers of images of one split.

    Attributes:
      copies: images that are exact copies of an earlier one of the split.
      look_alikes: images with another of the split within `perceptual_hash.BOUND` bits of 64, exact
        copies aside.
      near: those of them with another within `perceptual_hash.FINE_BOUND` bits of 256.
      seen, look_alikes_seen, near_seen: the same against the split's train split: exact copies, and
        images that are none but look like one; 0 for a train split.
    """

    copies: int = 0
    look_alikes: int = 0
    near: int = 0
    seen: int = 0
    look_alikes_seen: int = 0
    near_seen: int = 0


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two near-duplicates: (split, place in its order) of each, and the differing bits of 256."""

    first: tuple[str, int]
    second: tuple[str, int]
    bits: int


@dataclasses.dataclass(frozen=True)
class Duplicates:
    """What `find` found.

    Attributes:
      splits: numbers by split.
      pairs: the closest near-duplicates, every image at most once; first those across splits.
      complete: False if so many hashes were alike that not all were compared with each other, so
        that the numbers of near-duplicates are lower bounds.
    """

    splits: Mapping[str, SplitDuplicates]
    pairs: tuple[Pair, ...]
    complete: bool


def train_split_of(split: str) -> str | None:
    """The split that `split` must share no image with: `train` of `test`, None of train splits."""
    return None if split.startswith("train") else "train" + split.removeprefix("test")


def find(measured: Mapping[str, Measurements], cap: int | None = None) -> Duplicates:
    """Looks for copies and near-duplicates. Images of one single colour are looked at for copies
    only: there is no form in them to hash.

    Args:
      measured: measurements by split.
      cap: see `perceptual_hash.blocks_of_pairs`.
    """
    names = list(measured)
    result = {name: SplitDuplicates() for name in names}
    parts: dict[str, list[np.ndarray]] = {key: [] for key in ("place", "weight", "split", "seen")}
    for number, (name, m) in enumerate(measured.items()):
        _, places, counts = np.unique(m.digests, return_index=True, return_counts=True)
        order = np.argsort(places)
        places, counts = places[order], counts[order]
        train = train_split_of(name)
        seen = np.zeros(len(places), bool)
        if train in measured:
            seen = np.isin(m.digests[places], measured[train].digests)
        result[name].copies = int(m.count - len(places))
        result[name].seen = int(counts[seen].sum())
        formed = ~m.flagged(CONSTANT)[places]
        parts["place"].append(places[formed])
        parts["weight"].append(counts[formed])
        parts["split"].append(np.full(int(formed.sum()), number))
        parts["seen"].append(seen[formed])
    if not names:
        return Duplicates({}, (), True)
    place, weight, split, seen = (np.concatenate(parts[k]) for k in parts)
    pick = [(measured[name], place[split == i]) for i, name in enumerate(names)]
    hashes = np.concatenate([m.hashes[p] for m, p in pick])
    fine = np.concatenate([m.fine[p] for m, p in pick])
    digests = np.concatenate([m.digests[p] for m, p in pick])
    # Number of each split's train split; -1 where there is none.
    trains = [names.index(t) if (t := train_split_of(n)) in names else -1 for n in names]
    train_of = np.array(trains)[split]

    flags = {
        kind: np.zeros(len(place), bool) for kind in ("look", "near", "look_seen", "near_seen")
    }
    best: dict[bool, np.ndarray] = {across: np.zeros((0, 3), np.int64) for across in (True, False)}
    for first, second, _ in perceptual_hash.blocks_of_pairs(hashes, cap=cap):
        distinct = digests[first] != digests[second]
        first, second = first[distinct], second[distinct]
        bits = perceptual_hash.fine_distance(fine[first], fine[second])
        alike = bits <= perceptual_hash.FINE_BOUND
        within = split[first] == split[second]
        for kind, fits in (("look", within), ("near", within & alike)):
            flags[kind][first[fits]] = flags[kind][second[fits]] = True
        across = np.zeros(len(first), bool)
        for mine, other in ((first, second), (second, first)):
            leaks = train_of[mine] == split[other]
            across |= leaks
            flags["look_seen"][mine[leaks]] = True
            flags["near_seen"][mine[leaks & alike]] = True
        for kind, fits in ((True, across & alike), (False, within & alike)):
            rows = np.stack([bits[fits], *np.sort([first[fits], second[fits]], axis=0)], axis=1)
            best[kind] = np.unique(np.concatenate([best[kind], rows]), axis=0)[:_CANDIDATES]
    for number, name in enumerate(names):
        mine, numbers = split == number, result[name]
        numbers.look_alikes = int(weight[mine & flags["look"]].sum())
        numbers.near = int(weight[mine & flags["near"]].sum())
        numbers.look_alikes_seen = int(weight[mine & flags["look_seen"] & ~seen].sum())
        numbers.near_seen = int(weight[mine & flags["near_seen"] & ~seen].sum())
    pairs = []
    for across in (True, False):
        used: set[int] = set()
        for bits, first, second in best[across].tolist():
            if len(used) < 2 * SHOWN and not {first, second} & used:
                used |= {first, second}
                ends = [(names[split[i]], int(place[i])) for i in (first, second)]
                pairs.append(Pair(ends[0], ends[1], bits))
    return Duplicates(result, tuple(pairs), perceptual_hash.whole(hashes, cap))
