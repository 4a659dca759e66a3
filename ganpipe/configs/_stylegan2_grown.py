"""What the configs of stylegan2_grown share: the published setting, and configs B, C and D.

Table 1 of Karras et al. 2020 (arXiv 1912.04958), with the schedule of NVlabs/stylegan2 for 8 GPUs.
"""

from typing import Any

import ml_collections

from ganpipe import config as config_lib

# From D, the default, down.
C = {"optimizer.pl_weight": 0.0}
B = C | {"optimizer.lazy": False}


def config(name: str) -> ml_collections.ConfigDict:
    """Config D at 1024x1024.

    Args:
      name: of the config.
    """
    config = ml_collections.ConfigDict()
    config.name = name

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 1024  # the full one
    config.data.channels = 3
    config.data.conditional = False
    config.data.mirror = True

    config.system = ml_collections.ConfigDict()
    config.system.name = "stylegan2_grown"
    config.system.latent_dim = 512
    config.system.w_dim = 512
    config.system.channel_base = 16384
    config.system.channel_max = 512
    config.system.mapping_layers = 8
    config.system.group_size = 4
    config.system.ema_kimg = 10.0
    config.system.latent_distribution = "normal"

    config.growth = config_lib.growth(
        start_resolution=8,
        train_kimg=600.0,
        fade_kimg=600.0,
        total_kimg=25_000.0,
        batch_sizes={"px8": 256, "px16": 128, "px32": 64, "px64": 32},
        learning_rates={"px128": 0.0015, "px256": 0.002, "px512": 0.003, "px1024": 0.003},
        repeats=4,
    )

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"
    config.optimizer.g_learning_rate = 1e-3
    config.optimizer.d_learning_rate = 1e-3
    config.optimizer.beta_1 = 0.0
    config.optimizer.beta_2 = 0.99
    config.optimizer.style_mixing = 0.9
    config.optimizer.lazy = True  # this and pl_weight: the paper's table 1
    config.optimizer.r1_gamma = 10.0
    config.optimizer.d_reg_interval = 16
    config.optimizer.pl_weight = 2.0
    config.optimizer.pl_decay = 0.01
    config.optimizer.pl_batch_shrink = 2
    config.optimizer.g_reg_interval = 4

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 0  # as many as growth.total_kimg takes
    config.train.batch_size = 32  # where growth.batch_sizes has no other
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 4
    config.train.checkpoint_every = 8000
    config.train.keep_checkpoints = 3
    config.train.log_every = 200
    config.train.sample_every = 8000
    config.train.deterministic = False
    return config


def choose(
    config: ml_collections.ConfigDict, variant: str, tiny: dict[str, Any]
) -> ml_collections.ConfigDict:
    """`config` as variant "", "d", "c", "b" or "tiny", whose changes have keys as "train.steps".

    Raises:
      KeyError: an unknown variant.
    """
    variants = {"": {}, "d": {}, "c": C, "b": B, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
