"""ProGAN at 64x64 on emoji in four styles: 4x4 to 64x64 in five levels.

Karras et al. 2018 (arXiv 1710.10196). 15,636 pictures; their styles are the classes, for
data.conditional=True. Mirroring is off: many pictures hold letters.

    python -m pipeline.prepare --source=emoji --resolution=64 --out=data/emoji64
    python -m ganpipe train --config=progan_emoji:tiny --data=data/emoji64 --workdir=runs/emoji
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (a quarter of the paper's width, for a GPU), "tiny" (an hour on two cores)."""
    config = ml_collections.ConfigDict()
    config.name = "progan_emoji"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 64  # the full one
    config.data.channels = 3
    config.data.conditional = False
    config.data.mirror = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "progan"
    config.system.fmap_base = 2048
    config.system.fmap_decay = 1.0
    config.system.fmap_max = 256
    config.system.latent_dim = 256
    config.system.latent_distribution = "normal"
    config.system.group_size = 4
    config.system.ema_decay = 0.999

    config.growth = config_lib.growth(
        start_resolution=4,
        train_kimg=200.0,
        fade_kimg=200.0,
        total_kimg=3000.0,
        batch_sizes={"px4": 64, "px8": 64, "px16": 64, "px32": 32},
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
    config.train.checkpoint_every = 2000
    config.train.keep_checkpoints = 3
    config.train.log_every = 100
    config.train.sample_every = 2000
    config.train.deterministic = False

    tiny = {
        "system.fmap_base": 1024,
        "system.fmap_max": 64,
        "system.latent_dim": 64,
        "system.ema_decay": 0.995,  # the paper's .999 is for more steps
        "growth.train_kimg": 30.0,
        "growth.fade_kimg": 30.0,
        "growth.total_kimg": 320.0,
        "growth.batch_sizes.px4": 32,
        "growth.batch_sizes.px8": 32,
        "growth.batch_sizes.px16": 32,
        "growth.batch_sizes.px32": 16,
        "train.checkpoint_every": 1000,
        "train.sample_every": 1000,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
