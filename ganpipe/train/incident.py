"""The page of one incident: what, when, curves, picture, and which key of the config to change.

RUN/incidents/step_00001230_collapse/
    incident.json   the finding, the last scalars, what was done, suggestions
    index.html      the same to read; needs no network
    curves.png      the scalars before the breach
    samples.png     fakes from fixed noise at the breach
"""

import datetime
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe.train import run_folder
from ganpipe.train.monitor_parts import Finding

TITLES = {
    "nan": "A value is not finite",
    "saturation": "D overpowers G",
    "useless_discriminator": "D has become useless",
    "vanishing_gradient": "G's gradient vanishes",
    "exploding_gradient": "A gradient explodes",
    "collapse": "G has collapsed",
    "learning_rate": "The steps are far too large",
}
_RATES = (
    ("optimizer.g_learning_rate", "a tenth to a half of it"),
    ("optimizer.d_learning_rate", "a tenth to a half of it"),
    ("optimizer.learning_rate", "a tenth to a half of it"),
)
# Keys in the order in which to try them; those that a config lacks are left out.
SUGGESTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "nan": (
        *_RATES,
        ("train.precision", "float32, if it is mixed_bfloat16"),
        ("penalties.r1", "a small gradient penalty, such as 1"),
    ),
    "saturation": (
        ("optimizer.d_learning_rate", "lower it, or raise g_learning_rate"),
        ("tips.instance_noise", "0.1: real and fake overlap again"),
        ("tips.label_smoothing", "0.1: D cannot become sure"),
        ("penalties.r1", "1 to 10: holds D's slope at the data"),
        ("optimizer.n_critic", "fewer updates of D a step"),
        ("optimizer.loss", "wasserstein with penalties.gp: its critic cannot saturate"),
    ),
    "useless_discriminator": (
        ("optimizer.d_learning_rate", "raise it, or lower g_learning_rate"),
        ("optimizer.n_critic", "more updates of D a step"),
        ("tips.instance_noise", "less of it"),
        ("tips.label_smoothing", "less of it"),
        ("penalties.r1", "a smaller weight"),
    ),
    "vanishing_gradient": (
        ("optimizer.loss", "non_saturating in place of minimax; or wasserstein, hinge"),
        ("optimizer.d_learning_rate", "lower it"),
        ("penalties.gp", "10: D's slope stays near 1"),
        ("tips.instance_noise", "0.1: real and fake overlap again"),
    ),
    "exploding_gradient": (
        *_RATES,
        ("penalties.r1", "1 to 10"),
        ("penalties.gp", "10"),
    ),
    "collapse": (
        ("optimizer.g_learning_rate", "lower it"),
        ("penalties.dragan", "10: sharp slopes around the data make modes vanish"),
        ("penalties.gp", "10, with optimizer.loss=wasserstein"),
        ("tips.replay", "0.5: D remembers old fakes"),
        ("train.batch_size", "more images a step"),
    ),
    "learning_rate": _RATES,
}


