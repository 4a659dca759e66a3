"""Precision, recall, density, coverage, realism: exact counts, ties, hand-made sets, memory."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import distances, neighbours

ROOT = Path(__file__).parents[2]


def brute(x, y):
    return ((x[:, None].astype("f8") - y[None].astype("f8")) ** 2).sum(-1)


def oracle(fake, real, k, strict):
    of_real = np.sort(brute(real, real), 1)[:, k]
    of_fake = np.sort(brute(fake, fake), 1)[:, k]
    between, inside = brute(real, fake), np.less if strict else np.less_equal
    a, b = inside(between, of_real[:, None]), inside(between, of_fake)
    return a.any(0).mean(), b.any(1).mean(), a.sum() / (k * len(fake)), a.any(1).mean()


def four(scores):
    return scores.precision, scores.recall, scores.density, scores.coverage


def make(kind, seed):
    rng = np.random.RandomState(seed)
    n, m, d = rng.randint(30, 150), rng.randint(30, 150), rng.randint(1, 12)
    real, fake = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    if kind == "lattice":
        real, fake = np.round(real).astype("f4"), np.round(fake).astype("f4")
    elif kind == "far from the origin":
        real, fake = real + 1e6, fake + 1e6
    elif kind == "copies":
        fake = real[rng.randint(0, n, m)]
    elif kind == "tight":
        fake = fake * 0.01
    elif kind == "collapsed":  # to a few points of the reals, of which some are copies
        fake = real[rng.randint(0, 4, m)] + 1e-7 * np.round(fake)
    elif kind == "collapsed, few digits":
        fake = (100 * real[rng.randint(0, 2, m)] + 1e-4 * fake).astype("f4")
        real = (100 * real).astype("f4")
    elif kind == "tiny, with an outlier":
        real, fake = real * 1e-20, fake * 1e-20
        fake[0] = 1e-15
    return fake, real


KINDS = [
    *("plain", "lattice", "far from the origin", "copies", "tight", "tiny, with an outlier"),
    *("collapsed", "collapsed, few digits"),
]


@pytest.mark.parametrize(("kind", "seed"), itertools.product(KINDS, range(4)))
def test_counts_equal_brute_force(kind, seed):
    fake, real = make(kind, seed)
    for k, strict in itertools.product((1, 3, 5), (False, True)):
        found = neighbours.neighbour_scores(fake, real, k=k, strict=strict)
        assert four(found) == pytest.approx(oracle(fake, real, k, strict), rel=1e-14)


@pytest.mark.parametrize("kind", ["lattice", "copies", "tight", "collapsed"])
def test_blocks_and_order_change_nothing(monkeypatch, kind):
    fake, real = make(kind, 9)
    whole = neighbours.neighbour_scores(fake, real, k=3, strict=True)
    monkeypatch.setattr(distances, "_BLOCK_VALUES", 300)
    monkeypatch.setattr(distances, "_DIRECT_VALUES", 50)
    assert neighbours.neighbour_scores(fake, real, k=3, strict=True) == whole
    assert neighbours.neighbour_scores(fake[::-1], real[::-1], k=3, strict=True) == whole


def to_points(centres, spread, n=300, d=64):
    """(fake, real): fakes in tight clusters around the first reals."""
    rng = np.random.RandomState(6)
    real = 10 + rng.standard_normal((n, d))
    return real[np.arange(n) % centres] + spread * rng.standard_normal((n, d)), real


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("spread", [1e-2, 1e-4, 1e-6, 0])
@pytest.mark.parametrize("centres", [1, 3])
def test_collapsed_fakes_are_not_compared_one_by_one(centres, spread, dtype, monkeypatch):
    fake, real = (x.astype(dtype) for x in to_points(centres, spread))
    count, direct = 0, distances.direct

    def counted(x, i, y, j):
        nonlocal count
        count += len(i)
        return direct(x, i, y, j)

    monkeypatch.setattr(distances, "direct", counted)
    found = neighbours.neighbour_scores(fake, real, k=5, strict=True)
    # 2 * 300 radii of 5 neighbours each; all pairs would be 270,000.
    assert count < 10_000
    assert four(found) == pytest.approx(oracle(fake, real, 5, True), rel=1e-14)
    count = 0
    distances.nearest(np.concatenate([real, fake]), k=1)  # both sets in one frame
    assert count < 10_000


def test_identical_sets():
    x = np.random.RandomState(0).standard_normal((200, 300)).astype("f4")
    # Strictly inside the ball around x are x and its k - 1 nearest: exactly k points.
    strict = neighbours.neighbour_scores(x, x.copy(), k=4, strict=True)
    assert four(strict) == (1, 1, 1, 1)
    rim = neighbours.neighbour_scores(x, x.copy(), k=4, strict=False)
    assert rim.density == 5 / 4  # the k-th neighbour lies on the rim


def test_tight_fakes_inside_wide_reals():
    rng = np.random.RandomState(1)
    real, fake = rng.standard_normal((400, 2)), 0.01 * rng.standard_normal((400, 2))
    precision, recall = neighbours.precision_recall(fake, real)
    density, coverage = neighbours.density_coverage(fake, real)
    assert precision == 1
    assert recall < 0.03
    assert density > 0.5
    assert coverage < 0.1


def test_a_dropped_mode_shows_in_recall_and_coverage_alone():
    rng = np.random.RandomState(2)
    centres = np.array([[0.0, 0], [50, 0], [0, 50], [50, 50]])
    real = centres[np.arange(400) % 4] + rng.standard_normal((400, 2))
    fake = centres[np.arange(300) % 3] + rng.standard_normal((300, 2))
    scores = neighbours.neighbour_scores(fake, real, k=5, strict=True)
    assert scores.precision > 0.95
    assert 0.7 < scores.recall <= 0.75
    assert 0.7 < scores.coverage <= 0.75
    assert neighbours.neighbour_scores(real, fake, k=5, strict=True).precision <= 0.77


def test_generated_comes_first():
    rng = np.random.RandomState(3)
    fake, real = 0.01 * rng.standard_normal((50, 2)), rng.standard_normal((50, 2))
    assert neighbours.precision_recall(fake, real)[0] == 1
    assert neighbours.precision_recall(real, fake)[1] == 1


def test_an_outlier_blows_up_precision_but_not_density():
    # Naeem et al., figure 2: one real outlier's ball holds all fakes.
    real = np.concatenate([np.arange(30.0), [1000.0]])[:, None]
    fake = np.linspace(500, 600, 20)[:, None]
    scores = neighbours.neighbour_scores(fake, real, k=5, strict=True)
    assert scores.precision == 1
    assert scores.density == pytest.approx(1 / 5)
    assert scores.coverage == pytest.approx(1 / 31)


def test_f_score_of_nothing():
    far = neighbours.neighbour_scores(
        np.arange(9.0)[:, None], np.arange(9.0)[:, None] + 1e3, k=3, strict=False
    )
    assert four(far) == (0, 0, 0, 0)
    assert far.f_score == 0


def test_realism():
    real = np.array([[0.0], [1], [2], [10]])  # squared radii with k = 1: 1, 1, 1, 64
    fake = np.array([[0.5], [100.0]])
    expected = [1 / (0.25 + 1e-5), 64 / (8100 + 1e-5)]
    # The outlier's wide ball: 64 / 9.5^2 = 0.7 is less.
    np.testing.assert_allclose(neighbours.realism(fake, real, k=1), expected, rtol=1e-12)


@pytest.mark.parametrize("alone", [True, False])
def test_nearest_with_ties_by_index(alone):
    rng = np.random.RandomState(4)
    x, y = rng.randint(0, 3, (80, 3)), rng.randint(0, 3, (300, 3))
    between = brute(x, x if alone else y)
    if alone:
        np.fill_diagonal(between, np.inf)
    order = np.argsort(between, axis=1, kind="stable")[:, :7]
    squares, indices = distances.nearest(x, None if alone else y, k=7)
    np.testing.assert_array_equal(indices, order)
    np.testing.assert_array_equal(squares, np.take_along_axis(between, order, 1))
    with pytest.raises(ValueError, match="k is 80"):
        distances.nearest(x, k=80)


def test_squared_distances_keep_their_digits():
    rng = np.random.RandomState(5)
    x = rng.standard_normal((60, 8))
    y = np.concatenate([x[:30] + 1e-7, rng.standard_normal((20, 8)), x[:1]])
    np.testing.assert_allclose(distances.squared(x, y), brute(x, y), rtol=1e-10)
    assert distances.squared(x, x).diagonal().max() == 0


def clusters(rng, count, d, spread, copies=False):
    """Points in eight clusters far apart, as fakes of a collapsed generator."""
    centres = 10 * rng.standard_normal((8, d))
    noise = spread * rng.standard_normal((8 if copies else count, d))
    which = np.arange(count) % 8
    return centres[which] + noise[which if copies else slice(None)]


@pytest.mark.parametrize("spread", [1e-6, 1e-3, 0.0])
def test_squared_distances_in_tight_clusters_keep_their_digits(spread):
    rng = np.random.RandomState(6)
    x = clusters(rng, 160, 12, spread)
    y = np.concatenate([x[:40], x[40:80] + spread * rng.standard_normal((40, 12)), x[::-1]])
    found = distances.squared(x, y)
    np.testing.assert_allclose(found, brute(x, y), rtol=1e-10)
    assert found[np.arange(40), np.arange(40)].max() == 0
    everything = distances.squared(x[:1].repeat(50, 0), x[:1].repeat(60, 0))
    assert everything.shape == (50, 60) and everything.max() == 0


@pytest.mark.parametrize("copies", [False, True])
def test_tight_clusters_are_not_taken_pair_by_pair(monkeypatch, copies):
    x = clusters(np.random.RandomState(7), 400, 64, 1e-5, copies)
    taken = []
    real = distances.direct

    def note(a, i, b, j):
        taken.append(len(i))
        return real(a, i, b, j)

    monkeypatch.setattr(distances, "direct", note)
    found = distances.squared(x, x)
    # 20,000 pairs lie inside clusters; the rows with themselves are what is left.
    assert sum(taken) <= 2 * len(x), taken
    monkeypatch.undo()
    np.testing.assert_allclose(found, brute(x, x), rtol=1e-10)


def test_bad_input():
    x = np.arange(12.0).reshape(4, 3)
    with pytest.raises(UserError, match="at least 5 generated images, found 4: raise --num"):
        neighbours.neighbour_scores(x, np.zeros((9, 3)), k=4, strict=True)
    with pytest.raises(UserError, match="at least 6 real images, found 4"):
        neighbours.density_coverage(np.zeros((9, 3)), x)
    with pytest.raises(UserError, match="real features hold NaN"):
        neighbours.precision_recall(x, np.full((9, 3), np.nan))
    with pytest.raises(UserError, match="generated features are empty"):
        neighbours.realism(x[:0], x)
    with pytest.raises(UserError, match="k=0"):
        neighbours.precision_recall(x, x, k=0)
    with pytest.raises(ValueError, match="cannot be compared"):
        neighbours.precision_recall(x, x[:, :2])


MEMORY = """
import json
import numpy as np
from ganpipe.metrics import neighbours

rng = np.random.default_rng(0)
real, fake = (rng.standard_normal((10000, 64), dtype=np.float32) for _ in range(2))
scores = neighbours.neighbour_scores(fake, real, k=5, strict=True)
lines = open("/proc/self/status").read().splitlines()  # `ru_maxrss` inherits pytest's own peak
peak = next(int(s.split()[1]) for s in lines if s.startswith("VmHWM")) / 1024
print(json.dumps([peak, scores.density]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_10000_by_10000_has_flat_memory():
    # One matrix of all distances would be 400 MB in float32; the issue allows 1.5 GB.
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    peak, density = json.loads(done.stdout)
    assert peak < 300
    assert density == pytest.approx(1, abs=0.1)
