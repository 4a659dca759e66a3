"""Trained classifiers in a folder, one file each, keyed by all that decides their weights."""

import dataclasses
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ganpipe.defence import classifiers

Extra = Callable[[], tuple[np.ndarray, np.ndarray]]


def fingerprint(settings: classifiers.Settings, data_fingerprint: str, extra_name: str = "") -> str:
    """SHA-256 (hex) of the settings, the data and the name of further images."""
    key = dataclasses.asdict(settings) | {"data": data_fingerprint, "version": 1}
    key |= {"extra": extra_name} if extra_name else {}
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def load_or_train(
    folder: Path,
    settings: classifiers.Settings,
    data_fingerprint: str,
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    extra: Extra | None = None,
    extra_name: str = "",
) -> tuple[keras.Model, dict[str, Any]]:
    """The classifier of these settings: from `folder`, or trained now and put there.

    A file that cannot be read is replaced, with a line on stderr.

    Args:
      folder: made if missing.
      settings: of the classifier.
      data_fingerprint: of the training images.
      images: (N, H, W, C) uint8 training images.
      labels: (N,).
      num_classes: K.
      extra: makes the further images and labels of `classifiers.train`; called only to train.
      extra_name: all that decides them.

    Returns:
      The network, and {"file", "parameters", "train_seconds", and the settings}.

    Raises:
      UserError: settings that cannot be.
    """
    settings.check()
    key = fingerprint(settings, data_fingerprint, extra_name)
    path = Path(folder) / f"classifier-{settings.model}-{key[:12]}.npz"
    if path.exists():
        network = classifiers.build(
            settings.model, images.shape[1:], num_classes, settings.dropout, settings.seed
        )
        try:
            with np.load(path) as archive:
                seconds = float(archive["seconds"])
                for i, variable in enumerate(network.trainable_variables):
                    variable.assign(archive[f"weight{i}"])
            return network, _card(network, settings, path, seconds)
        except Exception as error:  # zipfile, zlib, numpy and Keras each raise their own
            print(f"{path} is damaged ({error}): training it again", file=sys.stderr)
    start = time.monotonic()
    more = extra() if extra is not None else None
    name = f"classifier {settings.model}" + (" (adversarial)" if settings.adversarial else "")
    network = classifiers.train(images, labels, num_classes, settings, name, more)
    seconds = time.monotonic() - start
    weights = {f"weight{i}": v.numpy() for i, v in enumerate(network.trainable_variables)}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, seconds=seconds, **weights)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return network, _card(network, settings, path, seconds)


def _card(
    network: keras.Model, settings: classifiers.Settings, path: Path, seconds: float
) -> dict[str, Any]:
    parameters = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    card = {"file": path.name, "parameters": parameters, "train_seconds": round(seconds, 1)}
    return dataclasses.asdict(settings) | card
