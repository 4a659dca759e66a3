"""The parts of the detectors: findings, rules by loss, and three small ways to follow a scalar."""

import dataclasses
import statistics

KINDS = (
    "nan",
    "saturation",
    "useless_discriminator",
    "vanishing_gradient",
    "exploding_gradient",
    "collapse",
    "learning_rate",
)
# After an episode a kind stays silent for so many steps, however often its condition comes back.
COOLDOWN = 500
WINDOW = 100  # values behind a running median
SPACING = 5  # steps between two of them
WARM_UP = 40  # values before a running median is believed


@dataclasses.dataclass(frozen=True)
class Finding:
    """One breach.

    Attributes:
      kind: of `KINDS`.
      step: at which it was found.
      onset: first step at which the condition held: no checkpoint from there on is sound.
      what: one sentence with the figures and the threshold.
    """

    kind: str
    step: int
    onset: int
    what: str


@dataclasses.dataclass(frozen=True)
class Family:
    """How far the rules apply to a loss.

    Attributes:
      accuracy: logits have a sign that says real or fake, for each side by itself.
      saturated: D's loss below which it has won; None: it has no lower end that means so.
      useless: D's loss above which it is worse than guessing; None: no such value.
    """

    accuracy: bool
    saturated: float | None
    useless: float | None


# Sheet training_tips.md, section 2: .05 for the logistic losses (2 log 2 where D only guesses) and
# .01 for the hinge (2). The others are ours: the same share of the value at equilibrium.
_LOGISTIC = Family(accuracy=True, saturated=0.05, useless=1.5)
FAMILIES = {
    "minimax": _LOGISTIC,
    "non_saturating": _LOGISTIC,
    "fgan_gan": _LOGISTIC,
    "hinge": Family(accuracy=True, saturated=0.01, useless=2.2),
    "least_squares": Family(accuracy=False, saturated=0.01, useless=0.5),
    "least_squares_sigmoid": Family(accuracy=True, saturated=0.01, useless=None),
    "least_squares_pearson": Family(accuracy=True, saturated=0.02, useless=2.0),
    "rsgan": Family(accuracy=False, saturated=0.025, useless=None),
    "rasgan": Family(accuracy=False, saturated=0.05, useless=None),
    "rahinge": Family(accuracy=False, saturated=0.01, useless=None),
    "ralsgan": Family(accuracy=False, saturated=0.01, useless=None),
    "wasserstein": Family(accuracy=False, saturated=None, useless=None),
}


def family(loss: str, scale: float = 1.0) -> Family:
    """Rules of a loss. f-divergences: by the sign of the logit, but for KL, whose border is 1.

    Args:
      loss: a name of `ganpipe.ops.losses.NAMES`.
      scale: factor on D's loss, such as the 1/2 of the first GAN.
    """
    loss = loss.removesuffix("_alt")
    by_sign = loss.startswith("fgan_") and loss != "fgan_kl"
    rules = FAMILIES.get(loss, Family(accuracy=by_sign, saturated=None, useless=None))
    saturated, useless = rules.saturated, rules.useless
    return Family(
        rules.accuracy,
        None if saturated is None else saturated * scale,
        None if useless is None else useless * scale,
    )


class Held:
    """A condition that must hold for `steps` steps in a row; speaks once an episode.

    Args:
      steps: from the first step at which it holds to the one at which it speaks; 0: at once.
    """

    def __init__(self, steps: int):
        self.steps = steps
        self.onset: int | None = None
        self.silent_until = 0
        self.told = False

    def update(self, step: int, holds: bool) -> int | None:
        """Returns the onset when it is time to speak."""
        if not holds:
            self.onset, self.told = None, False
            return None
        if self.onset is None:
            self.onset = step
        if self.told or step - self.onset < self.steps or step < self.silent_until:
            return None
        self.told, self.silent_until = True, step + COOLDOWN
        return self.onset

    def state(self) -> list:
        """JSON-able."""
        return [self.onset, self.silent_until, self.told]

    def restore(self, state: list) -> None:
        """The inverse of `state`."""
        self.onset, self.silent_until, self.told = state


class Smooth:
    """Moving average that starts at its first value; the weight of the past is decay a step."""

    def __init__(self, decay: float):
        self.decay = decay
        self.value: float | None = None
        self.step = 0

    def update(self, step: int, value: float) -> float:
        """Returns the average; values may come any number of steps apart."""
        if self.value is None:
            self.value = value
        else:
            keep = self.decay ** (step - self.step)
            self.value = keep * self.value + (1.0 - keep) * value
        self.step = step
        return self.value

    def state(self) -> list:
        """JSON-able."""
        return [self.value, self.step]

    def restore(self, state: list) -> None:
        """The inverse of `state`."""
        self.value, self.step = state


class Median:
    """Running median of the last `WINDOW` values, at least `SPACING` steps apart."""

    def __init__(self, warm_up: int = WARM_UP, spacing: int = SPACING):
        self.warm_up, self.spacing = warm_up, spacing
        self.values: list[float] = []
        self.step = -spacing

    def update(self, step: int, value: float) -> None:
        """Takes a value in, if it is time for one."""
        if step - self.step >= self.spacing:
            self.values = [*self.values[1 - WINDOW :], value]
            self.step = step

    @property
    def value(self) -> float | None:
        """The median, None while there are too few values."""
        return statistics.median(self.values) if len(self.values) >= self.warm_up else None

    def state(self) -> list:
        """JSON-able."""
        return [self.values, self.step]

    def restore(self, state: list) -> None:
        """The inverse of `state`."""
        self.values, self.step = list(state[0]), state[1]
