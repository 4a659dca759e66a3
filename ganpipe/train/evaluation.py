"""Scores while training: `RUN/metrics.jsonl`, TensorBoard, and the best checkpoint kept.

The same code scores a run from the command line (`ganpipe.cli.eval`): the averaged generator
against a split that was not trained on, through an extractor that is made once.
"""

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ganpipe import config as config_lib
from ganpipe import data as data_lib
from ganpipe.errors import UserError
from ganpipe.metrics import classifier, evaluate, history
from ganpipe.metrics.material import Extractor
from ganpipe.metrics.source import ImageSource
from ganpipe.metrics.suite import METRICS
from ganpipe.train import callbacks, checkpoint

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem


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
    return ImageSource(
        info.name, info.fingerprint, resolution, info.channels, names, per_class, batches
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


class Evaluations(callbacks.AfterStep):
    """Scores the averaged generator every `evaluate.every` steps, after the checkpoint.

    A step that was scored before a run was killed is not scored again; one that was not is scored
    when the run goes on. The best checkpoint so far is named in `RUN/best.json` and stays.

    Args:
      run: run folder.
      made: of `settings`, with `every` above 0.
      system: that is trained.
      info: of the data.
      images_a_step: real images that a step takes.
      saver: knows the seconds of training so far.
      cache_dir: of extractors; None is `default_cache_dir()`.
    """

    def __init__(
        self,
        run: Path,
        made: dict[str, Any],
        system: "GANSystem",
        info: "data_lib.DatasetInfo",
        images_a_step: int,
        saver: callbacks.Checkpoints,
        cache_dir: Path | None = None,
    ):
        super().__init__()
        self.run, self.made, self.images_a_step, self.saver = run, made, images_a_step, saver
        self.source = data_source(info, system.resolution)
        # Refused before any training.
        self.request = evaluate.check(
            metrics=made["metrics"],
            num=made["num"],
            source=self.source,
            split=made["split"],
            num_classes=system.num_classes,
            resolution=system.resolution,
            channels=system.channels,
        )
        self.cache_dir = cache_dir or default_cache_dir()
        self.extractor: Extractor | None = None

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Scores the checkpoint that the run goes on from, if that was still to be done."""
        super().on_train_begin(logs)
        scored = {record["step"] for record in history.read(self.run)}
        if self.start and self.start % self.made["every"] == 0 and self.start not in scored:
            self.score(self.start)

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Scores what is due."""
        if step % self.made["every"] == 0 or step == self.saver.last:
            self.score(step)

    def score(self, step: int) -> None:
        """Scores the model as it is now and writes it down."""
        paused = time.monotonic()
        if self.extractor is None:
            self.extractor = classifier.get_or_train(self.source, self.cache_dir)
        result = evaluate.evaluate(
            self.model.sample, self.source, self.extractor, self.request, cache_dir=self.cache_dir
        )
        record(self.run, result, step, step * self.images_a_step, self.saver.seconds)
        metric = self.made["best"]
        found = history.best(history.read(self.run), metric, bool(METRICS[metric].lower))
        if found is not None:
            best = {"metric": metric, "value": found["scores"][metric], "step": found["step"]}
            aside = self.run / ".best.json"
            aside.write_text(json.dumps(best, indent=1) + "\n")
            aside.rename(self.run / "best.json")
        self.saver.clock += time.monotonic() - paused


def best_step(run: Path) -> list[int]:
    """[step] of the best checkpoint so far; [] where none was scored."""
    path = run / "best.json"
    return [int(json.loads(path.read_text())["step"])] if path.exists() else []


def record(
    run: Path, result: dict[str, Any], step: int, images_seen: int | None, seconds: float | None
) -> None:
    """Adds a result to `RUN/metrics.jsonl` and to TensorBoard as `metrics/NAME`.

    Args:
      run: run folder.
      result: of `ganpipe.metrics.evaluate`.
      step: of the model.
      images_seen: real images that D has seen until then.
      seconds: of training until then.
    """
    kept = {key: result[key] for key in ("scores", "names", "extractor", "passport")}
    place = {"step": step, "images_seen": images_seen, "train_seconds": seconds}
    history.append(run, place | kept)
    writer = tf.summary.create_file_writer(str(run / "tensorboard"))
    with writer.as_default(step=step):
        for name, value in result["scores"].items():
            tf.summary.scalar(f"metrics/{name}", value)
    writer.close()


def place(run: Path, values: dict[str, Any], step: int) -> tuple[int | None, float | None]:
    """(real images seen, seconds of training) at a step of a run.

    Args:
      run: run folder.
      values: its config as a dict.
      step: that has a checkpoint.
    """
    train = values.get("train") or {}
    images = None
    if "batch_size" in train:
        images = step * train["batch_size"] * (values.get("optimizer") or {}).get("n_critic", 1)
    folder = checkpoint.path_of(run / "checkpoints", step)
    return images, checkpoint.seconds(folder) if folder.is_dir() else None
