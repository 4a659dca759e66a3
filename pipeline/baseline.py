"""Which earlier data the data of a run are compared with.

By default those that the last blessed model was trained on: that model is in use, so they are what
"as usual" means, and data that led to a model nobody trusts do not move the mark. While no model
has been blessed, the first data without blocking anomalies. Data that a blessed model has been
trained on are accepted: run again, they keep the comparison that they passed, so nothing is done
twice, and what was let through once with `baseline=none` does not block later.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError
from pipeline.artifacts import Artifact, Store

POLICIES = ("blessed", "first", "none")


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuses settings of `pipeline.example_validator` that cannot be used, before any work.

    Raises:
      UserError: an unknown baseline, a schema that is not there or not readable.
    """
    if settings["baseline"] not in POLICIES:
        raise UserError(
            f"config.pipeline.example_validator.baseline={settings['baseline']!r} is not known; "
            f"expected one of {', '.join(POLICIES)}"
        )
    if settings["schema"]:
        from pipeline.components import example_validator

        example_validator.read_schema(Path(settings["schema"]))


def schema_fingerprint(path: str) -> str:
    """SHA-256 (hex) of a schema file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def find(store: Store, statistics: Artifact, policy: str, name: str) -> tuple[Artifact | None, str]:
    """Returns the ExampleStatistics to compare with, and what to call them in words.

    Args:
      store: the pipeline's artifacts.
      statistics: the ExampleStatistics in question.
      policy: one of POLICIES.
      name: the pipeline's name; only models of it count.

    Returns:
      (artifact, words), or (None, "") where there is nothing to compare with.
    """
    if policy == "none":
        return None, ""
    every = store.all("statistics_gen", "ExampleStatistics")
    current = statistics.inputs["examples"]
    if policy == "blessed":
        examples = _last_blessed(store, name)
        if examples == current:
            return _as_before(store, statistics, every)
        of_it = [a for a in every if a.inputs["examples"] == examples]
        if of_it:
            return of_it[-1], f"the data of the last blessed model ({examples[:12]})"
    checked = store.all("example_validator", "ExampleAnomalies")
    sound = {a.inputs["statistics"] for a in checked if not a.properties["anomalies"]}
    for first in every:
        examples = first.inputs["examples"]
        if examples == current:
            break  # These are the first.
        if first.content in sound:
            return first, f"the first data of this pipeline ({examples[:12]})"
    return None, ""


def _last_blessed(store: Store, name: str) -> str:
    """Content fingerprint of the Examples of the last blessed model; "" if there is none."""
    models = {a.content: a for a in store.all("trainer", "Model")}
    for blessing in reversed(store.all("evaluator", "ModelBlessing")):
        model = models.get(blessing.inputs.get("model", ""))
        if blessing.properties.get("blessed") and model and model.properties.get("name") == name:
            return model.inputs["examples"]
    return ""


def _as_before(
    store: Store, statistics: Artifact, every: list[Artifact]
) -> tuple[Artifact | None, str]:
    """What these statistics were compared with when they last passed."""
    for anomalies in reversed(store.all("example_validator", "ExampleAnomalies")):
        same = anomalies.inputs["statistics"] == statistics.content
        if same and not anomalies.properties["anomalies"]:
            of_it = [a for a in every if a.content == anomalies.inputs.get("baseline")]
            return (of_it[-1], anomalies.properties["baseline"]) if of_it else (None, "")
    return None, ""
