"""What the logs do not say: how varied fakes from fixed noise are, and how far weights have moved.

Every `monitor.every` steps 64 fakes are drawn from the generator as it stands, not from its moving
average, which would show a collapse a thousand steps late. They are compared with the same number
of real images of the same classes, both halved until they are less than 64 pixels high:

    diversity        mean over pixels of the standard deviation over the batch, a share of the real
                     images' value; with labels, within each class, then the mean over the classes
    diversity_least  with labels: the share of the dullest class
    modes            without labels, where the data have classes: exp of the entropy of the fakes'
                     classes, each that of the nearest mean image, a share of the real images' value
    G_moved, D_moved how far a sample of the weights went since the last check, a share of its
                     length then
"""

import base64
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ganpipe import data as data_lib
from ganpipe.models import inference, stages
from ganpipe.ops import random

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

ROWS = 64
PIXELS = 32  # images are compared at this height, or below twice of it
WEIGHTS = 4096  # weights of a network that are followed, about
REALS = 1024  # real images that are looked at for mean images of the classes
FIRST_SEED = 1 << 20  # of the fixed noise; the grids use 0 to 127


def factor(height: int) -> int:
    """The power of two by which images of a height are shrunk: levels of a data folder are that."""
    return 1 << max(0, (height // PIXELS).bit_length() - 1)


def shrink(images: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> float32, `factor` times smaller, by means of whole blocks."""
    n, height, width, channels = images.shape
    by = factor(height)
    images = images[:, : height // by * by, : width // by * by].astype(np.float32)
    blocks = images.reshape(n, height // by, by, width // by, by, channels)
    return blocks.mean((2, 4))


def pixel_std(images: np.ndarray) -> float:
    """(N, H, W, C) -> mean over pixels of the standard deviation over N (unbiased variance)."""
    return float(images.std(0, ddof=1, dtype=np.float64).mean())


def effective_classes(labels: np.ndarray) -> float:
    """exp(entropy) of the histogram of (N,) classes: 1 for one class, K for K alike."""
    share = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(np.exp(-(share * np.log(share)).sum()))


class Reference:
    """What `ROWS` real images give: the yardstick of the fakes.

    Args:
      images: (N, H, W, C) float32 in [-1, 1], N >= 2.
      labels: (N,) integers.
      classes: of the data set; 0: no labels.
      conditional: the system takes labels.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: int, conditional: bool):
        images = shrink(images)
        self.labels: np.ndarray | None = None
        self.means: np.ndarray | None = None
        if conditional:
            # Eight classes with eight rows each; a class of one image has no spread.
            counts = np.bincount(labels, minlength=classes)
            usable = np.flatnonzero(counts >= 2)
            if len(usable) == 0:
                usable = np.arange(classes)
            picked = usable[np.linspace(0, len(usable) - 1, min(8, len(usable))).astype(int)]
            self.labels = np.resize(picked, ROWS).astype(np.int32)
            spread = [pixel_std(images[labels == k]) if counts[k] > 1 else 0.0 for k in picked]
            overall = pixel_std(images)
            self.spread = np.array([s or overall for s in spread])
            self.picked = picked
            return
        self.spread = np.array([pixel_std(images)])
        present = np.unique(labels)
        if classes > 1 and len(present) > 1:
            self.means = np.stack([images[labels == k].mean(0) for k in present])
            self.modes = effective_classes(self.nearest(images[:ROWS]))

    def nearest(self, images: np.ndarray) -> np.ndarray:
        """(N, h, w, C) -> (N,) index of the nearest mean image."""
        gaps = images[:, None] - self.means[None]
        return np.square(gaps).sum((2, 3, 4)).argmin(1)

    def compare(self, images: np.ndarray) -> dict[str, float]:
        """(ROWS, H, W, C) fakes, of the classes `labels` -> the shares of the module's table."""
        images = shrink(images)
        if self.labels is not None:
            own = np.array([pixel_std(images[self.labels == k]) for k in self.picked])
            shares = own / np.maximum(self.spread, 1e-6)
            return {"diversity": float(shares.mean()), "diversity_least": float(shares.min())}
        values = {"diversity": pixel_std(images) / max(float(self.spread[0]), 1e-6)}
        if self.means is not None:
            values["modes"] = effective_classes(self.nearest(images)) / self.modes
        return values


def reference(info: "data_lib.DatasetInfo", resolution: int, conditional: bool) -> Reference:
    """Reads up to `REALS` images of the training split, always the same ones."""
    count = min(REALS, info.count("train"))
    if (small := resolution // factor(resolution)) in info.resolutions:
        resolution = small  # a thousand images of 1024x1024 would be 12 GB
    images, labels = next(iter(data_lib.load(info.dir, resolution, count, "train", repeat=False)))
    return Reference(images.numpy(), labels.numpy(), info.num_classes, conditional)


class Probe:
    """Draws the fakes and follows the weights of one system.

    Args:
      system: built.
      yardstick: see `Reference`.
    """

    def __init__(self, system: "GANSystem", yardstick: Reference):
        self.yardstick = yardstick
        seeds = tf.range(FIRST_SEED, FIRST_SEED + ROWS, dtype=tf.int64)
        z = random.row_latents(seeds, system.latent_dim, system.latent_distribution)
        labels = None if yardstick.labels is None else tf.constant(yardstick.labels)
        many = inference.rows_at_once(system)
        parts = [slice(at, at + many) for at in range(0, ROWS, many)]
        self._inputs = [z[part] if labels is None else [z[part], labels[part]] for part in parts]
        self._system = system
        networks = {"G": system.generator, "D": system.discriminator}
        self._weights = {
            name: tf.function(lambda n=network: _sample(n.trainable_variables))
            for name, network in networks.items()
        }
        self.before: dict[str, np.ndarray] = {}

    def begin(self) -> None:
        """Remembers where the weights are, at the start of training or of a stage."""
        self.__dict__.pop("_fakes", None)  # compiled for the networks of the stage before
        self.start()

    @functools.cached_property
    def _fakes(self) -> Any:
        system = self._system

        def fakes(inputs: Any) -> tf.Tensor:
            images = tf.cast(system.generator(inputs, training=False), tf.float32)
            return stages.full_size(system, images)

        return tf.function(fakes)

    def start(self) -> None:
        """Remembers where the weights are."""
        self.before = {name: weights().numpy() for name, weights in self._weights.items()}

    def draw(self) -> np.ndarray:
        """(ROWS, H, W, C) float32: the fakes."""
        return np.concatenate([self._fakes(inputs).numpy() for inputs in self._inputs])

    def measure(self) -> dict[str, float]:
        """The values of the module's table; a diversity of NaN where fakes are not finite."""
        images = self.draw()
        values = {"diversity": float("nan")}
        if np.isfinite(images).all():
            values = self.yardstick.compare(images)
        old = self.before
        self.start()
        for name, weights in self.before.items():
            length = float(np.linalg.norm(old[name]))
            path = float(np.linalg.norm(weights - old[name]))
            values[f"{name}_moved"] = path / max(length, 1e-12)
        return values

    def state(self) -> dict[str, str]:
        """JSON-able: the weights of the last check."""
        return {k: base64.b64encode(v.tobytes()).decode() for k, v in self.before.items()}

    def restore(self, state: dict[str, str]) -> None:
        """The inverse of `state`."""
        self.before = {k: np.frombuffer(base64.b64decode(v), np.float32) for k, v in state.items()}


def _sample(variables: Sequence[Any]) -> tf.Tensor:
    """About `WEIGHTS` weights as (n,) float32: every so manieth of each variable."""
    stride = max(1, sum(int(np.prod(v.shape)) for v in variables) // WEIGHTS)
    flat = [tf.cast(tf.reshape(v.value, [-1])[::stride], tf.float32) for v in variables]
    return tf.concat(flat, axis=0)
