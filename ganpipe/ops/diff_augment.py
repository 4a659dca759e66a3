"""DiffAugment (Zhao et al. 2020, arXiv 2006.10738): fixed differentiable augmentations.

Every operation of the policy happens to every image, always, with random parameters. Facts from
mit-han-lab/data-efficient-gans 297dc8c (DiffAugment_tf.py); written anew.
"""

import tensorflow as tf

from ganpipe.errors import UserError

POLICIES = ("color", "translation", "cutout")
# Divisors of each side, rounded down as officially: the largest shift, the square of zeros.
TRANSLATION, CUTOUT = 8, 2


def parse_policy(policy: str) -> tuple[str, ...]:
    """Names of a comma-separated policy in their order; "" is none.

    Raises:
      UserError: for an unknown name.
    """
    names = tuple(name.strip() for name in policy.split(",") if name.strip())
    for name in names:
        if name not in POLICIES:
            raise UserError(
                f"DiffAugment policy {name!r} is unknown; known, separated by commas: "
                f"{', '.join(POLICIES)}"
            )
    return names


def _key(seed: tf.Tensor, number: int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, number)


def color(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Brightness + U(-.5, .5), saturation * U(0, 2), contrast * U(.5, 1.5), in this order."""
    count = tf.shape(images)[0]
    u = tf.random.stateless_uniform([3, count, 1, 1, 1], seed)
    images += u[0] - 0.5
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = (images - grey) * (2.0 * u[1]) + grey
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return (images - mean) * (u[2] + 0.5) + mean


def shift(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Moves each image down by `rows` (B,) and right by `columns` (B,) int32; zeros come in."""
    height, width = images.shape[1:3]

    def along(x: tf.Tensor, size: int, amount: tf.Tensor) -> tf.Tensor:
        # Axis 1, with zeros in front that all pixels from outside are read from.
        source = tf.range(size)[None, :] - amount[:, None] + 1
        source = tf.where((source >= 1) & (source <= size), source, 0)
        return tf.gather(tf.pad(x, [[0, 0], [1, 0], [0, 0], [0, 0]]), source, batch_dims=1)

    images = along(images, height, rows)
    images = along(tf.transpose(images, [0, 2, 1, 3]), width, columns)
    return tf.transpose(images, [0, 2, 1, 3])


def translation(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Shift by whole pixels, uniform up to an eighth of each side; zeros come in."""
    count, (height, width) = tf.shape(images)[0], images.shape[1:3]
    most = [size // TRANSLATION for size in (height, width)]
    amounts = [
        tf.random.stateless_uniform(
            [count], _key(seed, axis), -most[axis], most[axis] + 1, tf.int32
        )
        for axis in range(2)
    ]
    return shift(images, *amounts)


def cutout(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Zeros in a square of half the side, its centre uniform over the image."""
    count, kept = tf.shape(images)[0], []
    for axis, pixels in enumerate(images.shape[1:3]):
        side = pixels // CUTOUT
        # An even square has its centre between pixels, in one place more.
        centre = tf.random.stateless_uniform(
            [count, 1], _key(seed, axis), 0, pixels + 1 - side % 2, tf.int32
        )
        first = centre - side // 2
        at = tf.range(pixels)[None, :]
        kept.append((at < first) | (at >= first + side))
    mask = kept[0][:, :, None] | kept[1][:, None, :]
    return images * tf.cast(mask, images.dtype)[..., None]


def diff_augment(
    images: tf.Tensor, policy: str = "color,translation,cutout", *, seed: tf.Tensor
) -> tf.Tensor:
    """Augments reals or fakes before the discriminator, in every step of D and of G.

    Args:
      images: (B, H, W, C) floats, [-1, 1]; H, W and C static.
      policy: of "color", "translation", "cutout", separated by commas, applied in that order.
      seed: (2,) integer; the same seed and batch give the same result.

    Returns:
      As `images`, computed in float32 and not clipped; differentiable to any order.

    Raises:
      UserError: for an unknown name in the policy.
    """
    operations = {"color": color, "translation": translation, "cutout": cutout}
    dtype, images = images.dtype, tf.cast(images, tf.float32)
    for name in parse_policy(policy):
        images = operations[name](images, _key(seed, POLICIES.index(name)))
    return tf.cast(images, dtype)
