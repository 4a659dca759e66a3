"""NDB: the z-test by hand, clustering, dropped modes, memorised sets, the false alarm rate."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import bins
from ganpipe.metrics.modes import js_divergence


def clusters(seed, counts, spread=0.1, offset=0.0):
    """Points around the corners of a grid, 3 apart, a count each."""
    rng = np.random.RandomState(seed)
    means = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(-1, 2)[: len(counts)]
    return rng.normal(3 * means.repeat(counts, axis=0), spread) + offset


def test_z_test_by_hand():
    # 30 of 100 against 20 of 100: p = .25, z = .1 / sqrt(.25 * .75 * .02) = 1.6330, p .1025.
    # 40 of 100 against 20 of 100: p = .3, z = .2 / sqrt(.3 * .7 * .02) = 3.0861, p .00203.
    counts = np.array([30, 40, 30]), np.array([20, 20, 60])
    z, p = bins.two_proportion_test(counts[0], 100, counts[1], 100)
    np.testing.assert_allclose(z[:2], [1.6329932, 3.0860670], rtol=1e-7)
    np.testing.assert_allclose(p[:2], [0.1024704, 0.0020282], rtol=1e-4)
    found = bins.different_bins(*counts)
    assert (found.ndb, found.share) == (2, pytest.approx(2 / 3))
    assert found.jsd == pytest.approx(js_divergence([0.3, 0.4, 0.3], [0.2, 0.2, 0.6]), rel=1e-14)
    # The sign says who has more.
    assert z[2] < 0


def test_unequal_set_sizes():
    # 50 of 100 against 450 of 900: equal shares. 50 of 100 against 360 of 900: p = .41,
    # z = .1 / sqrt(.41 * .59 * (1/100 + 1/900)) = 1.9288.
    z, _ = bins.two_proportion_test(np.array([50, 50]), 100, np.array([450, 360]), 900)
    np.testing.assert_allclose(z, [0, 1.9288], atol=1e-4)


def test_five_per_cent_is_at_1_96():
    # The same gap with more samples becomes significant: z grows with the root of N.
    real, fake = np.array([50, 50]), np.array([57, 43])
    scores = [bins.different_bins(real * k, fake * k) for k in (1, 3, 4, 100)]
    assert [s.ndb for s in scores] == [0, 0, 2, 2]
    assert abs(scores[1].z[0]) < 1.959964 < abs(scores[2].z[0])
    assert scores[0].jsd == pytest.approx(scores[3].jsd, rel=1e-12)


def test_empty_and_full_bins_are_no_evidence():
    z, p = bins.two_proportion_test(np.array([0, 9]), 9, np.array([0, 5]), 5)
    np.testing.assert_array_equal(z, 0)
    np.testing.assert_array_equal(p, 1)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_separate_clusters_are_found(offset):
    counts = np.arange(20, 36)
    real = clusters(0, counts, offset=offset)
    found = bins.fit_bins(real, num_bins=16)
    np.testing.assert_array_equal(found.counts, counts[::-1])  # The fullest first.
    means = np.stack([m.mean(axis=0) for m in np.split(real, np.cumsum(counts)[:-1])])
    np.testing.assert_allclose(found.centres, means[::-1], rtol=1e-9)


def test_integers_and_float32_cluster_alike():
    real = np.round(clusters(1, np.arange(20, 36)) * 20)
    exact = bins.fit_bins(real, num_bins=16)
    for dtype in (np.float32, np.int16):
        found = bins.fit_bins(real.astype(dtype), num_bins=16)
        np.testing.assert_array_equal(found.counts, exact.counts)
        np.testing.assert_allclose(found.centres, exact.centres, rtol=1e-5, atol=1e-5)


def test_dropped_modes_are_counted():
    counts = np.full(16, 100)
    fitted = bins.fit_bins(clusters(2, counts), num_bins=16)
    same = bins.ndb(fitted, clusters(3, counts))
    assert (same.ndb, same.jsd) == (0, 0)
    dropped = counts.copy()
    dropped[:4] = 0
    found = bins.ndb(fitted, clusters(4, dropped))
    # 4 of 16 are empty; in each other one 100 of 1600 against 100 of 1200: z = -2.12: all differ.
    assert found.ndb == 16
    assert (found.fake == 0).sum() == 4
    assert (found.real_count, found.fake_count) == (1600, 1200)
    # Half of the mass on one mode.
    skewed = np.full(16, 100)
    skewed[5] = 150
    assert bins.ndb(fitted, clusters(5, skewed)).ndb == 1


def test_a_memorised_set_is_perfect():
    real = np.random.RandomState(6).standard_normal((1000, 5))
    found = bins.ndb(bins.fit_bins(real, num_bins=20), real)
    assert (found.ndb, found.share, found.jsd) == (0, 0, 0)


def test_false_alarms_are_five_per_cent():
    # Second sets of the same proportions: 10,000 tests at 0.05, 4 sigma around 500 alarms.
    rng = np.random.RandomState(7)
    shares = np.arange(1, 21) / 210
    pairs = rng.multinomial(3000, shares, (500, 2))
    alarms = sum(bins.different_bins(real, fake).ndb for real, fake in pairs)
    assert abs(alarms - 500) < 4 * np.sqrt(500 * 0.95)


def test_another_set_of_the_same_distribution():
    x, y = np.random.RandomState(7).standard_normal((2, 3000, 2))
    found = bins.ndb(bins.fit_bins(x, num_bins=20), y)
    assert found.ndb <= 4  # 1 expected; 5 or more of 20 at 0.05 has a chance of 0.003.


def test_blind_to_a_change_within_a_bin():
    counts = np.full(4, 100)
    fitted = bins.fit_bins(clusters(8, counts), num_bins=4)
    tight = bins.ndb(fitted, clusters(9, counts, spread=0.01))
    assert (tight.ndb, tight.jsd) == (0, 0)


def test_whitening_lets_small_dimensions_count():
    rng = np.random.RandomState(10)
    side = rng.randint(0, 2, 600)
    real = np.stack([rng.normal(0, 1000, 600), side + rng.normal(0, 0.05, 600)], axis=1)
    fake = real[side == 0]
    plain = bins.ndb(bins.fit_bins(real, num_bins=2), fake)
    white = bins.ndb(bins.fit_bins(real, num_bins=4, whiten=True), fake)
    assert plain.ndb == 0  # Clusters follow the loud dimension.
    assert white.ndb == 4
    fitted = bins.fit_bins(real, num_bins=4, whiten=True)
    np.testing.assert_allclose(fitted.scale, real.std(axis=0) + 1e-6, rtol=1e-12)
    np.testing.assert_array_equal(np.bincount(fitted.assign(real)), fitted.counts)


def test_k_means_is_a_fixed_point_and_beats_random_centres():
    real = np.random.RandomState(11).uniform(size=(800, 3))
    centres = bins.k_means(real, 10)
    squares = np.square(real[:, None] - centres).sum(axis=-1)
    label = squares.argmin(axis=1)
    means = np.stack([real[label == k].mean(axis=0) for k in range(10)])
    np.testing.assert_allclose(centres, means, atol=1e-12)
    random = real[:10]
    assert squares.min(1).sum() < 0.8 * np.square(real[:, None] - random).sum(-1).min(1).sum()


def test_not_much_worse_than_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    real = np.random.RandomState(12).standard_normal((2000, 8))

    def inertia(centres):
        return bins._nearest(real, centres)[1].sum()

    theirs = inertia(cluster.KMeans(30, n_init=1, random_state=0).fit(real).cluster_centers_)
    assert inertia(bins.k_means(real, 30)) < 1.03 * theirs


def test_no_cluster_is_empty():
    # 9 distinct values with many copies: k-means++ must not draw a copy.
    real = np.repeat(np.arange(9.0)[:, None], 50, axis=0)
    for dtype in ("f8", "f4"):
        np.testing.assert_array_equal(bins.fit_bins(real.astype(dtype), num_bins=9).counts, 50)


def test_given_centres():
    centres = np.array([[0.0], [10.0]])
    found = bins.bins_from_centres(np.array([[1.0], [6.0], [9.0]]), centres)
    np.testing.assert_array_equal(found.centres, [[10], [0]])
    np.testing.assert_array_equal(found.counts, [2, 1])
    np.testing.assert_array_equal(found.assign(np.array([[4.9], [5.1]])), [1, 0])


def test_seeds_and_blocks(monkeypatch):
    real = np.random.RandomState(13).standard_normal((600, 4))
    whole = bins.fit_bins(real, num_bins=12, seed=3)
    again = bins.fit_bins(real, num_bins=12, seed=3)
    np.testing.assert_array_equal(again.centres, whole.centres)
    monkeypatch.setattr(bins, "_BLOCK_ELEMENTS", 100)
    blocks = bins.fit_bins(real, num_bins=12, seed=3)
    np.testing.assert_array_equal(blocks.counts, whole.counts)
    np.testing.assert_allclose(blocks.centres, whole.centres, atol=1e-12)
    assert (bins.fit_bins(real, num_bins=12, seed=4).centres != whole.centres).any()


def test_large_sets_are_clustered_on_a_sample_and_counted_whole(monkeypatch):
    monkeypatch.setattr(bins, "_FIT_ROWS_PER_BIN", 20)
    counts = np.full(16, 100)
    found = bins.fit_bins(clusters(14, counts), num_bins=16)
    np.testing.assert_array_equal(found.counts, counts)


def test_bad_input_is_refused():
    real = np.random.RandomState(15).standard_normal((30, 2))
    fitted = bins.fit_bins(real, num_bins=5)
    with pytest.raises(UserError, match="31 bins need"):
        bins.fit_bins(real, num_bins=31)
    with pytest.raises(UserError, match="1 bins need"):
        bins.fit_bins(real, num_bins=1)
    with pytest.raises(UserError, match="only 1 distinct rows"):
        bins.fit_bins(np.full((30, 2), 1e6), num_bins=2)
    with pytest.raises(UserError, match="only 3 distinct rows"):
        bins.fit_bins(np.repeat(real[:3], 10, axis=0), num_bins=4)
    copies = np.random.RandomState(16).standard_normal((9, 40)).repeat(50, axis=0) + 7
    for dtype in ("f8", "f4"):  # Rounding of their distances makes no copy distinct.
        with pytest.raises(UserError, match="only 9 distinct rows"):
            bins.fit_bins(copies.astype(dtype), num_bins=10)
    with pytest.raises(UserError, match="NaN"):
        bins.fit_bins(np.full((30, 2), np.nan))
    with pytest.raises(UserError, match="4 generated samples cannot fill 5 bins"):
        bins.ndb(fitted, real[:4])
    with pytest.raises(UserError, match=r"expected \(N, 2\)"):
        bins.ndb(fitted, np.zeros((30, 3)))
    with pytest.raises(UserError, match="NaN"):
        bins.ndb(fitted, np.full((30, 2), np.inf))
    with pytest.raises(UserError, match="level in"):
        bins.different_bins(np.ones(3), np.ones(3), significance=0)
    with pytest.raises(UserError, match="0 generated"):
        bins.different_bins(np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match="histograms"):
        bins.different_bins(np.ones(3), np.ones(4))
