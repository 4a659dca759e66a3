"""The feature extractor behind the scores, trained on the data set once and kept as an artifact.

`get_or_train` looks in `cache_dir/<name>-<fingerprint12>/`, which holds

    weights.npz      every variable of the network, float32, keyed by its path
    extractor.json   what it is: name, architecture, data fingerprint, resolution, channels, class
                     names, training settings, test accuracy, SHA-256 of the weights

The fingerprint covers the data's contents, the resolution, the architecture and the settings, so
two scores with the same extractor hash were taken with the same ruler. The name is `smallcnn`
(trained on classes) or `smallcnn-rot` (trained on rotations, for data without labels).
"""

import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics import smallcnn
from ganpipe.metrics.source import ImageSource
from ganpipe.ops import images as image_ops

_WEIGHTS = "weights.npz"
_CARD = "extractor.json"


class ClassifierExtractor:
    """Features, logits and predictions of a trained network, in float32 and fixed batches.

    Images are uint8 (N, H, W, C) at the network's own resolution, or floats in [-1, 1]. Rows are
    padded to one static batch, so results do not depend on how images are grouped.

    Args:
      model: as `smallcnn.build` makes it.
      card: what `extractor.json` holds.
      batch_size: rows computed at once.
    """

    def __init__(self, model: keras.Model, card: Mapping[str, Any], batch_size: int = 250):
        self.model = model
        self.card = dict(card)
        self.batch_size = batch_size
        self.folder: Path | None = None
        shape = (batch_size, *model.input_shape[1:])
        self._forward = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec(shape, tf.float32)],
        )

    @property
    def name(self) -> str:
        """`smallcnn` or `smallcnn-rot`; stands beside every score."""
        return self.card["name"]

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over the weights; stands beside every score."""
        return self.card["weights_sha256"]

    @property
    def num_classes(self) -> int:
        """Classes it tells apart; 0 when it was trained on rotations."""
        return self.card["num_classes"]

    def score_name(self, prefix: str) -> str:
        """`FD` -> `FD-smallcnn`."""
        return f"{prefix}-{self.name}"

    def forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, H, W, C) images -> ((N, d) float32 features, (N, K) float32 logits).

        Raises:
          UserError: another shape or dtype, or floats outside [-1, 1].
        """
        images = self._checked(np.asarray(images))
        features = np.empty((len(images), self.model.output_shape[0][1]), np.float32)
        logits = np.empty((len(images), self.model.output_shape[1][1]), np.float32)
        for start in range(0, len(images), self.batch_size):
            rows = images[start : start + self.batch_size]
            count = len(rows)
            if rows.dtype == np.uint8:
                rows = image_ops.to_float(rows).numpy()
            if count < self.batch_size:
                rows = np.pad(rows, ((0, self.batch_size - count), (0, 0), (0, 0), (0, 0)))
            f, y = self._forward(tf.constant(rows, tf.float32))
            features[start : start + count] = f[:count]
            logits[start : start + count] = y[:count]
        return features, logits

    def features(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) images -> (N, d) float32, non-negative. Errors as `forward`."""
        return self.forward(images)[0]

    def float_features(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) floats in [-1, 1] -> (N, d) float32, without rounding to 8 bits."""
        return self.forward(images)[0]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) images -> (N, K) float32. Errors as `forward`."""
        return self.forward(images)[1]

    def predict(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) images -> (N,) int64 classes. UserError for a network without classes."""
        if not self.num_classes:
            raise UserError(
                f"the extractor {self.name} was trained without labels: it predicts rotations, "
                "not classes"
            )
        return self.logits(images).argmax(axis=1)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        expected = tuple(self.model.input_shape[1:])
        if images.ndim != 4 or images.shape[1:] != expected:
            raise UserError(
                f"images have shape {images.shape}, the extractor {self.name} expects "
                f"(N, {', '.join(map(str, expected))})"
            )
        if images.dtype == np.uint8:
            return images
        if not np.issubdtype(images.dtype, np.floating):
            raise UserError(f"images are {images.dtype}, expected uint8 or floats in [-1, 1]")
        # A range check that NaN fails too.
        if images.size and not np.abs(images).max() <= 1.0 + 1e-3:
            raise UserError(
                f"float images span {images.min():.4g}..{images.max():.4g}, expected [-1, 1]"
            )
        return images


