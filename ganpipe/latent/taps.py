"""Looking into a generator of any kind: which layers see what, and masks on what they see."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

# (layer, first argument) -> what the layer gets instead
Look = Callable[[keras.layers.Layer, Any], Any]


@contextlib.contextmanager
def watched(layers: list[keras.layers.Layer], look: Look) -> Iterator[None]:
    """Calls of `layers` pass through `look` first; traces made meanwhile keep it."""

    def wrapped(layer: keras.layers.Layer, call: Callable) -> Callable:
        def inner(x: Any, *args: Any, **kwargs: Any) -> Any:
            return call(look(layer, x), *args, **kwargs)

        return inner

    # Keras' own setter would track the attribute as part of the layer.
    for layer in layers:
        object.__setattr__(layer, "call", wrapped(layer, layer.call))
    try:
        yield
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def weighted(network: keras.Model, rank: int) -> list[keras.layers.Layer]:
    """Layers of a network with a kernel of this rank: 2 dense, 4 convolutional."""
    found = []
    for layer in network._flatten_layers(include_self=False):
        kernel = getattr(layer, "kernel", None)
        if kernel is not None and len(kernel.shape) == rank:
            found.append(layer)
    return found


def runtime_kernel(layer: keras.layers.Layer) -> tf.Tensor:
    """The kernel as the layer applies it: scaled where the learning rate is equalised."""
    if hasattr(layer, "scaled_kernel"):
        return tf.convert_to_tensor(layer.scaled_kernel())
    return tf.convert_to_tensor(layer.kernel)


def order(
    layers: list[keras.layers.Layer], run: Callable[[], Any]
) -> list[tuple[keras.layers.Layer, Any]]:
    """(layer, first argument) of the calls that `run` makes, in order, each layer once."""
    seen: list[tuple[keras.layers.Layer, Any]] = []

    def look(layer: keras.layers.Layer, x: Any) -> Any:
        if all(layer is not other for other, _ in seen):
            seen.append((layer, x))
        return x

    with watched(layers, look):
        run()
    return seen
