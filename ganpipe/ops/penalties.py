"""Regularisers of the adversarial game, as pure functions; weights are the caller's.

`critic` is a function images -> logits of shape (B,) or (B, 1); it must treat rows independently
(no batch normalisation), or a "per sample" gradient is none. Gradients with respect to images are
taken by a tape of their own, so an outer tape gives second-order gradients. Everything is float32
or float64, never half precision: the norms of bfloat16 gradients are summed in float32.

Sources: gradient penalty, Gulrajani et al. 2017 (arXiv 1704.00028); R1 and R2, Mescheder et al.
2018 (1801.04406); DRAGAN, Kodali et al. 2017 (1705.07215); weight clipping, Arjovsky et al. 2017
(1701.07875) algorithm 1; consistency, Zhang et al. 2020 (1910.12027); balanced and latent
consistency, Zhao et al. 2020 (2002.04724); orthogonality, Brock et al. 2019 (1809.11096); LeCam,
Tseng et al. 2021 (2104.03310); top-k, Sinha et al. 2020 (2002.06224); path length, Karras et al.
2020 (1912.04958). Conventions (factors, epsilons) are those of docs/losses.md.
"""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

Critic = Callable[[tf.Tensor], tf.Tensor]


def _wide(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32) if x.dtype.size < 4 else x


