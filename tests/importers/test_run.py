"""Run folders of imported networks, the verb, and the export with official names."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ganpipe
from ganpipe.errors import UserError
from ganpipe.importers import export_npz, run
from tests.golden import import_recipe
from tests.importers.conftest import GOLDEN

NAMES = ("stylegan2_ada_conditional", "stylegan_tf", "progan_tf")


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """name -> (run folder, the system that was written)."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("runs") / name
            made[name] = folder, run.import_file(GOLDEN / f"{name}.pkl", folder)[0]
        return made[name]

    return get


def weights(system):
    return [v.numpy() for role in run.ROLES for v in getattr(system, role).variables]


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_run_gives_the_official_outputs(name, imported):
    folder, written = imported(name)
    system = ganpipe.load(folder)
    for a, b in zip(weights(system), weights(written), strict=True):
        np.testing.assert_array_equal(a, b)
    golden = np.load(GOLDEN / f"{name}.npz")
    given = import_recipe.inputs(system.latent_dim, system.num_classes, system.resolution)
    labels = given["labels"] if system.num_classes else None
    images = system.generate(given["z"], labels).numpy()
    assert np.abs(images - golden["psi_1"]).max() < 2e-5 * np.abs(golden["psi_1"]).max()
    if name == "progan_tf":
        assert system.sample(2, seed=3).shape == (2, 32, 32, 3)
    assert int(system.step.numpy()) == 0


def test_what_the_run_folder_says(imported):
    folder, _ = imported("stylegan2_ada_conditional")
    record = json.loads((folder / "config.json").read_text())
    assert record["config"]["name"] == "imported_stylegan2_ada_conditional"
    assert record["config"]["data"] == {
        "dir": "",
        "resolution": 32,
        "channels": 3,
        "conditional": True,
    }
    assert record["data_dir"] is None
    assert record["imported"]["format"] == "stylegan2-ada-pytorch"
    assert record["imported"]["networks"]["generator_ema"]["arguments"]["w_dim"] == 20
    description = json.loads((folder / "system.json").read_text())
    assert description["name"] == "stylegan2"
    assert description["arguments"]["mapping_layers"] == 2
    assert description["arguments"]["d_architecture"] == "orig"
    assert description["arguments"]["group_size"] == 2


def test_an_existing_folder_is_left_alone(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="never overwrites"):
        run.import_file(GOLDEN / "progan_tf.pkl", folder)
    assert [p.name for p in folder.iterdir()] == ["mine.txt"]


def test_a_failed_import_leaves_nothing(tmp_path, golden_file):
    file = golden_file("progan_tf")
    system = run.build(file)
    broken = type(file)(tmp_path / "gone.pkl", file.format, file.networks)
    with pytest.raises(UserError, match="cannot be written"):
        run.write(system, broken, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def call(capsys, *arguments):
    """(status, output, errors) of the verb, in this process."""
    from ganpipe.cli import app, import_weights

    import_weights.FLAGS.unparse_flags()
    for flag in ("format", "run", "export_format", "out"):
        import_weights.FLAGS[flag].value = None
    with pytest.raises(SystemExit) as status:
        app.run(import_weights.main, import_weights.FLAGS, [str(a) for a in arguments])
    return status.value.code, *capsys.readouterr()


def start(*arguments):
    """The verb in a process of its own."""
    script = (
        "import sys; from ganpipe.cli import app, import_weights as v; "
        "app.run(v.main, v.FLAGS, sys.argv[1:])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_a_kill_leaves_no_half_run(tmp_path):
    """SIGKILL at many moments: the folder is not there, or whole."""
    for delay in np.linspace(0.0, 1.5, 6):
        folder = tmp_path / "run"
        process = start("--format=progan-tf", GOLDEN / "progan_tf.pkl", f"--run={folder}")
        while process.poll() is None and not list(tmp_path.glob(".importing_*")):
            time.sleep(0.002)
        time.sleep(delay * 0.2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if folder.exists():
            ganpipe.load(folder)
            shutil.rmtree(folder)
    process = start("--format=progan-tf", GOLDEN / "progan_tf.pkl", f"--run={folder}")
    process.communicate()
    assert [p.name for p in tmp_path.iterdir()] == ["run"]  # what was left behind is swept up


BAD_CALLS = {
    "no file": (["--format=progan-tf", "--run=R"], "expected one FILE"),
    "two files": (["--format=progan-tf", "a", "b", "--run=R"], "found 2"),
    "no run": (["--format=progan-tf", "FILE"], "--run is missing"),
    "no format": (["FILE", "--run=R"], "--format is missing"),
    "unknown format": (["--format=biggan", "FILE", "--run=R"], "expected one of"),
    "no such file": (["--format=progan-tf", "gone.pkl", "--run=R"], "no such file"),
    "another format": (["--format=stylegan-tf", "FILE", "--run=R"], "looks like progan-tf"),
    "out without export": (["FILE", "--run=R", "--out=x.npz"], "--export_format"),
    "export without out": (["--export_format=progan-tf", "--run=R"], "--out is missing"),
    "both": (["--export_format=progan-tf", "--format=progan-tf", "--run=R"], "one of the two"),
    "export of no run": (["--export_format=progan-tf", "--run=R", "--out=x.npz"], "does not exist"),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD_CALLS[name]
    arguments = [GOLDEN / "progan_tf.pkl" if a == "FILE" else a for a in arguments]
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_the_verb_imports_and_exports(tmp_path, capsys):
    folder, file = tmp_path / "runs" / "net", tmp_path / "net.npz"
    code, out, err = call(
        capsys, "--format=stylegan-tf", GOLDEN / "stylegan_tf.pkl", f"--run={folder}"
    )
    assert code == 0, err
    assert "stylegan-tf -> stylegan, 32x32, unconditional" in out
    code, _, err = call(capsys, "--export_format=stylegan-tf", f"--run={folder}", f"--out={file}")
    assert code == 0, err
    values = np.load(file)
    assert json.loads(str(values["ganpipe_json"]))["system"] == "stylegan"
    assert values["Gs/synthesis/4x4/Const/const"].shape == (1, 12, 4, 4)


def test_exports_that_cannot_be(tmp_path, imported):
    _, system = imported("progan_tf")
    with pytest.raises(UserError, match="the names of progan-tf"):
        export_npz.write(system, "stylegan-tf", tmp_path / "x.npz")
    with pytest.raises(UserError, match="expected one of"):
        export_npz.write(system, "biggan", tmp_path / "x.npz")
    with pytest.raises(UserError, match="ends in .npz"):
        export_npz.write(system, "progan-tf", tmp_path / "x.pkl")
    path = export_npz.write(system, "progan-tf", tmp_path / "x.npz")
    with pytest.raises(UserError, match="never overwrites"):
        export_npz.write(system, "progan-tf", path)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_an_export_is_plain_data(tmp_path, imported):
    """No pickles inside: NumPy reads every entry with allow_pickle=False, stored, not packed."""
    import zipfile

    _, system = imported("stylegan2_ada_conditional")
    path = export_npz.write(system, "stylegan2-ada-pytorch", tmp_path / "x.npz")
    values = np.load(path, allow_pickle=False)
    assert all(values[key].dtype == np.float32 for key in values if key != "ganpipe_json")
    with zipfile.ZipFile(path) as archive:
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
