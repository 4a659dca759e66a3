"""`ganpipe latent`: a flag that would change nothing is refused before any work, by name."""

import json

import pytest
from absl.testing import flagsaver

from ganpipe.cli import app, latent, latent_flags

VALUES = {"method": "labels", "mode": "walk", "psi": "1"}


@pytest.fixture
def refusal(capsys, monkeypatch):
    """`refusal(*flags)`: the line of a command that never came to its work."""
    monkeypatch.setattr(app, "import_tensorflow", lambda: pytest.fail("work began"))

    def call(*arguments):
        saved = flagsaver.save_flag_values(latent.FLAGS)
        try:
            with pytest.raises(SystemExit) as exit_info:
                app.run(latent.main, latent.FLAGS, [str(a) for a in arguments])
        finally:
            flagsaver.restore_flag_values(saved, latent.FLAGS)
        (line,) = capsys.readouterr().err.splitlines()
        assert exit_info.value.code == 2
        return line

    return call


def given(name):
    """A flag on the command line, of a value that it takes."""
    flag = latent.FLAGS[name]
    if flag.boolean:
        return f"--{name}"
    plain = flag.default if isinstance(flag.default, int | float) else "1"
    return f"--{name}={VALUES.get(name, plain)}"


@pytest.mark.parametrize("mode", latent_flags.MODES)
def test_flags_of_other_modes_are_refused(refusal, mode):
    others = set(latent.FLAGS) - set(latent_flags.COMMON) - set(latent_flags.MODES[mode])
    assert len(others) > 20
    for name in sorted(others):
        line = refusal("--run=nowhere", f"--mode={mode}", given(name))
        users = [m for m in latent_flags.MODES if name in latent_flags.MODES[m]]
        assert f"--{name} means nothing to --mode={mode}" in line
        assert line.endswith(f"modes that use it: {', '.join(users)}"), line


def test_help_names_the_modes_of_every_flag():
    for name in sorted(set(latent.FLAGS) - set(latent_flags.COMMON)):
        users = [m for m in latent_flags.MODES if name in latent_flags.MODES[m]]
        assert users and latent.FLAGS[name].help.endswith(f" [{', '.join(users)}]"), name


TURN = ["--mode=arithmetic", "--a=1", "--b=2"]
LABELLED = ["--mode=directions", "--method=labels"]


@pytest.mark.parametrize(
    ("flags", "name", "parts"),
    [
        (["--mode=walk", "--cutoff=2"], "cutoff", ["by --truncation alone", "walk, truncate"]),
        ([*TURN, "--c=3", "--seeds=1"], "seeds", ["leave out --c", "interpolate, truncate"]),
        ([*TURN, "--c=3", "--scales=1"], "scales", ["leave out --c", "arithmetic, directions"]),
        ([*TURN, "--jitter=1"], "jitter", ["give --c"]),
        ([*TURN, "--seed=1"], "seed", ["give --c", "walk, arithmetic, project, ablate"]),
        (["--mode=project", "--batch_size=2"], "batch_size", ["means nothing", "walk"]),
        (["--mode=project", "--distance=pixels", "--data=d"], "data", ["--distance=pixels"]),
        (["--mode=project", "--distance=lpips", "--cache_dir=d"], "cache_dir", ["=lpips"]),
        (["--mode=project", "--images=a.png", "--count=2"], "count", ["one picture"]),
        (["--mode=project", "--images=a.png", "--splits=train"], "splits", ["prepared data"]),
        (["--mode=ablate", "--attribute=brightness", "--data=d"], "data", ["--frechet ask"]),
        (["--mode=ablate", "--mask=m.png", "--cache_dir=d"], "cache_dir", ["--frechet ask"]),
        (["--mode=directions", "--samples=50"], "samples", ["--method=labels, not to sefa"]),
        ([*LABELLED, "--attribute=brightness", "--count=2"], "count", ["each --attribute"]),
        ([*LABELLED, "--attribute=brightness", "--data=d"], "data", ["only class:... asks"]),
        (["--mode=walk", "--films=", "--fps=10"], "fps", ["no film", "interpolate, walk"]),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else v,
)
def test_flags_that_other_flags_leave_without_meaning(refusal, tmp_path, flags, name, parts):
    line = refusal(f"--run={tmp_path}", *flags)
    assert f"--{name}" in line and flags[0] in line and "use it: " in line
    for part in parts:
        assert part in line


def test_splits_of_a_folder_of_pictures(refusal, tmp_path):
    line = refusal(f"--run={tmp_path}", "--mode=project", f"--images={tmp_path}", "--splits=test")
    assert "--splits: of a prepared data folder; --images is none" in line


@pytest.mark.parametrize(
    "flags",
    [
        ["--mode=walk", "--cutoff=2", "--truncation=1"],
        ["--mode=truncate", "--cutoff=2"],
        [*TURN, "--seeds=1", "--scales=1"],
        [*TURN, "--c=3", "--jitter=0", "--seed=1"],
        ["--mode=project", "--images=PREPARED", "--splits=test", "--count=1", "--data=d"],
        ["--mode=ablate", "--attribute=class:1", "--data=d"],
        ["--mode=ablate", "--mask=m.png", "--frechet", "--data=d"],
        [*LABELLED, "--attribute=brightness,class:1", "--data=d", "--cache_dir=d"],
        [*LABELLED, "--count=3"],
        ["--mode=directions", "--count=3"],
        ["--mode=walk", "--films="],
    ],
    ids=" ".join,
)
def test_flags_with_a_meaning_are_taken(tmp_path, flags):
    (tmp_path / "dataset.json").write_text(json.dumps({}))
    saved = flagsaver.save_flag_values(latent.FLAGS)
    try:
        flags = [flag.replace("PREPARED", str(tmp_path)) for flag in flags]
        latent.FLAGS(["", f"--run={tmp_path}", *flags])
        assert latent_flags.check()[0] == tmp_path / "latent"
    finally:
        flagsaver.restore_flag_values(saved, latent.FLAGS)


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--mode=truncate", "--seeds="], "--seeds= is empty: give it a value, or leave it out"),
        (["--mode=walk", "--labels="], "--labels= is empty"),
        (["--mode=project", "--splits="], "--splits= is empty"),
        (["--mode=ablate", "--mask=m.png", "--penalty=0"], "--penalty=0: expected a finite number"),
        ([*TURN, "--c=3", "--jitter=inf"], "--jitter=inf: expected a finite number from 0 on"),
        (["--mode=project", "--noise_weight=nan"], "--noise_weight=nan"),
        (["--mode=walk", "--seed=9000000001"], "seed"),
        (["--mode=ablate", "--frechet"], "--mode=ablate needs labels"),
        (["--mode=ablate", "--mask=m", "--attribute=brightness"], "give one of them"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_values_that_mean_nothing(refusal, tmp_path, flags, part):
    assert part in refusal(f"--run={tmp_path}", *flags)
