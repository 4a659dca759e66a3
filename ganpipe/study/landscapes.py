"""Study 2: what D looks like to the generator under each loss and constraint.

On the line the trained D stands beside the best one: log p/q for minimax, p / (p + q) for least
squares (0/1 coding), sign(p - q) for hinge, and for Wasserstein any potential that falls with slope
1 from the data to the fakes. In the plane the fakes stand in the middle of a ring of data; arrows
show the gradient that pulls them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from ganpipe.study import critics, exact, gradients, output

BATCH = 256
STEPS = 1500
WIDTH = 64
REAL, FAKE, DEVIATION = -1.5, 1.5, 0.4  # on the line
RING_DEVIATION, BLOB_DEVIATION = 0.1, 0.2  # in the plane


@dataclass(frozen=True)
class Column:
    """D's loss, its constraint on the line and in the plane, G's loss, a title."""

    loss: str
    line: str
    plane: str
    title: str


COLUMNS = {
    "minimax": Column("minimax", "none", "none", "minimax"),
    "least_squares": Column("least_squares", "none", "none", "least squares"),
    "hinge": Column("hinge", "none", "none", "hinge"),
    "wasserstein_clip": Column("wasserstein", "clip", "clip", "Wasserstein, clipping"),
    # Two-sided, a critic on the line can be caught at slope -1: see docs/study.md.
    "wasserstein_gp": Column("wasserstein", "gp_one_sided", "gp", "Wasserstein, penalty"),
    "wasserstein_spectral": Column("wasserstein", "spectral", "spectral", "Wasserstein, SN"),
}


def line_batch(count: int, batch: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(real, fake), (count, batch, 1) each: N(-1.5, 0.4^2) and N(1.5, 0.4^2)."""
    noise = DEVIATION * tf.random.stateless_normal([2, count, batch, 1], seed)
    return noise[0] + REAL, noise[1] + FAKE


