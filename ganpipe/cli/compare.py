"""Compare runs: one table, and one picture against images seen and against seconds.

  python -m ganpipe compare runs/a runs/b runs/c --metric=frechet --out=compare.png

Reads the scores that `ganpipe eval --run=RUN` and training with --config.evaluate.every=STEPS wrote
to RUN/metrics.jsonl. Runs that differ in their seed alone become one row and one line, with the
standard deviation over seeds in the table and the range as a band in the picture.

Scores are compared only when they were taken alike: the same extractor (by the hash of its
weights), counts, split, resolution and settings. Of runs that were scored in several ways, the way
that all share is taken; where there is none, what differs is named.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from ganpipe.cli import app
from ganpipe.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ganpipe.metrics.comparison import Run

FLAGS = flags.FlagValues()
flags.DEFINE_string("metric", "frechet", "score to compare", flag_values=FLAGS)
flags.DEFINE_string("out", None, "PNG to write; no picture without it", flag_values=FLAGS)


def picture(labelled: "dict[str, list[Run]]", log: bool) -> "Figure":
    """Two panels: the score against real images seen, and against seconds of training.

    Args:
      labelled: of `comparison.groups`.
      log: whether the score's axis is logarithmic.
    """
    from matplotlib.figure import Figure

    from ganpipe.metrics import comparison

    figure = Figure(figsize=(10, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    axes = (("images_seen", "real images seen"), ("seconds", "seconds of training"))
    for panel, (axis, title) in zip(panels, axes, strict=True):
        for number, (label, members) in enumerate(labelled.items()):
            x, mean, low, high = comparison.curve(members, axis)
            if not x:
                continue
            color = f"C{number}"  # of the group, in both panels
            panel.plot(x, mean, marker="o", markersize=3, color=color, label=label)
            if len(members) > 1:
                panel.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        if panel.lines:
            panel.legend(fontsize="small")
        else:
            panel.text(0.5, 0.5, "not recorded", ha="center", transform=panel.transAxes)
        panel.set_xlabel(title)
        panel.grid(alpha=0.3)
        if log:
            panel.set_yscale("log")
    panels[0].set_ylabel(next(iter(labelled.values()))[0].score)
    return figure


def main(arguments: list[str]) -> None:
    """Entry point."""
    if not arguments:
        raise UserError("compare: no runs; expected run folders, for example compare runs/a runs/b")
    folders = [Path(argument) for argument in arguments]
    out = Path(FLAGS.out) if FLAGS.out else None
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        what = "is a folder" if out.is_dir() else f"lies in {out.parent}, which does not exist"
        raise UserError(f"--out={out} {what}; expected a PNG file to write")
    app.import_tensorflow()
    from ganpipe.metrics import comparison, suite

    if FLAGS.metric not in suite.METRICS:
        raise UserError(f"--metric={FLAGS.metric}: unknown; known are {', '.join(suite.METRICS)}")
    lower = suite.METRICS[FLAGS.metric].lower
    runs = comparison.alike([comparison.load(folder, FLAGS.metric) for folder in folders])
    labelled = comparison.groups(runs)
    print(comparison.table(labelled, lower))
    if out is not None:
        positive = all(p.value > 0 for run in runs for p in run.points)
        aside = out.with_name(f".{out.name}")
        picture(labelled, log=bool(lower) and positive).savefig(aside, format="png", dpi=120)
        aside.rename(out)
        print(f"picture: {out}")
