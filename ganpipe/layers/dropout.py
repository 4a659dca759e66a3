"""Dropout that draws from the step's seed, never from hidden state.

A system sets the seed around the calls of one training step, and every `StepDropout` that runs
inside draws from (seed, number of the use): layers differ, and so do the passes of real and fake
images. Without a seed, and at inference, the layer is the identity.

    with dropout.step_seed(seed):
        real_logits = discriminator(real_images, training=True)
        fake_logits = discriminator(fake_images, training=True)

Uses are counted when Python runs: once a trace inside `tf.function`, so a step that is traced once
draws new masks at every step from that step's seed.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

_state = threading.local()  # replicas of tf.distribute trace in threads of their own


@contextlib.contextmanager
def step_seed(seed: tf.Tensor) -> Iterator[None]:
    """Switches `StepDropout` layers on inside the block.

    Args:
      seed: (2,) integer seed of this step on this replica.
    """
    before = getattr(_state, "use", None)
    _state.use = [seed, 0]
    try:
        yield
    finally:
        _state.use = before


def behind(activation: Callable[[Any], Any], rate: float, dtype: Any) -> Callable[[Any], Any]:
    """`activation`, with a new `StepDropout` behind every use where there is a rate.

    Args:
      activation: any function of a Keras tensor.
      rate: share of units dropped; 0 gives `activation` itself.
      dtype: dtype policy of the dropout layers.
    """
    if not rate:
        return activation
    return lambda x: StepDropout(rate, dtype=dtype)(activation(x))


class StepDropout(keras.layers.Layer):
    """Inverted dropout (Srivastava et al. 2014) with masks from `step_seed`.

    Args:
      rate: share of units set to 0, in [0, 1); the others are divided by 1 - rate.
    """

    def __init__(self, rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"rate: {rate}; expected 0 <= rate < 1.")
        self.rate = float(rate)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Any shape and float dtype -> the same; identity at inference or without a seed."""
        use = getattr(_state, "use", None)
        if not training or not self.rate or use is None:
            return inputs
        seed = tf.random.experimental.stateless_fold_in(use[0], use[1])
        use[1] += 1
        keep = tf.random.stateless_uniform(tf.shape(inputs), seed) >= self.rate
        scaled = inputs / tf.cast(1.0 - self.rate, inputs.dtype)
        return tf.where(keep, scaled, tf.zeros_like(inputs))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """The input's shape."""
        return input_shape

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {"rate": self.rate}
