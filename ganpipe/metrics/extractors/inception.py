"""FID's InceptionV3: the graph of 2015-12-05 in Keras, loaded from its published PyTorch port.

It differs from torchvision's network in four ways (Szegedy et al. 2016 describes the common part):
1008 outputs and no auxiliary head; the average pools of Mixed_5b to 6e and 7b leave the padding
out of their mean; Mixed_7c pools by maximum; the input is (x - 128) / 128 after TF1's bilinear
resize. Scores are called FID, KID and IS only with the published weights.

Two rewritings that change rounding alone: each batch normalisation is folded into its convolution,
and the 1x1 convolution of a pooled branch runs before its average pool, on fewer channels (both are
linear, and a mean without padding keeps the bias).
"""

import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import base, convert, frozen_graph, resize

SIZE = 299
CLASSES = 1008
BN_EPS = 1e-3
VERSION = "inception-2015-12-05/1"

PUBLISHED = base.PublishedFile(
    what="FID's InceptionV3 (2015-12-05)",
    names=("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth"),
    urls=(
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
        "weights-inception-2015-12-05-6726825d.pth",
    ),
    sha256="6726825d",
    licence="Apache-2.0",
)

# tap -> what it gives; (N, d) unless said. "map_192" is before the second max pool (SIFID).
TAPS = {
    "64": 64,
    "192": 192,
    "768": 768,
    "2048": 2048,
    "logits_unbiased": CLASSES,
    "logits": CLASSES,
    "map_192": 192,
}

# Our score names -> what they are called with the published weights.
_PUBLISHED_SCORES = {"FD": "FID", "FDinf": "FID-infinity", "KD": "KID", "CS": "IS"}

Tensor = keras.KerasTensor


def build(
    taps: Sequence[str] = ("2048", "logits_unbiased"), size: int | None = SIZE
) -> keras.Model:
    """The network with weights of no meaning; `assign` fills them.

    Args:
      taps: names out of `TAPS`. `64`, `192`, `768` and `2048` are spatial means; only what they
        need is built.
      size: side of the input; None for any (with `map_192`).

    Returns:
      Model from (N, size, size, 3) float32, scaled as `scale` does, to {tap: (N, d) float32};
      `map_192` is (N, h, w, 192). Convolutions are named by their PyTorch names.

    Raises:
      UserError: an unknown tap.
    """
    for tap in taps:
        if tap not in TAPS:
            raise UserError(f"unknown tap {tap!r} of InceptionV3; known are {', '.join(TAPS)}")
    inputs = keras.Input((size, size, 3), dtype="float32")
    found: dict[str, Tensor] = {}
    for tap, value in _stages(inputs):
        found[tap] = value
        if found.keys() >= set(taps):
            break
    return keras.Model(inputs, {tap: found[tap] for tap in taps}, name="fid_inception_v3")


