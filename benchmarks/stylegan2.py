"""StyleGAN2 32x32x3, channel_base 4096, channel_max 128, batch 16: ganpipe and the official code.

As `sngan32.py`: every contestant is a process of its own, rounds go through all of them in turn,
ratios are taken round by round. Mapping of 2 layers, D "orig", no style mixing, no augmentation.
The official code is NVlabs/stylegan2-ada-pytorch, unpatched and in float32 (its float16 is for
CUDA), from a checkout that you bring: its licence keeps it out of this repository. Modes: "plain",
one update of G and one of D; "regularised", with path length and R1 in every step; "lazy", as
published (every 4 and 16 steps), for which --steps should be a multiple of 16.

    .venv/bin/python benchmarks/stylegan2.py --official=CHECKOUT --rounds=5 --steps=2
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

from dcgan32 import HERE, Contestant

TARGETS = {"float32": 1.2, "mixed_bfloat16": 1.6}


def contestants(args, mode):
    """Started workers, ganpipe's first."""
    rest = [mode, str(args.resolution), str(args.batch), str(args.threads)]
    found = []
    for precision in TARGETS:
        worker = [sys.executable, str(HERE / "worker_stylegan2_ganpipe.py"), precision, *rest]
        found.append(Contestant("ganpipe", f"ganpipe {precision}, {mode}", worker))
    worker = [args.torch_python, str(HERE / "worker_stylegan2_torch.py"), args.official, *rest]
    return [*found, Contestant("torch", f"official PyTorch code float32, {mode}", worker)]


def spread(values):
    """(least, median, greatest)."""
    return min(values), statistics.median(values), max(values)


def measure(args, mode):
    """(seconds a step by contestant, ratios of the official code's time by contestant)."""
    found = contestants(args, mode)
    answers = {tuple(c.answer()[1:]) for c in found}
    if len(answers) != 1:
        raise SystemExit(f"error: the networks differ in counts or shapes: {answers}")
    g, d, _ = answers.pop()
    print(f"parameters (G, D): {g}, {d}; {args.threads} threads, batch {args.batch}", flush=True)
    for c in found:
        c.run(args.steps)
    for i in range(args.rounds):
        for c in found:
            c.rates.append(c.run(args.steps) / args.steps)
        print(f"round {i + 1}: " + "  ".join(f"{c.rates[-1]:.3f}" for c in found), flush=True)
    official, ratios = found[-1], {}
    for c in found:
        c.process.stdin.close()
        low, middle, high = spread(c.rates)
        print(f"{c.name:44s} {middle:6.3f} s a step  (min {low:.3f}, max {high:.3f})")
    for c, target in zip(found[:-1], TARGETS.values(), strict=True):
        ratios[c.name] = [b / a for a, b in zip(c.rates, official.rates, strict=True)]
        low, middle, high = spread(ratios[c.name])
        print(
            f"{c.name} is {middle:.2f} times as fast as the {official.name} (min {low:.2f}, max "
            f"{high:.2f} over {args.rounds} rounds; wanted {target})",
            flush=True,
        )
    return {c.name: c.rates for c in found}, ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", required=True, help="checkout of stylegan2-ada-pytorch")
    parser.add_argument("--torch_python", default=".venv-bench/bin/python")
    parser.add_argument("--modes", default="plain,regularised", help="of plain,regularised,lazy")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps a round")
    parser.add_argument("--resolution", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", default=str(HERE / "results" / "stylegan2.jsonl"))
    args = parser.parse_args()

    seconds, ratios = {}, {}
    for mode in args.modes.split(","):
        made, compared = measure(args, mode)
        seconds, ratios = seconds | made, ratios | compared
    record = {
        "benchmark": "stylegan2",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.processor() or platform.machine(),
        "threads": args.threads,
        "batch": args.batch,
        "steps": args.steps,
        "seconds_per_step": seconds,
        "ratio": {"to": "official PyTorch code float32", "rounds": ratios},
    }
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
