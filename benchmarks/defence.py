"""Must-show of Defense-GAN: accuracies with and without it, in one command.

    python -m pipeline.prepare --source=fashion_mnist --base=7x7 --levels=3 --out=data/fm28
    python -m ganpipe train --config=defense_gan_fashion_mnist:tiny --data=data/fm28 \\
        --workdir=runs/defense
    python benchmarks/defence.py --run=runs/defense --data=data/fm28

Runs `python -m ganpipe defend` with the settings below (further flags are handed through and win),
appends its figures to benchmarks/results/defence.jsonl, prints the table of
docs/models/defense_gan.md, and exits with status 1 when a target is missed: a classifier of 90 % or
more, FGSM at 0.3 below 40 %, at least 30 points won back by the projection (L = 200, R = 10) on at
least 500 images, and BPDA's figure beside them.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
SETTINGS = {
    "classifier": "P",
    "epochs": 10,
    "images": 500,
    "steps": 200,
    "restarts": 10,
    "precision": "mixed_bfloat16",
    "attacks": "fgsm,rand_fgsm,pgd,cw,bpda",
    "bpda_images": 100,
    "bpda_steps": 100,
    "bpda_restarts": 1,
    "bpda_projection_steps": 25,
    "bpda_projection_restarts": 1,
    "curve": 100,
}
NAMES = {
    "none": "none",
    "fgsm": "FGSM",
    "rand_fgsm": "RAND+FGSM",
    "pgd": "PGD",
    "cw": "C&W l2",
    "bpda": "BPDA",
}


def table(result):
    """The rows of the model page."""
    lines = [
        "| attack | images | classifier alone | behind the projection | nearest training picture "
        "| AUC of the error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in result["attacks"].items():
        auc = f"{row['detection_auc']:.3f}" if "detection_auc" in row else ""
        lines.append(
            f"| {NAMES[name]} | {row['images']} | {row['undefended']:.3f} | "
            f"{row['defended']:.3f} | {row['nearest']:.3f} | {auc} |"
        )
    return "\n".join(lines)


def curve(result):
    """Error and accuracy over L and R on clean images."""
    lines = ["| L | R | mean error | accuracy |", "| --- | --- | --- | --- |"]
    for row in result["curve"]:
        lines.append(
            f"| {row['steps']} | {row['restarts']} | {row['mean_error']:.5f} | "
            f"{row['defended']:.3f} |"
        )
    return "\n".join(lines)


def targets(result):
    """Name -> whether it is met."""
    rows, settings = result["attacks"], result["settings"]["projection"]
    fgsm = rows["fgsm"]
    return {
        "classifier 0.90 or more": result["classifier"]["test_accuracy"] >= 0.90,
        "FGSM below 0.40": fgsm["undefended"] < 0.40,
        "30 points won back": fgsm["defended"] - fgsm["undefended"] >= 0.30,
        "L 200, R 10, 500 images": (settings["steps"], settings["restarts"]) == (200, 10)
        and fgsm["images"] >= 500,
        "BPDA reported": "bpda" in rows,
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="run folder of a defense_gan")
    parser.add_argument("--data", required=True, help="Fashion-MNIST, prepared at 28x28")
    parser.add_argument("--json", default="/tmp/defence.json", help="full figures; PNG beside it")
    parser.add_argument("--out", default=str(HERE / "results" / "defence.jsonl"))
    arguments, further = parser.parse_known_args()
    flags = [f"--{name}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, "-m", "ganpipe", "defend", f"--run={arguments.run}"]
    command += [f"--data={arguments.data}", f"--out={arguments.json}", *flags, *further]
    print(" ".join(command[1:]), flush=True)
    status = subprocess.run(command, cwd=HERE.parent).returncode
    if status:
        sys.exit(status)
    result = json.loads(Path(arguments.json).read_text())
    met = targets(result)
    record = {
        "benchmark": "defence",
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[2],
        "targets": met,
        **result,
    }
    out = Path(arguments.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(table(result))
    if "curve" in result:
        print(curve(result))
    for name, reached in met.items():
        print(f"{'met   ' if reached else 'MISSED'} {name}")
    sys.exit(0 if all(met.values()) else 1)


if __name__ == "__main__":
    main()
