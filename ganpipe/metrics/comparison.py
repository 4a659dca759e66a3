"""Runs side by side: scores by images seen and by seconds, with the spread over seeds.

Runs whose configs differ in the seed alone are one group. Scores with unlike passports are refused:
a table of numbers that were measured differently is worse than none.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError
from ganpipe.metrics import history, passport

# Keys of a config that do not make another experiment.
_ASIDE = {"name", "monitor", "evaluate"}


@dataclass(frozen=True)
class Point:
    """One score of one run.

    Attributes:
      step: of the model.
      images_seen: real images that D had seen; None where it is not known.
      seconds: of training; None where it is not known.
      value: the score.
    """

    step: int
    images_seen: int | None
    seconds: float | None
    value: float


@dataclass(frozen=True)
class Run:
    """The scores of one run.

    Attributes:
      folder: of the run.
      name: of its config.
      seed: of its training.
      key: equal for runs that differ in the seed alone.
      points: by step.
      passport: that all its points share.
      score: what the metric is called with its extractor.
    """

    folder: Path
    name: str
    seed: int
    key: str
    points: tuple[Point, ...]
    passport: Mapping[str, Any]
    score: str


def load(folder: Path, metric: str) -> Run:
    """Reads a run's scores of one metric.

    Raises:
      UserError: no run folder, no such score, or scores of one run that cannot be compared.
    """
    try:
        config = json.loads((folder / "config.json").read_text())["config"]
        seed, name = int(config["train"]["seed"]), str(config["name"])
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} has no config.json: expected a folder that `ganpipe train` wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}/config.json is not readable as a run's: {error}") from error
    records = [r for r in history.read(folder) if metric in r["scores"]]
    if not records:
        raise UserError(
            f"{folder} has no score {metric!r}: run `python -m ganpipe eval --run={folder} "
            f"--metrics={metric} --out=metrics.json` first, or train with "
            "--config.evaluate.every=STEPS"
        )
    last = records[-1]
    for record in records:
        where = f"{folder} at step {record['step']}"
        refuse_unlike(where, record["passport"], f"{folder} at step {last['step']}", last, metric)
    plain = {k: dict(v) if isinstance(v, dict) else v for k, v in config.items() if k not in _ASIDE}
    plain["train"].pop("seed")
    plain.get("data", {}).pop("dir", None)
    points = tuple(
        Point(r["step"], r["images_seen"], r["train_seconds"], float(r["scores"][metric]))
        for r in records
    )
    key = json.dumps(plain, sort_keys=True)
    return Run(folder, name, seed, key, points, last["passport"], last["names"][metric])


def refuse_unlike(
    one_name: str,
    one: Mapping[str, Any],
    other_name: str,
    other_record: Mapping[str, Any],
    metric: str,
) -> None:
    """Raises UserError naming the fields in which two passports differ."""
    found = passport.differences(one, other_record["passport"], metric)
    if found:
        what = "; ".join(f"{k}: {a!r} and {b!r}" for k, (a, b) in found.items())
        raise UserError(
            f"{metric} of {one_name} and of {other_name} cannot be compared: {what}. Score both "
            "the same way with `python -m ganpipe eval`."
        )


def groups(runs: Sequence[Run], metric: str) -> dict[str, list[Run]]:
    """Label -> runs that differ in their seeds alone, in the order given.

    Raises:
      UserError: passports that are not alike, or a seed that occurs twice in a group.
    """
    first = runs[0]
    for run in runs[1:]:
        record = {"passport": first.passport}
        refuse_unlike(str(run.folder), run.passport, str(first.folder), record, metric)
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        by_key.setdefault(run.key, []).append(run)
    labelled: dict[str, list[Run]] = {}
    names = [members[0].name for members in by_key.values()]
    for members in by_key.values():
        seeds = [run.seed for run in members]
        if len(set(seeds)) < len(seeds):
            there = ", ".join(str(run.folder) for run in members)
            raise UserError(f"{there}: one configuration, and a seed twice; give each run once")
        name = members[0].name
        # Two configurations of one name are told apart by their folders.
        label = name if names.count(name) == 1 else f"{name} ({members[0].folder.name})"
        labelled[label if label not in labelled else str(members[0].folder)] = members
    return labelled


def spread(values: Sequence[float]) -> str:
    """`mean +- standard deviation` (ddof 1), or the one value."""
    if len(values) < 2:
        return f"{values[0]:.4g}"
    return f"{statistics.mean(values):.4g} +- {statistics.stdev(values):.2g}"


def table(labelled: Mapping[str, Sequence[Run]], lower: bool) -> str:
    """A Markdown table: a group a row, the best last score first.

    Args:
      labelled: of `groups`.
      lower: whether lower is better.
    """
    sign = 1 if lower else -1
    rows = []
    for label, members in labelled.items():
        last = [run.points[-1] for run in members]
        best = [min(run.points, key=lambda p: sign * p.value) for run in members]
        seen = sorted({p.images_seen for p in last if p.images_seen is not None})
        seconds = [p.seconds for p in last if p.seconds is not None]
        cells = [
            label,
            ", ".join(str(run.seed) for run in members),
            spread([p.value for p in last]),
            spread([p.value for p in best]),
            " to ".join(f"{n:,}" for n in dict.fromkeys([seen[0], seen[-1]])) if seen else "",
            f"{statistics.mean(seconds):.0f}" if seconds else "",
        ]
        rows.append((sign * statistics.mean(p.value for p in last), cells))
    score = next(iter(labelled.values()))[0].score
    head = ["system", "seeds", f"{score}, last", f"{score}, best", "images seen", "seconds"]
    lines = [head, ["---"] * len(head), *(cells for _, cells in sorted(rows, key=lambda r: r[0]))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def curve(members: Sequence[Run], axis: str) -> tuple[list[float], list[float], list, list]:
    """(x, mean, lowest, highest) over the seeds of a group, at the steps that all of them have.

    Args:
      members: a group.
      axis: "images_seen" or "seconds"; x is the mean over the seeds. Empty where it is not known.
    """
    by_step = [{p.step: p for p in run.points} for run in members]
    steps = sorted(set.intersection(*(set(points) for points in by_step)))
    x, mean, low, high = [], [], [], []
    for step in steps:
        places = [getattr(points[step], axis) for points in by_step]
        if any(place is None for place in places):
            continue
        values = [points[step].value for points in by_step]
        x.append(statistics.mean(places))
        mean.append(statistics.mean(values))
        low.append(min(values))
        high.append(max(values))
    return x, mean, low, high
