"""RUN/monitor.json: what a killed run must remember to go on as if it had not been killed.

    rollbacks   how often the run went back
    lr_scale    factor on all learning rates, rollback_lr_factor ** rollbacks
    pending     a step: checkpoints after it are still to be deleted; null: none are
    history     step, kind, page and target of every rollback
    snapshots   by step of a checkpoint: what the detectors knew, and whose conditions held

Written in one step, and always before the checkpoint it belongs to, so that every checkpoint has
its snapshot.
"""

import json
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.train import checkpoint, run_folder

_EMPTY: dict[str, Any] = {
    "rollbacks": 0,
    "lr_scale": 1.0,
    "pending": None,
    "history": [],
    "snapshots": {},
}


class Journal:
    """The file of one run.

    Args:
      run: run folder; the file need not exist.
      is_chief: False reads only.

    Raises:
      UserError: a file that is not ours.
    """

    def __init__(self, run: Path, is_chief: bool = True):
        self.path, self.is_chief = run / "monitor.json", is_chief
        self.directory = run / "checkpoints"
        self.values = json.loads(json.dumps(_EMPTY))
        if not self.path.is_file():
            return
        try:
            found = json.loads(self.path.read_text())
            self.values = {key: found[key] for key in _EMPTY}
            float(self.values["lr_scale"]), int(self.values["rollbacks"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.path} is not readable ({error!r}): without it the run cannot continue as "
                "it was. Bring it back, or give another --workdir."
            ) from error

    @property
    def rollbacks(self) -> int:
        """How often the run went back."""
        return self.values["rollbacks"]

    @property
    def lr_scale(self) -> float:
        """Factor on all learning rates."""
        return self.values["lr_scale"]

    def seed(self, seed: int) -> int:
        """Seed of data order and latents: the run's own, and another one after each rollback."""
        if not self.rollbacks:
            return seed
        return int(np.random.SeedSequence([seed, self.rollbacks]).generate_state(1)[0])

    def snapshot(self, step: int) -> dict[str, Any] | None:
        """What was saved with the checkpoint of `step`."""
        return self.values["snapshots"].get(str(step))

    def save_snapshot(self, step: int, values: dict[str, Any]) -> None:
        """Keeps `values` for the checkpoint that is about to be written at `step`."""
        kept = {str(s) for s in checkpoint.list_steps(self.directory)}
        snapshots = {k: v for k, v in self.values["snapshots"].items() if k in kept}
        self.values["snapshots"] = snapshots | {str(step): values}
        self._write()

    def calm_steps(self, kinds: Collection[str]) -> list[int]:
        """Steps with a snapshot at which no condition of `kinds` held, oldest first."""

        def is_calm(snapshot: dict[str, Any]) -> bool:
            if "conditions" not in snapshot:  # of older journals: one word for all kinds
                return snapshot["calm"]
            return not set(snapshot["conditions"]) & set(kinds)

        return sorted(int(k) for k, v in self.values["snapshots"].items() if is_calm(v))

    def target(self, onset: int, margin: int, kinds: Collection[str]) -> int:
        """The newest good checkpoint's step; without one, the oldest sound one before `onset`.

        Good: sound, at least `margin` steps older than `onset`, and no condition of `kinds` held.
        0, the start, where no sound checkpoint is older than `onset`.

        Args:
          onset: first step at which the condition held.
          margin: steps by which it may have begun earlier.
          kinds: those that roll back; others do not make a checkpoint bad.
        """
        there = [step for step in checkpoint.list_steps(self.directory) if step < onset]
        calm = self.calm_steps(kinds)
        good = [step for step in there if step in calm and step + margin <= onset]
        for step in (*reversed(good), *there):
            if checkpoint.fault(checkpoint.path_of(self.directory, step)) is None:
                return step
        return 0

    def worth_keeping(self, onset: int, margin: int, kinds: Collection[str]) -> list[int]:
        """Steps of the checkpoints that must stay, so that `target` finds a good one.

        The newest calm one; and for `margin` and twice that (some findings place their onset a
        look back) the newest calm one so much older than `onset`, and the oldest younger one,
        which takes its place when it has come of age: without it, checkpoints that come faster
        than `margin` would all be dropped young.

        Args:
          onset: the step, or the first at which a condition has held that holds still.
          margin: as in `target`.
          kinds: as in `target`.
        """
        calm = self.calm_steps(kinds)
        kept = set(calm[-1:])
        for age in (margin, 2 * margin):
            kept |= set([step for step in calm if step + age <= onset][-1:])
            kept |= set([step for step in calm if step + age > onset][:1])
        return sorted(kept)

    def roll_back(self, target: int, factor: float, entry: dict[str, Any]) -> None:
        """Notes one more rollback to `target`, then deletes what was saved after it."""
        self.values["rollbacks"] += 1
        self.values["lr_scale"] *= factor
        self.values["pending"] = target
        self.values["history"].append(entry | {"to": target})
        self._write()
        self.settle()

    def settle(self) -> None:
        """Ends a rollback, possibly one that was cut short: deletes checkpoints after `pending`."""
        target = self.values["pending"]
        if target is None or not self.is_chief:
            return
        for step in checkpoint.list_steps(self.directory):
            if step > target:
                shutil.rmtree(checkpoint.path_of(self.directory, step))
        self.values["pending"] = None
        snapshots = self.values["snapshots"]
        self.values["snapshots"] = {k: v for k, v in snapshots.items() if int(k) <= target}
        self._write()

    def _write(self) -> None:
        if self.is_chief:
            run_folder.write_text(self.path, json.dumps(self.values) + "\n")


class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule times a factor.

    Args:
      schedule: step -> rate.
      factor: a plain number.
    """

    def __init__(self, schedule: Any, factor: float):
        super().__init__()
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Any) -> Any:
        """The scaled rate at a step."""
        return self.schedule(step) * self.factor

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"schedule": self.schedule, "factor": self.factor}


def base_rates(state: dict[str, Any]) -> list[tuple[Any, Any]]:
    """(optimiser, its learning rate: a float or a schedule) of a system's state, as compiled.

    Take it before a checkpoint is restored: checkpoints hold rates that are scaled already.
    """
    found = []
    for item in tf.nest.flatten(state):
        if isinstance(item, keras.optimizers.Optimizer):
            rate = item._learning_rate
            plain = isinstance(rate, keras.Variable | tf.Variable)
            found.append((item, float(np.asarray(rate)) if plain else rate))
    return found


def scale_rates(rates: list[tuple[Any, Any]], factor: float) -> None:
    """Sets every optimiser's learning rate to `factor` times what `base_rates` found."""
    if factor == 1.0:
        return
    for optimizer, rate in rates:
        optimizer.learning_rate = rate * factor if isinstance(rate, float) else Scaled(rate, factor)
