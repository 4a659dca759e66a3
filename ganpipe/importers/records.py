"""What a network file holds, as inert records: tensors, arrays, modules, networks."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ganpipe.ops.pickle_machine import RefusedError, kind_of

_MOST_AXES = 32


@dataclass(frozen=True, eq=False)
class Storage:
    """The flat values of a torch storage; tensors are views of it."""

    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Tensor:
    """A view of a storage; offset and strides in elements. Checked when it is read."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements, those that a stride of 0 repeats included."""
        return math.prod(self.size)

    def array(self) -> np.ndarray:
        """The contiguous copy; RefusedError when the view reaches outside its storage."""
        values = self.storage.values
        if self.count == 0:
            return np.zeros(self.size, values.dtype)
        steps = zip(self.size, self.stride, strict=True)
        if self.offset + sum((n - 1) * step for n, step in steps) >= len(values):
            raise RefusedError("a tensor reaches outside its storage")
        view = np.lib.stride_tricks.as_strided(
            values[self.offset :],
            self.size,
            [step * values.itemsize for step in self.stride],
            writeable=False,
        )
        return np.array(view, order="C")


@dataclass(eq=False)
class Array:
    """A NumPy array under construction: its state comes after it."""

    values: np.ndarray | None = None

    @property
    def count(self) -> int:
        """Number of elements."""
        return 0 if self.values is None else self.values.size

    def array(self) -> np.ndarray:
        """The values; RefusedError when the pickle never gave any."""
        if self.values is None:
            raise RefusedError("an array of its pickle was given no values")
        return self.values


@dataclass(eq=False)
class DType:
    """A NumPy type under construction: its byte order comes after it."""

    dtype: np.dtype


@dataclass(frozen=True, eq=False)
class Module:
    """A persistent PyTorch module: class name and the attributes it was pickled with."""

    class_name: str
    state: dict[str, Any]


@dataclass(eq=False)
class Network:
    """A `dnnlib.tflib.Network` or `tfutil.Network`: `made_by` is the pickle's name for it."""

    made_by: str
    state: dict[str, Any] = field(default_factory=dict)


def is_count(value: Any) -> bool:
    """A non-negative int that is no bool and fits 62 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


def are_counts(values: Any) -> bool:
    """A tuple of at most 32 counts."""
    # The length comes first: one long tuple can be remembered and given any number of times.
    return isinstance(values, tuple) and len(values) <= _MOST_AXES and all(map(is_count, values))


def make_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_unused: Any) -> Tensor:
    """Arguments of `torch._utils._rebuild_tensor_v2` -> Tensor."""
    if not isinstance(storage, Storage) or not is_count(offset):
        raise RefusedError("its pickle describes a tensor wrongly")
    if not are_counts(size) or not are_counts(stride) or len(size) != len(stride):
        raise RefusedError("its pickle describes a tensor wrongly")
    return Tensor(storage, offset, size, stride)


# Types a weight, a seed or a flag can have; objects, text and records are not among them.
_DTYPES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "?"}


def make_dtype(code: Any) -> DType:
    """`numpy.dtype` of a plain number type; RefusedError for any other."""
    if not isinstance(code, str) or code.lstrip("<>=|") not in _DTYPES:
        shown = repr(code)[:40] if isinstance(code, str) else kind_of(code)
        raise RefusedError(f"its pickle holds an array of type {shown}, expected plain numbers")
    return DType(np.dtype(code))


def set_byte_order(record: DType, state: Any) -> None:
    """The state of a pickled dtype: (version, byte order, ...)."""
    if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
        raise RefusedError("its pickle describes an array's type wrongly")
    if any(part is not None for part in state[2:5]):
        raise RefusedError("its pickle holds an array of records, expected plain numbers")
    if state[1] in "<>":
        record.dtype = record.dtype.newbyteorder(state[1])


def make_array(raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """Raw bytes of exactly `shape` -> an array in the native byte order.

    Args:
      raw: bytes; text of latin-1, as Python 2 wrote, too.
      dtype: DType.
      shape: tuple of counts.
      order: "F" or "C".
    """
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    if not isinstance(raw, bytes | bytearray) or not isinstance(dtype, DType):
        raise RefusedError("its pickle describes an array wrongly")
    if not are_counts(shape) or order not in ("C", "F"):
        raise RefusedError("its pickle describes an array wrongly")
    if math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise RefusedError(f"its pickle gives {len(raw)} bytes for an array of shape {shape}")
    values = np.frombuffer(raw, dtype.dtype).reshape(shape, order=order)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def array_state(record: Array, state: Any) -> None:
    """The state of a pickled ndarray: (version, shape, dtype, Fortran order, raw bytes)."""
    if not isinstance(state, tuple) or len(state) not in (4, 5) or record.values is not None:
        raise RefusedError("its pickle describes an array wrongly")
    shape, dtype, fortran, raw = state[-4:]
    record.values = make_array(raw, dtype, shape, "F" if fortran else "C")


def make_scalar(dtype: Any, raw: Any) -> float | int | bool:
    """Arguments of NumPy's `scalar` -> a Python number."""
    return make_array(raw, dtype, (), "C").item()
