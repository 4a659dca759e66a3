"""The eval command on a stub system and a data set in memory, and every refusal."""

import importlib
import json

import numpy as np
import pytest

from ganpipe.cli import app, output
from ganpipe.cli import eval as command
from ganpipe.data.manifest import DatasetInfo
from ganpipe.errors import UserError


def squares(count, seed, labels=None):
    """(count, 8, 8, 1) uint8: class 0 bright on the left, class 1 on the right; and labels."""
    rng = np.random.RandomState(seed % 2**32)
    labels = rng.randint(0, 2, count) if labels is None else np.asarray(labels)
    images = rng.randint(0, 80, (count, 8, 8, 1)).astype(np.uint8)
    for i, label in enumerate(labels):
        images[i, :, 4 * label : 4 * label + 4] += 150
    return images, labels


class StubSystem:
    resolution, channels, num_classes, step = 8, 1, 2, 40

    @property
    def image_shape(self):
        return self.resolution, self.resolution, self.channels

    def __init__(self, **changes):
        self.__dict__.update(changes)

    def sample(self, n, seed=0, labels=None):
        return squares(n, seed, labels)[0]


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A run folder, a data folder in memory and a quick classifier."""
    import ganpipe
    from ganpipe import data
    from ganpipe.metrics import smallcnn, source

    splits = {"train": squares(160, 0), "test": squares(60, 1)}
    counts = {k: np.bincount(y, minlength=2).tolist() for k, (_, y) in splits.items()}
    info = DatasetInfo(
        dir=tmp_path / "data",
        name="halves",
        source="folder:halves",
        channels=1,
        levels=tuple({"resolution": r, "shape": [r, r], "encoding": "raw"} for r in (4, 8)),
        num_classes=2,
        class_names=("left", "right"),
        splits={k: {"count": sum(v), "per_class": v} for k, v in counts.items()},
        shards={},
        geometry="",
        skipped=0,
        fingerprint="d" * 64,
    )
    inside = source.from_arrays("halves", "d" * 64, splits, ("left", "right"))

    def load(folder, resolution, batch_size, split="train", seed=0, **how):
        assert (resolution, how["shuffle"]) == (8, how["repeat"])
        return inside.batches(split, batch_size, seed if how["repeat"] else None)

    for module in ("classifier", "evaluate"):  # these read the name before it is replaced
        importlib.import_module(f"ganpipe.metrics.{module}")
    settings = smallcnn.TrainingSettings
    monkeypatch.setattr(data, "info", lambda folder: info, raising=False)
    monkeypatch.setattr(data, "load", load, raising=False)
    monkeypatch.setattr(ganpipe, "load", lambda run: StubSystem())
    monkeypatch.setattr(
        smallcnn, "TrainingSettings", lambda: settings(batch_size=16, min_steps=25, max_steps=25)
    )
    run = tmp_path / "run"
    run.mkdir()
    record = {
        "config": {"data": {"dir": ""}},
        "fingerprint": "c" * 64,
        "data_dir": str(tmp_path / "data"),
        "data_fingerprint": "d" * 64,
        "commit": "unknown",
    }
    (run / "config.json").write_text(json.dumps(record))
    return tmp_path


def call(*arguments):
    """Exit status of the command; flags are reset to their defaults first."""
    command.FLAGS.unparse_flags()
    for flag in list(command.FLAGS):
        command.FLAGS[flag].unparse()
    with pytest.raises(SystemExit) as exit_info:
        app.run(command.main, command.FLAGS, [str(a) for a in arguments])
    return exit_info.value.code


def test_run_writes_scores_and_prints_the_ruler(stage, capsys):
    out = stage / "metrics.json"
    common = (
        f"--run={stage / 'run'}",
        f"--out={out}",
        "--num=50",
        f"--cache_dir={stage / 'cache'}",
    )
    assert call(*common) == 0
    printed = capsys.readouterr()
    assert "training the classifier smallcnn" in printed.err and "warning" not in printed.err
    result = json.loads(out.read_text())
    assert set(result["scores"]) == {"frechet", "kernel", "kernel_std", "label_accuracy"}
    assert result["scores"]["label_accuracy"] >= 0.9
    for line in ("FD-smallcnn", "KD-smallcnn", "LA-smallcnn"):
        (row,) = [text for text in printed.out.splitlines() if text.startswith(line)]
        assert result["extractor"]["hash"][:12] in row
    assert str(out) in printed.out
    assert result["passport"]["run"]["step"] == 40
    # Again: the same classifier, the same scores.
    assert call(*common) == 0
    assert "training" not in capsys.readouterr().err
    assert json.loads(out.read_text())["scores"] == result["scores"]
    assert sorted(p.name for p in stage.iterdir()) == ["cache", "metrics.json", "run"]


def test_other_data_than_the_run_saw_is_told(stage, capsys):
    record = json.loads((stage / "run" / "config.json").read_text())
    record["data_fingerprint"] = "a" * 64
    (stage / "run" / "config.json").write_text(json.dumps(record))
    arguments = (f"--run={stage / 'run'}", "--metrics=frechet", f"--out={stage / 'm.json'}")
    assert call(*arguments, "--num=20", f"--cache_dir={stage / 'cache'}") == 0
    assert "warning: " in capsys.readouterr().err


def test_npz(stage, capsys):
    images, labels = squares(40, 5)
    np.savez(stage / "s.npz", images=images, labels=labels)
    arguments = (f"--npz={stage / 's.npz'}", "--data=somewhere", f"--out={stage / 'm.json'}")
    assert call(*arguments, f"--cache_dir={stage / 'cache'}") == 0
    result = json.loads((stage / "m.json").read_text())
    assert result["passport"]["counts"] == {"generated": 40, "reference": 60}
    assert np.sum(result["confusion"]["matrix"]) == 40


def npz(stage, **arrays):
    np.savez(stage / "bad.npz", **arrays)
    return f"--npz={stage / 'bad.npz'}"


IMAGES, LABELS = squares(6, 2)
REFUSALS = {
    "neither": (lambda s: [], "exactly one of --run"),
    "both": (lambda s: ["--run=a", "--npz=b"], "exactly one of --run"),
    "no run": (lambda s: [f"--run={s / 'no'}"], "does not exist"),
    "no config": (lambda s: [f"--run={s}"], "has no config.json"),
    "metric": (lambda s: [f"--run={s / 'run'}", "--metrics=fid"], "unknown metric 'fid'; known"),
    "num": (lambda s: [f"--run={s / 'run'}", "--num=1"], "frechet needs at least 2 images"),
    "num 0": (lambda s: [f"--run={s / 'run'}", "--num=0"], "num"),
    "split": (lambda s: [f"--run={s / 'run'}", "--split=valid"], "no split 'valid'"),
    "leftover": (lambda s: [f"--run={s / 'run'}", "extra"], "unexpected argument"),
    "seed of images": (
        lambda s: [npz(s, images=IMAGES), "--data=d", "--seed=3"],
        "--seed=3: only --run samples images",
    ),
    "series of images": (
        lambda s: [npz(s, images=IMAGES), "--data=d", "--every_kimg=1"],
        "--every_kimg=1.0: only --run has checkpoints",
    ),
    "series and step": (
        lambda s: [f"--run={s / 'run'}", "--every_kimg=1", "--step=4"],
        "--step and --every_kimg: one checkpoint, or many",
    ),
    "series of nothing": (lambda s: [f"--run={s / 'run'}", "--every_kimg=0"], "--every_kimg=0"),
    "no checkpoints": (
        lambda s: [f"--run={s / 'run'}", "--every_kimg=1", "--metrics=frechet"],
        "has no checkpoints",
    ),
    "latents of images": (
        lambda s: [npz(s, images=IMAGES), "--data=d", "--metrics=path_length_z"],
        "path_length_z moves in the latent space z of a generator, here are images",
    ),
    "no data": (lambda s: [npz(s, images=IMAGES)], "--data is missing"),
    "no file": (lambda s: ["--npz=no.npz", "--data=d"], "--npz=no.npz does not exist"),
    "no images": (lambda s: [npz(s, x=IMAGES), "--data=d"], "holds x, expected an array `images`"),
    "floats": (lambda s: [npz(s, images=IMAGES / 255), "--data=d"], "expected uint8"),
    "no labels": (
        lambda s: [npz(s, images=IMAGES), "--data=d", "--metrics=label_accuracy"],
        "label_accuracy needs labels",
    ),
    "classes of others": (
        lambda s: [f"--run={s / 'run'}", "--metrics=label_accuracy", "--extractor=pixels"],
        "--extractor=pixels does not know the classes of halves",
    ),
    "empty metrics": (lambda s: [f"--run={s / 'run'}", "--metrics="], "--metrics is empty"),
    "label range": (
        lambda s: [npz(s, images=IMAGES, labels=LABELS + 1), "--data=d"],
        "halves has the classes 0..1",
    ),
    "label count": (
        lambda s: [npz(s, images=IMAGES, labels=LABELS[:3]), "--data=d"],
        "one integer for each of 6 images",
    ),
    "channels": (
        lambda s: [npz(s, images=IMAGES.repeat(3, 3), labels=LABELS), "--data=d"],
        "3 channel",
    ),
    "size": (
        lambda s: [npz(s, images=np.zeros((4, 16, 16, 1), np.uint8)), "--data=d"],
        "no 16x16 images",
    ),
    "more than there are": (
        lambda s: [npz(s, images=IMAGES, labels=LABELS), "--data=d", "--num=9"],
        "--num=9, but there are only 6",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(stage, capsys, monkeypatch, name):
    from ganpipe.metrics import classifier

    monkeypatch.setattr(classifier, "get_or_train", lambda *a: pytest.fail("trained first"))
    arguments, message = REFUSALS[name]
    assert call(*arguments(stage), f"--out={stage / 'm.json'}") == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed
    assert not (stage / "m.json").exists()


@pytest.mark.parametrize(
    ("changes", "message", "flags"),
    [
        ({"num_classes": 0}, "unconditional model", ["--metrics=frechet,label_accuracy"]),
        ({"channels": 3}, "3 channel(s), the data set halves has 1", []),
        ({"num_classes": 5}, "5 classes, the data set halves has 2", []),
        ({"resolution": 16}, "no 16x16 images", []),
    ],
)
def test_systems_that_do_not_fit(stage, capsys, monkeypatch, changes, message, flags):
    import ganpipe
    from ganpipe.metrics import classifier

    monkeypatch.setattr(classifier, "get_or_train", lambda *a: pytest.fail("trained first"))
    monkeypatch.setattr(ganpipe, "load", lambda run: StubSystem(**changes))
    assert call(f"--run={stage / 'run'}", f"--out={stage / 'm.json'}", *flags) == 2
    assert message in capsys.readouterr().err


def asked_metrics(stage, monkeypatch, *flags):
    """The metrics that pass the checks, and nothing after them."""
    from ganpipe.metrics import evaluate

    asked, real = [], evaluate.check

    def check(**request):
        asked.append(real(**request).metrics)
        raise UserError("enough")

    with monkeypatch.context() as patched:
        patched.setattr(evaluate, "check", check)
        assert call(*flags, f"--out={stage / 'm.json'}") == 2
    return asked


@pytest.mark.parametrize(
    ("classes", "flags", "metrics"),
    [
        (2, [], ("frechet", "kernel", "label_accuracy")),
        (0, [], ("frechet", "kernel")),
        (2, ["--extractor=pixels"], ("frechet", "kernel")),  # it knows no classes
        (0, ["--metrics=kernel"], ("kernel",)),
    ],
)
def test_the_default_metrics_follow_the_run(stage, capsys, monkeypatch, classes, flags, metrics):
    import ganpipe

    monkeypatch.setattr(ganpipe, "load", lambda run: StubSystem(num_classes=classes))
    found = asked_metrics(stage, monkeypatch, f"--run={stage / 'run'}", *flags)
    assert found == [metrics], capsys.readouterr().err


def test_the_default_metrics_follow_the_images(stage, monkeypatch):
    with_labels = [npz(stage, images=IMAGES, labels=LABELS), "--data=d"]
    found = asked_metrics(stage, monkeypatch, *with_labels)
    assert found == [("frechet", "kernel", "label_accuracy")]
    without = [npz(stage, images=IMAGES), "--data=d"]
    assert asked_metrics(stage, monkeypatch, *without) == [("frechet", "kernel")]


def test_out_is_checked_first(stage, capsys):
    assert call(f"--run={stage / 'run'}", f"--out={stage / 'no' / 'm.json'}") == 2
    assert "does not exist" in capsys.readouterr().err
    assert call(f"--run={stage / 'run'}") == 2
    assert "--out is missing" in capsys.readouterr().err


def test_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "m.json").write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        output.write_json(tmp_path / "m.json", {"score": float("nan")})
    assert (tmp_path / "m.json").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["m.json"]


def checkpoints(run, places):
    """Checkpoint folders whose manifests say how many images they have seen."""
    for step, images in places.items():
        folder = run / "checkpoints" / f"step_{step:08d}"
        folder.mkdir(parents=True)
        manifest = {"step": step, "seconds": step / 10, "images_seen": images, "files": {}}
        (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_series_scores_every_so_many_images_and_takes_nothing_twice(stage, capsys, monkeypatch):
    import ganpipe
    from ganpipe.metrics import evaluate

    loaded, taken = [], []
    monkeypatch.setattr(
        ganpipe, "load", lambda run, step: loaded.append(step) or StubSystem(step=step)
    )
    real = evaluate.evaluate
    monkeypatch.setattr(evaluate, "evaluate", lambda *a, **k: taken.append(1) or real(*a, **k))
    run = stage / "run"
    checkpoints(run, {10: 640, 20: 1280, 30: 1920, 40: 2560, 50: 3200, 60: 3300})
    common = (
        f"--run={run}",
        f"--out={stage / 'm.json'}",
        "--num=50",
        "--metrics=frechet",
        f"--cache_dir={stage / 'cache'}",
    )
    assert call(*common, "--every_kimg=1") == 0
    printed = capsys.readouterr().out
    series = json.loads((stage / "m.json").read_text())
    steps = [line["step"] for line in series["results"]]
    assert steps == loaded == [20, 40, 50, 60] and len(taken) == 4
    assert [line["images_seen"] for line in series["results"]] == [1280, 2560, 3200, 3300]
    assert series["results"][0]["train_seconds"] == 2.0 and series["failed"] == {}
    assert "FD-smallcnn" in printed and "2,560" in printed
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == steps
    # Again, and denser: only what is not in the history is scored.
    assert call(*common, "--every_kimg=0.64") == 0
    assert len(taken) == 6
    series = json.loads((stage / "m.json").read_text())
    assert [line["step"] for line in series["results"]] == [10, 20, 30, 40, 50, 60]
    # Another number of images, or another metric, is another score.
    assert call(*common[:2], "--num=40", *common[3:], "--every_kimg=3") == 0
    assert len(taken) == 8
    assert call(*common[:3], "--metrics=frechet,kernel", common[4], "--every_kimg=3") == 0
    assert len(taken) == 10


def test_a_checkpoint_that_cannot_be_scored_does_not_stop_the_others(stage, capsys, monkeypatch):
    import ganpipe
    from ganpipe.metrics import evaluate

    monkeypatch.setattr(ganpipe, "load", lambda run, step: StubSystem(step=step))
    real = evaluate.evaluate

    def broken(sampler, *rest, **more):
        if sampler.__self__.step == 20:
            raise RuntimeError("frechet is nan")
        return real(sampler, *rest, **more)

    monkeypatch.setattr(evaluate, "evaluate", broken)
    run = stage / "run"
    checkpoints(run, {10: 1000, 20: 2000, 30: 3000})
    arguments = (f"--run={run}", f"--out={stage / 'm.json'}", "--num=20", "--metrics=frechet")
    assert call(*arguments, "--every_kimg=1", f"--cache_dir={stage / 'cache'}") == 0
    series = json.loads((stage / "m.json").read_text())
    assert [line["step"] for line in series["results"]] == [10, 30]
    assert series["failed"] == {"20": "frechet is nan"}
    assert "step 20 is not scored: frechet is nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seen", "every", "steps"),
    [
        ({1: 100, 2: 200, 3: 300}, 0.1, [1, 2, 3]),
        ({1: 100, 2: 200, 3: 300}, 0.2, [2, 3]),
        ({1: 100, 2: 5000, 3: 5100}, 1, [2, 3]),  # a jump over several marks is one checkpoint
        ({4: 10}, 50, [4]),
        ({0: 0, 5: 1000}, 1, [5]),
    ],
)
def test_marks(seen, every, steps):
    from ganpipe.cli import eval_run

    assert eval_run.marks(seen, every) == steps
