"""`ganpipe defend` on a tiny untrained run: its figures add up, and what it refuses."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from ganpipe import config as config_lib
from ganpipe.cli import app, defend


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """120 grey 28x28 images of 3 classes."""
    from pipeline.components import example_gen

    root = tmp_path_factory.mktemp("data28")
    rng = np.random.default_rng(0)
    for i in range(120):
        folder = root / "images" / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 60, (28, 28)).astype(np.uint8)
        pixels[:, 9 * (i % 3) : 9 * (i % 3) + 9] += 180
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    quiet = {"say": lambda line: None, "progress": False}
    example_gen.run(f"folder:{root / 'images'}", root / "data", base="7x7", levels=3, **quiet)
    return root / "data"


def make_run(folder, data_dir, name="defense_gan_fashion_mnist:tiny", **overrides):
    """A run folder whose checkpoint holds initial weights."""
    from ganpipe import data
    from ganpipe.train import checkpoint, loop, run_folder

    overrides = {"train.precision": "float32", "train.batch_size": 4} | overrides
    config, info = config_lib.load(name, overrides), data.info(data_dir)
    system = loop.build(config, info)
    folder.mkdir(parents=True)
    run_folder.write(folder, config, system, info.dir, info.fingerprint)
    checkpoint.save(system, folder / "checkpoints", 2, True)
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, data_dir):
    small = {"system.dim": 4, "system.latent_dim": 6}
    return make_run(tmp_path_factory.mktemp("runs") / "d", data_dir, **small)


def command(*arguments):
    """Exit status of the verb, run in this process with fresh flags."""
    saved = flagsaver.save_flag_values(defend.FLAGS)
    try:
        with pytest.raises(SystemExit) as exit_info:
            app.run(defend.main, defend.FLAGS, [str(a) for a in arguments])
    finally:
        flagsaver.restore_flag_values(saved, defend.FLAGS)
    return exit_info.value.code


def test_figures_add_up_and_pictures_are_written(run_dir, data_dir, tmp_path, capsys):
    out = tmp_path / "defence.json"
    flags = (
        f"--run={run_dir} --data={data_dir} --out={out} --classifier=E --epochs=8 --images=8 "
        "--steps=3 --restarts=2 --attacks=fgsm,rand_fgsm,pgd,cw,bpda --chunk=5 --pgd_steps=3 "
        "--cw_steps=3 --cw_search=2 --bpda_images=3 --bpda_steps=2 --bpda_projection_steps=1 "
        "--curve=3"
    ).split()
    assert command(*flags) == 0
    result = json.loads(out.read_text())
    rows = result["attacks"]
    assert list(rows) == ["none", "fgsm", "rand_fgsm", "pgd", "cw", "bpda"]
    assert result["classifier"]["parameters"] == 28 * 28 * 200 + 200 + 200 * 200 + 200 + 200 * 3 + 3
    assert rows["none"]["undefended"] == 1.0  # three bright bars are easily told apart
    for name, row in rows.items():
        assert row["images"] == (3 if name == "bpda" else 8)
        assert 0.0 <= row["defended"] <= 1.0 and 0.0 < row["mean_error"] < 1.0
        if name in ("fgsm", "rand_fgsm", "pgd", "bpda"):
            assert 0.0 < row["max_linf"] <= 0.3 + 1e-6
    assert rows["fgsm"]["undefended"] < 1.0
    assert set(rows["bpda"]["defended_on_the_same_images"]) >= {"none", "fgsm"}
    points = {(p["steps"], p["restarts"]): p["mean_error"] for p in result["curve"]}
    assert set(points) == {(3, 1), (3, 2)}
    assert points[3, 2] <= points[3, 1]
    with Image.open(tmp_path / "defence.png") as sheet:
        assert sheet.size == (12 * 29 + 1, 12 * 29 + 1)
    printed = capsys.readouterr().out
    assert "bpda saw 3 of them" in printed and "undefended" in printed

    # The same seeds give the same figures; the classifier is not trained again.
    again = tmp_path / "again.json"
    assert command(*flags, f"--out={again}", "--attacks=fgsm", "--curve=0") == 0
    second = json.loads(again.read_text())
    for name in ("none", "fgsm"):
        for key in ("undefended", "defended", "mean_error"):
            assert second["attacks"][name][key] == pytest.approx(rows[name][key], abs=1e-6)
    assert second["classifier"]["train_seconds"] == result["classifier"]["train_seconds"]

    # A classifier that saw reconstructions is another one.
    rec = ("--reconstructions=10", "--reconstruction_steps=2", "--attacks=fgsm", "--curve=0")
    assert command(*flags, f"--out={again}", *rec) == 0
    third = json.loads(again.read_text())["classifier"]
    assert third["file"] != result["classifier"]["file"] and third["reconstructions"] == 10


REFUSED = [
    ("--data=D --out=O", "--run is missing"),
    ("--run=R --out=O", "--data is missing"),
    ("--run=R --data=D", "--out is missing"),
    ("--run=R --data=D --out=no/such/folder/o.json", "does not exist"),
    ("--run=R --data=D --out=O --sheet=O", "would overwrite"),
    ("--run=nowhere --data=D --out=O", "--run=nowhere does not exist"),
    ("--run=R --data=D --out=O --attacks=fgms", "'fgms'"),
    ("--run=R --data=D --out=O --alpha=0.4", "alpha: 0.4"),
    ("--run=R --data=D --out=O --epsilon=0", "epsilon: 0.0"),
    ("--run=R --data=D --out=O --momentum=1.5", "momentum: 1.5"),
    ("--run=R --data=D --out=O --images=100000", "--images=100000"),
    ("--run=R --data=D --out=O --classifier=Z", "classifier"),
    ("--run=R --data=D --out=O stray", "stray"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refused_before_any_work(line, message, run_dir, data_dir, tmp_path, capsys):
    put = {"--run=R": f"--run={run_dir}", "--data=D": f"--data={data_dir}"}
    out = tmp_path / "o.json"
    words = [put.get(w, w.replace("=O", f"={out}")) for w in line.split()]
    assert command(*words) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ") and message in error
    assert not list(tmp_path.iterdir())


def test_another_system_is_refused(data_dir, tmp_path, capsys):
    small = {"system.nf": 4, "data.resolution": 28, "system.hidden": 8}
    small = {k: v for k, v in small.items() if k != "system.nf"}
    run = make_run(tmp_path / "gan", data_dir, "gan_fashion_mnist", **small)
    assert command(f"--run={run}", f"--data={data_dir}", f"--out={tmp_path / 'o.json'}") == 2
    assert "is a gan; expected a defense_gan" in capsys.readouterr().err
