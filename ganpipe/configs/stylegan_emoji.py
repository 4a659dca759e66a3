"""StyleGAN at 64x64 on emoji in four styles: 8x8 to 64x64 in four levels.

Karras et al. 2019 (arXiv 1812.04948). 15,636 pictures; their styles are the classes, for
data.conditional=True. Mirroring is off: many pictures hold letters.

    python -m pipeline.prepare --source=emoji --resolution=64 --out=data/emoji64
    python -m ganpipe train --config=stylegan_emoji:tiny --data=data/emoji64 --workdir=runs/emoji
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (a quarter of the width, for a GPU), "tiny" (two hours on two cores)."""
    config = ml_collections.ConfigDict()
    config.name = "stylegan_emoji"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 64  # the full one
    config.data.channels = 3
    config.data.conditional = False
    config.data.mirror = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "stylegan"
    config.system.fmap_base = 2048
    config.system.fmap_decay = 1.0
    config.system.fmap_max = 128
    config.system.latent_dim = 128
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
        train_kimg=150.0,
        fade_kimg=150.0,
        total_kimg=2000.0,
        batch_sizes={"px8": 128, "px16": 128, "px32": 64, "px64": 32},
        learning_rates={},
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
    config.train.batch_size = 32  # where growth.batch_sizes has no other
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 4
    config.train.checkpoint_every = 2000
    config.train.keep_checkpoints = 3
    config.train.log_every = 100
    config.train.sample_every = 2000
    config.train.deterministic = False

    tiny = {
        "system.fmap_base": 512,
        "system.fmap_max": 64,
        "system.latent_dim": 64,
        "system.ema_kimg": 2.0,
        "growth.train_kimg": 20.0,
        "growth.fade_kimg": 20.0,
        "growth.total_kimg": 200.0,
        "growth.batch_sizes": {"px8": 32, "px16": 32, "px32": 16, "px64": 16},
        "train.batch_size": 16,
        "train.checkpoint_every": 1000,
        "train.sample_every": 1000,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
