"""Official names of our weights, and filling them: every name once, every shape as expected."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ganpipe.errors import UserError


class Slot(NamedTuple):
    """Our variable, and the layouts between an official array and ours."""

    variable: Any
    to_ours: Callable[[np.ndarray], np.ndarray]
    to_official: Callable[[np.ndarray], np.ndarray]


Slots = dict[str, Slot]


def same(variable: Any) -> Slot:
    """An equal layout."""
    return Slot(variable, lambda x: x, lambda x: x)


def dump(slots: Mapping[str, Slot]) -> dict[str, np.ndarray]:
    """Official name -> float32 array in the official layout."""
    values = {}
    for name, slot in slots.items():
        value = slot.to_official(np.asarray(slot.variable.numpy(), np.float32))
        values[name] = np.array(value, np.float32, order="C")
    return values


def official_shape(slot: Slot) -> tuple[int, ...]:
    """Shape of the official array of a slot."""
    return slot.to_official(np.empty(tuple(slot.variable.shape), np.bool_)).shape


def _few(names: set[str]) -> str:
    shown = sorted(names)[:4]
    return ", ".join(name[:100] for name in shown) + (" ..." if len(names) > len(shown) else "")


def fill(where: str, slots: Mapping[str, Slot], values: Mapping[str, np.ndarray]) -> None:
    """Sets every variable from the official values; all or nothing.

    Args:
      where: file and network, for messages.
      slots: of our network.
      values: of the file; what has no counterpart of ours is left out by the caller.

    Raises:
      UserError: a weight that is missing or left over, of another shape, or not finite.
    """
    missing, extra = set(slots) - set(values), set(values) - set(slots)
    if missing or extra:
        faults = [f"lacks {_few(missing)}"] if missing else []
        faults += [f"has {_few(extra)} beside what its arguments say"] if extra else []
        raise UserError(f"{where} {' and '.join(faults)}; nothing was imported.")
    ready: list[tuple[Any, np.ndarray]] = []
    for name, slot in slots.items():
        expected, value = official_shape(slot), values[name]
        if value.shape != expected:
            raise UserError(
                f"{where}: weight {name} has the shape {value.shape}; expected {expected}, by the "
                "arguments that the file records. Nothing was imported."
            )
        if value.dtype.kind not in "fiub":
            raise UserError(f"{where}: weight {name} has the type {value.dtype}, expected numbers.")
        if not np.isfinite(value).all():
            raise UserError(f"{where}: weight {name} holds NaN or infinity; nothing was imported.")
        ready.append((slot.variable, slot.to_ours(np.asarray(value, np.float32))))
    for variable, value in ready:
        variable.assign(value)