def plane_batch(count: int, batch: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(real, fake), (count, batch, 2) each: a ring of 8 modes, and a blob in its middle."""
    seeds = tf.random.experimental.stateless_split(seed, 2)
    mode = tf.random.stateless_uniform([count, batch], seeds[0], 0, 8, tf.int32)
    angle = tf.cast(mode, tf.float32) * (np.pi / 4)
    centres = 1.5 * tf.stack([tf.cos(angle), tf.sin(angle)], axis=-1)
    noise = tf.random.stateless_normal([2, count, batch, 2], seeds[1])
    return centres + RING_DEVIATION * noise[0], BLOB_DEVIATION * noise[1]


def best(name: str, x: np.ndarray) -> np.ndarray | None:
    """The optimal D on the line where it is known, float64; of Wasserstein one of slope -1."""
    p = exact.normal_density(REAL, DEVIATION)(x)
    q = exact.normal_density(FAKE, DEVIATION)(x)
    if name == "minimax":  # log p/q, without the underflow of p and q
        return ((x - FAKE) ** 2 - (x - REAL) ** 2) / (2 * DEVIATION**2)
    if name == "least_squares":
        return p / (p + q)
    if name == "hinge":
        return np.sign(p - q)
    return None if name == "wasserstein_clip" else -(x - (REAL + FAKE) / 2)


def fit(name: str, plane: bool, seeds: Sequence[int], steps: int = STEPS) -> critics.CriticStack:
    """One trained critic a seed.

    Args:
      name: key of `COLUMNS`.
      plane: the ring instead of the line.
      seeds: their number is the number of critics; the first seeds weights and draws.
      steps: of training.
    """
    column, count = COLUMNS[name], len(seeds)
    constraint = column.plane if plane else column.line
    stack = critics.CriticStack(
        count, 1 + plane, WIDTH, seed=seeds[0], spectral=constraint == "spectral"
    )
    batch = plane_batch if plane else line_batch
    trainer = critics.Trainer(
        stack,
        column.loss,
        lambda seed: batch(count, BATCH, seed),
        constraint,
        steps=steps,
        seed=seeds[0],
    )
    trainer.run().settle()
    return stack


def felt(name: str, stack: critics.CriticStack, plane: bool) -> dict[str, float]:
    """What fakes feel: means over fakes and critics.

    Returns:
      slope: |grad D|; pull: |grad D| times -dL_G/df; still: share of fakes whose pull is under
      1e-3.
    """
    batch = plane_batch if plane else line_batch
    _, fake = batch(1, 1024, tf.constant([12_345, 0], tf.int64))
    points = fake[0].numpy()
    slopes = np.linalg.norm(stack.slopes(points).astype(np.float64), axis=-1)
    logits = stack.values(points).astype(np.float64)
    pulls = np.abs(gradients.pull(COLUMNS[name].loss, logits.ravel())).reshape(logits.shape)
    pulls = pulls * slopes
    return {
        "slope": float(slopes.mean()),
        "pull": float(pulls.mean()),
        "still": float((pulls < 1e-3).mean()),
    }


def run(out: Path, seeds: Sequence[int], effort: float = 1.0) -> dict[str, Any]:
    """Writes landscapes_1d.png, landscapes_2d.png, landscapes.md and .json.

    Args:
      out: existing folder.
      seeds: one critic each.
      effort: factor on the steps.

    Returns:
      {"line" or "plane": {name: what `felt` returns}}.
    """
    steps = max(1, round(STEPS * effort))
    stacks: dict[str, dict] = {"line": {}, "plane": {}}
    results: dict[str, dict] = {"line": {}, "plane": {}}
    with tqdm.tqdm(total=2 * len(COLUMNS), desc="landscapes", unit=" trainings") as bar:
        for place in stacks:
            for name in COLUMNS:
                bar.set_postfix_str(f"{place}, {name}")
                stacks[place][name] = fit(name, place == "plane", seeds, steps)
                results[place][name] = felt(name, stacks[place][name], place == "plane")
                bar.update()
    draw_line(stacks["line"], out / "landscapes_1d.png")
    draw_plane(stacks["plane"], results["plane"], out / "landscapes_2d.png")
    (out / "landscapes.md").write_text(table(results))
    output.write_json(out / "landscapes.json", {"steps": steps, "seeds": list(seeds)} | results)
    return results


def table(results: dict[str, dict]) -> str:
    """What fakes feel, on the line and in the plane."""
    rows = []
    for name, column in COLUMNS.items():
        cells = [results[place][name][key] for place in results for key in ("slope", "pull")]
        still = [f"{100 * results[place][name]['still']:.0f} %" for place in results]
        rows.append([column.title, *cells, *still])
    header = ["D", "line: slope", "line: pull", "plane: slope", "plane: pull"]
    return output.markdown([*header, "line: still", "plane: still"], rows)


def draw_line(stacks: dict[str, critics.CriticStack], path: Path) -> Path:
    """Densities, trained critics and the best one."""
    sheet, axes = output.figure(2, 3, 3.6, 2.6)
    x = np.linspace(-3.5, 3.5, 281)
    real = exact.normal_density(REAL, DEVIATION)(x)
    fake = exact.normal_density(FAKE, DEVIATION)(x)
    for one, (name, stack) in zip(axes.ravel(), stacks.items(), strict=True):
        values = stack.values(x[:, None].astype(np.float32)).astype(np.float64)
        optimum = best(name, x)
        if COLUMNS[name].loss == "wasserstein":  # a constant means nothing to it
            values = values - values[:, [len(x) // 2]]
        for i, row in enumerate(values):
            label = "trained" if i == 0 else None
            one.plot(x, row, color=output.COLOURS[0], linewidth=1.2, alpha=0.8, label=label)
        if optimum is not None:
            one.plot(x, optimum, "--", color=output.COLOURS[6], linewidth=1.2, label="best")
        low, high = values.min(), values.max()
        pad = 0.15 * max(high - low, 1e-3)
        one.set_ylim(low - pad, high + pad)
        # Densities stand on the floor of the panel: their heights have no unit here.
        for density, colour, label in ((real, 2, "data"), (fake, 1, "fakes")):
            tops = low - pad + 0.35 * (high - low + 2 * pad) * density
            one.fill_between(
                x, low - pad, tops, color=output.COLOURS[colour], alpha=0.3, label=label, lw=0
            )
        one.set_title(COLUMNS[name].title, fontsize=10)
    axes[0, 0].legend(fontsize=7, frameon=False)
    return output.save(sheet, path)


def draw_plane(stacks: dict[str, critics.CriticStack], felts: dict, path: Path) -> Path:
    """Levels of the first critic of each, its gradient as arrows, data and fakes."""
    sheet, axes = output.figure(2, 3, 3.6, 3.4, sharex=True, sharey=True)
    real, fake = (points[0].numpy() for points in plane_batch(1, 250, tf.constant([1, 0])))
    axis, arrows = np.linspace(-2.4, 2.4, 97), np.linspace(-2.2, 2.2, 15)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1)
    feet = np.stack(np.meshgrid(arrows, arrows), axis=-1).reshape(-1, 2)
    for one, (name, stack) in zip(axes.ravel(), stacks.items(), strict=True):
        values = stack.values(grid.reshape(-1, 2))[0].reshape(grid.shape[:2])
        slopes = stack.slopes(feet)[0]
        levels = one.contourf(axis, axis, values, 24, cmap="RdBu_r", alpha=0.75)
        sheet.colorbar(levels, ax=one, shrink=0.8).ax.tick_params(labelsize=7)
        # Lengths within a panel are comparable; the numbers above it compare panels.
        one.quiver(*feet.T, *slopes.T, color="0.15", width=0.004)
        one.plot(*real.T, ".", color=output.COLOURS[2], markersize=2.5, label="data")
        one.plot(*fake.T, ".", color=output.COLOURS[4], markersize=2.5, label="fakes")
        one.set_aspect("equal")
        one.grid(False)
        at = felts[name]
        one.set_title(
            f"{COLUMNS[name].title}\nat fakes: |∇D| {at['slope']:.2g}, pull {at['pull']:.2g}",
            fontsize=9,
        )
    axes[0, 0].legend(fontsize=7, loc="lower left", markerscale=3)
    return output.save(sheet, path, dpi=74)
