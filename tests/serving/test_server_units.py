"""Parts of the server alone: error texts, configuration, JSON numbers, encodings, batching."""

import concurrent.futures
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.command import UsageError
from serving.server import batching, config, errors, json_tensors, predict, tensors
from serving.server.errors import ServingError
from serving.server.servable import Servable
from serving.server.signature import Field, Signature

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "serving" / "config"


def _field(dtype, name="x", shape=(None,)) -> Field:
    return Field(name, f"{name}:0", dtype, shape)


def test_tensorflow_errors_become_one_sentence():
    text = (
        "Graph execution error:\n\nDetected at node a/Assert defined at (most recent call last):\n"
        '  File "/x/y.py", line 3, in run\n\n<stack traces unavailable>\n'
        "assertion failed: [label must be in -1..4, got] [1 12]\n"
        "\t [[{{node a/Assert}}]] [Op:__inference_call_7]"
    )
    assert errors.clean_message(text) == "assertion failed: label must be in -1..4, got 1 12"
    assert errors.clean_message("") == "the model failed without a message"
    long = ServingError("INTERNAL", "x" * 2000)
    assert long.grpc_text == "x" * 1024 + "...TRUNCATED"
    assert set(errors.HTTP_STATUS) == set(errors.CODES)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('name: "m" base_path: "m" model_platform: "tensorflow"', "absolute path"),
        ('name: "m" base_path: "/m"', 'model_platform is ""'),
        ('base_path: "/m" model_platform: "tensorflow"', "no name"),
        (
            'name: "m" base_path: "/m" model_platform: "tensorflow" '
            "model_version_policy { specific {} }",
            "lists no versions",
        ),
        ('name: "m" version_policy { }', "version_policy"),
    ],
)
def test_wrong_model_configs_are_refused(tmp_path, text, found):
    path = tmp_path / "models.config"
    path.write_text(f"model_config_list {{ config {{ {text} }} }}")
    with pytest.raises(ServingError, match=r"models\.config") as caught:
        config.read(str(path))
    assert found in caught.value.message


def test_more_wrong_model_configs(tmp_path):
    path = tmp_path / "models.config"
    with pytest.raises(ServingError, match="cannot read"):
        config.read(str(path))
    path.write_text("")
    with pytest.raises(ServingError, match="expected model_config_list"):
        config.read(str(path))
    one = 'config { name: "m" base_path: "/m" model_platform: "tensorflow" }'
    path.write_text(f"model_config_list {{ {one} {one} }}")
    with pytest.raises(ServingError, match="Illegal to list model m multiple times"):
        config.read(str(path))


def test_shipped_configs_parse():
    text = (CONFIG / "models.config").read_text()
    proto = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert proto.model_config_list.config[0].base_path.startswith("/models/")
    assert [model.policy for model in config.from_proto(proto)] == ["latest"]
    parameters = batching.read(str(CONFIG / "batching.config"))
    assert parameters.allowed_batch_sizes[-1] == parameters.max_batch_size == 64
    assert parameters.batch_timeout_micros == 2000
    monitoring = (CONFIG / "monitoring.config").read_text()
    assert 'path: "/monitoring/prometheus/metrics"' in monitoring


def test_docker_compose_file():
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((CONFIG / "docker-compose.yml").read_text())
    service = compose["services"]["tensorflow-serving"]
    assert "healthcheck" not in service  # the image has no curl
    assert any(volume.endswith(":/models:ro") for volume in service["volumes"])
    mounted = {
        argument.partition("=")[2] for argument in service["command"] if "/config/" in argument
    }
    for path in mounted:
        assert (CONFIG / pathlib.PurePosixPath(path).name).is_file()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("max_batch_size: 32", "BatchingParameters"),
        ("max_batch_size { value: 0 }", "max_batch_size is 0"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4]", "allowed_batch_sizes"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 4, 8]", "allowed_batch_sizes"),
        ("pad_variable_length_inputs: true", "pad_variable_length_inputs"),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 9 }",
            "max_execution_batch_size",
        ),
    ],
)
def test_wrong_batching_parameters_are_refused(tmp_path, text, found):
    path = tmp_path / "batching.config"
    path.write_text(text)
    with pytest.raises(UsageError, match=found):
        batching.read(str(path))


