"""What has to be known to compare a score with another one."""

import json
import subprocess
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ganpipe import __version__


def code_version() -> str:
    """Version of ganpipe."""
    return __version__


def code_commit() -> str:
    """Commit of the checkout this file lies in, "+" appended if it has changes; else "unknown".

    Never raises: a missing git is a missing commit.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return "unknown"
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
    return done.stdout.strip()


# Told, but no part of how a score was taken.
_TOLD = ("code", "seconds", "made", "run", "npz", "images")

# Rules that ask for the classes in the proportions of the real images, as an unconditional model
# is taken to do.
_PROPORTIONAL = ("none", "balanced", "reference proportions")


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `a.b` -> leaf."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def identity(passport: Mapping[str, Any]) -> str:
    """One text for all evaluations that were taken alike, seeds included."""
    kept = {key: value for key, value in passport.items() if key not in _TOLD}
    return json.dumps(kept, sort_keys=True)


def compared(passport: Mapping[str, Any], metric: str, needs: Collection[str]) -> dict[str, Any]:
    """What two scores of a metric must share: field -> value.

    Seeds, code and times are left out, and so is what the metric does not use: the extractor for
    pixels, the reference for a score of generated images alone, the settings of other metrics.

    Args:
      passport: of a result.
      metric: name of the metric.
      needs: of the metric; see `ganpipe.metrics.suite`.
    """
    flat = _flat(passport)
    fields = ["counts.generated", "resolution", "channels", "dtype"]
    if {"features", "classes"} & set(needs):
        fields += ["extractor", "extractor_fingerprint"]
    if {"reference", "labels"} & set(needs):
        fields += ["data.fingerprint"]
    if "reference" in needs:
        fields += ["counts.reference", "split"]
    found = {key: flat.get(key) for key in fields}
    rule = "labels.label_accuracy" if "labels" in needs else "labels.distances"
    asked = flat.get(rule)
    found["labels"] = "proportional" if asked in _PROPORTIONAL else asked
    return found | {k: v for k, v in flat.items() if k.startswith(f"{metric}.")}


def unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields in which two results of `compared` differ -> (value of one, of the other)."""
    pairs = {key: (one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other])}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], metric: str, needs: Collection[str]
) -> dict[str, tuple[Any, Any]]:
    """Why two scores of a metric cannot be compared: field -> (value of one, of the other).

    Empty when they may be. A field that one of them lacks counts as None. Arguments as `compared`.
    """
    return unlike(compared(one, metric, needs), compared(other, metric, needs))
