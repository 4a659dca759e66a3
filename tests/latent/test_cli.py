"""`python -m ganpipe latent`: the files of each mode, and what is refused before any work."""

import functools
import json
import types

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

import ganpipe
from ganpipe.cli import app, latent, latent_inputs
from ganpipe.errors import UserError
from ganpipe.latent import projectors
from ganpipe.train import checkpoint, run_folder
from tests.latent import systems


def save_run(folder, system):
    """A run folder as far as `ganpipe.load` looks."""
    arguments = {k: v for k, v in system.get_config().items() if k != "precision"}
    folder.mkdir()
    record = {"name": system.system_name, "arguments": arguments}
    (folder / "system.json").write_text(json.dumps(record))
    checkpoint.save(system, folder / "checkpoints")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("runs") / "plain", systems.plain("dcgan"))


@pytest.fixture(scope="module")
def style_run(tmp_path_factory):
    system = systems.styled(channels=1)
    system.compile()
    return save_run(tmp_path_factory.mktemp("runs") / "styled", system)


@functools.cache
def loaded(run):
    """The system of a run, read once."""
    return run_folder.load(run)


@pytest.fixture
def command(capsys):
    """`command(run, *flags)`: (exit status, stdout, stderr)."""

    def call(*arguments):
        saved = flagsaver.save_flag_values(latent.FLAGS)
        try:
            with pytest.raises(SystemExit) as exit_info:
                app.run(latent.main, latent.FLAGS, [str(a) for a in arguments])
        finally:
            flagsaver.restore_flag_values(saved, latent.FLAGS)
        printed = capsys.readouterr()
        return exit_info.value.code, printed.out, printed.err

    return call


def test_interpolate_writes_its_files(run, tmp_path, command):
    flags = ["--seeds=0-2", "--frames=2", "--films=gif", f"--out={tmp_path / 'made' / 'here'}"]
    status, out, _ = command(f"--run={run}", "--mode=interpolate", *flags)
    assert status == 0 and "2 legs, slerp in z: 5 frames" in out
    folder = tmp_path / "made" / "here"
    names = {f"interpolate.{ending}" for ending in ("png", "gif", "npz", "json")}
    assert {path.name for path in folder.iterdir()} == names
    record = json.loads((folder / "interpolate.json").read_text())
    assert record["system"] == "dcgan" and record["flags"]["seeds"] == "0-2"
    assert np.load(folder / "interpolate.npz")["latents"].shape == (2, 3, 6)
    with Image.open(folder / "interpolate.gif") as film:
        assert film.n_frames == 5


def test_default_place_is_in_the_run(style_run, command):
    status, out, _ = command(f"--run={style_run}", "--mode=mix", "--rows=1", "--columns=2,3")
    assert status == 0 and "styles 0-3 from the columns" in out
    assert (style_run / "latent" / "mix.png").is_file()


def test_project_a_folder_of_pictures(run, tmp_path, command):
    (tmp_path / "in").mkdir()
    for i in range(3):
        pixels = np.full((8, 8), 60 * i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"p{i}.png")
    flags = ["--steps=3", "--restarts=1", "--distance=pixels", f"--out={tmp_path / 'out'}"]
    images = f"--images={tmp_path / 'in'}"
    status, out, _ = command(f"--run={run}", "--mode=project", images, "--count=2", *flags)
    assert status == 0 and "pictures: 2 pictures, pixels" in out
    record = json.loads((tmp_path / "out" / "project.json").read_text())
    assert len(record["figures"]["pictures"]) == 2
    one = f"--images={tmp_path / 'in' / 'p1.png'}"
    status, out, _ = command(f"--run={run}", "--mode=project", one, *flags, "--name=one")
    assert status == 0 and "picture: 1 pictures" in out
    assert (tmp_path / "out" / "one.png").is_file()


