"""Raw pixels as features: what a score sees without any network; for toys, tests and baselines."""

import hashlib

import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import base

VERSION = "pixels/1"


def load(
    channels: int, size: int, *, convention: str = "clean", batch_size: int = 256
) -> base.Extractor:
    """Pixels in [-1, 1], row by row, channels last.

    Args:
      channels: of the images.
      size: images are resized to this side first; give the images' own size to keep them as they
        are.
      convention: resize.
      batch_size: images computed at once.

    Returns:
      Extractor with d = size * size * channels.

    Raises:
      UserError: a size or channel count below 1, an unknown convention.
    """
    if channels < 1 or size < 1:
        raise UserError(f"channels={channels} and size={size}: both must be at least 1")
    dim = size * size * channels

    def network(images: tf.Tensor) -> tuple[tf.Tensor, None]:
        return tf.reshape(images / 127.5 - 1.0, (images.shape[0], dim)), None

    return base.Extractor(
        name="pixels",
        version=VERSION,
        weights_sha256=hashlib.sha256(VERSION.encode()).hexdigest(),
        contract=base.InputContract(channels, size, convention, "x/127.5-1"),
        network=network,
        dim=dim,
        batch_size=batch_size,
    )
