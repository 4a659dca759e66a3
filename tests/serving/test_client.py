"""The client, as a class and on the command line, against a running server."""

import io
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serving import command
from serving.client import Client, ClientError, picture
from serving.client import __main__ as cli

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(params=["grpc", "rest"])
def connect(request, served):
    """`connect(model)`: a client over gRPC and over REST."""
    opened = []

    def open_client(model="toy", **options) -> Client:
        where = {"rest": served.rest} if request.param == "rest" else {"server": served.grpc}
        opened.append(Client(model_name=model, **where, **options))
        return opened[-1]

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def run(served, monkeypatch, tmp_path, capsys):
    """`run(*flags)`: (exit status, stdout, stderr) of the command line in this process."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, model="toy", rest=False):
        where = [f"--rest={served.rest}"] if rest else [f"--server={served.grpc}"]
        cli.FLAGS.unparse_flags()
        with pytest.raises(SystemExit) as caught:
            command.run(cli.main, cli.FLAGS, [*where, f"--model_name={model}", *arguments])
        captured = capsys.readouterr()
        return caught.value.code, captured.out, captured.err

    return call


def test_sample_equals_the_saved_model(connect, direct):
    seeds, labels = np.arange(10, 21), np.arange(11) % 5
    psi = np.linspace(0, 1, 11, dtype=np.float32)
    expected = direct("two", "serving_default", seed=seeds, label=labels, truncation=psi)["images"]
    steps = []
    client = connect(batch_size=4)
    images = client.sample(seeds, labels, psi, progress=steps.append)
    assert images.dtype == np.uint8 and steps == [4, 4, 3]
    np.testing.assert_array_equal(images, expected)
    png = [
        np.asarray(Image.open(io.BytesIO(data))) for data in client.sample_png(seeds, labels, psi)
    ]
    np.testing.assert_array_equal(png, expected)
    # One seed, one label; no label is a label drawn from the seed.
    np.testing.assert_array_equal(client.sample(10, 0, 0.0), expected[:1])
    drawn = direct(
        "two",
        "serving_default",
        seed=np.array([3]),
        label=np.array([-1]),
        truncation=np.ones(1, np.float32),
    )["images"]
    np.testing.assert_array_equal(client.sample([3]), drawn)


def test_generate_and_discriminate(connect, direct):
    client = connect()
    latent = np.linspace(-2, 2, 12, dtype=np.float32).reshape(2, 6)
    images = client.generate(latent, [1, 2], 0.5)
    expected = direct(
        "two",
        "generate",
        latent=latent,
        label=np.array([1, 2]),
        truncation=np.full(2, 0.5, np.float32),
    )["images"]
    np.testing.assert_array_equal(images, expected)
    assert images.dtype == np.float32 and np.abs(images).max() <= 1
    logits = client.discriminate(images, [3, 4])
    np.testing.assert_allclose(logits, np.add(images.mean((1, 2, 3)), [3, 4]), atol=1e-6)
    pixels = np.rint((images + 1) * 127.5).astype(np.uint8)
    np.testing.assert_allclose(client.discriminate(pixels, [3, 4]), logits, atol=0.5 / 127.5)


def test_unconditional_models_take_no_labels(connect, direct):
    client = connect("plain")
    assert not client.conditional
    expected = direct(
        "plain", "serving_default", seed=np.array([1, 2]), truncation=np.ones(2, np.float32)
    )["images"]
    np.testing.assert_array_equal(client.sample([1, 2]), expected)
    with pytest.raises(ClientError, match="unconditional") as caught:
        client.sample([1], labels=0)
    assert caught.value.code == "INVALID_ARGUMENT"


def test_metadata_and_status(connect):
    client = connect()
    metadata = client.metadata()
    assert (metadata.name, metadata.version, client.conditional) == ("toy", 2, True)
    assert metadata.image_shape == (8, 8, 3)
    assert metadata.signatures["generate"].inputs["latent"].shape == (-1, 6)
    assert {entry["version"]: entry["state"] for entry in client.status()} == {
        1: "AVAILABLE",
        2: "AVAILABLE",
    }
    assert all(entry["error_code"] == 0 for entry in client.status())
    client.wait(1)


def test_versions_and_labels(connect, direct):
    old = direct(
        "one",
        "serving_default",
        seed=np.array([1]),
        label=np.array([2]),
        truncation=np.ones(1, np.float32),
    )["images"]
    for choice in ({"version": 1}, {"version_label": "stable"}):
        np.testing.assert_array_equal(connect(**choice).sample(1, 2), old)
    with pytest.raises(ValueError, match="not both"):
        Client(version=1, version_label="stable")


def test_errors_say_what_to_change(connect, tools):
    with pytest.raises(ClientError, match='does not serve model "nope"') as caught:
        connect("nope").sample(1)
    assert caught.value.code == "NOT_FOUND"
    client = connect()
    with pytest.raises(ClientError, match=r"label must be in -1\.\.4, got 9") as caught:
        client.sample(1, 9)
    assert caught.value.code == "INVALID_ARGUMENT"
    with pytest.raises(ClientError, match="labels has shape"):
        client.sample([1, 2], [1, 2, 3])
    with pytest.raises(ClientError, match="needs labels"):
        client.generate(np.zeros((1, 6)))
    with pytest.raises(ClientError, match="no rows"):
        client.sample([])
    with pytest.raises(ClientError, match="int64"):
        client.sample([2**63])
    with pytest.raises(ClientError):
        client.predict("nope", {"seed": np.array([1])})


def test_nobody_there(tools):
    port = tools.free_ports(1)[0]
    for where in ({"server": f"127.0.0.1:{port}"}, {"rest": f"http://127.0.0.1:{port}"}):
        with Client(model_name="toy", **where) as client:
            with pytest.raises(ClientError, match="is it started") as caught:
                client.sample(1)
            assert caught.value.code == "UNAVAILABLE"
            with pytest.raises(ClientError, match=r"after 0\.1 s"):
                client.wait(0.1, pause=0.05)


def test_a_server_that_does_not_answer_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        for where in ({"server": address}, {"rest": f"http://{address}"}):
            with (
                Client(model_name="toy", timeout=0.3, **where) as client,
                pytest.raises(ClientError, match=r"did not answer within 0\.3 s") as caught,
            ):
                client.sample(1)
            assert caught.value.code == "DEADLINE_EXCEEDED"


def test_command_line_writes_the_grid_and_the_arrays(run, tmp_path, direct):
    status, out, _ = run("--n=9", "--seed=5", "--out=grid.png", "--npz=all.npz", "--scale=1")
    assert status == 0
    assert "9 images of 8x8x3 from toy version 2" in out and "wrote grid.png" in out
    with np.load("all.npz") as arrays:
        images, labels, seeds = arrays["images"], arrays["labels"], arrays["seeds"]
    assert seeds.tolist() == list(range(5, 14)) and labels.tolist() == [-1] * 9
    expected = direct(
        "two",
        "serving_default",
        seed=seeds,
        label=labels,
        truncation=np.ones(9, np.float32),
    )["images"]
    np.testing.assert_array_equal(images, expected)
    shown = np.asarray(Image.open("grid.png"))
    assert shown.shape == (3 * 10 + 2, 3 * 10 + 2, 3)
    np.testing.assert_array_equal(shown[12:20, 22:30], images[5])  # second row, third column
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.npz", "grid.png"]


def test_command_line_gives_each_class_a_row(run, direct):
    status, _, _ = run(
        "--labels=0-2,4",
        "--n=3",
        "--seed=1",
        "--npz=a.npz",
        "--out=g.png",
        "--batch_size=5",
        "--label_names=zero,one,two,four",
        "--scale=2",
    )
    assert status == 0
    with np.load("a.npz") as arrays:
        assert arrays["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 4, 4, 4]
        assert arrays["seeds"].tolist() == list(range(1, 13))
        images = arrays["images"]
    shown = np.asarray(Image.open("g.png"))
    assert shown.shape[0] == 4 * 18 + 2
    margin = shown.shape[1] - (3 * 18 + 2)
    assert margin > 10 and shown[:, :margin].min() < 128  # names are drawn
    last = shown[-18:-2:2, -18:-2:2]
    np.testing.assert_array_equal(last, images[-1])
    assert run("--labels=0-2,4", "--n=3", "--npz=b.npz", rest=True)[0] == 0
    with np.load("b.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], images)
    assert not pathlib.Path("grid.png").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--labels=x"], "--labels=x"),
        (["--labels=3-1"], "empty"),
        (["--labels=0,1", "--label_names=a"], "--label_names has 1 names"),
        (["--label_names=a"], "needs --labels"),
        (["--out=no/such/grid.png"], "there is no directory no/such"),
        (["--out=."], "is a directory"),
        (["--n=0"], "--n"),
        (["--seed=9223372036854775807"], "--seed"),
        (["--labels=7"], "label must be in -1..4, got"),
        (["--version=1", "--version_label=stable"], "not both"),
        (["--nonsense=1"], "nonsense"),
        (["extra"], "extra"),
    ],
)
def test_command_line_refuses(run, tmp_path, arguments, text):
    status, _, err = run(*arguments)
    assert status == 2
    assert err.startswith("error: ") and text in err and "Traceback" not in err
    assert not any(tmp_path.iterdir())


def test_command_line_and_an_unconditional_model(run):
    assert run("--n=2", model="plain")[0] == 0
    status, _, err = run("--labels=0", model="plain")
    assert status == 2 and "unconditional" in err


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    def fail(file) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        picture.write(tmp_path / "grid.png", fail)
    assert not any(tmp_path.iterdir())


def test_grid_checks_its_input():
    grey = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28, 1)
    image = picture.grid(grey, 2)
    assert image.mode == "L" and image.size == (2 * 58 + 2, 58 + 2)  # 28 shown as 56
    with pytest.raises(ValueError, match="expected"):
        picture.grid(grey.astype(np.float32), 2)


def test_the_client_needs_no_tensorflow(served, tmp_path):
    code = (
        "import sys, runpy\n"
        "try:\n"
        "    runpy.run_module('serving.client', run_name='__main__')\n"
        "finally:\n"
        "    heavy = {'tensorflow', 'tensorflow_serving', 'keras', 'ganpipe'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    arguments = [f"--server={served.grpc}", "--model_name=toy", f"--out={tmp_path}/g.png"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--wait=5"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert Image.open(tmp_path / "g.png").size[0] > 64
