"""StyleGAN's official networks (NVlabs/stylegan, TensorFlow)."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.importers.arguments import Arguments
from ganpipe.importers.contents import OfficialFile, OfficialNetwork
from ganpipe.importers.slots import Slot, Slots
from ganpipe.importers.stages import take_stage
from ganpipe.layers import stylegan_names as names

SYSTEM = "stylegan"
_RUN = (  # how the official graph is run, not what it computes from weights and inputs
    *("truncation_psi", "truncation_psi_val", "truncation_cutoff_val", "is_training", "dtype"),
    *("is_validation", "is_template_graph", "components", "structure", "force_clean_graph"),
    *("randomize_noise", "dlatent_broadcast"),
)
_STAGES = ("lod", "synthesis/lod")


def _shape(a: Arguments, channels: int, resolution: int) -> dict[str, Any]:
    return {
        "resolution": a.whole("resolution", resolution, 4),
        "channels": a.whole("num_channels", channels, 1),
        "num_classes": a.whole("label_size", 0),
        "fmap_base": a.whole("fmap_base", 8192, 1),
        "fmap_decay": a.number("fmap_decay", 1.0),
        "fmap_max": a.whole("fmap_max", 512, 1),
        "blur": a.choice("blur_filter", [1, 2, 1], None) is not None,
    }


def _generator(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    a = Arguments(where, given)
    found = _shape(a, channels=3, resolution=1024)
    found |= {
        "latent_dim": a.whole("latent_size", 512, 1),
        "w_dim": a.whole("dlatent_size", 512, 1),
        "mapping_layers": a.whole("mapping_layers", 8),
        "mapping_fmaps": a.whole("mapping_fmaps", 512, 1),
        "mapping_lr_multiplier": a.number("mapping_lrmul", 0.01),
        "use_styles": a.choice("use_styles", True, False),
        "const_input": a.choice("const_input_layer", True, False),
        "use_noise": a.choice("use_noise", True, False),
        "use_pixel_norm": a.choice("use_pixel_norm", False, True),
        "use_instance_norm": a.choice("use_instance_norm", True, False),
        "mixing_prob": a.number("style_mixing_prob", 0.9, none=0.0),
        "w_average_decay": a.number("dlatent_avg_beta", 0.995, none=0.995),
        # None there truncates no layer, with us all of them.
        "truncation_cutoff": a.whole("truncation_cutoff", 8, none=0),
    }
    a.only(
        {
            "mapping_nonlinearity": ("lrelu",),
            "nonlinearity": ("lrelu",),
            "use_wscale": (True,),
            "normalize_latents": (True,),
            "fused_scale": ("auto", True, False),
        }
    )
    a.ignore(*_RUN)
    a.finish()
    return found


def _discriminator(where: str, given: Mapping[str, Any]) -> dict[str, Any]:
    a = Arguments(where, given)
    found = _shape(a, channels=1, resolution=32)
    group = a.whole("mbstd_group_size", 4)
    found["group_size"] = group if group > 1 else 0  # the official code leaves it out below 2
    a.only(
        {
            "nonlinearity": ("lrelu",),
            "use_wscale": (True,),
            "mbstd_num_features": (1,),
            "fused_scale": ("auto", True, False),  # the same weights and function
        }
    )
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
    width, fmaps = min(g["fmap_base"] // 2, g["fmap_max"]), g["mapping_fmaps"]
    least = fmaps * (fmaps * max(g["mapping_layers"] - 2, 0) + g["latent_dim"] + g["num_classes"])
    file.check_size(least + g["w_dim"] * width + 9 * width**2 + g["resolution"] ** 2)
    return g | d


def _slots(prefix: str, found: Mapping[str, names.Weight]) -> Slots:
    return {
        prefix + name: Slot(
            weight.variable, partial(names.to_ours, weight), partial(names.to_official, weight)
        )
        for name, weight in found.items()
    }


def generator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of G's weights.

    Args:
      network: a `StyleGenerator` of StyleGAN.
      official: the file's network; None takes the official default ("auto": fused from 128 on).
    """
    fused = official.arguments.get("fused_scale", "auto") if official else "auto"
    return (
        _slots("", {"dlatent_avg": names.Weight(network.w_average, "same")})
        | _slots("mapping/", names.mapping_names(network))
        | _slots("synthesis/", names.synthesis_names(network, fused))
    )


def discriminator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of D's weights; see `generator_slots`."""
    del official
    return _slots("", names.discriminator_names(network))


def values(official: OfficialNetwork) -> dict[str, np.ndarray]:
    """The weights that ours have a counterpart of: all but the level of detail."""
    return {k: v for k, v in official.values.items() if k not in _STAGES}


def finish(network: keras.Model, official: OfficialNetwork) -> None:
    """Takes over the stage of growth; see `stages.take_stage`."""
    take_stage(network, official, network.full_level - 2)
