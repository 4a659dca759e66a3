"""Score a run, a folder or a file of images against real images held out of training.

  python -m ganpipe eval --run=runs/a --out=metrics.json
  python -m ganpipe eval --run=runs/a --metrics=frechet,kernel --num=10000 --out=metrics.json
  python -m ganpipe eval --run=runs/a --step=4000 --metrics=precision,recall --out=metrics.json
  python -m ganpipe eval --npz=samples.npz --data=data/fashion_mnist --out=metrics.json
  python -m ganpipe eval --images=samples/ --data=data/fashion_mnist --out=metrics.json

--metrics=help lists the metrics. Features come from --extractor: by default a small classifier that
is trained on the data set's own training images; that takes about a minute once and is kept in
--cache_dir. Its name and hash stand beside every score: compare only scores with the same hash,
split and counts. Scores are called FID, KID and IS only with the published Inception weights.

A run knows its data folder; --data (or --reference) says where it is now. Its scores are also added
to RUN/metrics.jsonl and TensorBoard; `python -m ganpipe compare` reads them. --images is a folder
of PNG or JPEG files, all of one size that the data folder holds. An --npz file holds `images`
(N, H, W, C) uint8 and, for label_accuracy, `labels` (N,) as they were asked for.
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ganpipe.cli import app, output
from ganpipe.errors import UserError

DEFAULT_METRICS = ("frechet", "kernel", "label_accuracy")
DEFAULT_NUM = 2000
REPORT_IMAGES = 10_000

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder of `ganpipe train`", flag_values=FLAGS)
flags.DEFINE_string("npz", None, "file with images (and labels), not --run", flag_values=FLAGS)
flags.DEFINE_string("images", None, "folder of PNG or JPEG files, not --run", flag_values=FLAGS)
flags.DEFINE_string("data", None, "data folder; default: the run's own", flag_values=FLAGS)
flags.DEFINE_alias("reference", "data", flag_values=FLAGS)
flags.DEFINE_list(
    "metrics", list(DEFAULT_METRICS), "scores to take; help lists them", flag_values=FLAGS
)
flags.DEFINE_string(
    "extractor",
    "auto",
    "of the features: auto, or one that --extractor=help lists",
    flag_values=FLAGS,
)
flags.DEFINE_integer("step", None, "checkpoint of --run; default: the newest", flag_values=FLAGS)
flags.DEFINE_string("out", None, "JSON file to write", flag_values=FLAGS)
flags.DEFINE_string(
    "report", None, "HTML page to write: neighbours, curves, best and worst", flag_values=FLAGS
)
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


def evaluate_run(
    run_dir: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    metrics: Sequence[str] = DEFAULT_METRICS,
    num: int = DEFAULT_NUM,
    seed: int = 0,
    split: str = "test",
    cache_dir: str | os.PathLike | None = None,
    extractor: str = "auto",
    step: int | None = None,
    report: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Scores the averaged generator of a run's checkpoint.

    Args:
      run_dir: folder that `ganpipe train` wrote.
      data_dir: prepared data folder; None takes the run's own. Data of another fingerprint than
        the run's are used with a warning on stderr.
      metrics: names out of `ganpipe.metrics.evaluate.METRICS`.
      num: generated images.
      seed: see `ganpipe.metrics.evaluate.evaluate`.
      split: split of the data set to compare with.
      cache_dir: where classifiers are kept; None is `evaluation.default_cache_dir()`.
      extractor: a name out of `ganpipe.metrics.choice.SUMMARIES`.
      step: of the checkpoint; None takes the newest sound one.
      report: HTML file to write about it; see `ganpipe.metrics.report`.

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
    from ganpipe.metrics import choice, evaluate
    from ganpipe.train import evaluation

    info = data.info(folder)
    trained_on = record.get("data_fingerprint")
    if trained_on and trained_on != info.fingerprint:
        print(
            f"warning: {run_dir} was trained on data with the fingerprint {trained_on[:12]}, "
            f"{folder} has {info.fingerprint[:12]}: the scores compare with other images",
            file=sys.stderr,
        )
    system = ganpipe.load(run_dir) if step is None else ganpipe.load(run_dir, step)
    source = evaluation.data_source(info, system.resolution)
    choice.check(extractor, source, metrics)
    request = evaluate.check(
        metrics=metrics,
        num=num,
        source=source,
        split=split,
        num_classes=system.num_classes,
        resolution=system.resolution,
        channels=system.channels,
        classes_known=choice.knows_classes(extractor, source),
        looked_at=REPORT_IMAGES if report else 0,
    )
    cache = Path(cache_dir or evaluation.default_cache_dir())
    ruler = choice.get(extractor, source, cache)
    origin = {
        "dir": str(Path(run_dir).resolve()),
        "config_fingerprint": record.get("fingerprint"),
        "data_fingerprint": trained_on,
        "commit": record.get("commit"),
        "step": int(system.step),
    }

    def inspect(context: Any, result: dict[str, Any]) -> None:
        result["passport"]["run"] = origin
        if report is not None:
            _page(report)(context, result)

    return evaluate.evaluate(system.sample, source, ruler, request, seed, cache, inspect)


def evaluate_images(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    data_dir: str | os.PathLike,
    metrics: Sequence[str] = DEFAULT_METRICS,
    num: int | None = None,
    split: str = "test",
    cache_dir: str | os.PathLike | None = None,
    extractor: str = "auto",
    report: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Scores images that exist already, for example fetched from a server.

    Args:
      images: (N, H, W, C) uint8, square, at a resolution that the data folder holds.
      labels: (N,) integers, the classes asked for; needed by label_accuracy only.
      data_dir: prepared data folder.
      metrics: as in `evaluate_run`.
      num: how many, a fixed random choice; None takes all.
      split: as in `evaluate_run`.
      cache_dir: as in `evaluate_run`.
      extractor: as in `evaluate_run`.
      report: as in `evaluate_run`.

    Returns:
      As `evaluate_run`.

    Raises:
      UserError: anything that cannot be evaluated, before the classifier is trained.
    """
    from ganpipe import data
    from ganpipe.metrics import choice, evaluate
    from ganpipe.train import evaluation

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
    source = evaluation.data_source(info, images.shape[1])
    choice.check(extractor, source, metrics)
    request = evaluate.check(
        metrics=metrics,
        num=len(images) if num is None else num,
        source=source,
        split=split,
        num_classes=0 if labels is None else info.num_classes,
        channels=images.shape[3],
        classes_known=choice.knows_classes(extractor, source),
        looked_at=REPORT_IMAGES if report else 0,
    )
    cache = Path(cache_dir or evaluation.default_cache_dir())
    ruler = choice.get(extractor, source, cache)
    return evaluate.evaluate_images(images, labels, source, ruler, request, cache, _page(report))


