"""Score a run, a folder or a file of images against real images held out of training.

  python -m ganpipe eval --run=runs/a --out=metrics.json
  python -m ganpipe eval --run=runs/a --metrics=frechet,kernel --num=10000 --out=metrics.json
  python -m ganpipe eval --run=runs/a --step=4000 --metrics=precision,recall --out=metrics.json
  python -m ganpipe eval --run=runs/a --every_kimg=200 --metrics=frechet --out=metrics.json
  python -m ganpipe eval --npz=samples.npz --data=data/fashion_mnist --out=metrics.json
  python -m ganpipe eval --images=samples/ --data=data/fashion_mnist --out=metrics.json

--metrics=help lists the metrics; the default is frechet, kernel and, where classes were asked for
and the extractor knows them, label_accuracy. Features come from --extractor: by default a small
classifier that is trained on the data set's own training images; that takes about a minute once and
is kept in --cache_dir. Its name and hash stand beside every score: compare only scores with the
same hash, split and counts. Scores are called FID, KID and IS only with the published Inception
weights.

A run knows its data folder; --data (or --reference) says where it is now. Its scores are also added
to RUN/metrics.jsonl and TensorBoard; `python -m ganpipe compare` reads them. --every_kimg=K scores
the checkpoints that the run kept, one every K thousand images; what stands in the history as it
would be taken now is not taken again. --images is a folder
of PNG or JPEG files, all of one size that the data folder holds. An --npz file holds `images`
(N, H, W, C) uint8 and, for label_accuracy, `labels` (N,) as they were asked for.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ganpipe.cli import app, output
from ganpipe.cli.eval_run import (
    DEFAULT_METRICS,
    DEFAULT_NUM,
    REPORT_IMAGES,
    default_metrics,
    evaluate_run,
    evaluate_series,
    page_of,
    record_run,
)
from ganpipe.errors import UserError

FLAGS = flags.FlagValues()
flags.DEFINE_string("run", None, "run folder of `ganpipe train`", flag_values=FLAGS)
flags.DEFINE_string("npz", None, "file with images (and labels), not --run", flag_values=FLAGS)
flags.DEFINE_string("images", None, "folder of PNG or JPEG files, not --run", flag_values=FLAGS)
flags.DEFINE_string("data", None, "data folder; default: the run's own", flag_values=FLAGS)
flags.DEFINE_alias("reference", "data", flag_values=FLAGS)
flags.DEFINE_list(
    "metrics",
    None,
    f"scores to take; help lists them; default: what can be taken of {', '.join(DEFAULT_METRICS)}",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "extractor",
    "auto",
    "of the features: auto, or one that --extractor=help lists; NAME:FILE names its weights",
    flag_values=FLAGS,
)
flags.DEFINE_integer("step", None, "checkpoint of --run; default: the newest", flag_values=FLAGS)
flags.DEFINE_float(
    "every_kimg",
    None,
    "score the checkpoints of --run, one every so many thousand images seen",
    lower_bound=0.0,
    flag_values=FLAGS,
)
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


def evaluate_images(
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    data_dir: str | os.PathLike,
    metrics: Sequence[str] | None = None,
    num: int | None = None,
    split: str = "test",
    cache_dir: str | os.PathLike | None = None,
    extractor: str = "auto",
    report: str | os.PathLike | None = None,
) -> dict[str, Any]:
    """Scores images that exist already, for example fetched from a server.

    Args:
      images: (N, H, W, C) uint8, of the size of one of the data folder's levels.
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
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(
            f"images are {images.dtype} of shape {images.shape}, expected uint8 images (N, H, W, C)"
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
    num_classes = 0 if labels is None else info.num_classes
    if metrics is None:
        metrics = default_metrics(num_classes, source, extractor)
    choice.check(extractor, source, metrics)
    request = evaluate.check(
        metrics=metrics,
        num=len(images) if num is None else num,
        source=source,
        split=split,
        num_classes=num_classes,
        resolution=images.shape[1],
        width=images.shape[2],
        channels=images.shape[3],
        classes_known=choice.knows_classes(extractor, source),
        looked_at=REPORT_IMAGES if report else 0,
    )
    cache = Path(cache_dir or evaluation.default_cache_dir())
    ruler = choice.get(extractor, source, cache)
    return evaluate.evaluate_images(images, labels, source, ruler, request, cache, page_of(report))


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
    source = evaluation.data_source(info, folder.size[0])
    extractor, metrics = arguments.get("extractor", "auto"), arguments.get("metrics")
    if metrics is None:
        metrics = default_metrics(0, source, extractor)  # a folder of pictures has no labels
    choice.check(extractor, source, metrics)
    evaluate.check(
        metrics=metrics,
        num=len(folder.paths),
        source=source,
        resolution=folder.size[0],
        width=folder.size[1],
        split=arguments.get("split", "test"),
        classes_known=choice.knows_classes(extractor, source),
    )
    images = folder.read()
    result = evaluate_images(images, **arguments)
    result["passport"]["images"] = str(Path(path).resolve())
    return result


def main(arguments: list[str]) -> None:
    """Entry point."""
    if arguments:
        raise UserError(f"unexpected argument(s): {' '.join(arguments)}")
    if "help" in (FLAGS.metrics or ()) or FLAGS.extractor == "help":
        print(output.catalogue("help" in (FLAGS.metrics or ())))
        return
    given = [name for name in ("run", "npz", "images") if FLAGS[name].value]
    if len(given) != 1:
        raise UserError("give exactly one of --run=RUN_FOLDER, --images=FOLDER and --npz=FILE")
    if given != ["run"]:
        if not FLAGS.data:
            raise UserError(f"--data is missing: --{given[0]} needs a data folder to compare with")
        for flag, why in (
            ("step", "only --run has checkpoints"),
            ("every_kimg", "only --run has checkpoints"),
            ("seed", "only --run samples images; these exist already"),
        ):
            if FLAGS[flag].present:
                raise UserError(f"--{flag}={FLAGS[flag].value}: {why}: leave it out")
    if FLAGS.every_kimg is not None:
        if not FLAGS.every_kimg:
            raise UserError("--every_kimg=0: expected thousands of images between two scores")
        for flag in ("step", "report"):
            if FLAGS[flag].value is not None:
                raise UserError(
                    f"--{flag} and --every_kimg: one checkpoint, or many; leave one out"
                )
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
        # None, which was not given, is not the empty list, which is refused.
        "metrics": FLAGS.metrics and [name.strip() for name in FLAGS.metrics if name.strip()],
        "split": FLAGS.split,
        "cache_dir": FLAGS.cache_dir,
        "extractor": FLAGS.extractor,
        "report": FLAGS.report,
    }
    if FLAGS.every_kimg is not None:
        del common["report"]
        series = evaluate_series(
            FLAGS.run,
            every_kimg=FLAGS.every_kimg,
            num=FLAGS.num or DEFAULT_NUM,
            seed=FLAGS.seed,
            **common,
        )
        output.write_json(out, series)
        print(output.series_table(series))
        print(f"scores: {out}")
        return
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
