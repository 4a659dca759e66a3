"""Random draws that depend on numbers passed in, never on hidden state.

Two families. *Row draws* (`row_latents`, `row_labels`) give every image its own seed, so that an
image is the same alone, in any batch, in Python and behind a server. *Step draws*
(`step_normal`, ...) are keyed by (seed, step, stream) and cut for the replica: a run continues
after a crash as if nothing had happened, and R replicas of batch B/R see what one of batch B sees.
"""

import math

import tensorflow as tf

# One number per independent use of randomness inside a training step.
STREAM_LATENT, STREAM_LABEL, STREAM_DROPOUT, STREAM_OBJECTIVE, STREAM_REPLAY = 0, 1, 2, 3, 4

LATENT_DISTRIBUTIONS = ("normal", "uniform", "unit_variance_uniform", "unit_cube", "sphere")


def _shape_latent(raw_normal_or_uniform: tf.Tensor, distribution: str) -> tf.Tensor:
    """Maps N(0, I) or U[0, 1) draws to the latent distribution."""
    x = raw_normal_or_uniform
    if distribution in ("normal", "unit_cube"):
        return x
    if distribution == "uniform":
        return 2.0 * x - 1.0
    if distribution == "unit_variance_uniform":
        return math.sqrt(3.0) * (2.0 * x - 1.0)
    raise ValueError(
        f"latent distribution {distribution!r} is unknown; known: {', '.join(LATENT_DISTRIBUTIONS)}"
    )


def latent_mean(distribution: str) -> float:
    """Mean of every coordinate of the latent distribution: what truncation pulls towards."""
    return 0.5 if distribution == "unit_cube" else 0.0


def _draw(shape: list[int] | tf.Tensor, seed: tf.Tensor, distribution: str) -> tf.Tensor:
    if distribution == "normal":
        return tf.random.stateless_normal(shape, seed)
    if distribution == "sphere":
        x = tf.random.stateless_normal(shape, seed)
        return x * math.sqrt(shape[-1]) / tf.norm(x, axis=-1, keepdims=True)
    return _shape_latent(tf.random.stateless_uniform(shape, seed), distribution)


def row_latents(seeds: tf.Tensor, dim: int, distribution: str = "normal") -> tf.Tensor:
    """One latent per row seed.

    Args:
      seeds: (N,) int64, one seed an image.
      dim: length of the latent vector.
      distribution: "normal" N(0, I); "uniform" U(-1, 1); "unit_variance_uniform"
        U(-sqrt 3, sqrt 3); "unit_cube" U(0, 1); "sphere" uniform on the sphere of radius sqrt(dim).

    Returns:
      (N, dim) float32; row i depends on `seeds[i]` alone, to the bit.
    """
    seeds = tf.cast(seeds, tf.int64)
    return tf.map_fn(
        lambda s: _draw([dim], tf.stack([s, tf.constant(STREAM_LATENT, tf.int64)]), distribution),
        seeds,
        fn_output_signature=tf.TensorSpec([dim], tf.float32),
    )


def row_labels(seeds: tf.Tensor, labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Keeps labels that are given and draws the others uniformly, each from its row's seed.

    Args:
      seeds: (N,) int64.
      labels: (N,) integer; -1 asks for a draw.
      num_classes: number of classes K >= 1.

    Returns:
      (N,) int32 in [0, K).
    """
    seeds = tf.cast(seeds, tf.int64)
    drawn = tf.map_fn(
        lambda s: tf.random.stateless_uniform(
            [], tf.stack([s, tf.constant(STREAM_LABEL, tf.int64)]), 0, num_classes, tf.int32
        ),
        seeds,
        fn_output_signature=tf.TensorSpec([], tf.int32),
    )
    labels = tf.cast(labels, tf.int32)
    return tf.where(labels < 0, drawn, labels)


def step_seed(seed: int, step: tf.Tensor, stream: int, draw: int = 0) -> tf.Tensor:
    """(2,) integer seed of one stream at one step; `draw` numbers independent uses in a step."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64) * 16 + stream])
    return tf.random.experimental.stateless_fold_in(key, draw) if draw else key


def replica_seed(seed: int, step: tf.Tensor, stream: int, draw: int = 0) -> tf.Tensor:
    """`step_seed`, another one on every replica: for draws that need not match across them."""
    index, _ = replica()
    return tf.random.experimental.stateless_fold_in(step_seed(seed, step, stream, draw), index)


def replica() -> tuple[tf.Tensor | int, int]:
    """(index of this replica, number of replicas); (0, 1) without a distribution strategy."""
    context = tf.distribute.get_replica_context()
    if context is None:
        return 0, 1
    return context.replica_id_in_sync_group, context.num_replicas_in_sync


def _replica_rows(global_rows: tf.Tensor, batch: int) -> tf.Tensor:
    index, count = replica()
    if count == 1:
        return global_rows
    return tf.slice(
        global_rows,
        [index * batch] + [0] * (global_rows.shape.rank - 1),
        [batch] + [-1] * (global_rows.shape.rank - 1),
    )


def step_latents(
    seed: int, step: tf.Tensor, batch: int, dim: int, distribution: str = "normal", draw: int = 0
) -> tf.Tensor:
    """(batch, dim) float32 latents of this replica: its rows of the global batch's draw."""
    _, count = replica()
    key = step_seed(seed, step, STREAM_LATENT, draw)
    return _replica_rows(_draw([batch * count, dim], key, distribution), batch)


def step_labels(
    seed: int, step: tf.Tensor, batch: int, num_classes: int, draw: int = 0
) -> tf.Tensor:
    """(batch,) int32 labels of this replica, uniform over the classes, independent of z."""
    _, count = replica()
    labels = tf.random.stateless_uniform(
        [batch * count], step_seed(seed, step, STREAM_LABEL, draw), 0, num_classes, tf.int32
    )
    return _replica_rows(labels, batch)


def step_dropout_seed(seed: int, step: tf.Tensor) -> tf.Tensor:
    """(2,) seed for `dropout`; another one on every replica."""
    index, _ = replica()
    return tf.random.experimental.stateless_fold_in(step_seed(seed, step, STREAM_DROPOUT), index)


def dropout(x: tf.Tensor, keep: float, seed: tf.Tensor | None, layer: int) -> tf.Tensor:
    """Inverted dropout: keeps each unit with probability `keep`, scaled by 1 / keep.

    Args:
      x: any float tensor.
      keep: probability in (0, 1].
      seed: (2,) integer; None switches dropout off (inference).
      layer: tells the layers of one network apart.
    """
    if seed is None or keep == 1.0:
        return x
    seed = tf.random.experimental.stateless_fold_in(seed, layer)
    mask = tf.random.stateless_uniform(tf.shape(x), seed) < keep
    return tf.where(mask, x / tf.cast(keep, x.dtype), tf.zeros_like(x))
