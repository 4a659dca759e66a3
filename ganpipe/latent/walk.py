"""`--mode=walk`: smooth random walks without an end, as a film."""

import numpy as np

from ganpipe.latent import paths, sheet
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space

COLUMNS = 12


def walk(
    space: Space,
    walkers: int = 9,
    frames: int = 120,
    harmonics: int = 3,
    seed: int = 0,
    labels: int | list[int] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """A film of walkers side by side whose last frame leads to its first.

    The walk is in z, where every frame is a fair sample; a style system maps it to w.

    Args:
      space: of the pictures.
      walkers: films side by side.
      frames: of one round.
      harmonics: waves a round; more is faster.
      seed: of the walk; walker i of a conditional system has the class of seed + i.
      labels: one class for all walkers, or one for each.
      progress: see `Space.images`.

    Returns:
      Sheet with a row a walker, film, and the array `latents` (frames, walkers, D) of z.

    Raises:
      UserError: see `paths.walk`, `Space.labels`.
    """
    system = space.system
    z = paths.walk(walkers, frames, system.latent_dim, system.latent_distribution, harmonics, seed)
    classes = space.labels(range(seed, seed + walkers), labels)
    per_frame = None if classes is None else np.tile(classes, frames)
    flat = z.reshape(-1, z.shape[-1])
    images = space.images(space.of_z(flat, per_frame), per_frame, progress)
    images = images.reshape(frames, walkers, *images.shape[1:])
    shown = [i * frames // COLUMNS for i in range(min(COLUMNS, frames))]
    shown = list(range(frames)) if frames <= COLUMNS else shown
    picture = sheet.table(
        images[shown].swapaxes(0, 1),
        [f"{seed}.{i}" for i in range(walkers)],
        [str(i) for i in shown],
        f"walks of {frames} frames, seed {seed}",
    )
    return Outcome(
        {"": picture},
        frames=sheet.tile(images),
        arrays={"latents": z},
        figures={"walkers": walkers, "frames": frames, "harmonics": harmonics, "seed": seed},
        lines=[f"{walkers} walkers, {frames} frames, {harmonics} harmonics"],
    )
