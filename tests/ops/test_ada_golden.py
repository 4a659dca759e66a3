"""The deterministic parts against the official AugmentPipe (tests/golden/ada_recipe.py)."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.ops import ada, ada_colour, ada_filter, ada_geometry

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "ada.npz"))
CASES = sorted(key for key in GOLDEN if "@" in key)


@pytest.mark.parametrize("case", CASES)
def test_whole_pipes_at_a_percentile(case):
    group, q = case.split("@")
    x, expected = GOLDEN["x24"], GOLDEN[case]
    channels = expected.shape[-1]
    if group == "grey":
        x, group = x.mean(axis=-1, keepdims=True), "bgc"
    augment = ada.Augment(group, 24, channels)
    result = augment(tf.constant(x), 0.0, tf.constant([1, 2]), percentile=float(q))
    assert np.abs(result - expected).max() < 1e-4
    assert np.abs(x - expected).max() > 0.01


@pytest.mark.parametrize("case", [0, 1, 2])
def test_given_inverse_matrices(case):
    x, inverse, expected = (GOLDEN[f"warp{case}_{name}"] for name in ("x", "inverse", "y"))
    result = ada_geometry.warp(tf.constant(x), tf.constant(inverse))
    assert np.abs(result - expected).max() < 1e-4
    margins = np.stack(ada_geometry.margins(tf.constant(inverse), *x.shape[1:3]))
    # The last case needs more padding than there is, and shows zeros.
    assert np.all(margins == 11) if case == 2 else np.all(margins < 20)


def test_given_colour_matrices():
    x, matrix = GOLDEN["colour_x"], tf.constant(GOLDEN["colour_matrix"])
    np.testing.assert_allclose(ada_colour.recolour(x, matrix), GOLDEN["colour_y"], atol=1e-5)
    grey = ada_colour.recolour(tf.constant(x[..., :1]), matrix)
    np.testing.assert_allclose(grey, GOLDEN["colour_grey"], atol=1e-5)


def test_filter_bank():
    np.testing.assert_allclose(ada_filter.filter_bank(), GOLDEN["bank"], atol=1e-7)
