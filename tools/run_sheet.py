"""Draws a run as one picture: its score over the images it has seen, and samples every few minutes.

    .venv/bin/python tools/run_sheet.py runs/progan --out=docs/img/progan_fluent3d.png --minutes=5

Reads metrics.jsonl (`config.evaluate.every`) and samples/ (`config.train.sample_every`) of the run.
Minutes are those of training; between two scores they are interpolated. Prints the table too.
"""

import argparse
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def read_scores(run: Path, metric: str) -> tuple[np.ndarray, str]:
    """((N, 4) of step, images, seconds, score; the score's name)."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if metric in row.get("scores", {})]
    if not rows:
        raise SystemExit(f"{run / 'metrics.jsonl'}: no {metric!r}; set config.evaluate.every")
    keys = ("step", "images_seen", "train_seconds")
    table = [[row[k] for k in keys] + [row["scores"][metric]] for row in rows]
    return np.array(table, float), rows[-1]["names"][metric]


def chosen_samples(run: Path, scores: np.ndarray, minutes: float) -> list[tuple[Path, float]]:
    """(grid, minute) nearest to every multiple of `minutes`, and the last grid."""
    steps = np.concatenate([[0], scores[:, 0]])
    seconds = np.concatenate([[0], scores[:, 2]])
    grids = sorted((run / "samples").glob("step_*.png"))
    if not grids:
        raise SystemExit(f"{run / 'samples'}: no grids; set config.train.sample_every")
    numbers = [int(re.search(r"\d+", grid.stem).group()) for grid in grids]
    when = np.interp(numbers, steps, seconds) / 60
    marks = np.arange(minutes, when[-1] - minutes / 2, minutes)
    picked = [int(np.abs(when - mark).argmin()) for mark in marks] + [len(grids) - 1]
    return [(grids[i], float(when[i])) for i in dict.fromkeys(picked)]


def strip(grid: Path, rows: int, of: int) -> np.ndarray:
    """The first `rows` of a grid's `of` rows, RGB."""
    image = Image.open(grid).convert("RGB")
    return np.asarray(image.crop((0, 0, image.width, round(image.height * rows / of))))


def draw(scores: np.ndarray, name: str, strips: list[tuple[np.ndarray, float]], out: Path) -> None:
    """Writes the picture."""
    width, label, curve = 6.4, 0.65, 1.6  # inches
    each = [(width - label) * s.shape[0] / s.shape[1] + 0.06 for s, _ in strips]
    height = curve + 0.65 + sum(each)
    figure = plt.figure(figsize=(width, height), dpi=100)
    top = figure.add_axes(
        (label / width, 1 - (curve + 0.1) / height, 0.98 - label / width, curve / height)
    )
    top.plot(scores[:, 1] / 1000, scores[:, 3], marker="o", markersize=3, color="#2a6f97")
    top.set(xlabel="thousands of images", ylabel=name, ylim=(0, None))
    top.spines[["top", "right"]].set_visible(False)
    bottom = height - curve - 0.65
    for (picture, minute), tall in zip(strips, each, strict=True):
        bottom -= tall
        axis = figure.add_axes(
            (label / width, bottom / height, 1 - label / width, (tall - 0.06) / height)
        )
        axis.imshow(picture, interpolation="nearest", aspect="auto")
        axis.set_axis_off()
        middle = (bottom + tall / 2) / height
        figure.text((label - 0.08) / width, middle, f"{minute:.0f} min", ha="right", va="center")
    partial = out.with_suffix(".part.png")
    figure.savefig(partial)
    with Image.open(partial) as picture:  # 256 colours: a third of the bytes, the same to the eye
        picture.convert("RGB").quantize(256).save(partial, optimize=True)
    partial.rename(out)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    parser.add_argument("--minutes", type=float, default=5.0, help="between two rows of samples")
    parser.add_argument("--metric", default="frechet", help="a score of metrics.jsonl")
    parser.add_argument("--rows", type=int, default=1, help="rows of each grid to show")
    parser.add_argument("--of", type=int, default=8, help="rows that a grid has: 4 of 512 pixels")
    arguments = parser.parse_args()
    scores, name = read_scores(arguments.run, arguments.metric)
    chosen = chosen_samples(arguments.run, scores, arguments.minutes)
    for step, images, seconds, score in scores:
        print(f"step {step:7.0f}  images {images:9.0f}  minutes {seconds / 60:5.1f}  {score:8.2f}")
    strips = [(strip(g, arguments.rows, arguments.of), minute) for g, minute in chosen]
    draw(scores, name, strips, arguments.out)


if __name__ == "__main__":
    main()