def test_json_floats_are_the_shortest_that_round_trip():
    values = np.array([0.1, 1 / 3, 1.0, -0.0, 1e-30, 3e38, 16777217], np.float32)
    text = json.dumps(json_tensors.to_json(values, _field(tf.float32)))
    assert text == "[0.1, 0.33333334, 1.0, -0.0, 1e-30, 3e+38, 16777216.0]"
    special = np.array([np.nan, np.inf, -np.inf], np.float32)
    text = json.dumps(json_tensors.to_json(special, _field(tf.float32)))
    assert text == "[NaN, Infinity, -Infinity]"
    random = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint32).view(np.float32)
    random = random[np.isfinite(random)]
    back = np.array(json_tensors.to_json(random, _field(tf.float32)), np.float32)
    np.testing.assert_array_equal(back, random)


def test_bytes_in_json():
    items = np.array([b"\x89PNG", b"a"], object)
    encoded = json_tensors.to_json(items, _field(tf.string, "png_bytes"))
    assert encoded == [{"b64": "iVBORw=="}, {"b64": "YQ=="}]
    assert json_tensors.to_json(items[1:], _field(tf.string, "text")) == ["a"]
    with pytest.raises(ServingError, match="_bytes"):
        json_tensors.to_json(items, _field(tf.string, "png"))
    read = json_tensors.to_array(["é", {"b64": "iVBORw=="}], _field(tf.string))
    assert read.tolist() == ["é".encode(), b"\x89PNG"]
    for wrong in ({"b64": "*"}, {"b64": 5}, {"b64": "YQ==", "x": 1}, 5):
        with pytest.raises(ServingError) as caught:
            json_tensors.to_array([wrong], _field(tf.string))
        assert caught.value.code == "INVALID_ARGUMENT"


def test_dtypes_json_does_not_have():
    for dtype in (tf.half, tf.bfloat16, tf.complex64):
        with pytest.raises(ServingError) as caught:
            json_tensors.to_array([1], _field(dtype))
        assert caught.value.http_status == 501
        with pytest.raises(ServingError) as caught:
            json_tensors.to_json(np.ones(1), _field(dtype))
        assert caught.value.http_status == 400


def test_one_input_needs_no_name_and_several_outputs_get_theirs():
    signature = Signature(
        "s", {"x": _field(tf.float32)}, {"a": _field(tf.int32, "a"), "b": _field(tf.int32, "b")}
    )
    for request in (
        {"instances": [1, 2]},
        {"instances": [{"x": 1}, {"x": 2}]},
        {"inputs": [1, 2]},
        {"inputs": {"x": [1, 2]}},
    ):
        assert json_tensors.decode_inputs(request, signature)["x"].tolist() == [1.0, 2.0]
    outputs = {"a": np.array([1, 2]), "b": np.array([3, 4])}
    row = json.loads(json_tensors.response_text(outputs, signature, True))
    assert row == {"predictions": [{"a": 1, "b": 3}, {"a": 2, "b": 4}]}
    column = json.loads(json_tensors.response_text(outputs, signature, False))
    assert column == {"outputs": {"a": [1, 2], "b": [3, 4]}}
    for wrong in ({**outputs, "a": np.array(1)}, {**outputs, "a": np.array([1])}):
        with pytest.raises(ServingError):
            json_tensors.response_text(wrong, signature, True)


