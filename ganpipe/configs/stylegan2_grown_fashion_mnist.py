"""StyleGAN2's layers with progressive growing on Fashion-MNIST, padded to 32x32, with classes.

Configs B, C and D of Karras et al. 2020 (arXiv 1912.04958): 8x8 to 32x32 in three levels. For a
laptop: an eighth of the paper's width and a fortieth of its images.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fashion_mnist
    python -m ganpipe train --config=stylegan2_grown_fashion_mnist:tiny --data=data/fashion_mnist \
        --workdir=runs/grown-tiny
"""

import ml_collections

from ganpipe import config as config_lib

# The paper's table 1, from D (the default) down.
C = {"optimizer.pl_weight": 0.0}
B = C | {"optimizer.lazy": False}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" or "d" (config D; hours on two cores), "c", "b", "tiny" (narrow, minutes)."""
    config = ml_collections.ConfigDict()
    config.name = "stylegan2_grown_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32  # the full one
    config.data.channels = 1
    config.data.conditional = True
    config.data.mirror = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "stylegan2_grown"
    config.system.latent_dim = 128
    config.system.w_dim = 128
    config.system.channel_base = 2048
    config.system.channel_max = 64
    config.system.mapping_layers = 8
    config.system.group_size = 4
    config.system.ema_kimg = 10.0
    config.system.latent_distribution = "normal"

    config.growth = config_lib.growth(
        start_resolution=8,
        train_kimg=60.0,
        fade_kimg=60.0,
        total_kimg=600.0,
        batch_sizes={"px8": 64, "px16": 32, "px32": 16},
        learning_rates={},
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
    config.train.batch_size = 16  # where growth.batch_sizes has no other
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 4
    config.train.checkpoint_every = 2000
    config.train.keep_checkpoints = 3
    config.train.log_every = 100
    config.train.sample_every = 2000
    config.train.deterministic = False

    tiny = {
        "system.latent_dim": 64,
        "system.w_dim": 64,
        "system.channel_base": 512,
        "system.channel_max": 32,
        "system.mapping_layers": 4,
        "system.ema_kimg": 1.0,
        "growth.train_kimg": 8.0,
        "growth.fade_kimg": 8.0,
        "growth.total_kimg": 48.0,
        "growth.batch_sizes": {"px8": 32, "px16": 32, "px32": 16},
        "train.checkpoint_every": 400,
        "train.sample_every": 400,
    }
    variants = {"": {}, "d": {}, "c": C, "b": B, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
