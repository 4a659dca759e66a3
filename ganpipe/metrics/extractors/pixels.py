"""Raw pixels as features: what a score sees without any network; for toys, tests and baselines."""

import hashlib

import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import base

VERSION = "pixels/1"


def load(
    channels: int,
    size: int | tuple[int, int],
    *,
    convention: str = "clean",
    batch_size: int = 256,
) -> base.Extractor:
    """Pixels in [-1, 1], row by row, channels last.

    Args:
      channels: of the images.
      size: images are resized to this side first; give the images' own size to keep them as they
        are. (height, width): of images that are not square, which are not resized.
      convention: resize.
      batch_size: images computed at once.

    Returns:
      Extractor with d = height * width * channels.

    Raises:
      UserError: a size or channel count below 1, an unknown convention; (of the extractor) images
        of another size than (height, width).
    """
    height, width = (size, size) if isinstance(size, int) else size
    if channels < 1 or min(height, width) < 1:
        raise UserError(f"channels={channels} and size={size}: both must be at least 1")
    dim = height * width * channels
    contract = base.InputContract(channels, None, None, "x/127.5-1")
    if isinstance(size, int):
        contract = base.InputContract(channels, size, convention, "x/127.5-1")

    def network(images: tf.Tensor) -> tuple[tf.Tensor, None]:
        if tuple(images.shape[1:3]) != (height, width):
            raise UserError(
                f"images are {images.shape[1]}x{images.shape[2]}, the extractor pixels was made "
                f"for {height}x{width}"
            )
        return tf.reshape(images / 127.5 - 1.0, (images.shape[0], dim)), None

    return base.Extractor(
        name="pixels",
        version=VERSION,
        weights_sha256=hashlib.sha256(VERSION.encode()).hexdigest(),
        contract=contract,
        network=network,
        dim=dim,
        batch_size=batch_size,
    )
