"""Score a run, or a file of images, against real images held out of training.

  python -m ganpipe eval --run=runs/a --out=metrics.json
  python -m ganpipe eval --run=runs/a --metrics=frechet,kernel --num=10000 --out=metrics.json
  python -m ganpipe eval --npz=samples.npz --data=data/fashion_mnist --out=metrics.json

Metrics: frechet (Frechet distance), kernel (kernel distance), label_accuracy (how often a
classifier sees the class that was asked for). Features come from a small classifier trained on the
data set's own training images; that takes about a minute once and is kept in --cache_dir. Its name
and hash stand beside every score: compare only scores with the same hash, split and counts.

A run knows its data folder; --data says where it is now. An --npz file holds `images`
(N, H, W, C) uint8 and, for label_accuracy, `labels` (N,) as they were asked for.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

if TYPE_CHECKING:
    from ganpipe.data import DatasetInfo
    from ganpipe.metrics.source import ImageSource

DEFAULT_METRICS = ("frechet", "kernel", "label_accuracy")
DEFAULT_NUM = 2000

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder of `ganpipe train`", flag_values=FLAGS)
flags.DEFINE_string("npz", None, "file with images (and labels), not --run", flag_values=FLAGS)
flags.DEFINE_string("data", None, "data folder; default: the run's own", flag_values=FLAGS)
flags.DEFINE_list("metrics", list(DEFAULT_METRICS), "scores to take", flag_values=FLAGS)
flags.DEFINE_string("out", None, "JSON file to write", flag_values=FLAGS)
flags.DEFINE_integer(
    "num",
    None,
    f"generated images; default {DEFAULT_NUM} for --run, all of them for --npz",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "seed",
    0,
    "image i has the seed --seed * 10^9 + i",
    lower_bound=0,
    upper_bound=9 * 10**9,
    flag_values=FLAGS,
)
flags.DEFINE_string("split", "test", "split to compare with", flag_values=FLAGS)
flags.DEFINE_string(
    "cache_dir",
    None,
    "where classifiers are kept; default $GANPIPE_CACHE/extractors or ~/.cache/ganpipe/extractors",
    flag_values=FLAGS,
)


def default_cache_dir() -> Path:
    """`$GANPIPE_CACHE/extractors`, else `~/.cache/ganpipe/extractors`."""
    root = os.environ.get("GANPIPE_CACHE") or Path.home() / ".cache" / "ganpipe"
    return Path(root) / "extractors"


def data_source(info: "DatasetInfo", resolution: int) -> "ImageSource":
    """The metrics' view of a prepared data folder at one resolution.

    Raises:
      UserError: the folder does not hold that resolution.
    """
    from ganpipe import data
    from ganpipe.metrics.source import ImageSource

    info.check_resolution(resolution)

    def batches(split: str, batch_size: int, seed: int | None) -> Any:
        endless = seed is not None
        return data.load(
            info.dir,
            resolution,
            batch_size,
            split=split,
            seed=seed or 0,
            repeat=endless,
            shuffle=endless,
            drop_remainder=endless,
        )

    per_class = {
        split: list(content["per_class"]) if info.num_classes else [int(content["count"])]
        for split, content in info.splits.items()
    }
    names = tuple(info.class_names) if info.num_classes else ()
    return ImageSource(
        info.name, info.fingerprint, resolution, info.channels, names, per_class, batches
    )


def evaluate_run(
    run_dir: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    num: int = DEFAULT_NUM,
    seed: int = 0,
    split: str = "test",
    cache_dir: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Scores the averaged generator of a run's newest sound checkpoint.

    Args:
      run_dir: folder that `ganpipe train` wrote.
      data_dir: prepared data folder; None takes the run's own. Data of another fingerprint than
        the run's are used with a warning on stderr.
      metrics: names out of `ganpipe.metrics.evaluate.METRICS`.
      num: generated images.
      seed: see `ganpipe.metrics.evaluate.evaluate`.
      split: split of the data set to compare with.
      cache_dir: where classifiers are kept; None is `default_cache_dir()`.

    Returns:
      What metrics.json holds; see `docs/metrics.md`.

    Raises:
      UserError: anything that cannot be evaluated, before the classifier is trained.
    """
    record = _run_record(Path(run_dir))
    folder = data_dir or record.get("data_dir") or record["config"].get("data", {}).get("dir")
    if not folder:
        raise UserError(f"{run_dir}/config.json names no data folder: give it with --data")

    import ganpipe
    from ganpipe import data
    from ganpipe.metrics import classifier, evaluate

    info = data.info(folder)
    trained_on = record.get("data_fingerprint")
    if trained_on and trained_on != info.fingerprint:
        print(
            f"warning: {run_dir} was trained on data with the fingerprint {trained_on[:12]}, "
            f"{folder} has {info.fingerprint[:12]}: the scores compare with other images",
            file=sys.stderr,
        )
    system = ganpipe.load(run_dir)
    source = data_source(info, system.resolution)
    request = evaluate.check(
        metrics=metrics,
        num=num,
        source=source,
        split=split,
        num_classes=system.num_classes,
        resolution=system.resolution,
        channels=system.channels,
    )
    extractor = classifier.get_or_train(source, cache_dir or default_cache_dir())
    result = evaluate.evaluate(system.sample, source, extractor, request, seed)
    result["passport"]["run"] = {
        "dir": str(Path(run_dir).resolve()),
        "config_fingerprint": record.get("fingerprint"),
        "data_fingerprint": trained_on,
        "commit": record.get("commit"),
        "step": int(system.step),
    }
    return result


