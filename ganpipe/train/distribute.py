"""Distribution strategies, and the check that replicas have not drifted apart."""

import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError

STRATEGIES = ("none", "mirrored", "multi_worker")


def make(name: str, logical_cpus: int = 0) -> tf.distribute.Strategy:
    """Makes a strategy; call it before TensorFlow has touched a device.

    Args:
      name: "none": one device. "mirrored": all GPUs of this machine (one CPU replica without
        GPUs). "multi_worker": the workers that the environment variable TF_CONFIG names.
      logical_cpus: splits the CPU into that many logical devices, for "mirrored" without GPUs.

    Raises:
      UserError: unknown name, or TF_CONFIG missing or malformed.
    """
    if name not in STRATEGIES:
        raise UserError(f"--strategy={name}: expected one of {', '.join(STRATEGIES)}.")
    if logical_cpus:
        if name != "mirrored":
            raise UserError(f"--logical_cpus={logical_cpus} goes with --strategy=mirrored only.")
        cpu = tf.config.list_physical_devices("CPU")[0]
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * logical_cpus
            )
        except RuntimeError as error:
            raise UserError(f"--logical_cpus: TensorFlow has already started: {error}") from error
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(logical_cpus)])
    if name == "none":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    _check_tf_config()
    return tf.distribute.MultiWorkerMirroredStrategy()


def _check_tf_config() -> None:
    example = (
        'TF_CONFIG=\'{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
        '"task": {"type": "worker", "index": 0}}\''
    )
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        index, workers = config["task"]["index"], config["cluster"]["worker"]
        sound = isinstance(workers, list) and 0 <= int(index) < len(workers)
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise UserError(
            f"--strategy=multi_worker needs the environment variable TF_CONFIG; found "
            f"{text or 'nothing'!r}, expected something like {example}"
        )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """True on the one worker that writes files."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.cluster_spec().as_dict() or resolver.task_id == 0


def feed(
    strategy: tf.distribute.Strategy,
    read: Callable[[tuple[int, int]], tf.data.Dataset],
    batch_size: int,
    per_step: int = 1,
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """What each train step takes, as Keras' `fit` wants it under a strategy.

    Every worker decodes only what its own replicas train on: replica r of R gets rows r B / R to
    (r + 1) B / R - 1 of each batch of B that one replica would get. `per_step` batches in a row
    make one element, one after another along axis 0.

    Args:
      strategy: from `make`.
      read: `ganpipe.data.load` as a function of its `shard`: (index, count) -> that slice of every
        batch, without end.
      batch_size: the global one, B; divides by the replicas.
      per_step: batches that a train step takes, n_critic.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return _joined(read((0, 1)), per_step, 1)

    def slices(context: tf.distribute.InputContext) -> tf.data.Dataset:
        stream = read((context.input_pipeline_id, context.num_input_pipelines))
        local = replicas // context.num_input_pipelines
        # A worker's replicas take turns at its stream.
        return _joined(stream, per_step, local)

    return strategy.distribute_datasets_from_function(slices)


def _joined(stream: tf.data.Dataset, count: int, parts: int) -> tf.data.Dataset:
    """Joins `count` batches in a row, then hands each of `parts` its own rows of all of them.

    With batches of rows a0 b0, a1 b1 (count 2, parts 2): a0 a1, then b0 b1.
    """
    if count == parts == 1:
        return stream

    def split(*features: tf.Tensor) -> tuple[tf.Tensor, ...]:
        def cut(x: tf.Tensor) -> tf.Tensor:  # (count, parts rows, ...) -> (parts, count rows, ...)
            rows = x.shape[1] // parts
            x = tf.reshape(x, [count, parts, rows, *x.shape[2:]])
            x = tf.transpose(x, [1, 0, *range(2, len(x.shape))])
            return tf.reshape(x, [parts, count * rows, *x.shape[3:]])

        return tuple(cut(x) for x in features)

    stream = stream.batch(count, drop_remainder=True).map(split).unbatch()
    # TensorFlow must be told that it stays endless, or it allows for an empty last batch.
    stream = stream.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
    return stream.prefetch(parts)


def largest_replica_difference(strategy: tf.distribute.Strategy, variables: list[Any]) -> float:
    """Sum over replicas of the largest absolute difference of any weight from the first replica's.

    Collective under multi_worker: every worker must call it. A NaN anywhere gives infinity.
    """
    if strategy.num_replicas_in_sync == 1:
        return 0.0
    values = [getattr(v, "value", v) for v in variables]
    values = [v for v in values if v.dtype.is_floating]

    @tf.function
    def spread() -> Any:
        def in_replica() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            is_first = tf.equal(context.replica_id_in_sync_group, 0)
            # Read in replica context, a variable gives the replica's own copy.
            own = tf.concat([tf.reshape(tf.cast(v, tf.float32), [-1]) for v in values], axis=0)
            first = tf.where(is_first, own, tf.zeros_like(own))
            first = context.all_reduce(tf.distribute.ReduceOp.SUM, first)
            gap = tf.reduce_max(tf.abs(own - first))
            gap = tf.where(tf.math.is_nan(gap), float("inf"), gap)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, gap)

        return strategy.experimental_local_results(strategy.run(in_replica))[0]

    return float(np.asarray(spread()))
