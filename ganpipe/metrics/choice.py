"""Which extractor a score is taken with: `--extractor=NAME` or `NAME:FILE`, or by what there is."""

import importlib
import math
import os
from collections.abc import Sequence

from ganpipe.errors import UserError
from ganpipe.metrics import classifier, extractors, smallcnn
from ganpipe.metrics.extractors import base
from ganpipe.metrics.material import Extractor
from ganpipe.metrics.source import ImageSource

OWN = "smallcnn"
MOST_PIXELS = 64 * 64 * 3
SUMMARIES = {
    "auto": "smallcnn",
    OWN: "a small classifier trained on the data set itself, once: FD-smallcnn",
    **{name: line for name, (_, line) in extractors.NAMES.items()},
}

# Extractors that read a file of weights, which may be named: `inception:FILE.pb`.
WITH_FILE = ("efflite0", "inception", "vgg16")

# These ask the extractor for the data set's own classes.
OF_OWN_CLASSES = ("label_accuracy", "separability_z", "separability_w")


def parts(spec: str) -> tuple[str, str | None]:
    """`NAME[:FILE]` -> (name, file or None).

    Raises:
      UserError: an unknown name, a file for an extractor that reads none, an empty file.
    """
    name, colon, file = spec.partition(":")
    if name not in SUMMARIES:
        raise UserError(f"--extractor={spec}: unknown; known are {', '.join(SUMMARIES)}")
    if not colon:
        return name, None
    if name not in WITH_FILE:
        raise UserError(
            f"--extractor={spec}: {name} reads no file of weights; {', '.join(WITH_FILE)} do"
        )
    if not file:
        raise UserError(f"--extractor={spec}: expected {name} or {name}:FILE")
    return name, file


def knows_classes(spec: str, source: ImageSource) -> bool:
    """Whether the extractor has classes to predict (its own, or those of the data set)."""
    name, _ = parts(spec)
    if name in ("auto", OWN):
        return source.num_classes > 1
    return name in ("efflite0", "inception")


def check(spec: str, source: ImageSource, metrics: Sequence[str] = ()) -> None:
    """Refuses an extractor that does not fit the images or metrics, before it is made.

    Raises:
      UserError: an unknown name, a colour extractor for grey images, or label_accuracy with an
        extractor whose classes are not those of the data.
    """
    name, _ = parts(spec)
    if source.channels != 3 and name in WITH_FILE:
        raise UserError(
            f"--extractor={spec} was trained on colour, {source.name} has {source.channels} "
            f"channel(s): use --extractor={f'{OWN} or ' if source.square else ''}pixels"
        )

    dim = math.prod(source.image_shape)
    if name in ("auto", OWN):
        if not source.square:
            others = ["pixels"] if dim <= MOST_PIXELS else []
            if source.channels == 3:
                others += [f"{', '.join(WITH_FILE)}, which stretch them to a square"]
            advice = f"use --extractor={', or '.join(others)}" if others else "none takes them"
            raise UserError(
                f"--extractor={spec} is {OWN}, which takes square images; those of {source.name} "
                f"are {source.size} (height x width): {advice}"
            )
        smallcnn.check_size(source.resolution, source.channels)
    if name == "pixels" and dim > MOST_PIXELS:
        raise UserError(
            f"--extractor=pixels: images of {source.name} have {dim:,} values, whose covariance "
            f"takes {8 * dim**2 / 2**30:.0f} GiB; expected at most {MOST_PIXELS:,}"
        )
    for metric in OF_OWN_CLASSES:
        if metric in metrics and name not in ("auto", OWN):
            raise UserError(
                f"--extractor={spec} does not know the classes of {source.name}: leave {metric} "
                f"out of --metrics{f', or use --extractor={OWN}' if source.square else ''}"
            )


def check_file(spec: str) -> None:
    """Refuses an extractor whose file of weights is not there; reads nothing of it.

    Raises:
      UserError: tells where it is published and where to put it.
    """
    name, file = parts(spec)
    if name not in WITH_FILE:
        return
    module = importlib.import_module(f"ganpipe.metrics.extractors.{extractors.NAMES[name][0]}")
    if file is None and hasattr(module, "installed_file"):
        file = module.installed_file()
    base.locate(module.PUBLISHED, file)


def get(spec: str, source: ImageSource, cache_dir: str | os.PathLike) -> Extractor:
    """The extractor of a name: trained, read from its file, or taken from the cache.

    Raises:
      UserError: as `check`; a file of weights that is missing or not as published.
    """
    check(spec, source)
    name, file = parts(spec)
    if name in ("auto", OWN):
        return classifier.get_or_train(source, cache_dir)
    if name == "pixels":
        size = source.resolution if source.square else source.image_shape[:2]
        return extractors.load(name, channels=source.channels, size=size)
    return extractors.load(name, **({} if file is None else {"path": file}))
