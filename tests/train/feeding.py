"""Run by test_feed.py in processes of their own: a strategy needs a fresh TensorFlow.

    python feeding.py mirrored|multi_worker DATA FOLDER

Saves what the replicas of this process are fed, and what training through `loop.train` ends in;
"mirrored" also trains on one device.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import ml_collections
import numpy as np
import tensorflow as tf

from ganpipe import config, data
from ganpipe.train import distribute, loop

BATCH = 8


def read(folder, shard):
    features = ("image", "key")
    return data.load(folder, 8, BATCH, seed=1, features=features, mirror=True, shard=shard)


def fed(strategy, folder, steps=5):
    """(steps, local replicas, B / R) keys and the images that go with them."""
    stream = distribute.feed(strategy, lambda shard: read(folder, shard), BATCH)
    batches = [b for _, b in zip(range(steps), stream, strict=False)]
    local = strategy.experimental_local_results
    return [np.stack([[v.numpy() for v in local(batch[i])] for batch in batches]) for i in range(2)]


def train(folder, run, kind, logical_cpus=0):
    values = {
        "data.resolution": 8,
        "data.channels": 1,
        "data.conditional": False,
        "system.nf": 4,
        "system.latent_dim": 6,
        "train.steps": 2,
        "train.batch_size": BATCH,
        "train.precision": "float32",
        "train.steps_per_execution": 1,
        "train.checkpoint_every": 2,
        "train.log_every": 2,
        "train.sample_every": 2,
    }
    made = ml_collections.ConfigDict(config.load("dcgan_fashion_mnist", values).to_dict())
    made.system.norm = "none"  # statistics over half a batch are others
    made.optimizer.n_critic = 2
    system = loop.train(made, run, data_dir=folder, strategy=kind, logical_cpus=logical_cpus)
    networks = (system.generator, system.discriminator)
    return {f"v{i}": w for i, w in enumerate(w for n in networks for w in n.get_weights())}


def main(kind, folder, out):
    out = Path(out)
    if kind == "multi_worker":
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
        task = strategy.cluster_resolver.task_id
        # One strategy a process: collectives start but once.
        distribute.make = lambda *_: strategy
    else:
        strategy, task = distribute.make(kind, logical_cpus=2), 0
        np.savez(out / "one.npz", **train(folder, out / "one", "none"))
        distribute.make = lambda *_: strategy
    images, keys = fed(strategy, folder)
    trained = train(folder, out / f"{kind}{task}", kind)
    np.savez(out / f"{kind}{task}.npz", images=images, keys=keys.astype(bytes), **trained)


if __name__ == "__main__":
    main(*sys.argv[1:])
