"""What every study writes: figures in one style, tables as Markdown, numbers as JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def figure(rows: int, columns: int, width: float, height: float, **arguments: Any) -> tuple:
    """(figure, 2-D array of axes) without a display.

    Args:
      rows: of axes.
      columns: of axes.
      width: of one pair of axes, in inches.
      height: likewise.
      **arguments: of `Figure.subplots`.
    """
    # Not pyplot: no global state, no window, no backend to choose.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sheet = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(sheet)
    axes = sheet.subplots(rows, columns, squeeze=False, **arguments)
    for one in axes.ravel():
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=8)
        one.grid(color="0.92", linewidth=0.7)
        one.set_axisbelow(True)
    return sheet, axes


def save(sheet: "Figure", path: Path, dpi: int = 90) -> Path:
    """Writes a PNG aside and renames it."""
    aside = path.with_name(f".{path.name}")
    sheet.savefig(aside, dpi=dpi, format="png")
    aside.rename(path)
    return path


def number(value: Any, digits: int = 3) -> str:
    """A cell of a table: a float with `digits` significant digits, infinity as a word."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return f"{value + 0.0:.{digits}g}"  # no "-0"


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 3) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *[[number(c, digits) for c in row] for row in rows]]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def write_json(path: Path, values: Mapping[str, Any]) -> Path:
    """Writes numbers; infinities and NaN as the strings "inf", "-inf" and "nan"."""
    aside = path.with_name(f".{path.name}")
    aside.write_text(json.dumps(_plain(values), indent=1) + "\n")
    aside.rename(path)
    return path
