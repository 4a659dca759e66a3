"""Checks of what users ask a system for at inference: seeds, labels."""

from typing import Any

import numpy as np

from ganpipe.errors import UserError


def seeds(n: int, seed: Any) -> np.ndarray:
    """(n,) int64: seed, seed + 1, ... for one seed; or the given ones.

    Raises:
      UserError: not whole numbers of 64 bits, or not one an image.
    """
    try:
        rows = np.asarray(range(seed, seed + n) if np.ndim(seed) == 0 else seed)
        rows = rows.astype(np.int64, casting="same_kind") if n else np.zeros(0, np.int64)
    except (TypeError, OverflowError) as error:
        raise UserError(f"seed: {seed!r}; expected whole numbers of 64 bits.") from error
    if rows.shape != (n,):
        raise UserError(f"seed: shape {rows.shape}; expected one seed for each of {n} images.")
    return rows


def labels(
    system_name: str, num_classes: int, n: int, given: Any, least: int = 0
) -> np.ndarray | None:
    """(n,) int32 classes, or None for an unconditional system.

    Args:
      system_name: for messages.
      num_classes: 0 for an unconditional system.
      n: rows.
      given: one class for all rows, or one a row.
      least: smallest value allowed (-1 where it means "draw one").

    Raises:
      UserError: missing, unwanted, of another shape or out of range.
    """
    if not num_classes:
        if given is not None:
            raise UserError(f"labels: this {system_name} is unconditional; leave them out")
        return None
    if given is None:
        raise UserError(
            f"labels are missing: this {system_name} is conditional, expected classes "
            f"0 to {num_classes - 1}."
        )
    given = np.asarray(given)
    if not np.issubdtype(given.dtype, np.integer):
        raise UserError(f"labels: {given.dtype}; expected whole numbers.")
    rows = np.broadcast_to(given, (n,)) if given.ndim == 0 else given
    if rows.shape != (n,):
        raise UserError(f"labels: shape {rows.shape}; expected one class for each of {n} rows.")
    if n and (rows.min() < least or rows.max() >= num_classes):
        bad = rows[(rows < least) | (rows >= num_classes)][0]
        raise UserError(f"labels: {bad}; expected classes 0 to {num_classes - 1}.")
    return rows.astype(np.int32)
