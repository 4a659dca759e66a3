"""What a mode gives back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Called with the number of pictures (or steps) that were just finished.
Progress = Callable[[int], object]


@dataclass
class Outcome:
    """The result of a mode, in memory.

    Attributes:
      sheets: name behind the mode's own -> (H, W, 3) uint8 picture; "" is the main one.
      frames: (T, H, W, C) uint8 film, or None where the mode makes none.
      arrays: name -> array, for the .npz file: what the pictures were made from.
      figures: for the .json file; finite numbers, texts, lists and dicts alone.
      lines: to print.
    """

    sheets: dict[str, np.ndarray]
    frames: np.ndarray | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
