"""ProGAN on Fashion-MNIST, padded to 32x32: 4x4 to 32x32 in four levels, with labels.

Karras et al. 2018 (arXiv 1710.10196): WGAN-GP with drift, Adam 1e-3 with betas 0 and .99, AC-GAN.
For a laptop: an eighth of the paper's width, and tenths of its images a level.

    python -m pipeline.prepare --source=fashion_mnist --resolution=32 --out=data/fashion32
    python -m ganpipe train --config=progan_fashion_mnist:tiny --data=data/fashion32 \
        --workdir=runs/progan-tiny
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (about two hours on two cores), "tiny" (half as wide; a quarter of an hour)."""
    config = ml_collections.ConfigDict()
    config.name = "progan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32  # the full one
    config.data.channels = 1
    config.data.conditional = True
    config.data.mirror = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "progan"
    config.system.fmap_base = 1024
    config.system.fmap_decay = 1.0
    config.system.fmap_max = 128
    config.system.latent_dim = 128
    config.system.latent_distribution = "normal"
    config.system.group_size = 4
    config.system.ema_decay = 0.998  # the paper's .999 is for more steps

    config.growth = config_lib.growth(
        start_resolution=4,
        train_kimg=60.0,
        fade_kimg=60.0,
        total_kimg=500.0,
        batch_sizes={"px4": 32, "px8": 32, "px16": 32},
        learning_rates={},
        repeats=4,
    )

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "wasserstein"
    config.optimizer.g_learning_rate = 1e-3
    config.optimizer.d_learning_rate = 1e-3
    config.optimizer.beta_1 = 0.0
    config.optimizer.beta_2 = 0.99
    config.optimizer.gp_target = 1.0
    config.optimizer.drift = 1e-3
    config.optimizer.cond_weight = 1.0

    config.penalties = config_lib.penalties(gp=10.0)
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 0  # as many as growth.total_kimg takes
    config.train.batch_size = 16  # where growth.batch_sizes has no other
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 4
    config.train.checkpoint_every = 1000
    config.train.keep_checkpoints = 3
    config.train.log_every = 100
    config.train.sample_every = 1000
    config.train.deterministic = False

    tiny = {
        "system.fmap_base": 512,
        "system.fmap_max": 64,
        "system.latent_dim": 64,
        "system.ema_decay": 0.995,
        "growth.train_kimg": 20.0,
        "growth.fade_kimg": 20.0,
        "growth.total_kimg": 170.0,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
