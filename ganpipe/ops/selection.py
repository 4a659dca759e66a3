"""Choosing among several generators, weighing several discriminators: pure functions of tensors.

Evolution: Wang et al. 2018 (E-GAN, arXiv 1803.00657); Deb et al. 2002 (NSGA-II), which Baioletti et
al. 2020 (MO-EGAN) take for survival. Several discriminators: Durugkar et al. 2017 (GMAN, arXiv
1611.01673); Albuquerque et al. 2019 (hypervolume, arXiv 1901.08680).

Everything here runs inside a compiled step: no Python loop over individuals, no NumPy.
"""

from collections.abc import Sequence

import tensorflow as tf

from ganpipe.ops import losses

# What E-GAN's G minimises, from the logits of the fakes (section III B); the least squares are on
# the probability and without a factor 1/2, as in the authors' Theano code.
MUTATIONS = {
    "minimax": lambda logits: losses.g_minimax(None, logits),
    "heuristic": lambda logits: losses.g_non_saturating(None, logits),
    "least_squares": lambda logits: 2.0 * losses.g_least_squares_sigmoid(None, logits),
    # The author's PyTorch port has this one, another operator, under the name of the last.
    "least_squares_logits": lambda logits: 2.0 * losses.g_least_squares(None, logits),
}
DEFAULT_MUTATIONS = ("minimax", "heuristic", "least_squares")

# Of sum g^2: a gradient of exactly zero has a large fitness, not an infinite one.
LEAST_SQUARE = 1e-30
NADIR_EPSILON = 1e-8


# --- Fitness of a generator -----------------------------------------------------------------------


def quality_fitness(fake_logits: tf.Tensor) -> tf.Tensor:
    """F_q = E sigmoid(D(G(z))): how real D finds the fakes; E-GAN eq. 8.

    Args:
      fake_logits: (B,) or (B, 1), any float dtype.

    Returns:
      scalar float32 in [0, 1].
    """
    return tf.reduce_mean(tf.sigmoid(tf.cast(fake_logits, tf.float32)))


