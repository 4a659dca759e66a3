"""From a published file to a run folder, whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import ml_collections
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.importers import contents, slots
from ganpipe.models import registry
from ganpipe.train import checkpoint, run_folder

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

ROLES = ("generator", "generator_ema", "discriminator")


def family(name: str) -> ModuleType:
    """The module that knows a format: arguments, names and layouts of its networks."""
    # Each imports the layers of its own networks only.
    if name == "progan-tf":
        from ganpipe.importers import progan_tf as module
    elif name == "stylegan-tf":
        from ganpipe.importers import stylegan_tf as module
    elif name == "stylegan2-tf":
        from ganpipe.importers import stylegan2_tf as module
    else:
        from ganpipe.importers import stylegan2_torch as module
    return module


def build(file: contents.OfficialFile) -> "GANSystem":
    """Our system with the weights of a file, float32.

    Raises:
      UserError: an argument that is unknown, or a weight that does not fit (both named).
    """
    known = family(file.format)
    arguments = known.arguments(file)
    try:
        system = registry.create(known.SYSTEM, **arguments)
    except UserError as error:
        raise UserError(f"{file.path}: its networks cannot be rebuilt: {error}") from error
    for role in ROLES:
        network, official = getattr(system, role), file.networks[role]
        is_d = role == "discriminator"
        names = (known.discriminator_slots if is_d else known.generator_slots)(network, official)
        slots.fill(f"{file.path}: {role}", names, known.values(official))
        known.finish(network, official)
    return system


def check_target(run_dir: str | os.PathLike) -> Path:
    """The folder to make; UserError unless it is new or empty."""
    run = Path(run_dir)
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise UserError(
            f"--run={run} exists and is not empty; an import never overwrites. Give a new folder."
        )
    return run


class _Networks:
    """What `checkpoint.save` asks of a system; an import has no optimisers."""

    def __init__(self, system: "GANSystem"):
        self.step, self.state = system.step, system.network_state


def _config(system: "GANSystem", file: contents.OfficialFile) -> ml_collections.ConfigDict:
    """What of a training configuration an imported network has."""
    arguments = dict(system.get_config())
    own = {k: v for k, v in arguments.items() if k not in ("seed", "precision")}
    shape = {"resolution": own.pop("resolution"), "channels": own.pop("channels")}
    conditional = own.pop("num_classes", 0) > 0
    return ml_collections.ConfigDict(
        {
            "name": f"imported_{re.sub('[^A-Za-z0-9_.-]+', '_', file.path.stem)}",
            "data": {"dir": "", **shape, "conditional": conditional},
            "system": {"name": system.system_name, **own},
            "train": {"seed": 0, "steps": 0, "precision": "float32"},
        }
    )


def write(system: "GANSystem", file: contents.OfficialFile, run_dir: str | os.PathLike) -> Path:
    """Writes the run folder beside its place and renames it there: a kill leaves no half of it.

    Raises:
      UserError: the folder exists, or cannot be written.
    """
    run = check_target(run_dir)
    _sweep(run)
    aside = run.with_name(f".importing_{run.name}_{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        run.parent.mkdir(parents=True, exist_ok=True)
        run_folder.write(aside, _config(system, file), system, Path(), "")
        record = json.loads((aside / "config.json").read_text())
        record |= {"data_dir": None, "data_fingerprint": None, "imported": _origin(file)}
        run_folder.write_text(aside / "config.json", json.dumps(record, indent=1) + "\n")
        checkpoint.save(_Networks(system), aside / "checkpoints")
        aside.rename(run)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"--run={run}: cannot be written: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return run


def _origin(file: contents.OfficialFile) -> dict[str, Any]:
    with file.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    networks = {
        role: {"made_by": network.kind, "arguments": network.arguments}
        for role, network in file.networks.items()
    }
    path = str(file.path.resolve())
    return {"file": path, "sha256": digest, "format": file.format, "networks": networks}


def _sweep(run: Path) -> None:
    """Removes what killed imports into the same folder left behind."""
    for leftover in run.parent.glob(f".importing_{run.name}_*"):
        pid = leftover.name.rpartition("_")[2]
        alive = False
        if pid.isdecimal():
            with contextlib.suppress(ProcessLookupError):
                try:
                    os.kill(int(pid), 0)
                    alive = True
                except PermissionError:
                    alive = True
        if not alive:
            shutil.rmtree(leftover, ignore_errors=True)


def import_file(
    path: str | os.PathLike, run_dir: str | os.PathLike, expected: str | None = None
) -> tuple["GANSystem", contents.OfficialFile]:
    """Reads a published file, rebuilds its networks and writes a run folder.

    Args:
      path: a pickle as the official training scripts write them; nothing in it is executed.
      run_dir: folder to make, new or empty.
      expected: one of `contents.FORMATS`; None takes what the file looks like.

    Returns:
      The system, and what the file held.

    Raises:
      UserError: anything that cannot be imported, before anything is written.
    """
    check_target(run_dir)
    file = contents.read(path, expected)
    system = build(file)
    write(system, file, run_dir)
    return system, file
