"""StyleGAN2's official networks in TensorFlow: NVlabs/stylegan2 (configs E, F) and stylegan2-ada.

Our weights are named as the PyTorch release names them; here these names become TensorFlow's, and
the layouts: kernels (h, w, in, out), dense ones (in, out), up-convolutions of G turned by 180
degrees, styles without the 1 that their bias starts at.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.importers.arguments import Arguments
from ganpipe.importers.contents import OfficialFile, OfficialNetwork
from ganpipe.importers.slots import Slot, Slots
from ganpipe.importers.stylegan2_torch import FILTER, clamp, together
from ganpipe.importers.stylegan2_torch import generator_slots as torch_slots

SYSTEM = "stylegan2"
_RUN = (  # how the official graph is run or trained, not what it computes from weights and inputs
    *("truncation_psi", "truncation_psi_val", "truncation_cutoff", "truncation_cutoff_val"),
    *("is_training", "is_validation", "is_template_graph", "return_dlatents", "components"),
    *("style_mixing_prob", "dlatent_avg_beta", "randomize_noise", "fused_modconv", "structure"),
    *("dlatent_broadcast", "force_clean_graph", "dtype", "num_fp16_res", "mapping_func"),
    *("augment_strength", "pagan_num", "pagan_fade"),
)
_GROWN = "configs A to D of the paper grow, which this importer cannot build: expected E or F"


def _shape(a: Arguments) -> dict[str, Any]:
    a.only(
        {
            "fmap_decay": (1, 1.0),
            "fmap_min": (1,),
            "nonlinearity": ("lrelu",),
            "resample_kernel": (FILTER,),
        }
    )
    return {
        "resolution": a.whole("resolution", 1024, 4),
        "channels": a.whole("num_channels", 3, 1),
        "num_classes": a.whole("label_size", 0),
        "channel_base": 2 * a.whole("fmap_base", 16384, 1),
        "channel_max": a.whole("fmap_max", 512, 1),
        "clamp": clamp(a),
    }


def _generator(where: str, given: Mapping[str, Any], is_ada: bool) -> dict[str, Any]:
    a = Arguments(where, given)
    found = _shape(a)
    found |= {
        "latent_dim": a.whole("latent_size", 512, 1),
        "w_dim": a.whole("dlatent_size", 512, 1),
        "mapping_layers": a.whole("mapping_layers", 8, 1),
        "g_architecture": a.choice("architecture", "skip", "resnet", "orig"),
    }
    synthesis = a.take("synthesis_func")
    if synthesis not in (None, "G_synthesis", "G_synthesis_stylegan2"):
        raise UserError(f"{where}: built by {str(synthesis)[:80]}; {_GROWN}.")
    width = found["w_dim"]
    # Layers inside the mapping are as wide as w here.
    inner = a.whole("mapping_fmaps", None if is_ada else 512, none=width)
    labels = a.whole("label_fmaps", none=found["latent_dim"]) if is_ada else width
    if inner != width and found["mapping_layers"] > 1:
        raise UserError(f"{where}: argument mapping_fmaps={inner}; expected dlatent_size={width}.")
    if labels != width and found["num_classes"]:
        raise UserError(f"{where}: argument label_fmaps={labels}; expected dlatent_size={width}.")
    a.only(
        {
            "mapping_lrmul": (0.01,),
            "mapping_nonlinearity": ("lrelu",),
            "normalize_latents": (True,),
            "use_noise": (True,),
            "fmap_const": (None, min(found["channel_base"] // 4, found["channel_max"])),
        }
    )
    a.ignore(*_RUN)
    a.finish()
    return found


def _discriminator(where: str, given: Mapping[str, Any], is_ada: bool) -> dict[str, Any]:
    a = Arguments(where, given)
    found = _shape(a)
    group = a.take("mbstd_group_size", None if is_ada else 4)
    if group is not None:
        group = a.whole("mbstd_group_size", 4)
    features = a.whole("mbstd_num_features", 1)
    if not is_ada and group is not None and group < 2:  # StyleGAN2 leaves the layer out below 2
        group, features = None, 0
    found |= {
        "d_architecture": a.choice("architecture", "resnet", "skip", "orig"),
        "freeze_d": a.whole("freeze_layers", 0),
        "group_size": group,
        "mbstd_features": features,
        "conditioning": "ada_tf" if is_ada else "stylegan2",
    }
    width = min(found["channel_base"] // 4, found["channel_max"])
    a.only(
        {
            "mapping_layers": (0,),
            "mapping_fmaps": (None, width),
            "use_pagan": (False,),
            "use_spectral_norm": (False,),
            "adaptive_dropout": (0,),
            "score_size": (1,),
            "score_max": (1,),
        }
    )
    a.ignore("mapping_lrmul", *_RUN)
    a.finish()
    return found


def _is_ada(official: OfficialNetwork) -> bool:
    """True when stylegan2-ada built the discriminator, False for stylegan2."""
    kind = official.kind.rpartition(".")[2]
    if kind == "D_stylegan":
        raise UserError(f"D was built by {kind}; {_GROWN}.")
    return kind != "D_stylegan2"


def arguments(file: OfficialFile) -> dict[str, Any]:
    """Our system's constructor arguments for the networks of a file.

    Raises:
      UserError: an argument that is unknown or that our networks cannot have, or networks that do
        not go together.
    """
    networks = file.networks
    try:
        is_ada = _is_ada(networks["discriminator"])
    except UserError as error:
        raise UserError(f"{file.path}: {error}") from None
    g = _generator(f"{file.path}: Gs", networks["generator_ema"].arguments, is_ada)
    d = _discriminator(f"{file.path}: D", networks["discriminator"].arguments, is_ada)
    return together(file, g, d)


# --- Names and layouts --------------------------------------------------------------------------

Change = Callable[[np.ndarray], np.ndarray]
_PARTS = {  # of a resolution, PyTorch -> TensorFlow; the 4x4 ones differ
    "synthesis": {"conv0": "Conv0_up", "conv1": "Conv1", "torgb": "ToRGB", "skip": "Skip"},
    "d": {"fromrgb": "FromRGB", "conv0": "Conv0", "conv1": "Conv1_down", "skip": "Skip"},
    "d4": {"fromrgb": "FromRGB", "conv": "Conv", "fc": "Dense0"},
}
_LEAVES = {
    "weight": "weight",
    "bias": "bias",
    "affine.weight": "mod_weight",
    "affine.bias": "mod_bias",
    "noise_strength": "noise_strength",
}


def _block_name(network: str, size: int, rest: str) -> str:
    part, _, leaf = rest.partition(".")
    if network == "synthesis":
        if part == "const":
            return "synthesis/4x4/Const/const"
        if leaf == "noise_const":
            level = size.bit_length() - 1
            return f"synthesis/noise{2 * level - (5 if part == 'conv0' else 4)}"
        name = "Conv" if size == 4 and part == "conv1" else _PARTS["synthesis"][part]
        return f"synthesis/{size}x{size}/{name}/{_LEAVES[leaf]}"
    if part == "out":
        return f"Output/{_LEAVES[leaf]}"
    return f"{size}x{size}/{_PARTS['d4' if size == 4 else 'd'][part]}/{_LEAVES[leaf]}"


def tf_name(name: str, is_generator: bool, is_ada: bool) -> str:
    """PyTorch's name of a weight -> TensorFlow's."""
    prefix = "mapping/" if is_generator else ""
    block = re.fullmatch(r"(synthesis\.)?b(\d+)\.(.+)", name)
    if block:
        return _block_name("synthesis" if block[1] else "d", int(block[2]), block[3])
    if name == "mapping.w_avg":
        return "dlatent_avg"
    dense = re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", name)
    if dense:
        return f"{prefix}{'Dense' if is_generator else 'Mapping'}{dense[1]}/{dense[2]}"
    leaf = name.removeprefix("mapping.embed.")
    return f"{prefix}{'LabelEmbed' if is_ada else 'LabelConcat'}/{leaf}"


def _layout(name: str) -> tuple[Change, Change]:
    """(TensorFlow -> PyTorch, back) of the weight with a PyTorch name."""
    if name.endswith("affine.bias"):
        return lambda x: x + 1.0, lambda x: x - 1.0
    if name.endswith("noise_const"):
        return lambda x: x[0, 0], lambda x: x[np.newaxis, np.newaxis]
    if name.endswith(".const"):
        return lambda x: x[0], lambda x: x[np.newaxis]
    if not name.endswith("weight"):
        return lambda x: x, lambda x: x
    if re.fullmatch(r"synthesis\.b\d+\.(conv0|skip)\.weight", name):
        return (
            lambda x: x[::-1, ::-1].transpose(3, 2, 0, 1),
            lambda x: x.transpose(2, 3, 1, 0)[::-1, ::-1],
        )
    if re.search(r"(conv|conv0|conv1|skip|torgb|fromrgb)\.weight$", name):
        return lambda x: x.transpose(3, 2, 0, 1), lambda x: x.transpose(2, 3, 1, 0)
    return lambda x: x.T, lambda x: x.T


def _joined(slot: Slot, name: str) -> Slot:
    to_torch, to_tf = _layout(name)
    return Slot(
        slot.variable,
        lambda x: slot.to_ours(to_torch(x)),
        lambda x: to_tf(slot.to_official(x)),
    )


def _slots(network: keras.Model, is_generator: bool) -> Slots:
    is_ada = network.conditioning != "stylegan2"
    return {
        tf_name(name, is_generator, is_ada): _joined(slot, name)
        for name, slot in torch_slots(network).items()
    }


def generator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of G's weights, buffers included."""
    del official
    return _slots(network, True)


def discriminator_slots(network: keras.Model, official: OfficialNetwork | None = None) -> Slots:
    """Official name -> slot of D's weights."""
    del official
    return _slots(network, False)


def values(official: OfficialNetwork) -> dict[str, np.ndarray]:
    """The weights that ours have a counterpart of: all but `lod`, which nothing reads."""
    return {k: v for k, v in official.values.items() if k != "lod"}


def finish(network: keras.Model, official: OfficialNetwork) -> None:
    """Nothing is left to do: the network does not grow."""
