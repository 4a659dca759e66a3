"""What feeds what: the pipeline as Dagster assets, with its blocking checks, job and schedule.

    Examples -> ExampleStatistics -> ExampleAnomalies (blocks) -> Model -> ModelEvaluation
             -> ModelBlessing (blocks) -> InfraBlessing (blocks) -> PushedModel

`python -m pipeline.run` runs the job in its own process. For the web page and the schedule:

    GANPIPE_CONFIG=dcgan_fashion_mnist GANPIPE_ROOT=demo DAGSTER_HOME=$PWD/demo/dagster \\
        dagster dev -f pipeline/definitions.py

What a component reads and whether it has to run is not decided here: see `pipeline/steps.py` and
`pipeline/runner.py`.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from ganpipe import config as experiments
from ganpipe.errors import UserError
from pipeline import baseline, report, steps
from pipeline.artifacts import Artifact
from pipeline.runner import Runner

CONFIG_DIR = Path(__file__).parent / "configs"
JOB = "ganpipe"


def _asset(name: str, group: str, ins: Mapping[str, str], check: str = "") -> Callable:
    """An asset that reads the artifacts `ins` (argument -> asset); `check` is a blocking one."""
    specs = [dg.AssetCheckSpec(check, asset=name, blocking=True)] if check else None
    return dg.asset(
        name=name,
        group_name=group,
        ins={argument: dg.AssetIn(key) for argument, key in ins.items()},
        check_specs=specs,
        required_resource_keys={"runner"},
    )


def _output(artifact: Artifact) -> dg.Output:
    """What Dagster is told of an artifact: where it is and what it reports."""
    return dg.Output(
        artifact,
        metadata={
            "path": dg.MetadataValue.path(str(artifact.path)),
            "fingerprint": artifact.fingerprint,
            "seconds": artifact.seconds,
            "properties": dg.MetadataValue.json(dict(artifact.properties)),
        },
    )


def _gate(runner: Runner, check: str, what: str, faults: list[str]) -> dg.AssetCheckResult:
    """Result of a blocking check: with faults, what depends on the asset does not run."""
    why = "; ".join(faults)
    if faults:
        runner.refusals.append(f"{what}: {why}")
    return dg.AssetCheckResult(check_name=check, passed=not faults, description=why or "passed")


@_asset("Examples", "data", {})
def examples(context: dg.AssetExecutionContext):
    """ExampleGen: the source's images as TFRecord shards at every power-of-two resolution."""
    yield _output(steps.example_gen(context.resources.runner))


@_asset("ExampleStatistics", "data", {"examples": "Examples"})
def example_statistics(context: dg.AssetExecutionContext, examples: Artifact):
    """StatisticsGen: counts, sizes, means and histograms as tensorflow-metadata protos."""
    yield _output(steps.statistics_gen(context.resources.runner, examples))


@_asset("ExampleAnomalies", "data", {"statistics": "ExampleStatistics"}, check="no_anomalies")
def example_anomalies(context: dg.AssetExecutionContext, statistics: Artifact):
    """ExampleValidator: what the statistics say that the schema forbids. Blocks the training."""
    runner = context.resources.runner
    artifact = steps.example_validator(runner, statistics)
    yield _output(artifact)
    told = artifact.properties
    for kind, texts in (("blocks", told["anomalies"]), ("warning", told["warnings"])):
        for text in texts:
            runner.line("", kind, None, text)
    # What to do about each stands in that line and in the report.
    faults = [text.partition(": ")[0] for text in told["anomalies"]]
    yield _gate(runner, "no_anomalies", "the data have anomalies", faults)


@_asset("Model", "model", {"examples": "Examples", "anomalies": "ExampleAnomalies"})
def model(context: dg.AssetExecutionContext, examples: Artifact, anomalies: Artifact):
    """Trainer: a run folder (checkpoints, curves, sample grids) and its SavedModel."""
    del anomalies  # Waits for the check; its contents are no input.
    yield _output(steps.train(context.resources.runner, examples))


@_asset("ModelEvaluation", "model", {"examples": "Examples", "model": "Model"})
def model_evaluation(context: dg.AssetExecutionContext, examples: Artifact, model: Artifact):
    """Evaluator, first half: scores of the model against held-out real images."""
    yield _output(steps.evaluate(context.resources.runner, model, examples))


