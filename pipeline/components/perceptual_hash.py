"""Near-duplicates: perceptual hashes of images, and the pairs of images whose hashes nearly agree.

The hash is that of the ImageHash library: grey by Pillow's luma, 32x32 by Lanczos, unnormalised
two-dimensional DCT-II, its lowest frequencies, one bit each for "above their median". It sees form,
not colour: a red and a blue heart are the same to it. Two of them are taken for a whole batch by
two matrix products:

* 64 bits, the 8x8 lowest frequencies: `imagehash.phash(image)`. Good for finding candidates. On
  sets of simple shapes it is too blind to decide: 28 % of Fashion-MNIST's training images have
  another within 3 bits, mostly other trousers.
* 256 bits, the 16x16 lowest: `imagehash.phash(image, hash_size=16, highfreq_factor=2)`. Decides:
  within 16 bits of it 0.2 % of those images have another, and pairs really look the same.

Pairs are found by the pigeonhole principle: two hashes that differ in at most 3 of 64 bits agree
altogether in at least one of their four 16-bit chunks, so only hashes of one bucket, that is of one
value of a chunk, are compared. No hash is compared with more than `default_cap` of a bucket; one
that is larger is searched in part, and `largest_bucket` tells.
"""

import functools
from collections.abc import Iterator

import numpy as np

SIDE = 32  # of the picture that is transformed
COARSE, FINE = 8, 16  # lowest frequencies kept, in each direction
BOUND = 3  # of 64 bits, by which candidates differ at most
FINE_BOUND = 16  # of 256 bits, by which near-duplicates differ at most
_CHUNKS, _CHUNK_BITS = 4, 16
# Comparisons at most, some ten seconds, unless that left a hash fewer than _LEAST_CAP neighbours.
_COMPARISONS, _LEAST_CAP = 1 << 31, 2048
_BLOCK = 1 << 22  # comparisons at once: some 100 MB


def phash(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes images.

    Args:
      images: (N, H, W, C) uint8; C is 1 or 3.

    Returns:
      (N,) uint64 and (N, 4) uint64. The most significant bit (of the first word) is the lowest
      frequency, then row by row, the order in which ImageHash prints a hash. An image of one single
      value that is not 0 has only that bit set.
    """
    grey = _shrink(_luma(images))
    basis = _cosines()
    # Sums of up to 1024 values of up to 255 are exact to 1e-9; without rounding the zeros of an
    # even picture would be noise, and its hash chance.
    low = np.round(basis @ grey @ basis.T, 6)  # (N, 16, 16)
    return _bits(low[:, :COARSE, :COARSE])[:, 0], _bits(low)


def _bits(low: np.ndarray) -> np.ndarray:
    """(N, words) uint64 of (N, k, k) frequencies: which lie above the median of their image."""
    if len(low) == 0:  # the median of nothing is a warning
        return np.zeros((0, low.shape[1] * low.shape[2] // 64), np.uint64)
    low = low.reshape(len(low), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64)


def fine_distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Differing bits (N,) of two (N, 4) uint64 hashes."""
    return np.bitwise_count(first ^ second).sum(axis=1, dtype=np.int64)


def near_pairs(
    hashes: np.ndarray, bound: int = BOUND, cap: int | None = None
) -> tuple[np.ndarray, bool]:
    """All pairs of hashes that differ in at most `bound` bits. For sets with few such pairs.

    Args:
      hashes: (N,) uint64.
      bound: bits, 0 to 3.
      cap: see `blocks_of_pairs`.

    Returns:
      (P, 2) int64 ascending pairs of places, each once, first place below second; and whether no
      bucket was larger than `cap`, that is whether these are all.
    """
    found = [
        np.stack([first, second], axis=1)
        for first, second, _ in blocks_of_pairs(hashes, bound, cap)
    ]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *found])
    return np.unique(np.sort(pairs, axis=1), axis=0), whole(hashes, cap)


