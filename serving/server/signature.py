"""What a signature takes and gives, and the check of a request against it before it runs.

TensorFlow Serving checks names, count and dtype; the shape it leaves to whichever op happens to
fail. Here the shape is checked too, so that the answer names the field and not a matrix product.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from serving.server.errors import ServingError, invalid

DEFAULT = "serving_default"
PREDICT = "tensorflow/serving/predict"

# DataTypeString() in TensorFlow's C++ says "float" where Python says "float32".
_DTYPE_NAMES = {"float32": "float", "float64": "double"}


def dtype_name(dtype: int) -> str:
    """The name TensorFlow Serving prints for a `DataType` number: "float", "int64", "string"."""
    try:
        name = tf.as_dtype(dtype).name
    except TypeError:
        return f"DataType({dtype})"
    return _DTYPE_NAMES.get(name, name)


@dataclasses.dataclass(frozen=True)
class Field:
    """One named input or output.

    Attributes:
      name: its alias, as requests spell it.
      tensor: the name of the tensor in the graph.
      dtype: the TensorFlow dtype.
      shape: None where a dimension is free; the whole is None if the rank is free.
      default: the value used when a request leaves the input out, or None.
    """

    name: str
    tensor: str
    dtype: tf.DType
    shape: tuple[int | None, ...] | None
    default: np.ndarray | None = None

    @property
    def per_row(self) -> bool:
        """Whether the first dimension is free and so counts rows."""
        return bool(self.shape) and self.shape[0] is None

    def admits(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of this shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want is None or want == got for want, got in zip(self.shape, shape, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class Signature:
    """One way to call a model: its name, and its inputs and outputs by alias."""

    name: str
    inputs: dict[str, Field]
    outputs: dict[str, Field]

    @classmethod
    def from_proto(cls, name: str, proto) -> "Signature":
        """Builds it from a `tensorflow.SignatureDef`."""
        defaults = {key: tf.make_ndarray(value) for key, value in proto.defaults.items()}
        return cls(
            name,
            {key: _field(key, info, defaults.get(key)) for key, info in proto.inputs.items()},
            {key: _field(key, info, None) for key, info in proto.outputs.items()},
        )

    @property
    def batchable(self) -> bool:
        """Whether every input and output has one entry per row."""
        fields = [*self.inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all(field.per_row for field in fields)

    def check_outputs(self, output_filter: list[str]) -> list[str]:
        """The output aliases to return: the filter's, or all when it is empty.

        Raises:
          ServingError: INVALID_ARGUMENT for an unknown alias or one named twice.
        """
        seen = []
        for alias in output_filter:
            if alias not in self.outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {alias} Outputs expected to be "
                    f"in the set {_braces(self.outputs)}."
                )
            if alias in seen:
                raise invalid(f"duplicate output tensor alias: {alias}")
            seen.append(alias)
        return seen or sorted(self.outputs)

    def check_names(self, sent: list[str]) -> None:
        """Checks that a request names every input it must and no other.

        Raises:
          ServingError: INVALID_ARGUMENT, naming the inputs that are missing or too many.
        """
        required = {name for name, field in self.inputs.items() if field.default is None}
        extra = sorted(set(sent) - set(self.inputs))
        missing = sorted(required - set(sent))
        if not extra and not missing:
            return
        if len(sent) == len(self.inputs) and missing:
            raise invalid(
                f"Signature input alias: {missing[0]}"
                f"(feed name: {self.inputs[missing[0]].tensor}) not found in request and no "
                f"default value provided. Inputs expected to be in the set "
                f"{_braces(self.inputs)}; sent extra: {_braces(extra)}."
            )
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(self.inputs)} "
            f"len({_braces(sent)}) != len({_braces(self.inputs)}). "
            f"Sent extra: {_braces(extra)}. Missing but required: {_braces(missing)}."
        )

    def check_tensors(
        self, sent: Mapping[str, tuple[int, tuple[int, ...]]], max_rows: int | None
    ) -> None:
        """Checks dtype, shape and number of rows of every input sent.

        Args:
          sent: input alias -> (`DataType` number, shape).
          max_rows: the most rows a request may have; None or 0 for no bound.

        Raises:
          ServingError: INVALID_ARGUMENT, naming the field, what was found and what was expected.
        """
        for index, alias in enumerate(sorted(sent)):
            field = self.inputs[alias]
            dtype, shape = sent[alias]
            if dtype != field.dtype.as_datatype_enum:
                raise invalid(
                    f"Expects arg[{index}] to be {dtype_name(field.dtype.as_datatype_enum)} but "
                    f'{dtype_name(dtype)} is provided (input "{alias}")'
                )
            if not field.admits(shape):
                raise invalid(
                    f'input "{alias}" has shape {_shape(shape)}, expected {_shape(field.shape)} '
                    "(-1 is the number of rows or free)"
                )
        rows = {alias: sent[alias][1][0] for alias in sorted(sent) if self.inputs[alias].per_row}
        if not rows:
            return
        for alias, count in rows.items():
            if count == 0:
                raise invalid(f'input "{alias}" has 0 rows, expected at least 1')
        if len(set(rows.values())) > 1:
            listed = ", ".join(f'"{alias}" has {count}' for alias, count in rows.items())
            raise invalid(f"inputs must have an equal number of rows (0th dimension): {listed}")
        alias, count = next(iter(rows.items()))
        if max_rows and count > max_rows:
            raise invalid(
                f'input "{alias}" has {count} rows, at most {max_rows} are served in one request '
                "(--max_rows_per_request); split it"
            )


def not_found(name: str) -> ServingError:
    """What gRPC answers for an unknown signature."""
    return ServingError("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')


def _field(alias: str, info, default: np.ndarray | None) -> Field:
    shape = info.tensor_shape
    dims = None if shape.unknown_rank else tuple(None if d.size < 0 else d.size for d in shape.dim)
    return Field(alias, info.name, tf.as_dtype(info.dtype), dims, default)


def _braces(names) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _shape(dims) -> str:
    if dims is None:
        return "any"
    return "[" + ",".join("-1" if d is None else str(d) for d in dims) + "]"
