"""Study 1: divergences of two distributions moved apart, exact and as critics estimate them.

A discriminator is a divergence in disguise. With the best D, minimax GAN plays
2 JS(P, Q) - log 4 (Goodfellow et al. 2014, theorem 1), an f-GAN its f-divergence (Nowozin et al.
2016, eq. 4) and a critic of slope at most 1 plays W1 (Arjovsky et al. 2017, eq. 2). Any other D
gives a lower bound; training D raises it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from ganpipe.study import critics, exact, output, toys

BATCH = 256
STEPS = 1000


@dataclass(frozen=True)
class Estimator:
    """A divergence read off a trained critic: offset - scale * loss.

    Attributes:
      target: key of the exact value.
      loss: name of the discriminator's loss.
      constraint: see `critics.CONSTRAINTS`.
      offset: see above.
      scale: see above.
      label: for figures.
      colour: index of `output.COLOURS`.
    """

    target: str
    loss: str
    constraint: str
    offset: float
    scale: float
    label: str
    colour: int


ESTIMATORS = {
    "js_minimax": Estimator("js", "minimax", "none", exact.LOG2, 0.5, "minimax D (BCE)", 0),
    # f-GAN's "JS" is 2 JS.
    "js_fgan": Estimator("js", "fgan_js", "none", 0.0, 0.5, "f-GAN JS", 1),
    "kl": Estimator("kl", "fgan_kl", "none", 0.0, 1.0, "f-GAN KL", 0),
    "reverse_kl": Estimator("reverse_kl", "fgan_reverse_kl", "none", 0.0, 1.0, "f-GAN RKL", 1),
    "tv": Estimator("tv", "fgan_total_variation", "none", 0.0, 1.0, "f-GAN TV", 2),
    "w1_gp": Estimator("w1", "wasserstein", "gp_one_sided", 0.0, 1.0, "GP, one-sided", 0),
    "w1_gp_two_sided": Estimator("w1", "wasserstein", "gp", 0.0, 1.0, "GP, two-sided", 3),
    "w1_spectral": Estimator("w1", "wasserstein", "spectral", 0.0, 1.0, "spectral norm", 2),
    "w1_clip": Estimator("w1", "wasserstein", "clip", 0.0, 1.0, "clipping, rescaled", 1),
}


def estimate(
    pair: toys.Pair,
    name: str,
    thetas: Sequence[float],
    seeds: Sequence[int] = (0,),
    steps: int = STEPS,
) -> np.ndarray:
    """What trained critics say at each theta.

    Args:
      pair: the two distributions.
      name: key of `ESTIMATORS`.
      thetas: (K,) distances.
      seeds: (S,): S critics for each distance, trained side by side on draws of their own. The
        first seeds all of them.
      steps: of training.

    Returns:
      (S, K) float64, in the units of the exact value; clipped critics in their own units.
    """
    how = ESTIMATORS[name]
    distances = np.tile(np.asarray(thetas, np.float64), len(seeds))
    stack = critics.CriticStack(
        len(distances), pair.dimensions, seed=seeds[0], spectral=how.constraint == "spectral"
    )
    trainer = critics.Trainer(
        stack,
        how.loss,
        lambda draw_seed: pair.batch(distances, BATCH, draw_seed),
        how.constraint,
        steps=steps,
        seed=seeds[0],
    )
    estimates = how.offset - how.scale * trainer.run().evaluate()
    return estimates.reshape(len(seeds), len(thetas))


def run(out: Path, seeds: Sequence[int], effort: float = 1.0) -> dict[str, Any]:
    """Trains every estimator on every pair and writes divergences.png, .md and .json.

    Args:
      out: existing folder.
      seeds: one critic each at every distance; the figure shows the mean and the range.
      effort: factor on the steps; 1 for the figures of docs/study.md.

    Returns:
      {pair: {"thetas", "exact": {name: [...]}, "estimates": {name: [[...] a seed]}}}.
    """
    steps = max(1, round(STEPS * effort))
    results: dict[str, Any] = {}
    total = len(toys.PAIRS) * len(ESTIMATORS)
    with tqdm.tqdm(total=total, desc="divergences", unit=" trainings") as bar:
        for key, pair in toys.PAIRS.items():
            truth = [pair.exact(theta) for theta in pair.thetas]
            results[key] = {
                "thetas": list(pair.thetas),
                "exact": {name: [row[name] for row in truth] for name in truth[0]},
                "estimates": {},
            }
            for name in ESTIMATORS:
                bar.set_postfix_str(f"{key}, {name}")
                rows = estimate(pair, name, pair.thetas, seeds, steps)
                results[key]["estimates"][name] = rows.tolist()
                bar.update()
    draw(results, out / "divergences.png")
    (out / "divergences.md").write_text(table(results))
    output.write_json(
        out / "divergences.json", {"steps": steps, "seeds": list(seeds), "pairs": results}
    )
    return results


def table(results: dict[str, Any]) -> str:
    """Exact values and mean estimates at every theta, a table a pair."""
    text = ""
    for key, values in results.items():
        header = ["θ", *[f"{n} exact" for n in values["exact"]], *ESTIMATORS]
        means = [np.mean(values["estimates"][name], axis=0) for name in ESTIMATORS]
        rows = [
            [
                float(theta),
                *[float(values["exact"][n][i]) for n in values["exact"]],
                *[float(m[i]) for m in means],
            ]
            for i, theta in enumerate(values["thetas"])
        ]
        text += f"{toys.PAIRS[key].title}\n\n{output.markdown(header, rows)}\n"
    return text


def rescaled(estimates: np.ndarray, truth: Sequence[float]) -> np.ndarray:
    """A clipped critic knows W1 up to an unknown factor: fits it, by least squares to `truth`."""
    mean, truth = np.mean(estimates, axis=0), np.asarray(truth, np.float64)
    below = float(mean @ mean)
    return estimates * (float(mean @ truth) / below if below else 0.0)


_PANELS = (
    ("js", "Jensen-Shannon", ("js_minimax", "js_fgan"), {"js": ("exact JS", 6)}),
    (
        "kl",
        "KL, reverse KL, total variation",
        ("kl", "reverse_kl", "tv"),
        {"kl": ("exact KL", 0), "reverse_kl": ("exact reverse KL", 1), "tv": ("exact TV", 2)},
    ),
    (
        "w1",
        "Wasserstein-1",
        ("w1_gp", "w1_gp_two_sided", "w1_spectral", "w1_clip"),
        {"w1": ("exact W1", 6)},
    ),
)


def draw(results: dict[str, Any], path: Path) -> Path:
    """The figure: a row a pair, a column a family of divergences; lines exact, dots estimated."""
    sheet, axes = output.figure(len(results), len(_PANELS), 4.0, 2.9)
    for row, (key, values) in enumerate(results.items()):
        pair = toys.PAIRS[key]
        thetas = np.asarray(values["thetas"])
        fine = np.linspace(0, thetas.max(), 121)
        curves = [pair.exact(float(theta)) for theta in fine]
        for column, (kind, title, names, exacts) in enumerate(_PANELS):
            one = axes[row, column]
            for name, (label, colour) in exacts.items():
                heights = np.array([c[name] for c in curves])
                finite = np.isfinite(heights)
                style = {"kl": "-", "reverse_kl": "--"}.get(name, "-")
                if finite[1:].any():
                    # The value at 0 is a point of its own where the curve jumps.
                    start = 1 if heights[1] > 0.5 * heights[-1] else 0
                    one.plot(
                        fine[start:],
                        heights[start:],
                        style,
                        color=output.COLOURS[colour],
                        linewidth=1.6,
                        label=label,
                    )
                else:
                    one.plot([], [], style, color=output.COLOURS[colour], label=f"{label}: ∞")
            for name in names:
                how = ESTIMATORS[name]
                estimates = np.asarray(values["estimates"][name])
                if name == "w1_clip":
                    estimates = rescaled(estimates, values["exact"]["w1"])
                mean = estimates.mean(axis=0)
                reach = np.abs([estimates.min(axis=0) - mean, estimates.max(axis=0) - mean])
                one.errorbar(
                    thetas,
                    mean,
                    reach,
                    fmt="oxs^"[names.index(name)],
                    markersize=4,
                    linewidth=1,
                    color=output.COLOURS[how.colour],
                    label=how.label,
                    alpha=0.9,
                )
            if kind == "js":
                one.axhline(exact.LOG2, color="0.6", linestyle=":", linewidth=1)
                one.text(thetas.max(), exact.LOG2, "log 2", fontsize=8, ha="right", va="bottom")
                one.set_ylim(-0.05, 0.85)
            if row == 0:
                one.set_title(title, fontsize=10)
            if column == 0:
                one.set_ylabel(pair.title, fontsize=9)
            one.set_xlabel("θ", fontsize=9)
            one.legend(fontsize=7, frameon=False, loc="best")
    return output.save(sheet, path)


def plateau(values: dict[str, Any]) -> float:
    """Largest distance of the minimax estimate from log 2 where the exact JS is log 2."""
    truth = np.asarray(values["exact"]["js"])
    mean = np.mean(values["estimates"]["js_minimax"], axis=0)
    flat = truth > exact.LOG2 - 1e-12
    return float(np.abs(mean[flat] - exact.LOG2).max()) if flat.any() else math.nan
