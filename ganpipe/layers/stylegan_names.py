"""NVlabs/stylegan's names of our weights, and how its arrays become ours.

For importing published networks and for comparing with the official code. Two things differ in
layout: maps are (C, H, W) there, so flattened ones change their order; and where the official code
fuses nearest upsampling and convolution (from 128x128 on by default), its kernel is ours turned by
180 degrees.
"""

from typing import Any, NamedTuple

import numpy as np

from ganpipe.layers.bodies_stylegan import StyleDiscriminator, StyleGenerator

FUSED_FROM = 128  # fused_scale="auto": smallest output that is made by a fused layer


class Weight(NamedTuple):
    """Our variable and the layout of the official one: "same", "turned", or a map's."""

    variable: Any
    layout: str


def _fused_from(fused_scale: bool | str) -> float:
    return {True: 0.0, False: np.inf}.get(fused_scale, FUSED_FROM)


def _layer(name: str, layer: Any, layout: str = "same") -> dict[str, Weight]:
    """Kernel and bias of an equalised layer."""
    found = {f"{name}/weight": Weight(layer.kernel, layout)}
    return found | ({f"{name}/bias": Weight(layer.bias, "same")} if layer.bias is not None else {})


def mapping_names(network: StyleGenerator) -> dict[str, Weight]:
    """Of `G_mapping`."""
    found = {}
    if network.num_classes:
        found["LabelConcat/weight"] = Weight(network.mapper.class_vectors, "same")
    for index, dense in enumerate(network.mapper.layers):
        found |= _layer(f"Dense{index}", dense)
    return found


def synthesis_names(network: StyleGenerator, fused_scale: bool | str = "auto") -> dict[str, Weight]:
    """Of `G_synthesis`, `lod` aside (see `Growing.set_lod`).

    Args:
      network: built with the official network's arguments.
      fused_scale: the official argument.
    """
    found = {}
    for level in range(2, network.full_level + 1):
        block, size = network.block(level), 1 << level
        first, second = ("Conv0_up", "Conv1") if level > 2 else ("Const", "Conv")
        if level == 2 and block.const is None:
            first = "Dense"
        scope = f"{size}x{size}/"
        for index, (name, epilogue) in enumerate(
            ((first, block.epilogue0), (second, block.epilogue1))
        ):
            found[f"{scope}{name}/bias"] = Weight(epilogue.bias, "same")
            if epilogue.noise_weight is not None:
                number = 2 * level - 4 + index
                found[f"noise{number}"] = Weight(epilogue.noise_const, "plane")
                found[f"{scope}{name}/Noise/weight"] = Weight(epilogue.noise_weight, "same")
            if epilogue.style is not None:
                found |= _layer(f"{scope}{name}/StyleMod", epilogue.style)
        if block.const is not None:
            found[f"{scope}{first}/const"] = Weight(block.const, "map")
        else:
            turned = "turned" if size >= _fused_from(fused_scale) else "same"
            layout = turned if level > 2 else "columns"
            found[f"{scope}{first}/weight"] = Weight(block.first.kernel, layout)
        found[f"{scope}{second}/weight"] = Weight(block.second.kernel, "same")
        found |= _layer(f"ToRGB_lod{network.full_level - level}", network.to_rgb(level))
    return found


def generator_names(network: StyleGenerator, fused_scale: bool | str = "auto") -> dict[str, Weight]:
    """Of `G_style`: `dlatent_avg`, `G_mapping/...`, `G_synthesis/...`; `lod` aside."""
    found = {"dlatent_avg": Weight(network.w_average, "same")}
    found |= {f"G_mapping/{k}": v for k, v in mapping_names(network).items()}
    return found | {f"G_synthesis/{k}": v for k, v in synthesis_names(network, fused_scale).items()}


def discriminator_names(network: StyleDiscriminator) -> dict[str, Weight]:
    """Of `D_basic`, `lod` aside."""
    found = {}
    for level in range(network.full_level, 1, -1):
        found |= _layer(f"FromRGB_lod{network.full_level - level}", network.from_rgb(level))
        if level > 2:
            size = 1 << level
            for name, conv in zip(("Conv0", "Conv1_down"), network.convs(level), strict=True):
                found |= _layer(f"{size}x{size}/{name}", conv)
    found |= _layer("4x4/Conv", network.conv_4)
    found |= _layer("4x4/Dense0", network.dense0, "rows")
    return found | _layer("4x4/Dense1", network.dense1)


def official_shape(weight: Weight) -> tuple[int, ...]:
    """Shape of the official array."""
    return to_official(weight, np.broadcast_to(np.float32(0), tuple(weight.variable.shape))).shape


def to_ours(weight: Weight, value: np.ndarray) -> np.ndarray:
    """An official array in our layout.

    Raises:
      ValueError: another shape than `official_shape`.
    """
    shape = tuple(weight.variable.shape)
    if value.shape != official_shape(weight):
        raise ValueError(f"shape {value.shape}; expected {official_shape(weight)}")
    if weight.layout == "turned":
        return value[::-1, ::-1]
    if weight.layout == "map":  # (1, C, H, W)
        return value.transpose(0, 2, 3, 1)
    if weight.layout == "rows":  # (C 4 4, units)
        units = shape[1]
        return value.reshape(-1, 4, 4, units).transpose(1, 2, 0, 3).reshape(shape)
    if weight.layout == "columns":  # (inputs, C 4 4)
        return value.reshape(shape[0], -1, 4, 4).transpose(0, 2, 3, 1).reshape(shape)
    return value.reshape(shape)


def to_official(weight: Weight, value: np.ndarray) -> np.ndarray:
    """The inverse of `to_ours`."""
    if weight.layout == "turned":
        return value[::-1, ::-1]
    if weight.layout == "map":
        return value.transpose(0, 3, 1, 2)
    if weight.layout == "rows":
        units = value.shape[1]
        return value.reshape(4, 4, -1, units).transpose(2, 0, 1, 3).reshape(value.shape)
    if weight.layout == "columns":
        inputs = value.shape[0]
        return value.reshape(inputs, 4, 4, -1).transpose(0, 3, 1, 2).reshape(value.shape)
    return value[np.newaxis, np.newaxis] if weight.layout == "plane" else value
