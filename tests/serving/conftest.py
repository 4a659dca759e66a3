"""A toy model with ganpipe's four signatures, and servers that serve it.

The servers a test may get: ours in a process of its own, and the real `tensorflow_model_server`
if TENSORFLOW_MODEL_SERVER names it or it is on PATH.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL_SERVER = os.environ.get("TENSORFLOW_MODEL_SERVER") or shutil.which("tensorflow_model_server")

CLASSES, LATENT, SIZE, CHANNELS = 5, 6, 8, 3


def free_ports(count: int) -> list[int]:
    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind(("127.0.0.1", 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


@dataclasses.dataclass
class Served:
    """A running server: the two addresses, and which server it is."""

    grpc: str
    rest: str
    kind: str
    process: subprocess.Popen | None = None
    lines: list[str] = dataclasses.field(default_factory=list)


def start(arguments: list[str], ports: list[int], program: list[str] | None = None) -> Served:
    """Starts a server process and waits until it says it is ready."""
    program = program or [sys.executable, "-m", "serving.server"]
    process = subprocess.Popen(
        [*program, f"--port={ports[0]}", f"--rest_api_port={ports[1]}", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    kind = "ours" if program[0] == sys.executable else "real"
    served = Served(f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", kind, process)
    ready = threading.Event()
    said = "ready:" if kind == "ours" else "Exporting HTTP/REST API"

    def read() -> None:
        for line in process.stderr:
            served.lines.append(line.rstrip())
            if said in line:
                ready.set()
        ready.set()

    threading.Thread(target=read, daemon=True).start()
    ready.wait(120)
    if process.poll() is not None or not ready.is_set():
        process.kill()
        pytest.fail("the server did not start:\n" + "\n".join(served.lines))
    return served


def stop(served: Served) -> int:
    served.process.terminate()
    try:
        return served.process.wait(20)
    except subprocess.TimeoutExpired:
        served.process.kill()
        raise


def save_toy(path: pathlib.Path, gain: float, conditional: bool = True) -> None:
    """Writes a SavedModel with the four signatures of a ganpipe export; every row stands alone."""
    import tensorflow as tf

    rows = tf.TensorSpec([None], tf.int64, "seed")
    label = {"label": tf.TensorSpec([None], tf.int64, "label")} if conditional else {}
    psi = {"truncation": tf.TensorSpec([None], tf.float32, "truncation")}
    latents = tf.TensorSpec([None, LATENT], tf.float32, "latent")
    pictures = tf.TensorSpec([None, SIZE, SIZE, CHANNELS], tf.float32, "images")

    class Toy(tf.Module):
        def __init__(self):
            super().__init__()
            shape = [LATENT + CLASSES, SIZE * SIZE * CHANNELS]
            self.kernel = tf.Variable(tf.random.stateless_normal(shape, [1, 2]) * gain)

        def images(self, latent, label, truncation):
            limit = tf.constant(CLASSES, tf.int64)
            fits = tf.debugging.Assert(
                tf.reduce_all((label >= -1) & (label < limit)),
                [f"label must be in -1..{CLASSES - 1}, got", label],
            )
            with tf.control_dependencies([fits]):
                ones = tf.one_hot(label, CLASSES)
            features = tf.concat([latent * truncation[:, None], ones], 1)
            flat = tf.map_fn(lambda row: tf.linalg.matvec(self.kernel, row, True), features)
            return tf.reshape(tf.tanh(flat), [-1, SIZE, SIZE, CHANNELS])

        def from_seed(self, seed, label, truncation):
            latent = tf.map_fn(
                lambda s: tf.random.stateless_normal([LATENT], tf.stack([s, 0])),
                seed,
                fn_output_signature=tf.float32,
            )
            drawn = tf.map_fn(
                lambda s: tf.random.stateless_uniform(
                    [], tf.stack([s, 1]), maxval=CLASSES, dtype=tf.int64
                ),
                seed,
                fn_output_signature=tf.int64,
            )
            label = tf.where(label == -1, drawn, label) if conditional else tf.zeros_like(seed)
            images = self.images(latent, label, truncation)
            return tf.cast(tf.round((images + 1.0) * 127.5), tf.uint8)

        @tf.function(input_signature=[rows, *label.values(), *psi.values()])
        def sample(self, seed, *rest):
            return {"images": self.from_seed(seed, rest[0], rest[-1])}

        @tf.function(input_signature=[rows, *label.values(), *psi.values()])
        def png(self, seed, *rest):
            images = self.from_seed(seed, rest[0], rest[-1])
            encoded = tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)
            return {"png_bytes": encoded}

        @tf.function(input_signature=[latents, *label.values(), *psi.values()])
        def generate(self, latent, *rest):
            count = tf.shape(latent, tf.int64)[0]
            labels = rest[0] if conditional else tf.zeros([count], tf.int64)
            return {"images": self.images(latent, labels, rest[-1])}

        @tf.function(input_signature=[pictures, *label.values()])
        def discriminate(self, images, *rest):
            extra = tf.cast(rest[0], tf.float32) if conditional else 0.0
            return {"logits": tf.reduce_mean(images, [1, 2, 3]) + extra}

    toy = Toy()
    tf.saved_model.save(
        toy,
        str(path),
        signatures={
            "serving_default": toy.sample,
            "generate": toy.generate,
            "generate_png": toy.png,
            "discriminate": toy.discriminate,
        },
    )


def predict_request(model="toy", signature="", **inputs):
    """A real PredictRequest; lists become int64 (seed, label) or float32 tensors."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        if not isinstance(value, np.ndarray):
            dtype = np.int64 if name in ("seed", "label") else np.float32
            value = np.array(value, dtype)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def write_warmup(path: pathlib.Path, requests: list) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    file = path / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


