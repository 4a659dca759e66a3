"""`python -m ganpipe study`: what it refuses, and a tiny run of each study."""

import json

import pytest
from absl.testing import flagsaver

from ganpipe.cli import app, study
from ganpipe.study import mixtures


def command(*arguments):
    """Exit status of the verb, run in this process with fresh flags."""
    saved = flagsaver.save_flag_values(study.FLAGS)
    try:
        with pytest.raises(SystemExit) as exit_info:
            app.run(study.main, study.FLAGS, [str(a) for a in arguments])
    finally:
        flagsaver.restore_flag_values(saved, study.FLAGS)
    return exit_info.value.code


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["study: nothing", "divergences", "all"]),
        (["divergence"], ["study: divergence;", "divergences"]),
        (["divergences", "gradients"], ["study: divergences gradients"]),
        (["divergences"], ["--out is missing"]),
        (["divergences", "--out=OUT", "--seeds=a"], ["--seeds=a", "0,1,2"]),
        (["divergences", "--out=OUT", "--seeds="], ["--seeds="]),
        (["divergences", "--out=OUT", "--seeds=1,1"], ["--seeds=1,1", "different"]),
        (["divergences", "--out=OUT", "--effort=-1"], ["effort"]),
        (["mixtures", "--out=OUT", "--recipes=gan"], ["--recipes", "'gan'", "wgan_gp"]),
        (["all", "--out=OUT", "--mixtures=cube"], ["--mixtures", "'cube'", "grid"]),
        (["mixtures", "--out=OUT", "--parallel=0"], ["parallel"]),
    ],
    ids=lambda v: " ".join(v) or "nothing",
)
def test_study_refuses(arguments, parts, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(*[a.replace("OUT", str(out)) for a in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    for part in ("error: ", *parts):
        assert part in line
    assert not out.exists()


def test_a_file_is_no_folder(tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert command("gradients", f"--out={tmp_path / 'out'}") == 2
    assert "is a file" in capsys.readouterr().err


def test_tiny_gradients(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert command("gradients", f"--out={out}", "--seeds=0", "--effort=0.0001") == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "gradients.json",
        "gradients.md",
        "gradients.png",
    ]
    printed = capsys.readouterr().out
    assert "| minimax |" in printed and str(out / "gradients.png") in printed
    values = json.loads((out / "gradients.json").read_text())
    assert values["stages"] == [1] and values["curves"]["wasserstein"] == [1.0] * 7


@pytest.mark.slow
@pytest.mark.parametrize("name", ["divergences", "landscapes"])
def test_tiny_studies(name, tmp_path):
    assert command(name, f"--out={tmp_path}", "--seeds=0,1", "--effort=0.001") == 0
    assert all(p.stat().st_size < 300_000 for p in tmp_path.glob("*.png"))
    assert (tmp_path / f"{name}.md").exists() and json.loads(
        (tmp_path / f"{name}.json").read_text()
    )


def test_tiny_mixtures_go_on_where_they_were(tmp_path, monkeypatch, capsys):
    arguments = ["mixtures", f"--out={tmp_path}", "--seeds=0", "--effort=0.0001"]
    arguments += ["--recipes=minimax", "--mixtures=ring"]
    assert command(*arguments) == 0
    first = (tmp_path / "mixtures.md").read_text()
    assert "minimax (saturating), MLP" in first and "modes of 8" in first
    assert (tmp_path / "mixtures_ring.png").exists()
    assert {p.name for p in (tmp_path / "mixtures").iterdir()} == {
        "ring-minimax-0.json",
        "ring-minimax-0.npy",
    }
    # The second time nothing is trained.
    monkeypatch.setattr(mixtures, "work", lambda *a: pytest.fail("trained again"))
    capsys.readouterr()
    assert command(*arguments) == 0
    assert (tmp_path / "mixtures.md").read_text() == first
    assert first.strip() in capsys.readouterr().out
