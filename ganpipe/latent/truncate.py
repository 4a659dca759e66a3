"""`--mode=truncate`: the same seeds at several psi (Karras et al. 2019, appendix B)."""

from collections.abc import Sequence

import numpy as np

from ganpipe.latent import requests, sheet
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space

PSIS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0, -0.5, -1.0)


def truncate(
    space: Space,
    seeds: Sequence[int],
    psis: Sequence[float] = PSIS,
    labels: int | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """A table, seeds down and psi across.

    Style systems pull w to its average (below the cutoff), others z to the mean of its
    distribution: psi 0 gives every row of one class the same picture.

    Args:
      space: says the cutoff; its own truncation is not used.
      seeds: rows.
      psis: columns, each in `requests.PSI`.
      labels: one class for all, or one a seed.
      progress: see `Space.images`.

    Returns:
      Sheet; figures: mean standard deviation over seeds of pixels (in 0..255) for each psi.

    Raises:
      UserError: psi out of range, labels that do not fit.
    """
    for value in psis:
        requests.psi("psi", value)
    classes = space.labels(seeds, labels)
    system, z = space.system, space.z(seeds)
    columns = []
    for value in psis:
        at = Space(
            system,
            truncation=value,
            cutoff=space.cutoff,
            batch_size=space.batch_size,
        )
        columns.append(at.images(at.of_z(z, classes), classes, progress))
    images = np.stack(columns, axis=1)
    spread = images.astype(np.float64).std(axis=0).mean(axis=(1, 2, 3))
    heads = [f"psi {value:g}" for value in psis]
    return Outcome(
        {"": sheet.table(images, [str(seed) for seed in seeds], heads)},
        figures={
            "psi": [float(v) for v in psis],
            "pixel_spread": [float(v) for v in spread],
            "seeds": list(seeds),
        },
        lines=[
            f"psi {v:5.2f}: pixels differ by {s:6.2f} between seeds"
            for v, s in zip(psis, spread, strict=True)
        ],
    )
