"""`--mode=arithmetic`: a - b + c on means of exemplars (Radford et al. 2015, section 6.3.2).

The mean of three latents stands for a concept; single samples are unstable. For N(0, I) the sum of
three means of three has the length of one latent.
"""

from collections.abc import Sequence

import numpy as np

from ganpipe.errors import UserError
from ganpipe.latent import sheet
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space

JITTER = 0.25  # of the paper, for U(-1, 1)
NEIGHBOURS = 8
SCALES = (-1.0, -0.5, 0.0, 0.5, 1.0, 1.5)


def arithmetic(
    space: Space,
    a: Sequence[int],
    b: Sequence[int],
    c: Sequence[int],
    labels: int | Sequence[int] | None = None,
    jitter: float = JITTER,
    seed: int = 0,
    progress: Progress | None = None,
) -> Outcome:
    """Exemplars, their means, mean(a) - mean(b) + mean(c), its neighbours, and the pixels' version.

    Args:
      space: of the sum.
      a: seeds of one concept.
      b: seeds of the concept that is taken away.
      c: seeds of the concept that is put in its place.
      labels: see `Space.labels`.
      jitter: neighbours are y + U(-jitter, jitter); in w times the spread of each coordinate.
      seed: of the neighbours.
      progress: see `Space.images`.

    Returns:
      Sheet; array `latents`: means of a, b, c, the sum, and its neighbours.

    Raises:
      UserError: an empty list, labels that do not fit.
    """
    groups = _groups(a=a, b=b, c=c)
    seeds = [s for group in groups.values() for s in group]
    classes = space.labels(seeds, labels, one=True)
    points = space.points(seeds, classes)
    parts = np.split(points, np.cumsum([len(g) for g in groups.values()])[:-1])
    means = [part.mean(axis=0) for part in parts]
    y = means[0] - means[1] + means[2]
    shape = (NEIGHBOURS, *points.shape[1:])
    noise = np.random.default_rng(seed).uniform(-jitter, jitter, shape).astype(np.float32)
    if space.name == "w":  # one coordinate varies a hundred times as much as another
        noise *= points.std(axis=0)
    made = np.concatenate([points, np.stack([*means, y]), y + noise])
    every = None if classes is None else classes[:1].repeat(len(made))
    images = space.images(made, every, progress)

    exemplars = np.split(images[: len(seeds)], np.cumsum([len(p) for p in parts])[:-1])
    middle = images[len(seeds) : len(seeds) + 3]
    pixels = sum(
        sign * one.astype(np.float64).mean(axis=0)
        for sign, one in zip((1, -1, 1), exemplars, strict=True)
    )
    pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    sheets = []
    for name, group, one, mean in zip("abc", groups.values(), exemplars, middle, strict=True):
        heads = [*(str(s) for s in group), "mean"]
        sheets.append(sheet.table(np.concatenate([one, mean[None]])[None], [name], heads))
    result = np.concatenate([images[len(seeds) + 3 :], pixels[None]])
    heads = ["a - b + c", *(["near it"] * NEIGHBOURS), "in pixels"]
    sheets.append(sheet.table(result[None], ["="], heads))
    lengths = {n: float(np.linalg.norm(m)) for n, m in zip("abc", means, strict=True)}
    lengths["a-b+c"] = float(np.linalg.norm(y))
    return Outcome(
        {"": sheet.stack(sheets)},
        arrays={"latents": made[len(seeds) :]},
        figures={"seeds": groups, "lengths": lengths, "space": space.name},
        lines=[f"length of {name}: {value:.2f}" for name, value in lengths.items()],
    )


def turn(
    space: Space,
    a: Sequence[int],
    b: Sequence[int],
    seeds: Sequence[int],
    scales: Sequence[float] = SCALES,
    labels: int | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """mean(a) - mean(b), added to other seeds by steps: the paper's turn vector (figure 8).

    Args:
      space: of the sum.
      a: seeds of one end.
      b: seeds of the other.
      seeds: rows.
      scales: columns: what the vector is multiplied by.
      labels: see `Space.labels`.
      progress: see `Space.images`.

    Returns:
      Sheet; array `direction`.

    Raises:
      UserError: as `arithmetic`.
    """
    groups = _groups(a=a, b=b)
    everyone = [*groups["a"], *groups["b"], *seeds]
    classes = space.labels(everyone, labels, one=True)
    points = space.points(everyone, classes)
    ends, rows = points[: len(a) + len(b)], points[len(a) + len(b) :]
    direction = ends[: len(a)].mean(axis=0) - ends[len(a) :].mean(axis=0)
    title = f"seeds + scale x (mean of {_list(a)} - mean of {_list(b)})"
    picture = along(space, rows, direction, scales, classes, seeds, title, progress)
    figures = {"seeds": groups, "rows": list(seeds), "scales": list(scales)}
    return Outcome(
        {"": picture},
        arrays={"direction": direction},
        figures=figures,
        lines=[f"turn vector of length {np.linalg.norm(direction):.2f}"],
    )


def along(
    space: Space,
    rows: np.ndarray,
    direction: np.ndarray,
    scales: Sequence[float],
    classes: np.ndarray | None,
    seeds: Sequence[int],
    title: str,
    progress: Progress | None = None,
) -> np.ndarray:
    """A table of points (N, ...) moved along a direction (...): rows are seeds, columns scales."""
    steps = np.asarray(scales, np.float32).reshape(1, -1, *[1] * (rows.ndim - 1))
    moved = rows[:, None] + steps * direction
    every = None if classes is None else np.repeat(classes[: len(rows)], len(scales))
    images = space.images(moved.reshape(-1, *rows.shape[1:]), every, progress)
    images = images.reshape(len(rows), len(scales), *images.shape[1:])
    return sheet.table(images, [str(s) for s in seeds], [f"{s:+g}" for s in scales], title)


def _groups(**groups: Sequence[int]) -> dict[str, list[int]]:
    for name, seeds in groups.items():
        if not len(seeds):
            raise UserError(f"--{name} is missing: seeds of one concept, 3 or so, as in 4,8,15")
    return {name: list(seeds) for name, seeds in groups.items()}


def _list(seeds: Sequence[int]) -> str:
    return ",".join(map(str, seeds))
