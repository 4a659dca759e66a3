"""Weights out of a frozen TensorFlow graph (`.pb`), read without running any of it.

A frozen graph is a list of nodes in a protocol buffer; its weights are the nodes of kind `Const`.
Only these are looked at and turned into arrays: no graph is imported, no operation is made, so a
file with hostile operations does nothing.

`inception_state` gives the Inception graph of 2015-12-05, `classify_image_graph_def.pb`, the names
that PyTorch's port of it has, so that one network of ours is filled from either file.
"""

import os
from pathlib import Path

import numpy as np
from google.protobuf import message
from tensorflow.core.framework import graph_pb2, types_pb2

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import torch_file

# Larger than any file of weights that belongs here (Inception's is 96 MB).
_LARGEST = 2**30

_DTYPES = {
    types_pb2.DT_FLOAT: np.dtype("<f4"),
    types_pb2.DT_DOUBLE: np.dtype("<f8"),
    types_pb2.DT_HALF: np.dtype("<f2"),
}


def read_constants(
    path: str | os.PathLike, sha256: str | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """All constants of real numbers in a frozen graph, by node name, and the file's SHA-256.

    Args:
      path: a serialised GraphDef.
      sha256: the file's SHA-256 in hex or the start of it; None checks nothing.

    Raises:
      UserError: no such file, another hash, no GraphDef, no constants, a damaged constant.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if path.stat().st_size > _LARGEST:
        raise UserError(f"{path} is larger than {_LARGEST >> 20} MiB: not a graph of this kind")
    digest = (
        torch_file.file_sha256(path) if sha256 is None else torch_file.check_sha256(path, sha256)
    )
    graph = graph_pb2.GraphDef()
    try:
        graph.ParseFromString(path.read_bytes())
    except message.DecodeError as error:
        raise UserError(f"{path} is no frozen TensorFlow graph (a GraphDef): {error}") from error
    found: dict[str, np.ndarray] = {}
    for node in graph.node:
        if node.op != "Const" or "value" not in node.attr:
            continue
        tensor = node.attr["value"].tensor
        if tensor.dtype in _DTYPES:
            found[node.name] = _values(path, node.name, tensor)
    if not found:
        raise UserError(f"{path} holds no constants: expected a frozen graph, with its weights")
    return found, digest


def _values(path: Path, name: str, tensor: object) -> np.ndarray:
    """The array of a TensorProto; its size must fit what the file holds."""
    dtype = _DTYPES[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = int(np.prod(shape, dtype=object)) if shape else 1
    if min(shape, default=0) < 0:
        raise UserError(f"{path}: constant {name!r} has the shape {shape}")
    raw = tensor.tensor_content
    if raw:
        if len(raw) != size * dtype.itemsize:
            raise UserError(
                f"{path}: constant {name!r} of shape {shape} has {len(raw)} bytes, expected "
                f"{size * dtype.itemsize}: the file is damaged"
            )
        return np.frombuffer(raw, dtype).reshape(shape).astype(np.float32)
    if dtype.itemsize == 2:
        values = np.array(tensor.half_val, np.uint16).view(np.float16)
    else:
        values = np.array(tensor.float_val if dtype.itemsize == 4 else tensor.double_val)
    if len(values) == 1 and size <= 2**20:  # the short form of equal values
        values = np.broadcast_to(values, (size,))
    if len(values) != size:
        raise UserError(
            f"{path}: constant {name!r} of shape {shape} has {len(values)} values: the file is "
            "damaged"
        )
    return values.reshape(shape).astype(np.float32)


_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def inception_names() -> dict[str, str]:
    """Scope of each of the 94 convolutions in the TensorFlow graph -> its name in PyTorch's port.

    The graph numbers its blocks (`mixed` to `mixed_10`), the parallel towers in a block and the
    convolutions in a tower; the two halves of a split stand in a scope `mixed` of their own.
    """
    names = {
        "conv": "Conv2d_1a_3x3",
        "conv_1": "Conv2d_2a_3x3",
        "conv_2": "Conv2d_2b_3x3",
        "conv_3": "Conv2d_3b_1x1",
        "conv_4": "Conv2d_4a_3x3",
    }

    def add(block: int, name: str, **towers: tuple[str, ...]) -> None:
        scope = f"mixed_{block}" if block else "mixed"
        for tower, convolutions in towers.items():
            inner = scope if tower == "alone" else f"{scope}/{tower}"
            for i, convolution in enumerate(convolutions):
                names[f"{inner}/conv_{i}" if i else f"{inner}/conv"] = f"{name}.{convolution}"

    def numbered(prefix: str, count: int) -> tuple[str, ...]:
        return tuple(f"{prefix}_{i}" for i in range(1, count + 1))

    ends = {"alone": ("branch1x1",), "tower_2": ("branch_pool",)}
    for block, letter in enumerate("bcd"):
        five, three = numbered("branch5x5", 2), numbered("branch3x3dbl", 3)
        add(block, f"Mixed_5{letter}", tower=five, tower_1=three, **ends)
    add(3, "Mixed_6a", alone=("branch3x3",), tower=numbered("branch3x3dbl", 3))
    for block, letter in enumerate("bcde", start=4):
        single, double = numbered("branch7x7", 3), numbered("branch7x7dbl", 5)
        add(block, f"Mixed_6{letter}", tower=single, tower_1=double, **ends)
    add(8, "Mixed_7a", tower=numbered("branch3x3", 2), tower_1=numbered("branch7x7x3", 4))
    for block, letter in ((9, "b"), (10, "c")):
        name = f"Mixed_7{letter}"
        add(block, name, tower=("branch3x3_1",), tower_1=numbered("branch3x3dbl", 2), **ends)
        split, last = ("branch3x3_2a", "branch3x3_2b"), ("branch3x3dbl_3a", "branch3x3dbl_3b")
        add(block, name, **{"tower/mixed": split, "tower_1/mixed": last})
    return names


def inception_state(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Constants of the Inception graph -> PyTorch's names and layouts; all else is left out.

    Raises:
      UserError: a constant is missing: this is another graph.
    """

    def take(name: str) -> np.ndarray:
        if name not in constants:
            raise UserError(
                f"the graph has no constant {name!r}: expected classify_image_graph_def.pb of "
                "inception-2015-12-05"
            )
        return constants[name]

    state: dict[str, np.ndarray] = {}
    for scope, name in inception_names().items():
        kernel = take(f"{scope}/conv2d_params")
        if kernel.ndim != 4:
            raise UserError(f"{scope}/conv2d_params has shape {kernel.shape}, expected 4 axes")
        state[f"{name}.conv.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        for theirs, ours in _NORM.items():
            state[f"{name}.bn.{ours}"] = take(f"{scope}/batchnorm/{theirs}")
    state["fc.weight"] = np.ascontiguousarray(take("softmax/weights").T)
    state["fc.bias"] = take("softmax/biases").reshape(-1)
    return state
