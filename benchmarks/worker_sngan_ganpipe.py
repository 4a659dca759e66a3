"""SN-GAN-32 training steps of ganpipe; obeys `sngan32.py` through stdin and stdout.

python worker_sngan_ganpipe.py PRECISION STEPS_PER_EXECUTION BATCH THREADS
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
    """Seconds from the first step to the last; see `worker_ganpipe.py`."""

    def on_train_begin(self, logs=None):
        self.start = time.perf_counter()

    def on_train_end(self, logs=None):
        self.seconds = time.perf_counter() - self.start


def main():
    precision, spe, batch, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(int(threads))
    system = ganpipe.create("sngan", resolution=32, g_batch_factor=1, precision=precision)
    system.compile(n_critic=1, steps_per_execution=spe)
    images = np.random.default_rng(0).uniform(-1, 1, (8 * batch, 32, 32, 3)).astype(np.float32)
    data = tf.data.Dataset.from_tensor_slices(images).batch(batch, drop_remainder=True)
    data = data.cache().repeat().prefetch(2)
    networks = (system.generator, system.discriminator)
    # Kernels in PyTorch's order of axes are the same numbers; sorted shapes are compared.
    shapes = [sorted(sorted(v.shape) for v in n.trainable_variables) for n in networks]
    counts = [sum(int(np.prod(shape)) for shape in part) for part in shapes]
    print("ready", *counts, str(shapes).replace(" ", ""), flush=True)
    clock = Clock()
    for line in sys.stdin:
        system.fit(data, steps_per_epoch=int(line), epochs=1, verbose=0, callbacks=[clock])
        print(clock.seconds, flush=True)


main()
