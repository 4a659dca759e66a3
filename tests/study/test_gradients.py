"""The pull of each loss on a logit is its analytic derivative; games go as theory says."""

import numpy as np
import pytest

from ganpipe.study import gradients

LOGITS = np.array([-20.0, -3.0, -0.5, 0.0, 0.5, 3.0, 20.0])


def sigmoid(x):
    return np.where(
        x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    )


ANALYTIC = {
    "minimax": sigmoid,
    "non_saturating": lambda f: sigmoid(-f),
    "least_squares": lambda f: 1 - f,
    "least_squares_pearson": lambda f: -f,
    "least_squares_sigmoid": lambda f: (1 - sigmoid(f)) * sigmoid(f) * (1 - sigmoid(f)),
    "wasserstein": np.ones_like,
    "hinge": np.ones_like,
    "fgan_kl": lambda f: np.exp(f - 1),
    "fgan_reverse_kl": np.ones_like,
    "fgan_reverse_kl_alt": lambda f: np.exp(-f),
    "fgan_pearson": lambda f: f / 2 + 1,
    "fgan_squared_hellinger": np.exp,
    "fgan_total_variation": lambda f: 0.5 / np.cosh(f) ** 2,
    "rsgan": lambda f: sigmoid(-f),
    "rasgan": lambda f: 2 * sigmoid(-f),
}


@pytest.mark.parametrize("loss", ANALYTIC)
def test_pull_is_the_analytic_derivative(loss):
    pulls = gradients.pull(loss, LOGITS)
    assert pulls.dtype == np.float64
    np.testing.assert_allclose(pulls, ANALYTIC[loss](LOGITS), rtol=1e-6, atol=1e-14)


def test_every_curve_of_the_figure_is_tested():
    shown = {name for group in gradients.CURVES.values() for name in group}
    assert shown <= set(ANALYTIC)


def test_a_better_d_starves_the_saturating_game_only():
    stages = (30, 300)
    sizes = {
        name: np.median(gradients.play(name, 0, stages)["size"], axis=1)
        for name in ("minimax", "non_saturating", "wasserstein_spectral")
    }
    assert sizes["minimax"][1] < 0.1 * sizes["minimax"][0]
    assert sizes["non_saturating"][1] > sizes["non_saturating"][0]
    # Never steeper than 1, and near it once trained.
    assert 0.5 < sizes["wasserstein_spectral"][1] < 1.01
