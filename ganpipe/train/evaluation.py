"""Scores while training: `RUN/metrics.jsonl`, TensorBoard, and the best checkpoint kept.

The same code scores a run from the command line (`ganpipe.cli.eval`): the averaged generator
against a split that was not trained on, through an extractor that is made once.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from ganpipe import config as config_lib
from ganpipe import data as data_lib
from ganpipe.errors import UserError
from ganpipe.metrics import choice, evaluate, history, passport
from ganpipe.metrics.material import Extractor
from ganpipe.metrics.source import ImageSource
from ganpipe.metrics.suite import METRICS
from ganpipe.train import callbacks, checkpoint


def default_cache_dir() -> Path:
    """`$GANPIPE_CACHE/extractors`, else `~/.cache/ganpipe/extractors`."""
    root = os.environ.get("GANPIPE_CACHE") or Path.home() / ".cache" / "ganpipe"
    return Path(root) / "extractors"


def data_source(info: "data_lib.DatasetInfo", resolution: int) -> ImageSource:
    """The metrics' view of a prepared data folder at one resolution.

    Raises:
      UserError: the folder does not hold that resolution.
    """
    info.check_resolution(resolution)

    def batches(split: str, batch_size: int, seed: int | None) -> Any:
        endless = seed is not None
        return data_lib.load(
            info.dir,
            resolution,
            batch_size,
            split=split,
            seed=seed or 0,
            repeat=endless,
            shuffle=endless,
            drop_remainder=endless,
        )

    per_class = {
        split: list(content["per_class"]) if info.num_classes else [int(content["count"])]
        for split, content in info.splits.items()
    }
    names = tuple(info.class_names) if info.num_classes else ()
    width = info.shape(resolution)[1]
    return ImageSource(
        info.name, info.fingerprint, resolution, info.channels, names, per_class, batches, width
    )


def settings(config: Any) -> dict[str, Any]:
    """The `evaluate` section with what it lacks, checked.

    Raises:
      UserError: names the key, what it holds and what it could hold.
    """
    given = dict(config.get("evaluate") or {})
    unknown = sorted(set(given) - set(config_lib.EVALUATE))
    if unknown:
        known = ", ".join(config_lib.EVALUATE)
        raise UserError(f"config.evaluate.{unknown[0]}: unknown. Known: {known}.")
    made = config_lib.EVALUATE | given
    if not made["every"]:
        return made
    every, saved = made["every"], config.train.checkpoint_every
    if every < 0 or every % saved:
        raise UserError(
            f"--config.evaluate.every={every}: expected 0 (off) or a multiple of "
            f"train.checkpoint_every={saved}: what is scored is kept."
        )
    for name in made["metrics"]:
        if name not in METRICS:
            raise UserError(
                f"--config.evaluate.metrics: unknown metric {name!r}; known: {', '.join(METRICS)}."
            )
    if made["best"] not in made["metrics"] or METRICS[made["best"]].lower is None:
        raise UserError(
            f"--config.evaluate.best={made['best']!r}: expected one of evaluate.metrics "
            f"({', '.join(made['metrics'])}) of which lower or higher is better."
        )
    return made


def check(config: Any, info: "data_lib.DatasetInfo") -> evaluate.Request | None:
    """Refuses scores that could never be taken, before any work; None when they are off.

    Raises:
      UserError: says which key of the config to change.
    """
    made = settings(config)
    if not made["every"]:
        return None
    if made["split"] not in info.splits:
        raise UserError(
            f"--config.evaluate.split={made['split']}: {info.dir} has {', '.join(info.splits)}."
        )
    source = data_source(info, config.data.resolution)
    try:
        choice.check(made["extractor"], source, made["metrics"])
        choice.check_file(made["extractor"])
        return evaluate.check(
            metrics=made["metrics"],
            num=made["num"],
            source=source,
            split=made["split"],
            num_classes=info.num_classes if config.data.conditional else 0,
            classes_known=choice.knows_classes(made["extractor"], source),
        )
    except UserError as error:
        raise UserError(f"config.evaluate (every={made['every']}): {error}") from error


class Evaluations(callbacks.AfterStep):
    """Scores the averaged generator every `evaluate.every` steps, after the checkpoint.

    A step that was scored before a run was killed is not scored again; one that was not is scored
    when the run goes on. The best checkpoint so far is named in `RUN/best.json` and stays. Scores
    that cannot be taken (of a collapsed generator, say) are told and passed over.

    Args:
      run: run folder.
      made: of `settings`, with `every` above 0.
      request: of `check`.
      source: the real images.
      images_at: step -> real images seen before it.
      saver: knows the last step and the seconds of training so far.
      cache_dir: of extractors; None is `default_cache_dir()`.
    """

    def __init__(
        self,
        run: Path,
        made: dict[str, Any],
        request: evaluate.Request,
        source: ImageSource,
        images_at: Callable[[int], int],
        saver: callbacks.Checkpoints,
        cache_dir: Path | None = None,
    ):
        super().__init__()
        self.run, self.made, self.request, self.source = run, made, request, source
        self.images_at, self.saver = images_at, saver
        self.cache_dir = cache_dir or default_cache_dir()
        self.extractor: Extractor | None = None
        # Their rates are of training alone: scoring moves their clocks on.
        self.clocks: list[Any] = [saver]

    def due(self, step: int) -> bool:
        """Whether a step is to be scored."""
        return step > 0 and (step % self.made["every"] == 0 or step == self.saver.last)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Scores the checkpoint that the run goes on from, if that was still to be done."""
        super().on_train_begin(logs)
        history.restart(self.run, self.start)
        self.catch_up(self.start)

    def catch_up(self, step: int) -> None:
        """Scores the model, which stands at `step`, if it is due and was not scored."""
        if not self.due(step):
            return
        for line in history.read(self.run):
            if line["step"] == step and set(self.made["metrics"]) <= set(line["names"]):
                self.note_best(line)
                return
        self.score(step)

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Scores what is due."""
        if self.due(step):
            self.score(step)

    def score(self, step: int) -> None:
        """Scores the model as it is now and writes it down."""
        paused = time.monotonic()
        try:
            if self.extractor is None:
                self.extractor = choice.get(self.made["extractor"], self.source, self.cache_dir)
            result = evaluate.evaluate(
                self.model.sample,
                self.source,
                self.extractor,
                self.request,
                cache_dir=self.cache_dir,
            )
        except (UserError, ValueError, RuntimeError) as error:
            # Training is worth more than its scores, and a collapse is the monitor's to judge.
            tqdm.write(f"warning: step {step} is not scored: {error}", file=sys.stderr)
        else:
            images = self.images_at(step)
            self.note_best(record(self.run, result, step, images, self.saver.seconds))
        for watcher in self.clocks:
            watcher.clock += time.monotonic() - paused

    def note_best(self, last: dict[str, Any]) -> None:
        """Writes `RUN/best.json`: the best of the scores taken as the last, of those still there.

        Args:
          last: line of the history.
        """
        metric, how = self.made["best"], passport.identity(last["passport"])
        there = set(checkpoint.list_steps(self.run / "checkpoints"))
        alike = [
            line
            for line in history.read(self.run)
            if line["step"] in there and passport.identity(line["passport"]) == how
        ]
        found = history.best(alike, metric, bool(METRICS[metric].lower))
        if found is not None:
            best = {"metric": metric, "value": found["scores"][metric], "step": found["step"]}
            aside = self.run / ".best.json"
            aside.write_text(json.dumps(best, indent=1) + "\n")
            aside.rename(self.run / "best.json")


def best_step(run: Path) -> list[int]:
    """[step] of the best checkpoint so far; [] where none was scored."""
    path = run / "best.json"
    if not path.exists():
        return []
    try:
        return [int(json.loads(path.read_text())["step"])]
    except (ValueError, KeyError, TypeError) as error:
        print(f"warning: {path} cannot be read ({error!r}): nothing is kept", file=sys.stderr)
        return []


def record(
    run: Path, result: dict[str, Any], step: int, images_seen: int | None, seconds: float | None
) -> dict[str, Any]:
    """Adds a result to `RUN/metrics.jsonl` and to TensorBoard as `metrics/NAME`.

    Args:
      run: run folder.
      result: of `ganpipe.metrics.evaluate`.
      step: of the model.
      images_seen: real images that D has seen until then.
      seconds: of training until then.

    Returns:
      The line of the history.

    Raises:
      OSError, tf.errors.OpError: the run folder cannot be written.
    """
    kept = {key: result[key] for key in ("scores", "names", "extractor", "passport")}
    line = {"step": step, "images_seen": images_seen, "train_seconds": seconds} | kept
    history.append(run, line)
    if (run / "tensorboard").is_dir():
        writer = _writer(str((run / "tensorboard").resolve()))
        with writer.as_default(step=step):
            for name, value in result["scores"].items():
                tf.summary.scalar(f"metrics/{name}", value)
        writer.flush()
    return line


@functools.lru_cache(maxsize=4)
def _writer(folder: str) -> tf.summary.SummaryWriter:
    """One event file a process and run, however many scores are written."""
    return tf.summary.create_file_writer(folder)


def place(run: Path, step: int) -> tuple[int | None, float | None]:
    """(real images seen, seconds of training) at a step of a run; None where it does not say."""
    folder = checkpoint.path_of(run / "checkpoints", step)
    found = checkpoint.place(folder) if folder.is_dir() else {}
    return found.get("images_seen"), found.get("seconds")
