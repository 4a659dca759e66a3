"""Binary attributes of generated pictures: a score each, 0 and above is yes.

class:K      the classifier of the data set says class K (a number or a name): its logit less
             the largest of the others
brightness   the mean pixel, less the median of the pictures that are looked at
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ganpipe.errors import UserError

# images (N, H, W, C) uint8 -> logits (N, K)
Logits = Callable[[np.ndarray], np.ndarray]
LEAST = 10  # pictures of either kind that a fit needs


@dataclass(frozen=True)
class Attribute:
    """A question about a picture.

    Attributes:
      name: for titles and files.
      score: (N, H, W, C) uint8 -> (N,) float64; 0 and above is yes.
    """

    name: str
    score: Callable[[np.ndarray], np.ndarray]


def of_class(index: int, name: str, logits: Logits) -> Attribute:
    """Whether a classifier sees class `index`."""

    def score(images: np.ndarray) -> np.ndarray:
        found = np.asarray(logits(images), np.float64)
        others = np.delete(found, index, axis=1)
        return found[:, index] - others.max(axis=1)

    return Attribute(name, score)


def brightness(reference: np.ndarray) -> Attribute:
    """Whether a picture is brighter than the median of `reference` (N, H, W, C) uint8."""

    def mean(images: np.ndarray) -> np.ndarray:
        return images.astype(np.float64).mean(axis=(1, 2, 3))

    middle = float(np.median(mean(reference)))
    return Attribute("brightness", lambda images: mean(images) - middle)


def class_index(text: str, names: Sequence[str]) -> int:
    """The class meant by "class:3" or "class:Trouser".

    Raises:
      UserError: no classes, or none of that name or number.
    """
    wanted = text.partition(":")[2].strip()
    if not names:
        raise UserError(
            f"--attribute={text}: the data has no classes, so no classifier tells them apart; "
            "expected brightness, or a run and --data with labels"
        )
    lower = [name.lower() for name in names]
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    if wanted.lower() in lower:
        return lower.index(wanted.lower())
    shown = ", ".join(f"{i} {name}" for i, name in enumerate(names[:20]))
    raise UserError(f"--attribute={text}: no class {wanted!r}; there are {shown}")


def check_both(attribute: str, positive: np.ndarray, least: int = LEAST) -> None:
    """UserError unless at least `least` pictures are positive and as many are not."""
    yes = int(np.count_nonzero(positive))
    if min(yes, len(positive) - yes) < least:
        raise UserError(
            f"--attribute={attribute}: {yes} of {len(positive)} pictures have it; a fit needs "
            f"{least} with and {least} without: take more --seeds, or another attribute"
        )
