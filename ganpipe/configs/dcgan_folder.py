"""DCGAN at 64x64 on any folder of colour images: the reference body of Radford et al. 2015.

12,658,432 (G) and 11,036,160 (D) trainable parameters; 25 passes over 100,000 images are about
40,000 steps. Sub-folders are classes: set data.conditional=True to train with them.

    python -m pipeline.prepare --source=folder:PICTURES --resolution=64 --out=data/mine
    python -m ganpipe train --config=dcgan_folder --data=data/mine --workdir=runs/mine
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the paper's width, for a GPU), "tiny" (narrow, 32x32, for a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "dcgan_folder"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""
    config.data.resolution = 64
    config.data.channels = 3
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "dcgan"
    config.system.nf = 128
    config.system.latent_dim = 100
    config.system.latent_distribution = "normal"
    config.system.d_norm = "batch"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"
    config.optimizer.g_learning_rate = 2e-4
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.beta_1 = 0.5
    config.optimizer.beta_2 = 0.999
    config.optimizer.n_critic = 1

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 40_000
    config.train.batch_size = 64
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 10
    config.train.checkpoint_every = 1000
    config.train.keep_checkpoints = 3
    config.train.log_every = 50
    config.train.sample_every = 1000
    config.train.deterministic = False

    tiny = {
        "data.resolution": 32,
        "system.nf": 16,
        "train.steps": 1000,
        "train.checkpoint_every": 500,
        "train.sample_every": 500,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
