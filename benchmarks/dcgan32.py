"""DCGAN 32x32x3 (nf 64, batch 64): training images/s of ganpipe against eager PyTorch.

Every contestant is a process of its own that stays up; rounds go through all of them in turn, so
that the machine's mood hits all alike, and while one works the others wait. A round's figure is
images/s over `--steps` steps (one D and one G update each, with the average of G); the ratio is
taken round by round between the best setting of each side (by its median).

    benchmarks/run.sh                     # makes .venv-bench with torch, then runs this
    benchmarks/run.sh --rounds=9 --steps=40
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


class Contestant:
    """A worker process that trains when it is told to."""

    def __init__(self, side, name, command):
        self.side, self.name = side, name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=HERE.parent,
        )
        self.rates = []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {self.name} stopped; run its worker by hand to see why")
        return line.split()

    def run(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        return float(self.answer()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch_python", default=".venv-bench/bin/python")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="a multiple of 20")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", default=str(HERE / "results" / "dcgan32.jsonl"))
    args = parser.parse_args()

    contestants = []
    for precision in ("float32", "mixed_bfloat16"):
        command = [sys.executable, str(HERE / "worker_ganpipe.py"), precision, "20"]
        name = f"ganpipe {precision}, 20 steps per execution"
        contestants.append(
            Contestant("ganpipe", name, [*command, str(args.batch), str(args.threads)])
        )
    for precision in ("float32", "bfloat16"):
        for layout in ("channels_last", "contiguous"):
            command = [args.torch_python, str(HERE / "worker_torch.py"), precision, layout]
            name = f"torch eager {precision}, {layout}"
            contestants.append(
                Contestant("torch", name, [*command, str(args.batch), str(args.threads)])
            )
    counts = {tuple(c.answer()[1:]) for c in contestants}
    if len(counts) != 1:
        raise SystemExit(f"error: the networks differ in parameters: {counts}")
    print(f"parameters (G, D): {', '.join(*counts)}; {args.threads} threads, batch {args.batch}")
    for c in contestants:
        c.run(20)
        c.run(20)
    for i in range(args.rounds):
        for c in contestants:
            c.rates.append(args.steps * args.batch / c.run(args.steps))
        print(f"round {i + 1}: " + "  ".join(f"{c.rates[-1]:.0f}" for c in contestants), flush=True)
    for c in contestants:
        c.process.stdin.close()
        low, middle, high = min(c.rates), statistics.median(c.rates), max(c.rates)
        print(f"{c.name:45s} {middle:7.1f} images/s  (min {low:.0f}, max {high:.0f})")
    best = {
        side: max(
            (c for c in contestants if c.side == side), key=lambda c: statistics.median(c.rates)
        )
        for side in ("ganpipe", "torch")
    }
    ratios = [a / b for a, b in zip(best["ganpipe"].rates, best["torch"].rates, strict=True)]
    print(
        f"{best['ganpipe'].name} / {best['torch'].name}: {statistics.median(ratios):.2f} "
        f"(min {min(ratios):.2f}, max {max(ratios):.2f} over {args.rounds} rounds)"
    )
    record = {
        "benchmark": "dcgan32",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.processor() or platform.machine(),
        "threads": args.threads,
        "batch": args.batch,
        "steps": args.steps,
        "images_per_second": {c.name: c.rates for c in contestants},
        "ratio": {"of": [best["ganpipe"].name, best["torch"].name], "rounds": ratios},
    }
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
