"""Checks of what the command line asks for: seeds, ranges of layers, psi."""

import math
from collections.abc import Sequence

from ganpipe.errors import UserError

MOST = 10_000
# 1 is no truncation, 0 the mean, -1 the opposite picture; further out there is nothing to see.
PSI = (-2.0, 2.0)


def numbers(flag: str, text: str | Sequence[str], what: str = "seeds") -> list[int]:
    """Whole numbers out of "0-3,8" -> [0, 1, 2, 3, 8].

    Args:
      flag: name for the message, without dashes.
      text: numbers and ranges (both ends belong) with commas between, from 0 on.
      what: the numbers are, for the message.

    Raises:
      UserError: empty, not a number, a range that runs backwards, or more than `MOST`.
    """
    parts = text.split(",") if isinstance(text, str) else list(text)
    shown = ",".join(parts)
    found: list[int] = []
    for part in (p.strip() for p in parts):
        first, dash, last = part.partition("-")
        plain = first.isdecimal() and (last.isdecimal() if dash else True)
        if not plain or not part.isascii() or len(part) > 40:
            raise UserError(
                f"--{flag}={shown}: {part!r} is no number or range; expected {what} such as 0-7 or "
                "1,4,9"
            )
        start, stop = int(first), int(last) if dash else int(first)
        if stop < start or len(found) + stop - start >= MOST:
            raise UserError(
                f"--{flag}={shown}: {part} is empty or too long; expected at most {MOST:,} {what}, "
                "the smaller end first"
            )
        if stop >= 2**63:
            raise UserError(f"--{flag}={shown}: {stop} is no number of 64 bits")
        found.extend(range(start, stop + 1))
    return found


def layers(flag: str, text: str | Sequence[str], count: int) -> list[int]:
    """Style layers out of "0-6", each below `count`, ascending, none twice.

    Raises:
      UserError: as `numbers`, or a layer that the generator does not have.
    """
    found = sorted(set(numbers(flag, text, "layers")))
    if found[-1] >= count:
        shown = text if isinstance(text, str) else ",".join(text)
        raise UserError(
            f"--{flag}={shown}: there is no style layer {found[-1]}; this generator has "
            f"{count}: 0-{count - 1}"
        )
    return found


def floats(flag: str, texts: Sequence[str]) -> list[float]:
    """Finite numbers out of ["1", "0.5"].

    Raises:
      UserError: none, or one that is no finite number.
    """
    shown = ",".join(texts)
    try:
        found = [float(text) for text in texts]
    except ValueError as error:
        raise UserError(f"--{flag}={shown}: expected numbers such as 1,0.7,0.5") from error
    if not found or not all(map(math.isfinite, found)):
        raise UserError(f"--{flag}={shown}: expected at least one number, all finite")
    return found


def psi(flag: str, value: float) -> float:
    """A truncation in `PSI`.

    Raises:
      UserError: outside, or no number.
    """
    low, high = PSI
    if not low <= value <= high:
        raise UserError(
            f"--{flag}: {value:g}; expected {low:g} to {high:g}: 1 truncates nothing, 0 is the "
            "mean, below 0 the opposite side of it"
        )
    return float(value)
