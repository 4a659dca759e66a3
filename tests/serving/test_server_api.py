"""Both APIs of a running server: answers, the error table, and life after malformed requests."""

import base64

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    predict_pb2,
)

ROWS = {"seed": [1, 2, 3], "label": [0, 4, -1], "truncation": [1.0, 0.5, 0.0]}


def test_images_are_the_same_from_every_way_in(stubs, rest, direct, tools):
    inputs = {
        name: np.array(values, np.float32 if name == "truncation" else np.int64)
        for name, values in ROWS.items()
    }
    expected = direct("two", "serving_default", **inputs)["images"]
    assert expected.dtype == np.uint8 and expected.std() > 20

    answer = stubs[0].Predict(tools.predict_request(**ROWS), timeout=30)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["images"]), expected)
    assert answer.model_spec.name == "toy"
    assert answer.model_spec.version.value == 2
    assert answer.model_spec.WhichOneof("version_choice") == "version"
    assert answer.model_spec.signature_name == "serving_default"

    status, column = rest("/v1/models/toy:predict", {"inputs": ROWS})
    assert status == 200
    np.testing.assert_array_equal(np.array(column["outputs"], np.uint8), expected)
    instances = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    _, row = rest("/v1/models/toy:predict", {"instances": instances})
    np.testing.assert_array_equal(np.array(row["predictions"], np.uint8), expected)

    _, png = rest("/v1/models/toy:predict", {"inputs": ROWS, "signature_name": "generate_png"})
    decoded = [tf.io.decode_png(base64.b64decode(item["b64"])).numpy() for item in png["outputs"]]
    np.testing.assert_array_equal(decoded, expected)

    # A row does not depend on its neighbours.
    alone = stubs[0].Predict(
        tools.predict_request(seed=[3], label=[-1], truncation=[0.0]), timeout=30
    )
    np.testing.assert_array_equal(tf.make_ndarray(alone.outputs["images"])[0], expected[2])


def test_floats_survive_json_exactly(rest, direct):
    latent = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
    inputs = {"latent": latent, "label": np.array([1, 2]), "truncation": np.ones(2, np.float32)}
    expected = direct("two", "generate", **inputs)["images"]
    body = {name: value.tolist() for name, value in inputs.items()}
    _, answer = rest("/v1/models/toy:predict", {"inputs": body, "signature_name": "generate"})
    np.testing.assert_array_equal(np.array(answer["outputs"], np.float32), expected)


def test_bare_words_nan_and_infinity_both_ways(rest):
    for word, check in (("NaN", np.isnan), ("Infinity", np.isposinf), ("-Infinity", np.isneginf)):
        pixels = "[" + ",".join(["[" + ",".join([f"[{word},0,0]"] * 8) + "]"] * 8) + "]"
        body = f'{{"inputs":{{"images":[{pixels}],"label":[0]}},"signature_name":"discriminate"}}'
        status, answer = rest("/v1/models/toy:predict", body)
        assert status == 200
        assert check(answer["outputs"][0])


def test_versions_and_labels_can_be_chosen(stubs, rest, direct, tools):
    one = direct(
        "one",
        "serving_default",
        **{"seed": np.array([5]), "label": np.array([1]), "truncation": np.ones(1, np.float32)},
    )["images"]
    inputs = {"seed": [5], "label": [1], "truncation": [1.0]}
    request = tools.predict_request(**inputs)
    request.model_spec.version.value = 1
    answer = stubs[0].Predict(request, timeout=30)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["images"]), one)
    request.model_spec.version_label = "stable"
    answer = stubs[0].Predict(request, timeout=30)
    np.testing.assert_array_equal(tf.make_ndarray(answer.outputs["images"]), one)
    assert answer.model_spec.WhichOneof("version_choice") == "version"
    for path in ("versions/1", "labels/stable"):
        _, found = rest(f"/v1/models/toy/{path}:predict", {"inputs": inputs})
        np.testing.assert_array_equal(found["outputs"], one)
    _, found = rest("/V1/Models/%74oy/VERSIONS/1:PREDICT", {"inputs": inputs})
    np.testing.assert_array_equal(found["outputs"], one)


def test_output_filter(stubs, fails, tools):
    request = tools.predict_request(**ROWS)
    request.output_filter.append("images")
    assert list(stubs[0].Predict(request, timeout=30).outputs) == ["images"]
    request.output_filter.append("images")
    fails(request, "INVALID_ARGUMENT", "duplicate output tensor alias: images")
    request.output_filter[:] = ["nope"]
    fails(request, "INVALID_ARGUMENT", "output tensor alias not found in signature: nope")


