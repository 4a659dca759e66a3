"""The run folder: what was trained, with what, and how to get it back.

RUN/config.json     resolved config, its fingerprint, data folder and fingerprint, commit
RUN/system.json     name and arguments of the system: enough to rebuild it
RUN/environment.txt installed packages
RUN/checkpoints/    see ganpipe.train.checkpoint
RUN/tensorboard/    event files
RUN/samples/        EMA sample grids from fixed noise, step_00000500.png: 64 images (8 a class of a
                    conditional run, at most 16 classes), fewer from 256 pixels on, 4 of 1024
RUN/reals.png       a grid of training images
RUN/monitor.json    see ganpipe.train.monitor_journal
RUN/incidents/      a folder for every breach, see ganpipe.train.incident
RUN/metrics.jsonl   scores by step, see ganpipe.metrics.history
"""

import functools
import json
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.models import registry
from ganpipe.train import checkpoint

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

# Keys that may change when a run is continued: they steer how long and how often, not what.
FREE_KEYS = (
    "name",
    "monitor",
    "evaluate",
    "data.dir",
    "train.steps",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.log_every",
    "train.sample_every",
    "train.steps_per_execution",
)


def commit() -> str:
    """Commit of the source tree, with "+" if it has changes; "unknown" outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # installed somewhere: a repository around it is not ours
        return "unknown"
    try:
        # --untracked-files=no: scratch files beside the code do not change it.
        command = ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"]
        dirty = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if dirty.strip() else "")


def write_text(path: Path, text: str) -> None:
    """Writes a file in one step: a reader sees the old or the new text, never half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text)
    aside.rename(path)


def _fixed_part(values: dict[str, Any]) -> dict[str, Any]:
    values = json.loads(json.dumps(values))
    if "data" in values:  # a config may gain the key; leaving it out means False
        values["data"].setdefault("mirror", False)
    system = values.get("system") or {}
    if system.get("name") == "progan":  # runs from before bases had widths: no key, or a number
        height, _, width = str(system.get("base", 4)).partition("x")
        system["base"] = height if width in ("", height) else f"{height}x{width}"
    for key in FREE_KEYS:
        *parents, leaf = key.split(".")
        node = values
        for parent in parents:
            node = node.get(parent, {})
        node.pop(leaf, None)
    return values


def check(workdir: Path, config: Any, data_fingerprint: str) -> None:
    """Refuses a folder that holds another run or something else.

    Raises:
      UserError: the folder belongs to another configuration or data set (the message names the
        keys), or holds files that are not a run's.
    """
    if not workdir.exists():
        return
    if not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file; expected a folder.")
    path = workdir / "config.json"
    if not path.is_file():
        others = [p.name for p in workdir.iterdir() if not p.name.startswith(".")]
        if others:
            raise UserError(
                f"--workdir={workdir} holds {', '.join(sorted(others)[:3])} but no config.json: "
                "it is not a run folder. Give a new or empty folder."
            )
        return
    try:
        stored = json.loads(path.read_text())
        old = _fixed_part(stored["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not readable ({error}); give another --workdir.") from error
    changed = config_lib.differences(old, _fixed_part(config_lib.to_dict(config)))
    if changed:
        lines = [f"config.{k}: {a!r} there, {b!r} here" for k, (a, b) in changed.items()]
        raise UserError(
            f"--workdir={workdir} belongs to a run of another configuration "
            f"({'; '.join(lines)}). Use the same values, or another --workdir."
        )
    if stored.get("data_fingerprint") != data_fingerprint:
        raise UserError(
            f"--workdir={workdir} was trained on other data (fingerprint "
            f"{str(stored.get('data_fingerprint'))[:12]} there, {data_fingerprint[:12]} here). "
            "Give the same --data, or another --workdir."
        )


@functools.cache  # half a second; a run that goes back asks again
def _packages() -> str:
    return "\n".join(sorted({f"{d.name}=={d.version}" for d in metadata.distributions()})) + "\n"


def write(
    workdir: Path, config: Any, system: "GANSystem", data_dir: Path, data_fingerprint: str
) -> None:
    """Writes config.json, system.json and environment.txt."""
    workdir.mkdir(parents=True, exist_ok=True)
    values = config_lib.to_dict(config)
    record = {
        "config": values,
        "fingerprint": config_lib.fingerprint(values),
        "data_dir": str(Path(data_dir).resolve()),
        "data_fingerprint": data_fingerprint,
        "commit": commit(),
    }
    write_text(workdir / "config.json", json.dumps(record, indent=1) + "\n")
    # config.json comes first: it marks the folder as this run's, should we be killed here.
    for name in ("samples", "checkpoints", "tensorboard"):
        (workdir / name).mkdir(exist_ok=True)
    arguments = {k: v for k, v in system.get_config().items() if k != "precision"}
    description = {"name": system.system_name, "arguments": arguments}
    write_text(workdir / "system.json", json.dumps(description, indent=1) + "\n")
    write_text(workdir / "environment.txt", _packages())


def load(run_dir: str | os.PathLike, step: int | None = None) -> "GANSystem":
    """Brings a trained or imported system back, in float32.

    Args:
      run_dir: run folder.
      step: of the checkpoint; None takes the newest sound one.

    Raises:
      UserError: no run folder, no checkpoint yet, none that is sound, or none at `step`.
    """
    run = Path(run_dir)
    if not (run / "system.json").is_file():
        what = "has no system.json" if run.is_dir() else "does not exist"
        raise UserError(f"--run={run} {what}: expected a folder that `ganpipe train` wrote.")
    try:
        description = json.loads((run / "system.json").read_text())
        name, arguments = description["name"], description["arguments"]
        if "resolution" not in arguments:
            raise KeyError("arguments.resolution")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / 'system.json'} is not readable: {error!r}") from error
    folder = _chosen(run, step)
    system = registry.create(name, **arguments)
    checkpoint.restore_networks(system, folder)
    system.resume()
    return system


def start_from(system: "GANSystem", run_dir: str | os.PathLike) -> None:
    """Gives a new system the networks of a run; the step stays at 0.

    Raises:
      UserError: no run folder, another system, or networks of other shapes.
    """
    run = Path(run_dir)
    if not (run / "system.json").is_file():
        raise UserError(f"--init_from={run}: expected a run folder, with system.json.")
    there = json.loads((run / "system.json").read_text()).get("name")
    if there != system.system_name:
        raise UserError(
            f"--init_from={run} is a run of {there}, the config makes a {system.system_name}; "
            "expected the same system."
        )
    checkpoint.restore_networks(system, _chosen(run, None))
    system.step.assign(0)


def _chosen(run: Path, step: int | None) -> Path:
    """Folder of the checkpoint at `step`, or of the newest sound one."""
    directory = run / "checkpoints"
    if step is None:
        folder = checkpoint.newest(directory)
        if folder is None:
            raise UserError(f"--run={run} has no checkpoint yet; train it first.")
        return folder
    folder = checkpoint.path_of(directory, step)
    if not folder.is_dir():
        there = ", ".join(map(str, checkpoint.list_steps(directory))) or "none"
        raise UserError(f"--step={step}: {run} has no checkpoint there; it has {there}.")
    wrong = checkpoint.fault(folder)
    if wrong is not None:
        raise UserError(f"--step={step}: checkpoint {folder} is damaged: {wrong}.")
    return folder
