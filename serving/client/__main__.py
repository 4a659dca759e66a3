"""Fetch images from a served model and lay them out in one picture.

16 images with the seeds 1 to 16:

  python -m serving.client --server=localhost:8500 --model_name=dcgan --n=16 --seed=1 --out=grid.png

16 of each class of a conditional model, one row per class:

  python -m serving.client --model_name=dcgan --labels=0-9 --n=16 --out=classes.png \
      --label_names=shirt,trousers,pullover,dress,coat,sandal,blouse,sneaker,bag,boot

The same over REST, kept as arrays too:

  python -m serving.client --rest=http://localhost:8501 --model_name=dcgan --npz=images.npz \
      --out=grid.png

Image i of the request, counted row by row, has the seed SEED + i. The server may be
`python -m serving.server` or TensorFlow Serving.
"""

import math
import os
import pathlib
import sys

import numpy as np
from absl import flags
from tqdm import tqdm

from serving import command
from serving.client import picture
from serving.client.client import BATCH_SIZE, Client
from serving.command import UsageError

FLAGS = flags.FlagValues()
_IN = {"flag_values": FLAGS}
flags.DEFINE_string("server", "localhost:8500", "gRPC address, host:port.", **_IN)
flags.DEFINE_string("rest", None, "http://host:port; REST instead of gRPC.", **_IN)
flags.DEFINE_string("model_name", "default", "What the server calls the model.", **_IN)
flags.DEFINE_integer("version", None, "Version to ask; default the newest.", lower_bound=0, **_IN)
flags.DEFINE_string("version_label", None, "Ask the version with this label instead.", **_IN)
flags.DEFINE_integer(
    "n", 16, "How many images; with --labels, of each class.", lower_bound=1, **_IN
)
flags.DEFINE_integer("seed", 1, "Seed of the first image; image i has seed + i.", **_IN)
flags.DEFINE_string(
    "labels", None, "Classes to ask for, one row each: 0-9 or 0,3,5 or both.", **_IN
)
flags.DEFINE_list("label_names", None, "Names drawn beside the rows of --labels.", **_IN)
flags.DEFINE_float(
    "truncation",
    1.0,
    "Truncation of the latents: 1 is none, smaller is more typical and less varied.",
    lower_bound=0.0,
    **_IN,
)
flags.DEFINE_string("out", None, "PNG file to write the grid to (default grid.png).", **_IN)
flags.DEFINE_string(
    "npz", None, "NPZ file to write images (N,H,W,C) uint8, labels and seeds to.", **_IN
)
flags.DEFINE_integer("columns", 0, "Images per row; 0 chooses.", lower_bound=0, **_IN)
flags.DEFINE_integer(
    "scale", 0, "Enlarge every pixel this many times; 0 chooses.", lower_bound=0, **_IN
)
flags.DEFINE_integer(
    "batch_size", BATCH_SIZE, "Images per request; more are split.", lower_bound=1, **_IN
)
flags.DEFINE_float("timeout", 60.0, "Seconds to wait for each answer.", lower_bound=0.001, **_IN)
flags.DEFINE_float(
    "wait", 0.0, "Seconds to wait for the server and the model to be there.", lower_bound=0, **_IN
)


def main(args: list[str]) -> int:
    """Asks, writes the files and prints their paths."""
    if args:
        raise UsageError(f"unexpected argument {args[0]!r}: every setting is a --flag=value")
    if FLAGS.version is not None and FLAGS.version_label is not None:
        raise UsageError("give --version or --version_label, not both")
    classes = _classes(FLAGS.labels)
    names = _row_names(classes)
    paths = {"out": FLAGS.out, "npz": FLAGS.npz}
    if not FLAGS.out and not FLAGS.npz:
        paths["out"] = "grid.png"
    for flag, path in paths.items():
        _check_writable(flag, path)
    count = FLAGS.n * len(classes or [None])
    _check_seeds(count)
    seeds = np.arange(count, dtype=np.int64) + FLAGS.seed

    with Client(
        FLAGS.server,
        FLAGS.model_name,
        timeout=FLAGS.timeout,
        rest=FLAGS.rest,
        version=FLAGS.version,
        version_label=FLAGS.version_label,
        batch_size=FLAGS.batch_size,
    ) as client:
        if FLAGS.wait:
            client.wait(FLAGS.wait)
        if classes is not None:
            labels = np.repeat(np.array(classes, np.int64), FLAGS.n)
        else:
            labels = np.full(count, -1, np.int64) if client.conditional else None
        with tqdm(total=count, unit=" images", disable=_no_bar(count)) as bar:
            images = client.sample(seeds, labels, FLAGS.truncation, progress=bar.update)
        version = client.metadata().version

    columns = FLAGS.columns or (FLAGS.n if classes else math.ceil(math.sqrt(count)))
    if paths["out"]:
        shown = picture.grid(images, columns, names, FLAGS.scale)
        _write("out", paths["out"], lambda file: shown.save(file, format="PNG"))
    if paths["npz"]:
        arrays = {"images": images, "seeds": seeds}
        arrays["labels"] = np.full(count, -1, np.int64) if labels is None else labels
        _write("npz", paths["npz"], lambda file: np.savez_compressed(file, **arrays))
    size = "x".join(str(side) for side in images.shape[1:])
    print(f"{count} images of {size} from {FLAGS.model_name} version {version}")
    for path in filter(None, paths.values()):
        print(f"wrote {path}")
    return 0


def _classes(text: str | None) -> list[int] | None:
    """ "0-2,5" -> [0, 1, 2, 5]."""
    if text is None:
        return None
    classes: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise UsageError(f"--labels={text}: {part!r} is not a class number or a range like 0-9")
        found = range(int(first), int(last) + 1) if dash else [int(first)]
        if not found or len(found) > 10_000:
            raise UsageError(f"--labels={text}: the range {part!r} is empty or too long")
        classes.extend(found)
    return classes


def _row_names(classes: list[int] | None) -> list[str] | None:
    names = FLAGS.label_names
    if names and classes is None:
        raise UsageError("--label_names needs --labels")
    if names and len(names) != len(classes):
        raise UsageError(
            f"--label_names has {len(names)} names, --labels has {len(classes)} classes"
        )
    if names and FLAGS.columns:
        raise UsageError("--label_names goes with one row per class; leave out --columns")
    if classes is None or FLAGS.columns:
        return None
    return names or [str(label) for label in classes]


def _check_seeds(count: int) -> None:
    bound = 2**63
    if not -bound <= FLAGS.seed <= bound - count:
        raise UsageError(f"--seed={FLAGS.seed}: the seeds of {count} images must be int64")


def _check_writable(flag: str, path: str | None) -> None:
    if not path:
        return
    folder = pathlib.Path(path).parent
    if pathlib.Path(path).is_dir():
        raise UsageError(f"--{flag}={path} is a directory, expected a file name")
    if not folder.is_dir():
        raise UsageError(f"--{flag}={path}: there is no directory {folder}")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"--{flag}={path}: no permission to write into {folder}")


def _write(flag: str, path: str, save) -> None:
    try:
        picture.write(pathlib.Path(path), save)
    except OSError as error:
        raise UsageError(f"--{flag}={path} cannot be written: {error}") from error


def _no_bar(count: int) -> bool:
    return count <= FLAGS.batch_size or not sys.stderr.isatty()


if __name__ == "__main__":
    command.run(main, FLAGS)
