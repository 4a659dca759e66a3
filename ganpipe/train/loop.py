"""Train a system from a config, or continue a run that stopped: `train(config, workdir)`."""

import functools
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ganpipe import data as data_lib
from ganpipe.errors import UserError
from ganpipe.models import registry
from ganpipe.ops import images as image_ops
from ganpipe.train import callbacks, checkpoint, distribute, run_folder

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

PRECISIONS = ("float32", "mixed_bfloat16")


def validate(config: Any, info: "data_lib.DatasetInfo") -> None:
    """Refuses impossible combinations before any work.

    Raises:
      UserError: names the key, what it holds and what it could hold.
    """
    train, data = config.train, config.data
    positive = ("steps", "batch_size", "steps_per_execution", "checkpoint_every", "log_every")
    for key in (*positive, "sample_every"):
        if train[key] < 1:
            raise UserError(f"--config.train.{key}={train[key]}: expected 1 or more.")
    for key in ("steps", "checkpoint_every", "log_every", "sample_every"):
        if train[key] % train.steps_per_execution:
            raise UserError(
                f"--config.train.{key}={train[key]}: expected a multiple of "
                f"train.steps_per_execution={train.steps_per_execution}."
            )
    if train.keep_checkpoints < 2:
        raise UserError(
            f"--config.train.keep_checkpoints={train.keep_checkpoints}: expected 2 or more, one to "
            "fall back on."
        )
    if train.seed < 0:
        raise UserError(f"--config.train.seed={train.seed}: expected 0 or more.")
    if train.precision not in PRECISIONS:
        raise UserError(
            f"--config.train.precision={train.precision}: expected {' or '.join(PRECISIONS)}."
        )
    if data.resolution not in info.resolutions:
        raise UserError(
            f"--config.data.resolution={data.resolution}: {info.dir} has "
            f"{', '.join(map(str, info.resolutions))}. Choose one of these, or run `python -m "
            f"pipeline.prepare --resolution={data.resolution}` into another folder."
        )
    height, width, _ = info.shape(data.resolution)
    if height != width:
        raise UserError(
            f"--config.data.resolution={data.resolution}: the images in {info.dir} are {height} "
            f"high and {width} wide; the systems make square ones. Prepare with --resolution."
        )
    if data.channels != info.channels:
        raise UserError(
            f"--config.data.channels={data.channels}: the images in {info.dir} have "
            f"{info.channels} channel(s). Set data.channels={info.channels}, or prepare with "
            f"--channels={data.channels}."
        )
    if data.conditional and not info.num_classes:
        raise UserError(
            f"--config.data.conditional=True: {info.dir} has no labels. Prepare it from class "
            "sub-folders, or set --config.data.conditional=False."
        )
    count = info.count("train")
    if count < train.batch_size:
        raise UserError(
            f"--config.train.batch_size={train.batch_size}: {info.dir} has only {count} training "
            "images; expected a batch no larger than that."
        )


def build(config: Any, info: "data_lib.DatasetInfo") -> "GANSystem":
    """Creates and compiles the system of a config, inside the current strategy's scope."""
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
    takes -= {"seed", "g_optimizer", "d_optimizer", "keras_arguments"}
    unknown = sorted(set(config.optimizer) - takes)
    if unknown:
        raise UserError(
            f"config.optimizer.{unknown[0]}: {system.system_name} has no such setting; it takes "
            f"{', '.join(sorted(takes))}."
        )
    system.compile(
        seed=config.train.seed,
        steps_per_execution=config.train.steps_per_execution,
        **config.optimizer,
    )
    return system


def train(
    config: Any,
    workdir: str | Path,
    *,
    data_dir: str | Path | None = None,
    strategy: str = "none",
    logical_cpus: int = 0,
) -> "GANSystem":
    """Trains up to `config.train.steps`, continuing from the newest sound checkpoint in `workdir`.

    Args:
      config: as in `ganpipe/configs`.
      workdir: run folder; see `ganpipe.train.run_folder`.
      data_dir: prepared data; `config.data.dir` when None.
      strategy: "none", "mirrored" or "multi_worker".
      logical_cpus: see `ganpipe.train.distribute.make`.

    Returns:
      The trained system.

    Raises:
      UserError: any input that cannot be used, before any work.
    """
    if not (data_dir or config.data.dir):
        raise UserError("--data is missing: the folder that `python -m pipeline.prepare` wrote.")
    workdir = Path(workdir)
    info = data_lib.info(data_dir or config.data.dir)
    validate(config, info)
    run_folder.check(workdir, config, info.fingerprint)
    distribution = distribute.make(strategy, logical_cpus)
    replicas = distribution.num_replicas_in_sync
    if config.train.batch_size % replicas:
        raise UserError(
            f"--config.train.batch_size={config.train.batch_size} is the global batch; it must "
            f"divide by the {replicas} replicas of --strategy={strategy}."
        )
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    with distribution.scope():
        system = build(config, info)
    chief = distribute.is_chief(distribution)
    directory = workdir / "checkpoints"
    found = checkpoint.newest(directory)
    start = checkpoint.restore(system, found) if found else 0
    last = config.train.steps
    if start >= last:
        print(f"{workdir}: already at step {start} of {last}; nothing to train", file=sys.stderr)
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
    batch = config.train.batch_size
    read = functools.partial(
        data_lib.load,
        info.dir,
        config.data.resolution,
        batch,
        "train",
        config.train.seed,
        start_step=start,
    )
    dataset = distribute.feed(distribution, lambda shard: read(shard=shard), batch)
    # In this order: the bar closes before the guard speaks, and nothing bad is saved after it.
    watchers: list[Any] = [callbacks.Progress(last, batch)] if chief else []
    watchers += [
        callbacks.Guard(directory),
        callbacks.Checkpoints(
            directory, config.train.checkpoint_every, last, config.train.keep_checkpoints, chief
        ),
    ]
    if chief:
        every = (config.train.log_every, config.train.sample_every)
        watchers.append(callbacks.Summaries(workdir, batch, *every, last))
    system.fit(dataset, epochs=1, steps_per_epoch=last - start, verbose=0, callbacks=watchers)
    drift = distribute.largest_replica_difference(distribution, system.variables)
    if drift > 0:
        raise RuntimeError(f"replicas have drifted apart by {drift}: please report this as a bug")
    return system


def _first_look(
    system: "GANSystem", config: Any, info: "data_lib.DatasetInfo", workdir: Path, chief: bool
) -> None:
    """Mean training image for `system.adapt`, and `reals.png`: from up to 10,000 first images."""
    batch = min(config.train.batch_size, 256)
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
    for images, _ in reader.take(max(10_000 // batch, 1)):
        images = images.numpy()
        total, count = total + images.sum(0, dtype=np.float64), count + len(images)
        if sum(map(len, first)) < 64:
            first.append(images)
    system.adapt((total / count).astype(np.float32))
    if chief:
        reals = image_ops.to_uint8(np.concatenate(first)[:64]).numpy()
        callbacks.write_png(workdir / "reals.png", image_ops.grid(reals, 8))