def suggestions(kind: str, config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[{"key", "value", "advice"}] for the keys of `config` (nested, plain) that may help."""
    found = []
    for key, advice in SUGGESTIONS[kind]:
        node: Any = config
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        if node is not None:
            found.append({"key": f"config.{key}", "value": node, "advice": advice})
    return found


def folder(run: Path, finding: Finding, rollbacks: int = 0) -> Path:
    """RUN/incidents/step_XXXXXXXX_KIND; after rollbacks their number is added."""
    again = f"_{rollbacks}" if rollbacks else ""
    return run / "incidents" / f"step_{finding.step:08d}_{finding.kind}{again}"


def write(
    out: Path,
    finding: Finding,
    *,
    done: str,
    config: Mapping[str, Any],
    history: Sequence[tuple[int, Mapping[str, float]]],
    health: Mapping[str, float],
    picture: Any,
) -> Path:
    """Writes the folder of one incident; one that is there (a repeated step) is overwritten.

    Args:
      out: from `folder`.
      finding: the breach.
      done: what the monitor did about it, one sentence.
      config: the run's, as a nested plain dict.
      history: (step, scalars) before the breach, oldest first.
      health: the monitor's own scalars.
      picture: called with a path; writes a PNG of fakes there.

    Returns:
      Path of index.html.
    """
    out.mkdir(parents=True, exist_ok=True)
    picture(out / "samples.png")
    draw_curves(out / "curves.png", history, finding)
    last = dict(history[-1][1]) if history else {}
    record = {
        "kind": finding.kind,
        "title": TITLES[finding.kind],
        "step": finding.step,
        "onset": finding.onset,
        "what": finding.what,
        "done": done,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "run": str(out.parents[1]),
        # JSON knows no NaN.
        "scalars": {k: v if np.isfinite(v) else str(v) for k, v in (last | dict(health)).items()},
        "suggestions": suggestions(finding.kind, config),
        "monitor": config.get("monitor", {}),
    }
    run_folder.write_text(out / "incident.json", json.dumps(record, indent=1) + "\n")
    run_folder.write_text(out / "index.html", page(record))
    return out / "index.html"


_CURVES = (
    ("losses", ("D/loss", "G/loss"), False),
    ("gradient norms", ("D/grad_norm", "G/grad_norm"), True),
    ("D's accuracy", ("D/acc_real", "D/acc_fake"), False),
    ("diversity (1: as real images)", ("diversity", "diversity_least", "modes"), False),
    ("path of the weights", ("D_moved", "G_moved"), True),
)


def draw_curves(
    path: Path, history: Sequence[tuple[int, Mapping[str, float]]], finding: Finding
) -> None:
    """Small multiples of the scalars, the onset and the breach marked; a PNG at `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second, seldom needed
    from matplotlib.figure import Figure

    panels = [
        (title, [n for n in names if any(n in v for _, v in history)], log)
        for title, names, log in _CURVES
    ]
    panels = [p for p in panels if p[1]] or [("no scalars", [], False)]
    figure = Figure(figsize=(9, 2.0 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    for axis, (title, names, log) in zip(axes, panels, strict=True):
        for name, colour in zip(names, ("#c2410c", "#1d4ed8", "#15803d"), strict=False):
            points = [(s, v[name]) for s, v in history if name in v and np.isfinite(v[name])]
            if points:
                style = "o-" if len(points) < 30 else "-"
                axis.plot(*zip(*points, strict=True), style, color=colour, lw=1.2, ms=3, label=name)
        if log and any(line.get_ydata().max() > 0 for line in axis.lines):
            axis.set_yscale("log", nonpositive="mask")
        axis.axvline(finding.onset, color="#9ca3af", ls="--", lw=1)
        axis.axvline(finding.step, color="#111827", lw=1)
        axis.set_title(title, loc="left", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
        if axis.lines[:-2]:
            axis.legend(
                fontsize=8, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.97)
            )
    axes[-1].set_xlabel("step (dashed: onset, solid: found)", fontsize=8)
    aside = path.with_name(f".{path.name}")
    figure.savefig(aside, format="png", dpi=100)
    aside.rename(path)


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#111827;background:#fff;max-width:60rem;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.05rem;margin:1.8rem 0 .4rem}
.when{color:#4b5563;margin:.2rem 0 1rem}.what{border-left:4px solid #c2410c;padding:.4rem .8rem;
background:#fff7ed}
table{border-collapse:collapse}td,th{padding:.2rem .9rem .2rem 0;text-align:left;
vertical-align:top;border-bottom:1px solid #e5e7eb}
td.n{font-variant-numeric:tabular-nums}code{font-size:.92em}img{max-width:100%}
img.s{image-rendering:pixelated;min-width:min(100%,24rem)}
"""


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{h}</th>" for h in head) + "</tr>"]
    lines += ["<tr>" + "".join(f'<td class="n">{c}</td>' for c in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def page(record: Mapping[str, Any]) -> str:
    """HTML of an incident.json; pictures are named relative to it."""
    say = html.escape
    advice = _table(
        ("key", "now", "try"),
        (
            (f"<code>--{say(s['key'])}</code>", say(str(s["value"])), say(s["advice"]))
            for s in record["suggestions"]
        ),
    )
    numbers = _table(
        ("scalar", "at the breach"),
        (
            (f"<code>{say(k)}</code>", f"{v:.5g}" if isinstance(v, float | int) else say(str(v)))
            for k, v in sorted(record["scalars"].items())
        ),
    )
    title = f"{record['title']} at step {record['step']}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{say(title)}</title>
<style>{_STYLE}</style></head><body>
<h1>{say(title)}</h1>
<p class="when">{say(record["run"])} &middot; {say(record["time"])} &middot; began at or before
step {record["onset"]} &middot; kind <code>{say(record["kind"])}</code></p>
<p class="what">{say(record["what"])}.</p>
<p>{say(record["done"])}</p>
<h2>What to change</h2>
{advice}
<p>A change of the config needs a new <code>--workdir</code>. If this was no failure, raise the
threshold under <code>config.monitor</code> or set
<code>--config.monitor.actions.{say(record["kind"])}=off</code>; that may be changed in the same
run.</p>
<h2>Fakes from fixed noise, at the breach</h2>
<img class="s" src="samples.png" alt="a grid of generated images">
<h2>Curves before the breach</h2>
<img src="curves.png" alt="losses, gradient norms, accuracies and diversity by step">
<h2>Last values</h2>
{numbers}
</body></html>
"""
