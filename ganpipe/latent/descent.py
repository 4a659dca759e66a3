"""Adam on the input of a generator, with the learning rate of the StyleGAN2 projector."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent.outcome import Progress

# (parameters, constants, step int32 scalar) -> (B,) losses of the rows
Objective = Callable[[Sequence[tf.Tensor], Sequence[tf.Tensor], tf.Tensor], tf.Tensor]
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Schedule:
    """How long and how fast (Karras et al. 2020, appendix D).

    Attributes:
      steps: of Adam.
      rate: the largest learning rate.
      ramp_up: share of the steps over which the rate rises linearly from 0.
      ramp_down: share at the end over which it falls as a half cosine.
    """

    steps: int = 1000
    rate: float = 0.1
    ramp_up: float = 0.05
    ramp_down: float = 0.25

    def check(self) -> None:
        """UserError for steps below 1 or a rate that is not positive."""
        if self.steps < 1:
            raise UserError(f"--steps={self.steps}: expected 1 or more")
        if not (self.rate > 0 and math.isfinite(self.rate)):
            raise UserError(f"--learning_rate={self.rate:g}: expected a positive number")

    def at(self, step: int) -> float:
        """Learning rate of a step, 0 for the first."""
        t = step / self.steps
        down = min(1.0, (1.0 - t) / self.ramp_down)
        return self.rate * (0.5 - 0.5 * math.cos(math.pi * down)) * min(1.0, t / self.ramp_up)


class Descent:
    """A compiled step of Adam that makes the sum of losses small.

    Adam works element by element and the losses of rows are summed, so rows do not meet. With an
    objective whose draws depend on the step and the constants alone, the result is a function of
    the arguments of `run`.

    Args:
      objective: differentiable losses.
      schedule: steps and learning rates.
      restrict: puts parameters back where they belong, after every step.
    """

    def __init__(
        self,
        objective: Objective,
        schedule: Schedule,
        restrict: Callable[[list[tf.Tensor]], list[tf.Tensor]] | None = None,
    ):
        schedule.check()
        self._objective, self._schedule, self._restrict = objective, schedule, restrict
        self._step = tf.function(self._traced)

    def _traced(self, values, first, second, constants, index, rate):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss = tf.reduce_sum(self._objective(values, constants, index))
        count = tf.cast(index + 1, tf.float32)
        lasting = (1.0 - BETA_1**count, 1.0 - BETA_2**count)
        moved, firsts, seconds = [], [], []
        for x, m, v, g in zip(values, first, second, tape.gradient(loss, values), strict=True):
            m = BETA_1 * m + (1.0 - BETA_1) * g
            v = BETA_2 * v + (1.0 - BETA_2) * tf.square(g)
            moved.append(x - rate * (m / lasting[0]) / (tf.sqrt(v / lasting[1]) + EPSILON))
            firsts.append(m)
            seconds.append(v)
        return self._restrict(moved) if self._restrict is not None else moved, firsts, seconds

    def run(
        self,
        parameters: Sequence[np.ndarray],
        constants: Sequence[tf.Tensor] = (),
        progress: Progress | None = None,
    ) -> list[np.ndarray]:
        """Parameters after the last step; the same shapes are compiled once.

        Args:
          parameters: float32 arrays to start from.
          constants: given to the objective.
          progress: called with 1 after every step.
        """
        values = [tf.constant(p, tf.float32) for p in parameters]
        first = [tf.zeros_like(x) for x in values]
        second = [tf.zeros_like(x) for x in values]
        constants = [tf.convert_to_tensor(c) for c in constants]
        for index in range(self._schedule.steps):
            rate = tf.constant(self._schedule.at(index), tf.float32)
            step = tf.constant(index)
            values, first, second = self._step(values, first, second, constants, step, rate)
            if progress is not None:
                progress(1)
        return [value.numpy() for value in values]
