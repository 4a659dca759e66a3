"""What `ganpipe eval` does with a run: one checkpoint, or those along its training."""

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError

DEFAULT_METRICS = ("frechet", "kernel", "label_accuracy")
DEFAULT_NUM = 2000
REPORT_IMAGES = 10_000


def default_metrics(num_classes: int, source: Any, extractor: str) -> tuple[str, ...]:
    """Those of `DEFAULT_METRICS` that what is scored can have; only these are taken unasked.

    Args:
      num_classes: classes that images were asked of; 0 without labels.
      source: the real images.
      extractor: as in `evaluate_run`.
    """
    from ganpipe.metrics import choice, suite

    own = choice.parts(extractor)[0] in ("auto", choice.OWN)
    judged = bool(num_classes) and own and choice.knows_classes(extractor, source)
    return tuple(
        name for name in DEFAULT_METRICS if judged or "labels" not in suite.METRICS[name].needs
    )


def evaluate_run(
    run_dir: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    metrics: Sequence[str] | None = None,
    num: int = DEFAULT_NUM,
    seed: int = 0,
    split: str = "test",
    cache_dir: str | os.PathLike | None = None,
    extractor: str = "auto",
    step: int | None = None,
    report: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Scores the averaged generator of a run's checkpoint.

    Args:
      run_dir: folder that `ganpipe train` wrote.
      data_dir: prepared data folder; None takes the run's own. Data of another fingerprint than
        the run's are used with a warning on stderr.
      metrics: names out of `ganpipe.metrics.evaluate.METRICS`; None: see `default_metrics`.
      num: generated images.
      seed: see `ganpipe.metrics.evaluate.evaluate`.
      split: split of the data set to compare with.
      cache_dir: where classifiers are kept; None is `evaluation.default_cache_dir()`.
      extractor: a name out of `ganpipe.metrics.choice.SUMMARIES`, or `NAME:FILE`.
      step: of the checkpoint; None takes the newest sound one.
      report: HTML file to write about it; see `ganpipe.metrics.report`.

    Returns:
      What metrics.json holds; see `docs/metrics.md`.

    Raises:
      UserError: anything that cannot be evaluated, before the classifier is trained.
    """
    judge = _Judge(Path(run_dir), data_dir, metrics, num, seed, split, cache_dir, extractor, report)
    return judge.scores(judge.load(step))


def evaluate_series(
    run_dir: str | os.PathLike,
    *,
    every_kimg: float,
    data_dir: str | os.PathLike | None = None,
    metrics: Sequence[str] | None = None,
    num: int = DEFAULT_NUM,
    seed: int = 0,
    split: str = "test",
    cache_dir: str | os.PathLike | None = None,
    extractor: str = "auto",
) -> dict[str, Any]:
    """Scores the checkpoints of a run, one every so many thousand images, and records them.

    A score that stands in `RUN/metrics.jsonl` and was taken as it would be now (extractor, data,
    split, counts, seed, code) is not taken again. Of a checkpoint that cannot be scored (a
    generator that gives NaN, say) the reason is told, and the others are scored.

    Args:
      run_dir: as in `evaluate_run`.
      every_kimg: thousands of real images between two scored checkpoints; see `marks`.
      data_dir: as in `evaluate_run`.
      metrics: as in `evaluate_run`.
      num: as in `evaluate_run`.
      seed: as in `evaluate_run`.
      split: as in `evaluate_run`.
      cache_dir: as in `evaluate_run`.
      extractor: as in `evaluate_run`.

    Returns:
      {"every_kimg": K, "results": lines of the history, by step: `step`, `images_seen`,
      `train_seconds` and what `evaluate_run` returns; "failed": {step: why}}.

    Raises:
      UserError: as `evaluate_run`; a run without checkpoints, or whose checkpoints do not say how
        many images they have seen.
    """
    run = Path(run_dir)
    judge = _Judge(run, data_dir, metrics, num, seed, split, cache_dir, extractor, None)

    from ganpipe.metrics import history

    steps = marks(seen_of(run), every_kimg)
    results, failed = [], {}
    for step in steps:
        system = judge.load(step)  # which also makes the extractor, that the history is told by
        known = next((line for line in history.read(run) if judge.has(line, step)), None)
        if known is not None:
            results.append(known)
            continue
        try:
            result = judge.scores(system)
        except (UserError, ValueError, RuntimeError) as error:
            if step == steps[0] and isinstance(error, UserError):
                raise  # of the request, not of the model
            failed[step] = str(error)
            print(f"warning: step {step} is not scored: {error}", file=sys.stderr)
            continue
        results.append(record_run(run, result))
    return {"every_kimg": every_kimg, "results": results, "failed": failed}


def seen_of(run: Path) -> dict[int, int]:
    """Checkpoint step -> real images seen, of all checkpoints that a run kept.

    Raises:
      UserError: no checkpoints, or none that says how many images it has seen.
    """
    from ganpipe.train import checkpoint, evaluation

    steps = checkpoint.list_steps(run / "checkpoints")
    if not steps:
        raise UserError(f"--run={run} has no checkpoints: there is nothing to score")
    seen = {step: evaluation.place(run, step)[0] for step in steps}
    known = {step: images for step, images in seen.items() if images is not None}
    if not known:
        raise UserError(
            f"--every_kimg: the checkpoints of {run} do not say how many images they have seen "
            "(an older version wrote them): give --step instead"
        )
    return known


def marks(seen: dict[int, int], every_kimg: float) -> list[int]:
    """Steps to score: the first checkpoint at or beyond each multiple of K thousand, and the last.

    Args:
      seen: step -> real images seen.
      every_kimg: K.
    """
    chosen, done = [], 0
    for step in sorted(seen):
        passed = int(seen[step] / (1000 * every_kimg) + 1e-9)
        if passed > done:
            chosen.append(step)
            done = passed
    return chosen if chosen and chosen[-1] == max(seen) else [*chosen, max(seen)]


class _Judge:
    """Scores checkpoints of one run, all in the same way."""

    def __init__(self, run, data_dir, metrics, num, seed, split, cache_dir, extractor, report):
        self.run, self.metrics, self.num, self.seed = run, metrics, num, seed
        self.split, self.extractor, self.report = split, extractor, report
        self.record = _run_record(run)
        folder = data_dir or self.record.get("data_dir")
        folder = folder or self.record["config"].get("data", {}).get("dir")
        if not folder:
            raise UserError(f"{run}/config.json names no data folder: give it with --data")

        from ganpipe import data
        from ganpipe.train import evaluation

        self.info = data.info(folder)
        self.cache = Path(cache_dir or evaluation.default_cache_dir())
        self.trained_on = self.record.get("data_fingerprint")
        if self.trained_on and self.trained_on != self.info.fingerprint:
            print(
                f"warning: {run} was trained on data with the fingerprint {self.trained_on[:12]}, "
                f"{folder} has {self.info.fingerprint[:12]}: the scores compare with other images",
                file=sys.stderr,
            )
        self.source = self.ruler = self.request = None

    def load(self, step: int | None) -> Any:
        """The system at a step; the first call checks the request and makes the extractor."""
        import ganpipe
        from ganpipe.metrics import choice, evaluate, latents
        from ganpipe.train import evaluation

        system = ganpipe.load(self.run) if step is None else ganpipe.load(self.run, step)
        if self.ruler is not None:
            return system
        self.source = evaluation.data_source(self.info, system.resolution)
        if self.metrics is None:
            self.metrics = default_metrics(system.num_classes, self.source, self.extractor)
        choice.check(self.extractor, self.source, self.metrics)
        model = latents.of_system(system)
        self.request = evaluate.check(
            metrics=self.metrics,
            num=self.num,
            source=self.source,
            split=self.split,
            num_classes=system.num_classes,
            resolution=system.resolution,
            width=system.image_shape[1],
            channels=system.channels,
            classes_known=choice.knows_classes(self.extractor, self.source),
            looked_at=REPORT_IMAGES if self.report else 0,
            spaces=model.spaces if model is not None else (),
        )
        self.ruler = choice.get(self.extractor, self.source, self.cache)
        return system

    def scores(self, system: Any) -> dict[str, Any]:
        """What metrics.json holds of a system of `load`."""
        from ganpipe.metrics import evaluate, latents

        origin = {
            "dir": str(self.run.resolve()),
            "config_fingerprint": self.record.get("fingerprint"),
            "data_fingerprint": self.trained_on,
            "commit": self.record.get("commit"),
            "step": int(system.step),
        }
        write = page_of(self.report)

        def inspect(context: Any, result: dict[str, Any]) -> None:
            result["passport"]["run"] = origin
            if write is not None:
                write(context, result)

        return evaluate.evaluate(
            system.sample,
            self.source,
            self.ruler,
            self.request,
            self.seed,
            self.cache,
            inspect,
            latents.of_system(system),
        )

    def has(self, line: dict[str, Any], step: int) -> bool:
        """Whether a line of the history is what `scores` would give at that step."""
        from ganpipe.metrics import passport

        found = line["passport"]
        now = {
            "extractor": f"{self.ruler.name} {self.ruler.hash}",
            "extractor_fingerprint": self.ruler.card["fingerprint"],
            "split": self.split,
            "resolution": self.source.resolution,
            "channels": self.source.channels,
        }
        return (
            line["step"] == step
            and set(self.request.metrics) <= set(line["names"])
            and all(found.get(key) == value for key, value in now.items())
            and found.get("counts", {}).get("generated") == self.num
            and found.get("seeds", {}).get("seed") == self.seed
            and found.get("data", {}).get("fingerprint") == self.source.fingerprint
            and found.get("code", {}).get("version") == passport.code_version()
        )


def page_of(report: str | os.PathLike | None) -> Callable[..., None] | None:
    """`inspect` of an evaluation: writes the page."""
    if report is None:
        return None
    from ganpipe.metrics import report as pages

    return functools.partial(pages.write, report)


def record_run(run: Path, result: dict[str, Any]) -> dict[str, Any]:
    """Adds a result of `evaluate_run` to the run's own history; returns the line of it."""
    import tensorflow as tf

    from ganpipe.train import evaluation

    step = result["passport"]["run"]["step"]
    images, seconds = evaluation.place(run, step)
    try:
        return evaluation.record(run, result, step, images, seconds)
    except (OSError, tf.errors.OpError) as error:  # a run folder that others own may be read alone
        print(f"warning: {run}/metrics.jsonl is not written: {error}", file=sys.stderr)
        return {"step": step, "images_seen": images, "train_seconds": seconds} | result


def _run_record(run: Path) -> dict[str, Any]:
    """config.json of a run folder."""
    path = run / "config.json"
    if not path.is_file():
        what = "has no config.json" if run.is_dir() else "does not exist"
        raise UserError(f"--run={run} {what}: expected a folder that `ganpipe train` wrote")
    try:
        record = json.loads(path.read_text())
        if not isinstance(record["config"], dict):
            raise ValueError("`config` is not an object")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not readable as a run's config: {error}") from error
    return record
