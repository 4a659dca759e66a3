"""`statistics.html`: statistics, anomalies and sample images on one page that needs nothing else.

A function of the protos and of `gallery.json` alone. Plots are SVG and CSS drawn here, in colours
of the page, so it reads on light and dark, and on a phone.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.components import checks, gallery
from pipeline.components.checks import Finding, custom, features, mix
from pipeline.components.duplicates import train_split_of

PAGE = "statistics.html"
TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
TEMPLATE = "statistics.html.j2"
MOST_BARS = 40  # classes drawn; of more, the most frequent

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 480, 190, 6, 6, 16, 26


def render(
    stats_dir: Path,
    statistics: Any,
    findings: Sequence[Finding],
    baseline: Any = None,
    baseline_name: str = "",
) -> str:
    """Returns the page.

    Args:
      stats_dir: folder of `statistics_gen.run`, for its gallery; a page without pictures if it has
        none.
      statistics: `DatasetFeatureStatisticsList` of the data.
      findings: what is wrong with them.
      baseline: statistics of earlier data, drawn as dashed lines, or None.
      baseline_name: what it is called.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda n: f"{int(n):,}".replace(",", "\u202f")
    shown = facts(stats_dir, statistics, findings, baseline, baseline_name)
    return environment.get_template(TEMPLATE).render(shown)


def facts(
    stats_dir: Path,
    statistics: Any,
    findings: Sequence[Finding],
    baseline: Any,
    baseline_name: str,
) -> dict[str, Any]:
    """Returns the variables of the template."""
    splits = {dataset.name: dataset for dataset in statistics.datasets}
    earlier = {dataset.name: dataset for dataset in baseline.datasets} if baseline else {}
    first = features(next(iter(splits.values())))
    size = {name: round(first[name].num_stats.max) for name in ("height", "width", "channels")}
    pictures = gallery.read(stats_dir)
    return {
        "pictures": pictures,
        "name": pictures["data"]["name"] if pictures else "Statistics",
        "size": size,
        "blocking": [f for f in findings if f.blocks],
        "warnings": [f for f in findings if not f.blocks],
        "baseline": baseline_name,
        "compared": bool(earlier),
        "splits": [_split(dataset, earlier.get(name)) for name, dataset in splits.items()],
        "values": _charts(splits, earlier, "pixel_"),
        "pairs": _charts(splits, earlier, "pair_"),
        "shapes": [
            {
                "title": title,
                "legend": _legend([*splits, *(["baseline"] if earlier else [])]),
                "svg": _of_splits(splits, earlier, name),
            }
            for name, title in (
                ("brightness", "Brightness: mean of an image"),
                ("contrast", "Contrast: standard deviation within an image"),
            )
        ],
        "classes": _bars(splits, earlier, "class_name"),
        "map_classes": _bars(splits, {}, "map_class"),
    }


def _split(dataset: Any, earlier: Any) -> dict[str, Any]:
    """One row of the table of splits."""
    numbers = custom(features(dataset)["image"])
    train = train_split_of(dataset.name)
    return {
        "name": dataset.name,
        "count": dataset.num_examples,
        "before": earlier.num_examples if earlier is not None else None,
        "train": train,
        "copies": numbers["duplicates"],
        "near": numbers["near_duplicates"],
        "look_alikes": numbers["look_alikes"],
        "seen": numbers["seen_in_train"],
        "near_seen": numbers["near_duplicates_seen_in_train"],
        "constant": numbers["constant"],
        "grey": numbers["grey"],
        "total": max(dataset.num_examples, 1),
    }


def _legend(names: Sequence[str]) -> list[dict[str, str]]:
    """Name and CSS class of each line of a chart of splits."""
    return [
        {"name": name, "css": "before" if name == "baseline" else f"s{i % 4}"}
        for i, name in enumerate(names)
    ]


def _charts(
    splits: Mapping[str, Any], earlier: Mapping[str, Any], prefix: str
) -> list[dict[str, Any]]:
    """Histograms of channels, one chart a train split, with a table of their moments."""
    charts = []
    for split, dataset in splits.items():
        if not checks.is_train(split):
            continue
        found = _channels(dataset, prefix)
        if not found:
            continue
        before = _channels(earlier[split], prefix) if split in earlier else {}
        lines = [(name, *_histogram(feature)) for name, feature in found.items()]
        lines += [(f"before {name}", *_histogram(before[name])) for name in found if name in before]
        rows = [
            {
                "name": name,
                "css": f"s0 {name}",
                "mean": feature.num_stats.mean,
                "std": feature.num_stats.std_dev,
                "before": before[name].num_stats.mean if name in before else None,
            }
            for name, feature in found.items()
        ]
        charts.append({"split": split, "svg": chart(lines), "rows": rows})
    return charts


def _channels(dataset: Any, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): feature
        for name, feature in features(dataset).items()
        if name.startswith(prefix) and name != "pair_channels"
    }