def test_status(stubs, rest, fails):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "toy"
    found = stubs[1].GetModelStatus(request, timeout=30).model_version_status
    assert sorted((entry.version, entry.state) for entry in found) == [(1, 30), (2, 30)]
    # Equal to the example in the fact sheet, key by key.
    entry = {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert rest("/v1/models/toy/versions/1") == (200, {"model_version_status": [entry]})
    assert len(rest("/v1/models/toy")[1]["model_version_status"]) == 2
    # The label is not looked at.
    assert len(rest("/v1/models/toy/labels/stable")[1]["model_version_status"]) == 2
    status = stubs[1].GetModelStatus
    request.model_spec.version.value = 9
    fails(request, "NOT_FOUND", "Could not find version 9 of model toy", call=status)
    request.model_spec.name = "nope"
    request.model_spec.ClearField("version")
    fails(request, "NOT_FOUND", "Could not find any versions of model nope", call=status)
    request.Clear()
    fails(request, "INVALID_ARGUMENT", "Missing ModelSpec", call=status)


def test_metadata(stubs, rest, fails):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "toy"
    ask = stubs[0].GetModelMetadata
    fails(request, "INVALID_ARGUMENT", "at least one metadata_field", call=ask)
    request.metadata_field.append("weights")
    fails(request, "INVALID_ARGUMENT", "Metadata field weights is not supported", call=ask)
    request.metadata_field[:] = ["signature_def"]
    answer = ask(request, timeout=30)
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("toy", 2)
    assert answer.model_spec.signature_name == ""
    found = get_model_metadata_pb2.SignatureDefMap()
    packed = answer.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    assert packed.Unpack(found)
    assert {"serving_default", "generate", "generate_png", "discriminate"} < set(
        found.signature_def
    )

    status, plain = rest("/v1/models/toy/metadata")
    assert status == 200
    assert plain["model_spec"] == {"name": "toy", "signature_name": "", "version": "2"}
    generate = plain["metadata"]["signature_def"]["signature_def"]["generate"]
    tensor = found.signature_def["generate"].inputs["latent"].name
    assert generate["inputs"]["latent"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}, {"size": "6", "name": ""}],
            "unknown_rank": False,
        },
        "name": tensor,
    }
    assert generate["method_name"] == "tensorflow/serving/predict"
    assert generate["defaults"] == {}
    assert list(plain["metadata"]["signature_def"]) == ["signature_def"]


