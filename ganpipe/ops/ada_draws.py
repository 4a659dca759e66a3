"""Random parameters of the adaptive augmentations: drawn, gated, or set to a percentile."""

import tensorflow as tf

# One row of numbers per operation: switching one off leaves the others' draws as they are.
OPERATIONS = (
    "xflip",
    "rotate90",
    "xint",
    "scale",
    "rotate",
    "aniso",
    "rotate_again",
    "xfrac",
    "brightness",
    "contrast",
    "lumaflip",
    "hue",
    "saturation",
    "filter0",
    "filter1",
    "filter2",
    "filter3",
    "noise",
    "cutout",
)
_ROW = {name: row for row, name in enumerate(OPERATIONS)}
_NOISE_STREAM = 3  # 0 to 2: gates, uniform and normal parameters


class Draws:
    """Parameters of every operation for one batch, functions of `seed` alone.

    Args:
      batch: number of images, a number or a scalar tensor.
      p: scalar float32, the probability of each operation before its own multiplier.
      seed: (2,) integer.
      percentile: None draws. A number q in [0, 1] instead gives every image the q-th percentile
        of each parameter and applies each operation whatever p. As in the official code, a normal
        parameter then is erfinv(2 q - 1), which is its percentile over sqrt 2.
    """

    def __init__(
        self,
        batch: int | tf.Tensor,
        p: tf.Tensor,
        seed: tf.Tensor,
        percentile: float | tf.Tensor | None = None,
    ):
        self.p = tf.cast(p, tf.float32)
        self.percentile = None if percentile is None else tf.cast(percentile, tf.float32)
        self._batch = batch
        keys = [tf.random.experimental.stateless_fold_in(seed, i) for i in range(4)]
        count = len(OPERATIONS)
        self._gates = tf.random.stateless_uniform([count, batch], keys[0])
        self._uniforms = tf.random.stateless_uniform([count, batch, 2], keys[1])
        self._normals = tf.random.stateless_normal([count, batch, 2], keys[2])
        self._noise_key = keys[_NOISE_STREAM]

    def _filled(self, value: tf.Tensor) -> tf.Tensor:
        return tf.fill([self._batch, 2], value)

    def uniform(self, operation: str) -> tf.Tensor:
        """(B, 2) numbers of U[0, 1)."""
        if self.percentile is not None:
            return self._filled(self.percentile)
        return self._uniforms[_ROW[operation]]

    def normal(self, operation: str) -> tf.Tensor:
        """(B, 2) numbers of N(0, 1)."""
        if self.percentile is not None:
            return self._filled(tf.math.erfinv(2.0 * self.percentile - 1.0))
        return self._normals[_ROW[operation]]

    def half_normal(self, operation: str) -> tf.Tensor:
        """(B, 2) numbers of |N(0, 1)|."""
        if self.percentile is not None:
            return self._filled(tf.math.erfinv(self.percentile))
        return tf.abs(self._normals[_ROW[operation]])

    def gated(
        self, operation: str, probability: tf.Tensor, value: tf.Tensor, neutral: float
    ) -> tf.Tensor:
        """`value` (B,) or (B, k) for images that the operation hits, `neutral` for the others."""
        if self.percentile is not None:
            return value
        hit = self._gates[_ROW[operation]] < probability
        hit = tf.reshape(hit, [-1] + [1] * (value.shape.rank - 1))
        return tf.where(hit, value, tf.constant(neutral, value.dtype))

    def noise(self, shape: list[int] | tf.Tensor) -> tf.Tensor:
        """White N(0, 1) noise, random under a percentile too."""
        return tf.random.stateless_normal(shape, self._noise_key)
