"""Scores while training: written once a step, across kills, with the best checkpoint kept."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import ml_collections
import numpy as np
import pytest

from ganpipe import config as config_lib
from ganpipe.data.manifest import DatasetInfo
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
    """A system that stands at a step."""

    def __init__(self):
        self.at = 0
        self.step = SimpleNamespace(numpy=lambda: self.at)

    def sample(self, n, seed=0, labels=None):
        return np.zeros((n, 8, 8, 1), np.uint8)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Evaluations on a stub; `scores` maps a step to what is measured there."""
    (tmp_path / "tensorboard").mkdir()
    scores = {20: 5.0, 40: 3.0, 60: 4.0}
    model = Stub()
    monkeypatch.setattr(evaluation.choice, "get", lambda *a: "extractor")

    def evaluate(sampler, source, extractor, request, cache_dir):
        if isinstance(scores[model.at], Exception):
            raise scores[model.at]
        return {
            "scores": {"frechet": scores[model.at], "kernel": 0.1},
            "names": {"frechet": "FD-x", "kernel": "KD-x"},
            "extractor": {"name": "x", "hash": "h"},
            "passport": {"extractor": "x h", "counts": {}, "seeds": {}},
        }

    monkeypatch.setattr(evaluation.evaluate, "evaluate", evaluate)
    saver = callbacks.Checkpoints(tmp_path / "checkpoints", 10, 60, 2, True, seconds=7.0)

    def build(at=0):
        """A fresh process whose newest checkpoint is at a step."""
        model.at = at
        for step in range(10, at + 1, 10):
            (tmp_path / "checkpoints" / f"step_{step:08d}").mkdir(parents=True, exist_ok=True)
        watcher = evaluation.Evaluations(
            tmp_path,
            evaluation.settings(config()),
            "request",
            "source",
            lambda step: 4 * step,
            saver,
        )
        watcher.set_model(model)
        watcher.on_train_begin()
        return watcher

    def run(watcher, steps):
        for step in steps:
            model.at = step
            (tmp_path / "checkpoints" / f"step_{step:08d}").mkdir(parents=True, exist_ok=True)
            watcher.after(step, {})

    return SimpleNamespace(run=tmp_path, build=build, go=run, scores=scores)


def best(made):
    return json.loads((made.run / "best.json").read_text())


def test_due_steps_are_scored_and_the_best_is_named(made):
    made.go(made.build(), range(10, 61, 10))
    records = history.read(made.run)
    assert [(r["step"], r["images_seen"], r["scores"]["frechet"]) for r in records] == [
        (20, 80, 5.0),
        (40, 160, 3.0),
        (60, 240, 4.0),
    ]
    assert records[0]["train_seconds"] == 7.0
    assert best(made) == {"metric": "frechet", "value": 3.0, "step": 40}
    assert evaluation.best_step(made.run) == [40]
    assert list((made.run / "tensorboard").glob("events*"))


def test_a_killed_run_scores_what_was_due_and_nothing_twice(made):
    made.build(at=20)  # killed after the checkpoint of step 20, before its scores
    assert [r["step"] for r in history.read(made.run)] == [20]
    (made.run / "best.json").unlink()  # killed before it was written
    made.build(at=20)
    assert best(made)["step"] == 20
    made.build(at=30)
    assert len((made.run / history.FILE).read_text().splitlines()) == 1


def test_after_a_rollback_the_best_is_one_that_is_there(made):
    made.go(made.build(), range(10, 61, 10))
    for step in (30, 40, 50, 60):
        (made.run / "checkpoints" / f"step_{step:08d}").rmdir()
    made.scores |= {40: 4.5}
    made.go(made.build(at=20), (30, 40))
    assert [r["scores"]["frechet"] for r in history.read(made.run)] == [5.0, 4.5]
    assert best(made) == {"metric": "frechet", "value": 4.5, "step": 40}


def test_scores_taken_otherwise_are_not_the_best(made):
    watcher = made.build()
    made.go(watcher, (10, 20))
    other = history.read(made.run)[0]
    other["scores"] = {"frechet": 0.1}
    other["passport"] |= {"extractor": "other"}
    history.append(made.run, other)
    made.go(watcher, (30, 40))
    assert best(made)["value"] == 3.0


