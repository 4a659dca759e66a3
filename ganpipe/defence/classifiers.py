"""The classifiers A to F that Defense-GAN is tested with, and their training.

Samangouei et al. 2018 (arXiv 1805.06605), appendix; kabkabm/defensegan, network_builder.py. For
28x28x1 and ten classes they have 1,285,194 (A), 710,218 (B, F), 1,387,210 (C) and 199,210 (D, E)
parameters. Weights start as Gaussian columns of length 1, biases at 0. P (421,642) is ours: the
usual small network with max pooling, which trains in a tenth of A's time.

The authors' code calls `tf.nn.dropout(x, p)`, whose p was the probability to *keep* a unit: its
"dropout .25" keeps a quarter, and B sees a fifth of the pixels in training, which explains B's
poor accuracy in the paper. `dropout="keep"` does the same, to compare with the paper;
`dropout="rate"` drops the share p, as the paper's table reads.

Images are (B, H, W, C) float32 in [0, 1]; labels (B,) integers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ganpipe.defence import attacks
from ganpipe.errors import UserError

# conv: filters, kernel, stride, padding; pool: size; drop: p of the code; dense: units. Each conv
# and dense layer but the last is followed by ReLU.
MODELS = {
    "A": (
        ("conv", 64, 5, 1, "same"),
        ("conv", 64, 5, 2, "valid"),
        ("drop", 0.25),
        ("dense", 128),
        ("drop", 0.5),
    ),
    "B": (
        ("drop", 0.2),
        ("conv", 64, 8, 2, "same"),
        ("conv", 128, 6, 2, "valid"),
        ("conv", 128, 5, 1, "valid"),
        ("drop", 0.5),
    ),
    "C": (
        ("conv", 128, 3, 1, "same"),
        ("conv", 64, 5, 2, "valid"),
        ("drop", 0.25),
        ("dense", 128),
        ("drop", 0.5),
    ),
    "D": (("dense", 200), ("drop", 0.5), ("dense", 200)),
    "E": (("dense", 200), ("dense", 200)),
    "F": (
        ("conv", 64, 8, 2, "same"),
        ("conv", 128, 6, 2, "valid"),
        ("conv", 128, 5, 1, "valid"),
    ),
    # Not of the paper.
    "P": (
        ("conv", 32, 3, 1, "same"),
        ("pool", 2),
        ("conv", 64, 3, 1, "same"),
        ("pool", 2),
        ("dense", 128),
        ("drop", 0.5),
    ),
}
DROPOUTS = ("rate", "keep")


class UnitColumns(keras.initializers.Initializer):
    """Gaussian weights, the weights of every output scaled to length 1 (cleverhans).

    Args:
      seed: of the draw.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: object = None) -> tf.Tensor:
        """A kernel whose last axis is its outputs."""
        kernel = tf.random.stateless_normal(shape, tf.constant([self.seed, 0], tf.int64))
        inputs = list(range(len(shape) - 1))
        length = tf.sqrt(1e-7 + tf.reduce_sum(tf.square(kernel), axis=inputs, keepdims=True))
        return tf.cast(kernel / length, dtype or "float32")

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {"seed": self.seed}


@dataclass(frozen=True)
class Settings:
    """How a classifier is made. All of it decides its weights.

    Attributes:
      model: a name of `MODELS`.
      dropout: "rate" or "keep"; see the module's docstring.
      epochs: passes over the training images; the authors' 10.
      batch_size: 128.
      learning_rate: of Adam; 1e-3.
      seed: of weights, dropout and order.
      precision: "float32" or "mixed_bfloat16" while training; the result is float32.
      adversarial: epsilon of FGSM in adversarial training: the loss is the mean of those on clean
        images and on FGSM images made anew at each step. 0 trains on clean images alone.
    """

    model: str = "A"
    dropout: str = "rate"
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    seed: int = 0
    precision: str = "float32"
    adversarial: float = 0.0

    def check(self) -> None:
        """Raises UserError for a setting that cannot be."""
        if self.model not in MODELS:
            raise UserError(f"classifier {self.model!r}; expected one of {', '.join(MODELS)}.")
        if self.dropout not in DROPOUTS:
            raise UserError(f"dropout {self.dropout!r}; expected {' or '.join(DROPOUTS)}.")
        if self.precision not in ("float32", "mixed_bfloat16"):
            raise UserError(f"precision {self.precision!r}; expected float32 or mixed_bfloat16.")
        if self.epochs < 1 or self.batch_size < 1:
            raise UserError(
                f"epochs={self.epochs}, batch_size={self.batch_size}; expected 1 or more."
            )
        if not 0.0 <= self.adversarial <= 1.0:
            raise UserError(f"adversarial epsilon {self.adversarial}; expected 0 to 1.")


