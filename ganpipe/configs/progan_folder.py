"""ProGAN on any folder of colour pictures; the official one-GPU preset (v2).

Karras et al. 2018 (arXiv 1710.10196). At 256x256, or at 1024x1024 as CelebA-HQ (23,079,115 and
23,087,249 trainable parameters, Adam at 1.5e-3 on the last level). Sub-folders are classes: set
data.conditional=True to train with them. data.mirror=False where pictures hold text.

    python -m pipeline.prepare --source=folder:PICTURES --resolution=256 --out=data/mine
    python -m ganpipe train --config=progan_folder --data=data/mine --workdir=runs/mine

Pictures that are not square: docs/models/progan.md.
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (256x256), "px1024", "tiny" (32x32, narrow; a quarter of an hour)."""
    config = ml_collections.ConfigDict()
    config.name = "progan_folder"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 256  # the full one
    config.data.channels = 3
    config.data.conditional = False
    config.data.mirror = True

    config.system = ml_collections.ConfigDict()
    config.system.name = "progan"
    config.system.base = "4"  # of the first level: a side, or HEIGHTxWIDTH such as 3x5
    config.system.fmap_base = 8192
    config.system.fmap_decay = 1.0
    config.system.fmap_max = 512
    config.system.latent_dim = 512
    config.system.latent_distribution = "normal"
    config.system.group_size = 4
    config.system.ema_decay = 0.999

    config.growth = config_lib.growth(
        start_resolution=4,
        train_kimg=600.0,
        fade_kimg=600.0,
        total_kimg=12_000.0,
        batch_sizes={
            "px4": 128,
            "px8": 128,
            "px16": 128,
            "px32": 64,
            "px64": 32,
            "px128": 16,
            "px256": 8,
            "px512": 4,
        },
        learning_rates={"px1024": 0.0015},
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
    config.train.batch_size = 4  # where growth.batch_sizes has no other
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 4
    config.train.checkpoint_every = 4000
    config.train.keep_checkpoints = 3
    config.train.log_every = 100
    config.train.sample_every = 4000
    config.train.deterministic = False

    tiny = {
        "data.resolution": 32,
        "system.fmap_base": 512,
        "system.fmap_max": 64,
        "system.latent_dim": 64,
        "system.ema_decay": 0.995,  # the paper's .999 is for more steps
        "growth.train_kimg": 24.0,
        "growth.fade_kimg": 24.0,
        "growth.total_kimg": 200.0,
        "growth.batch_sizes": {"px4": 32, "px8": 32, "px16": 32, "px32": 16},
        "train.checkpoint_every": 1000,
        "train.sample_every": 1000,
    }
    px1024 = {"data.resolution": 1024}
    variants = {"": {}, "px1024": px1024, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
