"""DCGAN-32 training steps of ganpipe; obeys `dcgan32.py` through stdin and stdout.

python worker_ganpipe.py PRECISION STEPS_PER_EXECUTION BATCH THREADS
"""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import ganpipe


class Clock(keras.callbacks.Callback):
    """Seconds from the first step to the last.

    Not the whole of `fit`: its end waits up to 5 s for tf.data's tuning thread, once a training.
    """

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_train_end(self, logs=None):
        self.seconds = time.perf_counter() - self.start


def main():
    precision, spe, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(2)
    system = ganpipe.create("dcgan", resolution=32, nf=64, precision=precision)
    system.compile(steps_per_execution=spe)
    images = np.random.default_rng(0).uniform(-1, 1, (8 * batch, 32, 32, 3)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).batch(batch, drop_remainder=True)
    data = data.cache().repeat().prefetch(2)
    counts = [
        sum(int(np.prod(v.shape)) for v in n.trainable_variables)
        for n in (system.generator, system.discriminator)
    ]
    print("ready", *counts, flush=True)
    clock = Clock()
    for line in sys.stdin:
        system.fit(data, steps_per_epoch=int(line), epochs=1, verbose=0, callbacks=[clock])
        print(clock.seconds, flush=True)


main()
