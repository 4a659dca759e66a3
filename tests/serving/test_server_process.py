"""The server's command line: refusals before anything slow, waiting, stopping."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from serving import command
from serving.server import __main__ as cli


@pytest.fixture
def run(capsys):
    """`run(*flags)`: (exit status, stderr) of a command line that is refused."""

    def call(*arguments: str):
        cli.FLAGS.unparse_flags()
        with pytest.raises(SystemExit) as caught:
            command.run(cli.main, cli.FLAGS, list(arguments))
        return caught.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "--model_base_path is missing"),
        (["--model_base_path=relative"], "not absolute; did you mean /"),
        (["--model_base_path=/no/such"], "--model_base_path=/no/such: no such directory"),
        (["--model_base_path={one}"], "is itself a SavedModel"),
        (["--model_base_path={base}", "--port=0"], "both 0"),
        (["--model_base_path={base}", "--rest_api_port=8500"], "must differ"),
        (["--model_base_path={base}", "--port=99999"], "--port"),
        (["--model_base_path={base}", "--host=not an address"], "--host"),
        (["--model_base_path={base}", "--ssl_config_file=/x"], "--ssl_config_file"),
        (["--model_base_path={base}", "--monitoring_config_file=/x"], "Prometheus"),
        (["--model_base_path={base}", "--prefer_tflite_model"], "--prefer_tflite_model"),
        (["--model_base_path={base}", "--batching_parameters_file=/x"], "needs --enable_batching"),
        (["--model_base_path={base}", "--grpc_channel_arguments=x"], "not key=value"),
        (
            [
                "--model_base_path={base}",
                "--tensorflow_session_parallelism=1",
                "--tensorflow_inter_op_parallelism=1",
            ],
            "--tensorflow_session_parallelism",
        ),
        (["--model_config_file=/no/such"], "--model_config_file=/no/such: no such file"),
        (["--model_config_file={broken}"], "not a text ModelServerConfig"),
        (["--model_config_file={away}"], "base_path /no/such/path of model m: no such directory"),
        (["--no_such_flag=1"], "no_such_flag"),
        (["extra"], "extra"),
    ],
)
def test_refusals(run, exports, tmp_path, tools, arguments, text):
    (tmp_path / "broken").write_text("model_config_list [")
    (tmp_path / "away").write_text(
        'model_config_list { config { name: "m" base_path: "/no/such/path" '
        'model_platform: "tensorflow" } }'
    )
    values = {
        "base": tmp_path,
        "one": exports["one"],
        "broken": tmp_path / "broken",
        "away": tmp_path / "away",
    }
    given = [argument.format(**values) for argument in arguments]
    if "port" not in " ".join(given):
        given.append(f"--port={tools.free_ports(1)[0]}")
    status, err = run(*given)
    assert status == 2
    assert err.splitlines()[-1].startswith("error: ") and text in err


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_port_in_use(run, tmp_path, tools, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = tools.free_ports(1)[0]
        ports = {"port": other, "rest_api_port": other + 1, flag: port}
        given = [f"--{name}={value}" for name, value in ports.items()]
        start = time.monotonic()
        status, err = run(f"--model_base_path={tmp_path}", *given)
    assert status == 2
    assert f"error: port {port} on 127.0.0.1 is in use" in err and f"--{flag}" in err
    assert time.monotonic() - start < 2  # before anything is loaded


def test_help_names_the_flags():
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "serving.server", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0
    assert "--model_base_path" in result.stdout and "python -m serving.server" in result.stdout
    assert "tensorflow" not in result.stderr  # answered without importing it


def test_waits_for_a_first_version_swaps_and_stops(exports, tmp_path, tools):
    grpc_port, rest_port = tools.free_ports(2)
    base = tmp_path / "toy"
    base.mkdir()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "serving.server", "--model_name=toy"),
            *(f"--model_base_path={base}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"),
            *("--file_system_poll_wait_seconds=0.05", "--enable_profiler=false"),
        ],
        cwd=tools.ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = []

    def until(text: str) -> None:
        for line in process.stderr:
            seen.append(line)
            if text in line:
                return
        pytest.fail(f"no {text!r} in\n{''.join(seen)}")

    def status() -> dict[str, str]:
        url = f"http://127.0.0.1:{rest_port}/v1/models/toy"
        with urllib.request.urlopen(url, timeout=10) as response:
            found = json.load(response)["model_version_status"]
        return {entry["version"]: entry["state"] for entry in found}

    try:
        until("--enable_profiler has no effect")
        until("waiting for one, the ports stay closed until then")
        with socket.socket() as caller:
            assert caller.connect_ex(("127.0.0.1", grpc_port)) != 0
            assert caller.connect_ex(("127.0.0.1", rest_port)) != 0
        shutil.copytree(exports["one"], base / ".new")
        (base / ".new").rename(base / "1")
        until(f"ready: gRPC on 127.0.0.1:{grpc_port}, REST on http://127.0.0.1:{rest_port}, toy")
        assert seen[-1].strip().endswith("toy versions [1]")
        assert status() == {"1": "AVAILABLE"}
        shutil.copytree(exports["two"], base / ".new")
        (base / ".new").rename(base / "2")
        until("version 1 unloaded")
        assert status() == {"1": "END", "2": "AVAILABLE"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stderr.close()


def test_a_model_that_cannot_load_ends_the_server(tmp_path, tools, capsys):
    (tmp_path / "1").mkdir()
    port = tools.free_ports(1)[0]
    cli.FLAGS.unparse_flags()
    cli.FLAGS(
        [
            *("", "--model_name=toy", f"--model_base_path={tmp_path}", f"--port={port}"),
            "--max_num_load_retries=0",
        ]
    )
    assert cli._serve(threading.Event()) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: 1 servable(s) did not become available: {{name: toy version: 1}")
    assert "Could not find SavedModel .pb" in last
    with socket.create_server(("127.0.0.1", port)):
        pass  # the port is free again
