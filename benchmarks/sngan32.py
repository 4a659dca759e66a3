"""SN-GAN 32x32x3 (full width, batch 64): seconds a training step of ganpipe and of eager PyTorch.

As `dcgan32.py`: every contestant is a process of its own, rounds go through all of them in turn,
ratios are taken round by round. A step is one G and one D update of 64 images, spectral norm in D.
Two ratios are printed, both against PyTorch's best float32 setting (by its median): ganpipe in
float32, and ganpipe in mixed_bfloat16. PyTorch's bfloat16 is listed as well.
PyTorch's own `parametrizations.spectral_norm` is a little slower than the worker's hand-written
one; `--torch_norms=own,library` runs both (all contestants are in memory at once).

    .venv/bin/python benchmarks/sngan32.py --rounds=5 --steps=2
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


def contestants(args):
    """Started workers, ganpipe's first."""
    rest = [str(args.batch), str(args.threads)]
    found = []
    for precision in ("float32", "mixed_bfloat16"):
        worker = [sys.executable, str(HERE / "worker_sngan_ganpipe.py"), precision, "1", *rest]
        found.append(Contestant("ganpipe", f"ganpipe {precision}", worker))
    for precision in ("float32", "bfloat16"):
        for layout in ("channels_last", "contiguous"):
            for norm in args.torch_norms.split(","):
                worker = [args.torch_python, str(HERE / "worker_sngan_torch.py"), precision, layout]
                name = f"torch eager {precision}, {layout}, {norm} spectral norm"
                found.append(Contestant("torch", name, [*worker, *rest, norm]))
    return found


def best_float32_of_torch(found):
    torch = [c for c in found if c.side == "torch" and " float32" in c.name]
    return min(torch, key=lambda c: statistics.median(c.rates))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch_python", default=".venv-bench/bin/python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2, help="steps a round")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--torch_norms", default="own", help="own, library or both with a comma")
    parser.add_argument("--out", default=str(HERE / "results" / "sngan32.jsonl"))
    args = parser.parse_args()

    found = contestants(args)
    answers = {tuple(c.answer()[1:]) for c in found}
    if len(answers) != 1:
        raise SystemExit(f"error: the networks differ in counts or shapes: {answers}")
    g, d, _ = answers.pop()
    print(f"parameters (G, D): {g}, {d}; {args.threads} threads, batch {args.batch}", flush=True)
    for c in found:
        c.run(1)
    for i in range(args.rounds):
        for c in found:
            c.rates.append(c.run(args.steps) / args.steps)
        print(f"round {i + 1}: " + "  ".join(f"{c.rates[-1]:.2f}" for c in found), flush=True)
    for c in found:
        c.process.stdin.close()
        low, middle, high = min(c.rates), statistics.median(c.rates), max(c.rates)
        print(f"{c.name:60s} {middle:6.2f} s a step  (min {low:.2f}, max {high:.2f})")
    torch = best_float32_of_torch(found)
    ratios = {}
    for c in found[:2]:
        ratios[c.name] = [b / a for a, b in zip(c.rates, torch.rates, strict=True)]
        low, middle, high = (
            min(ratios[c.name]),
            statistics.median(ratios[c.name]),
            max(ratios[c.name]),
        )
        print(
            f"{c.name} is {middle:.2f} times as fast as {torch.name} "
            f"(min {low:.2f}, max {high:.2f} over {args.rounds} rounds)"
        )
    record = {
        "benchmark": "sngan32",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.processor() or platform.machine(),
        "threads": args.threads,
        "batch": args.batch,
        "steps": args.steps,
        "seconds_per_step": {c.name: c.rates for c in found},
        "ratio": {"to": torch.name, "rounds": ratios},
    }
    out = Path(args.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
