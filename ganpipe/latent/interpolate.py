"""`--mode=interpolate`: straight or spherical ways from seed to seed (Radford et al. 2015, 6.1)."""

import itertools
from collections.abc import Sequence

import numpy as np

from ganpipe.errors import UserError
from ganpipe.latent import paths, sheet
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space

COLUMNS = 11  # of the strip; the film has every frame


def interpolate(
    space: Space,
    seeds: Sequence[int],
    labels: int | Sequence[int] | None = None,
    frames: int = 10,
    interpolation: str | None = None,
    loop: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """A strip with a row for each leg, and a film through all of them.

    Args:
      space: of the points.
      seeds: two or more points to pass through, in order.
      labels: see `Space.labels`.
      frames: steps from each seed to the next.
      interpolation: "linear" or "slerp"; None is `paths.default_interpolation`.
      loop: end where it began.
      progress: see `Space.images`.

    Returns:
      Sheet, film, and the array `latents` (legs, frames + 1, ...).

    Raises:
      UserError: an unknown interpolation, too few seeds or frames, labels that do not fit.
    """
    distribution = space.system.latent_distribution
    chosen = interpolation or paths.default_interpolation(space.name, distribution)
    if chosen not in paths.INTERPOLATIONS:
        raise UserError(f"--interpolation={chosen}: expected {' or '.join(paths.INTERPOLATIONS)}")
    if chosen == "slerp" and distribution == "unit_cube" and space.name == "z":
        raise UserError("--interpolation=slerp turns about 0, which U(0, 1) does not surround")
    classes = space.labels(seeds, labels, one=True)
    legs = paths.through(space.points(seeds, classes), frames, chosen, loop)
    film = paths.film(legs, loop)
    per_frame = None if classes is None else classes[:1].repeat(len(film))
    images = space.images(film, per_frame, progress)

    # The strip shows at most COLUMNS pictures a leg, both ends among them.
    shown = sorted({round(i * frames / (COLUMNS - 1)) for i in range(COLUMNS)})
    rows = [[images[(leg * frames + i) % len(images)] for i in shown] for leg in range(len(legs))]
    ends = [*seeds, *seeds[:1]] if loop else list(seeds)
    heads = [f"{a} to {b}" for a, b in itertools.pairwise(ends)]
    columns = [f"{i / frames:.2g}" for i in shown]
    title = f"{chosen} interpolation in {space.name}"
    return Outcome(
        {"": sheet.table(np.array(rows), heads, columns, title)},
        frames=images,
        arrays={"latents": legs},
        figures={"interpolation": chosen, "space": space.name, "seeds": list(seeds)},
        lines=[f"{len(legs)} legs, {chosen} in {space.name}: {len(images)} frames"],
    )
