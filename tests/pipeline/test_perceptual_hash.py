"""The perceptual hash against a slow one of its definition, and the search against all pairs."""

import math

import numpy as np
import pytest
from PIL import Image

from pipeline.components import duplicates, perceptual_hash
from pipeline.components.measure import Measurements


def slow_phash(pixels, side=8):
    """ImageHash's phash, bit by bit from the definition of the DCT-II, on 32x32 by Pillow."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)).astype(float)
    cosines = [[math.cos(math.pi * k * (2 * n + 1) / 64) for n in range(32)] for k in range(side)]
    low = []
    for u in range(side):
        rows = [sum(grey[y, x] * cosines[u][y] for y in range(32)) for x in range(32)]
        low += [4 * sum(rows[x] * cosines[v][x] for x in range(32)) for v in range(side)]
    ordered = sorted(low)
    median = (ordered[len(low) // 2 - 1] + ordered[len(low) // 2]) / 2
    return "".join("1" if value > median else "0" for value in low)


def pictures(shape, count, seed=0):
    """Smooth pictures: noise of 4x4, enlarged."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (count, 4, 4, shape[2]), np.uint8)
    size = (shape[1], shape[0])
    return np.stack(
        [
            np.asarray(
                Image.fromarray(s[..., 0] if shape[2] == 1 else s).resize(size, Image.BICUBIC)
            ).reshape(shape)
            for s in small
        ]
    )


def text(words):
    return "".join(f"{int(word):064b}" for word in np.atleast_1d(words))


@pytest.mark.parametrize("shape", [(32, 32, 3), (32, 32, 1)])
def test_hash_is_that_of_the_definition(shape):
    images = pictures(shape, 6)
    hashes, fine = perceptual_hash.phash(images)
    assert hashes.dtype == fine.dtype == np.uint64 and fine.shape == (6, 4)
    assert [text(h) for h in hashes] == [slow_phash(image) for image in images]
    assert [text(f) for f in fine[:2]] == [slow_phash(image, 16) for image in images[:2]]
    assert len(set(hashes.tolist())) == 6


@pytest.mark.parametrize("shape", [(8, 8, 1), (48, 64, 3), (96, 40, 3)])
def test_other_sizes_are_brought_to_32_as_pillow_does(shape):
    images = pictures(shape, 8, seed=1)
    hashes, _ = perceptual_hash.phash(images)
    for found, image in zip(hashes, images, strict=True):
        differing = sum(a != b for a, b in zip(text(found), slow_phash(image), strict=True))
        assert differing <= 2, "Pillow's fixed point may tip a bit that lies at the median"


def test_flat_pictures_have_one_hash_and_none_is_no_error():
    images = np.stack([np.full((32, 32, 3), v, np.uint8) for v in (1, 77, 255)])
    hashes, fine = perceptual_hash.phash(images)
    assert hashes.tolist() == [1 << 63] * 3
    assert (fine == [1 << 63, 0, 0, 0]).all()
    hashes, fine = perceptual_hash.phash(np.zeros((0, 16, 8, 1), np.uint8))
    assert hashes.shape == (0,) and fine.shape == (0, 4)


