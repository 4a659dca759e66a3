"""A page about one evaluation: what the numbers do not say.

Nearest training pictures of samples (is it memorising?), the trade of precision against recall over
all thresholds, the classes, the best and the worst samples, and a map of feature space. One
self-contained HTML file.

Precision and recall over thresholds: Sajjadi et al. 2018 (arXiv:1806.00035, algorithm 1).
"""

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ganpipe.metrics import bins, distances, material, neighbours
from ganpipe.metrics.context import Context
from ganpipe.ops import images as image_ops

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = 12  # rows of the sheet of nearest neighbours
NEIGHBOURS = 6
SHOWN = 32  # best and worst samples
POINTS = 2000  # of each side on the map
MOST_ROWS = 10_000  # of each side for realism and the curve
CLUSTERS = 20
ANGLES = 1001
TEMPLATES = Path(__file__).parent / "templates"


def precision_recall_curve(
    real_shares: np.ndarray, fake_shares: np.ndarray, angles: int = ANGLES
) -> tuple[np.ndarray, np.ndarray]:
    """Precision alpha and recall beta of two histograms over the same clusters.

    alpha(l) = sum min(l p, q) and beta(l) = sum min(p, q / l), p real and q generated, for slopes l
    = tan of `angles` angles between 0 and a right angle.

    Args:
      real_shares: (K,) p.
      fake_shares: (K,) q.
      angles: number of slopes.

    Returns:
      (angles,) precision and (angles,) recall, in [0, 1].
    """
    slopes = np.tan(np.linspace(1e-6, np.pi / 2 - 1e-6, angles))[:, None]
    precision = np.minimum(slopes * real_shares, fake_shares).sum(axis=1)
    recall = np.minimum(real_shares, fake_shares / slopes).sum(axis=1)
    return np.clip(precision, 0.0, 1.0), np.clip(recall, 0.0, 1.0)


def cluster_shares(
    real: np.ndarray, fake: np.ndarray, clusters: int = CLUSTERS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of both sets in the clusters of their union: two (K,) arrays.

    Args:
      real: (N, d) features.
      fake: (M, d) features.
      clusters: K, at most a tenth of the rows.
      seed: of k-means.
    """
    both = np.concatenate([real, fake])
    count = max(2, min(clusters, len(both) // 10))
    found = bins.bins_from_centres(both, bins.k_means(both, count, seed=seed))
    shares = [np.bincount(found.assign(x), minlength=count) / len(x) for x in (real, fake)]
    return shares[0], shares[1]


def nearest_sheet(context: Context) -> np.ndarray:
    """Samples, each followed by its nearest training images in feature space: (H, W, C) uint8."""
    images = context.fake_images(SAMPLES)
    rows = material.mixed_rows(len(context.fake.images), SAMPLES)
    split = "train" if "train" in context.source.per_class else context.split
    features, _ = material.reference(context.extractor, context.source, split, context.cache_dir)
    k = min(NEIGHBOURS, len(features))
    _, found = distances.nearest(context.fake.features[rows], features, k=k)
    there = material.pick(context.source, split, found.reshape(-1))
    there = there.reshape(len(images), k, *images.shape[1:])
    # An empty column between a sample and its neighbours.
    gap = np.full_like(images[:, None], 255)
    cells = np.concatenate([images[:, None], gap, there], axis=1)
    return image_ops.grid(cells.reshape(-1, *images.shape[1:]), k + 2)


def ranked(context: Context) -> tuple[np.ndarray, np.ndarray]:
    """Sheets of the most and the least realistic of the kept samples (H, W, C) uint8."""
    count = min(len(context.fake.images), MOST_ROWS)
    real = context.real_features
    real = real[material.mixed_rows(len(real), MOST_ROWS)]
    realism = neighbours.realism(context.fake.features[:count], real)
    order = np.argsort(-realism, kind="stable")
    shown = min(SHOWN, count // 2)
    best, worst = order[:shown], order[::-1][:shown]
    return tuple(image_ops.grid(context.fake.images[i], 8) for i in (best, worst))


def _figure(width: float, height: float) -> tuple["Figure", Any]:
    from matplotlib.figure import Figure  # no pyplot, no display, no state

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def curve_figure(context: Context) -> "Figure":
    """Precision against recall."""
    real, fake = context.real_features, context.fake.features
    real, fake = (x[material.mixed_rows(len(x), MOST_ROWS)] for x in (real, fake))
    precision, recall = precision_recall_curve(*cluster_shares(real, fake))
    figure, axes = _figure(4.2, 4.2)
    axes.plot(recall, precision)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision", aspect="equal")
    axes.grid(alpha=0.3)
    return figure


def map_figure(context: Context) -> "Figure":
    """Both sets on the two directions in which the real features vary most."""
    mean, cov = context.real_statistics
    axis = np.linalg.eigh(cov)[1][:, :-3:-1]
    figure, axes = _figure(5.2, 4.2)
    for name, x in (("real", context.real_features), ("generated", context.fake.features)):
        at = (x[material.mixed_rows(len(x), POINTS)] - mean) @ axis
        axes.scatter(at[:, 0], at[:, 1], s=5, alpha=0.35, linewidths=0, label=name)
    axes.set(xlabel="first direction", ylabel="second direction")
    axes.legend(markerscale=3)
    axes.grid(alpha=0.3)
    return figure


def _image(sheet: np.ndarray, scale: int) -> str:
    """A sheet as a data URI, every pixel `scale` wide."""
    picture = Image.fromarray(sheet[..., 0] if sheet.shape[-1] == 1 else sheet)
    picture = picture.resize([side * scale for side in picture.size], Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return _uri(file)


def _drawn(figure: "Figure") -> str:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return _uri(file)


def _uri(file: io.BytesIO) -> str:
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def classes(result: Mapping[str, Any], context: Context) -> list[dict[str, Any]]:
    """One line a class: shares, and how often the asked class is seen. [] without classes."""
    names = list(context.source.class_names)
    if not names or context.fake.logits.shape[1] != len(names):
        return []
    share = np.bincount(context.fake.predicted, minlength=len(names)) / len(context.fake.features)
    real = context.real_logits.argmax(axis=1)
    real_share = np.bincount(real, minlength=len(names)) / len(real)
    accuracy = result.get("label_accuracy_per_class") or [None] * len(names)
    return [
        {"name": name, "real": float(r), "fake": float(f), "accuracy": a}
        for name, r, f, a in zip(names, real_share, share, accuracy, strict=True)
    ]


def write(path: str | os.PathLike, context: Context, result: Mapping[str, Any]) -> None:
    """Writes the page beside its place and renames it there.

    Args:
      path: HTML file.
      context: of the evaluation, with kept images.
      result: of `ganpipe.metrics.evaluate`.
    """
    import jinja2

    scale = max(1, 96 // context.source.resolution)
    best, worst = ranked(context)
    loader = jinja2.FileSystemLoader(TEMPLATES)
    page = (
        jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        .get_template("evaluation.html.j2")
        .render(
            result=result,
            scores=[
                {"metric": metric, "name": name, "value": result["scores"][metric]}
                for metric, name in result["names"].items()
            ],
            nearest=_image(nearest_sheet(context), scale),
            best=_image(best, scale),
            worst=_image(worst, scale),
            curve=_drawn(curve_figure(context)),
            features=_drawn(map_figure(context)),
            classes=classes(result, context),
            neighbours=NEIGHBOURS,
        )
    )
    path = Path(path)
    aside = path.with_name(f".{path.name}")
    aside.write_text(page, encoding="utf-8")
    aside.rename(path)
