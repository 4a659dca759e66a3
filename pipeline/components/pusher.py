"""Pusher: a blessed Model -> PushedModel, a new integer version in the serving folder.

TensorFlow Serving takes a folder as a version as soon as its name is a number and never looks
again. So the copy grows under a name that is none, is flushed to the disk, and takes its number by
one rename.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError

# assets.extra is the SavedModel's own place for files that the runtime does not read.
LINEAGE_FILE = Path("assets.extra") / "ganpipe_lineage.json"
_PARTIAL = ".partial-"


def versions(base: Path) -> list[int]:
    """Returns the version numbers below `base`, ascending; [] if it does not exist."""
    names = (p.name for p in base.iterdir() if p.is_dir()) if base.is_dir() else ()
    return sorted(int(name) for name in names if re.fullmatch(r"\d+", name))


def lineage(base: Path, version: int) -> Mapping[str, Any]:
    """Returns what was recorded when a version was pushed; {} for one pushed by other means."""
    try:
        return json.loads((base / str(version) / LINEAGE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def newest_of_others(base: Path, model: str) -> int:
    """Returns the highest version in `base` that does not hold `model`; 0 if there is none."""
    others = [n for n in versions(base) if lineage(base, n).get("model") != model]
    return max(others, default=0)


def _flush(folder: Path) -> None:
    """Has the disk hold the folder and all below it before its name says so."""
    for path in [*sorted(folder.rglob("*")), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def push(export: Path, base: Path, record: Mapping[str, Any], keep_versions: int = 0) -> int:
    """Copies a SavedModel to `base/<next version>`, which appears complete or not at all.

    Args:
      export: folder with `saved_model.pb`.
      base: serving folder of the model; made if missing.
      record: lineage, written beside the model.
      keep_versions: newest versions to leave in `base`, this one among them; 0 leaves all.

    Returns:
      The new version, one more than the highest there is.

    Raises:
      UserError: if `export` is no SavedModel or `base` cannot be written to.
    """
    if not (export / "saved_model.pb").is_file():
        raise UserError(f"{export}: no saved_model.pb there; the pusher needs a SavedModel")
    partial = base / f"{_PARTIAL}{uuid.uuid4().hex}"
    try:
        base.mkdir(parents=True, exist_ok=True)
        # The root's lock makes this the only pusher: what lies there is from one that was killed.
        for left in base.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(export, partial)
        (partial / LINEAGE_FILE).parent.mkdir(exist_ok=True)
        (partial / LINEAGE_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        _flush(partial)
        version = max(versions(base), default=0) + 1
        os.rename(partial, base / str(version))
        _flush_name(base)
    except OSError as error:
        raise UserError(f"{base}: cannot push a model there: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if keep_versions > 0:
        for old in versions(base)[:-keep_versions]:
            # First the name goes, at once: a server must never see half a version.
            gone = base / f"{_PARTIAL}{uuid.uuid4().hex}"
            os.rename(base / str(old), gone)
            shutil.rmtree(gone)
    return version


def _flush_name(base: Path) -> None:
    handle = os.open(base, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def run(
    out: Path, *, export: Path, base: Path, record: Mapping[str, Any], keep_versions: int = 0
) -> Mapping[str, Any]:
    """Pushes a model and writes `out/pushed.json`.

    Returns:
      {"version", "path", "lineage"}.
    """
    version = push(export, base, record, keep_versions)
    result = {"version": version, "path": str(base / str(version)), "lineage": dict(record)}
    (out / "pushed.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def still_served(properties: Mapping[str, Any], base: Path) -> bool:
    """Whether a pushed version is still where it was put, and still the newest."""
    found = versions(base)
    return bool(found) and found[-1] == properties["version"]
