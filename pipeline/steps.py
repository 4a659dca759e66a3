"""What each component reads and writes: one function a component, from artifacts to an artifact.

Each names the inputs, the part of the configuration and the sources that its result depends on, and
hands them with the work itself to `runner.component`, which finds out whether there is anything to
do. No orchestrator here: `pipeline/definitions.py` says in which order they come.
"""

from pathlib import Path
from typing import Any

from ganpipe import config as experiments
from ganpipe.errors import UserError
from pipeline import baseline
from pipeline.artifacts import Artifact
from pipeline.components import evaluator, infra_validator, pusher, trainer
from pipeline.runner import Runner

# Component -> the sources whose change asks for a new execution. Whole rooms rather than a list of
# modules: a room too many costs a rerun, one too few a stale model.
CODE: dict[str, tuple[str, ...]] = {
    "example_gen": (
        "pipeline/components/example_gen.py",
        "pipeline/components/request.py",
        "pipeline/components/shards.py",
        "ganpipe/data",
    ),
    "statistics_gen": (
        "pipeline/components/statistics_gen.py",
        "pipeline/components/duplicates.py",
        "pipeline/components/gallery.py",
        "pipeline/components/measure.py",
        "pipeline/components/perceptual_hash.py",
        "pipeline/components/schema.py",
        "pipeline/components/statistics_proto.py",
        "ganpipe/data/reader_records.py",
        "ganpipe/data/sheet.py",
    ),
    "example_validator": (
        "pipeline/components/example_validator.py",
        "pipeline/components/checks.py",
        "pipeline/components/drift.py",
        "pipeline/components/statistics_page.py",
        "pipeline/templates/statistics.html.j2",
    ),
    "trainer": (
        "pipeline/components/trainer.py",
        "ganpipe/data/fade.py",
        "ganpipe/data/reader.py",
        "ganpipe/data/reader_cache.py",
        "ganpipe/data/reader_order.py",
        "ganpipe/data/reader_records.py",
        "ganpipe/export",
        "ganpipe/layers",
        "ganpipe/models",
        "ganpipe/ops",
        "ganpipe/train",
    ),
    "evaluator": (
        "pipeline/components/evaluator.py",
        "ganpipe/cli/eval.py",
        "ganpipe/cli/output.py",
        "ganpipe/train/evaluation.py",
        "ganpipe/metrics",
    ),
    "infra_validator": ("pipeline/components/infra_validator.py", "serving"),
    "pusher": ("pipeline/components/pusher.py",),
}


def _beam(runner: Runner) -> Any:
    """Beam's options from the run's `--beam` flags; None, which is this process, without any."""
    from pipeline import beam_options

    return beam_options.parse(runner.beam) if runner.beam else None


def example_gen(runner: Runner) -> Artifact:
    """ExampleGen: source -> Examples. Its content fingerprint is that of the images.

    The work place of a killed preparation is kept and continued.
    """
    from pipeline.components import example_gen as component

    source = runner.settings["pipeline"]["source"]
    reads = {
        "resolution": runner.settings["data"]["resolution"],
        "channels": runner.settings["data"]["channels"],
        **runner.settings["pipeline"]["example_gen"],
    }

    def work(out: Path) -> dict[str, Any]:
        info = component.run(source, out / "data", beam_options=_beam(runner), **reads)
        return {"fingerprint": info.fingerprint, "name": info.name}

    return runner.component(
        "example_gen",
        "Examples",
        work,
        code=CODE["example_gen"],
        inputs=lambda: {"source": component.source_fingerprint(source)},
        config=reads,
        content=lambda properties: properties["fingerprint"],
        keep_work=True,
    )


def statistics_gen(runner: Runner, examples: Artifact) -> Artifact:
    """StatisticsGen: Examples -> ExampleStatistics, with the Schema inferred from them."""
    from pipeline.components import statistics_gen as component

    return runner.component(
        "statistics_gen",
        "ExampleStatistics",
        lambda out: component.run(examples.path / "data", out, beam_options=_beam(runner)),
        code=CODE["statistics_gen"],
        inputs={"examples": examples},
    )


def example_validator(runner: Runner, statistics: Artifact) -> Artifact:
    """ExampleValidator: ExampleStatistics + those of earlier data -> ExampleAnomalies.

    Property `anomalies` blocks. `pipeline/baseline.py` says which data are compared with.
    """
    from pipeline.components import example_validator as component

    settings = runner.settings["pipeline"]["example_validator"]
    earlier, name = baseline.find(runner.store, statistics, settings["baseline"], runner.name)
    schema = settings["schema"]
    compared = {"baseline": earlier.path, "baseline_name": name} if earlier else {}
    compared |= {"previous_schema": schema} if schema else {}
    return runner.component(
        "example_validator",
        "ExampleAnomalies",
        lambda out: component.run(statistics.path, out, **compared),
        code=CODE["example_validator"],
        inputs=lambda: {
            "statistics": statistics,
            "baseline": earlier or "none",
            "schema": baseline.schema_fingerprint(schema) if schema else "none",
        },
    )


