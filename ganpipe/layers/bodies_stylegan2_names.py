"""StyleGAN2's weights by their names in NVlabs/stylegan2-ada-pytorch, both ways.

Layouts differ by kind:

    same        equal
    dense       (out, in) there, (in, out) here
    conv        (O, C, h, w) there, (h, w, C, O) here; never turned, up-convolutions included
    const       (C, 4, 4) there, (1, 4, 4, C) here
    flat_dense  `b4.fc`: (out, C * 4 * 4) there, its input flattened as (channel, row, column);
                (4 * 4 * C, out) here, as (row, column, channel)

`resample_filter` buffers are constants and have no variable here.
"""

from collections.abc import Mapping as MappingType
from typing import Any

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.layers.bodies_stylegan2 import StyleGenerator
from ganpipe.layers.bodies_stylegan2_layers import Mapping

KINDS = ("same", "dense", "conv", "const", "flat_dense")

Entry = tuple[Any, str]


def _dense(prefix: str, layer: Any, kind: str = "dense") -> dict[str, Entry]:
    return {f"{prefix}.weight": (layer.kernel, kind), f"{prefix}.bias": (layer.bias, "same")}


def _mapping(layer: Mapping) -> dict[str, Entry]:
    names: dict[str, Entry] = {}
    if layer.table is not None:
        names["mapping.embed.weight"] = (layer.table, "dense")
    if layer.embed is not None:
        names |= _dense("mapping.embed", layer.embed)
    for i, dense in enumerate(layer.dense):
        names |= _dense(f"mapping.fc{i}", dense)
    return names


def _conv(prefix: str, layer: Any) -> dict[str, Entry]:
    names = {f"{prefix}.weight": (layer.kernel, "conv")}
    if hasattr(layer, "bias"):
        names[f"{prefix}.bias"] = (layer.bias, "same")
    if hasattr(layer, "style"):
        names |= _dense(f"{prefix}.affine", layer.style)
    if hasattr(layer, "noise_strength"):
        names[f"{prefix}.noise_strength"] = (layer.noise_strength, "same")
        names[f"{prefix}.noise_const"] = (layer.noise, "same")
    return names


def official_names(network: keras.Model) -> dict[str, Entry]:
    """Official name -> (our variable, kind) of every weight, buffers included.

    Args:
      network: a `StyleGenerator` or a `StyleDiscriminator`.
    """
    names: dict[str, Entry] = {}
    if isinstance(network, StyleGenerator):
        names |= _mapping(network.mapper)
        names["mapping.w_avg"] = (network.w_average, "same")
        for block in network.blocks:
            prefix = f"synthesis.b{block.resolution}"
            if block.const is not None:
                names[f"{prefix}.const"] = (block.const, "const")
            for part in ("conv0", "conv1", "torgb", "skip"):
                if getattr(block, part) is not None:
                    names |= _conv(f"{prefix}.{part}", getattr(block, part))
        return names
    for block in network.blocks:
        for part in ("fromrgb", "conv0", "conv1", "skip"):
            if getattr(block, part) is not None:
                names |= _conv(f"b{block.resolution}.{part}", getattr(block, part))
    if network.mapper is not None:
        names |= _mapping(network.mapper)
    if network.b4.fromrgb is not None:
        names |= _conv("b4.fromrgb", network.b4.fromrgb)
    names |= _conv("b4.conv", network.b4.conv)
    names |= _dense("b4.fc", network.b4.fc, "flat_dense")
    return names | _dense("b4.out", network.b4.out)


def to_ours(value: np.ndarray, kind: str) -> np.ndarray:
    """An official array in our layout."""
    if kind == "dense":
        return value.T
    if kind == "conv":
        return value.transpose(2, 3, 1, 0)
    if kind == "const":
        return value.transpose(1, 2, 0)[np.newaxis]
    if kind == "flat_dense":
        return value.reshape(len(value), -1, 4, 4).transpose(2, 3, 1, 0).reshape(-1, len(value))
    return value


def to_official(value: np.ndarray, kind: str) -> np.ndarray:
    """The inverse of `to_ours`."""
    if kind == "dense":
        return value.T
    if kind == "conv":
        return value.transpose(3, 2, 0, 1)
    if kind == "const":
        return value[0].transpose(2, 0, 1)
    if kind == "flat_dense":
        out = value.shape[1]
        return value.reshape(4, 4, -1, out).transpose(3, 2, 0, 1).reshape(out, -1)
    return value


def load(network: keras.Model, values: MappingType[str, np.ndarray]) -> None:
    """Sets every weight of `network` from official arrays.

    Args:
      network: as in `official_names`.
      values: official name -> array. `resample_filter` entries are passed over.

    Raises:
      UserError: names that are missing or unknown, or a shape that does not fit.
    """
    names = official_names(network)
    given = {k for k in values if not k.endswith("resample_filter")}
    missing, unknown = sorted(set(names) - given), sorted(given - set(names))
    if missing or unknown:
        raise UserError(
            f"weights of {network.name}: missing {missing[:3] or 'none'}, unknown "
            f"{unknown[:3] or 'none'} ({len(missing)} and {len(unknown)}); expected the names of "
            "a network with the same arguments."
        )
    ready = {}
    for name, (variable, kind) in names.items():
        value = to_ours(np.asarray(values[name], np.float32), kind)
        if value.shape != tuple(variable.shape):
            raise UserError(
                f"{name}: shape {np.shape(values[name])}; expected "
                f"{to_official(np.empty(variable.shape, np.bool_), kind).shape}."
            )
        ready[name] = value
    for name, value in ready.items():  # all or nothing
        names[name][0].assign(value)


def dump(network: keras.Model) -> dict[str, np.ndarray]:
    """Official name -> array of every weight, float32."""
    names = official_names(network)
    return {k: np.array(to_official(v.numpy(), kind), order="C") for k, (v, kind) in names.items()}
