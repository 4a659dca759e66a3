"""What D sees in place of the images, and how strong that is: none, ADA, fixed, DiffAugment.

Adaptive discriminator augmentation (Karras et al. 2020, arXiv 2006.06676, section 3): p moves every
4 steps, up where the mean sign of D's logits of real images is above the target (D overfits), down
where it is below. The operations are in `ganpipe.ops.ada` and `ganpipe.ops.diff_augment`.
"""

import itertools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops import ada, diff_augment

KINDS = ("none", "ada", "fixed", "diffaugment")
INTERVAL = 4  # steps between two moves of p


class Augmentation(keras.layers.Layer):
    """Random changes of D's images, with the state that adapts their strength.

    Args:
      kind: of `KINDS`; "fixed" is ADA with a p that stays.
      resolution: of the images.
      channels: of the images.
      pipe: of `ganpipe.ops.ada.PIPES`.
      target: mean sign of D's logits of reals.
      kimg: thousands of images in which p can go from 0 to 1.
      p: at the start.
      policy: of DiffAugment.

    Raises:
      UserError: an unknown kind, pipe or policy, or values out of range.
    """

    def __init__(
        self,
        kind: str,
        resolution: int,
        channels: int,
        pipe: str = "bgc",
        target: float = 0.6,
        kimg: float = 500.0,
        p: float = 0.0,
        policy: str = "color,translation,cutout",
    ):
        super().__init__(name="augmentation", dtype="float32", autocast=False)
        if kind not in KINDS:
            raise UserError(f"optimizer.augment: {kind!r}; expected one of {', '.join(KINDS)}.")
        if not -1.0 <= target <= 1.0:
            raise UserError(f"optimizer.ada_target: {target}; a mean of signs is from -1 to 1.")
        if not kimg > 0.0:
            raise UserError(f"optimizer.ada_kimg: {kimg}; expected more than 0.")
        if not 0.0 <= p <= 1.0:
            raise UserError(f"optimizer.ada_p: {p}; expected 0 to 1.")
        diff_augment.parse_policy(policy)
        self.kind, self.target, self.kimg, self.policy = kind, target, kimg, policy
        self.operations = None
        if kind in ("ada", "fixed"):
            self.operations = ada.Augment(pipe, channels=channels, resolution=resolution)
        start = keras.initializers.Constant(p)
        self.p = self._number("p", (), start)
        self.signs = self._number("signs", (2,), "zeros")  # their sum and number since p moved
        self.built = True

    def _number(self, name: str, shape: tuple[int, ...], initializer: Any) -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            trainable=False,
            aggregation="mean",  # replicas hold equal values; a mean keeps them so
        )

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """(B, H, W, C) in [-1, 1] -> the same shape; differentiable. `seed` is (2,) integer."""
        if self.operations is not None:
            return self.operations(images, self.p.value, seed)
        if self.kind == "diffaugment":
            return diff_augment.diff_augment(images, self.policy, seed=seed)
        return images

    def critic(
        self, network: keras.Model, seed: tf.Tensor, batch: int
    ) -> Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor]:
        """(images, labels or None) -> logits of D behind the augmentation, in training mode.

        Args:
          network: takes images or [images, labels], and `parts`: several batches may come as one,
            and their minibatch statistics stay apart.
          seed: (2,) integer; every call has augmentations of its own.
          batch: images of one batch; 0 if unknown.
        """
        calls = itertools.count(1)

        def critic(images: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
            images = self(images, tf.random.experimental.stateless_fold_in(seed, next(calls)))
            parts = max(images.shape[0] // (batch or images.shape[0]), 1)
            inputs = images if labels is None else [images, labels]
            return network(inputs, training=True, parts=parts)

        return critic

    def adapt(self, signs: tf.Tensor, count: tf.Tensor, step: tf.Tensor, images: int) -> None:
        """Takes a step's signs in, and moves p after every fourth step.

        Args:
          signs: sum of the signs of D's logits of this replica's real images in this step.
          count: their number.
          step: of training, counted from 0.
          images: real images of a step, of all replicas.
        """
        if self.kind != "ada":
            return
        new = tf.stack([signs, tf.cast(count, tf.float32)])
        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            # Of all replicas: the sign of the whole mean counts, not the mean of their signs.
            new = context.all_reduce(tf.distribute.ReduceOp.SUM, new)
        signs = self.signs.value + new
        now = tf.equal((step + 1) % INTERVAL, 0)
        p = ada.next_p(self.p.value, signs[0] / signs[1], self.target, images * INTERVAL, self.kimg)
        self.p.assign(tf.where(now, p, self.p.value))
        self.signs.assign(tf.where(now, tf.zeros_like(signs), signs))
