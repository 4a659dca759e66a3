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
from ganpipe.metrics.suite import METRICS

# Keys of a config that steer how long and how often, and make no other experiment.
_ASIDE = ("name", "monitor", "evaluate")
_ASIDE_TRAIN = (
    "seed",
    "steps",
    "checkpoint_every",
    "keep_checkpoints",
    "log_every",
    "sample_every",
    "steps_per_execution",
)


@dataclass(frozen=True)
class Point:
    """One score of one run.

    Attributes:
      step: of the model.
      images_seen: real images that D had seen; None where it is not known.
      seconds: of training; None where it is not known.
      value: the score; the mean where a model was scored with several seeds.
    """

    step: int
    images_seen: int | None
    seconds: float | None
    value: float


@dataclass(frozen=True)
class Run:
    """The scores of one run, taken in one way.

    Attributes:
      folder: of the run.
      name: of its config.
      seed: of its training.
      key: equal for runs that differ in the seed alone.
      points: by step.
      how: what all its points share; see `passport.compared`.
      score: what the metric is called with its extractor.
    """

    folder: Path
    name: str
    seed: int
    key: str
    points: tuple[Point, ...]
    how: Mapping[str, Any]
    score: str


def load(folder: Path, metric: str) -> list[Run]:
    """A run's scores of one metric: one `Run` for each way in which they were taken.

    Raises:
      UserError: no run folder, or no such score.
    """
    try:
        record = json.loads((folder / "config.json").read_text())
        config = record["config"]
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
    plain = {k: v for k, v in config.items() if k not in _ASIDE}
    plain["train"] = {k: v for k, v in config["train"].items() if k not in _ASIDE_TRAIN}
    plain["data"] = {k: v for k, v in config.get("data", {}).items() if k != "dir"}
    plain["trained_on"] = record.get("data_fingerprint")
    key = json.dumps(plain, sort_keys=True)
    ways: dict[str, list[dict[str, Any]]] = {}
    needs = METRICS[metric].needs
    for r in records:
        how = passport.compared(r["passport"], metric, needs)
        ways.setdefault(json.dumps(how, sort_keys=True), []).append(r)
    return [
        Run(
            folder,
            name,
            seed,
            key,
            _points(members, metric),
            passport.compared(members[-1]["passport"], metric, needs),
            members[-1]["names"][metric],
        )
        for members in ways.values()
    ]


def _points(records: Sequence[Mapping[str, Any]], metric: str) -> tuple[Point, ...]:
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        by_step.setdefault(record["step"], []).append(record)
    return tuple(
        Point(
            step,
            members[-1]["images_seen"],
            members[-1]["train_seconds"],
            statistics.mean(float(r["scores"][metric]) for r in members),
        )
        for step, members in sorted(by_step.items())
    )


def alike(loaded: Sequence[Sequence[Run]]) -> list[Run]:
    """Of each run the scores that were taken in the one way that all runs share.

    Where there are several such ways, the one with most points.

    Args:
      loaded: of `load`, one for each run.

    Raises:
      UserError: there is none; names the fields in which two runs differ.
    """
    common = [
        ways
        for first in loaded[0]
        if (ways := [next((r for r in runs if r.how == first.how), None) for runs in loaded])
        and None not in ways
    ]
    if common:
        return max(common, key=lambda runs: sum(len(run.points) for run in runs))
    pairs = [
        (first, other)
        for first in loaded[0]
        for runs in loaded[1:]
        for other in runs
        if first.how != other.how
    ]
    one, other = min(pairs, key=lambda pair: len(passport.unlike(*(run.how for run in pair))))
    what = "; ".join(
        f"{key}: {a!r} and {b!r}" for key, (a, b) in passport.unlike(one.how, other.how).items()
    )
    raise UserError(
        f"scores of {one.folder} and of {other.folder} cannot be compared: {what}. Score both the "
        "same way with `python -m ganpipe eval`."
    )


def groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Label -> runs that differ in their seeds alone, in the order given.

    Args:
      runs: of `alike`.

    Raises:
      UserError: a seed that occurs twice in a group.
    """
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


def table(labelled: Mapping[str, Sequence[Run]], lower: bool | None) -> str:
    """A Markdown table: a group a row, the best last score first.

    Args:
      labelled: of `groups`.
      lower: whether lower is better; None where neither is: rows stand as given, without a best.
    """
    sign = {True: 1, False: -1, None: 0}[lower]
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
            spread([p.value for p in best]) if sign else "",
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