def train(runner: Runner, examples: Artifact) -> Artifact:
    """Trainer: Examples -> Model. The work place of a killed training is kept and continued."""
    experiment = runner.experiment
    reads = experiments.to_dict(experiment)
    reads["data"].pop("dir")
    return runner.component(
        "trainer",
        "Model",
        lambda out: trainer.run(out, config=experiment, data_dir=examples.path / "data"),
        code=CODE["trainer"],
        inputs={"examples": examples},
        config=reads,
        keep_work=True,
    )


def evaluate(
    runner: Runner, model: Artifact, examples: Artifact, beside: Artifact | None = None
) -> Artifact:
    """Evaluator, first half: Model + Examples -> ModelEvaluation.

    With `beside`, the scores of the candidate, `model` is the last blessed model to compare it
    with. Scores of two extractors cannot be compared. There is one to a data set; should its cache
    have been lost, a new one is another, and the last blessed model is scored anew.
    """
    settings = runner.settings["pipeline"]["evaluator"]
    reads = {key: settings[key] for key in ("metrics", "num", "seed", "split")}

    def comparable(found: Artifact) -> bool:
        mine, other = (a.properties["extractor"]["hash"] for a in (found, beside or found))
        return mine == other

    return runner.component(
        "evaluator",
        "ModelEvaluation",
        lambda out: evaluator.run(
            out,
            run_dir=model.path / "run",
            data_dir=examples.path / "data",
            cache_dir=runner.cache,
            **reads,
        ),
        code=CODE["evaluator"],
        inputs={"model": model, "examples": examples},
        config=reads,
        reuse=comparable,
        label="evaluator baseline" if beside else "",
    )


def bless(runner: Runner, examples: Artifact, model: Artifact, evaluation: Artifact) -> Artifact:
    """Evaluator, second half: ModelEvaluation -> ModelBlessing; property `missed` blocks.

    Raises:
      UserError: the last blessed model cannot be scored any more.
    """
    settings = runner.settings["pipeline"]["evaluator"]
    reads = {key: settings[key] for key in (*evaluator.THRESHOLDS, "max_frechet_ratio")}
    baseline, scored = runner.last_blessed(model), None
    if baseline is not None:
        try:
            scored = evaluate(runner, baseline, examples, beside=evaluation)
        except UserError as error:
            runner.error = UserError(
                f"the last blessed model cannot be scored any more ({error}); remove "
                f"{baseline.path} to judge without it"
            )
            raise runner.error from error
    runner.made["ModelEvaluation"] = evaluation
    return runner.component(
        "evaluator",
        "ModelBlessing",
        lambda out: evaluator.write_blessing(
            out,
            evaluation.properties,
            reads,
            scored.properties if scored else None,
            baseline.content if baseline else None,
        ),
        code=CODE["evaluator"][:1],
        inputs={"model": model, "evaluation": evaluation, "baseline": scored or "none"},
        config=reads,
        label="evaluator blessing",
    )


def validate_infra(runner: Runner, model: Artifact) -> Artifact:
    """InfraValidator: Model -> InfraBlessing; property `blessed` False blocks."""
    settings = runner.settings["pipeline"]["infra_validator"]
    return runner.component(
        "infra_validator",
        "InfraBlessing",
        lambda out: infra_validator.run(
            out,
            model_name=runner.name,
            export_base=model.path / "export",
            expected=model.properties,
            **settings,
        ),
        code=CODE["infra_validator"],
        inputs={"model": model},
        config=settings,
        # A server that did not come up may do so the next time.
        reuse=lambda found: found.properties["blessed"],
    )


def push(
    runner: Runner, examples: Artifact, model: Artifact, blessing: Artifact, infra: Artifact
) -> Artifact:
    """Pusher: Model -> PushedModel, unless the newest version being served is this model."""
    record = {
        "model": model.content,
        "data_fingerprint": examples.content,
        "config_fingerprint": model.properties["config_fingerprint"],
        "commit": model.properties["commit"],
        "blessing": blessing.fingerprint,
        "infra_blessing": infra.fingerprint,
    }
    return runner.component(
        "pusher",
        "PushedModel",
        lambda out: pusher.run(
            out,
            export=model.path / "export" / "1",
            base=runner.serving,
            record=record,
            **runner.settings["pipeline"]["pusher"],
        ),
        code=CODE["pusher"],
        inputs={
            "model": model,
            # Pushed again when another model has taken the front place since.
            "newest_of_others": str(pusher.newest_of_others(runner.serving, model.content)),
        },
        config={"name": runner.name},
        reuse=lambda found: pusher.still_served(found.properties, runner.serving),
    )
