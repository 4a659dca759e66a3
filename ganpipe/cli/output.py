"""What `ganpipe eval` prints and writes."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any


def table(result: dict[str, Any]) -> str:
    """The scores as text, each with the extractor's name and hash."""
    extractor = result["extractor"]
    ruler = f"{extractor['name']} {extractor['hash'][:12]}"
    spread = result["scores"].get("kernel_std")
    rows = [("score", "value", "extractor")]
    for metric, name in result["names"].items():
        value = f"{result['scores'][metric]:.6g}"
        if metric == "kernel":
            value += f" (spread {spread:.2g})"
        rows.append((name, value, ruler))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    counts = result["passport"]["counts"]
    note = f"{counts['generated']} generated images"
    if "reference" in counts:
        note += f" against {counts['reference']} real ones"
    note += f" ({result['passport']['data']['name']}, split {result['passport']['split']})"
    if extractor.get("test_accuracy") is not None:
        note += f"; the extractor's own test accuracy is {extractor['test_accuracy']:.4f}"
    return "\n".join([*lines, note])


def series_table(series: dict[str, Any]) -> str:
    """Scores of several checkpoints of a run as text, one line each."""
    lines = series["results"]
    names = dict.fromkeys(metric for line in lines for metric in line["names"])
    titles = [next(r["names"][m] for r in lines if m in r["names"]) for m in names]
    rows = [("step", "images", *titles)]
    for line in lines:
        cells = (f"{line['scores'][m]:.6g}" if m in line["scores"] else "-" for m in names)
        rows.append((str(line["step"]), f"{line['images_seen']:,}", *cells))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    text = ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    text += [f"step {step} is not scored: {why}" for step, why in series["failed"].items()]
    if lines:
        extractor = lines[-1]["extractor"]
        text.append(f"extractor: {extractor['name']} {extractor['hash'][:12]}")
    return "\n".join(text)


def write_json(path: str | os.PathLike, values: dict[str, Any]) -> None:
    """Writes JSON beside its place and renames it there."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(values, file, indent=1, allow_nan=False)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def catalogue(metrics: bool) -> str:
    """What --metrics=help or --extractor=help prints."""
    from ganpipe.metrics import choice, suite

    lines = {name: metric.summary for name, metric in suite.METRICS.items()}
    shown = lines if metrics else choice.SUMMARIES
    width = max(map(len, shown))
    return "\n".join(f"{name:{width}}  {line}" for name, line in shown.items())
