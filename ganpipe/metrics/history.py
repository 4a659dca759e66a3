"""What was scored when: `RUN/metrics.jsonl`, one JSON object a line, appended and never rewritten.

A line is the result of `ganpipe.metrics.evaluate` with the place of the model in its training:
`step`, `images_seen` (real images that D has seen) and `train_seconds` (None where not known). A
line `{"restarted_at": step}` says that training went on from there: scores of later steps above it
belong to models that are gone.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from ganpipe.metrics import passport

FILE = "metrics.jsonl"


def append(run: str | os.PathLike, record: dict[str, Any]) -> None:
    """Adds one line in a single write, so that two processes do not mix theirs.

    Args:
      run: run folder.
      record: JSON values; NaN is refused.

    Raises:
      OSError: the line is not wholly written.
    """
    line = (json.dumps(record, allow_nan=False) + "\n").encode()
    path = Path(run) / FILE
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # a killed process left half a line
                line = b"\n" + line
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(handle, line) != len(line):
            raise OSError(f"{path}: the disk is full")
    finally:
        os.close(handle)


def restart(run: str | os.PathLike, step: int) -> None:
    """Notes that training goes on from `step`, where scores of later steps are there."""
    if any(record["step"] > step for record in read(run)):
        append(run, {"restarted_at": step})


def read(run: str | os.PathLike) -> list[dict[str, Any]]:
    """All lines that hold, by step; of two of one step taken alike the later. [] without a file.

    A line that a killed process left half-written is passed over with a line on stderr.
    """
    path = Path(run) / FILE
    if not path.exists():
        return []
    latest: dict[tuple, dict[str, Any]] = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
            if "restarted_at" in record:
                gone = [key for key in latest if key[0] > record["restarted_at"]]
                for key in gone:
                    del latest[key]
                continue
            key = (record["step"], passport.identity(record["passport"]), tuple(record["names"]))
            record["scores"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            print(f"warning: {path}:{number} is passed over: {error!r}", file=sys.stderr)
            continue
        latest[key] = record
    return sorted(latest.values(), key=lambda record: record["step"])


def best(records: list[dict[str, Any]], metric: str, lower: bool = True) -> dict[str, Any] | None:
    """The record with the best value of a metric; the earlier of two that are equal."""
    scored = [record for record in records if metric in record["scores"]]
    if not scored:
        return None
    sign = 1 if lower else -1
    return min(scored, key=lambda record: sign * record["scores"][metric])