def fingerprint(source: ImageSource, settings: smallcnn.TrainingSettings) -> str:
    """SHA-256 (hex) over all that decides the weights: data, resolution, network, settings."""
    key = {
        "architecture": smallcnn.ARCHITECTURE,
        "data_fingerprint": source.fingerprint,
        "resolution": source.resolution,
        "channels": source.channels,
        "num_classes": source.num_classes,
        "settings": asdict(settings),
    }
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def get_or_train(
    source: ImageSource,
    cache_dir: str | os.PathLike,
    settings: smallcnn.TrainingSettings | None = None,
    notice: Callable[[str], None] | None = None,
) -> ClassifierExtractor:
    """The extractor for a data set: from the cache, or trained now and put there.

    A folder that is damaged (unreadable, or weights that do not have the recorded hash) is
    replaced. Writing is atomic; two processes may train the same one, the first to finish wins.

    Args:
      source: the real images.
      cache_dir: folder of artifacts; made if missing.
      settings: None for the defaults, which published scores use.
      notice: gets one line before training and when a folder is replaced; None prints to stderr.

    Raises:
      UserError: a data set that the network cannot be trained on.
    """
    settings = smallcnn.TrainingSettings() if settings is None else settings
    if notice is None:
        notice = functools.partial(print, file=sys.stderr)
    key = fingerprint(source, settings)
    name = "smallcnn" if source.num_classes else "smallcnn-rot"
    folder = Path(cache_dir).expanduser() / f"{name}-{key[:12]}"
    if folder.exists():
        try:
            return _load(folder, key)
        except (OSError, ValueError, KeyError, EOFError) as error:
            notice(f"{folder} is damaged ({error}): training the classifier again")
    notice(
        f"training the classifier {name} on {source.name} ({source.count('train')} images of "
        f"{source.resolution}x{source.resolution}), once: it is kept in {folder}"
    )
    start = time.monotonic()
    model, seen = smallcnn.train(source, settings)
    seconds = time.monotonic() - start
    weights = {v.path: np.asarray(v.numpy(), np.float32) for v in model.weights}
    split = "test" if "test" in source.per_class else "train"
    card = {
        "name": name,
        "architecture": smallcnn.ARCHITECTURE,
        "fingerprint": key,
        "task": "classes" if source.num_classes else "rotation",
        "feature_dim": smallcnn.FEATURE_DIM,
        "data_name": source.name,
        "data_fingerprint": source.fingerprint,
        "resolution": source.resolution,
        "channels": source.channels,
        "num_classes": source.num_classes,
        "class_names": list(source.class_names),
        "seed": settings.seed,
        "settings": asdict(settings),
        "images_seen": seen,
        "train_seconds": round(seconds, 2),
        "test_split": split,
        "test_count": source.count(split),
        "test_accuracy": smallcnn.accuracy(model, source, split),
        "weights_sha256": _digest(weights),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    _store(folder, weights, card)
    try:
        return _load(folder, key)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RuntimeError(f"{folder} cannot be read back after writing: {error}") from error


def _digest(weights: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and float32 bytes in name order; independent of the container."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], "<f4")
        digest.update(f"{name} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _store(folder: Path, weights: Mapping[str, np.ndarray], card: Mapping[str, Any]) -> None:
    """Writes the artifact beside its place and renames it there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        np.savez(temporary / _WEIGHTS, **weights)
        (temporary / _CARD).write_text(json.dumps(card, indent=2) + "\n")
        temporary.chmod(0o755)
        if folder.exists():  # damaged
            shutil.rmtree(folder, ignore_errors=True)
        try:
            temporary.rename(folder)
        except OSError:
            # Another process was faster; its weights come from the same fingerprint.
            if not (folder / _CARD).exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(folder: Path, key: str) -> ClassifierExtractor:
    """Reads and verifies an artifact; ValueError, KeyError, EOFError or OSError if damaged."""
    card = json.loads((folder / _CARD).read_text())
    if card["fingerprint"] != key:
        raise ValueError(f"{_CARD} is for another fingerprint")
    try:
        with np.load(folder / _WEIGHTS) as archive:
            weights = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise ValueError(f"{_WEIGHTS} cannot be read: {error}") from error
    if _digest(weights) != card["weights_sha256"]:
        raise ValueError(f"{_WEIGHTS} does not have the recorded SHA-256")
    outputs = card["num_classes"] or smallcnn.ROTATIONS
    model = smallcnn.build(card["resolution"], card["channels"], outputs)
    for variable in model.weights:
        variable.assign(weights[variable.path])
    extractor = ClassifierExtractor(model, card)
    extractor.folder = folder
    return extractor
