"""ROOT/report.html: one self-contained page about a pipeline run.

What went in, how the training went, what came out, how it was judged, where it came from and how
to serve it. The page is a function of the run's artifacts alone: it is written again only when one
of them, or this module, has changed, so a run that skips everything neither loads TensorFlow nor
draws.
"""

import base64
import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import artifacts, curves
from pipeline.components import evaluator, pusher

TEMPLATES = Path(__file__).parent / "templates"
CODE = ("pipeline/report.py", "pipeline/curves.py", "pipeline/templates/report.html.j2")
MAX_GRIDS = 6  # sample grids shown over time, the first and the last among them

_MARK = re.compile(r'<meta name="ganpipe-report" content="([0-9a-f]{64})">')


def finish(runner: Any) -> Path | None:
    """Writes the report of a run, if the run got far enough and the page there is not its own.

    Args:
      runner: the `pipeline.runner.Runner` of the run, after its last component.

    Returns:
      The page, or None for a run (of single assets, or one that broke) that has no Examples.
    """
    made = runner.made
    if runner.error is not None or "Examples" not in made:
        return None
    path = runner.root / "report.html"
    state = artifacts.digest(
        {
            "artifacts": {kind: a.fingerprint + a.created for kind, a in made.items()},
            "refusals": runner.refusals,
            "config": runner.settings,
            "code": artifacts.code_version(CODE),
        }
    )
    if path.exists():
        with open(path, encoding="utf-8", errors="replace") as file:
            mark = _MARK.search(file.read(4096))
        if mark and mark.group(1) == state:
            runner.line("report", "skipped (unchanged)", None, path)
            return path
    page = render(facts(runner), state)
    fresh = path.with_name(f".report-{os.getpid()}.html")
    fresh.write_text(page, encoding="utf-8")
    os.replace(fresh, path)
    runner.line("report", "written", None, path)
    return path


def picture(path: str | os.PathLike) -> str:
    """Returns a PNG file as a `data:` address."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode("ascii")


def _sheet(data_dir: Path) -> str:
    """Draws real training images, one row a class (or plain rows when there are no labels)."""
    from ganpipe import data

    with tempfile.TemporaryDirectory() as folder:
        split = data.info(data_dir).train_splits[0]
        sheet = data.sample_sheet(data_dir, Path(folder) / "sheet.png", columns=16, split=split)
        return picture(sheet)


def _statistics_page(runner: Any) -> str | None:
    """Address, relative to the report, of the page on the data; None without one."""
    if "ExampleAnomalies" not in runner.made:
        return None
    page = runner.made["ExampleAnomalies"].path / "statistics.html"
    return page.relative_to(runner.root).as_posix() if page.exists() else None


def _grids(samples: Path, batch_size: int) -> list[dict[str, Any]]:
    """Returns the sample grids over time, at most `MAX_GRIDS`, evenly spread."""
    found = sorted(samples.glob("step_*.png"))
    if len(found) > MAX_GRIDS:
        picks = {round(i * (len(found) - 1) / (MAX_GRIDS - 1)) for i in range(MAX_GRIDS)}
        found = [path for i, path in enumerate(found) if i in picks]
    grids = []
    for path in found:
        step = int(path.stem.split("_")[1])
        grids.append({"step": step, "images_seen": step * batch_size, "image": picture(path)})
    return grids


def _scores(
    evaluation: Mapping[str, Any], blessing: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Returns one row a score: value, spread and the checks that speak of it."""
    checks = list((blessing or {}).get("checks", ()))
    values = dict(evaluation["scores"])
    extractor = evaluation.get("extractor") or {}
    if extractor.get("test_accuracy") is not None:
        values["classifier_accuracy"] = extractor["test_accuracy"]
    rows = []
    for name, value in values.items():
        if name.endswith("_std"):
            continue
        rows.append(
            {
                "name": name,
                "value": value,
                "std": values.get(f"{name}_std"),
                "checks": [
                    {**check, "text": evaluator.sentence(check)}
                    for check in checks
                    if check["score"] == name
                ],
            }
        )
    return rows


