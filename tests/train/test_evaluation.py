"""Scores while training: written once a step, across kills, with the best checkpoint kept."""

import json
from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import history
from ganpipe.train import callbacks, checkpoint, evaluation


def config(**changes):
    values = {
        "train": {"checkpoint_every": 10, "batch_size": 4},
        "evaluate": {"every": 20, "metrics": ("frechet", "kernel"), "num": 50, "best": "frechet"},
    }
    values["evaluate"] |= changes
    return ml_collections.ConfigDict(values)


def test_settings_are_off_without_a_section():
    bare = ml_collections.ConfigDict({"train": {"checkpoint_every": 10}})
    assert evaluation.settings(bare)["every"] == 0
    assert evaluation.settings(config())["split"] == "test"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"every": 15}, "evaluate.every=15: expected 0 .off. or a multiple of .*=10"),
        ({"every": -10}, "evaluate.every=-10"),
        ({"metrics": ("fid",)}, "unknown metric 'fid'"),
        ({"best": "label_accuracy"}, "evaluate.best='label_accuracy': expected one of"),
        ({"metrics": ("ms_ssim",), "best": "ms_ssim"}, "lower or higher is better"),
        ({"evry": 1}, "config.evaluate.evry: unknown"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        evaluation.settings(config(**changes))


class Stub:
    """A system whose scores are told by its step."""

    resolution, channels, num_classes = 8, 1, 0

    def __init__(self, step=0):
        self.step = SimpleNamespace(numpy=lambda: self.at)
        self.at = step

    def sample(self, n, seed=0, labels=None):
        return np.zeros((n, 8, 8, 1), np.uint8)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Evaluations on a stub; `scores` maps a step to what is measured there."""
    (tmp_path / "tensorboard").mkdir()
    scores = {20: 5.0, 40: 3.0, 60: 4.0}
    model = Stub()
    monkeypatch.setattr(evaluation, "data_source", lambda info, resolution: "source")
    monkeypatch.setattr(evaluation.evaluate, "check", lambda **k: "request")
    monkeypatch.setattr(evaluation.classifier, "get_or_train", lambda *a: "extractor")

    def evaluate(sampler, source, extractor, request, cache_dir):
        return {
            "scores": {"frechet": scores[model.at], "kernel": 0.1},
            "names": {"frechet": "FD-x", "kernel": "KD-x"},
            "extractor": {"name": "x", "hash": "h"},
            "passport": {"extractor": "x h", "counts": {}, "seeds": {}},
        }

    monkeypatch.setattr(evaluation.evaluate, "evaluate", evaluate)
    saver = callbacks.Checkpoints(tmp_path / "checkpoints", 10, 60, 2, True, seconds=7.0)

    def build():
        watcher = evaluation.Evaluations(
            tmp_path, evaluation.settings(config()), model, None, 4, saver
        )
        watcher.set_model(model)
        return watcher

    return SimpleNamespace(run=tmp_path, model=model, build=build, scores=scores)


def test_due_steps_are_scored_and_the_best_is_named(made):
    watcher = made.build()
    watcher.on_train_begin()
    for step in range(10, 61, 10):
        made.model.at = step
        watcher.after(step, {})
    records = history.read(made.run)
    assert [(r["step"], r["images_seen"], r["scores"]["frechet"]) for r in records] == [
        (20, 80, 5.0),
        (40, 160, 3.0),
        (60, 240, 4.0),
    ]
    assert records[0]["train_seconds"] == 7.0
    best = json.loads((made.run / "best.json").read_text())
    assert best == {"metric": "frechet", "value": 3.0, "step": 40}
    assert evaluation.best_step(made.run) == [40]
    assert list((made.run / "tensorboard").glob("events*"))


def test_a_killed_run_scores_what_was_due_and_nothing_twice(made):
    made.model.at = 20  # killed after the checkpoint of step 20, before its scores
    made.build().on_train_begin()
    assert [r["step"] for r in history.read(made.run)] == [20]
    made.build().on_train_begin()
    made.model.at = 30
    made.build().on_train_begin()
    assert len((made.run / history.FILE).read_text().splitlines()) == 1


def test_the_manifest_knows_the_seconds(tmp_path):
    assert checkpoint.seconds(None) == 0.0
    folder = tmp_path / "step_00000010"
    folder.mkdir()
    (folder / "manifest.json").write_text('{"step": 10, "seconds": 2.5, "files": {}}')
    assert checkpoint.seconds(folder) == 2.5
    (folder / "manifest.json").write_text('{"step": 10, "files": {}}')  # of an older version
    assert checkpoint.seconds(folder) is None
    assert evaluation.place(tmp_path, {"train": {"batch_size": 4}}, 10) == (40, None)


def test_default_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("GANPIPE_CACHE", str(tmp_path))
    assert evaluation.default_cache_dir() == tmp_path / "extractors"
    monkeypatch.delenv("GANPIPE_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(evaluation.default_cache_dir()) == "/home/someone/.cache/ganpipe/extractors"
