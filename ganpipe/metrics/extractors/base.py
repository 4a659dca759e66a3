"""What an extractor is: a fixed network with a name, a hash and a contract for its input.

An `Extractor` answers like `classifier.ClassifierExtractor` (name, hash, card, batch_size, folder,
forward, features, logits, predict), so `evaluate` takes either. What differs: it takes uint8 images
of any size and resizes them itself, by a convention that belongs to the score.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import resize, torch_file


@dataclass(frozen=True)
class InputContract:
    """What the network sees. Part of the extractor's fingerprint.

    Attributes:
      channels: of the images it takes.
      size: side that images are resized to; None leaves them as they are.
      resize: convention out of `resize.CONVENTIONS`; None with `size=None`.
      scaling: how 0..255 becomes the network's range, for people.
      crop: what is cut off before resizing, for people.
    """

    channels: int
    size: int | None
    resize: str | None
    scaling: str
    crop: str = "none"

    def __post_init__(self):
        if (self.size is None) != (self.resize is None):
            raise ValueError("size and resize are both given or both None")
        if self.resize is not None:
            resize.check(self.resize)


@dataclass(frozen=True)
class PublishedFile:
    """A file of weights that users fetch themselves.

    Attributes:
      what: what it holds, for messages.
      names: file names it is published under; any of them is found.
      urls: where it is published.
      sha256: its SHA-256 in hex, or the start of it that the publisher states.
      licence: of the weights.
    """

    what: str
    names: tuple[str, ...]
    urls: tuple[str, ...]
    sha256: str
    licence: str


def weights_folder() -> Path:
    """Where weights are looked for: $GANPIPE_WEIGHTS, else ~/.cache/ganpipe/weights."""
    return Path(os.environ.get("GANPIPE_WEIGHTS") or "~/.cache/ganpipe/weights").expanduser()


def locate(published: PublishedFile, path: str | os.PathLike | None = None) -> Path:
    """The file of weights: `path` if given, else one of its names in `weights_folder()`.

    Raises:
      UserError: it is not there; tells where it is published, its hash and where to put it.
    """
    folder = weights_folder()
    if path is not None:
        found = Path(path).expanduser()
        if found.is_file():
            return found
        missing = f"{found}: no such file"
    else:
        for name in published.names:
            if (folder / name).is_file():
                return folder / name
        missing = f"{folder} holds no {' or '.join(published.names)}"
    raise UserError(
        f"{missing}. The weights of {published.what} ({published.licence}) are published at "
        f"{' and '.join(published.urls)} (SHA-256 {published.sha256}...). Fetch the file and put "
        f"it into {folder}, or set GANPIPE_WEIGHTS to its folder"
    )


def arrays_sha256(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 (hex) over names, shapes and float32 bytes in name order; for weights in memory."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], "<f4")
        digest.update(f"{name} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


# images (B, H, W, C) float32 in 0..255, resized -> features (B, d), logits (B, K) or None
Network = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor | None]]


class Extractor:
    """Features, logits and predictions of a fixed network, in float32 and static batches.

    Images are uint8 (N, H, W, C) of any H and W. They are resized, scaled and run in one compiled
    function of `batch_size` rows; the last batch is padded and cut. So results do not depend on how
    images are grouped, and each image size compiles once.

    Args:
      name: stands beside every score, as in `FD-EffLite0`.
      version: of network and preprocessing; raise it when results change.
      weights_sha256: hex; of the published file, or `arrays_sha256`.
      contract: of the input.
      network: see `Network`.
      dim: d of the features.
      num_classes: K of the logits; 0 without.
      task: what the network was trained for; stands in the card.
      batch_size: rows computed at once.
      published: score names that this extractor has a right to, by ours: {"FD": "FID"}.
    """

    def __init__(
        self,
        *,
        name: str,
        version: str,
        weights_sha256: str,
        contract: InputContract,
        network: Network,
        dim: int,
        num_classes: int = 0,
        task: str = "none",
        batch_size: int = 32,
        published: Mapping[str, str] | None = None,
    ):
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size}: at least 1 image at once")
        self.name = name
        self.version = version
        self.hash = weights_sha256
        self.contract = contract
        self.dim = dim
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.folder: Path | None = None
        self._published = dict(published or {})
        self._network = network
        self._compiled = tf.function(self._batch)
        self.card = {
            "name": name,
            "architecture": version,
            "fingerprint": self.fingerprint,
            "task": task,
            "feature_dim": dim,
            "num_classes": num_classes,
            "input": asdict(contract),
            "resize": contract.resize,
            "version": version,
            "weights_sha256": weights_sha256,
            # What a classifier trained on the data set has, and this is none.
            "test_accuracy": None,
            "test_count": None,
        }

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over name, version, weights and contract: equal rulers, equal scores."""
        key = {
            "name": self.name,
            "version": self.version,
            "weights_sha256": self.hash,
            "input": asdict(self.contract),
        }
        text = json.dumps(key, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def score_name(self, prefix: str) -> str:
        """`FD` -> `FD-EffLite0`; `FID` only for the published weights of the FID network."""
        return self._published.get(prefix, f"{prefix}-{self.name}")

    def forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, H, W, C) uint8 -> ((N, d) float32 features, (N, K) float32 logits).

        A network without logits gives one column of zeros.

        Raises:
          UserError: images that do not fit the contract.
        """
        return self._forward(self.checked(images))

    def float_features(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) floats in [-1, 1] -> (N, d) float32, without rounding to 8 bits.

        For differences of images that are finer than a level of uint8, as of a path length.

        Raises:
          UserError: images that do not fit the contract, or outside the range.
        """
        images = np.asarray(images)
        # A range check that NaN fails too.
        if images.size and not np.abs(images).max() <= 1.0 + 1e-3:
            raise UserError(f"float images{_span(images)}, {self.name} expects [-1, 1]")
        self.checked(np.zeros((1, *images.shape[1:]), np.uint8))  # shape and channels
        return self._forward((images.astype(np.float32) + 1.0) * 127.5)[0]

    def _forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        features = np.empty((len(images), self.dim), np.float32)
        logits = np.zeros((len(images), max(1, self.num_classes)), np.float32)
        for start in range(0, len(images), self.batch_size):
            rows = images[start : start + self.batch_size]
            count = len(rows)
            if count < self.batch_size:
                rows = np.pad(rows, ((0, self.batch_size - count), (0, 0), (0, 0), (0, 0)))
            f, y = self._compiled(tf.constant(rows))
            features[start : start + count] = f[:count]
            if y is not None:
                logits[start : start + count] = y[:count]
        return features, logits

    def features(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 -> (N, d) float32. Errors as `forward`."""
        return self.forward(images)[0]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 -> (N, K) float32. UserError for a network without classes."""
        if not self.num_classes:
            raise UserError(f"the extractor {self.name} has no classes, so no logits")
        return self.forward(images)[1]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 -> (N,) int64: classes of its own training data, not of yours."""
        return self.logits(images).argmax(axis=1)

    def checked(self, images: np.ndarray) -> np.ndarray:
        """The images; UserError unless they are uint8 (N, H, W, C) with the contract's C."""
        images = np.asarray(images)
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise UserError(
                f"images have shape {images.shape}, the extractor {self.name} expects "
                f"(N, height, width, {self.contract.channels})"
            )
        found, expected = images.shape[3], self.contract.channels
        if found != expected:
            raise UserError(_wrong_channels(self.name, images.shape, expected))
        if images.dtype != np.uint8:
            raise UserError(
                f"images are {images.dtype}{_span(images)}, the extractor {self.name} expects "
                "uint8 in 0..255: convert floats in [-1, 1] with ganpipe.ops.images.to_uint8"
            )
        return images

    def _batch(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        images = tf.cast(images, tf.float32)
        if self.contract.size is not None:
            images = resize.resize(images, self.contract.size, self.contract.resize)
        return self._network(images)


def _wrong_channels(name: str, shape: tuple[int, ...], expected: int) -> str:
    message = f"images of shape {shape} have {shape[3]} channel(s), the extractor {name} expects "
    if shape[3] == 1 and expected == 3:
        return (
            f"{message}3: it was trained on colour. Use smallcnn or pixels for greyscale data, or "
            "repeat the channel yourself, np.repeat(images, 3, axis=-1), and say so beside the "
            "score"
        )
    if shape[1] == expected:
        return f"{message}{expected} in the last axis: these look like NCHW, transpose them to NHWC"
    return f"{message}{expected}"


def _span(images: np.ndarray) -> str:
    if not images.size or not np.issubdtype(images.dtype, np.number):
        return ""
    return f" in {images.min():.4g}..{images.max():.4g}"


def read_weights(
    published: PublishedFile, path: str | os.PathLike | None, sha256: str | None
) -> tuple[dict[str, np.ndarray], str]:
    """(state dict, SHA-256 in hex) of the file that `locate` finds; `sha256=None` verifies nothing.

    Raises:
      UserError: as `locate` and `torch_file.read_state_dict`.
    """
    found = locate(published, path)
    digest = (
        torch_file.file_sha256(found) if sha256 is None else torch_file.check_sha256(found, sha256)
    )
    return torch_file.read_state_dict(found), digest