def evaluate_images(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    data_dir: str | os.PathLike,
    metrics: Sequence[str] = DEFAULT_METRICS,
    num: int | None = None,
    split: str = "test",
    cache_dir: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Scores images that exist already, for example fetched from a server.

    Args:
      images: (N, H, W, C) uint8, square, at a resolution that the data folder holds.
      labels: (N,) integers, the classes asked for; needed by label_accuracy only.
      data_dir: prepared data folder.
      metrics: as in `evaluate_run`.
      num: how many, from the front; None takes all.
      split: as in `evaluate_run`.
      cache_dir: as in `evaluate_run`.

    Returns:
      As `evaluate_run`.

    Raises:
      UserError: anything that cannot be evaluated, before the classifier is trained.
    """
    from ganpipe import data
    from ganpipe.metrics import classifier, evaluate

    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise UserError(
            f"images are {images.dtype} of shape {images.shape}, expected square uint8 images "
            "(N, H, W, C)"
        )
    if num is not None and num > len(images):
        raise UserError(f"--num={num}, but there are only {len(images)} images")
    info = data.info(data_dir)
    if labels is not None:
        labels = np.asarray(labels)
        if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f"labels are {labels.dtype} of shape {labels.shape}, expected one integer for "
                f"each of {len(images)} images"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < max(info.num_classes, 1):
            raise UserError(
                f"labels span {labels.min()}..{labels.max()}, {info.name} has the classes "
                f"0..{info.num_classes - 1}"
            )
    source = data_source(info, images.shape[1])
    request = evaluate.check(
        metrics=metrics,
        num=len(images) if num is None else num,
        source=source,
        split=split,
        num_classes=0 if labels is None else info.num_classes,
        channels=images.shape[3],
    )
    extractor = classifier.get_or_train(source, cache_dir or default_cache_dir())
    return evaluate.evaluate_images(images, labels, source, extractor, request)


def evaluate_npz(path: str | os.PathLike, **arguments: Any) -> dict[str, Any]:
    """`evaluate_images` on the arrays `images` and (if there) `labels` of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise UserError(f"--npz={path} does not exist") from error
    except Exception as error:  # zipfile, zlib, pickle refusals: each its own
        raise UserError(f"--npz={path} is not a readable .npz file: {error}") from error
    if "images" not in arrays:
        there = ", ".join(sorted(arrays)) or "nothing"
        raise UserError(f"--npz={path} holds {there}, expected an array `images`")
    result = evaluate_images(arrays["images"], arrays.get("labels"), **arguments)
    result["passport"]["npz"] = str(Path(path).resolve())
    return result


def table(result: dict[str, Any]) -> str:
    """The scores as text, each with the extractor's name and hash."""
    extractor = result["extractor"]
    ruler = f"{extractor['name']} {extractor['hash'][:12]}"
    spread = result["scores"].get("kernel_std")
    rows = [("score", "value", "extractor")]
    for metric, name in result["names"].items():
        value = f"{result['scores'][metric]:.6g}"
        if metric == "kernel":
            value += f" (spread {spread:.2g})"
        rows.append((name, value, ruler))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    counts = result["passport"]["counts"]
    note = f"{counts['generated']} generated images"
    if "reference" in counts:
        note += f" against {counts['reference']} real ones"
    note += (
        f" ({result['passport']['data']['name']}, split {result['passport']['split']}); "
        f"the extractor's own test accuracy is {extractor['test_accuracy']:.4f}"
    )
    return "\n".join([*lines, note])


def write_json(path: str | os.PathLike, values: dict[str, Any]) -> None:
    """Writes JSON beside its place and renames it there."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(values, file, indent=1, allow_nan=False)
            file.write("\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _run_record(run: Path) -> dict[str, Any]:
    """config.json of a run folder."""
    path = run / "config.json"
    if not path.is_file():
        what = "has no config.json" if run.is_dir() else "does not exist"
        raise UserError(f"--run={run} {what}: expected a folder that `ganpipe train` wrote")
    try:
        record = json.loads(path.read_text())
        if not isinstance(record["config"], dict):
            raise ValueError("`config` is not an object")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not readable as a run's config: {error}") from error
    return record


def main(arguments: list[str]) -> None:
    """Entry point."""
    if arguments:
        raise UserError(f"unexpected argument(s): {' '.join(arguments)}")
    if bool(FLAGS.run) == bool(FLAGS.npz):
        raise UserError("give exactly one of --run=RUN_FOLDER and --npz=FILE")
    if FLAGS.npz and not FLAGS.data:
        raise UserError("--data is missing: --npz needs a data folder to compare with")
    if not FLAGS.out:
        raise UserError("--out is missing: the JSON file to write, for example metrics.json")
    out = Path(FLAGS.out)
    if not out.parent.is_dir() or out.is_dir():
        what = "is a folder" if out.is_dir() else f": folder {out.parent} does not exist"
        raise UserError(f"--out={out} {what}".replace(" :", ":"))
    app.import_tensorflow()
    common = {
        "data_dir": FLAGS.data,
        "metrics": [name.strip() for name in FLAGS.metrics if name.strip()],
        "split": FLAGS.split,
        "cache_dir": FLAGS.cache_dir,
    }
    if FLAGS.run:
        num = FLAGS.num or DEFAULT_NUM
        result = evaluate_run(FLAGS.run, num=num, seed=FLAGS.seed, **common)
    else:
        result = evaluate_npz(FLAGS.npz, num=FLAGS.num, **common)
    write_json(out, result)
    print(table(result))
    print(f"scores: {out}")