@_asset(
    "ModelBlessing",
    "model",
    {"examples": "Examples", "model": "Model", "evaluation": "ModelEvaluation"},
    check="blessed",
)
def model_blessing(
    context: dg.AssetExecutionContext, examples: Artifact, model: Artifact, evaluation: Artifact
):
    """Evaluator, second half: the scores against thresholds and the last blessed model. Blocks."""
    runner = context.resources.runner
    artifact = steps.bless(runner, examples, model, evaluation)
    yield _output(artifact)
    yield _gate(runner, "blessed", "the model is not blessed", artifact.properties["missed"])


@_asset(
    "InfraBlessing", "serving", {"model": "Model", "blessing": "ModelBlessing"}, check="servable"
)
def infra_blessing(context: dg.AssetExecutionContext, model: Artifact, blessing: Artifact):
    """InfraValidator: starts a server on the export and asks it for images. Blocks the push."""
    del blessing  # Waits for the check; its contents are no input.
    runner = context.resources.runner
    artifact = steps.validate_infra(runner, model)
    yield _output(artifact)
    faults = [] if artifact.properties["blessed"] else [artifact.properties["message"]]
    yield _gate(runner, "servable", "the model could not be served", faults)


@_asset(
    "PushedModel",
    "serving",
    {
        "examples": "Examples",
        "model": "Model",
        "blessing": "ModelBlessing",
        "infra": "InfraBlessing",
    },
)
def pushed_model(
    context: dg.AssetExecutionContext,
    examples: Artifact,
    model: Artifact,
    blessing: Artifact,
    infra: Artifact,
):
    """Pusher: a new integer version in the serving folder, unless its newest is this model."""
    yield _output(steps.push(context.resources.runner, examples, model, blessing, infra))


ASSETS = [
    examples,
    example_statistics,
    example_anomalies,
    model,
    model_evaluation,
    model_blessing,
    infra_blessing,
    pushed_model,
]


class _Pointers(dg.IOManager):
    """Hands artifacts from asset to asset by `ROOT/latest/<type>`, links that outlive a process."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def handle_output(self, context: dg.OutputContext, obj: Artifact) -> None:
        self._runner.link(context.asset_key.path[-1], obj)

    def load_input(self, context: dg.InputContext) -> Artifact:
        return self._runner.linked(context.asset_key.path[-1])


def build(config: Any, root: str | os.PathLike, runner: Runner | None = None) -> dg.Definitions:
    """Returns the assets, their job and their schedule for one config and root.

    Args:
      config: pipeline config (`pipeline/configs`), frozen.
      root: the pipeline's root folder.
      runner: the runner to use; each run makes its own when None.

    Raises:
      UserError: settings of the validator that cannot be used.
    """
    baseline.check_settings(config.pipeline.example_validator)

    @dg.resource
    def runner_resource(_) -> Iterator[Runner]:
        active = runner or Runner(config, root)
        try:
            with active.store.lock():
                yield active
                # Reached also when a check has stopped the run: the report says why.
                report.finish(active)
        except Exception as error:
            active.error = active.error or error
            raise

    @dg.io_manager(required_resource_keys={"runner"})
    def pointers(context) -> _Pointers:
        return _Pointers(context.resources.runner)

    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.assets(*ASSETS),
        executor_def=dg.in_process_executor,
        # Dagster's own log of events is in its database; the terminal gets the runner's lines.
        config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    schedule = config.pipeline.schedule
    return dg.Definitions(
        assets=ASSETS,
        jobs=[job],
        schedules=[
            dg.ScheduleDefinition(
                name=f"{JOB}_schedule",
                job=job,
                cron_schedule=schedule.cron,
                execution_timezone=schedule.timezone,
                default_status=dg.DefaultScheduleStatus.RUNNING,
            )
        ],
        resources={"runner": runner_resource, "io_manager": pointers},
    )


def from_environment() -> dg.Definitions:
    """Returns the definitions for GANPIPE_CONFIG and GANPIPE_ROOT.

    Raises:
      UserError: one of them is not set, or names no config.
    """
    missing = [key for key in ("GANPIPE_CONFIG", "GANPIPE_ROOT") if not os.environ.get(key)]
    if missing:
        raise UserError(
            f"set {' and '.join(missing)}, for example GANPIPE_CONFIG=dcgan_fashion_mnist "
            "GANPIPE_ROOT=demo"
        )
    config = experiments.parse(os.environ["GANPIPE_CONFIG"], (), CONFIG_DIR)
    return build(config, os.environ["GANPIPE_ROOT"])


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev -f pipeline/definitions.py` loads."""
    return from_environment()
