"""Defense-GAN: a generator as a filter (Samangouei, Kabkab, Chellappa 2018, arXiv 1805.06605).

A WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028) learns clean images. An image that may have been
tampered with is then replaced by the nearest image that the generator can make, G(z*), and that is
what a classifier gets to see:

    z* = argmin over z of mean((G(z) - x)^2),  L = 200 steps of momentum SGD on z
    from each of R = 10 starts z ~ N(0, I / latent_dim), the best of them is kept   (`reconstruct`)

Followed here: kabkabm/defensegan with its MNIST and Fashion-MNIST configs, whose networks are those
of improved_wgan_training's gan_mnist.py. At 28x28x1 and dim 64 the trainable parameters are
1,554,177 (G) and 1,030,145 (D).

    G: z (128) -> dense 4x4x256, ReLU -> 5x5 up to 8x8x128, ReLU, cropped to 7x7
       -> 5x5 up to 14x14x64, ReLU -> 5x5 up to 28x28x1, sigmoid
    D: 28x28x1 -> 5x5 conv stride 2, LeakyReLU(.2): 64, 128, 256 maps -> dense -> score

Where we differ: our pixels are in [-1, 1], so G ends in 2 sigmoid(a) - 1, and the penalty's
gradient is one in these pixels (in [0, 1] it is twice as large); errors of `reconstruct` are in the
[0, 1] scale that the learning rate of 10 is meant for. The authors' penalty takes norms over
columns of an image, by a slip; ours is the paper's, over the image. The best restart is chosen by
the error of what is returned; theirs by the one before the last step. Projection and sampling use a
moving average of G; the authors have none.

    python -m ganpipe train --config=defense_gan_fashion_mnist --data=DIR --workdir=RUN
    python -m ganpipe defend --run=RUN --data=DIR --out=defence.json

Images are (B, 28, 28, C) float32 in [-1, 1].
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.layers import bodies_improved_wgan as bodies
from ganpipe.models import base
from ganpipe.ops import images as image_ops
from ganpipe.ops import projection, random
from ganpipe.ops.objective import Objective
from ganpipe.ops.optimizers import Adam

RESOLUTION = 28
PRECISIONS = ("float32", "mixed_bfloat16")
MOST_RESTARTS = 1 << 10
MOST_IMAGES = 1 << 28  # of one call; more would share starts with the next seed
MOST_SEEDS = 1 << 25

Projector = Callable[[tf.Tensor, tf.Tensor], projection.Projection]


class Reconstruction(NamedTuple):
    """What `DefenseGAN.reconstruct` returns for N images, as NumPy arrays.

    Attributes:
      images: (N, 28, 28, C) float32 in [-1, 1], G(z).
      z: (N, latent_dim) float32.
      errors: (N,) float32, mean squared error of a pixel in the [0, 1] scale.
      restarts: (N, R) float32, the errors that all restarts ended with.
    """

    images: np.ndarray
    z: np.ndarray
    errors: np.ndarray
    restarts: np.ndarray


class DefenseGAN(base.GANSystem):
    """WGAN-GP whose generator's range stands in for the set of clean images.

    Args:
      resolution: 28.
      channels: 1 or 3.
      num_classes: must be 0.
      latent_dim: length of z ~ N(0, I).
      dim: channels of the largest map of both networks; the paper's 64. Training and projection
        cost its square.
      ema_decay: of the generator's moving average.
      seed: of the initial weights.
      precision: "float32" or "mixed_bfloat16".
    """

    system_name = "defense_gan"

    def __init__(
        self,
        resolution: int = RESOLUTION,
        channels: int = 1,
        num_classes: int = 0,
        latent_dim: int = 128,
        dim: int = 64,
        ema_decay: float = 0.999,
        seed: int = 0,
        precision: str = "float32",
    ):
        arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        if resolution != RESOLUTION:
            raise UserError(
                f"data.resolution: {resolution}; the networks of defense_gan are made for "
                f"{RESOLUTION}x{RESOLUTION}. Prepare the data with `python -m pipeline.prepare "
                "--base=7x7 --levels=3`, and set data.resolution=28."
            )
        if num_classes:
            raise UserError(
                f"system.num_classes: {num_classes}; defense_gan is unconditional (who defends an "
                "image does not know its class), expected 0. Set data.conditional=False."
            )
        if dim < 1:
            raise UserError(f"system.dim: {dim}; expected 1 or more.")
        super().__init__(
            arguments=arguments,
            resolution=resolution,
            channels=channels,
            num_classes=0,
            latent_dim=latent_dim,
            ema_decay=ema_decay,
        )
        self._make_generator = functools.partial(
            bodies.build_mnist_generator, dim, latent_dim, channels, 2 * seed
        )
        self.set_networks(
            lambda name: self._make_generator(
                precision="float32" if name == "generator_ema" else precision, name=name
            ),
            bodies.build_mnist_critic(dim, channels, 2 * seed + 1, precision),
        )

    def compile(
        self,
        loss: str = "wasserstein",
        g_learning_rate: float = 1e-4,
        d_learning_rate: float = 1e-4,
        beta_1: float = 0.5,
        beta_2: float = 0.9,
        n_critic: int = 5,
        penalties: Mapping[str, Any] | None = None,
        tips: Mapping[str, Any] | None = None,
        seed: int = 0,
        g_optimizer: keras.optimizers.Optimizer | None = None,
        d_optimizer: keras.optimizers.Optimizer | None = None,
        **keras_arguments: Any,
    ) -> None:
        """Sets the objective and the optimisers (WGAN-GP's Adam: 1e-4, .5, .9; five critic steps).

        Args:
          loss: a name of `ganpipe.ops.losses.NAMES`.
          g_learning_rate: of the generator's Adam.
          d_learning_rate: of the critic's Adam.
          beta_1: of both.
          beta_2: of both.
          n_critic: critic updates a step, each on real images of its own.
          penalties: see `ganpipe.ops.objective.PENALTIES`; gp = 10 unless it says otherwise.
          tips: see `ganpipe.ops.objective.TIPS`.
          seed: of everything drawn in training.
          g_optimizer: replaces the generator's Adam.
          d_optimizer: replaces the critic's Adam.
          **keras_arguments: `steps_per_execution`, `run_eagerly`, `jit_compile`.
        """
        self.compile_networks(
            g_optimizer or Adam(g_learning_rate, beta_1, beta_2, epsilon=1e-8),
            d_optimizer or Adam(d_learning_rate, beta_1, beta_2, epsilon=1e-8),
            seed,
            objective=Objective(
                loss, penalties=penalties, tips=tips, default_penalties={"gp": 10.0}
            ),
            n_critic=n_critic,
            **keras_arguments,
        )

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One update of G, then `n_critic` updates of D, as gan_mnist.py orders them.

        Step 0 leaves G as it is.

        Args:
          data: images (n_critic B, 28, 28, C) or (images, labels); labels are ignored.

        Returns:
          Logs, each of shape (1,).
        """
        batches = self.critic_batches(data)
        batch = batches[0][0].shape[0]
        z, _ = self.draw_latents(batch)
        variables = self.generator.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            fakes = self.fake_images(z, None)
            g_terms = self.generator_terms(fakes, None, real_images=batches[0][0], z=z)
        gradients = tape.gradient(g_terms.loss, variables)
        # The first step trains the critic alone, as the authors' loop does.
        g_norm = self.minimize(self.g_optimizer, gradients, variables, active=self.step > 0)

        variables = self.discriminator.trainable_variables
        for draw, (real_images, _) in enumerate(batches, start=1):
            z, _ = self.draw_latents(batch, draw)
            fakes, _ = self.replayed(self.fake_images(z, None), None, draw)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([v.value for v in variables])
                d_terms = self.critic_terms(real_images, None, fakes, None, draw, z)
            gradients = tape.gradient(d_terms.loss, variables)
            d_norm = self.minimize(self.d_optimizer, gradients, variables)
        return self.finish_step(self.game_logs(d_terms, g_terms, d_norm, g_norm))

    # --- Projection -----------------------------------------------------------------------------

    # Not part of the checkpoint: copies of the average, made when they are asked for.
    _projectors = functools.cached_property(lambda self: {})
    _bfloat16 = functools.cached_property(
        lambda self: self._make_generator(precision="mixed_bfloat16", name="generator_bfloat16")
    )

    def projector(
        self,
        steps: int = 200,
        restarts: int = 10,
        learning_rate: float = 10.0,
        momentum: float = 0.7,
        decay_at: float | None = None,
        precision: str = "float32",
    ) -> Projector:
        """The compiled projection of one batch; `reconstruct` calls it chunk by chunk.

        Args:
          steps: L, of gradient descent.
          restarts: R, starts of an image.
          learning_rate: of momentum SGD, for errors in the [0, 1] scale.
          momentum: of the same.
          decay_at: share of the steps after which the learning rate is a tenth; None: never, as
            the authors' code runs.
          precision: of the L steps; the images and errors returned are float32 always.

        Returns:
          f(images (n, 28, 28, C) float32 in [-1, 1], keys (n,) int64) -> `Projection`, its images
          in [-1, 1] and its errors in the [0, 1] scale. Start r of a row is a function of its key
          and r alone, so more restarts never end worse. Static n; each n is compiled once.

        Raises:
          UserError: settings out of range.
        """
        _check_projection(steps, restarts, learning_rate, momentum, decay_at, precision)
        if precision == "mixed_bfloat16":
            self._bfloat16.set_weights(self.generator_ema.get_weights())
        key = (steps, restarts, learning_rate, momentum, decay_at, precision)
        if key not in self._projectors:
            self._projectors[key] = tf.function(functools.partial(self._project, key))
        return self._projectors[key]

    def _project(self, settings: tuple, images: tf.Tensor, keys: tf.Tensor):
        steps, restarts, learning_rate, momentum, decay_at, precision = settings
        count = images.shape[0]
        seeds = keys[:, None] * MOST_RESTARTS + tf.range(restarts, dtype=tf.int64)
        starts = random.row_latents(tf.reshape(seeds, [-1]), self.latent_dim)
        starts = tf.reshape(starts, [count, restarts, self.latent_dim]) / self.latent_dim**0.5

        def unit(network: keras.Model, z: tf.Tensor) -> tf.Tensor:
            return 0.5 * network(z, training=False) + 0.5

        found = projection.project(
            functools.partial(unit, self.generator_ema),
            0.5 * images + 0.5,
            starts,
            steps,
            learning_rate,
            momentum,
            decay_at,
            fast=None if precision == "float32" else functools.partial(unit, self._bfloat16),
        )
        return found._replace(images=2.0 * found.images - 1.0)

    def reconstruct(
        self,
        images: np.ndarray,
        steps: int = 200,
        restarts: int = 10,
        learning_rate: float = 10.0,
        momentum: float = 0.7,
        decay_at: float | None = None,
        seed: int = 0,
        precision: str = "float32",
        chunk: int = 50,
        progress: Callable[[int], None] | None = None,
    ) -> Reconstruction:
        """G(z*) for every image: section 3 of the paper, with the averaged generator.

        Args:
          images: (N, 28, 28, C), uint8 or floats in [-1, 1].
          steps: L.
          restarts: R.
          learning_rate: see `projector`.
          momentum: see `projector`.
          decay_at: see `projector`.
          seed: image i starts from latents that are a function of (seed, i).
          precision: see `projector`.
          chunk: images computed at once, R times as many rows. The memory is that of one chunk.
          progress: called after each chunk with the number of images done in it.

        Raises:
          UserError: images of another shape or range, settings out of range.
        """
        images = self._checked_images(images)
        if not 0 <= seed < MOST_SEEDS:
            raise UserError(f"seed: {seed}; expected 0 <= seed < {MOST_SEEDS}.")
        if chunk < 1:
            raise UserError(f"chunk: {chunk}; expected 1 or more images at once.")
        project = self.projector(steps, restarts, learning_rate, momentum, decay_at, precision)
        chunk = min(chunk, max(len(images), 1))
        parts = []
        for start in range(0, len(images), chunk):
            # The last chunk is filled up: one shape, one compiled function.
            rows = np.minimum(np.arange(start, start + chunk), len(images) - 1)
            keys = tf.constant(seed * MOST_IMAGES + rows, tf.int64)
            found = project(tf.constant(_to_float(images[rows])), keys)
            count = min(chunk, len(images) - start)
            parts.append([value.numpy()[:count] for value in found])
            if progress is not None:
                progress(count)
        if not parts:
            shapes = (images.shape, (0, self.latent_dim), (0,), (0, restarts))
            return Reconstruction(*(np.zeros(shape, np.float32) for shape in shapes))
        return Reconstruction(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def _checked_images(self, images: Any) -> np.ndarray:
        images = np.asarray(images)
        expected = self.image_shape
        if images.ndim != 4 or images.shape[1:] != expected:
            raise UserError(f"images: shape {images.shape}; expected (N, *{expected}).")
        if images.dtype == np.uint8:
            return images
        if not np.issubdtype(images.dtype, np.floating):
            raise UserError(f"images: {images.dtype}; expected uint8, or floats in [-1, 1].")
        # A range check that NaN fails too.
        if images.size and not np.abs(images).max() <= 1.0 + 1e-3:
            raise UserError(
                f"images: {images.min():.4g} to {images.max():.4g}; expected floats in [-1, 1] "
                "(2 x - 1 for pixels x in [0, 1])."
            )
        return images


def _to_float(images: np.ndarray) -> np.ndarray:
    if images.dtype == np.uint8:
        return image_ops.to_float(images).numpy()
    return images.astype(np.float32)


def _check_projection(
    steps: int,
    restarts: int,
    learning_rate: float,
    momentum: float,
    decay_at: float | None,
    precision: str,
) -> None:
    """Refuses settings that no projection can have."""
    if not isinstance(steps, int) or steps < 0:
        raise UserError(f"steps: {steps!r}; expected a whole number from 0 on (the paper's 200).")
    if not isinstance(restarts, int) or not 1 <= restarts <= MOST_RESTARTS:
        raise UserError(f"restarts: {restarts!r}; expected 1 to {MOST_RESTARTS} (the paper's 10).")
    if not (math.isfinite(learning_rate) and learning_rate > 0.0):
        raise UserError(f"learning_rate: {learning_rate}; expected more than 0 (the paper's 10).")
    if not 0.0 <= momentum < 1.0:
        raise UserError(f"momentum: {momentum}; expected 0 <= momentum < 1 (the paper's 0.7).")
    if decay_at is not None and not 0.0 <= decay_at <= 1.0:
        raise UserError(f"decay_at: {decay_at}; expected a share of the steps, 0 to 1, or None.")
    if precision not in PRECISIONS:
        raise UserError(f"precision: {precision!r}; expected {' or '.join(PRECISIONS)}.")
