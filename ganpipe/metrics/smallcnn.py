"""The small classifier behind the scores: its network and its training, about a minute on a CPU.

With labels it learns the classes. Without labels it learns to tell by how many quarter turns an
image was rotated (Gidaris et al. 2018), which needs no label and still gives features of shape and
texture. Every random choice comes from `TrainingSettings.seed`: the same data on the same machine
give the same weights bit for bit.

Recipe: convolution-normalisation-ReLU stages down to 4x4, global average, one linear layer; AdamW
with linear warm-up and cosine decay over two and a half epochs; bfloat16 arithmetic with float32
weights, statistics and loss, set layer by layer so that no global policy is touched.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ganpipe.errors import UserError
from ganpipe.metrics.source import ImageSource

# Part of every fingerprint: raise it whenever the network or its training changes.
ARCHITECTURE = "smallcnn-1"
FEATURE_DIM = 128
ROTATIONS = 4

# The network looks at no more pixels than this; larger images are averaged down first, which keeps
# training near a minute at every resolution.
_LARGEST_INPUT = 64
_WIDTHS = (32, 48, 96, FEATURE_DIM)


@dataclass(frozen=True)
class TrainingSettings:
    """How the classifier is trained. Part of its fingerprint.

    Attributes:
      epochs: passes over the training split, before the limits on steps.
      batch_size: images a step; less for a data set smaller than one batch.
      learning_rate: peak of the one-cycle schedule.
      weight_decay: decoupled decay of AdamW.
      warmup: share of the steps over which the rate rises, in (0, 1).
      min_steps, max_steps: limits for very small and very large data sets.
      seed: of the initial weights and the data order.
      precision: dtype policy of the convolutional layers while training.
    """

    epochs: float = 2.5
    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    warmup: float = 0.2
    min_steps: int = 300
    max_steps: int = 2500
    seed: int = 0
    precision: str = "mixed_bfloat16"

    def steps(self, images: int) -> int:
        """Training steps for a split of that many images."""
        wanted = math.ceil(self.epochs * images / self.batch(images))
        return min(max(wanted, self.min_steps), self.max_steps)

    def batch(self, images: int) -> int:
        """Batch size for a split of that many images."""
        return min(self.batch_size, images)


def check_size(resolution: int, channels: int) -> None:
    """UserError for images that the network cannot take."""
    if not 8 <= resolution <= 256 or resolution & (resolution - 1) or channels not in (1, 3):
        raise UserError(
            f"the classifier takes square images of 8, 16, ..., 256 pixels with 1 or 3 channels, "
            f"found {resolution} pixels with {channels} channels"
        )


def build(
    resolution: int, channels: int, outputs: int, seed: int = 0, dtype: str = "float32"
) -> keras.Model:
    """The network: images (B, R, R, C) float32 in [-1, 1] -> (features (B, 128), logits (B, K)).

    Features are the non-negative global averages before the linear layer; both outputs are float32
    under every `dtype`.

    Args:
      resolution: R, a power of two from 8 to 256.
      channels: C, 1 or 3.
      outputs: K.
      seed: of the initial weights.
      dtype: dtype policy of the layers before the global average.

    Raises:
      UserError: a resolution or number of channels that it cannot take.
    """
    check_size(resolution, channels)
    layers = keras.layers
    seeds = iter(range(1000 * seed, 1000 * (seed + 1)))

    def convolve(x, filters, size, strides=1, pool=False, name=""):
        x = layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
            dtype=dtype,
            name=f"{name}_conv",
        )(x)
        if pool:  # Before normalising: a quarter of the elements to normalise.
            x = layers.MaxPool2D(dtype=dtype, name=f"{name}_pool")(x)
        # The training is short: moving statistics have to follow quickly.
        x = layers.BatchNormalization(momentum=0.95, dtype=dtype, name=f"{name}_norm")(x)
        return layers.ReLU(dtype=dtype, name=f"{name}_relu")(x)

    x = images = keras.Input((resolution, resolution, channels), name="images")
    size = min(resolution, _LARGEST_INPUT)
    if resolution > size:
        x = layers.AveragePooling2D(resolution // size, dtype="float32", name="shrink")(x)
    strides = 2 if size > 8 else 1
    x = convolve(x, _WIDTHS[0], 5, strides=strides, name="stem")
    size //= strides
    stage = 1
    while size > 4:
        x = convolve(x, _WIDTHS[min(stage, 2)], 3, pool=True, name=f"stage{stage}")
        size //= 2
        stage += 1
    x = convolve(x, FEATURE_DIM, 3, name=f"stage{stage}")
    features = layers.GlobalAveragePooling2D(dtype="float32", name="features")(x)
    logits = layers.Dense(
        outputs,
        kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
        dtype="float32",
        name="logits",
    )(features)
    return keras.Model(images, [features, logits], name="smallcnn")


def rotate(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns row i of a batch by (i % 4) quarter turns anticlockwise.

    Args:
      images: (B, R, R, C), square.

    Returns:
      (B, R, R, C) turned images grouped by turn, and (B,) int32 turns in 0..3.
    """
    parts = [tf.image.rot90(images[k::ROTATIONS], k) for k in range(ROTATIONS)]
    turns = [tf.fill([tf.shape(p)[0]], k) for k, p in enumerate(parts)]
    return tf.concat(parts, 0), tf.concat(turns, 0)


