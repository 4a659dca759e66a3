"""What the configs of stylegan2 share: the published presets, and a config made of one.

The presets are those of NVlabs/stylegan2-ada-pytorch (2006.06676, appendix C), with configs E and F
of StyleGAN2 (1912.04958, table 1). `preset` is a pure function of name, resolution and GPUs.
"""

from typing import Any

import ml_collections

from ganpipe import config as config_lib

# kimg, batch, group, channel_base, lr, gamma, ema kimg, ema ramp, mapping layers
_FIXED = {
    "stylegan2": (25_000, 32, 4, 32768, 0.002, 10.0, 10.0, None, 8),
    "paper256": (25_000, 64, 8, 16384, 0.0025, 1.0, 20.0, None, 8),
    "paper512": (25_000, 64, 8, 32768, 0.0025, 0.5, 20.0, None, 8),
    "paper1024": (25_000, 32, 4, 32768, 0.002, 2.0, 10.0, None, 8),
    "cifar": (100_000, 64, 32, 32768, 0.0025, 0.01, 500.0, 0.05, 2),
    "e": (25_000, 32, 4, 16384, 0.002, 100.0, 10.0, None, 8),
    "f": (25_000, 32, 4, 32768, 0.002, 10.0, 10.0, None, 8),
}
PRESETS = ("auto", *_FIXED)


def _auto(resolution: int, gpus: int) -> tuple:
    batch = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
    return (
        25_000,
        batch,
        min(batch // gpus, 4),
        32768 if resolution >= 512 else 16384,
        0.002 if resolution >= 1024 else 0.0025,
        0.0002 * resolution**2 / batch,
        batch * 10 / 32,
        0.05,
        2,
    )


def preset(name: str, resolution: int, gpus: int = 1) -> dict[str, dict[str, Any]]:
    """A published setting as {"system": ..., "optimizer": ..., "train": ...}.

    Args:
      name: "auto" (grows with resolution and GPUs), "stylegan2", "paper256", "paper512",
        "paper1024", "cifar", or "e" and "f", the first paper's configs.
      resolution: of the images; a fixed preset may be used at any.
      gpus: of "auto"; the group size of the minibatch statistics is a GPU's.

    Raises:
      KeyError: another name.
    """
    if name not in PRESETS:
        raise KeyError(f"known: {', '.join(PRESETS)}")
    values = _auto(resolution, gpus) if name == "auto" else _FIXED[name]
    kimg, batch, group, base, rate, gamma, ema, ramp, layers = values
    cifar = name == "cifar"
    return {
        "system": {
            "channel_base": base,
            "channel_max": 512,
            "mapping_layers": layers,
            "g_architecture": "skip",
            "d_architecture": "orig" if cifar else "resnet",
            "group_size": group,
            "ema_kimg": ema,
            "ema_rampup": ramp,
        },
        "optimizer": {
            "g_learning_rate": rate,
            "d_learning_rate": rate,
            "r1_gamma": gamma,
            "pl_weight": 0.0 if cifar else 2.0,
            "style_mixing": 0.0 if cifar else 0.9,
        },
        "train": {"steps": -(-kimg * 1000 // batch), "batch_size": batch},
    }


def config(
    name: str, resolution: int, preset_name: str = "auto", channels: int = 3
) -> ml_collections.ConfigDict:
    """A config for one GPU: a preset without augmentation, in mixed precision.

    Args:
      name: of the config.
      resolution: of the images.
      preset_name: see `preset`.
      channels: 1 or 3.
    """
    made = preset(preset_name, resolution)
    config = ml_collections.ConfigDict()
    config.name = name

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = resolution
    config.data.channels = channels
    config.data.conditional = False
    config.data.mirror = False  # True doubles a set without letters

    config.system = ml_collections.ConfigDict({"name": "stylegan2"} | made["system"])
    config.system.latent_dim = 512
    config.system.w_dim = 512
    config.system.mbstd_features = 1
    config.system.conditioning = "ada"
    config.system.freeze_d = 0
    config.system.num_bf16_res = 4
    config.system.conv_clamp = 256.0
    config.system.latent_distribution = "normal"
    # None as a default: the command line may give a number.
    with config.unlocked():
        ramp = made["system"]["ema_rampup"]
        config.system.ema_rampup = ml_collections.config_dict.placeholder(float)
        config.system.ema_rampup = ramp

    config.optimizer = ml_collections.ConfigDict(made["optimizer"])
    config.optimizer.loss = "non_saturating"
    config.optimizer.beta_1 = 0.0
    config.optimizer.beta_2 = 0.99
    config.optimizer.d_reg_interval = 16
    config.optimizer.pl_decay = 0.01
    config.optimizer.pl_batch_shrink = 2
    config.optimizer.g_reg_interval = 4
    config.optimizer.augment = "none"  # "ada", "fixed" or "diffaugment"
    config.optimizer.ada_target = 0.6
    config.optimizer.ada_kimg = 500.0
    config.optimizer.ada_pipe = "bgc"
    config.optimizer.ada_p = 0.0
    config.optimizer.diffaugment_policy = "color,translation,cutout"

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict(made["train"])
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 16  # the interval of R1
    config.train.steps = -(-config.train.steps // 16) * 16
    config.train.checkpoint_every = 1600
    config.train.keep_checkpoints = 3
    config.train.log_every = 160
    config.train.sample_every = 1600
    config.train.deterministic = False
    return config


def choose(
    config: ml_collections.ConfigDict, variant: str, variants: dict[str, dict[str, Any]]
) -> ml_collections.ConfigDict:
    """`config` with the changes of one variant, keys as "train.steps".

    Raises:
      KeyError: an unknown variant.
    """
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
