"""MS-SSIM diversity: scales by hand, pairs, streaming, refusals."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import ms_ssim as metric
from ganpipe.metrics.image_quality import ssim_terms


def noise(seed, count=8, size=32, channels=3):
    return np.random.RandomState(seed).randint(0, 256, (count, size, size, channels)).astype("u1")


def test_identical_images_are_1_and_noise_is_diverse():
    x = noise(0)
    np.testing.assert_allclose(metric.ms_ssim(x, x), 1, atol=1e-12)
    assert metric.diversity(np.repeat(x[:1], 6, axis=0)).mean == pytest.approx(1, abs=1e-12)
    assert metric.diversity(x).mean < 0.2


def test_two_constant_images():
    # No variance: every cs is 1 and the last ssim is the luminance term, to the power .1333.
    a, b, c1 = 60, 120, 2.55**2
    x, y = (np.full((1, 32, 32, 1), v, np.uint8) for v in (a, b))
    luminance = (2 * a * b + c1) / (a * a + b * b + c1)
    assert metric.ms_ssim(x, y) == pytest.approx(luminance**0.1333, rel=1e-10)


def test_scales_written_out_with_the_shrinking_window():
    # 32 px: 32 and 16 take the full window, then 8, 4 and 2 pixels with sigma 1.5 size / 11.
    x = noise(1, 3).astype("f8")
    y = (x + noise(2, 3)) / 2
    x, y = x.astype("u1"), y.astype("u1")
    expected = np.ones(3)
    a, b = x.astype("f8"), y.astype("f8")
    for i, (size, w) in enumerate(zip((11, 11, 8, 4, 2), metric.WEIGHTS, strict=True)):
        ssim, cs = ssim_terms(a, b, window=size, sigma=1.5 * size / 11)
        expected *= np.maximum(ssim if i == 4 else cs, 0) ** w
        a, b = (
            v.reshape(3, v.shape[1] // 2, 2, v.shape[2] // 2, 2, 3).mean((2, 4)) for v in (a, b)
        )
    assert (expected > 0.1).all()
    np.testing.assert_allclose(metric.ms_ssim(x, y), expected, rtol=1e-10)


def test_a_negative_contrast_counts_as_0():
    x = noise(3, 1, 64, 1)
    assert metric.ms_ssim(x, 255 - x) == 0


def test_odd_sizes_keep_the_last_row():
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    # Blocks: [0 1 3 4], [2 5] twice, [6 7] twice, [8] four times.
    np.testing.assert_array_equal(metric.halve(x)[0, :, :, 0], [[2, 3.5], [6.5, 8]])


def test_collapsed_classes_are_seen_per_class():
    x = noise(4, 12)
    labels = np.repeat([0, 1], 6)
    x[6:] = x[6]  # Class 1 makes one image.
    found = metric.diversity(x, metric.class_pairs(labels), labels)
    assert found.per_class[1] == pytest.approx(1, abs=1e-12)
    assert found.per_class[0] < 0.2
    assert found.pairs == 30
    assert found.mean == pytest.approx((found.per_class[0] + 1) / 2, rel=1e-12)


def test_consecutive_pairs():
    np.testing.assert_array_equal(metric.consecutive_pairs(5), [[0, 1], [2, 3]])
    x = noise(5, 7)
    values = metric.ms_ssim(x[:6:2], x[1:6:2])
    found = metric.diversity(x)
    assert (found.mean, found.std) == pytest.approx((values.mean(), values.std()), rel=1e-13)
    assert (found.pairs, found.per_class) == (3, {})


def test_class_pairs_are_distinct_and_stay_in_their_class():
    labels = np.random.RandomState(0).randint(0, 3, 200)
    pairs = metric.class_pairs(labels, per_class=50, seed=1)
    assert pairs.shape == (150, 2)
    assert (labels[pairs[:, 0]] == labels[pairs[:, 1]]).all()
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len(np.unique(pairs, axis=0)) == 150
    np.testing.assert_array_equal(pairs, metric.class_pairs(labels, per_class=50, seed=1))
    assert (pairs != metric.class_pairs(labels, per_class=50, seed=2)).any()


@pytest.mark.parametrize("n", [2, 3, 7, 30])
def test_a_small_class_gives_every_pair_once(n):
    pairs = metric.class_pairs(np.zeros(n, int), per_class=1000)
    expected = sorted((i, j) for j in range(n) for i in range(j))
    assert sorted(map(tuple, pairs.tolist())) == expected


def test_class_pairs_are_uniform():
    # 6 images, 15 pairs, 3 of them a draw: each pair in 1 of 5 draws, within 5 sigma.
    counts = np.zeros((6, 6))
    for seed in range(2000):
        for i, j in metric.class_pairs(np.zeros(6, int), per_class=3, seed=seed):
            counts[i, j] += 1
    shares = counts[np.triu_indices(6, 1)] / 2000
    assert np.abs(shares - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 2000)


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_streaming_in_any_batches(batch, monkeypatch):
    x = noise(6, 9)
    whole = metric.diversity(x)
    monkeypatch.setattr(metric, "_BLOCK_BYTES", 2 * x[0].nbytes)
    stream = metric.ConsecutiveDiversity()
    for i in range(0, 9, batch):
        stream.update(x[i : i + batch])
    found = stream.result()
    assert found.pairs == 4
    assert (found.mean, found.std) == pytest.approx((whole.mean, whole.std), rel=1e-12)
    assert metric.diversity(x).mean == pytest.approx(whole.mean, rel=1e-12)


def test_bad_input_is_refused():
    x = noise(0)
    with pytest.raises(UserError, match="expected uint8"):
        metric.ms_ssim(x / 255.0, x / 255.0)
    with pytest.raises(UserError, match="at least 16 pixels"):
        metric.diversity(noise(0, size=15))
    with pytest.raises(UserError, match="at least 2 images"):
        metric.diversity(x[:1])
    with pytest.raises(UserError, match="at least 2 images"):
        metric.ConsecutiveDiversity().update(x[:1]).result()
    with pytest.raises(UserError, match="class 1 has a single image"):
        metric.class_pairs(np.array([0, 0, 1]))
    with pytest.raises(UserError, match="0 pairs"):
        metric.class_pairs(np.array([0, 0]), per_class=0)
    with pytest.raises(ValueError, match="span 0..8"):
        metric.diversity(x, np.array([[0, 8]]))
    with pytest.raises(ValueError, match="3 labels for 8"):
        metric.diversity(x, labels=np.zeros(3, int))
