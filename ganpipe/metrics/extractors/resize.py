"""The resize conventions of the published scores, each exactly as the tool that set it.

| name | what | used by |
| --- | --- | --- |
| `legacy` | TF1 bilinear: source = index * in / out, no antialias | TTUR, torch-fidelity |
| `torch` | bilinear at half-pixel centres, no antialias | pytorch-fid |
| `clean` | bicubic (a = -0.5), antialiased, clipped to 0..255, unrounded | clean-fid (PIL) |

`legacy` reads pixels shifted by up to half an input pixel, `legacy` and `torch` alias when they
shrink (Parmar et al. 2022, arXiv:2104.11222): scores under different conventions do not compare.
"""

from collections.abc import Callable

import tensorflow as tf

from ganpipe.errors import UserError


def legacy(images: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear as in TF1; bit-exact with it. Shapes and ranges as `resize`."""
    return tf.raw_ops.ResizeBilinear(
        images=images, size=[size, size], align_corners=False, half_pixel_centers=False
    )


def torch(images: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear as `torch.nn.functional.interpolate(align_corners=False)`. As `resize`."""
    return tf.raw_ops.ResizeBilinear(
        images=images, size=[size, size], align_corners=False, half_pixel_centers=True
    )


def clean(images: tf.Tensor, size: int) -> tf.Tensor:
    """Bicubic as PIL on float channels, within 5e-4 of 255. Shapes and ranges as `resize`."""
    resized = tf.image.resize(images, [size, size], method="bicubic", antialias=True)
    return tf.clip_by_value(resized, 0.0, 255.0)


CONVENTIONS: dict[str, Callable[[tf.Tensor, int], tf.Tensor]] = {
    "legacy": legacy,
    "torch": torch,
    "clean": clean,
}


def check(convention: str) -> None:
    """UserError unless the convention is one of `CONVENTIONS`."""
    if convention not in CONVENTIONS:
        raise UserError(f"unknown resize {convention!r}; known are {', '.join(CONVENTIONS)}")


def resize(images: tf.Tensor, size: int, convention: str) -> tf.Tensor:
    """Images as a square of `size`; the sides are stretched apart if the image is not square.

    Args:
      images: (N, H, W, C) float32 or uint8 in 0..255, H and W static.
      size: side of the result.
      convention: name out of `CONVENTIONS`.

    Returns:
      (N, size, size, C) float32 in 0..255, not rounded. Images of that size come back unchanged.

    Raises:
      UserError: an unknown convention.
    """
    check(convention)
    images = tf.cast(images, tf.float32)
    if tuple(images.shape[1:3]) == (size, size):
        return images
    return CONVENTIONS[convention](images, size)
