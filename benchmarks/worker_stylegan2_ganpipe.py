"""StyleGAN2 training steps of ganpipe; obeys `stylegan2.py` through stdin and stdout.

python worker_stylegan2_ganpipe.py PRECISION MODE RESOLUTION BATCH THREADS
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from ganpipe.models.stylegan2 import StyleGAN2

# Regularisers of a step: none, both in every step, or lazily as published.
MODES = {
    "plain": {"pl_weight": 0.0, "r1_gamma": 0.0},
    "regularised": {"g_reg_interval": 1, "d_reg_interval": 1},
    "lazy": {},
}


class Clock(keras.callbacks.Callback):
    """Seconds from the first step to the last; see `worker_ganpipe.py`."""

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_train_end(self, logs=None):
        self.seconds = time.perf_counter() - self.start


def main():
    precision, mode = sys.argv[1], sys.argv[2]
    resolution, batch, threads = (int(a) for a in sys.argv[3:6])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    system = StyleGAN2(
        resolution,
        channel_base=4096,
        channel_max=128,
        mapping_layers=2,
        d_architecture="orig",
        group_size=4,
        ema_kimg=500.0,
        ema_rampup=0.05,
        precision=precision,
    )
    system.compile(
        g_learning_rate=0.0025,
        d_learning_rate=0.0025,
        style_mixing=0.0,
        **({"r1_gamma": 0.01} | MODES[mode]),
    )
    shape = (8 * batch, resolution, resolution, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).batch(batch, drop_remainder=True)
    data = data.cache().repeat().prefetch(2)
    networks = (system.generator, system.discriminator)
    # Kernels in PyTorch's order of axes are the same numbers; sorted shapes are compared.
    shapes = [
        sorted(sorted(d for d in v.shape if d > 1) for v in n.trainable_variables) for n in networks
    ]
    counts = [sum(int(np.prod(v.shape)) for v in n.trainable_variables) for n in networks]
    print("ready", *counts, str(shapes).replace(" ", ""), flush=True)
    clock = Clock()
    for line in sys.stdin:
        system.fit(data, steps_per_epoch=int(line), epochs=1, verbose=0, callbacks=[clock])
        print(clock.seconds, flush=True)


main()
