"""What both sides of `metrics.py` share: the features and the talk through stdin and stdout."""

import importlib.util
import json
import sys
import time
from pathlib import Path

import numpy as np

SUBSET_SEED = 2020

# Seeds, shift and gain of the golden case C, so that a real run's answers can be looked up.
FEATURES = {"real": (130, 0.0, 1.0), "fake": (131, 0.05, 1.02)}


def features(rows, d, fall=1.0):
    """(fake, real), float32, the same in every process (made element by element).

    The standard deviation of the features falls to `fall` of the first's, by a power law in an
    order of no meaning; 1 leaves the golden case as it is.
    """
    path = Path(__file__).parents[1] / "tests" / "golden" / "metrics_recipe.py"
    spec = importlib.util.spec_from_file_location("metrics_recipe", path)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    made = {side: recipe.feats(s, rows, d, *rest) for side, (s, *rest) in FEATURES.items()}
    if fall != 1:
        place = np.arange(d, dtype=np.int64) * 7919 % d
        scale = np.power(place + 1.0, np.log(fall) / np.log(d)).astype(np.float32)
        made = {side: x * scale for side, x in made.items()}
    return made["fake"], made["real"]


def peak_mb():
    """Highest memory of this process so far; not `ru_maxrss`, which a fork inherits."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(s.split()[1]) for s in lines if s.startswith("VmHWM")) / 1024


def serve(function, task, sizes):
    """Answers every line of stdin with one of JSON: seconds, values and the process's peak."""
    mine = sizes[task]
    fake, real = features(mine["rows"], mine["d"], mine.get("fall", 1.0))
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        values = function(fake, real, mine)
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "values": values, "mb": peak_mb()}), flush=True)