def build(
    model: str = "A",
    shape: tuple[int, int, int] = (28, 28, 1),
    num_classes: int = 10,
    dropout: str = "rate",
    seed: int = 0,
    dtype: str = "float32",
) -> keras.Model:
    """Images (B, H, W, C) float32 in [0, 1] -> logits (B, num_classes) float32.

    Args:
      model: a name of `MODELS`.
      shape: (H, W, C).
      num_classes: K.
      dropout: "rate" or "keep".
      seed: of weights and dropout.
      dtype: dtype policy of all layers but the last.

    Raises:
      UserError: an unknown model or meaning of dropout.
    """
    Settings(model=model, dropout=dropout).check()
    # One number for each layer that draws: never the same stream twice.
    seeds = iter(np.random.SeedSequence(seed).generate_state(16).tolist())
    x = image = keras.Input(shape, name="image")
    x = keras.ops.cast(x, keras.DTypePolicy(dtype).compute_dtype)
    flat = False
    for kind, *values in MODELS[model]:
        if kind == "drop":
            rate = values[0] if dropout == "rate" else 1.0 - values[0]
            x = keras.layers.Dropout(rate, seed=next(seeds), dtype=dtype)(x)
            continue
        if kind == "pool":
            x = keras.layers.MaxPool2D(values[0], dtype=dtype)(x)
            continue
        start = UnitColumns(next(seeds))
        if kind == "conv":
            filters, size, stride, padding = values
            x = keras.layers.Conv2D(
                filters, size, stride, padding, kernel_initializer=start, dtype=dtype
            )(x)
        else:
            x = x if flat else keras.layers.Flatten(dtype=dtype)(x)
            flat = True
            x = keras.layers.Dense(values[0], kernel_initializer=start, dtype=dtype)(x)
        x = keras.ops.relu(x)
    x = x if flat else keras.layers.Flatten(dtype=dtype)(x)
    start = UnitColumns(next(seeds))
    logits = keras.layers.Dense(num_classes, kernel_initializer=start, dtype="float32")(x)
    return keras.Model(image, logits, name=f"classifier_{model}")


def logits_of(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """The network in inference mode, as the attacks take it."""
    return lambda images: network(images, training=False)


def to_unit(images: np.ndarray | tf.Tensor) -> tf.Tensor:
    """uint8 -> float32 in [0, 1]; floats pass."""
    images = tf.convert_to_tensor(images)
    return tf.cast(images, tf.float32) / 255.0 if images.dtype == tf.uint8 else images


def train(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    settings: Settings,
    description: str = "classifier",
    extra: tuple[np.ndarray, np.ndarray] | None = None,
) -> keras.Model:
    """Trains one classifier: Adam on cross entropy, in an order that is a function of the seed.

    Args:
      images: (N, H, W, C) uint8, or floats in [0, 1].
      labels: (N,) integers in [0, num_classes).
      num_classes: K.
      settings: see `Settings`.
      description: names the progress bar.
      extra: further images and labels, for example reconstructions of some training images
        (Defense-GAN-Rec): they fill half of every batch, again and again, in an order of their own.

    Returns:
      A float32 network in the weights after the last step.

    Raises:
      UserError: settings or images that cannot be.
      RuntimeError: the loss is not finite.
    """
    settings.check()
    if len(images) != len(labels) or not len(images):
        raise UserError(f"{len(images)} images and {len(labels)} labels; expected as many, not 0.")
    batch = min(settings.batch_size, len(images))
    arguments = (settings.model, images.shape[1:], num_classes, settings.dropout, settings.seed)
    network = build(*arguments, dtype=settings.precision)
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    optimizer.build(network.trainable_variables)

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = to_unit(x)
        inputs, targets = x, y
        if settings.adversarial:
            # The attacker sees the network as it is used, without dropout; no gradient flows
            # through the attack.
            changed = attacks.fgsm(logits_of(network), x, y, settings.adversarial)
            inputs = tf.concat([x, tf.stop_gradient(changed)], axis=0)
            targets = tf.concat([y, y], axis=0)
        with tf.GradientTape() as tape:
            logits = network(inputs, training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
            )
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        hits = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), targets)
        return loss, tf.reduce_mean(tf.cast(hits, tf.float32))

    rng = np.random.default_rng(settings.seed)
    labels = np.asarray(labels, np.int32)
    own = batch if extra is None else batch - batch // 2
    steps = len(images) // own
    progress = tqdm(total=settings.epochs * steps, desc=description, unit="step", disable=None)
    with progress:
        for _ in range(settings.epochs):
            order = rng.permutation(len(images))
            for i in range(steps):
                rows = order[i * own : (i + 1) * own]
                x, y = images[rows], labels[rows]
                if extra is not None:
                    rows = rng.integers(0, len(extra[0]), batch - own)
                    x = np.concatenate([x, extra[0][rows]])
                    y = np.concatenate([y, np.asarray(extra[1][rows], np.int32)])
                loss, accuracy = step(tf.constant(x), tf.constant(y))
                if i % 50 == 0 or i == steps - 1:
                    if not math.isfinite(float(loss)):
                        raise RuntimeError(f"the classifier's loss is {float(loss)} at step {i}")
                    progress.set_postfix(loss=f"{float(loss):.3f}", batch=f"{float(accuracy):.3f}")
                progress.update()
    result = build(*arguments)
    # Weights alone: the states of the dropout layers do not matter from here on.
    for variable, trained in zip(
        result.trainable_variables, network.trainable_variables, strict=True
    ):
        variable.assign(trained)
    return result


def predict(network: keras.Model, images: np.ndarray, batch_size: int = 250) -> np.ndarray:
    """(N, H, W, C) uint8 or floats in [0, 1] -> (N,) int32 classes."""

    parts = [
        np.argmax(network(to_unit(images[start : start + batch_size]), training=False), axis=1)
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts).astype(np.int32)


def accuracy(network: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose class is predicted."""
    return float(np.mean(predict(network, images) == np.asarray(labels)))
