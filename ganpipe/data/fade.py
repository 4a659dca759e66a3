"""The fade-in of progressive growing: real images that gain their finest level gradually."""

import tensorflow as tf


def fade(images: tf.Tensor, alpha: tf.Tensor | float) -> tf.Tensor:
    """lerp(x, up2(avgpool2(x)), alpha): what ProGAN shows its critic while a level fades in.

    Args:
      images: (B, H, W, C) float32, H and W even (static).
      alpha: scalar in [0, 1), the fractional part of the level of detail. 0 is the image as it is;
        towards 1 only what the next lower level holds is left.

    Returns:
      (B, H, W, C) float32.

    Raises:
      ValueError: odd or unknown H or W.
    """
    _, height, width, channels = images.shape
    if not height or not width or height % 2 or width % 2:
        raise ValueError(f"images of {height}x{width} cannot be halved: expected even sides")
    means = tf.nn.avg_pool2d(images, 2, 2, "VALID")  # (B, H/2, W/2, C)
    # Every mean twice along a row, then every row twice; copies are the fastest way in TensorFlow.
    rows = tf.reshape(tf.concat([means, means], -1), [-1, height // 2, 1, width * channels])
    coarse = tf.reshape(tf.concat([rows, rows], 2), [-1, height, width, channels])
    return images + (coarse - images) * tf.cast(alpha, images.dtype)
