"""Lazy regularisation (Karras et al. 2020, arXiv 1912.04958, appendix B): its optimiser and cost.

A regulariser that acts every k steps has its loss multiplied by k, and shares Adam with the main
loss: k + 1 updates happen where k did, so the rate becomes lr c and the betas beta^c with
c = k / (k + 1).
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from ganpipe.ops import penalties


def correction(interval: int) -> float:
    """c = k / (k + 1)."""
    return interval / (interval + 1.0)


def finite(gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Gradients with NaN as 0 and infinities as +-1e5; next to no cost when there is none."""

    def cleaned() -> list[tf.Tensor]:
        bounded = [tf.where(tf.math.is_inf(g), 1e5 * tf.sign(g), g) for g in gradients]
        return [tf.where(tf.math.is_nan(g), tf.zeros_like(g), g) for g in bounded]

    fine = tf.math.is_finite(tf.linalg.global_norm(gradients))
    return tf.cond(fine, lambda: [tf.identity(g) for g in gradients], cleaned)


def gradients(
    terms: Callable[[], tuple[tf.Tensor, Any]], variables: Sequence[Any]
) -> tuple[list[tf.Tensor], Any]:
    """(`finite` gradients of the first of `terms()` in Keras variables, its second).

    Variables that the loss does not reach have a gradient of zeros.
    """
    values = [v.value for v in variables]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        loss, rest = terms()
    found = tape.gradient(loss, values, unconnected_gradients="zero")
    # Dense, as the other branch of a condition is: a table of classes gets slices of itself.
    return finite([tf.convert_to_tensor(g) for g in found]), rest


def update(
    due: tf.Tensor,
    terms: Callable[[], tuple[tf.Tensor, Any]],
    variables: Sequence[Any],
    minimize: Callable[..., Any],
    like: Any,
    alone: bool,
) -> Any:
    """A regulariser's own update where it is due; what is not due is not computed.

    Args:
      due: scalar bool.
      terms: () -> (loss, structure of tensors); assigns nothing.
      variables: Keras variables of the update.
      minimize: (gradients, variables, active=None); see `GANSystem.minimize`.
      like: tensors or variables with the shapes and types of the second of `terms()`.
      alone: False with several replicas: they must meet in every update, so gradients of zeros are
        handed to `minimize` with active=False.

    Returns:
      The second of `terms()`, zeros where not due.
    """

    def zeros(like: Any) -> Any:
        return tf.nest.map_structure(lambda t: tf.zeros(t.shape, t.dtype), like)

    if not alone:
        values = [v.value for v in variables]
        changes, rest = tf.cond(
            due, lambda: list(gradients(terms, variables)), lambda: [zeros(values), zeros(like)]
        )
        minimize(changes, variables, active=due)
        return rest

    def compute() -> Any:
        changes, rest = gradients(terms, variables)
        minimize(changes, variables)
        return rest

    return tf.cond(due, compute, lambda: zeros(like))


def path_penalty(
    lengths: tf.Tensor, average: tf.Tensor, decay: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """(E (length - a)^2, a) with a = average + decay (E length - average).

    As in the official code the new average is used, and the gradient passes through it.

    Args:
      lengths: (B,) of `penalties.path_length`.
      average: scalar, before this batch.
      decay: share of this batch in the average.
    """
    a = average + decay * (tf.reduce_mean(lengths) - average)
    return tf.reduce_mean(tf.square(lengths - a)), a


def r1(critic: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(1/2 E |grad D(x)|^2, logits (B,)): `penalties.r1` that hands out the logits."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = tf.reshape(critic(images), [-1])
        total = tf.reduce_sum(logits)
    squares = penalties.squared_norms(tape.gradient(total, images))
    return 0.5 * tf.reduce_mean(squares), logits
