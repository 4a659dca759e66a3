"""Run by test_distribute.py in processes of their own: a strategy needs a fresh TensorFlow.

    python replicas.py mirrored|multi_worker FOLDER

Trains 1 step without norm layers and 20 with batch norm; "mirrored" also 1 step on one device.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import ganpipe
from ganpipe.train import distribute

BATCH = 8


def train(strategy, norm, steps, out):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4 * BATCH, 8, 8, 1)).astype(np.float32)
    labels = rng.integers(0, 3, 4 * BATCH).astype(np.int32)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).repeat()
    data = data.batch(BATCH, drop_remainder=True)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    data = data.with_options(options)
    with strategy.scope():
        system = ganpipe.create(
            "dcgan", resolution=8, channels=1, num_classes=3, nf=4, latent_dim=6, norm=norm
        )
        system.compile(seed=5)
    history = system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0).history
    trees = [system.generator, system.generator_ema, system.discriminator]
    trees += [system.g_optimizer, system.d_optimizer]
    variables = [v for tree in trees for v in tree.variables]
    drift = distribute.largest_replica_difference(strategy, variables)
    arrays = {f"v{i}": v.numpy() for i, v in enumerate(variables)}
    if strategy.num_replicas_in_sync > 1:
        bend_second_replica(strategy, system.generator.trainable_variables[0].value)
    seen = distribute.largest_replica_difference(strategy, variables)
    if distribute.is_chief(strategy):
        replicas, loss = strategy.num_replicas_in_sync, np.ravel(history["D/loss"])[0]
        np.savez(out, drift=drift, seen=seen, replicas=replicas, d_loss=loss, **arrays)


def bend_second_replica(strategy, variable):
    """Adds 1 to the second replica's own copy: what the drift check must see."""

    def in_replica():
        index = tf.distribute.get_replica_context().replica_id_in_sync_group
        variable.assign_add(tf.fill(variable.shape, tf.cast(tf.equal(index, 1), tf.float32)))

    tf.function(lambda: strategy.run(in_replica))()


def main(kind, folder):
    strategy = distribute.make(kind, logical_cpus=2 if kind == "mirrored" else 0)
    folder = Path(folder)
    if kind == "mirrored":
        train(tf.distribute.get_strategy(), "none", 1, folder / "one_none.npz")
    train(strategy, "none", 1, folder / f"{kind}_none.npz")
    train(strategy, "batch", 20, folder / f"{kind}_batch.npz")


if __name__ == "__main__":
    main(*sys.argv[1:])
