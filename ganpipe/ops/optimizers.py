"""Keras' Adam in one kernel, and the optimiser of the first GAN papers."""

from typing import Any

import keras
import tensorflow as tf


class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, computed by TensorFlow's fused kernel where that is possible.

    The same update, in one pass over memory instead of about ten: it matters on CPUs. Under
    tf.distribute and for sparse gradients Keras' own update runs.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update."""
        plain = (
            isinstance(gradient, tf.Tensor)
            and isinstance(variable, tf.Variable)
            and not tf.distribute.has_strategy()
            and variable.dtype == tf.float32
            and not self.amsgrad
        )
        if not plain:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


class MomentumSGD(keras.optimizers.Optimizer):
    """SGD whose learning rate and classical momentum follow Goodfellow's 2014 yaml files.

    At update t (from 0): lr_t = max(learning_rate / decay^t, min_learning_rate) and the momentum
    rises linearly from `momentum` to `final_momentum` over `momentum_ramp` updates, then stays.
    v <- momentum_t v - lr_t g;  w <- w + v  (classical, not Nesterov).

    Args:
      learning_rate: at the first update.
      decay: divisor of the learning rate per update, at least 1.
      min_learning_rate: floor.
      momentum: at the first update.
      final_momentum: after the ramp.
      momentum_ramp: length of the ramp in updates; 0 starts at `final_momentum`.
    """

    def __init__(
        self,
        learning_rate: float = 0.1,
        decay: float = 1.000004,
        min_learning_rate: float = 1e-6,
        momentum: float = 0.5,
        final_momentum: float = 0.7,
        momentum_ramp: int = 125_000,
        name: str = "momentum_sgd",
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.decay, self.min_learning_rate = decay, min_learning_rate
        self.momentum, self.final_momentum = momentum, final_momentum
        self.momentum_ramp = momentum_ramp

    def build(self, variables: list) -> None:
        """Makes one velocity a variable."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def rates(self) -> tuple[tf.Tensor, tf.Tensor]:
        """(learning rate, momentum) of the next update."""
        t = tf.cast(self.iterations.value, tf.float32)
        rate = tf.cast(self.learning_rate, tf.float32) * tf.exp(-t * tf.math.log(self.decay))
        ramp = tf.minimum(t / max(self.momentum_ramp, 1), 1.0) if self.momentum_ramp else 1.0
        momentum = self.momentum + (self.final_momentum - self.momentum) * ramp
        return tf.maximum(rate, self.min_learning_rate), momentum

    def update_step(self, gradient: tf.Tensor, variable: Any, learning_rate: Any) -> None:
        """One variable's update."""
        rate, momentum = self.rates()
        velocity = self.velocities[self._get_variable_index(variable)]
        step = momentum * tf.cast(velocity, variable.dtype) - rate * gradient
        self.assign(velocity, step)
        self.assign_add(variable, step)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return super().get_config() | {
            "decay": self.decay,
            "min_learning_rate": self.min_learning_rate,
            "momentum": self.momentum,
            "final_momentum": self.final_momentum,
            "momentum_ramp": self.momentum_ramp,
        }