def train(
    source: ImageSource,
    settings: TrainingSettings,
    network: Callable[..., keras.Model] = build,
) -> tuple[keras.Model, int]:
    """Trains the network on `source`'s split "train".

    Args:
      source: labelled: the classes are learned; unlabelled: the rotation.
      settings: see `TrainingSettings`.
      network: makes it, with the arguments of `build`.

    Returns:
      A float32 copy of the trained network and the number of images seen.

    Raises:
      UserError: no training images, or a size that the network cannot take.
      RuntimeError: the loss is not finite.
    """
    images = source.count("train")
    if not images:
        raise UserError(f"{source.name} has no training images: the classifier needs some")
    steps, batch = settings.steps(images), settings.batch(images)
    outputs = source.num_classes or ROTATIONS
    shape = (source.resolution, source.channels, outputs, settings.seed)
    model = network(*shape, dtype=settings.precision)
    warmup = max(1, round(settings.warmup * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 10,
        max(1, steps - warmup),
        warmup_target=settings.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        if not source.num_classes:
            x, labels = rotate(x)
        with tf.GradientTape() as tape:
            _, logits = model(x, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            )
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    stream = iter(source.batches("train", batch, settings.seed).prefetch(tf.data.AUTOTUNE))
    progress = tqdm(range(steps), desc="classifier", unit="step", disable=None)
    for i in progress:
        loss = step(*next(stream))
        if i % 50 == 0 or i == steps - 1:
            value = float(loss)
            if not math.isfinite(value):
                raise RuntimeError(f"the classifier's loss is {value} at step {i}")
            progress.set_postfix(loss=f"{value:.3f}")
    # Scores are computed in float32: what was rounded for speed is training alone.
    result = network(*shape)
    result.set_weights(model.get_weights())
    return result, steps * batch


def accuracy(model: keras.Model, source: ImageSource, split: str) -> float:
    """Share of `split` that the network gets right (classes, or rotations when unlabelled)."""

    @tf.function(reduce_retracing=True)
    def hits(x: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        if not source.num_classes:
            x, labels = rotate(x)
        predicted = tf.argmax(model(x, training=False)[1], axis=1, output_type=tf.int32)
        return tf.reduce_sum(tf.cast(predicted == tf.cast(labels, tf.int32), tf.int32))

    total = source.count(split)
    correct = sum(int(hits(*batch)) for batch in source.batches(split, 250, None))
    return correct / total if total else float(np.nan)
