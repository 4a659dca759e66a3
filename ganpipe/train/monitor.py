"""The health monitor: feeds the detectors after each call of the graph, acts on what they find.

docs/monitor.md tells every scalar, threshold and action. The compiled step does nothing for it;
every `monitor.every` steps 64 images are drawn.
"""

import collections
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.ops import images as image_ops
from ganpipe.train import callbacks, checkpoint, incident, monitor_detectors, monitor_parts
from ganpipe.train.monitor_journal import Journal
from ganpipe.train.monitor_parts import Finding
from ganpipe.train.monitor_probe import Probe

ACTIONS = ("warn", "stop", "rollback", "off")
HISTORY = 600  # calls of the graph that the curves of a page show


def settings(section: Mapping[str, Any] | None) -> dict[str, Any]:
    """`config.monitor` as a plain dict, with the default of every key that it lacks.

    Raises:
      UserError: an unknown key or action, or a number out of range.
    """
    given = config_lib.to_dict(section or {})
    known = config_lib.to_dict(config_lib.monitor())
    for name, values, table in (
        ("monitor", given, known),
        ("monitor.actions", given.get("actions", {}), known["actions"]),
    ):
        for key in values:
            if key not in table:
                close = difflib.get_close_matches(key, table, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise UserError(
                    f"config.{name}.{key}: unknown.{hint} Known: {', '.join(sorted(table))}."
                )
    merged = known | given | {"actions": known["actions"] | given.get("actions", {})}
    chosen = {f"actions.{kind}": action for kind, action in merged["actions"].items() if action}
    for key, action in {"action": merged["action"], **chosen}.items():
        if action not in ACTIONS:
            raise UserError(
                f"config.monitor.{key}={action!r}: expected one of {', '.join(ACTIONS)}."
            )
    for key, least in (("every", 1), ("max_rollbacks", 0), ("collapse_checks", 1)):
        if merged[key] < least:
            raise UserError(f"config.monitor.{key}={merged[key]}: expected {least} or more.")
    for key in ("rollback_lr_factor", "ema_decay"):
        if not 0.0 < merged[key] <= 1.0 or (key == "ema_decay" and merged[key] == 1.0):
            raise UserError(f"config.monitor.{key}={merged[key]}: expected more than 0, at most 1.")
    for key, value in merged.items():
        if isinstance(value, int | float) and value < 0:
            raise UserError(f"config.monitor.{key}={value}: expected 0 or more.")
    return merged


def action_of(values: Mapping[str, Any], kind: str) -> str:
    """What to do about a kind; a value that is not finite always stops at least."""
    action = values["actions"][kind] or values["action"]
    return "stop" if kind == "nan" and action in ("warn", "off") else action


def returning(values: Mapping[str, Any]) -> list[str]:
    """Kinds whose action is to roll back: only these make a checkpoint unfit to return to."""
    return [kind for kind in values["actions"] if action_of(values, kind) == "rollback"]


class RolledBack(Exception):  # noqa: N818 (no error: a way out of `fit`)
    """Training left `fit` to go on from an older checkpoint; the journal has all that is needed."""


class Monitor(callbacks.AfterStep):
    """Watches a run. Goes before the callback that saves checkpoints.

    Args:
      run: run folder.
      config: the run's, as a nested plain dict; `monitor` in it as `settings` gives it.
      journal: of the run.
      probe: of the system; None watches the logs only.
      objective: the system's; its `loss_name`, `d_scale` and clipping choose the rules.
      is_chief: False writes nothing.
    """

    def __init__(
        self,
        run: Path,
        config: Mapping[str, Any],
        journal: Journal,
        probe: Probe | None,
        objective: Any,
        is_chief: bool = True,
    ):
        super().__init__()
        self.run, self.config, self.journal, self.probe = run, config, journal, probe
        self.is_chief = is_chief
        self.settings = config["monitor"]
        self.going_back = returning(self.settings)
        scale = float(getattr(objective, "d_scale", 1.0))
        rules = monitor_parts.family(objective.loss_name, scale)
        self.detectors = monitor_detectors.all_of(self.settings, rules)
        # Clipping throws weights about by itself, and bounds their path.
        self.unjudged = {"D_moved"} if objective.weights["clip"] else set()
        self.history: collections.deque = collections.deque(maxlen=HISTORY)
        self.listeners: list[Callable[[int, str], None]] = []
        self.last = 0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Takes up what was known at the checkpoint that training continues from."""
        super().on_train_begin(logs)
        self.last = self.start
        snapshot = self.journal.snapshot(self.start)
        if self.probe is not None:
            self.probe.begin()
        if snapshot is None:
            return
        for detector in self.detectors:
            detector.restore(snapshot["detectors"].get(detector.kind, {}))
        if self.probe is not None and snapshot["weights"]:
            self.probe.restore(snapshot["weights"])

    def before_save(self, step: int) -> list[int]:
        """Keeps what is known at `step`; call it before the checkpoint of that step is written.

        Returns:
          Steps of the checkpoints that must stay, so that there is one to go back to; none where
          no kind is to roll back.
        """
        self.journal.save_snapshot(
            step,
            {
                # Of all kinds: their actions may change when the run is continued.
                "conditions": [d.kind for d in self.detectors if not d.calm],
                "detectors": {d.kind: d.state() for d in self.detectors},
                "weights": self.probe.state() if self.probe is not None else {},
            },
        )
        if not self.going_back:
            return []
        judged = (d for d in self.detectors if d.kind in self.going_back)
        onset = min((d.onset for d in judged if not d.calm), default=step)
        return self.journal.worth_keeping(onset, self.settings["every"], self.going_back)

    def after(self, step: int, logs: dict[str, Any]) -> None:
        """Judges one call of the graph.

        Raises:
          UserError: a breach whose action is to stop.
          RolledBack: one whose action is to go back.
        """
        values = callbacks.scalars(logs)
        every = self.settings["every"]
        due = step // every > self.last // every
        self.last = step
        self.history.append((step, values))
        self._handle(monitor_detectors.not_finite(step, values))
        if due and self.probe is not None:
            measured = self.probe.measure()
            values |= {k: v for k, v in measured.items() if k not in self.unjudged}
            self._handle(monitor_detectors.not_finite(step, values))
        for detector in self.detectors:
            self._handle(detector.update(step, values))

    def scalars(self) -> dict[str, float]:
        """The health/... scalars as they stand, and how often the run went back."""
        values = {f"health/{k}": v for d in self.detectors for k, v in d.scalars.items()}
        return values | {
            "health/rollbacks": float(self.journal.rollbacks),
            "health/conditions": float(sum(not d.calm for d in self.detectors)),
        }

    def _handle(self, finding: Finding | None) -> None:
        if finding is None:
            return
        action = action_of(self.settings, finding.kind)
        if action == "off":
            return
        target = None
        if action == "rollback":
            most = self.settings["max_rollbacks"]
            if self.journal.rollbacks >= most:
                action = "give up"
            else:
                # The condition may have begun since the last look, before it could be seen.
                margin = self.settings["every"]
                target = self.journal.target(finding.onset, margin, self.going_back)
        folder = incident.folder(self.run, finding, self.journal.rollbacks)
        page = folder / "index.html"
        done = self._done(action, target)
        if self.is_chief:
            incident.write(
                folder,
                finding,
                done=done,
                config=self.config,
                history=list(self.history),
                health=self.scalars(),
                picture=self._picture,
            )
            text = f"{incident.TITLES[finding.kind]} at step {finding.step}: {finding.what}. {done}"
            for listener in self.listeners:
                listener(finding.step, f"{text} {page}")
        if action in ("stop", "give up"):
            raise UserError(self._last_words(finding, action, page))
        if action == "rollback":
            entry = {"step": finding.step, "kind": finding.kind, "page": str(page)}
            self.journal.roll_back(target, self.settings["rollback_lr_factor"], entry)
            raise RolledBack

    def _done(self, action: str, target: int | None) -> str:
        if action == "warn":
            return "Training goes on (config.monitor.action=warn)."
        if action == "stop":
            return "Training has stopped (config.monitor)."
        if action == "give up":
            return f"Training has stopped: it went back {self.journal.rollbacks} times already."
        scale = self.journal.lr_scale * self.settings["rollback_lr_factor"]
        return (
            f"Training goes back to step {target}, with learning rates times {scale:g} and another "
            f"order of the data (rollback {self.journal.rollbacks + 1} of at most "
            f"{self.settings['max_rollbacks']})."
        )

    def _last_words(self, finding: Finding, action: str, page: Path) -> str:
        steps = checkpoint.list_steps(self.journal.directory)
        where = f"step {steps[-1]}" if steps else "none"
        what = finding.what if finding.kind == "nan" else f"{finding.kind}: {finding.what}"
        gave_up = ""
        if action == "give up":
            gave_up = (
                f"The run went back {self.journal.rollbacks} times already "
                f"(config.monitor.max_rollbacks={self.settings['max_rollbacks']}). "
            )
        advice = incident.suggestions(finding.kind, self.config)
        key = f" ({advice[0]['key']})" if advice else " (config.optimizer)"
        hint = f"Try another value{key}"
        if finding.kind in ("nan", "learning_rate", "exploding_gradient"):
            hint = f"Try a smaller learning rate{key}"
        hint += ", or train.precision=float32" if finding.kind == "nan" else ""
        return (
            f"{what} at step {finding.step}. {gave_up}The last checkpoint is {where} in "
            f"{self.journal.directory}. {hint}. Details: {page}"
        )

    def _picture(self, path: Path) -> None:
        if self.probe is None:
            sheet = np.full((8, 8, 1), 255, np.uint8)
        else:
            images = self.probe.draw()
            columns, rows = callbacks.grid_shape(max(images.shape[1:3]))
            images = np.nan_to_num(images[: columns * rows], nan=0.0, posinf=1.0, neginf=-1.0)
            sheet = image_ops.grid(image_ops.to_uint8(images).numpy(), columns)
        if sheet.shape[-1] not in (1, 3):  # points have no picture; their first coordinate does
            sheet = sheet[..., :1]
        callbacks.write_png(path, sheet)
