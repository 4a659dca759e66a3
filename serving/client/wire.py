"""The few TensorFlow Serving messages a client needs, built in code.

The generated modules live in the tensorflow-serving-api package, whose import pulls in the whole
of TensorFlow. Here the same messages (names, fields, numbers) are declared by a table, in a
descriptor pool of their own: they never clash with the generated ones when both are in a process.
Fields left out are skipped when received, as protocol buffers do. `tests/serving/
test_client_wire.py` compares the bytes with the generated classes, both ways.

Enums are declared as int32: the bytes are the same, and the names of the few values needed are
`DTYPES` and `STATES`.
"""

import re

import numpy as np
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

# One message a paragraph: its full name, then `type name = number`. `repeated`, `map<K, V>` and
# `oneof(NAME)` mean what they mean in a .proto file.
_TABLE = """
tensorflow.TensorShapeProto.Dim
  int64 size = 1
  string name = 2

tensorflow.TensorShapeProto
  repeated tensorflow.TensorShapeProto.Dim dim = 2
  bool unknown_rank = 3

tensorflow.TensorProto
  int32 dtype = 1
  tensorflow.TensorShapeProto tensor_shape = 2
  bytes tensor_content = 4
  repeated float float_val = 5
  repeated double double_val = 6
  repeated int32 int_val = 7
  repeated bytes string_val = 8
  repeated int64 int64_val = 10
  repeated bool bool_val = 11
  repeated int32 half_val = 13
  repeated uint32 uint32_val = 16
  repeated uint64 uint64_val = 17

tensorflow.TensorInfo
  oneof(encoding) string name = 1
  int32 dtype = 2
  tensorflow.TensorShapeProto tensor_shape = 3

tensorflow.SignatureDef
  map<string, tensorflow.TensorInfo> inputs = 1
  map<string, tensorflow.TensorInfo> outputs = 2
  string method_name = 3

tensorflow.serving.SignatureDefMap
  map<string, tensorflow.SignatureDef> signature_def = 1

tensorflow.serving.ModelSpec
  string name = 1
  oneof(version_choice) google.protobuf.Int64Value version = 2
  oneof(version_choice) string version_label = 4
  string signature_name = 3

tensorflow.serving.PredictRequest
  tensorflow.serving.ModelSpec model_spec = 1
  map<string, tensorflow.TensorProto> inputs = 2
  repeated string output_filter = 3

tensorflow.serving.PredictResponse
  map<string, tensorflow.TensorProto> outputs = 1
  tensorflow.serving.ModelSpec model_spec = 2

tensorflow.serving.GetModelMetadataRequest
  tensorflow.serving.ModelSpec model_spec = 1
  repeated string metadata_field = 2

tensorflow.serving.GetModelMetadataResponse
  tensorflow.serving.ModelSpec model_spec = 1
  map<string, google.protobuf.Any> metadata = 2

tensorflow.serving.StatusProto
  int32 error_code = 1
  string error_message = 2

tensorflow.serving.ModelVersionStatus
  int64 version = 1
  int32 state = 2
  tensorflow.serving.StatusProto status = 3

tensorflow.serving.GetModelStatusRequest
  tensorflow.serving.ModelSpec model_spec = 1

tensorflow.serving.GetModelStatusResponse
  repeated tensorflow.serving.ModelVersionStatus model_version_status = 1
"""

_PACKAGES = ("tensorflow.serving", "tensorflow")
_KIND = descriptor_pb2.FieldDescriptorProto
_LINE = re.compile(r"(repeated |oneof\((\w+)\) )?(map<(\w+), ([\w.]+)>|[\w.]+) (\w+) = (\d+)")


def _fill(message: descriptor_pb2.DescriptorProto, full_name: str, lines: list[str]) -> None:
    oneofs: list[str] = []
    for line in lines:
        prefix, oneof, kind, key, value, name, number = _LINE.fullmatch(line.strip()).groups()
        field = message.field.add(name=name, number=int(number), label=_KIND.LABEL_OPTIONAL)
        if key:
            entry_name = "".join(part.capitalize() for part in name.split("_")) + "Entry"
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            _fill(entry, f"{full_name}.{entry_name}", [f"{key} key = 1", f"{value} value = 2"])
            field.label = _KIND.LABEL_REPEATED
            kind = f"{full_name}.{entry_name}"
        elif prefix == "repeated ":
            field.label = _KIND.LABEL_REPEATED
        if oneof:
            if oneof not in oneofs:
                oneofs.append(oneof)
                message.oneof_decl.add(name=oneof)
            field.oneof_index = oneofs.index(oneof)
        if "." in kind:
            field.type = _KIND.TYPE_MESSAGE
            field.type_name = "." + kind
        else:
            field.type = getattr(_KIND, f"TYPE_{kind.upper()}")