def blocks_of_pairs(
    hashes: np.ndarray, bound: int = BOUND, cap: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields pairs of hashes that differ in at most `bound` bits, some millions compared at once.

    Args:
      hashes: (N,) uint64.
      bound: bits, 0 to 3: four chunks find no more for certain.
      cap: most followers in its bucket that a hash is compared with; `default_cap` if None. Buckets
        are sorted by hash, so followers are those most like it.

    Yields:
      (first, second, distance), three equal vectors: places in `hashes` and differing bits. A pair
      that agrees in several chunks comes once for each.
    """
    if not 0 <= bound < _CHUNKS:
        raise ValueError(f"bound={bound}: {_CHUNKS} chunks find pairs of 0 to {_CHUNKS - 1} bits")
    cap = default_cap(len(hashes)) if cap is None else cap
    for chunk in range(_CHUNKS):
        # The chunk in front, the others after it: a bucket is a run, and within it like are near.
        turned = np.bitwise_or(
            hashes << np.uint64(_CHUNK_BITS * chunk),
            hashes >> np.uint64(64 - _CHUNK_BITS * chunk) if chunk else np.uint64(0),
        )
        order = np.argsort(turned, kind="stable")
        turned = turned[order]
        keys = turned >> np.uint64(64 - _CHUNK_BITS)
        ends = np.searchsorted(keys, keys, side="right")
        places = np.arange(len(hashes))
        followers = np.minimum(ends - 1 - places, cap)  # how many of its bucket come after it
        active = places[followers > 0]
        step = 1
        while len(active):
            steps = max(1, min(_BLOCK // len(active), int(followers[active].max()) - step + 1))
            offsets = np.arange(step, step + steps)
            first = np.repeat(active, steps)
            offset = np.tile(offsets, len(active))
            fine = offset <= followers[first]
            first, second = first[fine], (first + offset)[fine]
            distance = np.bitwise_count(turned[first] ^ turned[second])
            near = distance <= bound
            if near.any():
                yield order[first[near]], order[second[near]], distance[near]
            step += steps
            active = active[followers[active] >= step]


def default_cap(count: int) -> int:
    """The `cap` of a search among `count` hashes."""
    return max(_LEAST_CAP, _COMPARISONS // (_CHUNKS * max(count, 1)))


def whole(hashes: np.ndarray, cap: int | None = None) -> bool:
    """Whether `blocks_of_pairs` finds all pairs: no bucket is larger than `cap`."""
    return largest_bucket(hashes) <= (default_cap(len(hashes)) if cap is None else cap)


def largest_bucket(hashes: np.ndarray) -> int:
    """How many hashes share one value of a chunk, at most."""
    if len(hashes) == 0:
        return 0
    chunks = hashes[:, None] >> np.arange(0, 64, _CHUNK_BITS, dtype=np.uint64)
    chunks = (chunks & np.uint64(0xFFFF)).astype(np.int64)
    return max(int(np.bincount(column).max()) for column in chunks.T)


def _luma(images: np.ndarray) -> np.ndarray:
    """(N, H, W) grey values as Pillow's mode "L" makes them: ITU-R 601, 16-bit fixed point."""
    if images.shape[-1] == 1:
        return images[..., 0]
    red, green, blue = (images[..., c].astype(np.uint32) for c in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).astype(np.uint8)


def _shrink(grey: np.ndarray) -> np.ndarray:
    """(N, 32, 32) float64 of (N, H, W); a picture of that size stays as it is."""
    height, width = grey.shape[1:]
    grey = grey.astype(np.float64)
    # Like Pillow: along rows first, rounded in between.
    if width != SIDE:
        grey = np.clip(np.floor(grey @ _lanczos(width).T + 0.5), 0, 255)
    if height != SIDE:
        grey = np.clip(np.floor(_lanczos(height) @ grey + 0.5), 0, 255)
    return grey


@functools.cache
def _cosines() -> np.ndarray:
    """(16, 32): the rows of the DCT-II of 32 values, y_k = 2 sum x_n cos(pi k (2n + 1) / 64)."""
    k, n = np.arange(FINE)[:, None], np.arange(SIDE)[None]
    return 2 * np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE))


@functools.cache
def _lanczos(size: int) -> np.ndarray:
    """(32, size): Pillow's Lanczos resampling of `size` values to 32, without its fixed point."""
    scale = size / SIDE
    stretch = max(scale, 1.0)  # shrinking widens the window to what one new pixel covers
    centres = (np.arange(SIDE) + 0.5) * scale
    low = np.floor(np.maximum(centres - 3 * stretch + 0.5, 0))
    high = np.floor(np.minimum(centres + 3 * stretch + 0.5, size))
    at = np.arange(size)
    x = (at[None] - centres[:, None] + 0.5) / stretch
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    weights *= (at[None] >= low[:, None]) & (at[None] < high[:, None])
    return weights / weights.sum(axis=1, keepdims=True)
