"""NumPy arrays <-> `TensorProto`, both encodings of the values.

A `TensorProto` holds its values in `tensor_content` (raw little-endian bytes) or in a typed field
such as `float_val`. Requests may use either; answers use `tensor_content` unless asked otherwise,
because a list of Python integers per image is what costs time in a Python server.
"""

import math

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.server.errors import invalid

# Protocol buffers stop at 2 GiB; a small message may still claim more, because a short list of
# values means "repeat the last one".
_MOST_BYTES = 2**31 - 1

_TYPED_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int8: "int_val",
    tf.uint8: "int_val",
    tf.int16: "int_val",
    tf.uint16: "int_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.uint32: "uint32_val",
    tf.uint64: "uint64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


def proto_shape(alias: str, proto: tensor_pb2.TensorProto) -> tuple[int, ...]:
    """The shape a `TensorProto` claims.

    Raises:
      ServingError: INVALID_ARGUMENT if it is not fully known, or claims more than 2 GiB.
    """
    shape = proto.tensor_shape
    if shape.unknown_rank or any(dim.size < 0 for dim in shape.dim):
        raise invalid(f"tensor parsing error: {alias} (its shape is not fully known)")
    dims = tuple(dim.size for dim in shape.dim)
    try:
        itemsize = tf.as_dtype(proto.dtype).size or 1
    except TypeError as error:
        raise invalid(f"tensor parsing error: {alias} (no such dtype: {proto.dtype})") from error
    if math.prod(dims) * itemsize > _MOST_BYTES:
        raise invalid(f"tensor parsing error: {alias} (shape {list(dims)} is over 2 GiB)")
    return dims


def decode(alias: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """A `TensorProto` as an array (strings: an object array of bytes).

    Raises:
      ServingError: INVALID_ARGUMENT `tensor parsing error: ALIAS`, with the reason.
    """
    shape = proto_shape(alias, proto)
    try:
        array = tf.make_ndarray(proto)
    except (TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise invalid(f"tensor parsing error: {alias} ({reason})") from error
    if array.shape != shape:
        raise invalid(f"tensor parsing error: {alias} (values do not fill shape {list(shape)})")
    return array


def encode(array: np.ndarray, dtype: tf.DType, as_content: bool) -> tensor_pb2.TensorProto:
    """An array as a `TensorProto`.

    Args:
      array: of any shape; bytes in an object array for strings.
      dtype: the dtype to declare.
      as_content: put the values into `tensor_content`; else into the typed field, as the real
        server does by default. Strings always go into `string_val`.
    """
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype == tf.string:
        proto.string_val.extend(array.ravel().tolist())
    elif as_content or dtype not in _TYPED_FIELDS:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        getattr(proto, _TYPED_FIELDS[dtype]).extend(array.ravel().tolist())
    return proto