def _build() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for well_known in (any_pb2, wrappers_pb2):
        pool.AddSerializedFile(well_known.DESCRIPTOR.serialized_pb)
    files = {
        package: descriptor_pb2.FileDescriptorProto(
            name=f"ganpipe/client/{package}.proto", package=package, syntax="proto3"
        )
        for package in reversed(_PACKAGES)
    }
    files["tensorflow.serving"].dependency.extend(
        [files["tensorflow"].name, any_pb2.DESCRIPTOR.name, wrappers_pb2.DESCRIPTOR.name]
    )
    built: dict[str, descriptor_pb2.DescriptorProto] = {}
    paragraphs = [text.splitlines() for text in _TABLE.strip().split("\n\n")]
    # A parent before what is nested in it.
    for full_name, *lines in sorted(paragraphs, key=lambda p: p[0].count(".")):
        package = next(p for p in _PACKAGES if full_name.startswith(p + "."))
        outer, _, name = full_name.rpartition(".")
        if outer == package:
            message = files[package].message_type.add(name=name)
        else:
            message = built[outer].nested_type.add(name=name)
        built[full_name] = message
        _fill(message, full_name, lines)
    for file in files.values():
        pool.Add(file)
    return pool


_POOL = _build()


def _class(name: str):
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))


TensorProto = _class("tensorflow.TensorProto")
SignatureDefMap = _class("tensorflow.serving.SignatureDefMap")
ModelSpec = _class("tensorflow.serving.ModelSpec")
PredictRequest = _class("tensorflow.serving.PredictRequest")
PredictResponse = _class("tensorflow.serving.PredictResponse")
GetModelMetadataRequest = _class("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = _class("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest = _class("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = _class("tensorflow.serving.GetModelStatusResponse")

# tensorflow.DataType number -> (its name, NumPy dtype, typed field). Little-endian, as on the wire.
DTYPES: dict[int, tuple[str, np.dtype, str]] = {
    1: ("DT_FLOAT", np.dtype("<f4"), "float_val"),
    2: ("DT_DOUBLE", np.dtype("<f8"), "double_val"),
    3: ("DT_INT32", np.dtype("<i4"), "int_val"),
    4: ("DT_UINT8", np.dtype("u1"), "int_val"),
    5: ("DT_INT16", np.dtype("<i2"), "int_val"),
    6: ("DT_INT8", np.dtype("i1"), "int_val"),
    7: ("DT_STRING", np.dtype(object), "string_val"),
    9: ("DT_INT64", np.dtype("<i8"), "int64_val"),
    10: ("DT_BOOL", np.dtype("?"), "bool_val"),
    17: ("DT_UINT16", np.dtype("<u2"), "int_val"),
    19: ("DT_HALF", np.dtype("<f2"), "half_val"),
    22: ("DT_UINT32", np.dtype("<u4"), "uint32_val"),
    23: ("DT_UINT64", np.dtype("<u8"), "uint64_val"),
}
DT_STRING, DT_HALF = 7, 19
STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


def to_proto(array: np.ndarray):
    """An array as a `TensorProto`, its values in `tensor_content` (strings: `string_val`).

    Raises:
      TypeError: for a dtype that has no `TensorProto` encoding here.
    """
    is_text = array.dtype.kind in "OSU"
    found = [n for n, (_, dtype, _) in DTYPES.items() if n != DT_STRING and array.dtype == dtype]
    if not found and not is_text:
        raise TypeError(f"no TensorProto encoding for {array.dtype}")
    number = DT_STRING if is_text else found[0]
    proto = TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if is_text:
        flat = array.ravel().tolist()
        proto.string_val.extend(v.encode() if isinstance(v, str) else v for v in flat)
    else:
        proto.tensor_content = np.ascontiguousarray(array, DTYPES[number][1]).tobytes()
    return proto


def to_array(proto) -> np.ndarray:
    """A `TensorProto` in either encoding as an array.

    Raises:
      ValueError: an unknown dtype, or values that do not fill the shape.
    """
    if proto.dtype not in DTYPES:
        raise ValueError(f"TensorProto of unknown dtype {proto.dtype}")
    _, dtype, field = DTYPES[proto.dtype]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape).copy()
    values = list(getattr(proto, field))
    size = int(np.prod(shape, dtype=np.int64))
    # A short list repeats its last value; an empty one is all zeros.
    fill = values[-1] if values else (b"" if proto.dtype == DT_STRING else 0)
    values += [fill] * (size - len(values))
    if proto.dtype == DT_HALF:  # half_val holds bit patterns
        return np.array(values, "<u2").view(dtype).reshape(shape)
    return np.array(values, dtype).reshape(shape)
