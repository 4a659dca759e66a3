"""Scores from features: ganpipe against pytorch-fid, torch-fidelity and prdc, alternately.

Every contestant is a process of its own; one task after the other, rounds go through its
contestants in turn, so that the machine's mood hits all alike, and while one works the others wait.
All have the same number of threads and the same float32 features. A round's time is from features
to score; ratios are taken round by round and their median is held against the target. Exits with
status 1 when a target is missed: speed, agreement of the values, or memory.

    .venv/bin/python benchmarks/metrics.py              # the sizes of the targets
    .venv/bin/python benchmarks/metrics.py --small      # seconds; speed and memory not judged

The peers live in .venv-bench: pytorch-fid==0.3.0 torch-fidelity==0.4.0 prdc==0.2, torch as in
`run.sh` (install them with `torch==2.13.0` on the same line, or pip takes another torch).
"""

import argparse
import json
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
    "kernel": {"rows": 5000, "d": 2048, "subsets": 100, "subset_size": 1000},
    "prdc": {"rows": 10000, "d": 64, "k": 5},
}
SMALL = {
    "frechet": {"rows": 300, "d": 64},
    "kernel": {"rows": 300, "d": 64, "subsets": 10, "subset_size": 100},
    "prdc": {"rows": 400, "d": 16, "k": 5},
}
# task -> {peer: how many times as fast as it ganpipe has to be}
TARGETS = {
    "frechet": {"pytorch-fid": 8.0, "torch-fidelity": 2.0},
    "kernel": {"torch-fidelity": 3.0},
    "prdc": {"prdc": 2.0},
}
# (relative, absolute) as in the golden file: the peers take means and kernels in float32.
TOLERANCES = {"frechet": (3e-7, 0.0), "kernel": (2e-6, 5e-7), "prdc": (0.0, 1e-12)}
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
    """Largest difference of the values in units of what is tolerated."""
    rel, small = tolerance
    pairs = zip(ours, theirs, strict=True)
    return max(abs(a - b) / max(rel * abs(b), small) for a, b in pairs)


def measure(task, sizes, args):
    """Record of one task."""
    ours = [sys.executable, str(HERE / "worker_metrics_ganpipe.py"), task, json.dumps(sizes)]
    workers = [Worker("ganpipe", ours, args.threads)]
    for peer in TARGETS[task]:
        theirs = [args.torch_python, str(HERE / "worker_metrics_peer.py"), f"{task}:{peer}"]
        workers.append(Worker(peer, [*theirs, json.dumps(sizes)], args.threads))
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
    mine, *peers = workers
    record = {
        "sizes": sizes[task],
        "seconds": {w.name: w.seconds for w in workers},
        "values": {w.name: w.values for w in workers},
        "peak_mb": {w.name: w.mb for w in workers},
        "ratios": {},
        "disagreement": {},
    }
    for peer in peers:
        pairs = zip(mine.seconds, peer.seconds, strict=True)
        record["ratios"][peer.name] = [b / a for a, b in pairs]
        found = disagreement(mine.values, peer.values, TOLERANCES[task])
        record["disagreement"][peer.name] = found
    return record


def judge(task, record, small):
    """Prints the verdicts of one task; True when every target is met."""
    met = True
    for peer, ratios in record["ratios"].items():
        target, middle = TARGETS[task][peer], statistics.median(ratios)
        print(
            f"{task}: ganpipe is {middle:.2f} times as fast as {peer} "
            f"(min {min(ratios):.2f}, max {max(ratios):.2f}; target {target:g})"
        )
        met &= small or middle >= target
        apart = record["disagreement"][peer]
        print(f"{task}: values differ from {peer} by {apart:.3f} of what is tolerated")
        met &= apart <= 1
    mb = record["peak_mb"]
    print(f"{task}: peak memory " + ", ".join(f"{name} {v:.0f} MB" for name, v in mb.items()))
    return met and (small or mb["ganpipe"] <= MAX_MB.get(task, float("inf")))


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

    records, met = {}, True
    for task in tasks:
        records[task] = measure(task, SMALL if args.small else SIZES, args)
        met &= judge(task, records[task], args.small)
    record = {
        "benchmark": "metrics",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.processor() or platform.machine(),
        "threads": args.threads,
        "small": args.small,
        "tasks": records,
        "targets": {task: TARGETS[task] for task in tasks},
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
