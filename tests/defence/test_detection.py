"""ROC by ranks against the definition."""

import numpy as np
import pytest

from ganpipe.defence import detection
from ganpipe.errors import UserError


def test_auc_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    clean, attacked = rng.integers(0, 8, 40), rng.integers(2, 11, 30)  # with many ties
    pairs = np.sign(attacked[:, None] - clean[None]).mean() / 2 + 0.5
    assert detection.roc_auc(clean, attacked) == pytest.approx(pairs, abs=1e-12)
    assert detection.roc_auc(attacked, clean) == pytest.approx(1 - pairs, abs=1e-12)


def test_auc_at_the_ends():
    assert detection.roc_auc([0.0, 1.0], [2.0, 3.0]) == 1.0
    assert detection.roc_auc([2.0, 3.0], [0.0, 1.0]) == 0.0
    assert detection.roc_auc([1.0, 1.0], [1.0]) == 0.5


@pytest.mark.parametrize(("clean", "attacked"), [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_auc_needs_scores(clean, attacked):
    with pytest.raises(UserError, match="ROC"):
        detection.roc_auc(clean, attacked)


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1])
def test_threshold_keeps_the_false_positive_rate(rate):
    scores = np.random.default_rng(0).normal(size=1000)
    t = detection.threshold(scores, rate)
    assert np.mean(scores > t) == pytest.approx(rate)
