"""Runs a pipeline: from a source of images to a blessed, pushed model and a report.

    python -m pipeline.run --config=dcgan_fashion_mnist --root=demo
    python -m pipeline.run --config=dcgan_fashion_mnist:tiny --root=/tmp/tiny --config.train.seed=2
    python -m pipeline.run --config=folder --config.pipeline.source=folder:/data/cats --root=cats

Components run in order; one whose inputs, configuration and code are those of an earlier run is
skipped. A killed run goes on where it stopped when the same command is given again.

Exit status: 0 if the newest version in ROOT/serving/NAME is this model; 1 if the data, the scores
or the server spoke against it (nothing is pushed, ROOT/report.html says why); 2 for input that
cannot be used.
"""

import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from ganpipe import config as experiments
from ganpipe.cli import app
from ganpipe.errors import UserError
from pipeline.components import evaluator
from pipeline.runner import Runner

CONFIG_DIR = Path(__file__).parent / "configs"

FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "config",
    None,
    "Pipeline config: NAME, NAME:VARIANT or PATH.py[:VARIANT]; single keys are changed by "
    "--config.KEY=VALUE, for example --config.train.steps=2000",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "root",
    None,
    "Folder for everything the pipeline makes: artifacts, serving folder, report. Made if missing.",
    flag_values=FLAGS,
)
flags.DEFINE_multi_string(
    "beam",
    [],
    "A flag for Apache Beam, for example --beam=--direct_num_workers=4; repeatable.",
    flag_values=FLAGS,
)

# Dagster's own state below the root. Telemetry off; logs stay on the terminal, where a progress bar
# needs a real one.
_INSTANCE = """\
telemetry:
  enabled: false
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


def check(config: Any) -> None:
    """Refuses a config that no run could bring to an end, before any work.

    Args:
      config: what `ganpipe.config.parse` returned.

    Raises:
      UserError: no `pipeline` section, no source, a name that is no folder name, or thresholds that
        could never be judged.
    """
    if "pipeline" not in config:
        raise UserError(
            "--config: this is an experiment without a `pipeline` section; see "
            "pipeline/configs/dcgan_fashion_mnist.py for how one is added"
        )
    if not config.pipeline.source:
        raise UserError(
            "config.pipeline.source is empty: say where the images are, for example "
            "--config.pipeline.source=folder:/path/to/pictures"
        )
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", config.name):
        raise UserError(
            f"config.name={config.name!r} names the serving folder: expected a letter, then "
            "letters, digits, '_', '-' or '.'"
        )
    settings = experiments.to_dict(config)["pipeline"]
    evaluator.check_config(settings["evaluator"], bool(config.data.conditional))


def open_instance(home: Path) -> Any:
    """Returns a Dagster instance with its SQLite files in `home`, made if missing."""
    import dagster as dg

    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(_INSTANCE, encoding="utf-8")
    return dg.DagsterInstance.from_config(str(home))


def execute(config: Any, root: str | os.PathLike, beam: Sequence[str] = ()) -> Runner:
    """Runs the pipeline in this process.

    Args:
      config: pipeline config, frozen.
      root: the pipeline's root folder.
      beam: flags for Apache Beam.

    Returns:
      The runner: artifacts made or found (`made`), which components ran (`executed`), and why the
      model was not pushed (`refusals`, empty if it was).

    Raises:
      UserError: input that cannot be used. Whatever a component raised passes through.
    """
    check(config)
    runner = Runner(config, root, beam)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's notes on its own beta parameters.
        import dagster as dg

        from pipeline import definitions

        job = definitions.build(config, runner.root, runner).resolve_job_def(definitions.JOB)
        with open_instance(runner.root / "dagster") as instance:
            result = job.execute_in_process(instance=instance, raise_on_error=False)
    if isinstance(runner.error, dg.DagsterExecutionInterruptedError):
        raise KeyboardInterrupt from runner.error
    if runner.error is not None:
        raise runner.error
    if not result.success and not runner.refusals:
        failures = [e for e in result.all_events if e.is_failure]
        raise RuntimeError("\n".join(str(e.message) for e in failures))
    return runner


def main(args: list[str]) -> int:
    """The command; see the module's text."""
    started = time.monotonic()
    config = experiments.parse(FLAGS.config, args, CONFIG_DIR)
    if not FLAGS.root:
        raise UserError("--root is missing: name a folder for what the pipeline makes")
    runner = execute(config, FLAGS.root, FLAGS.beam)
    for refusal in runner.refusals:
        print(f"not pushed: {refusal}", file=sys.stderr)
    if not runner.refusals:
        pushed = runner.made["PushedModel"].properties
        where = runner.shown(runner.serving / str(pushed["version"]))
        print(f"serving  {where}  (version {pushed['version']} of {runner.name})")
    print(f"report   {runner.shown(runner.root / 'report.html')}")
    print(f"in all   {time.monotonic() - started:.1f} s")
    return 1 if runner.refusals else 0


if __name__ == "__main__":
    app.run(main, FLAGS)