def test_a_score_that_cannot_be_taken_stops_nothing(made, capsys):
    made.scores |= {20: UserError("channel 0 is constant"), 40: RuntimeError("frechet is nan")}
    made.go(made.build(), range(10, 61, 10))
    assert [r["step"] for r in history.read(made.run)] == [60]
    assert "step 20 is not scored: channel 0 is constant" in capsys.readouterr().err


def test_a_damaged_best_keeps_nothing(tmp_path, capsys):
    assert evaluation.best_step(tmp_path) == []
    (tmp_path / "best.json").write_text("{")
    assert evaluation.best_step(tmp_path) == []
    assert "best.json cannot be read" in capsys.readouterr().err


INFO = DatasetInfo(
    dir=Path("data"),
    name="x",
    source="x",
    channels=1,
    levels=tuple({"resolution": r, "shape": [r, r], "encoding": "raw"} for r in (8, 28)),
    num_classes=0,
    class_names=(),
    splits={"train": {"count": 90, "per_class": [90]}},
    shards={},
    geometry="",
    skipped=0,
    fingerprint="d" * 64,
)


@pytest.mark.parametrize(
    ("resolution", "changes", "message"),
    [
        (8, {}, "evaluate.split=test: data has train"),
        (28, {"split": "train"}, r"evaluate .every=20.: the classifier takes square images"),
        (8, {"split": "train", "metrics": ("frechet", "label_accuracy")}, "needs labels"),
        (8, {"split": "train", "num": 1}, "needs at least 2 images"),
        (8, {"split": "train", "extractor": "inceptoin"}, "unknown; known are"),
        (8, {"split": "train", "extractor": "inception"}, "was trained on colour"),
        (8, {"split": "train", "metrics": ("frechet", "path_length_z")}, "here are images"),
    ],
)
def test_what_could_never_be_scored_is_refused_before_training(resolution, changes, message):
    asked = config(**changes)
    asked.data = {"resolution": resolution, "conditional": False}
    with pytest.raises(UserError, match=message):
        evaluation.check(asked, INFO)


def test_the_manifest_knows_the_place(tmp_path):
    assert checkpoint.place(None) == {"seconds": 0.0, "images_seen": 0}
    folder = tmp_path / "checkpoints" / "step_00000010"
    folder.mkdir(parents=True)
    manifest = folder / "manifest.json"
    manifest.write_text('{"step": 10, "seconds": 2.5, "images_seen": 40, "files": {}}')
    assert evaluation.place(tmp_path, 10) == (40, 2.5)
    manifest.write_text('{"step": 10, "files": {}}')  # of an older version
    assert evaluation.place(tmp_path, 10) == (None, None)
    assert evaluation.place(tmp_path, 20) == (None, None)


def test_default_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("GANPIPE_CACHE", str(tmp_path))
    assert evaluation.default_cache_dir() == tmp_path / "extractors"
    monkeypatch.delenv("GANPIPE_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(evaluation.default_cache_dir()) == "/home/someone/.cache/ganpipe/extractors"


def test_the_extractor_is_chosen_by_the_config(made, monkeypatch):
    asked = []
    monkeypatch.setattr(evaluation.choice, "get", lambda name, *rest: asked.append(name))
    watcher = made.build()
    watcher.made["extractor"] = "pixels"
    made.go(watcher, range(10, 61, 10))
    assert asked == ["pixels", "pixels", "pixels"]  # it gave None, so it is asked for again
    assert config_lib.evaluate(extractor="efflite0").extractor == "efflite0"
    assert config_lib.EVALUATE["extractor"] == "auto"


def test_a_missing_file_of_weights_stops_before_training(monkeypatch, tmp_path):
    monkeypatch.setenv("GANPIPE_WEIGHTS", str(tmp_path))
    colour = dataclasses.replace(INFO, channels=3)
    asked = config(split="train", extractor="inception")
    asked.data = {"resolution": 8, "conditional": False}
    with pytest.raises(UserError, match="evaluate .every=20.: .* are published at"):
        evaluation.check(asked, colour)
    asked.evaluate.extractor = "pixels"
    assert evaluation.check(asked, colour).metrics == ("frechet", "kernel")


def test_all_scores_of_a_run_share_one_event_file(made):
    made.go(made.build(), range(10, 61, 10))
    assert len(history.read(made.run)) == 3
    assert len(list((made.run / "tensorboard").glob("events*"))) == 1