def planted(count=3000, seed=0):
    """Random hashes with many near ones planted, some all in one bucket of a chunk."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, count, np.uint64) * np.uint64(2)
    for _ in range(600):
        flips = rng.choice(64, int(rng.integers(0, 6)), replace=False)
        mask = sum(1 << int(bit) for bit in flips)
        hashes[rng.integers(count)] = hashes[rng.integers(count)] ^ np.uint64(mask)
    hashes[:400] &= np.uint64(0x0000FFFFFFFFFFFF)
    return hashes


@pytest.mark.parametrize("bound", [0, 1, 2, 3])
def test_near_pairs_are_those_of_brute_force(bound):
    hashes = planted()
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    expected = np.argwhere(np.triu(distance <= bound, 1))
    pairs, all_of_them = perceptual_hash.near_pairs(hashes, bound)
    assert all_of_them and len(expected) > 50
    np.testing.assert_array_equal(pairs, expected)


def test_blocks_tell_the_distance_and_stay_small(monkeypatch):
    hashes = planted(500)
    whole = perceptual_hash.near_pairs(hashes)[0]
    monkeypatch.setattr(perceptual_hash, "_BLOCK", 64)
    np.testing.assert_array_equal(perceptual_hash.near_pairs(hashes)[0], whole)
    for first, second, distance in perceptual_hash.blocks_of_pairs(hashes):
        assert len(first) <= 500
        np.testing.assert_array_equal(np.bitwise_count(hashes[first] ^ hashes[second]), distance)


def test_the_cap_bounds_the_work_and_is_owned_up_to():
    hashes = np.full(1000, 5, np.uint64)
    pairs, all_of_them = perceptual_hash.near_pairs(hashes, cap=3)
    assert not all_of_them
    assert len(pairs) == 3 * 1000 - (3 + 2 + 1)
    assert set(pairs.ravel()) == set(range(1000)), "each still finds a neighbour"
    with pytest.raises(ValueError, match="0 to 3 bits"):
        perceptual_hash.near_pairs(hashes, 4)


def measured(images):
    return Measurements.of(images, np.zeros(len(images), np.int64), 0)


def test_duplicates_equal_a_count_over_all_pairs():
    base = pictures((32, 32, 3), 60, seed=2)
    blurred = np.clip(base[:20].astype(int) + 1, 0, 255).astype(np.uint8)  # near, but no copy
    flat = np.zeros((5, 32, 32, 3), np.uint8)
    splits = {
        "train": measured(np.concatenate([base[:40], blurred[:8], base[:4], flat])),
        "test": measured(np.concatenate([base[36:60], base[3:4], blurred[10:14], flat[:1]])),
    }
    found = duplicates.find(splits)
    assert found.complete

    def count(name, other, coarse, within):
        m, o = splits[name], splits[other]
        there = {int(d) for d in o.digests}
        total = 0
        for i in range(m.count):
            if (m.constant and m.flagged(1)[i]) or (not within and int(m.digests[i]) in there):
                continue
            total += any(
                m.digests[i] != o.digests[j]
                and not o.flagged(1)[j]
                and np.bitwise_count(m.hashes[i] ^ o.hashes[j]) <= 3
                and (coarse or np.bitwise_count(m.fine[i] ^ o.fine[j]).sum() <= 16)
                for j in range(o.count)
            )
        return total

    train, test = found.splits["train"], found.splits["test"]
    assert train.copies == 4 + 4 and test.copies == 0
    assert (train.seen, train.near_seen) == (0, 0)
    assert test.seen == 4 + 1 + 1
    assert train.look_alikes == count("train", "train", True, True)
    assert train.near == count("train", "train", False, True) == 8 + 8 + 4
    assert test.look_alikes_seen == count("test", "train", True, False)
    assert test.near_seen == count("test", "train", False, False) == 4
    across = [p for p in found.pairs if p.first[0] != p.second[0]]
    assert found.pairs[: len(across)] == tuple(across)
    # The fifth: base[3] is in test, and a copy in train with a brighter one beside it.
    expected = {("train", i) for i in range(10, 14)} | {("train", 43)}
    assert {p.first for p in across} == expected


def test_domains_are_compared_with_their_own_train_split_only():
    base = pictures((32, 32, 1), 12, seed=3)
    splits = {
        "trainA": measured(base[:6]),
        "trainB": measured(base[6:]),
        "testA": measured(base[6:9]),
        "testB": measured(base[6:8]),
    }
    found = duplicates.find(splits).splits
    assert found["testA"].seen == 0 and found["testB"].seen == 2
    assert found["trainA"].near == found["trainB"].near == 0