def test_model_choice_errors(fails, tools):
    fails(predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec")
    fails(tools.predict_request(""), "INVALID_ARGUMENT", "ModelSpec has no name specified.")
    fails(
        tools.predict_request("nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"
    )
    request = tools.predict_request(**ROWS)
    request.model_spec.version.value = 7
    fails(request, "NOT_FOUND", "Servable not found for request: Specific(toy, 7)")
    request.model_spec.version.SetInParent()
    request.model_spec.version.Clear()  # present and zero: version 0, not "newest"
    fails(request, "NOT_FOUND", "Specific(toy, 0)")
    request.model_spec.version_label = "beta"
    fails(request, "INVALID_ARGUMENT", "Unrecognized servable version label: beta")
    request = tools.predict_request(signature="nope", **ROWS)
    fails(request, "FAILED_PRECONDITION", 'Serving signature key "nope" not found.')
    request = tools.predict_request(signature="__saved_model_init_op")
    fails(request, "FAILED_PRECONDITION", "not found")


def test_wrong_names_and_dtypes(fails, tools):
    row = {"seed": [1], "label": [0], "truncation": [1.0]}
    request = tools.predict_request(seed=[1], label=[0])
    fails(request, "INVALID_ARGUMENT", "input size does not match signature: 2!=3", "truncation")
    request = tools.predict_request(**row, extra=[1.0])
    fails(request, "INVALID_ARGUMENT", "input size does not match signature: 4!=3", "extra")
    request = tools.predict_request(seed=[1], label=[0], psi=[1.0])
    fails(request, "INVALID_ARGUMENT", "Signature input alias: truncation(feed name: ", "psi")
    request = tools.predict_request(**{**row, "truncation": np.ones(1)})
    fails(request, "INVALID_ARGUMENT", "to be float but double is provided")


def test_graph_errors_are_the_callers(fails, rest, tools):
    request = tools.predict_request(seed=[1], label=[12], truncation=[1.0])
    fails(request, "INVALID_ARGUMENT", "label must be in -1..4, got", "12")
    body = {"inputs": {"seed": [1], "label": [-2], "truncation": [1.0]}}
    status, answer = rest("/v1/models/toy:predict", body)
    assert status == 400
    assert "label must be in -1..4, got" in answer["error"]


def test_shapes_are_checked_before_the_model_runs(served, fails, rest, tools):
    if served.kind != "ours":
        pytest.skip("TensorFlow Serving leaves shapes to the ops")
    row = {"seed": [1], "label": [0], "truncation": [1.0]}
    named = {
        'input "seed" has shape [1,1], expected [-1]': {**row, "seed": [[1]]},
        'input "label" has shape [], expected [-1]': {**row, "label": 3},
        'input "label" has 0 rows': {"seed": [], "label": [], "truncation": []},
        '"label" has 2, "seed" has 1': {**row, "label": [0, 1]},
        "at most 1024 are served": {k: v * 1025 for k, v in row.items()},
    }
    for text, inputs in named.items():
        fails(tools.predict_request(**inputs), "INVALID_ARGUMENT", text)
        status, answer = rest("/v1/models/toy:predict", {"inputs": inputs})
        assert status == 400 and text in answer["error"]
    latent = np.zeros((1, 7), np.float32)
    request = tools.predict_request(signature="generate", latent=latent, label=[0], truncation=[1])
    fails(request, "INVALID_ARGUMENT", 'input "latent" has shape [1,7], expected [-1,6]')
    request = tools.predict_request(**row)
    request.inputs["seed"].dtype = tf.float32.as_datatype_enum
    fails(request, "INVALID_ARGUMENT", 'to be int64 but float is provided (input "seed")')


def test_undecodable_tensors(served, fails, tools):
    row = {"seed": [1, 2], "label": [0, 0], "truncation": [1.0, 1.0]}

    def broken(**fields):
        request = tools.predict_request(**row)
        proto = tensor_pb2.TensorProto(**{"dtype": tf.int64.as_datatype_enum, **fields})
        if "tensor_shape" not in fields:
            proto.tensor_shape.dim.add(size=2)
        request.inputs["seed"].CopyFrom(proto)
        return request

    fails(broken(tensor_content=b"12345"), "INVALID_ARGUMENT", "tensor parsing error: seed")
    if served.kind != "ours":
        return
    fails(broken(dtype=999), "INVALID_ARGUMENT", "tensor parsing error: seed")
    huge = {"dim": [{"size": 2**40}]}  # a few bytes that claim eight terabytes
    request = broken(tensor_shape=huge, int64_val=[1])
    fails(request, "INVALID_ARGUMENT", "tensor parsing error: seed", "2 GiB")
    request = broken(tensor_shape={"dim": [{"size": -1}]})
    fails(request, "INVALID_ARGUMENT", "tensor parsing error: seed", "not fully known")
    request = broken(tensor_shape={"unknown_rank": True})
    fails(request, "INVALID_ARGUMENT", "tensor parsing error: seed")


def test_both_tensor_encodings_are_understood(stubs, tools):
    request = tools.predict_request(**ROWS)
    expected = tf.make_ndarray(stubs[0].Predict(request, timeout=30).outputs["images"])
    for name, field in (("seed", "int64_val"), ("label", "int64_val"), ("truncation", "float_val")):
        proto = request.inputs[name]
        proto.ClearField("tensor_content")
        getattr(proto, field)[:] = ROWS[name]
    typed = stubs[0].Predict(request, timeout=30).outputs["images"]
    np.testing.assert_array_equal(tf.make_ndarray(typed), expected)
    # A short list repeats its last value.
    request.inputs["seed"].int64_val[:] = [1]
    repeated = tf.make_ndarray(stubs[0].Predict(request, timeout=30).outputs["images"])
    np.testing.assert_array_equal(repeated[0], expected[0])


def test_messages_over_four_mebibytes_pass(stubs, tools):
    images = np.zeros((1024, 8, 8, 3), np.float32)
    padded = tools.predict_request(
        signature="discriminate", images=images, label=np.zeros(len(images), np.int64)
    )
    # Unknown to the server, but received: makes the message exceed gRPC's default of 4 MiB.
    padded.client_id = b"x" * (5 << 20)
    answer = stubs[0].Predict(padded, timeout=30)
    assert tf.make_ndarray(answer.outputs["logits"]).shape == (1024,)


def test_unimplemented_methods(served, stubs, fails, rest):
    if served.kind != "ours":
        pytest.skip("TensorFlow Serving has them")
    request = classification_pb2.ClassificationRequest()
    fails(request, "UNIMPLEMENTED", "Method not implemented!", call=stubs[0].Classify)
    status, answer = rest("/v1/models/toy:classify", {"examples": []})
    assert status == 501 and "classify" in answer["error"]


def test_reload_is_refused_without_a_list(stubs, fails):
    request = model_management_pb2.ReloadConfigRequest()
    fails(request, "INVALID_ARGUMENT", call=stubs[1].HandleReloadConfigRequest)


def test_the_server_lives_on(stubs, tools):
    assert len(stubs[0].Predict(tools.predict_request(**ROWS), timeout=30).outputs) == 1
