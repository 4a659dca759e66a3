"""Train a system from a config, or continue a run that stopped: `train(config, workdir)`."""

import difflib
import functools
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ganpipe import config as config_lib
from ganpipe import data as data_lib
from ganpipe.errors import UserError
from ganpipe.models import base, registry
from ganpipe.ops import images as image_ops
from ganpipe.ops.growth import Growth, Stage
from ganpipe.train import (
    callbacks,
    checkpoint,
    checks,
    distribute,
    evaluation,
    monitor,
    monitor_journal,
    monitor_probe,
    run_folder,
)
from ganpipe.train.checks import validate

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

STAGE_SEEDS = 1_000_003  # between the seeds of two stages' orders of the data
SECTIONS = ("penalties", "tips", "growth")  # what `compile` takes as a whole


def build(config: Any, info: "data_lib.DatasetInfo", seed: int | None = None) -> "GANSystem":
    """Creates and compiles the system of a config, inside the current strategy's scope.

    Args:
      config: as in `ganpipe/configs`; `penalties` and `tips` may be missing.
      info: of the data.
      seed: of the latents and all else that is drawn in training; `train.seed` when None. The
        initial weights are always those of `train.seed`.

    Raises:
      UserError: a setting that the system does not have.
    """
    arguments = {k: v for k, v in config.system.items() if k != "name"}
    system = registry.create(
        config.system.name,
        resolution=config.data.resolution,
        channels=config.data.channels,
        num_classes=info.num_classes if config.data.conditional else 0,
        seed=config.train.seed,
        precision=config.train.precision,
        **arguments,
    )
    takes = set(inspect.signature(system.compile).parameters)
    sections = {k: dict(config[k]) for k in ("penalties", "tips") if k in config}
    for section in sections:
        if section not in takes:
            raise UserError(f"config.{section}: {system.system_name} has no such section.")
    if "growth" in takes:
        sections["growth"] = checks.growth(config) if config.get("growth") else None
    elif config.get("growth"):
        raise UserError(f"config.growth: {system.system_name} does not grow.")
    takes -= {"seed", "g_optimizer", "d_optimizer", "keras_arguments", *SECTIONS}
    unknown = sorted(set(config.optimizer) - takes)
    if unknown:
        close = difflib.get_close_matches(unknown[0], takes, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"config.optimizer.{unknown[0]}: {system.system_name} has no such setting.{hint} It "
            f"takes {', '.join(sorted(takes))}."
        )
    system.compile(
        seed=config.train.seed if seed is None else seed,
        steps_per_execution=config.train.steps_per_execution,
        **config.optimizer,
        **sections,
    )
    return system


def train(
    config: Any,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    strategy: str = "none",
    logical_cpus: int = 0,
    init_from: str | Path | None = None,
) -> "GANSystem":
    """Trains up to `config.train.steps`, continuing from the newest sound checkpoint in `workdir`.

    Args:
      config: as in `ganpipe/configs`.
      workdir: run folder; see `ganpipe.train.run_folder`.
      data_dir: prepared data; `config.data.dir` when None.
      strategy: "none", "mirrored" or "multi_worker".
      logical_cpus: see `ganpipe.train.distribute.make`.
      init_from: run folder, of training or of an import, whose networks a new run starts from; the
        optimisers, the step and what a system adapts begin anew. Nothing to a run that goes on.

    Returns:
      The trained system.

    Raises:
      UserError: any input that cannot be used, before any work; a breach at which the health
        monitor stops (`config.monitor`).
    """
    if not (data_dir or config.data.dir):
        raise UserError("--data is missing: the folder that `python -m pipeline.prepare` wrote.")
    workdir = Path(workdir)
    info = data_lib.info(data_dir or config.data.dir)
    config = checks.with_steps(config, info)
    validate(config, info)
    run_folder.check(workdir, config, info.fingerprint)
    evaluation.check(config, info)
    settings = monitor.settings(config.get("monitor"))
    goes_back = monitor.returning(settings)
    if strategy == "multi_worker" and goes_back:
        raise UserError(
            f"config.monitor: {goes_back[0]} is to roll back, which --strategy=multi_worker cannot "
            "do; expected warn or stop."
        )
    distribution = distribute.make(strategy, logical_cpus)
    checks.check_replicas(config, strategy, distribution.num_replicas_in_sync)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    # A rollback is nothing but a restart: it leaves `fit`, and what a killed process would find in
    # the run folder is all that it goes on with.
    while True:
        try:
            return _stretch(config, settings, workdir, info, distribution, init_from)
        except monitor.RolledBack:
            continue