def input_gradients(critic: Critic, images: tf.Tensor) -> tf.Tensor:
    """d critic(x_b) / d x_b for every row: the shape of `images`, float32 or float64."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        total = tf.reduce_sum(_wide(critic(images)))
    return _wide(tape.gradient(total, images))


def squared_norms(rows: tf.Tensor) -> tf.Tensor:
    """(B, ...) -> (B,) sums of squares."""
    return tf.reduce_sum(tf.square(rows), axis=list(range(1, rows.shape.rank)))


def norms(rows: tf.Tensor) -> tf.Tensor:
    """(B, ...) -> (B,) Euclidean norms; the gradient at 0 is 0, not NaN."""
    squares = squared_norms(rows)
    positive = squares > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, squares, 1.0)), 0.0)


def interpolate(a: tf.Tensor, b: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """a + u (b - a) with one u ~ U(0, 1) a row.

    Args:
      a: (B, ...).
      b: (B, ...).
      seed: (2,) integer.
    """
    shape = [tf.shape(a)[0], *[1] * (a.shape.rank - 1)]
    return a + tf.random.stateless_uniform(shape, seed, dtype=a.dtype) * (b - a)


def gradient_penalty(
    critic: Critic,
    real_images: tf.Tensor,
    fake_images: tf.Tensor,
    seed: tf.Tensor,
    one_sided: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """E (|grad D(x)| - 1)^2 on lines between real and fake; one-sided: E max(0, |grad D| - 1)^2.

    Args:
      critic: images -> logits.
      real_images: (B, H, W, C).
      fake_images: (B, H, W, C).
      seed: (2,) integer; of the B positions on the lines.
      one_sided: see above.

    Returns:
      (penalty, mean gradient norm), scalars; the mean is over rows, the norm over all pixels.
    """
    n = norms(input_gradients(critic, interpolate(real_images, fake_images, seed)))
    gap = tf.nn.relu(n - 1.0) if one_sided else n - 1.0
    return tf.reduce_mean(tf.square(gap)), tf.reduce_mean(n)


def zero_centred_gradient_penalty(
    critic: Critic, real_images: tf.Tensor, fake_images: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """E |grad D(x)|^2 on lines between real and fake (GAN_stability's wgangp0)."""
    return tf.reduce_mean(
        squared_norms(input_gradients(critic, interpolate(real_images, fake_images, seed)))
    )


def r1(critic: Critic, images: tf.Tensor) -> tf.Tensor:
    """1/2 E |grad D(x)|^2 at the given images: R1 on real ones, R2 on fakes.

    With the factor 1/2 of the paper; GAN_stability's code leaves it out.
    """
    return 0.5 * tf.reduce_mean(squared_norms(input_gradients(critic, images)))


def dragan(critic: Critic, real_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """E (|grad D(x)| - 1)^2 near real data, as the authors' notebook draws x.

    x = real + a (p - real), p = real + 0.5 s U[0, 1) a pixel, a ~ U(0, 1) a row, s the standard
    deviation of the whole batch (a constant for the gradient).
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    spread = tf.math.reduce_std(real_images)
    noise = tf.random.stateless_uniform(tf.shape(real_images), seeds[0], dtype=real_images.dtype)
    x = interpolate(real_images, real_images + 0.5 * spread * noise, seeds[1])
    return tf.reduce_mean(tf.square(norms(input_gradients(critic, x)) - 1.0))


def clip_weights(variables: Sequence[Any], limit: float) -> None:
    """Sets every entry to the nearest value in [-limit, limit]; gains and biases too."""
    for variable in variables:
        variable.assign(tf.clip_by_value(tf.convert_to_tensor(variable), -limit, limit))


def flip_and_shift(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors half of the rows and shifts each by up to H/8 and W/8 pixels, reflecting borders.

    Args:
      images: (B, H, W, C).
      seed: (2,) integer.
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)
    batch = tf.shape(images)[0]

    def source(size: int, seed: tf.Tensor) -> tf.Tensor:
        """(B, size) indices of the pixels a shifted axis shows."""
        most = size // 8
        shift = tf.random.stateless_uniform([batch, 1], seed, -most, most + 1, tf.int32)
        index = tf.abs(tf.range(size)[None] + shift)
        return size - 1 - tf.abs(size - 1 - index)

    _, height, width, _ = images.shape
    columns = source(width, seeds[1])
    flipped = tf.random.stateless_uniform([batch, 1], seeds[2]) < 0.5
    columns = tf.where(flipped, width - 1 - columns, columns)
    rows = tf.gather(images, source(height, seeds[0]), axis=1, batch_dims=1)
    # Columns by the same gather after an exchange of axes: batch_dims must come first.
    rows = tf.transpose(rows, [0, 2, 1, 3])
    return tf.transpose(tf.gather(rows, columns, axis=1, batch_dims=1), [0, 2, 1, 3])


def consistency(logits: tf.Tensor, other_logits: tf.Tensor) -> tf.Tensor:
    """E (D(x) - D(T(x)))^2, logits (B,) of an image and of its changed copy."""
    return tf.reduce_mean(tf.square(_wide(logits) - _wide(other_logits)))


def latent_diversity(images: tf.Tensor, other_images: tf.Tensor) -> tf.Tensor:
    """-E |G(z) - G(z + dz)|^2, G's half of zCR; the norm is a sum over pixels."""
    return -tf.reduce_mean(squared_norms(_wide(images) - _wide(other_images)))


def orthogonality(kernel: tf.Tensor) -> tf.Tensor:
    """|W W^T * (1 - I)|_F^2 of one kernel, rows = output channels, the last axis.

    The true gradient is 4 (W W^T * (1 - I)) W; BigGAN-PyTorch adds half of it.

    Args:
      kernel: (..., O), as Keras keeps dense and convolution kernels.
    """
    rows = tf.reshape(_wide(kernel), [-1, kernel.shape[-1]])
    gram = tf.matmul(rows, rows, transpose_a=True)
    return tf.reduce_sum(tf.square(gram - tf.linalg.diag(tf.linalg.diag_part(gram))))


def lecam(real_logits: tf.Tensor, fake_logits: tf.Tensor, average: tf.Tensor) -> tf.Tensor:
    """E max(0, r - m_f)^2 + E max(0, m_r - f)^2.

    Args:
      real_logits: (B,).
      fake_logits: (B,).
      average: (2,) moving averages m_r, m_f of the logits' means.
    """
    r, f = _wide(real_logits), _wide(fake_logits)
    m_real, m_fake = average[0], average[1]
    return tf.reduce_mean(tf.square(tf.nn.relu(r - m_fake))) + tf.reduce_mean(
        tf.square(tf.nn.relu(m_real - f))
    )


def top_k_count(batch: int, step: tf.Tensor, gamma: float, floor: float, every: int) -> tf.Tensor:
    """k = round(B max(gamma^epoch, floor)), at least 1; an epoch is `every` steps."""
    epoch = tf.cast(step // every, tf.float32)
    share = tf.maximum(tf.pow(tf.constant(gamma, tf.float32), epoch), floor)
    return tf.maximum(tf.cast(tf.round(batch * share), tf.int32), 1)


def top_k(logits: tf.Tensor, k: tf.Tensor | int) -> tf.Tensor:
    """The k highest of the (B,) logits: what the generator learns from."""
    return tf.math.top_k(tf.reshape(logits, [-1]), k, sorted=True).values


def path_length(
    generate: Callable[[tf.Tensor], tf.Tensor], w: tf.Tensor, noise: tf.Tensor, average: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """E (|J_w^T y| - a)^2 and the lengths, y = noise / sqrt(H W).

    Args:
      generate: w -> images (B, H, W, C).
      w: (B, D) or (B, L, D); with layers the length is sqrt(mean over L of sums over D).
      noise: (B, H, W, C), N(0, I).
      average: scalar a. StyleGAN2 uses the average after its update by these lengths.

    Returns:
      (penalty scalar, lengths (B,)).
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(w)
        images = _wide(generate(w))
        pixels = tf.cast(images.shape[1] * images.shape[2], images.dtype)
        projected = tf.reduce_sum(images * noise / tf.sqrt(pixels))
    gradient = tape.gradient(projected, w)
    layers = gradient.shape[1] if gradient.shape.rank == 3 else 1
    lengths = norms(gradient) / tf.sqrt(tf.cast(layers, gradient.dtype))
    return tf.reduce_mean(tf.square(lengths - average)), lengths
