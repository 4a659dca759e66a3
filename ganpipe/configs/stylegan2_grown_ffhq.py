"""StyleGAN2's layers with progressive growing on FFHQ at 1024x1024: the schedule for 8 GPUs.

Configs B, C and D of Karras et al. 2020 (arXiv 1912.04958, table 1): 25 million images, 8x8 to
1024x1024, full size from 8.4 million on. A is stylegan_ffhq, E and F are stylegan2_ffhq. The batch
of a stage is shared by the replicas (--strategy=mirrored).

    python -m pipeline.prepare --source=folder:FFHQ --resolution=1024 --out=data/ffhq
    python -m ganpipe train --config=stylegan2_grown_ffhq --data=data/ffhq --workdir=runs/ffhq-d
"""

import ml_collections

from ganpipe import config as config_lib

# The paper's table 1, from D (the default) down.
C = {"optimizer.pl_weight": 0.0}
B = C | {"optimizer.lazy": False}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" or "d" (config D), "c", "b" (the ablation), "tiny" (32x32)."""
    config = ml_collections.ConfigDict()
    config.name = "stylegan2_grown_ffhq"

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

    tiny = {
        "data.resolution": 32,
        "system.latent_dim": 64,
        "system.w_dim": 64,
        "system.channel_base": 1024,
        "system.channel_max": 64,
        "system.ema_kimg": 2.0,
        "growth.train_kimg": 20.0,
        "growth.fade_kimg": 20.0,
        "growth.total_kimg": 120.0,
        "growth.batch_sizes": {"px8": 32, "px16": 32, "px32": 16},
        "train.batch_size": 16,
        "train.checkpoint_every": 1000,
        "train.sample_every": 1000,
    }
    variants = {"": {}, "d": {}, "c": C, "b": B, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
