"""What each metric sees: the same sets of images through every score.

Trained runs of the classic family beside sets whose fault is known: training images (perfect), the
same blurred, without two classes, few of them again and again (memorised), and noise. One JSON line
a set goes to benchmarks/results/every_metric.jsonl; `benchmarks/report.py` writes the table of
docs/metrics.md.

    python benchmarks/every_metric.py --data=data/fm32 --runs=runs/classic --num=5000
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

METRICS = (
    "frechet",
    "frechet_infinity",
    "kernel",
    "inception_score",
    "mode_score",
    "precision",
    "recall",
    "density",
    "coverage",
    "mmd",
    "wasserstein",
    "nearest_neighbour",
    "bins",
    "modes_covered",
    "reverse_kl",
    "sliced_wasserstein",
    "ms_ssim",
)
# label -> row of benchmarks/classic.py
RUNS = {
    "hinge": "hinge",
    "gan": "gan",
    "wgan": "wgan",
    "fgan-total_variation": "fgan-total_variation",
}


def blurred(images: np.ndarray) -> np.ndarray:
    """Gaussian blur with a deviation of one pixel."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(images.astype(np.float32), sigma=(0, 1, 1, 0))
    return np.uint8(np.round(smooth))


def known_sets(data: str, num: int) -> dict[str, np.ndarray]:
    """Sets with one fault each, from training images: (num, R, R, C) uint8."""
    from ganpipe import data as data_lib
    from ganpipe.metrics import material
    from ganpipe.train import evaluation

    source = evaluation.data_source(data_lib.info(data), 32)
    images, labels = material.real_arrays(source, "train", min(2 * num, source.count("train")))
    rng = np.random.RandomState(0)
    faults: dict[str, Callable[[], np.ndarray]] = {
        "training images": lambda: images[:num],
        "the same, blurred": lambda: blurred(images[:num]),
        "two classes missing": lambda: images[labels >= 2][:num],
        "200 images, repeated": lambda: images[rng.randint(0, 200, num)],
        "noise": lambda: rng.randint(0, 256, (num, *images.shape[1:])).astype(np.uint8),
    }
    return {name: make() for name, make in faults.items()}


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="prepared Fashion-MNIST at 32x32")
    parser.add_argument("--runs", required=True, help="run folders of benchmarks/classic.py")
    parser.add_argument("--num", type=int, default=5000)
    parser.add_argument("--out", default=str(HERE / "results" / "every_metric.jsonl"))
    parser.add_argument("--pages", help="folder for a page about each run")
    args = parser.parse_args()
    from ganpipe.cli import app
    from ganpipe.cli import eval as judging

    app.import_tensorflow()
    results = []
    for label, row in RUNS.items():
        run = Path(args.runs) / f"{row}-1000000-mixed_bfloat16-seed0" / "run"
        page = Path(args.pages) / f"{label}.html" if args.pages else None
        common = {"data_dir": args.data, "metrics": METRICS, "num": args.num, "report": page}
        results.append((label, judging.evaluate_run(run, **common)))
        print(label, results[-1][1]["scores"], flush=True)
    for label, images in known_sets(args.data, args.num).items():
        found = judging.evaluate_images(images, data_dir=args.data, metrics=METRICS)
        results.append((label, found))
        print(label, found["scores"], flush=True)
    lines = [
        json.dumps(
            {
                "benchmark": "every_metric",
                "set": label,
                "scores": result["scores"],
                "names": result["names"],
                "passport": result["passport"],
            }
        )
        for label, result in results
    ]
    Path(args.out).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