def diversity_fitness(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """F_d = -log norm(g), g = gradient of D's loss in D's parameters; E-GAN eq. 9.

    A small gradient means fakes so spread out that D has little to correct, so larger is fitter.
    The norm is not squared: -log sum g^2, as the authors' first code has it, is 2 F_d.

    Args:
      gradients: tensors of any shapes, one a trainable variable of D.

    Returns:
      scalar float32; at most 34.5, where the gradient vanishes.
    """
    square = tf.add_n([tf.reduce_sum(tf.cast(g, tf.float32) ** 2) for g in gradients])
    return -0.5 * tf.math.log(tf.maximum(square, LEAST_SQUARE))


# --- Survival -------------------------------------------------------------------------------------


def _unfit_when_not_finite(objectives: tf.Tensor) -> tf.Tensor:
    """(N, M): a generator that has blown up in one objective loses against the others in all."""
    finite = tf.reduce_all(tf.math.is_finite(objectives), axis=-1, keepdims=True)
    return tf.where(finite, objectives, objectives.dtype.min)


def top_mu(fitness: tf.Tensor, mu: int) -> tf.Tensor:
    """Exact (mu, lambda) selection.

    Args:
      fitness: (N,) float, larger is better; NaN and infinities count as worst.
      mu: 1 <= mu <= N.

    Returns:
      (mu,) int32 indices, the fittest first, equal ones in their order.
    """
    fitness = _unfit_when_not_finite(fitness[:, None])[:, 0]
    return tf.math.top_k(fitness, k=mu, sorted=True).indices


def dominates(objectives: tf.Tensor) -> tf.Tensor:
    """(N, M) objectives, larger is better -> (N, N) bool: [i, j] when i dominates j.

    That is: i is no worse in every objective and better in at least one.
    """
    a, b = objectives[:, None], objectives[None]
    return tf.reduce_all(a >= b, axis=-1) & tf.reduce_any(a > b, axis=-1)


def nondominated_ranks(objectives: tf.Tensor) -> tf.Tensor:
    """Fast non-dominated sort (Deb et al. 2002, section III A).

    Args:
      objectives: (N, M) float, larger is better, finite.

    Returns:
      (N,) int32: 0 on the Pareto front, 1 on the front left without it, and so on.
    """
    dominated_by = tf.cast(dominates(objectives), tf.int32)
    n = tf.shape(objectives)[0]

    def peel(front: tf.Tensor, ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        left = tf.cast(ranks < 0, tf.int32)
        dominators = tf.reduce_sum(dominated_by * left[:, None], axis=0)
        return front + 1, tf.where((left == 1) & (dominators == 0), front, ranks)

    _, ranks = tf.while_loop(
        lambda front, ranks: tf.reduce_any(ranks < 0), peel, [tf.constant(0), tf.fill([n], -1)]
    )
    return ranks


def crowding_distance(objectives: tf.Tensor, ranks: tf.Tensor) -> tf.Tensor:
    """How far a member's neighbours on its front are apart (Deb et al. 2002, section III B).

    Per objective: (next larger - next smaller) / (largest - smallest on that front), summed over
    the objectives; members at either end of an objective get infinity. Where all members of a front
    are equal in an objective, the objective adds nothing between the ends.

    Args:
      objectives: (N, M) float, finite.
      ranks: (N,) int32 of `nondominated_ranks`.

    Returns:
      (N,) float of the objectives' dtype.
    """
    zero, infinity = tf.zeros([], objectives.dtype), tf.constant(float("inf"), objectives.dtype)
    total = tf.zeros_like(objectives[:, 0])
    for m in range(objectives.shape[1]):
        by_value = tf.argsort(objectives[:, m], stable=True)
        order = tf.gather(by_value, tf.argsort(tf.gather(ranks, by_value), stable=True))
        value, front = tf.gather(objectives[:, m], order), tf.gather(ranks, order)
        largest = tf.gather(tf.math.segment_max(value, front), front)
        smallest = tf.gather(tf.math.segment_min(value, front), front)
        change = tf.ones([1], tf.bool)
        edge = tf.concat([change, front[1:] != front[:-1]], 0)
        edge |= tf.concat([front[1:] != front[:-1], change], 0)
        gap = tf.roll(value, -1, 0) - tf.roll(value, 1, 0)
        share = tf.math.divide_no_nan(gap, largest - smallest)
        share = tf.where(edge, infinity, tf.where(largest > smallest, share, zero))
        total += tf.scatter_nd(order[:, None], share, tf.shape(total))
    return total


def nsga2_survivors(objectives: tf.Tensor, mu: int) -> tf.Tensor:
    """Survival of NSGA-II: front by front, the last one cut by crowding distance.

    Args:
      objectives: (N, M) float, larger is better; NaN and infinities count as worst.
      mu: 1 <= mu <= N.

    Returns:
      (mu,) int32 indices: by rank, within a rank the least crowded first, equal ones in their
      order.
    """
    objectives = _unfit_when_not_finite(objectives)
    ranks = nondominated_ranks(objectives)
    crowding = crowding_distance(objectives, ranks)
    loosest = tf.argsort(-crowding, stable=True)
    return tf.gather(loosest, tf.argsort(tf.gather(ranks, loosest), stable=True))[:mu]


# --- Losses of a generator against several discriminators -----------------------------------------


def gman_weights(values: tf.Tensor, sharpness: float) -> tf.Tensor:
    """softmax(sharpness * l): 0 weighs all alike, a large value only the hardest discriminator.

    Args:
      values: (K,) float, the generator's loss against each discriminator.
      sharpness: GMAN's lambda >= 0.

    Returns:
      (K,) weights that sum to 1; gradients flow through them.
    """
    return tf.nn.softmax(sharpness * values)


def gman_loss(values: tf.Tensor, sharpness: float, detach: bool = False) -> tf.Tensor:
    """sum_k w_k l_k with `gman_weights`; GMAN section 4 (arithmetic mean).

    Args:
      values: (K,) float.
      sharpness: lambda.
      detach: True takes the weights as constants. The authors' code does not.

    Returns:
      scalar.
    """
    weights = gman_weights(values, sharpness)
    return tf.reduce_sum((tf.stop_gradient(weights) if detach else weights) * values)


def hypervolume_nadir(values: tf.Tensor, slack: float) -> tf.Tensor:
    """eta = slack * max_k l_k + 1e-8, a constant for the gradient, above every positive loss."""
    return tf.stop_gradient(slack * tf.reduce_max(values) + NADIR_EPSILON)


def hypervolume_loss(values: tf.Tensor, slack: float) -> tf.Tensor:
    """-sum_k log(eta - l_k), eta of `hypervolume_nadir`; Albuquerque et al. eq. 6.

    Its gradient is sum_k grad l_k / (eta - l_k): the hardest discriminator weighs most.

    Args:
      values: (K,) float, none negative (else eta is no upper bound).
      slack: delta > 1; the larger, the nearer to the plain mean.

    Returns:
      scalar.
    """
    return -tf.reduce_sum(tf.math.log(hypervolume_nadir(values, slack) - values))


def hypervolume_weights(values: tf.Tensor, slack: float) -> tf.Tensor:
    """(K,) shares of the discriminators in the gradient of `hypervolume_loss`; they sum to 1."""
    inverse = 1.0 / (hypervolume_nadir(values, slack) - values)
    return inverse / tf.reduce_sum(inverse)
