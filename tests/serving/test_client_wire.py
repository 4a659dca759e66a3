"""The client's hand-declared messages against the generated ones: names, numbers and bytes."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    predict_pb2,
)

from serving.client import signatures, wire

PAIRS = {
    "TensorProto": tensor_pb2.TensorProto,
    "SignatureDefMap": get_model_metadata_pb2.SignatureDefMap,
    "ModelSpec": model_pb2.ModelSpec,
    "PredictRequest": predict_pb2.PredictRequest,
    "PredictResponse": predict_pb2.PredictResponse,
    "GetModelMetadataRequest": get_model_metadata_pb2.GetModelMetadataRequest,
    "GetModelMetadataResponse": get_model_metadata_pb2.GetModelMetadataResponse,
    "GetModelStatusRequest": get_model_status_pb2.GetModelStatusRequest,
    "GetModelStatusResponse": get_model_status_pb2.GetModelStatusResponse,
}


def _same(ours, theirs, seen: set[str]) -> None:
    assert ours.full_name == theirs.full_name
    if ours.full_name in seen:
        return
    seen.add(ours.full_name)
    for field in ours.fields:
        real = theirs.fields_by_name[field.name]
        assert field.number == real.number, field.full_name
        assert field.is_repeated == real.is_repeated, field.full_name
        assert getattr(field, "is_packed", None) == getattr(real, "is_packed", None)
        # Enums are declared as int32, which has the same bytes.
        enum = real.type == real.TYPE_ENUM and field.type == field.TYPE_INT32
        assert field.type == real.type or enum, field.full_name
        ours_oneof = field.containing_oneof and field.containing_oneof.name
        assert ours_oneof == (real.containing_oneof and real.containing_oneof.name)
        if field.message_type:
            _same(field.message_type, real.message_type, seen)


@pytest.mark.parametrize("name", PAIRS)
def test_declarations_equal_the_generated_ones(name):
    _same(getattr(wire, name).DESCRIPTOR, PAIRS[name].DESCRIPTOR, set())


ARRAYS = {
    "float": np.array([[1.5, -2.25, np.nan, np.inf]], np.float32),
    "double": np.array([1e-300, 2.0]),
    "half": np.array([0.5, -1.0], np.float16),
    "uint8": np.arange(256, dtype=np.uint8).reshape(2, 128),
    "int8": np.array([-128, 127], np.int8),
    "int64": np.array([-(2**63), 2**63 - 1]),
    "uint64": np.array([2**64 - 1], np.uint64),
    "bool": np.array([True, False]),
    "scalar": np.array(3, np.int32),
    "empty": np.zeros((0, 4), np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_tensor_bytes_equal_both_ways(name):
    array = ARRAYS[name]
    theirs = tf.make_tensor_proto(array)
    ours = wire.to_proto(array)
    back = tf.make_ndarray(tensor_pb2.TensorProto.FromString(ours.SerializeToString()))
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype
    read = wire.to_array(wire.TensorProto.FromString(theirs.SerializeToString()))
    np.testing.assert_array_equal(read, array)
    assert read.dtype == array.dtype
    if theirs.tensor_content:  # single values and booleans are put into typed fields
        same = {"deterministic": True}
        assert theirs.SerializeToString(**same) == ours.SerializeToString(**same)


def test_typed_fields_are_read_with_the_last_value_repeated():
    for dtype, field, values, expected in (
        (tf.uint8, "int_val", [7, 9], [7, 9, 9]),
        (tf.float32, "float_val", [0.5], [0.5, 0.5, 0.5]),
        (tf.int64, "int64_val", [], [0, 0, 0]),
        (tf.half, "half_val", [0x3C00], [1, 1, 1]),
        (tf.string, "string_val", [b"a", b"b"], [b"a", b"b", b"b"]),
    ):
        proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum, **{field: values})
        proto.tensor_shape.dim.add(size=3)
        read = wire.to_array(wire.TensorProto.FromString(proto.SerializeToString()))
        assert read.tolist() == expected
        assert read.tolist() == tf.make_ndarray(proto).tolist()


def test_strings_and_refusals():
    proto = wire.to_proto(np.array([b"\x89PNG", "text"], object))
    assert wire.to_array(proto).tolist() == [b"\x89PNG", b"text"]
    with pytest.raises(TypeError, match="complex"):
        wire.to_proto(np.zeros(2, np.complex64))
    with pytest.raises(ValueError, match="unknown dtype 99"):
        wire.to_array(wire.TensorProto(dtype=99))


def test_requests_have_the_same_bytes():
    def fill(request, make):
        request.model_spec.name = "dcgan"
        request.model_spec.version.value = 3
        request.model_spec.signature_name = "generate"
        request.inputs["latent"].CopyFrom(make(np.ones((2, 5), np.float32)))
        request.output_filter.append("images")
        return request.SerializeToString(deterministic=True)

    ours = fill(wire.PredictRequest(), wire.to_proto)
    theirs = fill(predict_pb2.PredictRequest(), tf.make_tensor_proto)
    assert ours == theirs
    spec = wire.ModelSpec(version_label="stable")
    assert model_pb2.ModelSpec.FromString(spec.SerializeToString()).version_label == "stable"


def test_metadata_of_a_generated_response_is_read():
    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    signature.inputs["z"].name, signature.inputs["z"].dtype = "z:0", 1
    signature.inputs["z"].tensor_shape.dim.add(size=-1)
    signature.outputs["png_bytes"].dtype = 7
    signature.outputs["png_bytes"].tensor_shape.unknown_rank = True
    found = get_model_metadata_pb2.SignatureDefMap()
    found.signature_def["generate"].CopyFrom(signature)
    found.signature_def["__saved_model_init_op"].SetInParent()
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name, response.model_spec.version.value = "g", 4
    response.metadata["signature_def"].Pack(found)
    read = signatures.from_grpc(
        wire.GetModelMetadataResponse.FromString(response.SerializeToString())
    )
    assert (read.name, read.version, list(read.signatures)) == ("g", 4, ["generate"])
    assert read.signatures["generate"].inputs == {"z": signatures.Spec("DT_FLOAT", (-1,))}
    assert read.signatures["generate"].outputs["png_bytes"].shape is None
    assert not read.conditional
