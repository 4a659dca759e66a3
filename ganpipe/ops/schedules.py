"""Learning rates that follow the number of updates."""

import keras
import tensorflow as tf


class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """`rate` up to update `start`, then linearly down to 0 at update `start + steps`.

    Args:
      rate: learning rate at the beginning.
      steps: updates of the optimiser that the way down takes; 0 keeps the rate for ever.
      start: updates before it begins.
    """

    def __init__(self, rate: float, steps: int, start: int = 0):
        self.rate, self.steps, self.start = rate, steps, start

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Scalar float32 rate of update number `step`, counted from 0."""
        if not self.steps:
            return tf.constant(self.rate, tf.float32)
        done = (tf.cast(step, tf.float32) - self.start) / self.steps
        return self.rate * (1.0 - tf.clip_by_value(done, 0.0, 1.0))

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {"rate": self.rate, "steps": self.steps, "start": self.start}
