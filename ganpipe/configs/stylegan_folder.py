"""StyleGAN at 256x256 on any folder of colour pictures: the official schedule for one GPU.

Karras et al. 2019 (arXiv 1812.04948), config F. Sub-folders are classes: data.conditional=True
trains with them. data.mirror doubles the pictures where left and right may change places. LSUN
cars, 512x384, are stored with black bars at 512x512: --config.data.resolution=512.

    python -m pipeline.prepare --source=folder:PICTURES --resolution=256 --out=data/mine
    python -m ganpipe train --config=stylegan_folder --data=data/mine --workdir=runs/mine
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the paper's width, for a GPU), "tiny" (32x32, narrow, for a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "stylegan_folder"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 256  # the full one
    config.data.channels = 3
    config.data.conditional = False
    config.data.mirror = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "stylegan"
    config.system.fmap_base = 8192
    config.system.fmap_decay = 1.0
    config.system.fmap_max = 512
    config.system.latent_dim = 512
    config.system.latent_distribution = "normal"
    config.system.mapping_layers = 8
    config.system.mapping_lr_multiplier = 0.01
    config.system.use_styles = True  # this and the next five: the paper's table 1
    config.system.const_input = True
    config.system.use_noise = True
    config.system.use_pixel_norm = False
    config.system.use_instance_norm = True
    config.system.mixing_prob = 0.9
    config.system.truncation_cutoff = 8
    config.system.group_size = 4
    config.system.ema_kimg = 10.0

    config.growth = config_lib.growth(
        start_resolution=8,
        train_kimg=600.0,
        fade_kimg=600.0,
        total_kimg=25_000.0,
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
        learning_rates={"px128": 0.0015, "px256": 0.002, "px512": 0.003, "px1024": 0.003},
        repeats=4,
    )

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"
    config.optimizer.g_learning_rate = 1e-3
    config.optimizer.d_learning_rate = 1e-3
    config.optimizer.beta_1 = 0.0
    config.optimizer.beta_2 = 0.99
    config.optimizer.drift = 1e-3

    config.penalties = config_lib.penalties(r1=10.0)
    config.tips = config_lib.tips()
    # G's first gradients are large: the instance norm of a constant map divides by almost nothing.
    config.monitor = config_lib.monitor(exploding_norm=1e4)
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 0  # as many as growth.total_kimg takes
    config.train.batch_size = 4  # where growth.batch_sizes has no other
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
        "system.fmap_base": 512,
        "system.fmap_max": 64,
        "system.latent_dim": 64,
        "system.ema_kimg": 2.0,
        "growth.train_kimg": 20.0,
        "growth.fade_kimg": 20.0,
        "growth.total_kimg": 120.0,
        "growth.batch_sizes": {"px8": 32, "px16": 32, "px32": 16},
        "train.batch_size": 16,
        "train.checkpoint_every": 1000,
        "train.sample_every": 1000,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
