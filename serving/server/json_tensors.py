"""JSON values <-> arrays, by the rules of TensorFlow Serving's REST API.

Row format `{"instances": [...]}` holds one entry per row, column format `{"inputs": ...}` one
tensor per input. Bytes are `{"b64": "..."}`. NaN, Infinity and -Infinity are bare words, which
strict JSON does not have but Python's parser and the real server's do.
"""

import base64
import binascii
import itertools
import json
from typing import Any

import numpy as np
import tensorflow as tf

from serving.server.errors import ServingError, invalid
from serving.server.signature import Field, Signature, dtype_name

_MOST_NESTING = 64
_NOT_IN_JSON = (tf.half, tf.bfloat16, tf.complex64, tf.complex128)


def parse_request(body: bytes) -> dict[str, Any]:
    """Parses a request body into its JSON object. What follows the first value is ignored.

    Raises:
      ServingError: INVALID_ARGUMENT.
    """
    try:
        text = body.decode("utf-8-sig").lstrip()
        value, _ = json.JSONDecoder().raw_decode(text)
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: the body is not UTF-8: {error.reason}") from error
    except json.JSONDecodeError as error:
        reason = "The document is empty" if not body.strip() else error.msg
        raise invalid(f"JSON Parse error: {reason} at offset: {error.pos}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:  # an integer of thousands of digits
        raise invalid(f"JSON Parse error: {error}") from error
    if not isinstance(value, dict):
        raise invalid(f"Malformed request: expected a JSON object, got {_kind(value)}")
    name = value.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(f"'signature_name' key must be a string value, got {_kind(name)}")
    if ("instances" in value) == ("inputs" in value):
        raise invalid(
            "Malformed request: expected exactly one of 'instances' (row format) and 'inputs' "
            "(column format)"
        )
    return value


def decode_inputs(request: dict[str, Any], signature: Signature) -> dict[str, np.ndarray]:
    """The input arrays of a parsed request.

    Raises:
      ServingError: INVALID_ARGUMENT naming the input, or UNIMPLEMENTED for a dtype JSON lacks.
    """
    if "instances" in request:
        return _decode_rows(request["instances"], signature)
    return _decode_columns(request["inputs"], signature)


def _decode_rows(rows: Any, signature: Signature) -> dict[str, np.ndarray]:
    if not isinstance(rows, list) or not rows:
        got = "an empty list" if rows == [] else _kind(rows)
        raise invalid(f"'instances' must be a list with at least one row, got {got}")
    if not signature.inputs:
        raise invalid(f'Signature "{signature.name}" takes no inputs')
    single = next(iter(signature.inputs)) if len(signature.inputs) == 1 else None
    if single and not (isinstance(rows[0], dict) and not _is_base64(rows[0])):
        return {single: to_array(rows, signature.inputs[single])}
    columns: dict[str, list] = {}
    for index, row in enumerate(rows):
        where = f"Failed to process element: {index} of 'instances' list"
        if not isinstance(row, dict):
            raise invalid(f"{where}: expected an object with named inputs, got {_kind(row)}")
        if row.keys() != (columns or signature.inputs).keys():
            _explain_row(where, set(row), columns, signature)
        for alias, value in row.items():
            columns.setdefault(alias, []).append(value)
    return {alias: to_array(values, signature.inputs[alias]) for alias, values in columns.items()}


def _explain_row(where: str, row: set[str], columns: dict, signature: Signature) -> None:
    """Raises if a row's keys cannot be right; returns if it only leaves out defaults."""
    for alias in sorted(row - set(signature.inputs)):
        raise invalid(f"{where}: JSON object has unexpected input: {alias}")
    needed = set(columns) or {a for a, f in signature.inputs.items() if f.default is None}
    for alias in sorted(needed - row):
        raise invalid(f"{where}: JSON object does not have named input: {alias}")
    for alias in sorted(row - set(columns) if columns else ()):
        raise invalid(f"{where}: has input {alias}, which the rows before it lack")


def _decode_columns(value: Any, signature: Signature) -> dict[str, np.ndarray]:
    single = next(iter(signature.inputs)) if len(signature.inputs) == 1 else None
    if single and not (isinstance(value, dict) and not _is_base64(value)):
        return {single: to_array(value, signature.inputs[single])}
    if not isinstance(value, dict):
        raise invalid(
            f"'inputs' must be an object with the inputs {sorted(signature.inputs)}, "
            f"got {_kind(value)}"
        )
    arrays = {}
    for alias, field in signature.inputs.items():
        if alias in value:
            arrays[alias] = to_array(value[alias], field)
        elif field.default is None:
            raise invalid(f"Missing named input: {alias} in 'inputs' object.")
    return arrays


def to_array(value: Any, field: Field) -> np.ndarray:
    """A JSON value as an array of a field's dtype.

    Raises:
      ServingError: INVALID_ARGUMENT if lists are ragged or a value is not of that dtype.
    """
    if field.dtype in _NOT_IN_JSON:
        raise ServingError(
            "UNIMPLEMENTED", f'input "{field.name}": {dtype_name(field.dtype)} is not supported'
        )
    shape: list[int] = []
    level: list = [value]
    while level and all(type(item) is list for item in level):
        if len(shape) == _MOST_NESTING:
            raise invalid(f'input "{field.name}": lists are nested too deeply')
        size = len(level[0])
        for item in level:
            if len(item) != size:
                raise invalid(
                    f'input "{field.name}": Encountered list at unexpected size: {len(item)} '
                    f"Expected: {size}"
                )
        shape.append(size)
        level = list(itertools.chain.from_iterable(level))
    leaves = _leaves(level, field)
    try:
        with np.errstate(over="raise"):  # 1e300 is no float32, and not infinity either
            return np.array(leaves, field.dtype.as_numpy_dtype).reshape(shape)
    except (OverflowError, FloatingPointError) as error:
        raise invalid(
            f'input "{field.name}": JSON Value out of range of {dtype_name(field.dtype)}: {error}'
        ) from error


def _leaves(level: list, field: Field) -> list:
    kinds = set(map(type, level))
    if list in kinds:
        raise invalid(
            f'input "{field.name}": Encountered list at unexpected nesting: some entries are '
            "lists and others are not"
        )
    if field.dtype == tf.string:
        return [_to_bytes(leaf, field) for leaf in level]
    if field.dtype.is_floating:
        allowed = {int, float}
    elif field.dtype == tf.bool:
        allowed = {bool}
    else:
        allowed = {int}
    if kinds <= allowed:
        return level
    wrong = next(leaf for leaf in level if type(leaf) not in allowed)
    raise _wrong_type(wrong, field)


def _to_bytes(leaf: Any, field: Field) -> bytes:
    if isinstance(leaf, str):
        return leaf.encode()
    if not _is_base64(leaf):
        raise _wrong_type(leaf, field)
    try:
        return base64.b64decode(leaf["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(
            f'input "{field.name}": Unable to base64 decode JSON value: {error}'
        ) from error


def _wrong_type(leaf: Any, field: Field) -> ServingError:
    shown = json.dumps(leaf)
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    return invalid(
        f"JSON Value: {shown} Type: {_kind(leaf)} is not of expected type: "
        f'{dtype_name(field.dtype)} (input "{field.name}")'
    )


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _kind(value: Any) -> str:
    """The name the real server's JSON library gives a value's type."""
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", type(None): "Null"}
    return names.get(type(value), "Number")


def response_text(outputs: dict[str, np.ndarray], signature: Signature, row_format: bool) -> str:
    """The body that answers a request in the format it came in.

    Args:
      outputs: output alias -> array, all outputs of the signature.
      signature: the one that ran.
      row_format: `{"predictions": [...]}`; else `{"outputs": ...}`.

    Raises:
      ServingError: INVALID_ARGUMENT if the outputs cannot be written in that format.
    """
    if row_format:
        _check_rows(outputs)
    values = {name: to_json(array, signature.outputs[name]) for name, array in outputs.items()}
    if len(values) == 1:
        answer = next(iter(values.values()))
    elif row_format:
        names = list(values)
        answer = [dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)]
    else:
        answer = values
    key = "predictions" if row_format else "outputs"
    # Indenting the values themselves would leave json's C encoder: ten times slower.
    return f'{{\n    "{key}": {json.dumps(answer)}\n}}\n'


def _check_rows(outputs: dict[str, np.ndarray]) -> None:
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f'output "{name}" is a scalar; ask for it in column format ("inputs")')
    rows = {name: array.shape[0] for name, array in outputs.items()}
    if len(set(rows.values())) > 1:
        raise invalid(f"outputs differ in their number of rows: {rows}; ask in column format")


def to_json(array: np.ndarray, field: Field) -> Any:
    """An array as nested lists (or one value) that `json.dumps` writes as the real server does.

    Raises:
      ServingError: INVALID_ARGUMENT for a dtype JSON lacks, or bytes that are not text in an
        output whose alias does not end in `_bytes`.
    """
    if field.dtype in _NOT_IN_JSON:
        raise invalid(f'output "{field.name}": {dtype_name(field.dtype)} cannot be written as JSON')
    if field.dtype == tf.string:
        flat = [_from_bytes(item, field) for item in array.ravel().tolist()]
        nested = np.empty(len(flat), object)
        nested[:] = flat
        return nested.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        # The shortest decimal that is this float32: 0.1, not 0.10000000149011612.
        array = array.astype("U").astype(np.float64)
    return array.tolist()


def _from_bytes(item: bytes, field: Field) -> Any:
    if field.name.endswith("_bytes"):
        return {"b64": base64.b64encode(item).decode()}
    try:
        return item.decode()
    except UnicodeDecodeError as error:
        raise invalid(
            f'output "{field.name}" holds bytes that are not text; only outputs whose alias ends '
            "in _bytes are sent as base64"
        ) from error