@functools.cache
def state_shapes() -> dict[str, tuple[int, ...]]:
    """PyTorch names and shapes of all weights, without the step counters: 472 entries."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in build(("logits",)).layers:
        if isinstance(layer, keras.layers.Conv2D):
            height, width, inputs, outputs = layer.kernel.shape
            shapes[f"{layer.name}.conv.weight"] = (outputs, inputs, height, width)
            shapes |= convert.batch_norm_shapes(f"{layer.name}.bn", outputs)
    return shapes | {"fc.weight": (CLASSES, 2048), "fc.bias": (CLASSES,)}


def assign(model: keras.Model, state: Mapping[str, np.ndarray]) -> None:
    """Fills a model of `build` from a state dict of the published names.

    Args:
      model: with any taps.
      state: name -> array, PyTorch layout; `num_batches_tracked` may be absent. For a model without
        logits only what its taps need is looked at, so that its first layers can also be filled
        from torchvision's ImageNet file (1000 classes and an auxiliary head), as SIFID does. Behind
        tap `192` torchvision pools differently: its features are not those of these taps.

    Raises:
      UserError: naming what is missing, too many or of another shape.
    """
    expected, built = state_shapes(), {layer.name for layer in model.layers}
    if "fc" not in built:
        expected = {n: shape for n, shape in expected.items() if n.rsplit(".", 2)[0] in built}
        state = {n: value for n, value in state.items() if n in expected}
    convert.check(state, expected)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            weight = state[f"{layer.name}.conv.weight"]
            weight, bias = convert.fold(weight, state, f"{layer.name}.bn", BN_EPS)
            layer.set_weights([convert.kernel(weight), bias])
        elif layer.name == "fc":
            layer.set_weights([state["fc.weight"].T])
        elif layer.name == "fc_bias":
            layer.set_weights([state["fc.bias"]])


def scale(images: tf.Tensor, convention: str) -> tf.Tensor:
    """0..255 -> the range of the tool that the resize convention belongs to; see `SCALING`."""
    if convention == "torch":
        return 2.0 * (images / 255.0) - 1.0
    return (images - 128.0) / 128.0


SCALING = {"legacy": "(x-128)/128", "clean": "(x-128)/128", "torch": "2*(x/255)-1"}


def from_state(
    state: Mapping[str, np.ndarray],
    weights_sha256: str,
    *,
    convention: str = "legacy",
    tap: str = "2048",
    batch_size: int = 32,
    published: bool = False,
) -> base.Extractor:
    """The extractor of given weights; see `load`, which reads them from the published file."""
    resize.check(convention)
    if tap not in ("64", "192", "768", "2048"):
        raise UserError(f"--tap={tap}: features come from the taps 64, 192, 768 and 2048")
    model = build((tap, "logits_unbiased"))
    assign(model, state)

    def network(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = model(scale(images, convention), training=False)
        return outputs[tap], outputs["logits_unbiased"]

    suffix = "" if tap == "2048" else f"-{tap}"
    right = published and tap == "2048"
    return base.Extractor(
        name=f"Inception{suffix}",
        version=VERSION,
        weights_sha256=weights_sha256,
        contract=base.InputContract(3, SIZE, convention, SCALING[convention]),
        network=network,
        dim=TAPS[tap],
        num_classes=CLASSES,
        task="imagenet",
        batch_size=batch_size,
        published=_PUBLISHED_SCORES if right else None,
    )


def load(
    path: str | os.PathLike | None = None,
    *,
    convention: str = "legacy",
    tap: str = "2048",
    batch_size: int = 32,
    sha256: str | None = PUBLISHED.sha256,
) -> base.Extractor:
    """The extractor of FID, KID and IS from the published file.

    Features are the tap's spatial means; logits are those without bias, as IS takes them.

    Args:
      path: the file; None looks in $GANPIPE_WEIGHTS or ~/.cache/ganpipe/weights. A name ending in
        .pb is read as the TensorFlow graph, `classify_image_graph_def.pb`: the same network, but no
        hash of that file is published, so nothing tells it from another one with these names and
        its scores are called FD-Inception and so on.
      convention: resize, `legacy` (TTUR, torch-fidelity), `torch` (pytorch-fid) or `clean`.
      tap: `64`, `192`, `768` or `2048`.
      batch_size: images computed at once.
      sha256: start of the file's SHA-256; None accepts other weights of the same graph, whose
        scores are then called FD-Inception and so on, never FID.

    Raises:
      UserError: a missing file (tells where it is published), another hash, a file that is no
        state dict, names or shapes of another network, an unknown convention or tap.
    """
    resize.check(convention)
    if path is not None and str(path).endswith(".pb"):
        constants, digest = frozen_graph.read_constants(path)
        state = frozen_graph.inception_state(constants)
    else:
        state, digest = base.read_weights(PUBLISHED, path, sha256)
    return from_state(
        state,
        digest,
        convention=convention,
        tap=tap,
        batch_size=batch_size,
        published=digest.startswith(PUBLISHED.sha256),
    )


def _stages(x: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The taps in the order of the graph; nothing behind the last one asked for is made."""
    x = _conv(x, "Conv2d_1a_3x3", 32, 3, stride=2, padding="valid")
    x = _conv(x, "Conv2d_2a_3x3", 32, 3, padding="valid")
    x = _conv(x, "Conv2d_2b_3x3", 64, 3)
    x = _max_pool(x)
    yield "64", _mean(x)
    x = _conv(x, "Conv2d_3b_1x1", 80, 1, padding="valid")
    x = _conv(x, "Conv2d_4a_3x3", 192, 3, padding="valid")
    yield "map_192", x
    x = _max_pool(x)
    yield "192", _mean(x)
    for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        x = _block_35(x, name, pooled)
    x = _shrink_35(x, "Mixed_6a")
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = _block_17(x, name, width)
    yield "768", _mean(x)
    x = _shrink_17(x, "Mixed_7a")
    x = _block_8(x, "Mixed_7b", _average_branch)
    x = _block_8(x, "Mixed_7c", _max_branch)
    x = _mean(x)
    yield "2048", x
    x = keras.layers.Dense(CLASSES, use_bias=False, name="fc", dtype="float32")(x)
    yield "logits_unbiased", x
    yield "logits", _Bias(name="fc_bias", dtype="float32")(x)


# --- the parts ----------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("ganpipe")
class _Bias(keras.layers.Layer):
    """Adds a vector: the two kinds of logits share one matrix product."""

    def build(self, input_shape):
        self.bias = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="bias")

    def call(self, x):
        return x + self.bias


