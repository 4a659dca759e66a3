"""One run of the mixtures study in a process of its own: `python -m ganpipe.study.worker JSON`.

A process of its own keeps the CPU seconds its own too: they are counted from its first instruction
to the counted samples, imports and the tracing of graphs included. It runs on one thread, so that
CPU seconds are work and not waiting. Lines of JSON on stdout tell how far it is.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

SAMPLES = 10_000
CALL = 100  # train steps in one call of the graph


def train(
    recipe_name: str, mixture_name: str, seed: int, effort: float = 1.0, cpu_limit: float = 180.0
) -> tuple[dict[str, Any], Any]:
    """Trains a system on a mixture and counts the modes that its averaged generator reaches.

    Args:
      recipe_name: key of `recipes.RECIPES`.
      mixture_name: key of `toys.MIXTURES`.
      seed: of weights, data and latents.
      effort: factor on the steps.
      cpu_limit: CPU seconds of this process after which training stops, finished or not.

    Returns:
      (modes, good, shares, steps, planned, cpu_seconds, wall_seconds, finite; (10000, 2) samples).
    """
    started = time.perf_counter()
    import keras
    import numpy as np
    import tensorflow as tf

    import ganpipe
    from ganpipe.ops import random
    from ganpipe.ops.optimizers import Adam
    from ganpipe.ops.schedules import LinearDecay
    from ganpipe.study import recipes, toys

    recipe, mixture = recipes.RECIPES[recipe_name], toys.MIXTURES[mixture_name]()
    share = 1.0 if mixture_name == "grid" else recipes.RING_SHARE
    steps = max(1, round(recipe.steps * share * effort))
    steps_a_call = CALL if steps >= CALL else 1
    steps -= steps % steps_a_call

    system = ganpipe.create(
        recipe.system,
        resolution=1,
        channels=2,
        body="points",
        seed=seed,
        **recipe.arguments,
    )
    optimizers = {}
    if recipe.rate is not None:
        for name, updates in (("g_optimizer", 1), ("d_optimizer", recipe.n_critic)):
            rate = LinearDecay(recipe.rate, steps * updates)
            optimizers[name] = Adam(rate, *recipe.betas, epsilon=1e-8)
    system.compile(
        n_critic=recipe.n_critic,
        seed=seed,
        steps_per_execution=steps_a_call,
        **recipe.compile,
        **optimizers,
    )
    data = batches(mixture, recipe.batch * recipe.n_critic, seed)

    class Watch(keras.callbacks.Callback):
        """Reports progress and stops at the limit or at the first loss that is not finite."""

        finite = True

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            cpu, done = time.process_time(), batch + 1
            self.finite = all(np.isfinite(v).all() for v in (logs or {}).values())
            self.model.stop_training = cpu > cpu_limit or not self.finite
            print(json.dumps({"step": done, "steps": steps, "cpu": round(cpu, 1)}), flush=True)

    watch = Watch()
    system.fit(data, steps_per_epoch=steps, epochs=1, verbose=0, callbacks=[watch])
    z = random.step_latents(
        seed + 7_919, tf.constant(0), SAMPLES, system.latent_dim, system.latent_distribution
    )
    points = system.generate(z).numpy().reshape(SAMPLES, 2)
    count = mixture.count(np.where(np.isfinite(points), points, 1e9))
    result = {
        **count,
        "steps": int(system.step.numpy()),
        "planned": steps,
        "cpu_seconds": time.process_time(),
        "wall_seconds": time.perf_counter() - started,
        "finite": bool(watch.finite),
    }
    return result, points


def batches(mixture: Any, size: int, seed: int) -> Any:
    """Endless data set of (size, 1, 1, 2) float32, batch i a function of (seed, i)."""
    import tensorflow as tf

    means = tf.constant(mixture.means, tf.float32)

    def draw(index: Any) -> Any:
        seeds = tf.random.experimental.stateless_split(tf.stack([seed + 104_729, index]), 2)
        mode = tf.random.stateless_uniform([size], seeds[0], 0, len(mixture.means), tf.int32)
        noise = tf.random.stateless_normal([size, 2], seeds[1]) * mixture.deviation
        return tf.reshape(tf.gather(means, mode) + noise, [size, 1, 1, 2])

    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    return tf.data.Dataset.counter().map(draw).with_options(options)


def main(argument: str) -> None:
    """Runs one job; see `ganpipe.study.mixtures`.

    Args:
      argument: JSON of recipe, mixture, seed, effort, cpu_limit, path (without a suffix).
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    job = json.loads(argument)
    path = Path(job["path"])
    names = ("recipe", "mixture", "seed", "effort", "cpu_limit")
    result, points = train(*(job[name] for name in names))
    np.save(path.with_suffix(".npy"), points.astype(np.float32))
    aside = path.with_name(f".{path.name}")
    aside.write_text(json.dumps(job | {"result": result}))
    aside.rename(path.with_suffix(".json"))


if __name__ == "__main__":
    main(sys.argv[1])