def _page(report: str | os.PathLike | None) -> Callable[..., None] | None:
    """`inspect` of an evaluation: writes the page."""
    if report is None:
        return None
    from ganpipe.metrics import report as pages

    return functools.partial(pages.write, report)


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


def evaluate_folder(path: str | os.PathLike, **arguments: Any) -> dict[str, Any]:
    """`evaluate_images` on the pictures of a folder, as grey or coloured as the data folder's."""
    from ganpipe import data
    from ganpipe.cli import image_folder
    from ganpipe.metrics import choice, evaluate
    from ganpipe.train import evaluation

    info = data.info(arguments["data_dir"])
    folder = image_folder.Folder(path, info.channels, arguments.get("num"))
    # All that can be refused is refused before the pictures are read.
    source = evaluation.data_source(info, folder.side)
    choice.check(arguments.get("extractor", "auto"), source, arguments["metrics"])
    evaluate.check(
        metrics=arguments["metrics"],
        num=len(folder.paths),
        source=source,
        split=arguments.get("split", "test"),
        classes_known=choice.knows_classes(arguments.get("extractor", "auto"), source),
    )
    images = folder.read()
    result = evaluate_images(images, **arguments)
    result["passport"]["images"] = str(Path(path).resolve())
    return result


def record_run(run: Path, result: dict[str, Any]) -> None:
    """Adds a result of `evaluate_run` to the run's own history."""
    import tensorflow as tf

    from ganpipe.train import evaluation

    step = result["passport"]["run"]["step"]
    try:
        evaluation.record(run, result, step, *evaluation.place(run, step))
    except (OSError, tf.errors.OpError) as error:  # a run folder that others own may be read alone
        print(f"warning: {run}/metrics.jsonl is not written: {error}", file=sys.stderr)


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
    if "help" in FLAGS.metrics or FLAGS.extractor == "help":
        print(output.catalogue("help" in FLAGS.metrics))
        return
    given = [name for name in ("run", "npz", "images") if FLAGS[name].value]
    if len(given) != 1:
        raise UserError("give exactly one of --run=RUN_FOLDER, --images=FOLDER and --npz=FILE")
    if given != ["run"]:
        if not FLAGS.data:
            raise UserError(f"--data is missing: --{given[0]} needs a data folder to compare with")
        if FLAGS.step is not None:
            raise UserError(f"--step={FLAGS.step}: only --run has checkpoints")
    if not FLAGS.out:
        raise UserError("--out is missing: the JSON file to write, for example metrics.json")
    out = Path(FLAGS.out)
    for flag, path in (("out", out), ("report", Path(FLAGS.report or "report.html"))):
        if not path.parent.is_dir() or path.is_dir():
            what = "is a folder" if path.is_dir() else f": folder {path.parent} does not exist"
            raise UserError(f"--{flag}={path} {what}".replace(" :", ":"))
    app.import_tensorflow()
    common = {
        "data_dir": FLAGS.data,
        "metrics": [name.strip() for name in FLAGS.metrics if name.strip()],
        "split": FLAGS.split,
        "cache_dir": FLAGS.cache_dir,
        "extractor": FLAGS.extractor,
        "report": FLAGS.report,
    }
    if FLAGS.run:
        num = FLAGS.num or DEFAULT_NUM
        result = evaluate_run(FLAGS.run, num=num, seed=FLAGS.seed, step=FLAGS.step, **common)
    elif FLAGS.images:
        result = evaluate_folder(FLAGS.images, num=FLAGS.num, **common)
    else:
        result = evaluate_npz(FLAGS.npz, num=FLAGS.num, **common)
    output.write_json(out, result)
    print(output.table(result))
    if FLAGS.run:
        record_run(Path(FLAGS.run), result)
    print(f"scores: {out}")
    if FLAGS.report:
        print(f"report: {FLAGS.report}")
