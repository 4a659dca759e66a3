"""Our numbers against what the published implementations answer on the same features."""

import hashlib
import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ganpipe.metrics import frechet, kernel

GOLDEN = Path(__file__).parents[1] / "golden"
FULL = Path(__file__).parents[3] / "shared" / "golden" / "metrics_public.npz"

spec = importlib.util.spec_from_file_location("metrics_recipe", GOLDEN / "metrics_recipe.py")
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)


def values(path=GOLDEN / "metrics_small.npz"):
    with np.load(path) as archive:
        meta = json.loads(str(archive["meta_json"]))
        return {k: archive[k] for k in archive.files if k.startswith("val/")}, meta


GOLDEN_VALUES, META = values()
# C takes minutes where others use the cores too: 2048 dimensions at full rank.
CASES = [pytest.param(c, marks=pytest.mark.slow) if c == "C" else c for c in "AUIBC"]


def compare(name, golden, meta):
    fake, real = recipe.case(name, meta["cases"])
    compared = 0
    distance = frechet.frechet_from_features(fake, real)
    by_moments = None
    if fake.shape[1] < 2048:
        a, b = frechet.GaussianStatistics.of(fake), frechet.GaussianStatistics.of(real)
        by_moments = frechet.frechet_distance(a.mean, a.cov, b.mean, b.cov)
    for key, value in golden.items():
        found = re.fullmatch(rf"val/{name}/(fid|kid)/(.*)", key)
        if not found or not re.search("f64", key) or re.search("tfgan|ddof0|clean", key):
            continue
        if found[1] == "fid":
            # Identical sets: the true value is 0, so the tolerance is absolute.
            tolerance = {"abs": 1e-9} if name == "I" else {"rel": 1e-6}
            if "exact" in key and name != "I":
                tolerance = {"rel": 1e-11}
            assert distance == pytest.approx(float(value), **tolerance), key
            if by_moments is not None:
                assert by_moments == pytest.approx(float(value), **tolerance), key
        elif "full_sample" in key:
            whole = kernel.mmd2_unbiased(fake.astype("f8"), real.astype("f8"))
            assert whole == pytest.approx(float(value), rel=1e-9), key
        else:
            s, m, seed = map(int, re.search(r"_s(\d+)_m(\d+)_(?:np)?seed(\d+)", key).groups())
            got = kernel.kernel_distance(fake, real, subsets=s, subset_size=m, seed=seed)
            assert got.mean == pytest.approx(value[0], rel=1e-9), key
            # Subsets as large as the set are all the same: their spread is rounding alone.
            assert got.std == pytest.approx(value[1], rel=1e-6, abs=1e-12), key
        compared += 1
    return compared


@pytest.mark.parametrize("name", CASES)
def test_published_values(name):
    assert compare(name, GOLDEN_VALUES, META) >= 5


@pytest.mark.parametrize("name", ["A", "B"])
def test_regenerated_inputs_are_the_recorded_ones(name):
    for side, x in zip(("fake", "real"), recipe.case(name, META["cases"]), strict=True):
        digest = hashlib.sha256(np.ascontiguousarray(x)).hexdigest()
        assert digest == META["sha256"][f"{name}/{side}"]


@pytest.mark.skipif(not FULL.exists(), reason="the workspace's shared folder is not here")
@pytest.mark.parametrize("name", ["A", "U", "I"])
def test_the_full_file(name):
    golden, meta = values(FULL)
    assert compare(name, golden, meta) >= 5
    for key in GOLDEN_VALUES:
        np.testing.assert_array_equal(GOLDEN_VALUES[key], golden[key])
