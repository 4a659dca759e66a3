"""Progressive GAN's official networks (tkarras/progressive_growing_of_gans, TensorFlow)."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.importers.arguments import Arguments
from ganpipe.importers.contents import OfficialFile, OfficialNetwork
from ganpipe.importers.slots import Slot, Slots, same
from ganpipe.importers.stages import take_stage

SYSTEM = "progan"
_RUN = ("structure", "is_template_graph", "dtype")  # how the official graph is run
# The published files came from the Theano code: it gave D's group to G as well.
_OF_D = ("mbstd_group_size",)


def _shape(a: Arguments) -> dict[str, Any]:
    return {
        "resolution": a.whole("resolution", 32, 4),
        "channels": a.whole("num_channels", 1, 1),
        "num_classes": a.whole("label_size", 0),
        "fmap_base": a.whole("fmap_base", 8192, 1),
        "fmap_decay": a.number("fmap_decay", 1.0),
        "fmap_max": a.whole("fmap_max", 512, 1),
    }


def _generator(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    a = Arguments(where, given)
    found = _shape(a)
    found["latent_dim"] = a.whole("latent_size", 0) if given.get("latent_size") else 0
    found["normalize_latents"] = a.choice("normalize_latents", True, False)
    a.ignore("latent_size", *_RUN, *_OF_D)
    a.only(
        {
            "use_wscale": (True,),
            "use_pixelnorm": (True,),
            "pixelnorm_epsilon": (1e-8, 1e-4),  # 1e-4 was for float16
            "use_leakyrelu": (True,),
            "fused_scale": (True, False),
        }
    )
    a.finish()
    return found


def _discriminator(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    a = Arguments(where, given)
    found = _shape(a)
    found["group_size"] = a.whole("mbstd_group_size", 4)
    if found["group_size"] < 2:  # the official code leaves the layer out below 2
        found["group_size"] = 0
    # Without fused layers the official network activates before it pools: another function.
    found["pool_last"] = not a.choice("fused_scale", True, False)
    a.only({"use_wscale": (True,)})
    a.ignore(*_RUN)
    a.finish()
    return found


def arguments(file: OfficialFile) -> dict[str, Any]:
    """Our system's constructor arguments for the networks of a file.

    Raises:
      UserError: an argument that is unknown or that our networks cannot have, or networks that do
        not go together.
    """
    networks = file.networks
    g = _generator(f"{file.path}: Gs", networks["generator_ema"].arguments)
    d = _discriminator(f"{file.path}: D", networks["discriminator"].arguments)
    for name in sorted(set(g) & set(d)):
        if g[name] != d[name]:
            raise UserError(
                f"{file.path}: G was built with {name}={g[name]}, D with {d[name]}; a run has one."
            )
    width = min(g["fmap_base"] // 2, g["fmap_max"])
    least = 16 * width * (g["latent_dim"] + g["num_classes"]) + 9 * width**2
    file.check_size(least + g["resolution"] ** 2)
    return g | d


def _turned(variable: Any) -> Slot:
    """A fused up-convolution: ours turned by 180 degrees, (h, w, out, in)."""

    def swap(value: np.ndarray) -> np.ndarray:
        return value[::-1, ::-1].transpose(0, 1, 3, 2)

    return Slot(variable, swap, swap)


def _columns(variable: Any, base: tuple[int, int]) -> Slot:
    """(in, C h w) there, (in, h w C) here: a vector becomes a map."""
    h, w = base
    return Slot(
        variable,
        lambda x: x.reshape(len(x), -1, h, w).transpose(0, 2, 3, 1).reshape(len(x), -1),
        lambda x: x.reshape(len(x), h, w, -1).transpose(0, 3, 1, 2).reshape(len(x), -1),
    )


def _rows(variable: Any, base: tuple[int, int]) -> Slot:
    """(C h w, out) there, (h w C, out) here: a map becomes a vector."""
    h, w = base
    return Slot(
        variable,
        lambda x: x.reshape(-1, h, w, x.shape[1]).transpose(1, 2, 0, 3).reshape(x.shape),
        lambda x: x.reshape(h, w, -1, x.shape[1]).transpose(2, 0, 1, 3).reshape(x.shape),
    )


def _layer(name: str, layer: Any, kernel: Slot | None = None) -> Slots:
    return {f"{name}/weight": kernel or same(layer.kernel), f"{name}/bias": same(layer.bias)}


def generator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of G's weights.

    Args:
      network: a `bodies_progan.Generator`.
      official: the file's network; None names the layers as the official default does (fused).
    """
    fused = official is None or official.arguments.get("fused_scale", True)
    first = int(math.log2(network.base[0]))
    found = _layer(
        "4x4/Dense", network.dense, _columns(network.dense.kernel, network.base)
    ) | _layer("4x4/Conv", network.convs[0])
    for level in range(network.depth + 1):
        size = 1 << (first + level)
        found |= _layer(f"ToRGB_lod{network.depth - level}", network.pixels[level])
        if level:
            up = network.ups[level - 1]
            name, kernel = ("Conv0_up", _turned(up.kernel)) if fused else ("Conv0", None)
            found |= _layer(f"{size}x{size}/{name}", up, kernel)
            found |= _layer(f"{size}x{size}/Conv1", network.convs[level])
    return found


def discriminator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of D's weights; see `generator_slots`."""
    fused = not network.pool_last
    first = int(math.log2(network.base[0]))
    found: Slots = {}
    for level in range(network.depth, -1, -1):
        size = 1 << (first + level)
        found |= _layer(f"FromRGB_lod{network.depth - level}", network.pixels[level])
        if level:
            found |= _layer(f"{size}x{size}/Conv0", network.convs[level - 1])
            name = "Conv1_down" if fused else "Conv1"
            found |= _layer(f"{size}x{size}/{name}", network.downs[level - 1])
    found |= _layer("4x4/Conv", network.conv)
    found |= _layer("4x4/Dense0", network.dense, _rows(network.dense.kernel, network.base))
    return found | _layer("4x4/Dense1", network.score)


def values(official: OfficialNetwork) -> dict[str, np.ndarray]:
    """The weights that ours have a counterpart of: all but the level of detail."""
    return {k: v for k, v in official.values.items() if k != "lod"}


def finish(network: keras.Model, official: OfficialNetwork) -> None:
    """Takes over the stage of growth; see `stages.take_stage`."""
    take_stage(network, official, network.depth)
