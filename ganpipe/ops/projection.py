"""Projection of points on the range of a generator by gradient descent on its input.

Samangouei, Kabkab, Chellappa 2018 (Defense-GAN, arXiv 1805.06605), section 3: z* minimises the
squared distance of G(z) and x, found by L steps of momentum SGD from each of R random starts; the
best start is kept. Pure functions of a `generate` callable; memory does not grow with L, and
gradients flow to z alone.

The objective of a row is the *mean* over its elements of the squared difference. With the authors'
learning rate of 10 its scale matters: it is meant for pixels in [0, 1]. A sum over 784 pixels would
take steps 784 times as long, pixels in [-1, 1] steps 4 times as long.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

Generate = Callable[[tf.Tensor], tf.Tensor]


class Projection(NamedTuple):
    """What `project` returns for N targets.

    Attributes:
      images: (N, ...) generate(z), in the scale of the targets.
      z: (N, D) the best latents.
      errors: (N,) mean squared error of `images`.
      restarts: (N, R) the errors that all restarts ended with.
    """

    images: tf.Tensor
    z: tf.Tensor
    errors: tf.Tensor
    restarts: tf.Tensor


def row_errors(images: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of every row: two (M, ...) tensors -> (M,) float32."""
    difference = tf.cast(images, tf.float32) - tf.cast(targets, tf.float32)
    return tf.reduce_mean(tf.square(difference), axis=list(range(1, difference.shape.rank)))


def descend(
    generate: Generate,
    targets: tf.Tensor,
    z: tf.Tensor,
    steps: int,
    learning_rate: float = 10.0,
    momentum: float = 0.7,
    decay_at: float | None = None,
) -> tf.Tensor:
    """L steps of momentum SGD on z: v <- momentum v + gradient, z <- z - learning_rate v.

    Rows do not meet: the sum over rows of `row_errors` is differentiated, so each z gets the
    gradient of its own error.

    Args:
      generate: z (M, D) -> (M, ...), differentiable.
      targets: (M, ...), a target a row, in the scale of `generate`.
      z: (M, D) starts.
      steps: L >= 0.
      learning_rate: see the module's docstring.
      momentum: 0 is plain gradient descent.
      decay_at: share of the steps after which the learning rate is a tenth. The authors' code
        means 0.8 but never counts the steps, so None (no decay) is what was run.

    Returns:
      (M, D) latents after the last step, no gradient attached.
    """
    last_full = steps if decay_at is None else int(decay_at * steps)

    def body(step: tf.Tensor, z: tf.Tensor, velocity: tf.Tensor) -> tuple:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(z)
            error = tf.reduce_sum(row_errors(generate(z), targets))
        velocity = momentum * velocity + tape.gradient(error, z)
        rate = tf.where(step < last_full, learning_rate, 0.1 * learning_rate)
        return step + 1, z - tf.cast(rate, z.dtype) * velocity, velocity

    _, z, _ = tf.while_loop(
        lambda step, *_: step < steps,
        body,
        (tf.constant(0), z, tf.zeros_like(z)),
        maximum_iterations=steps,
    )
    return tf.stop_gradient(z)


def project(
    generate: Generate,
    targets: tf.Tensor,
    starts: tf.Tensor,
    steps: int,
    learning_rate: float = 10.0,
    momentum: float = 0.7,
    decay_at: float | None = None,
    fast: Generate | None = None,
) -> Projection:
    """The best of R descents for every target.

    Errors, the choice of the restart and the images all belong to the latents *after* the last
    step, at the price of one more forward pass. (The authors' code returns images and errors from
    before the last step.)

    Args:
      generate: z (M, D) -> (M, ...).
      targets: (N, ...) in the scale of `generate`.
      starts: (N, R, D) latents to start from.
      steps: as in `descend`.
      learning_rate: as in `descend`.
      momentum: as in `descend`.
      decay_at: as in `descend`.
      fast: does the L steps instead of `generate`, for example the same network in bfloat16.
    """
    count, restarts, width = starts.shape
    rows = tf.repeat(targets, restarts, axis=0)
    z = tf.reshape(starts, [count * restarts, width])
    z = descend(fast or generate, rows, z, steps, learning_rate, momentum, decay_at)
    images = tf.cast(generate(z), tf.float32)
    errors = tf.reshape(row_errors(images, rows), [count, restarts])
    # A start that ran away to NaN is never the best one.
    errors = tf.where(tf.math.is_finite(errors), errors, tf.fill(errors.shape, errors.dtype.max))
    best = tf.argmin(errors, axis=1, output_type=tf.int32)
    flat = tf.range(count) * restarts + best
    return Projection(
        tf.stop_gradient(tf.gather(images, flat)),
        tf.gather(z, flat),
        tf.gather(errors, best, batch_dims=1),
        errors,
    )
