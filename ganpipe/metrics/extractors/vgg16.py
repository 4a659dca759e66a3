"""VGG16 (Simonyan & Zisserman 2015): the fc2 features of precision and recall, and LPIPS's trunk.

Plain functions on a dict of weights in TensorFlow's layout, so the trunk runs in float32 or float64
and at any size of image. Weights come from torchvision's published file.
"""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import base, convert, resize

SIZE = 224
FC_DIM = 4096
CLASSES = 1000
VERSION = "vgg16-fc2/1"
# Input statistics of torchvision's ImageNet networks, for 0..1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

PUBLISHED = base.PublishedFile(
    what="VGG16, trained on ImageNet",
    names=("vgg16-397923af.pth",),
    urls=("https://download.pytorch.org/models/vgg16-397923af.pth",),
    sha256="397923af",
    licence="BSD-3-Clause code, weights trained on ImageNet",
)

# (index in torchvision's `features`, input, output channels); a max pool comes before each stage
# but the first.
STAGES = (
    ((0, 3, 64), (2, 64, 64)),
    ((5, 64, 128), (7, 128, 128)),
    ((10, 128, 256), (12, 256, 256), (14, 256, 256)),
    ((17, 256, 512), (19, 512, 512), (21, 512, 512)),
    ((24, 512, 512), (26, 512, 512), (28, 512, 512)),
)
TAP_CHANNELS = (64, 128, 256, 512, 512)

Weights = Mapping[str, tf.Tensor]


def trunk_shapes() -> dict[str, tuple[int, ...]]:
    """PyTorch names and shapes of the 13 convolutions."""
    shapes: dict[str, tuple[int, ...]] = {}
    for index, inputs, outputs in (layer for stage in STAGES for layer in stage):
        shapes[f"features.{index}.weight"] = (outputs, inputs, 3, 3)
        shapes[f"features.{index}.bias"] = (outputs,)
    return shapes


def state_shapes(fc_dim: int = FC_DIM) -> dict[str, tuple[int, ...]]:
    """PyTorch names and shapes of the whole classifier: 32 entries."""
    shapes = trunk_shapes()
    sizes = {"0": (fc_dim, 512 * 7 * 7), "3": (fc_dim, fc_dim), "6": (CLASSES, fc_dim)}
    for index, (outputs, inputs) in sizes.items():
        shapes[f"classifier.{index}.weight"] = (outputs, inputs)
        shapes[f"classifier.{index}.bias"] = (outputs,)
    return shapes


def convolution_weights(
    state: Mapping[str, np.ndarray], dtype: str = "float32"
) -> dict[str, tf.Tensor]:
    """The entries of a state dict as TensorFlow constants; convolution weights as (h, w, I, O)."""
    return {
        name: tf.constant(convert.kernel(value) if value.ndim == 4 else value, dtype)
        for name, value in state.items()
    }


def conv(x: tf.Tensor, weights: Weights, name: str, stride: int = 1, padding: int = 0) -> tf.Tensor:
    """Convolution with bias and symmetric zero padding, then ReLU."""
    edge = [padding, padding]
    x = tf.nn.conv2d(x, weights[f"{name}.weight"], stride, [[0, 0], edge, edge, [0, 0]])
    return tf.nn.relu(tf.nn.bias_add(x, weights[f"{name}.bias"]))


def trunk(x: tf.Tensor, weights: Weights) -> list[tf.Tensor]:
    """The features after ReLU at the end of each stage (relu1_2 to relu5_3).

    Args:
      x: (N, H, W, 3), scaled, of the weights' dtype; H and W at least 16.
      weights: from `convolution_weights`.

    Returns:
      Five tensors (N, H / 2^i, W / 2^i, `TAP_CHANNELS[i]`), sizes rounded down.
    """
    taps = []
    for stage in STAGES:
        if taps:
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        for index, _, _ in stage:
            x = conv(x, weights, f"features.{index}", padding=1)
        taps.append(x)
    return taps


def from_state(
    state: Mapping[str, np.ndarray],
    weights_sha256: str,
    *,
    convention: str = "legacy",
    batch_size: int = 16,
    fc_dim: int = FC_DIM,
) -> base.Extractor:
    """The extractor of given weights; see `load`. `fc_dim` is for tests."""
    resize.check(convention)
    convert.check(state, state_shapes(fc_dim))
    weights = convolution_weights({name: state[name] for name in trunk_shapes()})
    # PyTorch flattens (C, 7, 7), TensorFlow (7, 7, C).
    first = np.reshape(state["classifier.0.weight"], (fc_dim, 512, 7, 7))
    dense = [
        tf.constant(convert.kernel(first).reshape(-1, fc_dim)),
        tf.constant(np.ascontiguousarray(state["classifier.3.weight"].T)),
    ]
    biases = [tf.constant(state[f"classifier.{i}.bias"]) for i in (0, 3)]
    # In float32, like the reference.
    mean, std = (255 * tf.constant(v, tf.float32) for v in (MEAN, STD))

    def network(images: tf.Tensor) -> tuple[tf.Tensor, None]:
        x = trunk((images - mean) / std, weights)[-1]
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(x, (images.shape[0], -1))
        for matrix, bias in zip(dense, biases, strict=True):
            x = tf.nn.relu(tf.matmul(x, matrix) + bias)
        return x, None

    return base.Extractor(
        name="VGG16",
        version=VERSION,
        weights_sha256=weights_sha256,
        contract=base.InputContract(3, SIZE, convention, "(x/255 - mean)/std of ImageNet"),
        network=network,
        dim=fc_dim,
        task="imagenet",
        batch_size=batch_size,
    )


def load(
    path: str | os.PathLike | None = None,
    *,
    convention: str = "legacy",
    batch_size: int = 16,
    sha256: str | None = PUBLISHED.sha256,
) -> base.Extractor:
    """The 4096 features after fc2's ReLU, as precision and recall take them.

    Kynkaanniemi et al. 2019 (arXiv:1904.06991, sec. 3.1); preprocessing as in torch-fidelity's
    `prc`.

    Args:
      path: the file; None looks in $GANPIPE_WEIGHTS or ~/.cache/ganpipe/weights.
      convention: resize to 224.
      batch_size: images computed at once.
      sha256: start of the file's SHA-256; None accepts other weights of the same graph.

    Raises:
      UserError: a missing file (tells where it is published), another hash, a file that is no
        state dict, names or shapes of another network.
    """
    resize.check(convention)
    state, digest = base.read_weights(PUBLISHED, path, sha256)
    return from_state(state, digest, convention=convention, batch_size=batch_size)


def check_size(images_shape: tuple[int, ...], smallest: int, name: str) -> None:
    """UserError when images are smaller than the trunk's pools allow."""
    if min(images_shape[1:3]) < smallest:
        raise UserError(
            f"images are {images_shape[1]}x{images_shape[2]}, {name} needs at least "
            f"{smallest}x{smallest}"
        )
