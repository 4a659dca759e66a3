"""`--mode=mix`: style mixing (Karras et al. 2019, section 3.1, figure 3)."""

from collections.abc import Sequence

import numpy as np

from ganpipe.latent import requests, sheet
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space, needs_styles


def check(space: Space, styles: str | Sequence[str]) -> list[int]:
    """The style layers that are replaced.

    Raises:
      UserError: no styles, or layers that the generator does not have.
    """
    needs_styles(space.system, "--mode=mix")
    return requests.layers("styles", styles, space.num_ws)


def mix(
    space: Space,
    rows: Sequence[int],
    columns: Sequence[int],
    styles: str | Sequence[str] = "0-6",
    labels: int | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """A table: the cell has its row's styles, but those of `styles` from its column.

    Coarse layers (0-3) carry pose and shape, fine ones (8 on) colours: with "0-6" a cell looks like
    its column in shape and like its row in detail.

    Args:
      space: in w; truncation 1 shows the most.
      rows: seeds.
      columns: seeds.
      styles: layers taken from the column, as text: "0-6".
      labels: one class for all, or one for each of rows + columns.
      progress: see `Space.images`.

    Returns:
      Sheet with the pictures of the seeds as heads; arrays `row_styles`, `column_styles`.

    Raises:
      UserError: see `check`, `Space.labels`.
    """
    chosen = check(space, styles)
    classes = space.labels([*rows, *columns], labels)
    points = space.points([*rows, *columns], classes)
    mixed = np.repeat(points[: len(rows), None], len(columns), axis=1)
    mixed[:, :, chosen] = points[None, len(rows) :, chosen]
    # The heads go along, so that all is made by one compiled call.
    everything = np.concatenate([points, mixed.reshape(-1, *points.shape[1:])])
    images = space.images(everything, None, progress)
    heads, cells = images[: len(points)], images[len(points) :]
    cells = cells.reshape(len(rows), len(columns), *images.shape[1:])
    title = f"rows: seeds {_brief(rows)}; columns {_brief(columns)} give styles {_brief(chosen)}"
    picture = sheet.table(cells, heads[: len(rows)], heads[len(rows) :], title)
    return Outcome(
        {"": picture},
        arrays={"row_styles": points[: len(rows)], "column_styles": points[len(rows) :]},
        figures={"rows": list(rows), "columns": list(columns), "styles": chosen},
        lines=[f"{len(rows)} x {len(columns)} seeds, styles {_brief(chosen)} from the columns"],
    )


def _brief(values: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0-2,5"."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)
