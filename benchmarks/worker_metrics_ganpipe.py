"""ganpipe's side of `metrics.py`; obeys it through stdin and stdout.

    python worker_metrics_ganpipe.py TASK:VARIANT SIZES_JSON

The variant is a precision for the task `kernel` and is empty for the others.
"""

import functools
import json
import sys

import metrics_tasks

from ganpipe.metrics import frechet, kernel, neighbours


def frechet_distance(fake, real, sizes):
    return [frechet.frechet_from_features(fake, real)]


def kernel_distance(fake, real, sizes, precision):
    found = kernel.kernel_distance(
        fake,
        real,
        subsets=sizes["subsets"],
        subset_size=sizes["subset_size"],
        seed=metrics_tasks.SUBSET_SEED,
        precision=precision,
    )
    return [found.mean, found.std]


def prdc(fake, real, sizes):
    found = neighbours.neighbour_scores(fake, real, k=sizes["k"], strict=True)
    return [found.precision, found.recall, found.density, found.coverage]


if __name__ == "__main__":
    functions = {
        "frechet:": frechet_distance,
        "frechet-ill:": frechet_distance,
        "kernel:float64": functools.partial(kernel_distance, precision="float64"),
        "kernel:float32": functools.partial(kernel_distance, precision="float32"),
        "prdc:": prdc,
    }
    task = sys.argv[1]
    metrics_tasks.serve(functions[task], task.partition(":")[0], json.loads(sys.argv[2]))
