"""The whole way from pictures to shards, and every way in which it must refuse."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganpipe import data
from ganpipe.cli import app
from ganpipe.errors import UserError
from pipeline import beam_options, prepare
from pipeline.components import example_gen, shards

REPOSITORY = Path(__file__).resolve().parents[2]


def noise(seed, size=(20, 16), mode="RGB"):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels).convert(mode)


def fill(root, count=40, classes=("a", "b"), **kwargs):
    for i in range(count):
        folder = root / classes[i % len(classes)] if classes else root
        folder.mkdir(parents=True, exist_ok=True)
        noise(i, **kwargs).save(folder / f"{i:03d}.png")
    return root


def run(source, out, resolution=16, **kwargs):
    kwargs = {"say": lambda line: None, "progress": False} | kwargs
    return example_gen.run(f"folder:{source}", out, resolution, **kwargs)


def read(info, split, level):
    """Raw records: {key: (pixels (r, r, C) uint8, label)}."""
    found = {}
    for shard in info.files(split, level):
        for raw in tf.data.TFRecordDataset(str(shard["path"])).as_numpy_iterator():
            feature = tf.train.Example.FromString(raw).features.feature
            shape = tuple(feature["shape"].int64_list.value)
            pixels = np.frombuffer(feature["image"].bytes_list.value[0], np.uint8).reshape(shape)
            key = feature["key"].bytes_list.value[0].decode()
            found[key] = (pixels, feature["label"].int64_list.value[0])
    return found


def test_levels_read_back_are_exact_means(tmp_path):
    info = run(fill(tmp_path / "in"), tmp_path / "out")
    assert info.resolutions == (4, 8, 16) and info.channels == 3
    assert info.count("train") + info.count("test") == 40 and info.count("test") == 4
    for split in ("train", "test"):
        top = read(info, split, 16)
        assert len(top) == info.count(split)
        for level in (8, 4):
            low, f = read(info, split, level), 16 // level
            assert list(low) == list(top)
            for key, (pixels, label) in top.items():
                sums = pixels.astype(np.float64).reshape(level, f, level, f, 3).sum((1, 3))
                np.testing.assert_array_equal(low[key][0], np.rint(sums / f**2))
                assert label == low[key][1] == "ab".index(key[0])
    # 20x16 pictures need no resampling at 16: the centre columns, untouched.
    for key, (pixels, _) in read(info, "train", 16).items():
        original = np.asarray(noise(int(key[2:5])))
        np.testing.assert_array_equal(pixels, original[:, 2:18])
    assert data.verify(info.dir) == info
    assert not list(tmp_path.glob(".out*"))


def test_contents_depend_on_pictures_and_seed_alone(tmp_path, monkeypatch):
    first = run(fill(tmp_path / "in"), tmp_path / "one")
    (tmp_path / "moved").mkdir()
    (tmp_path / "in").rename(tmp_path / "moved" / "in2")
    workers = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    again = run(
        tmp_path / "moved" / "in2", tmp_path / "two", beam_options=beam_options.parse(workers)
    )
    assert first.fingerprint == again.fingerprint and first.shards == again.shards
    other = run(tmp_path / "moved" / "in2", tmp_path / "three", seed=1)
    assert other.fingerprint != first.fingerprint
    assert other.splits == first.splits  # the cut is made by content, not by the seed
    assert set(read(other, "test", 4)) == set(read(first, "test", 4))


def test_grey_is_kept_and_can_be_overruled(tmp_path):
    grey = fill(tmp_path / "grey", mode="L", classes=())
    info = run(grey, tmp_path / "a", 8)
    assert (info.channels, info.num_classes, info.class_names) == (1, 0, ())
    assert run(grey, tmp_path / "b", 8, channels=3).channels == 3
    noise(99).save(grey / "colour.png")
    assert run(grey, tmp_path / "c", 8).channels == 3
    assert run(grey, tmp_path / "d", 8, channels=1).channels == 1


def test_split_folders_are_kept(tmp_path):
    fill(tmp_path / "in" / "train", 12)
    fill(tmp_path / "in" / "test", 6)
    info = run(tmp_path / "in", tmp_path / "out", 8)
    assert {s: v["per_class"] for s, v in info.splits.items()} == {"train": [6, 6], "test": [3, 3]}


def test_bad_pictures_are_quarantined(tmp_path):
    source = fill(tmp_path / "in", 60)
    whole = (source / "a" / "000.png").read_bytes()
    (source / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (source / "b" / "text.jpg").write_text("no image")
    noise(0, (9, 9)).save(source / "b" / "small.png")
    info = run(source, tmp_path / "out")
    assert info.skipped == 3 and sum(info.count(s) for s in info.splits) == 60
    rows = [json.loads(row) for row in (info.dir / "quarantine.jsonl").read_text().splitlines()]
    reasons = {row["key"]: row["reason"] for row in rows}
    assert set(reasons) == {"a/cut.png", "b/text.jpg", "b/small.png"}
    assert "damaged" in reasons["a/cut.png"] and "readable" in reasons["b/text.jpg"]
    assert reasons["b/small.png"] == "9x9 is smaller than 16x16"


@pytest.mark.parametrize("kind", ["text", "cut"])
def test_too_many_bad_pictures_stop_the_run(tmp_path, kind):
    source = fill(tmp_path / "in", 40)
    for i in range(14):
        whole = (source / "a" / "000.png").read_bytes()
        content = b"no image" if kind == "text" else whole[: len(whole) // 2]
        (source / "a" / f"bad{i}.png").write_bytes(content)
    with pytest.raises(UserError, match=r"14 of 54 pictures cannot be used .*a/bad0\.png: .*Mend"):
        run(source, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"in"}


def test_target_larger_than_the_pictures(tmp_path):
    source = fill(tmp_path / "in", 20)
    with pytest.raises(UserError, match=r"20x16 is smaller than 32x32.*smaller --resolution"):
        run(source, tmp_path / "out", 32)
    assert run(source, tmp_path / "out", 32, upscale=True).max_resolution == 32


def test_the_same_request_does_nothing(tmp_path):
    source, said = fill(tmp_path / "in", 20), []
    first = run(source, tmp_path / "out", 8)
    before = (tmp_path / "out" / "dataset.json").stat().st_mtime_ns
    assert run(source, tmp_path / "out", 8, say=said.append) == first
    assert "nothing to do" in said[0]
    assert (tmp_path / "out" / "dataset.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"already holds another data set \(in, 8x8x3"):
        run(source, tmp_path / "out", 16)
    noise(77).save(source / "a" / "new.png")
    with pytest.raises(UserError, match="or its source or settings have changed"):
        run(source, tmp_path / "out", 8)


def test_foreign_output_folders_are_left_alone(tmp_path):
    source = fill(tmp_path / "in", 20)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not a data folder"):
        run(source, tmp_path / "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        run(source, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert run(source, tmp_path / "empty", 8).count("train") == 18


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"resolution": 48}, "nearest are 32 and 64"),
        ({"channels": 2}, "expected 1, 3 or 0"),
        ({"fit": "zoom"}, "crop, pad, stretch"),
        ({"test_fraction": 1.0}, "out of range"),
        ({"max_skipped": 2.0}, "--max_skipped=2.0 is out of range"),
        ({"filter": "bicubic"}, "expected lanczos, area"),
        ({"encoding": "jpeg:0"}, "quality from 1 to 100"),
        ({"encoding": "gif"}, "expected auto, raw, png, jpeg"),
        ({"background": "mauve"}, "expected white, black, grey or #rrggbb"),
        ({"levels": 20}, "--levels=20 is out of range"),
        ({"resolution": None, "base": "3x4"}, "--base=3x4 --levels=8 for 384x512"),
        ({"resolution": None, "base": "300x400", "levels": 8}, "at most 4096 pixels"),
        ({"resolution": 16, "base": "4x4", "levels": 2}, "both given"),
    ],
)
def test_requests_out_of_range(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path, tmp_path / "out", **settings)


def test_killed_in_the_middle_leaves_no_output_and_goes_on(tmp_path, monkeypatch):
    source = fill(tmp_path / "in", 20)
    code = (
        "import os, time\n"
        "from pipeline.components import example_gen as e, shards\n"
        "shards.SHARD_IMAGES = 5; real = shards.write\n"
        "def slow(shard, **k):\n"
        "    if shard.index == 2: print('writing', flush=True); time.sleep(60)\n"
        "    real(shard, **k)\n"
        "shards.write = slow\n"
        f"e.run('folder:{source}', '{tmp_path}/out', 8, say=lambda s: None)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline().strip() == "writing"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.glob(".out.preparing-*"))) == 1
    said = []
    monkeypatch.setattr(shards, "SHARD_IMAGES", 5)
    broken = run(source, tmp_path / "out", 8, say=said.append)
    assert "going on with an interrupted run: 2 of 5 shards are done" in said
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}
    assert broken.shards == run(source, tmp_path / "whole", 8).shards
    # What is left of another request that was killed goes as well.
    leftover = tmp_path / ".more.preparing-0123456789abcdef"
    (leftover / ".work").mkdir(parents=True)
    (leftover / "lock").write_text("")
    run(source, tmp_path / "more", 8)
    assert not leftover.exists()


def call(*words):
    with pytest.raises(SystemExit) as stop:
        app.run(prepare.main, prepare.FLAGS, words)
    prepare.FLAGS.unparse_flags()
    for name in prepare.FLAGS:
        prepare.FLAGS[name].unparse()
    return stop.value.code


def test_command_line(tmp_path, capsys):
    source = fill(tmp_path / "in", 20)
    words = [f"--source=folder:{source}", f"--out={tmp_path}/out", "--resolution=8"]
    assert call(*words, "--beam=--direct_num_workers=1") == 0
    printed = capsys.readouterr().out
    assert (
        "18 train, 2 test images, 8x8x3, levels 4 8" in printed and "classes: 2 (a, b)" in printed
    )
    assert f"wrote {tmp_path}/out" in printed and "images/s" in printed
    assert call(*words) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert call(f"--out={tmp_path}/x") == 2
    assert "error: --source is missing" in capsys.readouterr().err
    assert call(*words, "--beam=--direct_num_worker=1") == 2
    assert "did you mean --direct_num_workers" in capsys.readouterr().err
    assert call(*words, "--beam=stray") == 2
    assert "'stray' is no Beam flag" in capsys.readouterr().err
    assert call(*words, "stray") == 2
    assert "unexpected argument 'stray'" in capsys.readouterr().err
    assert call(*words, "--no_such=1") == 2
    assert "no_such" in capsys.readouterr().err


def test_beam_never_reads_our_command_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["prepare", "--source=x", "--runner=NoSuchRunner"])
    from apache_beam.options.pipeline_options import StandardOptions

    options = beam_options.parse([])
    assert options.view_as(StandardOptions).runner == beam_options.IN_PROCESS
    with pytest.raises(UserError, match="invalid int value"):
        beam_options.parse(["--direct_num_workers=two"])


def test_help_is_fast_and_teaches():
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pipeline.prepare", "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and time.monotonic() - started < 30
    assert "--source=fashion_mnist" in done.stdout and "--test_fraction" in done.stdout
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"apache_beam", "tensorflow"}
