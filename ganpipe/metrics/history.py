"""What was scored when: `RUN/metrics.jsonl`, one JSON object a line, appended and never rewritten.

A line is the result of `ganpipe.metrics.evaluate` with the place of the model in its training:
`step`, `images_seen` (real images that D has seen) and `train_seconds` (None where not known).
"""

import json
import os
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError

FILE = "metrics.jsonl"


def append(run: str | os.PathLike, record: dict[str, Any]) -> None:
    """Adds one line in a single write, so that two processes do not mix theirs.

    Args:
      run: run folder.
      record: JSON values; NaN is refused.
    """
    line = json.dumps(record, allow_nan=False) + "\n"
    handle = os.open(Path(run) / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def read(run: str | os.PathLike) -> list[dict[str, Any]]:
    """All lines, by step; of two with one step and passport the later. [] without a file.

    A last line that a killed process left half-written is passed over.

    Raises:
      UserError: a line that is no record, other than the last.
    """
    path = Path(run) / FILE
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    latest: dict[tuple, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            passport = record["passport"]
            how = json.dumps([passport["extractor"], passport["counts"], passport["seeds"]])
            latest[record["step"], how, tuple(record["names"])] = record
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                continue
            raise UserError(f"{path}:{number} is not a line of `ganpipe eval`: {error}") from error
    return sorted(latest.values(), key=lambda record: record["step"])


def best(records: list[dict[str, Any]], metric: str, lower: bool = True) -> dict[str, Any] | None:
    """The record with the best value of a metric; the earlier of two that are equal."""
    scored = [record for record in records if metric in record["scores"]]
    if not scored:
        return None
    sign = 1 if lower else -1
    return min(scored, key=lambda record: sign * record["scores"][metric])
