"""Fingerprints say what a component's result depends on; folders appear whole or not at all."""

import json
import os
import subprocess
import sys

import pytest

from ganpipe.errors import UserError
from pipeline import artifacts

SAME = {"inputs": {"examples": "a"}, "config": {"steps": 3, "pair": (1, 2)}, "code": "v1"}


@pytest.fixture
def store(tmp_path):
    return artifacts.Store(tmp_path / "root")


def make(store, work=lambda out: {}, **changes):
    return store.make("trainer", "Model", work, **{**SAME, **changes})


def test_fingerprint_depends_on_each_part_and_on_nothing_else(store, tmp_path):
    def fingerprint(component="trainer", kind="Model", s=store, **changes):
        return s.fingerprint(component, kind, **{**SAME, **changes})

    base = fingerprint()
    assert base == fingerprint(s=artifacts.Store(tmp_path / "elsewhere"))
    # The same config as read back from JSON, its keys in another order.
    assert base == fingerprint(config={"pair": [1, 2], "steps": 3})
    others = [
        fingerprint(component="evaluator"),
        fingerprint(kind="Examples"),
        fingerprint(inputs={"examples": "b"}),
        fingerprint(inputs={"statistics": "a"}),
        fingerprint(config={"steps": 4, "pair": (1, 2)}),
        fingerprint(code="v2"),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_unknown_type_is_a_bug(store):
    with pytest.raises(ValueError, match="Modell"):
        store.fingerprint("trainer", "Modell", **SAME)


def test_made_folder_is_found_and_holds_its_record(store):
    def work(out):
        (out / "weights").write_text("w")
        return {"steps": 3}

    artifact = make(store, work)
    assert artifact.path == store.root / "artifacts" / "trainer" / artifact.fingerprint[:12]
    assert (artifact.path / "weights").read_text() == "w"
    record = json.loads((artifact.path / "artifact.json").read_text())
    assert record["type"] == "Model" and record["inputs"] == {"examples": "a"}
    assert record["properties"] == {"steps": 3} and record["seconds"] >= 0
    assert artifact.content == artifact.fingerprint
    assert store.find("trainer", artifact.fingerprint) == artifact
    assert store.find("trainer", "0" * 64) is None
    assert list((store.root / "work" / "trainer").iterdir()) == []


def test_content_fingerprint_is_the_consumers_input(store):
    artifact = make(store, lambda out: {"fingerprint": "abc"}, content=lambda p: p["fingerprint"])
    assert artifact.content == "abc" and artifact.fingerprint != "abc"


@pytest.mark.parametrize("keep", [False, True])
def test_failure_leaves_no_artifact_and_keeps_the_work_place_only_if_asked(store, keep):
    def fails(out):
        (out / "half").write_text("h")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        make(store, fails, keep_work=keep)
    assert not (store.root / "artifacts" / "trainer").exists()
    kept = list((store.root / "work").rglob("half"))
    assert len(kept) == (1 if keep else 0)

    seen = []
    make(store, lambda out: seen.extend(p.name for p in out.iterdir()), keep_work=keep)
    assert seen == (["half"] if keep else [])


def test_killed_process_leaves_no_artifact_but_its_work(store):
    code = (
        "import os, signal, sys; from pipeline import artifacts\n"
        "def work(out):\n"
        "    (out / 'half').write_text('h'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "artifacts.Store(sys.argv[1]).make('trainer', 'Model', work, inputs={'examples': 'a'},\n"
        "    config={'steps': 3, 'pair': (1, 2)}, code='v1', keep_work=True)\n"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    assert subprocess.run([sys.executable, "-c", code, store.root], env=env).returncode == -9
    assert store.all("trainer", "Model") == []
    seen = []
    make(store, lambda out: seen.extend(p.name for p in out.iterdir()), keep_work=True)
    assert seen == ["half"]


def test_made_again_replaces(store):
    make(store, lambda out: (out / "a").write_text("1") and None)
    artifact = make(store, lambda out: (out / "b").write_text("2") and None)
    assert sorted(p.name for p in artifact.path.iterdir()) == ["artifact.json", "b"]
    assert list((store.root / "work" / "trainer").iterdir()) == []


def test_all_is_oldest_first_and_of_one_type(store):
    made = [make(store, code=f"v{i}") for i in range(3)]
    store.make("trainer", "Examples", lambda out: {}, **SAME)
    assert [a.fingerprint for a in store.all("trainer", "Model")] == [a.fingerprint for a in made]


def test_unreadable_record_names_the_folder_and_the_cure(store):
    artifact = make(store)
    (artifact.path / "artifact.json").write_text("{")
    with pytest.raises(UserError, match=r"not a readable artifact .* remove this folder"):
        store.find("trainer", artifact.fingerprint)


def test_root_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--root=.*cannot write there \(Not a directory\)"):
        artifacts.Store(tmp_path / "file" / "root")


def test_lock_refuses_a_second_run_and_is_released(store):
    second = artifacts.Store(store.root)
    with (
        store.lock(),
        pytest.raises(UserError, match=f"process {os.getpid()}.*is using it"),
        second.lock(),
    ):
        pass
    with second.lock():
        pass


def test_code_version_sees_code_and_not_prose(tmp_path):
    def version(text):
        (tmp_path / "room").mkdir(exist_ok=True)
        (tmp_path / "room" / "a.py").write_text(text)
        return artifacts.code_version(("room",), tmp_path)

    base = version('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 1\n')
    prose = version('"""Other."""\ndef f(x):\n    # why\n    return (x +\n        1)\n')
    code = version('"""Doc."""\ndef f(x):\n    """Doc."""\n    return x + 2\n')
    assert base == prose != code
    (tmp_path / "room" / "b.py").write_text("")
    assert artifacts.code_version(("room",), tmp_path) != code
    with pytest.raises(FileNotFoundError, match="gone"):
        artifacts.code_version(("gone",), tmp_path)