@pytest.fixture(scope="session")
def tools():
    """The helpers above (test modules cannot import a conftest)."""
    return sys.modules[__name__]


@pytest.fixture(scope="session")
def exports(tmp_path_factory) -> dict[str, pathlib.Path]:
    """SavedModels to copy from: two versions of the conditional toy, and an unconditional one."""
    base = tmp_path_factory.mktemp("exports")
    save_toy(base / "one", 0.5)
    save_toy(base / "two", 0.9)
    save_toy(base / "plain", 0.7, conditional=False)
    row = {"seed": [1, 2], "label": [0, -1], "truncation": [1, 1]}
    write_warmup(base / "one", [predict_request(**row), predict_request("", "generate_png", **row)])
    return {path.name: path for path in base.iterdir()}


@pytest.fixture(scope="session")
def config_file(exports, tmp_path_factory) -> pathlib.Path:
    """A models.config with `toy` (conditional; versions 1 and 2) and `plain` (unconditional)."""
    base = tmp_path_factory.mktemp("models")
    shutil.copytree(exports["one"], base / "toy" / "1")
    shutil.copytree(exports["two"], base / "toy" / "2")
    shutil.copytree(exports["plain"], base / "plain" / "7")
    path = base / "models.config"
    path.write_text(f"""
        model_config_list {{
          config {{
            name: "toy" base_path: "{base}/toy" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 1 }}
          }}
          config {{ name: "plain" base_path: "{base}/plain" model_platform: "tensorflow" }}
        }}""")
    return path


@pytest.fixture(scope="session", params=["ours", *(["real"] if REAL_SERVER else [])])
def served(request, config_file):
    """A running server of `config_file`; ours, and the real one where there is one."""
    arguments = [
        f"--model_config_file={config_file}",
        "--allow_version_labels_for_unavailable_models=true",
    ]
    program = None if request.param == "ours" else [REAL_SERVER]
    server = start(arguments, free_ports(2), program)
    yield server
    stop(server)


@pytest.fixture(scope="session")
def direct(exports):
    """`direct(name, signature, **inputs)`: the answer of the SavedModel itself, no server."""
    import tensorflow as tf

    loaded = {}

    def call(name: str, signature: str, **inputs) -> dict[str, np.ndarray]:
        if name not in loaded:
            loaded[name] = tf.saved_model.load(str(exports[name]))
        outputs = loaded[name].signatures[signature](
            **{key: tf.constant(value) for key, value in inputs.items()}
        )
        return {key: value.numpy() for key, value in outputs.items()}

    return call


@pytest.fixture(scope="module")
def stubs(served):
    """The generated stubs of PredictionService and ModelService."""
    import grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(served.grpc, options=options) as channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )


@pytest.fixture(scope="module")
def rest(served):
    """`rest(path, body)`: (HTTP status, parsed JSON or raw bytes)."""

    def call(path: str, body=None, method=None, headers=None):
        if isinstance(body, dict | list):
            body = json.dumps(body)
        data = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(
            served.rest + path, data, headers or {}, method=method or ("POST" if data else "GET")
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, kind, text = response.status, response.headers, response.read()
        except urllib.error.HTTPError as error:
            status, kind, text = error.code, error.headers, error.read()
        if kind.get_content_type() != "application/json":
            return status, text
        return status, json.loads(text) if text else None

    return call


@pytest.fixture
def fails(stubs):
    """`fails(request, code, *texts)`: Predict answers this code with these texts, and lives on."""

    import grpc

    def check(request, code: str, *texts: str, call=None) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            (call or stubs[0].Predict)(request, timeout=30)
        assert caught.value.code().name == code, caught.value.details()
        for text in texts:
            assert text in caught.value.details()

    return check