def _lineage(runner: Any) -> list[dict[str, str]]:
    """Returns the chain data -> config -> commit -> model -> version."""
    made = runner.made
    source, folder = runner.settings["pipeline"]["source"], made["Examples"].path
    chain = [
        {
            "what": "data",
            "value": made["Examples"].content,
            "where": f"{source}, {runner.shown(folder)}",
        }
    ]
    if "Model" in made:
        model = made["Model"]
        chain += [
            {
                "what": "config",
                "value": model.properties["config_fingerprint"],
                "where": runner.shown(model.path / "run" / "config.json"),
            },
            {
                "what": "commit",
                "value": model.properties.get("commit") or "not in a git checkout",
                "where": "of the code that trained",
            },
            {"what": "model", "value": model.content, "where": runner.shown(model.path)},
        ]
    if "PushedModel" in made:
        version = made["PushedModel"].properties["version"]
        chain.append(
            {
                "what": "version",
                "value": str(version),
                "where": runner.shown(runner.serving / str(version)),
            }
        )
    return chain


def facts(runner: Any) -> dict[str, Any]:
    """Collects everything that the page shows, pictures as `data:` addresses, plots as SVG.

    Args:
      runner: the runner of the run; only `Examples` has to be among what it made.

    Returns:
      The variables of `report.html.j2`.
    """
    from ganpipe import data

    made, settings = runner.made, runner.settings
    data_dir = made["Examples"].path / "data"
    info = data.info(data_dir)
    statistics = made["ExampleStatistics"].properties if "ExampleStatistics" in made else {}
    # Told in words of the page's own.
    told = {"resolution", "channels", "classes", *(f"{split}_images" for split in info.splits)}
    shown: dict[str, Any] = {
        "name": runner.name,
        "settings": json.dumps(settings, indent=2),
        "refusals": runner.refusals,
        "info": dataclasses.asdict(info) | {"resolutions": info.resolutions},
        "splits": {split: info.count(split) for split in info.splits},
        "sheet": _sheet(data_dir),
        "class_chart": curves.class_chart(info.class_names, info.splits),
        "statistics": {key: value for key, value in statistics.items() if key not in told},
        "findings": made["ExampleAnomalies"].properties if "ExampleAnomalies" in made else None,
        "statistics_page": _statistics_page(runner),
        "artifacts": [
            dataclasses.asdict(a) | {"shown": runner.shown(a.path)} for a in made.values()
        ],
        "lineage": _lineage(runner),
        "serving": runner.shown(runner.serving),
        "root": runner.shown(runner.root),
        "versions": pusher.versions(runner.serving),
        "created": max(a.created for a in made.values())[:16].replace("T", " ") + " UTC",
    }
    if "Model" in made:
        model = made["Model"]
        run_dir = model.path / "run"
        shown["model"] = dict(model.properties) | {"seconds": model.seconds}
        shown["curves"] = curves.training(run_dir / "tensorboard")
        shown["grids"] = _grids(run_dir / "samples", settings["train"]["batch_size"])
    if "ModelEvaluation" in made:
        evaluation = made["ModelEvaluation"].properties
        blessing = made["ModelBlessing"].properties if "ModelBlessing" in made else None
        shown["evaluation"] = evaluation
        shown["blessing"] = blessing
        shown["scores"] = _scores(evaluation, blessing)
        shown["agreement"] = curves.agreement_chart(evaluation, info.class_names)
        shown["confusion"] = evaluation.get("confusion")
    if "InfraBlessing" in made:
        infra = made["InfraBlessing"]
        shown["infra"] = infra.properties
        answer = infra.path / "answer.png"
        shown["answer"] = picture(answer) if answer.exists() else None
    if "PushedModel" in made:
        shown["pushed"] = made["PushedModel"].properties
    return shown


def render(shown: Mapping[str, Any], state: str) -> str:
    """Returns the page.

    Args:
      shown: what `facts` returned.
      state: digest of what the page shows, kept in its head (see `finish`).
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda n: f"{n:,}".replace(",", " ")
    environment.filters["clock"] = _clock
    environment.filters["figure"] = _figure
    return environment.get_template("report.html.j2").render(**{**_ABSENT, **shown, "state": state})


# What a run that was stopped early has nothing of.
_ABSENT: dict[str, Any] = {
    **dict.fromkeys(["statistics_page", "model", "curves", "grids", "infra", "answer", "pushed"]),
    **dict.fromkeys(["evaluation", "blessing", "scores", "agreement", "confusion"]),
}


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"


def _figure(value: Any) -> str:
    """Four significant digits for a measured number; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