def _stretch(
    config: Any,
    settings: dict[str, Any],
    workdir: Path,
    info: "data_lib.DatasetInfo",
    distribution: tf.distribute.Strategy,
    init_from: str | Path | None,
) -> "GANSystem":
    """Trains from where the run folder stands to the end.

    Raises:
      RolledBack: the run folder stands at an older checkpoint now.
    """
    chief = distribute.is_chief(distribution)
    directory = workdir / "checkpoints"
    journal = monitor_journal.Journal(workdir, chief)
    journal.settle()
    seed = journal.seed(config.train.seed)
    with distribution.scope():
        system = build(config, info, seed)
    checks.check_batches(system, config, distribution.num_replicas_in_sync)
    rates = monitor_journal.base_rates(system.state())
    found = checkpoint.newest(directory)
    start = checkpoint.restore(system, found) if found else 0
    if found is None and init_from is not None:
        run_folder.start_from(system, init_from)
    system.resume()
    monitor_journal.scale_rates(rates, journal.lr_scale)
    growth = checks.growth(config)
    last = config.train.steps
    if start >= last:
        print(f"{workdir}: already at step {start} of {last}; nothing to train", file=sys.stderr)
        for watcher in _scoring(config, workdir, info, system, None) if chief else ():
            watcher.set_model(system)
            watcher.catch_up(start)
        return system
    if (last - start) % config.train.steps_per_execution:
        raise UserError(
            f"{workdir} stands at step {start}: the steps left to {last} are no multiple of "
            f"--config.train.steps_per_execution={config.train.steps_per_execution}."
        )
    if chief:
        run_folder.write(workdir, config, system, info.dir, info.fingerprint)
        checkpoint.sweep(directory)
        if start:
            print(f"continuing {workdir} at step {start} of {last}", file=sys.stderr)
    if start == 0:
        _first_look(system, config, info, workdir, chief)
    watchers = _watchers(config, settings, workdir, info, system, journal, chief, found, growth)
    try:
        _stages(config, info, system, distribution, journal, growth, start, watchers)
    finally:
        for watcher in watchers:  # Keras closes them only where `fit` ends well
            watcher.close()
    drift = distribute.largest_replica_difference(distribution, system.variables)
    if drift > 0:
        raise RuntimeError(f"replicas have drifted apart by {drift}: please report this as a bug")
    return system


def _stages(
    config: Any,
    info: "data_lib.DatasetInfo",
    system: "GANSystem",
    distribution: tf.distribute.Strategy,
    journal: monitor_journal.Journal,
    growth: Growth,
    start: int,
    watchers: list[callbacks.AfterStep],
) -> None:
    """One `fit` a stage, from step `start` to the last, each with data of its own size."""
    last, step, n_critic = config.train.steps, start, system.n_critic
    seed = journal.seed(config.train.seed)
    while step < last:
        stage = growth.at(step)
        end = last if stage is growth.stages[-1] else min(stage.last_step, last)
        # Weights to start from may stand at a smaller level than the only stage here.
        if growth.grows or hasattr(system.generator, "grow"):
            with distribution.scope():
                system.enter(stage, fresh=step == stage.first_step)
            rates = monitor_journal.base_rates(system.state())
            monitor_journal.scale_rates(rates, journal.lr_scale)
        read = functools.partial(
            data_lib.load,
            info.dir,
            stage.resolution,
            stage.batch_size,
            "train",
            seed + STAGE_SEEDS * stage.index,
            start_step=(step - stage.first_step) * n_critic,
            mirror=config.data.get("mirror", False),
            fade=_fade(growth, stage) if stage.fading else None,
        )
        dataset = distribute.feed(
            distribution, lambda shard, read=read: read(shard=shard), stage.batch_size, n_critic
        )
        system.fit(dataset, epochs=1, steps_per_epoch=end - step, verbose=0, callbacks=watchers)
        step = end


