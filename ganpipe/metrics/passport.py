"""What has to be known to compare a score with another one."""

import subprocess
from pathlib import Path

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
