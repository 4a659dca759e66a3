"""What `benchmarks/metrics.py` concludes from what its contestants answer; none is started."""

import importlib.util
import math
import os
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


metrics, tasks = load("metrics"), load("metrics_tasks")


def test_disagreement():
    assert metrics.disagreement([1.0, 2.2], [1.0, 2.0], (0.1, 0.0)) == pytest.approx(1)
    assert metrics.disagreement([1.0, 2.2], [1.0, 2.0], (0.0, 0.1)) == pytest.approx(2)
    assert metrics.disagreement([0.0], [0.0], (1e-6, 0.0)) == 0
    assert metrics.disagreement([1e-9], [0.0], (1e-6, 0.0)) == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("first", [True, False])
def test_what_is_not_finite_never_agrees(value, first):
    values = [1.1, value] if first else [value, 1.1]
    assert metrics.disagreement(values, [1.0, 1.0], (1e-6, 0.0)) == math.inf
    assert metrics.disagreement([1.0, 1.0], values, (1e-6, 0.0)) == math.inf
    assert metrics.disagreement(values, values, (1e-6, 0.0)) == math.inf


def record(ratio, apart):
    pair = {"ours": "ganpipe", "peer": "prdc", "target": 2.0, "ratios": [ratio]}
    return {"pairs": [pair | {"disagreement": apart}], "peak_mb": {"ganpipe": 100.0, "prdc": 9e3}}


def test_verdicts():
    assert metrics.judge("prdc", record(2.5, 0.0), small=False)
    assert not metrics.judge("prdc", record(1.5, 0.0), small=False)
    assert metrics.judge("prdc", record(1.5, 0.0), small=True)
    assert not metrics.judge("prdc", record(2.5, math.inf), small=True)


def test_every_task_is_whole():
    names = set(metrics.TARGETS)
    for table in (metrics.SIZES, metrics.SMALL, metrics.OURS, metrics.TOLERANCES):
        assert set(table) == names
    # The kernel distance is timed as the product takes it, too.
    assert {variant for variant, _ in metrics.TARGETS["kernel"]} == {"float64", "float32"}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_all_contestants_get_the_same_cores(monkeypatch):
    asked = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 2, 3})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: asked.append((pid, cores)))
    assert metrics.use_cores(2) == [2, 3]
    assert asked == [(0, [2, 3])]
    with pytest.raises(SystemExit, match="only 3 core"):
        metrics.use_cores(4)


def test_ill_conditioned_features():
    plain, ill = (tasks.features(1000, 64, fall)[1].astype("f8") for fall in (1.0, 1e-3))
    conditions = []
    for x in (plain, ill):
        values = np.linalg.eigvalsh(np.cov(x, rowvar=False))
        conditions.append(values[0] / values[-1])
    assert conditions[0] > 1e-3
    assert 1e-7 < conditions[1] < 3e-5
