"""The server inside this process: the shipped configuration, re-reading it, timeouts, CORS."""

import json
import pathlib
import shutil
import socket
import time
import urllib.error
import urllib.request

import pytest

from serving.client import Client
from serving.command import UsageError
from serving.server import config
from serving.server.app import ModelServer, ServerOptions
from serving.server.config import ModelConfig
from serving.server.errors import ServingError
from serving.server.manager import LoadOptions, Manager
from serving.server.rest_api import RestApi, RestServer

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "serving" / "config"


def test_shipped_models_config_starts_our_server_and_is_followed(exports, tmp_path, tools):
    text = (CONFIG / "models.config").read_text().replace('"/models/', f'"{tmp_path}/')
    file = tmp_path / "models.config"
    file.write_text(text)
    models = config.read(str(file))
    shutil.copytree(exports["one"], pathlib.Path(models[0].base_path) / "1")
    shutil.copytree(exports["plain"], tmp_path / "plain" / "4")
    grpc_port, rest_port = tools.free_ports(2)
    options = ServerOptions(
        port=grpc_port,
        rest_api_port=rest_port,
        config_file=str(file),
        config_poll_seconds=0.05,
        as_content=False,  # typed fields, the real server's default
        load=LoadOptions(poll_seconds=0.05, max_retries=0),
    )
    address = f"localhost:{grpc_port}"
    with ModelServer(models, options), Client(address, models[0].name) as client:
        assert client.sample([1, 2]).shape == (2, 8, 8, 3)
        # A broken file changes nothing; a good one is applied without a restart.
        file.write_text("model_config_list [")
        time.sleep(0.2)
        assert client.status()[0]["state"] == "AVAILABLE"
        file.write_text(
            f'model_config_list {{ config {{ name: "other" base_path: "{tmp_path}/plain" '
            'model_platform: "tensorflow" } }'
        )
        deadline = time.monotonic() + 30
        while client.status()[0]["state"] != "END" and time.monotonic() < deadline:
            time.sleep(0.05)
        with Client(rest=f"http://localhost:{rest_port}", model_name="other") as other:
            other.wait(10)
            assert other.sample([1]).shape == (1, 8, 8, 3)
    for port in (grpc_port, rest_port):
        with socket.socket() as caller:
            assert caller.connect_ex(("127.0.0.1", port)) != 0


def test_a_server_that_cannot_start_gives_its_ports_back(exports, tmp_path, tools):
    grpc_port, rest_port = tools.free_ports(2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        options = ServerOptions(port=grpc_port, rest_api_port=taken.getsockname()[1])
        with pytest.raises(UsageError, match="--rest_api_port"):
            ModelServer([ModelConfig("toy", str(tmp_path))], options)
    (tmp_path / "1").mkdir()
    options = ServerOptions(
        port=grpc_port, rest_api_port=rest_port, load=LoadOptions(max_retries=0)
    )
    broken = ModelServer([ModelConfig("toy", str(tmp_path))], options)
    with pytest.raises(ServingError, match="did not become available"), broken:
        pass
    for port in (grpc_port, rest_port):
        socket.create_server(("127.0.0.1", port)).close()


class _Slow(RestApi):
    def answer(self, method: str, path: str, body: bytes) -> str:
        if path.endswith("slow"):
            time.sleep(0.5)
        if path.endswith("bug"):
            raise KeyError("a bug of ours")
        return "{}"


def test_rest_timeouts_bugs_and_cors(tools):
    port = tools.free_ports(1)[0]
    server = RestServer(
        _Slow(Manager([]), timeout=0.1, cors=True), socket.create_server(("127.0.0.1", port))
    )
    server.start()

    def call(path: str, method: str = "GET", **headers):
        url = f"http://127.0.0.1:{port}{path}"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, method=method, headers=headers), timeout=10
            ) as response:
                return response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read()

    try:
        status, headers, text = call("/v1/slow")
        assert status == 504 and "rest_api_timeout_in_ms" in json.loads(text)["error"]
        assert headers["Access-Control-Allow-Origin"] == "*"
        status, _, text = call("/v1/bug")
        assert status == 500 and "a bug of ours" not in text.decode()
        assert call("/v1/models/m", "OPTIONS", Origin="https://example.org")[0] == 200
        assert call("/v1/models/m", "OPTIONS", Origin="file://x")[0] == 400
        assert call("/v1/fine")[0] == 200
    finally:
        server.stop()