def _of_splits(splits: Mapping[str, Any], earlier: Mapping[str, Any], name: str) -> Any:
    """One line a split, and a dashed one for the train split of before."""
    lines = [
        (f"s{i % 4}", *_histogram(features(dataset)[name]))
        for i, dataset in enumerate(splits.values())
    ]
    for split, dataset in earlier.items():
        if checks.is_train(split) and name in features(dataset):
            lines.append(("before", *_histogram(features(dataset)[name])))
    return chart(lines)


def _histogram(feature: Any) -> tuple[np.ndarray, np.ndarray]:
    """(K + 1,) edges and (K,) shares, of 1, of the histogram of equal bins; empty if none."""
    for histogram in feature.num_stats.histograms:
        if histogram.type == histogram.STANDARD and len(histogram.buckets):
            edges = [b.low_value for b in histogram.buckets] + [histogram.buckets[-1].high_value]
            counts = np.array([b.sample_count for b in histogram.buckets])
            return np.array(edges), counts / max(counts.sum(), 1)
    return np.zeros(1), np.zeros(0)


def chart(lines: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Any:
    """Draws histograms over 0..255 on top of each other, as SVG.

    Args:
      lines: (CSS class, (K + 1,) edges, (K,) shares of 1) each. One bin far above all others, the
        black of a background, is cut off and its share written at its place.

    Returns:
      Markup.
    """
    import markupsafe

    lines = [line for line in lines if len(line[2])]
    # Shares are of bins of different widths: times their number they are densities.
    ordered = [np.sort(shares * len(shares))[::-1] for _, _, shares in lines]
    usual = max((float(d[1]) if len(d) > 1 else float(d[0]) for d in ordered), default=1.0)
    highest = max((float(d[0]) for d in ordered), default=1.0)
    cut = 1.2 * usual if 0 < 2 * usual < highest else highest or 1.0
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    floor = _HEIGHT - _BOTTOM

    def x(value: float) -> float:
        return _LEFT + plot_width * min(value, 256) / 256

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="histogram">']
    for value in (0, 64, 128, 192, 255):
        parts.append(
            f'<line class="grid" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{_TOP}" y2="{floor}"/>'
        )
        anchor = {0: "start", 255: "end"}.get(value, "middle")
        parts.append(
            f'<text x="{x(value):.1f}" y="{floor + 18}" text-anchor="{anchor}">{value}</text>'
        )
    for css, edges, shares in lines:
        density = np.minimum(shares * len(shares) / cut, 1.0)
        path = [f"M{x(edges[0]):.1f} {floor}"]
        for low, high, height in zip(edges[:-1], edges[1:], density, strict=True):
            y = floor - plot_height * height
            path.append(f"L{x(low):.1f} {y:.1f}L{x(high):.1f} {y:.1f}")
        path.append(f"L{x(edges[-1]):.1f} {floor}")
        parts.append(f'<path class="line {css}" d="{"".join(path)}"/>')
    if highest > cut:
        css, edges, shares = max(lines, key=lambda line: (line[2] * len(line[2])).max())
        at = int(np.argmax(shares))
        middle = x((edges[at] + edges[at + 1]) / 2)
        anchor = "start" if middle < _WIDTH / 2 else "end"
        parts.append(
            f'<text x="{middle:.1f}" y="{_TOP - 4}" text-anchor="{anchor}">'
            f"↑ {100 * shares[at]:.0f} % of all</text>"
        )
    parts.append("</svg>")
    return markupsafe.Markup("".join(parts))


def _bars(
    splits: Mapping[str, Any], earlier: Mapping[str, Any], name: str
) -> dict[str, Any] | None:
    """Rows of a bar chart of a categorical feature: share of each value in each split."""
    mixes = {split: mix(dataset, name) for split, dataset in splits.items()}
    mixes = {split: values for split, values in mixes.items() if values}
    if not mixes:
        return None
    totals = {split: sum(values.values()) for split, values in mixes.items()}
    main = next(iter(mixes))
    before = mix(earlier[main], name) if main in earlier else {}
    base = sum(before.values())
    # Equal ones stay in the order of their labels, in which the proto lists them.
    names = list(dict.fromkeys(n for m in (*mixes.values(), before) for n in m))
    names.sort(key=lambda n: -mixes[main].get(n, 0))
    top = max(
        [values.get(n, 0) / totals[split] for split, values in mixes.items() for n in names]
        + [before.get(n, 0) / base for n in names if base]
    )
    rows = [
        {
            "name": n,
            "count": mixes[main].get(n, 0),
            "bars": [
                {
                    "css": f"s{i % 4}",
                    "width": 100 * mixes[split].get(n, 0) / totals[split] / top,
                    "share": 100 * mixes[split].get(n, 0) / totals[split],
                }
                for i, split in enumerate(splits)
                if split in mixes
            ],
            "before": 100 * before.get(n, 0) / base / top if base else None,
            "was": 100 * before.get(n, 0) / base if base else None,
        }
        for n in names[:MOST_BARS]
    ]
    return {
        "rows": rows,
        "more": len(names) - len(rows),
        "legend": [line for line in _legend(list(splits)) if line["name"] in mixes],
        "compared": bool(base),
    }