def _conv(
    x: Tensor,
    name: str,
    filters: int,
    kernel: int | tuple[int, int],
    stride: int = 1,
    padding: str = "same",
    activation: str | None = "relu",
) -> Tensor:
    return keras.layers.Conv2D(
        filters, kernel, stride, padding, activation=activation, name=name, dtype="float32"
    )(x)


def _max_pool(x: Tensor) -> Tensor:
    return keras.layers.MaxPooling2D(3, 2, "valid", dtype="float32")(x)


def _mean(x: Tensor) -> Tensor:
    return keras.layers.GlobalAveragePooling2D(dtype="float32")(x)


def _concat(*parts: Tensor) -> Tensor:
    return keras.layers.Concatenate(dtype="float32")(parts)


def _average_branch(x: Tensor, name: str, filters: int) -> Tensor:
    x = _conv(x, name, filters, 1, activation=None)
    x = keras.layers.AveragePooling2D(3, 1, "same", dtype="float32")(x)
    return keras.layers.ReLU(dtype="float32")(x)


def _max_branch(x: Tensor, name: str, filters: int) -> Tensor:
    x = keras.layers.MaxPooling2D(3, 1, "same", dtype="float32")(x)
    return _conv(x, name, filters, 1)


def _block_35(x: Tensor, name: str, pooled: int) -> Tensor:
    one = _conv(x, f"{name}.branch1x1", 64, 1)
    five = _conv(x, f"{name}.branch5x5_1", 48, 1)
    five = _conv(five, f"{name}.branch5x5_2", 64, 5)
    three = _conv(x, f"{name}.branch3x3dbl_1", 64, 1)
    three = _conv(three, f"{name}.branch3x3dbl_2", 96, 3)
    three = _conv(three, f"{name}.branch3x3dbl_3", 96, 3)
    return _concat(one, five, three, _average_branch(x, f"{name}.branch_pool", pooled))


def _shrink_35(x: Tensor, name: str) -> Tensor:
    single = _conv(x, f"{name}.branch3x3", 384, 3, 2, "valid")
    double = _conv(x, f"{name}.branch3x3dbl_1", 64, 1)
    double = _conv(double, f"{name}.branch3x3dbl_2", 96, 3)
    double = _conv(double, f"{name}.branch3x3dbl_3", 96, 3, 2, "valid")
    return _concat(single, double, _max_pool(x))


def _block_17(x: Tensor, name: str, width: int) -> Tensor:
    one = _conv(x, f"{name}.branch1x1", 192, 1)
    single = _conv(x, f"{name}.branch7x7_1", width, 1)
    single = _conv(single, f"{name}.branch7x7_2", width, (1, 7))
    single = _conv(single, f"{name}.branch7x7_3", 192, (7, 1))
    double = _conv(x, f"{name}.branch7x7dbl_1", width, 1)
    double = _conv(double, f"{name}.branch7x7dbl_2", width, (7, 1))
    double = _conv(double, f"{name}.branch7x7dbl_3", width, (1, 7))
    double = _conv(double, f"{name}.branch7x7dbl_4", width, (7, 1))
    double = _conv(double, f"{name}.branch7x7dbl_5", 192, (1, 7))
    return _concat(one, single, double, _average_branch(x, f"{name}.branch_pool", 192))


def _shrink_17(x: Tensor, name: str) -> Tensor:
    three = _conv(x, f"{name}.branch3x3_1", 192, 1)
    three = _conv(three, f"{name}.branch3x3_2", 320, 3, 2, "valid")
    seven = _conv(x, f"{name}.branch7x7x3_1", 192, 1)
    seven = _conv(seven, f"{name}.branch7x7x3_2", 192, (1, 7))
    seven = _conv(seven, f"{name}.branch7x7x3_3", 192, (7, 1))
    seven = _conv(seven, f"{name}.branch7x7x3_4", 192, 3, 2, "valid")
    return _concat(three, seven, _max_pool(x))


def _block_8(x: Tensor, name: str, pool_branch: Callable[[Tensor, str, int], Tensor]) -> Tensor:
    one = _conv(x, f"{name}.branch1x1", 320, 1)
    single = _conv(x, f"{name}.branch3x3_1", 384, 1)
    single = _split(single, f"{name}.branch3x3_2")
    double = _conv(x, f"{name}.branch3x3dbl_1", 448, 1)
    double = _conv(double, f"{name}.branch3x3dbl_2", 384, 3)
    double = _split(double, f"{name}.branch3x3dbl_3")
    return _concat(one, single, double, pool_branch(x, f"{name}.branch_pool", 192))


def _split(x: Tensor, name: str) -> Tensor:
    return _concat(_conv(x, f"{name}a", 384, (1, 3)), _conv(x, f"{name}b", 384, (3, 1)))
