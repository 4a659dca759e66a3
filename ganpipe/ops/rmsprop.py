"""RMSprop with PyTorch's epsilon, for critics whose gradients are tiny."""

from typing import Any

import keras


class RMSprop(keras.optimizers.RMSprop):
    """v <- rho v + (1 - rho) g^2;  w <- w - lr g / (sqrt(v) + epsilon).

    Keras divides by sqrt(v + epsilon): with epsilon 1e-8 every gradient below about 1e-4 would move
    its weight by less than it should, and a critic of clipped weights has mostly such gradients.
    PyTorch's RMSprop, with which WGAN was published, adds epsilon to the root.

    Args:
      learning_rate: a number or a Keras schedule.
      rho: PyTorch's default .99; Keras' is .9.
      epsilon: PyTorch's default.
    """

    def __init__(self, learning_rate: Any, rho: float = 0.99, epsilon: float = 1e-8, **kwargs: Any):
        super().__init__(learning_rate, rho=rho, epsilon=epsilon, **kwargs)
        if self.momentum or self.centered:
            raise ValueError("momentum and centered are not here; use keras.optimizers.RMSprop")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One variable's update."""
        gradient = keras.ops.cast(gradient, variable.dtype)
        square = self._velocities[self._get_variable_index(variable)]
        self.assign(square, self.rho * square + (1.0 - self.rho) * keras.ops.square(gradient))
        rate = keras.ops.cast(learning_rate, variable.dtype)
        step = rate * gradient / (keras.ops.sqrt(square.value) + self.epsilon)
        self.assign_sub(variable, step)
