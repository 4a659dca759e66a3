"""`python -m ganpipe VERB`: which verbs there are, what their help costs, what each refuses."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from ganpipe import __main__ as entry
from ganpipe.cli import app, export, sample, train

ROOT = Path(__file__).parents[2]


def command(module, *arguments):
    """Exit status of a verb, run in this process with fresh flags."""
    saved = flagsaver.save_flag_values(module.FLAGS)
    try:
        with pytest.raises(SystemExit) as exit_info:
            app.run(module.main, module.FLAGS, [str(a) for a in arguments])
    finally:
        flagsaver.restore_flag_values(saved, module.FLAGS)
    return exit_info.value.code


def refusal(capsys):
    """The one line that a refused command prints."""
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert printed.out == ""
    return line


def ganpipe_command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["ganpipe", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        entry.main()
    return exit_info.value.code


# --- The entry point --------------------------------------------------------------------------


def test_without_a_verb_the_verbs_are_listed(monkeypatch, capsys):
    assert ganpipe_command(monkeypatch) == 2
    printed = capsys.readouterr().out
    for verb in entry.VERBS:
        assert f"  {verb} " in printed
    assert ganpipe_command(monkeypatch, "--help") == 0


def test_unknown_verb_is_refused_with_a_suggestion(monkeypatch, capsys):
    assert ganpipe_command(monkeypatch, "tran", "--workdir=a") == 2
    line = refusal(capsys)
    assert "unknown verb 'tran'" in line and "Did you mean train?" in line
    assert ganpipe_command(monkeypatch, "xyzzy") == 2
    line = refusal(capsys)
    assert "Did you mean" not in line
    assert all(verb in line for verb in entry.VERBS)


def test_help_of_every_verb_needs_no_heavy_import():
    script = f"""
import sys
from ganpipe import __main__ as entry
for verb in {entry.VERBS!r}:
    sys.argv = ["ganpipe", verb, "--help"]
    try:
        entry.main()
    except SystemExit as status:
        assert status.code == 0, verb
heavy = {{"tensorflow", "keras", "apache_beam", "dagster", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for words in ("--workdir", "--config", "--metrics", "--truncation", "base path"):
        assert words in done.stdout


# --- train ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["--config is missing", "dcgan_fashion_mnist"]),
        (["--workdir=x"], ["--config is missing"]),
        (["--config=dcgan_fashion_mnist"], ["--workdir is missing"]),
        (["--config=dcgan_fashion", "--workdir=x"], ["Did you mean 'dcgan_fashion_mnist'"]),
        (["--config=dcgan_fashion_mnist:huge", "--workdir=x"], ["no such variant", "tiny"]),
        (
            ["--config=dcgan_fashion_mnist", "--config.train.stesp=1", "--workdir=x"],
            ["config.train has no key 'stesp'", "Did you mean 'steps'"],
        ),
        (["--config=dcgan_fashion_mnist", "--workdir=x", "stray"], ["stray"]),
        (["--strategy=tpu"], ["strategy", "mirrored"]),
        (["--logical_cpus=-1"], ["logical_cpus"]),
    ],
    ids=lambda v: " ".join(v) or "nothing",
)
def test_train_refuses(arguments, parts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(train, *arguments) == 2
    line = refusal(capsys)
    for part in parts:
        assert part in line
    assert not list(tmp_path.iterdir())


def test_train_without_data_leaves_no_folder(tmp_path, capsys):
    common = ("--config=dcgan_fashion_mnist", f"--workdir={tmp_path / 'run'}")
    assert command(train, *common) == 2
    assert "--data is missing" in refusal(capsys)
    assert command(train, *common, f"--data={tmp_path / 'nothing'}") == 2
    assert str(tmp_path / "nothing") in refusal(capsys)
    assert not list(tmp_path.iterdir())


# --- sample and export ------------------------------------------------------------------------


@pytest.mark.parametrize("module", [sample, export], ids=["sample", "export"])
def test_a_missing_run_is_refused(module, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(module, f"--out={out}") == 2
    assert "--run is missing" in refusal(capsys)
    assert command(module, f"--run={tmp_path}") == 2
    assert "--out is missing" in refusal(capsys)
    assert command(module, f"--run={tmp_path / 'no'}", f"--out={out}") == 2
    line = refusal(capsys)
    assert f"--run={tmp_path / 'no'} does not exist" in line and "ganpipe train" in line
    assert command(module, f"--run={tmp_path}", f"--out={out}") == 2
    assert "has no system.json" in refusal(capsys)
    assert command(module, f"--run={tmp_path}", f"--out={out}", "stray") == 2
    assert "unexpected argument(s): stray" in refusal(capsys)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def systems():
    """An unconditional and a conditional system of 3 classes, 8x8."""
    import ganpipe

    small = {"resolution": 8, "channels": 1, "nf": 2, "latent_dim": 4}
    return {k: ganpipe.create("dcgan", num_classes=k, **small) for k in (0, 3)}


@pytest.mark.parametrize(
    ("classes", "arguments", "parts"),
    [
        (3, ["--labels=0,cat"], ["--labels=0,cat", "class numbers"]),
        (3, ["--labels=0,3"], ["labels: 3", "0 to 2"]),
        (3, ["--labels=-2"], ["labels: -2"]),
        (0, ["--labels=1"], ["unconditional"]),
        (3, ["--n=0"], ["n=0"]),
        (3, ["--out=no/such/grid.png"], ["--out=no/such/grid.png", "does not exist"]),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else str(v),
)
def test_sample_refuses(classes, arguments, parts, systems, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ganpipe.load", lambda run: systems[classes])
    common = ("--run=somewhere", f"--out={tmp_path / 'grid.png'}")
    assert command(sample, *common, *arguments) == 2
    line = refusal(capsys)
    for part in parts:
        assert part in line
    assert not list(tmp_path.iterdir())


def test_sample_writes_one_row_a_class(systems, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ganpipe.load", lambda run: systems[3])
    out = tmp_path / "grid.png"
    status = command(sample, "--run=r", "--n=4", "--labels=2,0", "--seed=5", f"--out={out}")
    assert status == 0
    assert capsys.readouterr().out == f"8 images: {out}\n"
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (2 * 9 + 1, 4 * 9 + 1)
    # Row 1, column 2 is image 6 of the call: seed 5 + 6, class 0.
    (image,) = systems[3].sample(1, seed=11, labels=0)
    np.testing.assert_allclose(sheet[10:18, 19:27].astype(int), image[..., 0], atol=1)
