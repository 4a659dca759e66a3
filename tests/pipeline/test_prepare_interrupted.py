"""Runs that are killed and gone on with, and two at once."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganpipe import data
from ganpipe.errors import UserError
from pipeline import beam_options
from pipeline.components import example_gen, shards

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_IMAGES", 40)
    monkeypatch.setattr(shards, "SURVEY_FILES", 64)


def fill(root, count):
    root.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (20, 16, 3), np.uint8)).save(root / f"{i:04d}.png")
    return root


def run(source, out, **kwargs):
    """(DatasetInfo, what was said)."""
    said = []
    kwargs = {"encoding": "png", "progress": False, "say": said.append} | kwargs
    return example_gen.run(f"folder:{source}", out, 16, **kwargs), "\n".join(said)


def contents(folder):
    """{name: bytes}, hidden files included, without the manifest (it tells the source's times)."""
    names = set(os.listdir(folder)) - {"dataset.json"}
    return {name: (folder / name).read_bytes() for name in names}


def assert_same(out, whole, info):
    assert data.verify(out) == info
    assert info.shards == whole.shards and info.fingerprint == whole.fingerprint
    assert contents(out) == contents(whole.dir)


def child(source, out, *, slowly=0.0):
    """A process that prepares `out`, and says a line for every note that it leaves."""
    code = (
        "import time\n"
        "from ganpipe.data import scratch\n"
        "from pipeline.components import example_gen as e, shards\n"
        "shards.SHARD_IMAGES, shards.SURVEY_FILES, note = 40, 64, scratch.note\n"
        "def slow(*arguments):\n"
        "    print('at work', flush=True)\n"
        f"    time.sleep({slowly})\n"
        "    note(*arguments)\n"
        "scratch.note = slow\n"
        f"e.run('folder:{source}', '{out}', 16, encoding='png', say=lambda s: 0, progress=False)\n"
    )
    command = [sys.executable, "-c", code]
    return subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def results(out, pattern):
    """Files that the workers of an unfinished run have left."""
    return len(list(out.parent.glob(f".{out.name}.preparing-*/.work/{pattern}")))


def test_kills_at_every_stage(tmp_path):
    source, out = fill(tmp_path / "in", 600), tmp_path / "out"
    whole, _ = run(source, tmp_path / "whole")
    assert sum(len(levels["16"]) for levels in whole.shards.values()) == 16

    def kill(reached):
        process = child(source, out, slowly=0.04)
        try:
            assert process.stdout.readline(), process.stderr.read()  # it has begun, or gone on
            deadline = time.monotonic() + 60
            while not reached():
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        assert process.returncode == -signal.SIGKILL, "it was faster than the axe"
        assert not out.exists()

    def shards_done():
        return results(out, "train-?????.json") + results(out, "test-?????.json")

    kill(lambda: results(out, "survey-*.jsonl") >= 1)
    assert results(out, "survey-*.jsonl") < 10 and shards_done() == 0
    kill(lambda: shards_done() >= 1)
    kill(lambda: shards_done() >= 5)
    rng = random.Random(0)
    for _ in range(3):
        moment = time.monotonic() + rng.uniform(0, 0.15)
        kill(lambda moment=moment: time.monotonic() > moment)
    done = shards_done()
    assert 5 <= done < 16
    info, said = run(source, out)
    assert f"going on with an interrupted run: {done} of 16 shards are done" in said
    assert not list(tmp_path.glob(".out*"))
    assert_same(out, whole, info)


@pytest.fixture
def broken_off(tmp_path, monkeypatch):
    """Makes a run that was killed when so many shards were written; returns its work folder."""

    def make(source, out, count, **kwargs):
        aside, run_over = tmp_path / "aside", beam_options.run_over

        def some(elements, job, *rest):
            if job.func is not shards.write:
                return run_over(elements, job, *rest)
            for element in elements[:count]:
                job(element)
            place = Path(job.keywords["folder"])
            shutil.copytree(place, aside)  # before a run that can still tidy up does so
            raise KeyboardInterrupt(str(place))

        with monkeypatch.context() as patch:
            patch.setattr(beam_options, "run_over", some)
            with pytest.raises(KeyboardInterrupt) as stop:
                run(source, out, **kwargs)
        place = Path(str(stop.value))
        assert not place.exists() and not out.exists()
        return aside.rename(place)

    return make


def test_a_finished_shard_that_was_cut_is_written_again(tmp_path, broken_off):
    source = fill(tmp_path / "in", 200)
    whole, _ = run(source, tmp_path / "whole")
    place = broken_off(source, tmp_path / "out", 4)
    cut = sorted(place.glob("train-0016-*.tfrecord"))[1]
    cut.write_bytes(cut.read_bytes()[:-7])
    (place / "train-0016-00009-of-00010.tfrecord.partial-1-2").write_bytes(b"of another process")
    info, said = run(source, tmp_path / "out")
    assert "going on with an interrupted run: 3 of 6 shards are done" in said
    assert_same(tmp_path / "out", whole, info)


def test_a_run_goes_on_where_the_whole_would_not_fit(tmp_path, broken_off, monkeypatch):
    source, out = fill(tmp_path / "in", 400), tmp_path / "out"
    whole, _ = run(source, tmp_path / "whole", encoding="raw")
    total = sum(e["bytes"] for s in whole.shards.values() for level in s.values() for e in level)
    place = broken_off(source, out, 9, encoding="raw")
    usage = type("Usage", (), {"free": total // 4})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="GB are free there"):
        run(source, tmp_path / "other", encoding="raw")
    info, said = run(source, out, encoding="raw")
    assert "interrupted run: 9 of " in said and not place.exists()
    assert_same(out, whole, info)


@pytest.mark.parametrize("damaged", [False, True])
def test_only_what_the_manifest_names_is_in_the_folder(tmp_path, damaged):
    source = fill(tmp_path / "in", 50)
    if damaged:
        (source / "x.png").write_bytes(b"no picture")
    info, _ = run(source, tmp_path / "out")
    named = {e["file"] for s in info.shards.values() for level in s.values() for e in level}
    expected = named | {"dataset.json"} | ({"quarantine.jsonl"} if damaged else set())
    assert set(os.listdir(tmp_path / "out")) == expected
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


def test_two_processes_cannot_prepare_the_same(tmp_path):
    source, out = fill(tmp_path / "in", 200), tmp_path / "out"
    first = child(source, out, slowly=0.5)
    with contextlib.ExitStack() as stack:
        stack.callback(first.communicate)
        stack.callback(first.kill)
        assert first.stdout.readline(), first.stderr.read()
        with pytest.raises(UserError, match="another process is preparing exactly this"):
            run(source, out)
        other, _ = run(source, out, encoding="raw")  # is not stopped, and does not sweep it away
        assert first.poll() is None and results(out, "survey-*") > 0
        shutil.rmtree(other.dir)
        stack.pop_all()
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 0, errors
    assert data.verify(out).request["encoding"] == "png"
