"""Scores from features: ganpipe against pytorch-fid, torch-fidelity and prdc, alternately.

Every contestant is a process of its own; one task after the other, rounds go through its
contestants in turn, so that the machine's mood hits all alike, and while one works the others wait.
All have the same float32 features, the same number of threads and as many cores, the same for all
(prdc asks for eight jobs, whatever it is told). A round's time is from features to score; ratios
are taken round by round and their median is held against the target. Exits with status 1 when a
target is missed: speed, agreement of the values, or memory.

The kernel distance is timed in float64, the default, and in float32. `frechet-ill` has features
whose variances differ a millionfold, as those of a narrow data set do.

    .venv/bin/python benchmarks/metrics.py              # the sizes of the targets
    .venv/bin/python benchmarks/metrics.py --small      # seconds; speed and memory not judged

The peers live in .venv-bench: pytorch-fid==0.3.0 torch-fidelity==0.4.0 prdc==0.2, torch as in
`run.sh` (install them with `torch==2.13.0` on the same line, or pip takes another torch).
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent

SIZES = {
    "frechet": {"rows": 5000, "d": 2048},
    "frechet-ill": {"rows": 5000, "d": 2048, "fall": 1e-3},
    "kernel": {"rows": 5000, "d": 2048, "subsets": 100, "subset_size": 1000},
    "prdc": {"rows": 10000, "d": 64, "k": 5},
}
SMALL = {
    "frechet": {"rows": 300, "d": 64},
    "frechet-ill": {"rows": 300, "d": 64, "fall": 1e-3},
    "kernel": {"rows": 300, "d": 64, "subsets": 10, "subset_size": 100},
    "prdc": {"rows": 400, "d": 16, "k": 5},
}
# task -> variants of ganpipe's side
OURS = {"frechet": ("",), "frechet-ill": ("",), "kernel": ("float64", "float32"), "prdc": ("",)}
# task -> {(variant, peer): how many times as fast as it ganpipe has to be}
TARGETS = {
    "frechet": {("", "pytorch-fid"): 8.0, ("", "torch-fidelity"): 2.0},
    "frechet-ill": {("", "pytorch-fid"): 4.0, ("", "torch-fidelity"): 1.0},
    "kernel": {("float32", "torch-fidelity"): 3.0, ("float64", "torch-fidelity"): 1.0},
    "prdc": {("", "prdc"): 2.0},
}
# (relative, absolute) as in the golden file. torch-fidelity takes means and kernels in float32; of
# `frechet-ill`, 3.6e-6 off, ours with means in float32 is its value to 2e-12. Both peers take roots
# of the eigenvalues of a product, of which an ill-conditioned one has lost the least.
TOLERANCES = {
    "frechet": (3e-7, 0.0),
    "frechet-ill": (5e-6, 0.0),
    "kernel": (2e-6, 5e-7),
    "prdc": (0.0, 1e-12),
}
MAX_MB = {"prdc": 1500.0}


class Worker:
    """A contestant's process."""

    def __init__(self, name, command, threads):
        self.name, self.seconds, self.mb, self.values = name, [], 0.0, None
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(variables, str(threads))
        path = [str(HERE.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in path if p)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            env=environment,
        )

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {self.name} stopped; the reason stands above")
        return line

    def run(self):
        print("go", file=self.process.stdin, flush=True)
        return json.loads(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def disagreement(ours, theirs, tolerance):
    """Largest difference of the values in units of what is tolerated; inf if one is not finite."""
    rel, small = tolerance
    worst = 0.0
    for a, b in zip(ours, theirs, strict=True):
        if not (math.isfinite(a) and math.isfinite(b)):
            return math.inf
        allowed = max(rel * abs(b), small)
        if a != b:
            worst = max(worst, abs(a - b) / allowed if allowed else math.inf)
    return worst


def own_name(variant):
    """What a variant of ganpipe's side is called in the output."""
    return f"ganpipe ({variant})" if variant else "ganpipe"


def use_cores(count):
    """Keeps this process, and the workers that it starts, on `count` cores; returns them."""
    if not hasattr(os, "sched_setaffinity"):
        print("this system pins no process to cores: prdc may use more of them than the others")
        return None
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < count:
        raise SystemExit(f"error: --threads={count}, but only {len(cores)} core(s) may be used")
    os.sched_setaffinity(0, cores[:count])
    print(f"all contestants run on cores {cores[:count]}")
    return cores[:count]


def measure(task, sizes, args):
    """Record of one task."""
    workers = []
    for variant in OURS[task]:
        command = [sys.executable, str(HERE / "worker_metrics_ganpipe.py"), f"{task}:{variant}"]
        workers.append(Worker(own_name(variant), [*command, json.dumps(sizes)], args.threads))
    for peer in dict.fromkeys(peer for _, peer in TARGETS[task]):
        command = [args.torch_python, str(HERE / "worker_metrics_peer.py"), f"{task}:{peer}"]
        workers.append(Worker(peer, [*command, json.dumps(sizes)], args.threads))
    try:
        for worker in workers:
            worker.answer()
        for i in range(args.rounds + 1):  # the first warms up
            for worker in workers:
                got = worker.run()
                worker.values, worker.mb = got["values"], got["mb"]
                if i:
                    worker.seconds.append(got["seconds"])
            if i:
                times = "  ".join(f"{w.name} {w.seconds[-1]:.3f}" for w in workers)
                print(f"{task}, round {i}: {times}", flush=True)
    finally:
        for worker in workers:
            worker.close()
    named = {w.name: w for w in workers}
    pairs = []
    for (variant, peer), target in TARGETS[task].items():
        mine, other = named[own_name(variant)], named[peer]
        pairs.append(
            {
                "ours": mine.name,
                "peer": peer,
                "target": target,
                "ratios": [b / a for a, b in zip(mine.seconds, other.seconds, strict=True)],
                "disagreement": disagreement(mine.values, other.values, TOLERANCES[task]),
            }
        )
    return {
        "sizes": sizes[task],
        "seconds": {w.name: w.seconds for w in workers},
        "values": {w.name: w.values for w in workers},
        "peak_mb": {w.name: w.mb for w in workers},
        "pairs": pairs,
    }


def judge(task, record, small):
    """Prints the verdicts of one task; True when every target is met."""
    met = True
    for pair in record["pairs"]:
        ours, peer, ratios = pair["ours"], pair["peer"], pair["ratios"]
        middle, apart = statistics.median(ratios), pair["disagreement"]
        print(
            f"{task}: {ours} is {middle:.2f} times as fast as {peer} "
            f"(min {min(ratios):.2f}, max {max(ratios):.2f}; target {pair['target']:g})"
        )
        met &= small or middle >= pair["target"]
        print(f"{task}: values of {ours} differ from {peer} by {apart:.3f} of what is tolerated")
        met &= apart <= 1
    mb = record["peak_mb"]
    print(f"{task}: peak memory " + ", ".join(f"{name} {v:.0f} MB" for name, v in mb.items()))
    limit = MAX_MB.get(task, math.inf)
    ours = [mb[own_name(variant)] for variant in OURS[task]]
    return met and (small or max(ours) <= limit)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch_python", default=".venv-bench/bin/python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tasks", default=",".join(TARGETS), help="some of the tasks, by comma")
    parser.add_argument("--small", action="store_true", help="tiny sizes; only values are judged")
    parser.add_argument("--out", default=str(HERE / "results" / "metrics.jsonl"))
    args = parser.parse_args()
    tasks = args.tasks.split(",")
    if unknown := set(tasks) - set(TARGETS):
        parser.error(f"unknown task(s) {sorted(unknown)}; known: {', '.join(TARGETS)}")

    cores = use_cores(args.threads)
    records, met = {}, True
    for task in tasks:
        records[task] = measure(task, SMALL if args.small else SIZES, args)
        met &= judge(task, records[task], args.small)
    record = {
        "benchmark": "metrics",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.processor() or platform.machine(),
        "threads": args.threads,
        "cores": cores,
        "small": args.small,
        "tasks": records,
        "met": met,
    }
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")
    if not met:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
