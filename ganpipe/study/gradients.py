"""Study 3: what the generator feels under each loss.

First alone: the pull -dL_G/df on a fake's logit f, by automatic differentiation in float64. Then
in the game: data and fakes on two parallel segments, D trained longer and longer, and the gradient
that reaches the fakes at each stage. The better a saturating game's D, the less G learns (Arjovsky
& Bottou 2017, arXiv 1701.04862, theorem 2.4); -log D brings the gradient back, unbounded and noisy
(theorem 2.6); a critic of bounded slope keeps it near 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from ganpipe.ops import losses
from ganpipe.study import critics, output, toys

THETA = 1.0
BATCH = 256
STAGES = (1, 3, 10, 30, 100, 300, 1000, 3000)
REPEATS = 3  # critics a seed
CURVES = {
    "losses of GANs": (
        "minimax",
        "non_saturating",
        "least_squares",
        "least_squares_sigmoid",
        "wasserstein",
        "rasgan",
    ),
    "losses of f-GANs": (
        "fgan_kl",
        "fgan_reverse_kl",
        "fgan_reverse_kl_alt",
        "fgan_pearson",
        "fgan_squared_hellinger",
        "fgan_total_variation",
    ),
}
TABLE_LOGITS = (-10.0, -5.0, -1.0, 0.0, 1.0, 5.0, 10.0)


@dataclass(frozen=True)
class Game:
    """D's loss and constraint, G's loss."""

    d_loss: str
    constraint: str
    g_loss: str
    label: str


GAMES = {
    "minimax": Game("minimax", "none", "minimax", "minimax (saturating)"),
    "non_saturating": Game("non_saturating", "none", "non_saturating", "non-saturating"),
    "least_squares": Game("least_squares", "none", "least_squares", "least squares"),
    "hinge": Game("hinge", "none", "hinge", "hinge, no constraint"),
    "wasserstein_clip": Game("wasserstein", "clip", "wasserstein", "Wasserstein, clipping"),
    "wasserstein_gp": Game("wasserstein", "gp", "wasserstein", "Wasserstein, penalty"),
    "wasserstein_spectral": Game("wasserstein", "spectral", "wasserstein", "Wasserstein, SN"),
}


def pull(loss: str, logits: np.ndarray) -> np.ndarray:
    """-dL_G/df for each fake logit, in the dtype of `logits`.

    Each logit is a batch of its own. Relativistic losses meet one real logit of 0.

    Args:
      loss: a name of `losses.NAMES`.
      logits: (N,).

    Returns:
      (N,); positive where G raises the logit.
    """
    _, g_loss = losses.pair(loss)
    fake = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(fake)
        if loss in losses.RELATIVISTIC:
            real = tf.zeros([1], fake.dtype)
            total = tf.add_n([g_loss(real, row[None]) for row in tf.unstack(fake)])
        else:  # a mean over points: N times it is the sum of N batches of one
            total = g_loss(None, fake) * len(logits)
    return -tape.gradient(total, fake).numpy()


def play(
    name: str, seed: int = 0, stages: Sequence[int] = STAGES, theta: float = THETA
) -> dict[str, np.ndarray]:
    """G's gradient against how long D has trained.

    Args:
      name: key of `GAMES`.
      seed: of `REPEATS` critics and their draws.
      stages: D's updates at which to look, rising.
      theta: distance of the segments.

    Returns:
      size: (stages, REPEATS) norm of dL_G/dtheta, theta being the fakes' place: the mean over
      fakes of what each feels along the first axis; noise: the standard deviation over fakes of
      that, divided by its size; accuracy: of D, cut half-way between its mean logits.
    """
    game, pair = GAMES[name], toys.PAIRS["lines"]
    thetas = np.full(REPEATS, theta)
    stack = critics.CriticStack(
        REPEATS, pair.dimensions, seed=seed, spectral=game.constraint == "spectral"
    )
    trainer = critics.Trainer(
        stack,
        game.d_loss,
        lambda draw_seed: pair.batch(thetas, BATCH, draw_seed),
        game.constraint,
        steps=max(stages),
        seed=seed,
    )
    rows: dict[str, list] = {"size": [], "noise": [], "accuracy": []}
    real, fake = pair.batch(thetas, 1024, tf.constant([seed + 999_983, 0], tf.int64))
    for stage in stages:
        trainer.run(stage - trainer.done)
        trainer.settle()
        logits = stack(fake).numpy()
        flat = tf.reshape(fake, [-1, pair.dimensions])
        slopes = critics.penalties.input_gradients(stack.rows, flat).numpy()
        slopes = slopes.reshape(REPEATS, -1, pair.dimensions)[..., 0].astype(np.float64)
        felt = pull(game.g_loss, logits.ravel().astype(np.float64)).reshape(logits.shape) * slopes
        size = np.abs(felt.mean(axis=1))
        rows["size"].append(size)
        rows["noise"].append(felt.std(axis=1) / np.maximum(size, 1e-300))
        real_logits = stack(real).numpy()
        # A critic has no threshold of its own; half-way between the means is fair to all.
        threshold = (real_logits.mean(axis=1) + logits.mean(axis=1))[:, None] / 2
        right = (real_logits > threshold).mean(axis=1) + (logits <= threshold).mean(axis=1)
        rows["accuracy"].append(right / 2)
    return {key: np.array(values) for key, values in rows.items()}


def run(out: Path, seeds: Sequence[int], effort: float = 1.0) -> dict[str, Any]:
    """Writes gradients.png, .md and .json.

    Args:
      out: existing folder.
      seeds: of the critics; three critics a seed.
      effort: below 1 the last stages of D's training are left out.

    Returns:
      curves: {loss: pulls at `TABLE_LOGITS`}; games: {name: {size, noise, accuracy}}, each
      (stages, 3 x seeds).
    """
    stages = [stage for stage in STAGES if stage <= max(1, round(STAGES[-1] * effort))]
    logits = np.array(TABLE_LOGITS)
    names = [name for group in CURVES.values() for name in group]
    curves = {name: pull(name, logits).tolist() for name in names}
    games: dict[str, Any] = {}
    with tqdm.tqdm(total=len(GAMES) * len(seeds), desc="gradients", unit=" trainings") as bar:
        for name in GAMES:
            bar.set_postfix_str(name)
            played = []
            for seed in seeds:
                played.append(play(name, seed, stages))
                bar.update()
            games[name] = {
                key: np.concatenate([p[key] for p in played], axis=1) for key in played[0]
            }
    draw(games, stages, out / "gradients.png")
    (out / "gradients.md").write_text(table(curves, games, stages))
    results = {"logits": TABLE_LOGITS, "curves": curves, "stages": stages, "games": games}
    output.write_json(out / "gradients.json", {"theta": THETA, "seeds": list(seeds)} | results)
    return results


def table(curves: dict, games: dict, stages: Sequence[int]) -> str:
    """Pulls at some logits; sizes and noise at some stages (geometric means over critics)."""
    text = output.markdown(
        ["loss of G", *[f"f = {f:g}" for f in TABLE_LOGITS]],
        [[name, *pulls] for name, pulls in curves.items()],
    )
    shown = [i for i, s in enumerate(stages) if s in (1, 10, 100, 1000, 3000)]
    rows = []
    for name, values in games.items():
        sizes = np.exp(np.log(np.maximum(values["size"], 1e-300)).mean(axis=1))
        cells = [float(sizes[i]) for i in shown]
        last = float(values["accuracy"][-1].mean()), float(np.median(values["noise"][-1]))
        rows.append([GAMES[name].label, *cells, *last])
    header = ["game", *[f"D after {stages[i]}" for i in shown], "D's accuracy", "noise"]
    return f"{text}\n{output.markdown(header, rows)}"


def draw(games: dict, stages: Sequence[int], path: Path) -> Path:
    """Pulls of the losses, then sizes and noise of the games."""
    sheet, axes = output.figure(2, 2, 5.0, 3.4)
    logits = np.linspace(-6.0, 6.0, 121)
    for one, (title, names) in zip(axes[0], CURVES.items(), strict=True):
        for i, name in enumerate(names):
            style = "--" if i % 2 else "-"
            one.plot(logits, pull(name, logits), style, color=output.COLOURS[i], label=name)
        one.set(title=title, xlabel="logit f of a fake", ylabel="pull −dL_G / df", ylim=(-1, 5))
        one.axhline(0, color="0.6", linewidth=0.8)
        one.legend(fontsize=7, frameon=False)
    for i, (name, values) in enumerate(games.items()):
        for one, key in zip(axes[1], ("size", "noise"), strict=True):
            middle = np.median(values[key], axis=1)
            style = {"marker": "osv^D*x"[i], "markersize": 4, "linewidth": 1.2}
            one.plot(stages, middle, color=output.COLOURS[i], label=GAMES[name].label, **style)
            low, high = values[key].min(axis=1), values[key].max(axis=1)
            one.fill_between(stages, low, high, color=output.COLOURS[i], alpha=0.12, linewidth=0)
    labels = ("size of G's gradient |dL_G / dθ|", "its spread over fakes / its size")
    for one, label in zip(axes[1], labels, strict=True):
        one.set(xscale="log", yscale="log", xlabel="updates of D", ylabel=label)
    axes[1, 0].set_ylim(bottom=1e-8)
    axes[1, 0].set_title(f"segments θ = {THETA:g} apart: what reaches G")
    axes[1, 1].set_title("and how much fakes disagree")
    axes[1, 0].legend(fontsize=7, frameon=False)
    return output.save(sheet, path)
