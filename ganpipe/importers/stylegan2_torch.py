"""StyleGAN2-ADA's official networks (NVlabs/stylegan2-ada-pytorch)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.importers.arguments import Arguments
from ganpipe.importers.contents import OfficialFile, OfficialNetwork
from ganpipe.importers.slots import Slot, Slots
from ganpipe.layers import bodies_stylegan2_names as names

SYSTEM = "stylegan2"
FILTER = [1, 3, 3, 1]
_FILTER_BUFFER = "resample_filter"
# How often official code rounds: its float16 is not imported, the networks compute in float32.
_PRECISION = ("num_fp16_res", "fp16_channels_last")


def _mapping(a: Arguments, width: int, layers: int) -> int:
    """Checks the arguments of a mapping network; returns its number of layers."""
    count = a.whole("num_layers", layers)
    a.only(
        {
            "embed_features": (None, width),
            "layer_features": (None, width),
            "activation": ("lrelu",),
            "lr_multiplier": (0.01,) if count else (0.01, a.take("lr_multiplier", 0.01)),
        }
    )
    return count


def clamp(a: Arguments) -> float:
    """Bound of the convolutions' outputs, which official networks keep in float32; 0 for none."""
    bound = a.number("conv_clamp", 0.0, 0.0)
    if not bound >= 0.0 or a.given.get("conv_clamp") == 0:
        raise a.wrong("conv_clamp", "a bound above 0, or none")
    return bound


def _shape(a: Arguments, width: Arguments) -> dict[str, Any]:
    return {
        "resolution": a.whole("img_resolution", least=4),
        "channels": a.whole("img_channels", least=1),
        "num_classes": a.whole("c_dim"),
        "channel_base": width.whole("channel_base", 32768, 1),
        "channel_max": width.whole("channel_max", 512, 1),
    }


def _generator(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    a = Arguments(where, given)
    synthesis, mapping = a.inside("synthesis_kwargs"), a.inside("mapping_kwargs")
    found = _shape(a, synthesis)
    found |= {
        "latent_dim": a.whole("z_dim", least=1),
        "w_dim": a.whole("w_dim", least=1),
        "g_architecture": synthesis.choice("architecture", "skip", "resnet", "orig"),
    }
    synthesis.only(
        {
            "resample_filter": (FILTER,),
            "use_noise": (True,),
            "activation": ("lrelu",),
            "kernel_size": (3,),
        }
    )
    synthesis.ignore(*_PRECISION)
    found["clamp"] = clamp(synthesis)
    found["mapping_layers"] = _mapping(mapping, found["w_dim"], 8)
    mapping.number("w_avg_beta", 0.995)  # of training alone
    a.finish()
    return found


def _discriminator(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    a = Arguments(where, given)
    found = _shape(a, a)
    block, mapping, last = (a.inside(f"{n}_kwargs") for n in ("block", "mapping", "epilogue"))
    width = min(found["channel_base"] // 4, found["channel_max"])
    found |= {
        "d_architecture": a.choice("architecture", "resnet", "skip", "orig"),
        "freeze_d": block.whole("freeze_layers", 0),
        "group_size": last.take("mbstd_group_size", 4),
        "mbstd_features": last.whole("mbstd_num_channels", 1),
        "conditioning": "ada",
    }
    if found["group_size"] is not None:
        last.whole("mbstd_group_size", 4, 1)
    a.only({"cmap_dim": (None, width, 0)})
    found["clamp"] = clamp(a)
    a.ignore(*_PRECISION)
    block.only({"activation": ("lrelu",), "resample_filter": (FILTER,)})
    block.ignore(*_PRECISION)
    last.only({"activation": ("lrelu",)})
    if not found["num_classes"]:
        mapping.ignore(*mapping.given)  # there is none
    else:
        layers = _mapping(mapping, width, 8)
        mapping.ignore("w_avg_beta")
        # 8 is the official default; the TensorFlow release has none.
        found["conditioning"] = "ada" if layers else "ada_tf"
        found["d_mapping_layers"] = None if layers in (0, 8) else layers
    a.finish()
    return found


def arguments(file: OfficialFile) -> dict[str, Any]:
    """Our system's constructor arguments for the networks of a file.

    Raises:
      UserError: an argument that is unknown or that our networks cannot have, or networks that do
        not go together.
    """
    networks = file.networks
    g = _generator(f"{file.path}: G_ema", networks["generator_ema"].arguments)
    d = _discriminator(f"{file.path}: D", networks["discriminator"].arguments)
    return together(file, g, d)


def together(file: OfficialFile, g: dict[str, Any], d: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one system; UserError when G and D contradict each other."""
    clamps = (g.pop("clamp"), d.pop("clamp"))
    for name in sorted(set(g) & set(d)):
        if g[name] != d[name]:
            raise UserError(
                f"{file.path}: G was built with {name}={g[name]}, D with {d[name]}; a run has one."
            )
    _check_size(file, g, d.get("d_mapping_layers") or 0)
    return g | d | {"clamps": clamps}


def _check_size(file: OfficialFile, g: dict[str, Any], d_layers: int) -> None:
    """Refuses arguments of far larger networks than the file's: building one takes the memory."""
    w, width = g["w_dim"], min(g["channel_base"] // 4, g["channel_max"])
    least = w * (w * (g["mapping_layers"] - 1) + g["latent_dim"] + g["num_classes"])
    least += (9 + d_layers) * width**2 + g["resolution"] ** 2
    file.check_size(least)


def _slots(network: keras.Model) -> Slots:
    return {
        name: Slot(
            variable, partial(names.to_ours, kind=kind), partial(names.to_official, kind=kind)
        )
        for name, (variable, kind) in names.official_names(network).items()
    }


def generator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of G's weights, buffers included."""
    del official
    return _slots(network)


def discriminator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of D's weights."""
    del official
    return _slots(network)


def values(official: OfficialNetwork) -> dict[str, np.ndarray]:
    """The weights that ours have a counterpart of: all but the filters, which are checked.

    Raises:
      UserError: a filter other than the one that our networks have.
    """
    expected = np.outer(FILTER, FILTER) / np.sum(FILTER) ** 2
    found = {}
    for name, value in official.values.items():
        if name.rpartition(".")[2] != _FILTER_BUFFER:
            found[name] = value
        elif value.shape != expected.shape or not np.allclose(value, expected, atol=1e-6):
            raise UserError(f"buffer {name} is no {FILTER} filter, which this importer expects.")
    return found


def finish(network: keras.Model, official: OfficialNetwork) -> None:
    """Nothing is left to do: the network does not grow."""
