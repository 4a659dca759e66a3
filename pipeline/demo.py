"""The main job: images to a blessed model, served, and looked at through the client.

    python -m pipeline.demo --root=demo
    python -m pipeline.demo --root=/tmp/tiny --config=dcgan_fashion_mnist:tiny

Runs the pipeline, starts `python -m serving.server` on what it pushed, fetches 16 images of every
class into ROOT/served.png, fetches 2,000 more and asks the pipeline's classifier how often it sees
the class that was asked for. Given again, it only serves: the pipeline finds nothing to do.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from ganpipe import config as experiments
from ganpipe.cli import app
from ganpipe.errors import UserError
from pipeline import run as pipeline_run
from pipeline.components import infra_validator
from pipeline.runner import Runner

FLAGS = flags.FlagValues()
flags.DEFINE_string("root", "demo", "Folder for everything that is made.", flag_values=FLAGS)
flags.DEFINE_string(
    "config",
    "dcgan_fashion_mnist",
    "Pipeline config, as in `python -m pipeline.run`; --config.KEY=VALUE changes single keys.",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "per_class", 16, "Images of every class in the picture.", lower_bound=1, flag_values=FLAGS
)
flags.DEFINE_integer(
    "num", 2000, "Served images to put to the classifier.", lower_bound=2, flag_values=FLAGS
)

FIRST_SEED = 1_000_000  # of the images that are judged: none of those in the picture


def fetch_picture(
    address: infra_validator.Address, name: str, classes: list[str], per_class: int, out: Path
) -> None:
    """Has the client's command line draw images of every class.

    Args:
      address: where the server listens.
      name: the model's name there.
      classes: class names; none for an unconditional model, which gives four rows.
      per_class: images in a row.
      out: PNG file to write.

    Raises:
      UserError: the client failed; the message is its own.
    """
    command = [
        sys.executable,
        "-m",
        "serving.client",
        f"--server={address.target}",
        f"--model_name={name}",
        f"--out={out}",
        "--seed=1",
    ]
    if classes:
        command += [
            f"--n={per_class}",
            f"--labels=0-{len(classes) - 1}",
            # The flag is a list with commas between its words.
            f"--label_names={','.join(c.replace(',', ' ') for c in classes)}",
        ]
    else:
        command.append(f"--n={4 * per_class}")
    checkout = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(p for p in (checkout, os.environ.get("PYTHONPATH")) if p)
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    if done.returncode:
        raise UserError(f"python -m serving.client: {done.stderr.strip() or done.stdout.strip()}")


def judge_served(
    address: infra_validator.Address, runner: Runner, num: int, num_classes: int
) -> dict[str, Any]:
    """Asks the pipeline's classifier about images fetched from the server.

    Args:
      address: where the server listens.
      runner: the finished run; its Examples and its cached classifier are used.
      num: images, the classes in turn.
      num_classes: at least 1.

    Returns:
      What `ganpipe.cli.eval.evaluate_images` returns for `label_accuracy`.

    Raises:
      UserError: the server does not give them.
    """
    app.import_tensorflow()
    from ganpipe.cli import eval as judging
    from serving.client import Client, ClientError

    labels = np.arange(num) % num_classes
    try:
        with Client(address.target, runner.name) as client:
            images = client.sample(range(FIRST_SEED, FIRST_SEED + num), labels.tolist())
    except ClientError as error:
        raise UserError(f"the server does not give images: {error}") from error
    return judging.evaluate_images(
        images,
        labels,
        data_dir=runner.made["Examples"].path / "data",
        metrics=("label_accuracy",),
        split=runner.settings["pipeline"]["evaluator"]["split"],
        cache_dir=runner.cache,
    )


def main(args: list[str]) -> int:
    """The command; see the module's text."""
    clock = [time.monotonic()]

    def lap() -> float:
        clock.append(time.monotonic())
        return clock[-1] - clock[-2]

    config = experiments.parse(FLAGS.config, args, pipeline_run.CONFIG_DIR)
    runner = pipeline_run.execute(config, FLAGS.root)
    pipeline_seconds = lap()
    report = runner.root / "report.html"
    if runner.refusals:
        for refusal in runner.refusals:
            print(f"not pushed: {refusal}", file=sys.stderr)
        print(f"report   {runner.shown(report)}")
        return 1

    model = runner.made["Model"].properties
    manifest = runner.made["Examples"].path / "data" / "dataset.json"
    names = json.loads(manifest.read_text(encoding="utf-8"))["class_names"]
    classes = names if model["num_classes"] else []
    picture = runner.root / "served.png"
    log = runner.root / "server.log"
    timeout = config.pipeline.infra_validator.timeout_seconds
    with infra_validator.serve(runner.name, runner.serving, log, timeout) as address:
        start_seconds = lap()
        fetch_picture(address, runner.name, classes, FLAGS.per_class, picture)
        picture_seconds = lap()
        verdict = judge_served(address, runner, FLAGS.num, len(classes)) if classes else None
    judge_seconds = lap()

    version = runner.made["PushedModel"].properties["version"]
    print()
    if verdict:
        extractor = verdict["extractor"]
        print(
            f"{100 * verdict['scores']['label_accuracy']:.1f} % of {FLAGS.num} served images show "
            f"the class asked for, says {extractor['name']} {extractor['hash'][:12]} "
            f"({100 * extractor['test_accuracy']:.1f} % right on real test images)"
        )
    print(f"pipeline            {pipeline_seconds:7.1f} s")
    print(f"server ready        {start_seconds:7.1f} s")
    print(f"picture fetched     {picture_seconds:7.1f} s")
    if verdict:
        print(f"{FLAGS.num} images judged  {judge_seconds:7.1f} s")
    print(f"in all              {clock[-1] - clock[0]:7.1f} s")
    print()
    print(f"model     {runner.shown(runner.serving / str(version))}")
    print(f"report    {runner.shown(report)}")
    print(f"picture   {runner.shown(picture)}")
    return 0


if __name__ == "__main__":
    app.run(main, FLAGS)
