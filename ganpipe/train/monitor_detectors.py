"""What goes wrong in adversarial training, seen in the logged scalars: one small class a failure.

A detector is fed (step, values) in the order of the steps: the logs of a step, every
`monitor.every` steps with what `monitor_probe` measured. It answers with a `Finding` when its
condition has held long enough, once an episode, and keeps all that it knows in `state`, so that a
continued run judges as an unbroken one would. No TensorFlow here: plain floats.

Which rule applies depends on the loss (`monitor_parts.FAMILIES`): the accuracy and the value of
D's loss say nothing about a critic, and a relativistic D judges differences only.
"""

import math
from collections.abc import Mapping
from typing import Any

from ganpipe.train.monitor_parts import Family, Finding, Held, Median, Smooth


class Detector:
    """Base: parts with `state` and `restore` in `parts`, shown values in `scalars`.

    Args:
      settings: `config.monitor` as a mapping, see `ganpipe.config.monitor`.
      rules: of the loss.
    """

    kind = ""

    def __init__(self, settings: Mapping[str, Any], rules: Family):
        self.settings, self.rules = settings, rules
        self.parts: dict[str, Any] = {}
        self.scalars: dict[str, float] = {}

    def update(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Judges the values of one step; all are finite."""
        raise NotImplementedError

    @property
    def onset(self) -> int | None:
        """Step since which a condition has held, the oldest of them; None: none does."""
        parts = [part.onset for part in self.parts.values() if isinstance(part, Held)]
        return min((onset for onset in parts if onset is not None), default=None)

    @property
    def calm(self) -> bool:
        """True when no condition holds."""
        return self.onset is None

    def state(self) -> dict[str, list]:
        """JSON-able."""
        return {name: part.state() for name, part in self.parts.items()}

    def restore(self, state: Mapping[str, list]) -> None:
        """The inverse of `state`."""
        for name, part in self.parts.items():
            if name in state:
                part.restore(state[name])

    def smooth(self, name: str, step: int, value: float) -> float:
        """Average of one scalar, shown as health/NAME."""
        part = self.parts.setdefault(f"smooth {name}", Smooth(self.settings["ema_decay"]))
        self.scalars[name] = part.update(step, value)
        return self.scalars[name]

    def finding(self, step: int, onset: int, what: str) -> Finding:
        """A `Finding` of this kind."""
        return Finding(self.kind, step, onset, what)


class Saturation(Detector):
    """D overpowers G: nearly always right on both sides, or its loss near its lower end."""

    kind = "saturation"

    def __init__(self, settings: Mapping[str, Any], rules: Family):
        super().__init__(settings, rules)
        steps = settings["saturation_steps"]
        self.parts = {"accuracy": Held(steps), "loss": Held(steps)}
        for name in ("acc_real", "acc_fake", "D_loss"):
            self.parts[f"smooth {name}"] = Smooth(settings["ema_decay"])

    def update(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Reads D/acc_real and D/acc_fake, where they are logged, and D/loss."""
        limit, steps = self.settings["saturation_accuracy"], self.settings["saturation_steps"]
        if self.rules.accuracy and {"D/acc_real", "D/acc_fake"} <= values.keys():
            real = self.smooth("acc_real", step, values["D/acc_real"])
            fake = self.smooth("acc_fake", step, values["D/acc_fake"])
            onset = self.parts["accuracy"].update(step, min(real, fake) > limit)
            if onset is not None:
                text = f"D is right on {real:.1%} of the real images and {fake:.1%} of the fakes"
                return self.finding(step, onset, f"{text} (alarm: both above {limit:.1%})")
        else:  # what is no longer seen holds no longer
            self.parts["accuracy"].update(step, False)
        least = self.settings["saturation_d_loss"] or self.rules.saturated
        if least is not None and "D/loss" in values:
            # A penalty is part of D/loss and hides how far D has won.
            loss = self.smooth("D_loss", step, values["D/loss"] - values.get("D/penalty", 0.0))
            onset = self.parts["loss"].update(step, loss < least)
            if onset is not None:
                text = f"D's loss has stayed below {least:g} for {steps} steps"
                return self.finding(step, onset, f"{text} (now {loss:.3g})")
        return None


class UselessDiscriminator(Detector):
    """G overpowers D: D takes most fakes for real, or its loss is worse than guessing."""

    kind = "useless_discriminator"

    def __init__(self, settings: Mapping[str, Any], rules: Family):
        super().__init__(settings, rules)
        steps = settings["useless_steps"]
        self.parts = {"accuracy": Held(steps), "loss": Held(steps)}
        for name in ("useless acc_fake", "useless D_loss"):
            self.parts[name] = Smooth(settings["ema_decay"])

    def update(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Reads D/acc_fake, where it is logged, and D/loss."""
        limit, steps = self.settings["useless_accuracy"], self.settings["useless_steps"]
        if self.rules.accuracy and "D/acc_fake" in values:
            fake = self.parts["useless acc_fake"].update(step, values["D/acc_fake"])
            onset = self.parts["accuracy"].update(step, fake < limit)
            if onset is not None:
                text = f"D recognises only {fake:.1%} of the fakes"
                return self.finding(step, onset, f"{text} (alarm: below {limit:.1%})")
        else:
            self.parts["accuracy"].update(step, False)
        most = self.settings["useless_d_loss"] or self.rules.useless
        if most is not None and "D/loss" in values:
            bare = values["D/loss"] - values.get("D/penalty", 0.0)
            loss = self.parts["useless D_loss"].update(step, bare)
            onset = self.parts["loss"].update(step, loss > most)
            if onset is not None:
                text = f"D's loss has stayed above {most:g} for {steps} steps"
                return self.finding(step, onset, f"{text}: guessing would do better ({loss:.3g})")
        return None


class VanishingGradient(Detector):
    """G learns nothing: its gradient is tiny, by itself or beside D's."""

    kind = "vanishing_gradient"

    def __init__(self, settings: Mapping[str, Any], rules: Family):
        super().__init__(settings, rules)
        steps = settings["vanishing_steps"]
        self.parts = {"norm": Held(steps), "ratio": Held(steps)}

    def update(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Reads G/grad_norm, D/grad_norm."""
        if "G/grad_norm" not in values:
            return None
        g, d = values["G/grad_norm"], values.get("D/grad_norm", 0.0)
        least, steps = self.settings["vanishing_norm"], self.settings["vanishing_steps"]
        onset = self.parts["norm"].update(step, g < least)
        if onset is not None:
            text = f"the norm of G's gradient has stayed below {least:g} for {steps} steps"
            return self.finding(step, onset, f"{text} (now {g:.2g})")
        least = self.settings["vanishing_ratio"]
        # Where both are tiny their ratio is noise.
        self.scalars["G_over_D"] = ratio = g / d if d > 1e-12 else 1.0
        onset = self.parts["ratio"].update(step, ratio < least)
        if onset is not None:
            text = f"G's gradient has stayed below {least:g} of D's for {steps} steps"
            return self.finding(step, onset, f"{text} (now {g:.2g} against {d:.2g})")
        return None


class ExplodingGradient(Detector):
    """A gradient norm whose average stays above the limit."""

    kind = "exploding_gradient"

    def __init__(self, settings: Mapping[str, Any], rules: Family):
        super().__init__(settings, rules)
        self.parts = {name: Held(settings["exploding_steps"]) for name in "GD"}
        for name in "GD":
            self.parts[f"smooth {name}_grad_norm"] = Smooth(settings["ema_decay"])

    def update(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Reads G/grad_norm, D/grad_norm."""
        most, steps = self.settings["exploding_norm"], self.settings["exploding_steps"]
        found = None
        for name in "GD":
            if f"{name}/grad_norm" not in values:
                continue
            norm = self.smooth(f"{name}_grad_norm", step, values[f"{name}/grad_norm"])
            onset = self.parts[name].update(step, norm > most)
            if onset is not None and found is None:
                text = f"the norm of {name}'s gradient, averaged, has stayed above {most:g}"
                found = self.finding(step, onset, f"{text} for {steps} steps (now {norm:.3g})")
        return found


class LearningRate(Detector):
    """Steps are far too large: weights are thrown about, or losses and gradients jump.

    Weights: D or G moved by more than `moved_most` of its own length in `monitor.every` steps, or
    by `moved_factor` times its usual path (median of the checks before). Jump: a loss or a gradient
    norm above `jump_factor` times its own running median for `jump_steps` steps.
    """

    kind = "learning_rate"
    watched = ("D/loss", "G/loss", "D/grad_norm", "G/grad_norm")

    def __init__(self, settings: Mapping[str, Any], rules: Family):
        super().__init__(settings, rules)
        for name in self.watched:
            self.parts[name] = Held(settings["jump_steps"])
            self.parts[f"median {name}"] = Median()
        for name in "GD":
            self.parts[f"moved {name}"] = Held(0)
            self.parts[f"median moved {name}"] = Median(warm_up=10, spacing=1)

    def update(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Reads the four scalars of `watched`, and of a check G_moved and D_moved."""
        found = None
        for name in "GD":
            if f"{name}_moved" in values:
                found = self._moved(name, step, values[f"{name}_moved"]) or found
        for name in self.watched:
            if name in values:
                found = self._jump(name, step, abs(values[name])) or found
        return found

    def _moved(self, name: str, step: int, moved: float) -> Finding | None:
        held, median = self.parts[f"moved {name}"], self.parts[f"median moved {name}"]
        most, factor = self.settings["moved_most"], self.settings["moved_factor"]
        self.scalars[f"{name}_moved"] = moved
        usual = median.value
        # A path of a quarter of the weights' length harms nobody, however long beside the usual.
        jumped = usual is not None and moved > max(factor * usual, 0.25)
        onset = held.update(step, moved > most or jumped)
        if held.onset is None or held.told:
            median.update(step, moved)
        if onset is None:
            return None
        every = self.settings["every"]
        text = f"{name}'s weights moved by {moved:.3g} of their own length in {every} steps"
        limit = f"alarm: above {most:g}"
        if jumped:
            limit = f"alarm: above {factor:g} times the usual {usual:.2g}"
        return self.finding(step, max(step - every, 0), f"{text} ({limit})")

    def _jump(self, name: str, step: int, value: float) -> Finding | None:
        held, median = self.parts[name], self.parts[f"median {name}"]
        factor, usual = self.settings["jump_factor"], median.value
        # A loss that is usually near 0 is no yardstick.
        floor = 0.1 if name.endswith("loss") else 1e-3
        onset = held.update(step, usual is not None and value > factor * max(usual, floor))
        if held.onset is None or held.told:  # what is suspected is not yet usual
            median.update(step, value)
        if onset is None:
            return None
        text = f"{name} has stayed above {factor:g} times its usual {usual:.3g}"
        steps = self.settings["jump_steps"]
        return self.finding(step, onset, f"{text} for {steps} steps (now {value:.3g})")


class Collapse(Detector):
    """Fakes from fixed noise look alike beside as many real images.

    Before `collapse_grace` steps a young generator may be that dull; once it has been varied, less
    is an alarm at any time: at `collapse_checks` looks in a row, or at the first one if diversity
    has fallen to less than a third since the look before (training may mend such a fault, but not
    undo what it did to D).
    """

    kind = "collapse"
    rows = ("diversity", "diversity_least", "modes")

    def __init__(self, settings: Mapping[str, Any], rules: Family):
        super().__init__(settings, rules)
        # Two checks in a row: the first of them is the onset.
        self.parts = {
            name: Held((settings["collapse_checks"] - 1) * settings["every"]) for name in self.rows
        }
        self.parts["sudden"] = Held(0)
        self.seen: set[str] = set()
        self.previous: float | None = None

    def update(self, step: int, values: Mapping[str, float]) -> Finding | None:
        """Reads diversity, diversity_least and modes, shares of the real images' values."""
        limits = ("collapse_diversity", "collapse_class_diversity", "collapse_modes")
        said = (
            "fakes of one batch vary {0:.3g} times as much as real images",
            "fakes of the dullest class vary {0:.3g} times as much as its real images",
            "fakes cover {0:.3g} times as many classes as real images",
        )
        found = None
        for name, key, text in zip(self.rows, limits, said, strict=True):
            if name not in values:
                continue
            value, least = values[name], self.settings[key]
            self.scalars[name] = value
            if value >= least:
                self.seen.add(name)
            armed = name in self.seen or step > self.settings["collapse_grace"]
            onset = self.parts[name].update(step, armed and value < least)
            text = f"{text.format(value)} (alarm: below {least:g})"
            if name == "diversity":
                fell = armed and self.previous and value < min(self.previous / 3, least)
                sudden = self.parts["sudden"].update(step, bool(fell))
                if sudden is not None:
                    text = f"{text}, {self.previous:.3g} at the look before"
                    onset, self.parts[name].told = sudden, True
                self.previous = value
            if onset is not None and found is None:
                found = self.finding(step, onset, text)
        return found

    def state(self) -> dict[str, list]:
        """JSON-able."""
        return super().state() | {"seen": sorted(self.seen), "previous": [self.previous]}

    def restore(self, state: Mapping[str, list]) -> None:
        """The inverse of `state`."""
        super().restore(state)
        self.seen = set(state.get("seen", ()))
        self.previous = state.get("previous", [None])[0]


def not_finite(step: int, values: Mapping[str, float]) -> Finding | None:
    """A NaN or Inf among the values of a step."""
    for name, value in values.items():
        if not math.isfinite(value):
            return Finding("nan", step, step, f"{name} is {value}")
    return None


def all_of(settings: Mapping[str, Any], rules: Family) -> list[Detector]:
    """One of each kind but "nan", whose rule is `not_finite`."""
    classes = (
        Saturation,
        UselessDiscriminator,
        VanishingGradient,
        ExplodingGradient,
        Collapse,
        LearningRate,
    )
    return [c(settings, rules) for c in classes]
