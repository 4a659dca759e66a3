"""The report's plots: SVG text that takes its ink from the page, so it reads on light and dark."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Drawn in this colour, then replaced by CSS's currentColor: the page decides.
_INK = "#010203"
_COLOURS = ("#3b82f6", "#f97316", "#10b981", "#a855f7", "#ef4444", "#14b8a6")

# Panel -> (title, pattern of the tags it shows). A tag belongs to the first panel that takes it.
_PANELS = (
    ("Losses", re.compile(r"loss", re.I)),
    # Logits may be anything and shares end at 1: on one axis one of them would be a flat line.
    ("D's logits on real and fake, means", re.compile(r"logits?_(real|fake)", re.I)),
    (
        "D(real) and D(fake): probabilities, accuracies",
        re.compile(r"(^|[/_])(d_)?(real|fake)|d\((real|fake)\)", re.I),
    ),
    ("Gradient norms", re.compile(r"grad", re.I)),
    ("Learning rates", re.compile(r"learning_rate|(^|[/_])lr($|[/_])", re.I)),
    ("Images per second", re.compile(r"images_per_s|img_per_s|images/s|throughput", re.I)),
)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Reads the scalar curves of a TensorBoard folder.

    Args:
      folder: holds event files, itself or below it.

    Returns:
      tag -> [(step, value)], ascending steps; where a step was written twice (a training that was
      killed and continued), the later value.
    """
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    found: dict[str, dict[int, float]] = {}
    places = sorted({file.parent for file in folder.rglob("events.out.tfevents.*")})
    for place in places:
        prefix = "" if place == folder else f"{place.relative_to(folder).as_posix()}/"
        events = event_accumulator.EventAccumulator(
            str(place),
            # 0 keeps all: the default keeps ten tensors. Pictures are of no use here.
            size_guidance={
                event_accumulator.SCALARS: 0,
                event_accumulator.TENSORS: 0,
                event_accumulator.IMAGES: 1,
            },
            purge_orphaned_data=False,
        )
        events.Reload()
        for tag in events.Tags()["scalars"]:
            for event in events.Scalars(tag):
                found.setdefault(prefix + tag, {})[event.step] = float(event.value)
        for tag in events.Tags()["tensors"]:
            content = events.SummaryMetadata(tag).plugin_data.plugin_name
            if content != "scalars":
                continue
            for event in events.Tensors(tag):
                value = tensor_util.make_ndarray(event.tensor_proto)
                found.setdefault(prefix + tag, {})[event.step] = float(value)
    return {tag: sorted(points.items()) for tag, points in sorted(found.items())}


def _svg(figure: Any) -> str:
    """Returns a figure as inline SVG: no XML head, ink from the page, width from its box."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    head, rest = text.split(">", 1)
    return re.sub(r' (?:width|height)="[^"]*"', "", head) + ">" + rest


def _axes(width: float, height: float) -> tuple[Any, Any]:
    """Returns a new figure and its axes, drawn in the ink that `_svg` replaces."""
    from matplotlib.figure import Figure  # The object interface: no pyplot, no display, no state.

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, labelsize=8)
    axes.grid(axis="y", color=_INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _markup(text: str) -> Any:
    """Marks our own SVG as safe for a template that escapes."""
    import markupsafe

    return markupsafe.Markup(text)


def training(folder: Path) -> list[dict[str, Any]]:
    """Draws the training curves of a TensorBoard folder, one panel a kind.

    Args:
      folder: `tensorboard/` of a run folder.

    Returns:
      [{"title", "svg"}]; a panel without curves is left out.
    """
    from matplotlib.ticker import MaxNLocator

    curves = scalars(folder)
    panels = []
    left = dict(curves)
    for title, pattern in _PANELS:
        mine = {tag: left.pop(tag) for tag in list(left) if pattern.search(tag)}
        if not mine:
            continue
        figure, axes = _axes(4.6, 2.4)
        for i, (tag, points) in enumerate(mine.items()):
            steps, values = zip(*points, strict=True)
            axes.plot(
                steps,
                values,
                label=tag.replace("/", " ").replace("_", " "),
                color=_COLOURS[i % len(_COLOURS)],
                linewidth=1.2,
                marker="o" if len(points) == 1 else None,
            )
        axes.set_xlabel("step", color=_INK, fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.legend(fontsize=7, frameon=False, labelcolor=_INK, ncols=2)
        panels.append({"title": title, "svg": _markup(_svg(figure))})
    return panels


def class_chart(names: Sequence[str], splits: Mapping[str, Mapping[str, Any]]) -> Any:
    """Draws how many images each class has in each split; None for data without labels."""
    if not names:
        return None
    import numpy as np

    figure, axes = _axes(6.4, 0.6 + 0.26 * len(names))
    places = np.arange(len(names))
    filled = np.zeros(len(names))
    for i, (split, record) in enumerate(splits.items()):
        counts = np.asarray(record["per_class"])
        axes.barh(places, counts, left=filled, height=0.7, label=split, color=_COLOURS[i])
        filled += counts
    return _finish_bars(axes, figure, names, places, legend=True)


def _finish_bars(axes: Any, figure: Any, names: Sequence[str], places: Any, legend: bool) -> Any:
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    if legend:
        axes.legend(
            fontsize=7,
            frameon=False,
            labelcolor=_INK,
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=3,
        )
    return _markup(_svg(figure))


def agreement_chart(evaluation: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Draws how often the classifier agrees with the label asked for, class by class.

    Args:
      evaluation: the dict of `metrics.json`; `label_accuracy_per_class` in it is a list of shares,
        one a class.
      names: class names.

    Returns:
      SVG, or None if the evaluation has no such list.
    """
    import numpy as np

    # None stands for a class that was not asked for.
    shares = [share or 0.0 for share in evaluation.get("label_accuracy_per_class") or ()]
    if not shares:
        return None

    figure, axes = _axes(6.4, 0.6 + 0.26 * len(shares))
    places = np.arange(len(shares))
    axes.barh(places, shares, height=0.7, color=_COLOURS[2])
    for place, share in zip(places, shares, strict=True):
        axes.text(
            min(share, 1.0) + 0.01, place, f"{share:.0%}", va="center", fontsize=8, color=_INK
        )
    axes.set_xlim(0, 1.08)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25 %", "50 %", "75 %", "100 %"])
    return _finish_bars(axes, figure, list(names) or [str(p) for p in places], places, legend=False)