def _fade(growth: Growth, stage: Stage) -> Any:
    """The reader's schedule: number of a batch of the stage -> alpha."""
    return lambda batch: growth.alpha(stage, stage.first_step + batch)


def _watchers(
    config: Any,
    settings: dict[str, Any],
    workdir: Path,
    info: "data_lib.DatasetInfo",
    system: "GANSystem",
    journal: monitor_journal.Journal,
    chief: bool,
    found: Path | None,
    growth: Growth,
) -> list[callbacks.AfterStep]:
    """Callbacks in their order: nothing bad is saved after the monitor has spoken."""
    train, conditional = config.train, bool(system.num_classes)

    def images(step: int) -> int:
        return growth.images(step) * system.n_critic

    yardstick = monitor_probe.reference(info, config.data.resolution, conditional)
    watch = monitor.Monitor(
        workdir,
        config_lib.to_dict(config) | {"monitor": settings},
        journal,
        monitor_probe.Probe(system, yardstick),
        system.objective,
        chief,
    )
    saver = callbacks.Checkpoints(
        workdir / "checkpoints",
        train.checkpoint_every,
        train.steps,
        train.keep_checkpoints,
        chief,
        before=lambda step: [*watch.before_save(step), *evaluation.best_step(workdir)],
        seconds=checkpoint.place(found)["seconds"],
        images_at=images,
    )
    if not chief:
        return [watch, saver]
    bar = callbacks.Progress(train.steps, images)
    every = (train.log_every, train.sample_every)
    summaries = callbacks.Summaries(workdir, images, *every, train.steps, watch.scalars)
    watch.listeners += [bar.note, summaries.note]
    scoring = _scoring(config, workdir, info, system, saver)
    for watcher in scoring:
        watcher.clocks.append(summaries)
    return [bar, watch, saver, summaries, *scoring]


def _scoring(
    config: Any,
    workdir: Path,
    info: "data_lib.DatasetInfo",
    system: "GANSystem",
    saver: callbacks.Checkpoints | None,
) -> list[evaluation.Evaluations]:
    """The callback that scores, if the config asks for it; `saver` is None without training."""
    request = evaluation.check(config, info)
    if request is None:
        return []
    train, directory = config.train, workdir / "checkpoints"
    if saver is None:
        seconds = checkpoint.place(checkpoint.newest(directory))["seconds"]
        saver = callbacks.Checkpoints(directory, 1, train.steps, 2, True, seconds=seconds)
    made, growth = evaluation.settings(config), checks.growth(config)

    def images(step: int) -> int:
        return growth.images(step) * system.n_critic

    source = evaluation.data_source(info, config.data.resolution)
    return [evaluation.Evaluations(workdir, made, request, source, images, saver)]


def _first_look(
    system: "GANSystem", config: Any, info: "data_lib.DatasetInfo", workdir: Path, chief: bool
) -> None:
    """Mean training image for `system.adapt`, and `reals.png`: from up to 10,000 first images.

    A system that does not adapt needs the 64 of the picture alone.
    """
    batch = min(config.train.batch_size, 256)
    adapts = type(system).adapt is not base.GANSystem.adapt
    batches = max(10_000 // batch, 1) if adapts else -(-64 // batch)
    reader = data_lib.load(
        info.dir,
        config.data.resolution,
        batch,
        "train",
        repeat=False,
        shuffle=False,
        drop_remainder=False,
    )
    total, count, first = 0.0, 0, []
    for images, _ in reader.take(batches):
        images = images.numpy()
        total, count = total + images.sum(0, dtype=np.float64), count + len(images)
        if sum(map(len, first)) < 64:
            first.append(images)
    system.adapt((total / count).astype(np.float32))
    if chief:
        columns, rows = callbacks.grid_shape(max(system.image_shape[:2]))
        reals = image_ops.to_uint8(np.concatenate(first)[: columns * rows]).numpy()
        callbacks.write_png(workdir / "reals.png", image_ops.grid(reals, columns))