def test_project_through_styles(style_run, tmp_path, command, monkeypatch):
    monkeypatch.setattr(projectors.style_statistics, "__defaults__", (50,))
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "p.png")
    flags = [f"--images={tmp_path / 'p.png'}", "--steps=2", f"--out={tmp_path / 'out'}"]
    status, _, _ = command(f"--run={style_run}", "--mode=project", *flags, "--distance=pixels")
    assert status == 0
    arrays = np.load(tmp_path / "out" / "project.npz")
    assert arrays["latents"].shape == (1, 4, 6) and "noise_0" in arrays


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["--mode is missing", "interpolate, walk"]),
        (["--mode=interpolat"], ["--mode=interpolat: unknown"]),
        (["--mode=walk"], ["--run is missing"]),
        (["--mode=walk", "--run=nowhere"], ["--run=nowhere does not exist"]),
        (["--mode=walk", "--run=nowhere", "--seeds=1"], ["--seeds means nothing to --mode=walk"]),
        (["--mode=truncate", "--run=x", "--psi=1,3"], ["--psi: 3; expected -2 to 2"]),
        (["--mode=walk", "--run=x", "--truncation=9"], ["--truncation: 9"]),
        (["--mode=truncate", "--run=x", "--truncation=1"], ["--truncation means nothing"]),
        (["--mode=walk", "--run=x", "stray"], ["stray"]),
    ],
    ids=lambda v: " ".join(v) or "nothing",
)
def test_refused_before_any_work(command, arguments, parts):
    status, out, err = command(*arguments)
    assert status == 2 and not out and len(err.splitlines()) == 1
    for part in parts:
        assert part in err


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--mode=mix"], "--mode=mix: this dcgan has no styles"),
        (["--mode=interpolate", "--seeds=3"], "at least 2 points"),
        (["--mode=interpolate", "--space=w"], "--space=w: this dcgan has no styles"),
        (["--mode=interpolate", "--labels=1"], "unconditional"),
        (["--mode=interpolate", "--films=avi"], "'avi'"),
        (["--mode=walk", "--name=a/b"], "--name=a/b"),
        (["--mode=arithmetic", "--a=1", "--c=2"], "--b is missing"),
        (["--mode=arithmetic", "--a=1", "--b=2", "--c=3", "--seeds=1"], "leave out --c"),
        (["--mode=arithmetic", "--a=1", "--b=2", "--jitter=1"], "--jitter: of the neighbours"),
        (["--mode=project", "--noise_weight=1"], "--noise_weight: of the noise maps"),
        (["--mode=directions", "--samples=50"], "--samples: belongs to --method=labels"),
        (["--mode=project"], "--images is missing"),
        (["--mode=project", "--images=none.png"], "cannot be read as a picture"),
        (["--mode=ablate"], "needs labels"),
        (["--mode=ablate", "--attribute=class:1"], "names no data folder"),
        (["--mode=ablate", "--attribute=hats"], "expected class:NUMBER"),
        (["--mode=ablate", "--mask=none.png"], "--mask=none.png cannot be read"),
        (["--mode=directions", "--method=labels"], "names no data folder"),
        (["--mode=directions", "--attribute=brightness"], "--method=labels"),
        (["--mode=directions", "--count=7"], "--count=7: expected 1 to 6"),
        (["--mode=truncate", "--step=77"], "no checkpoint there"),
        (["--mode=ablate", "--cutoff=2"], "--cutoff means nothing to --mode=ablate"),
        (["--mode=directions", "--styles=0"], "--styles: picks layers of w; this is z"),
        # Before the classifier of the attribute is asked for, which there is no data for.
        (["--mode=ablate", "--attribute=class:1", "--labels=1"], "unconditional; leave them out"),
        (["--mode=ablate", "--mask=EMPTY.npy"], "EMPTY.npy cannot be read"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_refused_with_a_run(run, tmp_path, command, flags, part, monkeypatch):
    if "--step=77" not in flags:
        monkeypatch.setattr(ganpipe, "load", lambda run, step: loaded(run))
    (tmp_path / "EMPTY.npy").touch()
    flags = [flag.replace("EMPTY", str(tmp_path / "EMPTY")) for flag in flags]
    status, _, err = command(f"--run={run}", f"--out={tmp_path / 'out'}", *flags)
    assert status == 2 and part in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_the_classifier_is_no_ruler_of_colour(tmp_path, command, monkeypatch):
    system = systems.plain("dcgan", channels=3)
    monkeypatch.setattr(ganpipe, "load", lambda run, step: system)
    flags = ["--mode=project", "--images=none.png", f"--run={tmp_path}"]
    status, _, err = command(*flags, "--data=somewhere")
    assert status == 2 and "--data: of the classifier, which --distance=auto takes on grey" in err
    status, _, err = command(*flags, "--data=somewhere", "--distance=own")
    assert status == 2 and "none.png cannot be read" in err


def test_restarts_belong_to_z(style_run, command):
    status, _, err = command(f"--run={style_run}", "--mode=project", "--restarts=2")
    assert status == 2 and "--restarts: of projections in z" in err and "--mode=project" in err


def test_more_directions_than_classes():
    ruler = object.__new__(latent_inputs.Ruler)
    ruler.source = types.SimpleNamespace(name="fruit", class_names=("apple", "pear"))
    assert ruler.all_classes(None) == ruler.all_classes(2) == ["class:0", "class:1"]
    with pytest.raises(UserError, match="--count=3: fruit has 2 classes"):
        ruler.all_classes(3)


def test_pictures_of_another_size_or_kind(run, tmp_path, command):
    flags = [f"--run={run}", "--mode=project", f"--images={tmp_path / 'p.png'}"]
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "p.png")
    status, _, err = command(*flags)
    assert status == 2 and "pictures of shape (9, 9, 1)" in err and "makes (8, 8, 1)" in err
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "p.png")
    status, _, err = command(*flags)
    assert status == 2 and "of the kind RGB; the run makes grey" in err


def test_a_conditional_run_needs_classes_of_pictures(tmp_path):
    system = systems.plain("dcgan", num_classes=3)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "p.png")
    path = str(tmp_path / "p.png")
    with pytest.raises(UserError, match="give the pictures' classes with --labels"):
        latent_inputs.targets(path, system, ["test"], 1, None)
    with pytest.raises(UserError, match="of 0 to 2"):
        latent_inputs.targets(path, system, ["test"], 1, [3])
    found = latent_inputs.targets(path, system, ["test"], 1, [2])
    np.testing.assert_array_equal(found.labels, [2])
