"""What has to be known to compare a score with another one."""

import subprocess
from collections.abc import Mapping
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


# What two scores must share. Seeds, times, code and the run are told, not compared.
COMPARED = (
    "extractor",
    "extractor_fingerprint",
    "counts",
    "split",
    "resolution",
    "channels",
    "dtype",
    "labels",
    "data.fingerprint",
)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `a.b` -> leaf."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return flat


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], metric: str
) -> dict[str, tuple[Any, Any]]:
    """Why two scores of a metric cannot be compared: field -> (value of one, of the other).

    Args:
      one: passport of a result.
      other: passport of another.
      metric: name of the metric; of the metrics' settings only its own count.

    Returns:
      Empty when the scores may be compared. A field that one of them lacks counts as None.
    """
    flat = [_flat(one), _flat(other)]
    roots = (*COMPARED, metric)
    keys = [
        key
        for key in dict.fromkeys([*flat[0], *flat[1]])
        if any(key == root or key.startswith(f"{root}.") for root in roots)
    ]
    pairs = {key: (flat[0].get(key), flat[1].get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
