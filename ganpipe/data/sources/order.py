"""Orders and cuts that depend on a seed and on contents alone, never on names or workers."""

import hashlib
from collections.abc import Sequence

import numpy as np


def permutation(seed: int, stream: int, count: int) -> np.ndarray:
    """(count,) int64: the order in which rows are written; `stream` tells splits apart."""
    return np.random.default_rng([abs(seed), seed < 0, stream]).permutation(count)


def held_out(digests: Sequence[bytes], labels: np.ndarray, fraction: float) -> np.ndarray:
    """(n,) bool: which rows are test, by the hash of their contents.

    Within each class the `fraction` of smallest digests (at least one of two different ones, never
    all) is test. So the cut does not depend on names or order, hardly changes as a collection
    grows, keeps the class mix, and never puts two copies of one picture on different sides.
    """
    test: set[bytes] = set()
    by_label: dict[int, set[bytes]] = {}
    for digest, label in zip(digests, np.asarray(labels).tolist(), strict=True):
        by_label.setdefault(label, set()).add(digest)
    for distinct in by_label.values():
        if fraction > 0 and len(distinct) > 1:
            wanted = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
            test.update(sorted(distinct)[:wanted])
    return np.fromiter((d in test for d in digests), bool, len(digests))


def ranked(digests: Sequence[bytes], keys: Sequence[str], seed: int) -> np.ndarray:
    """(n,) int64: an order that depends on the seed, the contents and the keys only."""
    ranks = [
        hashlib.sha256(f"{seed}:{digest.hex()}:{key}".encode("utf-8", "surrogateescape")).digest()
        for digest, key in zip(digests, keys, strict=True)
    ]
    return np.array(sorted(range(len(ranks)), key=ranks.__getitem__), np.int64)
