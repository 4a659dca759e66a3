"""Study 4: real systems on a ring of 8 and a grid of 25 Gaussians, with the modes they cover.

Every run is a process of its own (`ganpipe.study.worker`), on one thread, and stops at three
minutes of its own CPU time at the latest. A run whose result stands in OUT/mixtures/ with the same
recipe and settings is not made again, so a study that was stopped goes on where it was.
"""

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tqdm

from ganpipe.errors import UserError
from ganpipe.study import output, recipes, toys

CPU_LIMIT = 180.0


def fingerprint(job: Mapping[str, Any]) -> str:
    """Of everything that a result depends on, but the code of the systems."""
    recipe = dataclasses.asdict(recipes.RECIPES[job["recipe"]])
    share = recipes.RING_SHARE if job["mixture"] == "ring" else 1.0
    known = {k: v for k, v in job.items() if k not in ("path", "fingerprint")}
    text = json.dumps([recipe, share, known], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def jobs(
    out: Path,
    names: Sequence[str],
    mixtures: Sequence[str],
    seeds: Sequence[int],
    effort: float,
    cpu_limit: float = CPU_LIMIT,
) -> list[dict[str, Any]]:
    """What `worker.main` takes, a job for every recipe, mixture and seed.

    Raises:
      UserError: an unknown recipe or mixture.
    """
    for flag, given, known in (
        ("--recipes", names, recipes.RECIPES),
        ("--mixtures", mixtures, toys.MIXTURES),
    ):
        for name in given:
            if name not in known:
                raise UserError(f"{flag}: {name!r} is unknown; expected some of {', '.join(known)}")
    made = []
    for mixture in mixtures:
        for name in names:
            for seed in seeds:
                job = {
                    "recipe": name,
                    "mixture": mixture,
                    "seed": int(seed),
                    "effort": effort,
                    "cpu_limit": cpu_limit,
                    "path": str(out / "mixtures" / f"{mixture}-{name}-{seed}"),
                }
                made.append(job | {"fingerprint": fingerprint(job)})
    return made


def kept(job: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of an earlier run of exactly this job."""
    try:
        written = json.loads(Path(job["path"]).with_suffix(".json").read_text())
    except (OSError, ValueError):
        return None
    same = written.get("fingerprint") == job["fingerprint"]
    return written.get("result") if same else None


def work(job: Mapping[str, Any], tell: Any = lambda text: None) -> dict[str, Any]:
    """Runs one job in a process of its own.

    Args:
      job: see `jobs`.
      tell: called with a short text as the run goes on.

    Raises:
      RuntimeError: the process failed; with the end of what it printed.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(
        [sys.executable, "-m", "ganpipe.study.worker", json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    errors: list[str] = []
    # Both pipes are read at once: a full one would stop the child.
    reader = threading.Thread(target=lambda: errors.extend(process.stderr), daemon=True)
    reader.start()
    name = f"{job['mixture']} {job['recipe']} {job['seed']}"
    try:
        for line in process.stdout:
            if line.startswith("{"):
                at = json.loads(line)
                tell(f"{name}: step {at['step']}/{at['steps']}, {at['cpu']:.0f} s CPU")
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
    reader.join(timeout=5)
    result = kept(job)
    if process.returncode or result is None:
        raise RuntimeError(f"{name} failed:\n{''.join(errors[-30:])}")
    return result


def run(
    out: Path,
    seeds: Sequence[int],
    effort: float = 1.0,
    names: Sequence[str] = tuple(recipes.RECIPES),
    mixtures: Sequence[str] = tuple(toys.MIXTURES),
    parallel: int = 1,
    cpu_limit: float = CPU_LIMIT,
) -> dict[str, Any]:
    """Trains all, then writes mixtures_grid.png, mixtures_ring.png, mixtures.md and .json.

    Args:
      out: existing folder.
      seeds: a run each.
      effort: factor on the steps.
      names: keys of `recipes.RECIPES`.
      mixtures: keys of `toys.MIXTURES`.
      parallel: runs at a time. More than one slows all of them down, in CPU seconds too.
      cpu_limit: CPU seconds a run may take.

    Returns:
      {mixture: {recipe: [result a seed]}}.
    """
    todo = jobs(out, names, mixtures, seeds, effort, cpu_limit)
    (out / "mixtures").mkdir(exist_ok=True)
    results: dict[str, Any] = {m: {n: [] for n in names} for m in mixtures}
    with tqdm.tqdm(total=len(todo), desc="mixtures", unit=" runs") as bar:

        def one(job: dict[str, Any]) -> dict[str, Any]:
            result = kept(job) or work(job, bar.set_postfix_str)
            bar.update()
            return result

        with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
            futures = [pool.submit(one, job) for job in todo]
            try:
                for job, future in zip(todo, futures, strict=True):
                    results[job["mixture"]][job["recipe"]].append(future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    for mixture in mixtures:
        points = {
            name: np.load(out / "mixtures" / f"{mixture}-{name}-{seeds[0]}.npy") for name in names
        }
        draw(toys.MIXTURES[mixture](), points, results[mixture], out / f"mixtures_{mixture}.png")
    (out / "mixtures.md").write_text(table(results, seeds))
    output.write_json(
        out / "mixtures.json", {"seeds": list(seeds), "effort": effort, "results": results}
    )
    return results


def table(results: Mapping[str, Any], seeds: Sequence[int]) -> str:
    """A table a mixture: a value a seed, the system's own steps and seconds."""
    text = ""
    for mixture, rows in results.items():
        total = len(toys.MIXTURES[mixture]().means)
        cells = []
        for name, runs in rows.items():
            notes = "" if all(r["finite"] for r in runs) else " (not finite: stopped)"
            if any(r["steps"] < r["planned"] for r in runs) and not notes:
                notes = " (stopped at the CPU limit)"
            cells.append(
                [
                    recipes.RECIPES[name].label + notes,
                    ", ".join(str(r["modes"]) for r in runs),
                    ", ".join(f"{100 * r['good']:.0f}" for r in runs),
                    max(r["steps"] for r in runs),
                    f"{max(r['cpu_seconds'] for r in runs):.0f}",
                    f"{max(r['wall_seconds'] for r in runs):.0f}",
                ]
            )
        header = [
            mixture,
            f"modes of {total}, seeds {', '.join(map(str, seeds))}",
            "good samples, %",
            "steps",
            "CPU s, most",
            "wall s, most",
        ]
        text += output.markdown(header, cells) + "\n"
    return text


def draw(
    mixture: toys.Mixture,
    points: Mapping[str, np.ndarray],
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    path: Path,
) -> Path:
    """2,000 samples of each recipe's first seed; rings mark the modes, full where covered."""
    columns = min(4, len(points))
    rows = -(-len(points) // columns)
    sheet, axes = output.figure(rows, columns, 2.4, 2.6, sharex=True, sharey=True)
    for one in axes.ravel()[len(points) :]:
        one.set_axis_off()
    reach = 1.3 * np.abs(mixture.means).max()
    for one, (name, samples) in zip(axes.ravel(), points.items(), strict=False):
        result = results[name][0]
        covered = np.array(result["shares"]) >= toys.COVERED_SHARE
        one.plot(*samples[:2000].T, ".", color=output.COLOURS[0], markersize=1, alpha=0.6)
        for chosen, colour in ((covered, output.COLOURS[2]), (~covered, output.COLOURS[1])):
            one.plot(
                *mixture.means[chosen].T, "o", markersize=9, color=colour, markerfacecolor="none"
            )
        one.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        one.set_title(
            f"{recipes.RECIPES[name].label}\n{result['modes']} modes, "
            f"{100 * result['good']:.0f} % good",
            fontsize=8,
        )
        one.grid(False)
    return output.save(sheet, path, dpi=80)
