"""The classic family on Fashion-MNIST with equal real images: Frechet distance of every row.

Each row is a config of `ganpipe/configs` with narrow bodies, trained by `python -m ganpipe train`
until its discriminator has seen `--images` real images, and scored by `python -m ganpipe eval`
(10,000 samples of the averaged generator against the 10,000 test images). One JSON line a run goes
to benchmarks/results/classic.jsonl; finished runs are not repeated, stopped ones go on.
`benchmarks/report.py` writes the table.

    python -m pipeline.prepare --source=fashion_mnist --resolution=32 --out=data/fm32
    python benchmarks/classic.py --data=data/fm32 --jobs=2                   # every row, seed 0
    python benchmarks/classic.py --data=data/fm32 --rows=best4 --seeds=1,2   # the best four
"""

import argparse
import json
import os
import queue
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
DIVERGENCES = ("kl", "reverse_kl", "pearson", "squared_hellinger", "js", "gan", "total_variation")

# nf 16 and batches of 128 (DCGAN's own): a run of a million images is minutes on one core.
BATCH = {"train.batch_size": 128}
NARROW = {"system.nf": 16, **BATCH}
# name -> (config, what differs from it). Optimisers are those of each config.
ROWS = {
    "gan": ("gan_fashion_mnist", BATCH),
    "dcgan": ("dcgan_fashion_mnist", {"data.conditional": False, **NARROW}),
    "wgan": ("wgan_fashion_mnist", NARROW),
    "wgan_gp": ("wgan_gp_fashion_mnist", {"system.dim": 16, **BATCH}),
    "sngan": ("sngan_fashion_mnist:tiny", {"data.conditional": False, **BATCH}),
    "lsgan": ("lsgan_fashion_mnist", NARROW),
    "hinge": ("hinge_fashion_mnist", NARROW),
    **{
        f"fgan-{name}": ("fgan_fashion_mnist", {"optimizer.divergence": name, **NARROW})
        for name in DIVERGENCES
    },
}


def records(path: Path) -> list[dict]:
    """The lines of a results file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def best(rows: list[dict], count: int, images: int) -> list[str]:
    """Names of the rows with the lowest mean distance at `images`."""
    scores: dict[str, list[float]] = {}
    for r in rows:
        if r["images"] == images:
            scores.setdefault(r["row"], []).append(r["frechet"])
    return sorted(scores, key=lambda name: statistics.mean(scores[name]))[:count]


def plan(name: str, seed: int, images: int, precision: str) -> tuple[str, dict, int]:
    """(config, overrides, real images the run sees)."""
    sys.path.insert(0, str(ROOT))
    from ganpipe import config as config_lib

    spec, overrides = ROWS[name]
    config = config_lib.load(spec, overrides)
    per_step = config.train.batch_size * config.optimizer.get("n_critic", 1)
    every = 20
    steps = max(round(images / per_step / every), 1) * every
    chunk = max(steps // 5 // every, 1) * every
    overrides = overrides | {
        "train.steps": steps,
        "train.seed": seed,
        "train.precision": precision,
        "train.steps_per_execution": every,
        "train.checkpoint_every": chunk,
        "train.sample_every": chunk,
        "train.log_every": 100,
    }
    return spec, overrides, steps * per_step


def run(name: str, seed: int, core: int | None, args: argparse.Namespace, lock: threading.Lock):
    """Trains and scores one row with one seed on one core (all cores when None)."""
    spec, overrides, seen = plan(name, seed, args.images, args.precision)
    workdir = Path(args.runs) / f"{name}-{args.images}-{args.precision}-seed{seed}"
    workdir.mkdir(parents=True, exist_ok=True)
    base = [sys.executable, "-m", "ganpipe"]
    flags = [f"--config.{key}={value}" for key, value in overrides.items()]
    train = [*base, "train", f"--config={spec}", f"--data={args.data}", f"--workdir={workdir}/run"]
    score = workdir / "metrics.json"
    evaluate = [*base, "eval", f"--run={workdir}/run", "--metrics=frechet", "--num=10000"]
    start = time.perf_counter()
    with (workdir / "log.txt").open("a") as log:
        for command in ([*train, *flags], [*evaluate, f"--out={score}"]):
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            if core is not None:
                os.sched_setaffinity(process.pid, {core})
            if process.wait():
                print(f"{name} seed {seed}: failed, see {workdir}/log.txt", flush=True)
                return
    metrics = json.loads(score.read_text())
    frechet, passport = metrics["scores"]["frechet"], metrics["passport"]
    record = {
        "benchmark": "classic",
        "row": name,
        "seed": seed,
        "images": args.images,
        "seen": seen,
        "precision": args.precision,
        "config": spec,
        "overrides": overrides,
        "frechet": frechet,
        "metric": metrics["names"]["frechet"],
        "extractor": passport["extractor"],
        "counts": passport["counts"],
        "seconds": time.perf_counter() - start,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with lock, Path(args.out).open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(f"{name} seed {seed}: {frechet:.3f} ({record['seconds']:.0f} s)", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="data/fm32", help="prepared Fashion-MNIST at 32x32")
    parser.add_argument("--images", type=int, default=1_000_000, help="real images D sees")
    parser.add_argument("--rows", default=",".join(ROWS), help="names, or bestN")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--precision", default="mixed_bfloat16")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each on its own core")
    parser.add_argument("--runs", default="runs/classic", help="where run folders go")
    parser.add_argument("--out", default=str(HERE / "results" / "classic.jsonl"))
    args = parser.parse_args()
    args.runs, args.out = str(Path(args.runs).resolve()), str(Path(args.out).resolve())
    args.data = str(Path(args.data).resolve())
    done = records(Path(args.out))
    names = args.rows.split(",")
    if args.rows.startswith("best"):
        names = best(done, int(args.rows[4:]), args.images)
        print(f"the best so far: {', '.join(names)}")
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"--rows: {unknown[0]!r} is unknown; known: {', '.join(ROWS)}")
    finished = {(r["row"], r["seed"], r["images"], r["precision"]) for r in done}
    jobs: queue.Queue = queue.Queue()
    for seed in map(int, args.seeds.split(",")):
        for name in names:
            if (name, seed, args.images, args.precision) not in finished:
                jobs.put((name, seed))
    lock = threading.Lock()

    def work(core: int | None) -> None:
        while True:
            try:
                name, seed = jobs.get_nowait()
            except queue.Empty:
                return
            run(name, seed, core, args, lock)

    cores = sorted(os.sched_getaffinity(0))
    pinned = [cores[i % len(cores)] for i in range(args.jobs)] if args.jobs > 1 else [None]
    workers = [threading.Thread(target=work, args=(core,)) for core in pinned]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()
