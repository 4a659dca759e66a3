"""The blessing: which way each threshold points, and what the last blessed model has to say."""

import json
import math

import pytest

from ganpipe.errors import UserError
from pipeline.components import evaluator

SCORES = {"frechet": 20.0, "kernel": 0.5, "kernel_std": 0.1, "label_accuracy": 0.9}


def evaluation(accuracy=0.93, **changes):
    return {
        "scores": {**SCORES, **changes},
        "extractor": {"name": "smallcnn", "hash": "ab", "test_accuracy": accuracy},
    }


@pytest.mark.parametrize(
    ("threshold", "met", "missed"),
    [
        ("max_frechet", 20.0, 19.99),  # the limit itself is met
        ("max_kernel", 0.5, 0.49),
        ("min_label_accuracy", 0.9, 0.91),
        ("min_classifier_accuracy", 0.93, 0.94),
    ],
)
def test_each_threshold_points_the_right_way(threshold, met, missed):
    assert evaluator.bless(evaluation(), {threshold: met})["blessed"]
    verdict = evaluator.bless(evaluation(), {threshold: missed})
    assert not verdict["blessed"]
    (sentence,) = verdict["missed"]
    assert threshold in sentence and f"{missed:.4g}" in sentence and f"{met:.4g}" in sentence


def test_no_threshold_is_no_demand():
    assert evaluator.bless(evaluation(), dict.fromkeys(evaluator.THRESHOLDS))["blessed"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("score", ["frechet", "label_accuracy"])
def test_a_score_that_is_no_number_never_passes(score, value):
    assert not evaluator.bless(evaluation(**{score: value}), {})["blessed"]


def test_absent_score_misses_its_threshold():
    verdict = evaluator.bless(evaluation(accuracy=None), {"min_classifier_accuracy": 0.5})
    assert verdict["missed"] == [
        "classifier_accuracy is absent, at least 0.5 was asked (min_classifier_accuracy)"
    ]


@pytest.mark.parametrize(("frechet", "blessed"), [(19.0, True), (22.0, True), (22.1, False)])
def test_baseline_allows_the_stated_ratio(frechet, blessed):
    verdict = evaluator.bless(
        evaluation(frechet=frechet), {"max_frechet_ratio": 1.1}, baseline=evaluation(frechet=20.0)
    )
    assert verdict["blessed"] is blessed
    (check,) = verdict["checks"]
    assert check["limit"] == pytest.approx(22.0, abs=1e-9) and check["baseline"] == 20.0
    if not blessed:
        assert "1.1 x 20 of the last blessed model" in verdict["missed"][0]


def test_without_baseline_the_ratio_asks_nothing():
    assert evaluator.bless(evaluation(), {"max_frechet_ratio": 1e-6})["blessed"]


def test_every_miss_is_named():
    thresholds = {"max_frechet": 1.0, "min_label_accuracy": 0.99, "max_kernel": 9.0}
    verdict = evaluator.bless(evaluation(), thresholds)
    assert len(verdict["missed"]) == 2 and len(verdict["checks"]) == 3


def test_blessing_file(tmp_path):
    written = evaluator.write_blessing(tmp_path, evaluation(), {"max_frechet": 30.0}, None, None)
    assert json.loads((tmp_path / "blessing.json").read_text()) == written
    assert written["blessed"] and written["baseline_model"] is None


@pytest.mark.parametrize(
    ("changes", "conditional", "message"),
    [
        ({"metrics": ("frechet", "label_accuracy")}, False, "unconditional"),
        ({"metrics": ("kernel",), "max_frechet": 3.0}, True, r"max_frechet=3 needs the metric"),
        ({"min_label_accuracy": 85.0}, True, r"min_label_accuracy=85: expected a share"),
        ({"max_frechet_ratio": 0.0}, True, r"max_frechet_ratio=0: expected more than 0"),
        ({"num": 1}, True, r"num=1: expected at least 2"),
    ],
)
def test_config_that_cannot_be_judged_is_refused(changes, conditional, message):
    config = {"metrics": ("frechet", "kernel", "label_accuracy"), "num": 100, **changes}
    with pytest.raises(UserError, match=message):
        evaluator.check_config(config, conditional)
