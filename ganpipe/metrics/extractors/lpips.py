"""LPIPS v0.1 (Zhang et al. 2018): a perceptual distance between two images, for PPL and diversity.

Both images go through a trained trunk; features are normalised per location, their squared
difference is weighted per channel by a learnt head, averaged over space and summed over layers.
The heads are those of the `lpips` 0.1.4 package (`lpips_heads/`, BSD-2-Clause); the trunks
are torchvision's published files, which the user has.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import base, convert, torch_file, vgg16

VERSION = "lpips-0.1/1"
_HEADS = Path(__file__).parent / "lpips_heads"
# Applied to [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_EPS = 1e-10

_ALEX = ((0, 3, 64, 11), (3, 64, 192, 5), (6, 192, 384, 3), (8, 384, 256, 3), (10, 256, 256, 3))
# index -> input, squeezed, expanded channels (each of two)
_FIRES = {
    3: (64, 16, 64),
    4: (128, 16, 64),
    6: (128, 32, 128),
    7: (256, 32, 128),
    9: (256, 48, 192),
    10: (384, 48, 192),
    11: (384, 64, 256),
    12: (512, 64, 256),
}


def alex_shapes() -> dict[str, tuple[int, ...]]:
    """PyTorch names and shapes of AlexNet's convolutions."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, inputs, outputs, kernel in _ALEX:
        shapes[f"features.{index}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"features.{index}.bias"] = (outputs,)
    return shapes


def squeeze_shapes() -> dict[str, tuple[int, ...]]:
    """PyTorch names and shapes of SqueezeNet 1.1's convolutions."""
    shapes: dict[str, tuple[int, ...]] = {
        "features.0.weight": (64, 3, 3, 3),
        "features.0.bias": (64,),
    }
    for index, (inputs, squeezed, expanded) in _FIRES.items():
        for part, outputs, channels, kernel in (
            ("squeeze", squeezed, inputs, 1),
            ("expand1x1", expanded, squeezed, 1),
            ("expand3x3", expanded, squeezed, 3),
        ):
            shapes[f"features.{index}.{part}.weight"] = (outputs, channels, kernel, kernel)
            shapes[f"features.{index}.{part}.bias"] = (outputs,)
    return shapes


def alex_trunk(x: tf.Tensor, weights: vgg16.Weights) -> list[tf.Tensor]:
    """(N, H, W, 3) scaled -> five taps after ReLU; H and W at least 31."""
    x = vgg16.conv(x, weights, "features.0", stride=4, padding=2)
    taps = [x]
    x = vgg16.conv(tf.nn.max_pool2d(x, 3, 2, "VALID"), weights, "features.3", padding=2)
    taps.append(x)
    x = tf.nn.max_pool2d(x, 3, 2, "VALID")
    for index in (6, 8, 10):
        x = vgg16.conv(x, weights, f"features.{index}", padding=1)
        taps.append(x)
    return taps


def squeeze_trunk(x: tf.Tensor, weights: vgg16.Weights) -> list[tf.Tensor]:
    """(N, H, W, 3) scaled -> seven taps after ReLU; H and W at least 17."""
    x = vgg16.conv(x, weights, "features.0", stride=2)
    taps = [x]
    for index in _FIRES:
        if index in (3, 6, 9):
            x = _ceil_pool(x)
        name = f"features.{index}"
        x = vgg16.conv(x, weights, f"{name}.squeeze")
        one = vgg16.conv(x, weights, f"{name}.expand1x1")
        three = vgg16.conv(x, weights, f"{name}.expand3x3", padding=1)
        x = tf.concat([one, three], axis=3)
        if index in (4, 7, 9, 10, 11, 12):
            taps.append(x)
    return taps


def _ceil_pool(x: tf.Tensor) -> tf.Tensor:
    """Max pool 3x3/2 whose last window may hang over the edge (PyTorch's `ceil_mode`)."""
    # After ReLU nothing is below the zeros that are padded.
    rows, columns = ((n - 3) % 2 for n in x.shape[1:3])
    x = tf.pad(x, [[0, 0], [0, rows], [0, columns], [0, 0]])
    return tf.nn.max_pool2d(x, 3, 2, "VALID")


@dataclass(frozen=True)
class Net:
    """One of LPIPS's trunks.

    Attributes:
      published: torchvision's file; its `features.*` are used, its classifier is not.
      shapes: names and shapes of the trunk.
      trunk: (scaled images, weights) -> taps.
      channels: of the taps.
      smallest: side of the smallest image.
      head_sha256: of the shipped head file.
    """

    published: base.PublishedFile
    shapes: Callable[[], dict[str, tuple[int, ...]]]
    trunk: Callable[[tf.Tensor, vgg16.Weights], list[tf.Tensor]]
    channels: tuple[int, ...]
    smallest: int
    head_sha256: str


def _published(what: str, name: str) -> base.PublishedFile:
    return base.PublishedFile(
        what=f"{what}, trained on ImageNet",
        names=(name,),
        urls=(f"https://download.pytorch.org/models/{name}",),
        sha256=name.rpartition("-")[2].removesuffix(".pth"),
        licence="BSD-3-Clause code, weights trained on ImageNet",
    )


NETS = {
    "alex": Net(
        _published("AlexNet", "alexnet-owt-7be5be79.pth"),
        alex_shapes,
        alex_trunk,
        (64, 192, 384, 256, 256),
        31,
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    ),
    "vgg": Net(
        vgg16.PUBLISHED,
        vgg16.trunk_shapes,
        vgg16.trunk,
        vgg16.TAP_CHANNELS,
        16,
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    ),
    "squeeze": Net(
        _published("SqueezeNet 1.1", "squeezenet1_1-b8a52dc0.pth"),
        squeeze_shapes,
        squeeze_trunk,
        (64, 128, 256, 384, 384, 512, 512),
        17,
        "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
    ),
}


class LPIPS:
    """The distance of pairs of images, in static compiled batches.

    Attributes:
      name: `LPIPS-vgg`, stands beside every score; the trunk's and heads' hash is `hash`.

    Args:
      net: key of `NETS`.
      state: trunk weights by PyTorch name; other entries than the trunk's are left alone.
      hash: SHA-256 (hex) of what the weights came from.
      heads: False for the baseline without learnt weights (sum over channels).
      batch_size: pairs computed at once.
      dtype: float32, or float64 for tests.
    """

    def __init__(
        self,
        net: str,
        state: Mapping[str, np.ndarray],
        *,
        hash: str,
        heads: bool = True,
        batch_size: int = 16,
        dtype: str = "float32",
    ):
        found = _net(net)
        shapes = found.shapes()
        state = {k: v for k, v in state.items() if not k.startswith("classifier.")}
        convert.check(state, shapes)
        self.net = found
        self.name = f"LPIPS-{net}" if heads else f"LPIPS-{net}-baseline"
        self.version = VERSION
        self.hash = hash
        self.batch_size = batch_size
        self._dtype = dtype
        self._weights = vgg16.convolution_weights(state, dtype)
        self._heads = [tf.constant(h, dtype) for h in _heads(net)] if heads else None
        self._compiled = tf.function(self.per_layer)

    def per_layer(self, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
        """(N, H, W, 3) images in [-1, 1] -> (N, L) terms, whose sum is the distance.

        Differentiable; H and W static.
        """
        # The reference keeps them in float32, in float64 arithmetic too.
        shift, scale = (tf.cast(tf.constant(v, tf.float32), first.dtype) for v in (_SHIFT, _SCALE))
        both = (tf.concat([first, second], axis=0) - shift) / scale
        terms = []
        for i, tap in enumerate(self.net.trunk(both, self._weights)):
            a, b = tf.split(_unit(tap), 2, axis=0)
            difference = tf.square(a - b)
            if self._heads is None:
                terms.append(tf.reduce_mean(tf.reduce_sum(difference, axis=3), axis=(1, 2)))
            else:
                # The mean over space first: both are linear.
                means = tf.reduce_mean(difference, axis=(1, 2))
                terms.append(tf.linalg.matvec(means, self._heads[i]))
        return tf.stack(terms, axis=1)

    def distance(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Distance of each pair.

        Args:
          first, second: (N, H, W, 3) uint8, or floats in [-1, 1]; one may be of either.

        Returns:
          (N,) float64 (of float32 arithmetic), 0 for equal images, symmetric.

        Raises:
          UserError: unlike shapes, greyscale, too small, another dtype or range.
        """
        return self.terms(first, second).sum(axis=1)

    def terms(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """As `distance`, but the (N, L) float64 terms of the layers."""
        first, second = np.asarray(first), np.asarray(second)
        if first.shape != second.shape:
            raise UserError(
                f"the two sides of {self.name} have shapes {first.shape} and {second.shape}: "
                "they must be pairs"
            )
        pairs = [_checked(self.name, images, self.net.smallest) for images in (first, second)]
        result = np.empty((len(first), len(self.net.channels)))
        for start in range(0, len(first), self.batch_size):
            rows = [_to_float(p[start : start + self.batch_size], self._dtype) for p in pairs]
            count = len(rows[0])
            if count < self.batch_size:
                pad = ((0, self.batch_size - count), (0, 0), (0, 0), (0, 0))
                rows = [np.pad(r, pad) for r in rows]
            terms = self._compiled(*(tf.constant(r) for r in rows))
            result[start : start + count] = terms.numpy()[:count]
        return result


def load(
    net: str = "vgg",
    path: str | os.PathLike | None = None,
    *,
    heads: bool = True,
    batch_size: int = 16,
    sha256: str | None = "published",
) -> LPIPS:
    """LPIPS with torchvision's published trunk.

    Args:
      net: `alex`, `vgg` (PPL) or `squeeze`.
      path: the trunk's file; None looks in $GANPIPE_WEIGHTS or ~/.cache/ganpipe/weights.
      heads: False for the baseline without learnt weights.
      batch_size: pairs computed at once.
      sha256: start of the trunk file's SHA-256; "published" for torchvision's, None accepts other
        weights of the same graph.

    Raises:
      UserError: an unknown net, a missing file (tells where it is published), another hash, names
        or shapes of another network.
    """
    found = _net(net)
    expected = found.published.sha256 if sha256 == "published" else sha256
    state, trunk_digest = base.read_weights(found.published, path, expected)
    digest = hashlib.sha256(f"{trunk_digest} {found.head_sha256}".encode()).hexdigest()
    return LPIPS(net, state, hash=digest, heads=heads, batch_size=batch_size)


def _net(name: str) -> Net:
    if name not in NETS:
        raise UserError(f"unknown LPIPS network {name!r}; known are {', '.join(NETS)}")
    return NETS[name]


def _heads(net: str) -> list[np.ndarray]:
    """The (C,) weights of each layer's head."""
    found = NETS[net]
    state = torch_file.read_state_dict(_HEADS / f"{net}.pth", found.head_sha256)
    names = [f"lin{i}.model.1.weight" for i in range(len(found.channels))]
    expected = {n: (1, c, 1, 1) for n, c in zip(names, found.channels, strict=True)}
    convert.check(state, expected)
    return [state[name].reshape(-1) for name in names]


def _unit(x: tf.Tensor) -> tf.Tensor:
    """Features divided by their length over channels, plus 1e-10."""
    # Not tf.norm: its gradient at zero, which a ReLU gives often, is not a number.
    squares = tf.reduce_sum(tf.square(x), axis=3, keepdims=True)
    positive = squares > 0
    length = tf.where(positive, tf.sqrt(tf.where(positive, squares, 1.0)), 0.0)
    return x / (length + _EPS)


def _to_float(images: np.ndarray, dtype: str) -> np.ndarray:
    if images.dtype == np.uint8:
        return images.astype(dtype) / np.asarray(127.5, dtype) - np.asarray(1, dtype)
    return images.astype(dtype)


def _checked(name: str, images: np.ndarray, smallest: int) -> np.ndarray:
    if images.ndim != 4 or images.shape[3] != 3:
        raise UserError(
            f"images have shape {images.shape}, {name} expects colour images (N, height, width, 3)"
        )
    vgg16.check_size(images.shape, smallest, name)
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(f"images are {images.dtype}, {name} expects uint8 or floats in [-1, 1]")
    # A range check that NaN fails too.
    if images.size and not np.abs(images).max() <= 1.0 + 1e-3:
        raise UserError(
            f"float images span {images.min():.4g}..{images.max():.4g}, {name} expects [-1, 1]"
        )
    return images