def test_inputs_with_defaults_may_be_left_out():
    default = Field("psi", "psi:0", tf.float32, (None,), np.ones(1, np.float32))
    signature = Signature("s", {"x": _field(tf.float32), "psi": default}, {})
    signature.check_names(["x"])
    for request in ({"instances": [{"x": 1}]}, {"inputs": {"x": [1]}}):
        assert set(json_tensors.decode_inputs(request, signature)) == {"x"}
    with pytest.raises(ServingError, match="which the rows before it lack"):
        json_tensors.decode_inputs({"instances": [{"x": 1}, {"x": 1, "psi": 2}]}, signature)


@pytest.mark.parametrize("as_content", [True, False])
def test_answers_in_both_encodings_decode_alike(as_content):
    for dtype in (tf.uint8, tf.float32, tf.int64, tf.bool, tf.half, tf.uint64, tf.double):
        array = np.array([[0, 1], [1, 1]], dtype.as_numpy_dtype)
        proto = tensors.encode(array, dtype, as_content)
        assert bool(proto.tensor_content) == (as_content or dtype == tf.half)
        back = tf.make_ndarray(proto)
        np.testing.assert_array_equal(back, array)
        assert back.dtype == array.dtype
    words = np.array([b"a", b"\xff"], object)
    assert tf.make_ndarray(tensors.encode(words, tf.string, as_content)).tolist() == [*words]


def test_batching_joins_requests_and_changes_no_row(exports, tools, direct):
    parameters = batching.BatchingParameters(
        max_batch_size=16,
        batch_timeout_micros=100_000,
        num_batch_threads=2,
        allowed_batch_sizes=(4, 16),
    )
    servable = Servable(exports["two"], batching=parameters)

    def ask(row: int):
        signature = "generate_png" if row % 2 else ""
        request = tools.predict_request(
            signature=signature, seed=[row], label=[row % 5], truncation=[1.0]
        )
        return predict.run(servable, request).outputs

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    rows = np.arange(8)
    inputs = {"seed": rows, "label": rows % 5, "truncation": np.ones(8, np.float32)}
    expected = direct("two", "serving_default", **inputs)["images"]
    for row, outputs in enumerate(answers):
        if row % 2:  # two signatures in flight at once: each has a queue of its own
            image = tf.io.decode_png(outputs["png_bytes"].string_val[0]).numpy()
        else:
            image = tf.make_ndarray(outputs["images"])[0]
        np.testing.assert_array_equal(image, expected[row])
    many = {"seed": [1] * 17, "label": [0] * 17, "truncation": [1.0] * 17}
    with pytest.raises(
        ServingError, match=r"Task size 17 is larger than .* batch size 16"
    ) as caught:
        predict.run(servable, tools.predict_request(**many))
    assert caught.value.code == "INVALID_ARGUMENT"


def test_concurrent_requests_run_as_one_batch(tmp_path):
    class Counter(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "seed")])
        def call(self, seed):
            return {"rows": tf.fill(tf.shape(seed), tf.shape(seed)[0])}

    counter = Counter()
    tf.saved_model.save(counter, str(tmp_path), signatures=counter.call)
    parameters = batching.BatchingParameters(
        max_batch_size=4, batch_timeout_micros=2_000_000, num_batch_threads=1
    )
    servable = Servable(tmp_path, batching=parameters)
    signature = servable.signature("serving_default")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(servable.predict, signature, {"seed": np.array([i])}) for i in range(4)
        ]
        # A full batch runs at once, long before the time is up.
        assert [call.result()["rows"].tolist() for call in calls] == [[4]] * 4


def test_large_requests_can_be_split(exports, tools, direct):
    parameters = batching.BatchingParameters(
        max_batch_size=16, enable_large_batch_splitting=True, max_execution_batch_size=3
    )
    servable = Servable(exports["two"], batching=parameters)
    rows = np.arange(10)
    inputs = {"seed": rows, "label": rows % 5, "truncation": np.ones(10, np.float32)}
    answer = predict.run(servable, tools.predict_request(**inputs))
    np.testing.assert_array_equal(
        tf.make_ndarray(answer.outputs["images"]),
        direct("two", "serving_default", **inputs)["images"],
    )
