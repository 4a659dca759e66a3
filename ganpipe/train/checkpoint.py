"""Whole-state checkpoints: written aside, renamed when complete, verified before use.

`RUN/checkpoints/step_00000500/` holds TensorFlow's checkpoint of `system.state()` (networks, the
averaged generator, both optimisers, the step) and `manifest.json` with the SHA-256 of every file.
Random state and data position need no files: both are functions of (seed, step).
"""

import hashlib
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from ganpipe.errors import UserError

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

_FOLDER = re.compile(r"step_(\d{8,})")
_MANIFEST = "manifest.json"


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def list_steps(directory: Path) -> list[int]:
    """Steps with a checkpoint folder in `directory`, oldest first."""
    if not directory.is_dir():
        return []
    found = (_FOLDER.fullmatch(p.name) for p in directory.iterdir())
    return sorted(int(m.group(1)) for m in found if m)


def path_of(directory: Path, step: int) -> Path:
    """Folder of the checkpoint at `step`."""
    return directory / f"step_{step:08d}"


def save(
    system: "GANSystem",
    directory: Path,
    keep: int = 3,
    is_chief: bool = True,
    protect: Collection[int] = (),
    place: Mapping[str, Any] | None = None,
) -> Path:
    """Writes the whole state of `system` and drops the oldest checkpoints.

    Args:
      system: compiled system.
      directory: `RUN/checkpoints`.
      keep: how many newest checkpoints stay, at least 2 (one to fall back on).
      is_chief: False on the other workers of a multi-worker job, which must take part in reading
        the variables but leave no files.
      protect: steps whose checkpoints stay, beside the newest.
      place: stands in the manifest, for example the seconds of training that led here.

    Returns:
      The checkpoint's folder.
    """
    step = int(system.step.numpy())
    final = path_of(directory, step)
    directory.mkdir(parents=True, exist_ok=True)
    aside = directory / f".writing_{step:08d}_{socket.gethostname()}_{os.getpid()}"
    try:
        return _save(system, directory, aside, final, keep, is_chief, protect, dict(place or {}))
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"cannot write the checkpoint {final}: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Removes what a killed process left half-written; for the chief, before training."""
    for leftover in directory.glob(".writing_*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _save(
    system: "GANSystem",
    directory: Path,
    aside: Path,
    final: Path,
    keep: int,
    is_chief: bool,
    protect: Collection[int],
    place: dict[str, Any],
) -> Path:
    aside.mkdir()
    tf.train.Checkpoint(**system.state()).write(str(aside / "state"))
    if not is_chief:
        return final
    step = int(system.step.numpy())
    files = {p.name: _sha256(p) for p in sorted(aside.iterdir())}
    with (aside / _MANIFEST).open("w") as file:
        json.dump({"step": step, **place, "files": files}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    if final.exists():
        shutil.rmtree(final)
    aside.rename(final)
    for other in list_steps(directory):
        if other > step:  # damaged ones that the run fell back behind; they must not count
            shutil.rmtree(path_of(directory, other))
    for old in list_steps(directory)[: -max(keep, 2)]:
        if old not in protect:
            shutil.rmtree(path_of(directory, old))
    return final


def place(folder: Path | None) -> dict[str, Any]:
    """`seconds` of training and `images_seen` that led to a sound checkpoint; None if unknown."""
    if folder is None:
        return {"seconds": 0.0, "images_seen": 0}
    manifest = json.loads((folder / _MANIFEST).read_text())
    return {key: manifest.get(key) for key in ("seconds", "images_seen")}


def fault(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder; None when every byte is as it was written."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        for name, digest in manifest["files"].items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _sha256(folder / name) != digest:
                return f"{name} is not as it was written (SHA-256 differs)"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{_MANIFEST}: {error}"
    return None


def newest(directory: Path) -> Path | None:
    """The newest sound checkpoint; None when there is none at all.

    A damaged one is passed over with a line on stderr.

    Raises:
      UserError: there are checkpoints, but all of them are damaged.
    """
    steps = list_steps(directory)
    for step in reversed(steps):
        folder = path_of(directory, step)
        wrong = fault(folder)
        if wrong is None:
            return folder
        print(
            f"warning: checkpoint {folder} is damaged: {wrong}; falling back to the one before",
            file=sys.stderr,
        )
    if steps:
        raise UserError(
            f"{directory}: all {len(steps)} checkpoints are damaged. Give another --workdir, or "
            "delete the folder to start from step 0."
        )
    return None


def restore(system: "GANSystem", folder: Path) -> int:
    """Reads the whole state of a compiled system; returns the step.

    Raises:
      UserError: the checkpoint is of another architecture.
    """
    try:
        reader = tf.train.Checkpoint(**system.state())
        reader.read(str(folder / "state")).assert_consumed()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"{folder} does not fit this {system.system_name}: {str(error).splitlines()[0]}"
        ) from error
    return int(system.step.numpy())


def restore_networks(system: "GANSystem", folder: Path) -> int:
    """Reads the networks only (for inference); returns the step.

    Raises:
      UserError: the checkpoint is of another architecture.
    """
    try:
        status = tf.train.Checkpoint(**system.network_state()).read(str(folder / "state"))
        status.assert_existing_objects_matched().expect_partial()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"{folder} does not fit this {system.system_name}: {str(error).splitlines()[0]}"
        ) from error
    return int(system.step.numpy())
