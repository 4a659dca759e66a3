"""Which extractor a score is taken with: `--extractor=` by name, or by what there is."""

import os
from collections.abc import Sequence

from ganpipe.errors import UserError
from ganpipe.metrics import classifier, extractors, smallcnn
from ganpipe.metrics.material import Extractor
from ganpipe.metrics.source import ImageSource

OWN = "smallcnn"
MOST_PIXELS = 64 * 64 * 3
SUMMARIES = {
    "auto": "smallcnn",
    OWN: "a small classifier trained on the data set itself, once: FD-smallcnn",
    **{name: line for name, (_, line) in extractors.NAMES.items()},
}


def knows_classes(name: str, source: ImageSource) -> bool:
    """Whether the extractor has classes to predict (its own, or those of the data set)."""
    if name in ("auto", OWN):
        return source.num_classes > 1
    return name in ("efflite0", "inception")


def check(name: str, source: ImageSource, metrics: Sequence[str] = ()) -> None:
    """Refuses an extractor that does not fit the images or metrics, before it is made.

    Raises:
      UserError: an unknown name, a colour extractor for grey images, or label_accuracy with an
        extractor whose classes are not those of the data.
    """
    if name not in SUMMARIES:
        raise UserError(f"--extractor={name}: unknown; known are {', '.join(SUMMARIES)}")
    if source.channels != 3 and name in ("efflite0", "inception", "vgg16"):
        raise UserError(
            f"--extractor={name} was trained on colour, {source.name} has {source.channels} "
            f"channel(s): use --extractor={OWN} or pixels"
        )

    if name in ("auto", OWN):
        smallcnn.check_size(source.resolution, source.channels)
    dim = source.resolution**2 * source.channels
    if name == "pixels" and dim > MOST_PIXELS:
        raise UserError(
            f"--extractor=pixels: images of {source.name} have {dim:,} values, whose covariance "
            f"takes {8 * dim**2 / 2**30:.0f} GiB; expected at most {MOST_PIXELS:,}"
        )
    if "label_accuracy" in metrics and name not in ("auto", OWN):
        raise UserError(
            f"--extractor={name} does not know the classes of {source.name}: leave label_accuracy "
            f"out of --metrics, or use --extractor={OWN}"
        )


def get(name: str, source: ImageSource, cache_dir: str | os.PathLike) -> Extractor:
    """The extractor of a name: trained, read from its file, or taken from the cache.

    Raises:
      UserError: as `check`; a file of weights that is missing or not as published.
    """
    check(name, source)
    if name in ("auto", OWN):
        return classifier.get_or_train(source, cache_dir)
    if name == "pixels":
        return extractors.load(name, channels=source.channels, size=source.resolution)
    return extractors.load(name)
