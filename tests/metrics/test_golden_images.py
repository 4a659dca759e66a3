"""Image metrics against what the published programs answer; values from tests/golden."""

from pathlib import Path

import numpy as np
import pytest

from ganpipe.metrics import image_quality, modes, ms_ssim, path_length, separability
from ganpipe.metrics import sliced_wasserstein as swd

FULL = Path(__file__).parents[1] / "golden" / "metrics_public.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(FULL) as archive:
        wanted = ("/IMG/", "/M/", "/G2/")
        return {k: archive[k] for k in archive.files if any(part in k for part in wanted)}


def nhwc(images):
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


def test_laplacian_pyramid(golden):
    pyramid = swd.laplacian_pyramid(nhwc(golden["in/IMG/real"][:2]), 3)
    for i, level in enumerate(pyramid):
        expected = golden[f"val/IMG/swd/laplacian_level{i}_of_first_2_reals"]
        np.testing.assert_allclose(level, nhwc(expected), rtol=0, atol=1e-4)


def test_patch_descriptors(golden):
    level = nhwc(golden["val/IMG/swd/laplacian_level0_of_first_2_reals"])
    patches = swd.draw_patches(level, np.random.RandomState(153), per_image=4)
    found = swd.normalise_patches(patches)
    expected = golden["val/IMG/swd/descriptors_level0_4_per_image"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def scored(golden, seed, batch):
    meter = swd.SlicedWassersteinMeter(64, seed=seed, minibatch=64)
    for name, update in (("real", meter.update_real), ("fake", meter.update_fake)):
        images = nhwc(golden[f"in/IMG/{name}"])
        for i in range(0, len(images), batch):
            update(images[i : i + batch])
    return meter.result()


def test_sliced_wasserstein(golden):
    found = scored(golden, 152, batch=50)
    expected = golden["val/IMG/swd/progan_seed152_mb64_fakes"]
    assert list(golden["val/IMG/swd/progan_names"][:3]) == [f"SWDx1e3_{r}" for r in found.levels]
    np.testing.assert_allclose([*found.distances, found.mean], expected, rtol=2e-5)


@pytest.mark.slow
def test_sliced_wasserstein_of_another_stream(golden):
    found = scored(golden, 5, batch=64)
    mean = golden["val/IMG/swd/progan_fakes_mean_over_8_seeds"]
    std = golden["val/IMG/swd/progan_fakes_std_over_8_seeds"]
    assert (np.abs([*found.distances, found.mean] - mean) < 4 * std).all()
    first = golden["val/IMG/swd/progan_seed152_mb64_fakes"][0]
    assert abs(found.distances[0] / first - 1) > 1e-3  # A seed does change the answer.


def test_single_scale_ssim(golden):
    fakes = nhwc(golden["in/IMG/fake"][:16])
    found = np.stack(image_quality.ssim_terms(fakes[::2], fakes[1::2]), axis=1)
    expected = golden["val/IMG/ssim/progan_single_scale_ssim_cs"]
    # The reference filters by a float32 FFT; in float64 it gives our values to 1e-14. Its rounding
    # is 4.3e-6 in one pair of eight.
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)
    means = image_quality.ssim(fakes[::2], fakes[1::2], on_luma=False)
    np.testing.assert_allclose(means, found[:, 0], rtol=0, atol=1e-13)


def test_ms_ssim_pairs(golden):
    fakes = nhwc(golden["in/IMG/fake"][:16])
    expected = golden["val/IMG/msssim/progan_first_8_pairs"]
    np.testing.assert_allclose(ms_ssim.ms_ssim(fakes[::2], fakes[1::2]), expected, atol=3e-6)
    reals, twins = nhwc(golden["in/IMG/real"][:8]), nhwc(golden["in/IMG/msssim/near_duplicates"])
    expected = golden["val/IMG/msssim/progan_near_duplicates_8"]
    np.testing.assert_allclose(ms_ssim.ms_ssim(reals, twins), expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("name", ["real", "fake"])
def test_ms_ssim_diversity(golden, name):
    images = nhwc(golden[f"in/IMG/{name}"])
    expected = float(golden[f"val/IMG/msssim/progan_{name}s_consecutive_pairs"])
    assert ms_ssim.diversity(images).mean == pytest.approx(expected, abs=3e-6)


def test_slerp(golden):
    z0, z1, t = (golden[f"in/M/ppl/{k}"] for k in ("z0", "z1", "t"))
    for shift, key in ((0, "slerp_t"), (1e-4, "slerp_t_plus_1e-4")):
        found = path_length.slerp(z0, z1, t + shift)
        np.testing.assert_allclose(found, golden[f"val/M/ppl/{key}"], rtol=0, atol=1e-12)
    for unit in (False, True):
        found = path_length.slerp_weights(z0, z1, 1e-4, unit=unit)
        key = "val/M/ppl/torch_fidelity_slerp_" + ("unit" if unit else "any")
        np.testing.assert_allclose(found, golden[key], rtol=0, atol=1e-12)


def test_trimmed_mean(golden):
    found = path_length.trimmed(golden["in/M/ppl/distances"])
    low, high, count = golden["val/M/ppl/trim_lo_hi_count"]
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)
    assert found.kept == count
    assert found.mean == pytest.approx(float(golden["val/M/ppl/trimmed_mean_f64"]), rel=1e-9)
    assert found.std == pytest.approx(float(golden["val/M/ppl/trimmed_std_f64"]), rel=1e-9)


def test_conditional_entropy(golden):
    entropies = separability.conditional_entropy(golden["in/M/ls/joint_tables"])
    expected = golden["val/M/ls/conditional_entropy_bits"]
    np.testing.assert_allclose(entropies, expected, rtol=1e-6, atol=1e-6)
    expected = float(golden["val/M/ls/separability_2_pow_sum"])
    assert separability.separability_score(entropies) == pytest.approx(expected, rel=1e-6)


def test_stacked_digits(golden):
    found = modes.discrete_modes(modes.digit_codes(golden["in/M/modes/digits"]), 1000)
    assert found.covered == golden["val/M/modes/covered"]
    assert found.kl == pytest.approx(float(golden["val/M/modes/kl_nats_pacgan"]), rel=1e-12)


def test_grid(golden):
    found = modes.mixture_modes(golden["in/G2/points"], golden["in/G2/means"], 0.05)
    assert found.covered == golden["val/G2/covered"]
    assert found.high_quality == pytest.approx(float(golden["val/G2/high_quality_fraction"]))
    assert found.kl == pytest.approx(float(golden["val/G2/kl_nats_to_uniform"]), rel=1e-12)
    assert found.jsd == pytest.approx(float(golden["val/G2/jsd_nats_to_uniform"]), rel=1e-12)
