"""Small critics trained side by side: K independent networks in one stack of matrices.

A study asks the same question at many distances or for many seeds. Row k of the stack sees its own
data and has its own weights; one graph trains them all, at the price of one batched product.
"""

import itertools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from ganpipe.ops import losses, penalties
from ganpipe.ops.optimizers import Adam

CONSTRAINTS = ("none", "gp", "gp_one_sided", "clip", "spectral")
CLIP = 0.1  # WGAN's 0.01 is for networks of convolutions; here it leaves slopes of 1e-4
# exp(v) of the KL family overflows: logits are cut here (losses.md section 3, case D).
KL_LOGITS = 10.0
KL_FAMILY = ("fgan_kl", "fgan_reverse_kl", "fgan_squared_hellinger")

Draw = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


class CriticStack(keras.layers.Layer):
    """K multilayer perceptrons with leaky ReLU (slope 0.2), (K, B, D) -> (K, B) float32.

    Args:
      count: K.
      inputs: D.
      width: of each hidden layer.
      depth: number of hidden layers.
      seed: of the initial weights.
      spectral: divides every matrix by its largest singular value (SN-GAN, Miyato et al. 2018),
        so that no critic is steeper than 1. The gradient passes through the singular value.
    """

    def __init__(
        self,
        count: int,
        inputs: int,
        width: int = 32,
        depth: int = 3,
        seed: int = 0,
        spectral: bool = False,
    ):
        super().__init__()
        self.count, self.inputs, self.spectral = count, inputs, spectral
        rng = np.random.default_rng(seed)
        self.kernels, self.biases, self.directions = [], [], []
        sizes = [inputs, *[width] * depth, 1]
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            # He for what a ReLU follows; small logits at the start, where no loss is flat.
            gain = 2.0 if layer < depth else 0.01

            def weight(values: np.ndarray, trainable: bool = True) -> keras.Variable:
                initial = keras.initializers.Constant(values.astype(np.float32))
                return self.add_weight(shape=values.shape, initializer=initial, trainable=trainable)

            scale = np.sqrt(gain / fan_in)
            self.kernels.append(weight(rng.normal(size=(count, fan_in, fan_out)) * scale))
            # Kinks spread over the data rather than all through the origin.
            spread = 1.0 if layer == 0 else 0.0
            self.biases.append(weight(rng.uniform(-spread, spread, (count, 1, fan_out))))
            if spectral:
                u = rng.normal(size=(count, 1, fan_out))
                self.directions.append(weight(u, trainable=False))
        self.built = True

    def _kernel(self, layer: int, training: bool) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernels[layer])
        if not self.spectral:
            return kernel
        fixed, u = tf.stop_gradient(kernel), tf.convert_to_tensor(self.directions[layer])
        v = tf.math.l2_normalize(tf.matmul(u, fixed, transpose_b=True), axis=-1)
        u = tf.math.l2_normalize(tf.matmul(v, fixed), axis=-1)
        if training:
            self.directions[layer].assign(u)
        sigma = tf.reduce_sum(tf.matmul(v, kernel) * u, axis=-1, keepdims=True)
        return kernel / sigma

    def call(self, points: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(K, B, D) -> (K, B)."""
        x, last = points, len(self.kernels) - 1
        for layer, bias in enumerate(self.biases):
            x = tf.matmul(x, self._kernel(layer, training)) + bias
            if layer < last:
                x = tf.nn.leaky_relu(x, 0.2)
        return x[..., 0]

    def rows(self, points: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The same on (K * B, D) points, row after row of the stack: what penalties expect."""
        shape = [self.count, points.shape[0] // self.count, self.inputs]
        return tf.reshape(self(tf.reshape(points, shape), training=training), [-1])

    def values(self, points: np.ndarray) -> np.ndarray:
        """(B, D) points, the same for every critic -> (K, B) logits."""
        points = np.broadcast_to(points, (self.count, *points.shape)).astype(np.float32)
        return self(tf.constant(points)).numpy()

    def slopes(self, points: np.ndarray) -> np.ndarray:
        """(B, D) points -> (K, B, D) gradients of the logits."""
        points = np.broadcast_to(points, (self.count, *points.shape)).astype(np.float32)
        flat = tf.reshape(tf.constant(points), [-1, self.inputs])
        return tf.reshape(penalties.input_gradients(self.rows, flat), points.shape).numpy()


def critic_loss(loss: str, real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tf.Tensor:
    """d_`loss` of logits of any shape, with the KL family's logits cut to +-KL_LOGITS."""
    d_loss, _ = losses.pair(loss)
    if loss in KL_FAMILY:
        real_logits = tf.clip_by_value(real_logits, -KL_LOGITS, KL_LOGITS)
        fake_logits = tf.clip_by_value(fake_logits, -KL_LOGITS, KL_LOGITS)
    return d_loss(real_logits, fake_logits)


def per_critic_losses(loss: str, real_logits: tf.Tensor, fake_logits: tf.Tensor) -> np.ndarray:
    """(K, B) logits of both -> (K,) values of d_`loss`."""
    pairs = zip(tf.unstack(real_logits), tf.unstack(fake_logits), strict=True)
    return np.array([critic_loss(loss, r, f).numpy() for r, f in pairs], np.float64)


class Trainer:
    """Trains a stack on one loss.

    Args:
      stack: the critics.
      loss: a name of `losses.NAMES`, of a loss that is a mean over points (not relativistic).
      draw: seed (2,) -> (real, fake), each (K, B, D) float32.
      constraint: of `CONSTRAINTS`; "spectral" only names what the stack was made with.
      learning_rate: of Adam (betas 0.5, 0.9), falling linearly to a tenth over `steps`.
      steps: length of the training.
      penalty: weight of the gradient penalty.
      seed: of the draws; every step's draw is a function of (seed, step).
    """

    def __init__(
        self,
        stack: CriticStack,
        loss: str,
        draw: Draw,
        constraint: str = "none",
        learning_rate: float = 2e-3,
        steps: int = 1000,
        penalty: float = 10.0,
        seed: int = 0,
    ):
        if constraint not in CONSTRAINTS:
            raise ValueError(f"constraint {constraint!r}; expected one of {CONSTRAINTS}")
        if (constraint == "spectral") != stack.spectral:
            raise ValueError("spectral normalisation is a property of the stack")
        self.stack, self.loss, self.draw, self.constraint = stack, loss, draw, constraint
        self.steps, self.penalty, self.seed, self.done = steps, penalty, seed, 0
        rate = keras.optimizers.schedules.PolynomialDecay(
            learning_rate, max(steps, 1), learning_rate / 10
        )
        # Gradients of exp(v) can be huge: one clip for all rows of the stack would couple them,
        # Adam's own scaling is per weight.
        self.optimizer = Adam(rate, beta_1=0.5, beta_2=0.9, epsilon=1e-8)
        self.optimizer.build(stack.trainable_variables)
        self._run = tf.function(self._many, autograph=False)

    def _step(self, step: tf.Tensor) -> tf.Tensor:
        seed = tf.stack([tf.cast(self.seed, tf.int64), tf.cast(step, tf.int64)])
        seeds = tf.random.experimental.stateless_split(seed, 2)
        real, fake = self.draw(seeds[0])
        variables = self.stack.trainable_variables
        if self.constraint == "clip":
            penalties.clip_weights([v.value for v in variables], CLIP)
        with tf.GradientTape() as tape:
            logits = self.stack(tf.concat([real, fake], axis=1), training=True)
            real_logits, fake_logits = tf.split(logits, 2, axis=1)
            loss = critic_loss(self.loss, real_logits, fake_logits)
            if self.constraint in ("gp", "gp_one_sided"):
                flat = [tf.reshape(x, [-1, self.stack.inputs]) for x in (real, fake)]
                term, _ = penalties.gradient_penalty(
                    self.stack.rows, *flat, seeds[1], self.constraint == "gp_one_sided"
                )
                loss += self.penalty * term
            # A mean over all points is 1 / K of the sum of the critics' own losses.
            loss *= self.stack.count
        gradients = tape.gradient(loss, [v.value for v in variables])
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return step + 1

    def _many(self, first: tf.Tensor, count: tf.Tensor) -> None:
        tf.while_loop(lambda step: step < first + count, lambda step: [self._step(step)], [first])

    def run(self, steps: int | None = None) -> "Trainer":
        """Trains `steps` more steps (None: what is left)."""
        steps = self.steps - self.done if steps is None else steps
        self._run(tf.constant(self.done), tf.constant(steps))
        self.done += steps
        return self

    def settle(self) -> "Trainer":
        """Brings the weights inside the constraint: clipping comes before an update, not after."""
        if self.constraint == "clip":
            penalties.clip_weights([v.value for v in self.stack.trainable_variables], CLIP)
        return self

    def evaluate(self, batches: int = 20) -> np.ndarray:
        """(K,) values of the loss without penalty, float64, on points not trained on."""
        self.settle()
        total = np.zeros(self.stack.count)
        for batch in range(batches):
            real, fake = self.draw(tf.constant([self.seed + 1_000_003, batch], tf.int64))
            total += per_critic_losses(self.loss, self.stack(real), self.stack(fake))
        return total / batches
