"""StyleGAN at 1024x1024 on FFHQ: the official schedule for 8 GPUs.

Karras et al. 2019 (arXiv 1812.04948), config F: 25 million images, 8x8 to 1024x1024, full size from
8.4 million on; about a week on 8 V100. The batch of a stage is shared by the replicas
(--strategy=mirrored). FFHQ at 512 or 256: --config.data.resolution=512.

    python -m pipeline.prepare --source=folder:FFHQ --resolution=1024 --out=data/ffhq
    python -m ganpipe train --config=stylegan_ffhq --data=data/ffhq --workdir=runs/ffhq
"""

import ml_collections

from ganpipe import config as config_lib

# The paper's table 1, from F (the default) down; A is the system `progan`.
E = {"system.mixing_prob": 0.0}
D = E | {"system.use_noise": False}
C = D | {"system.const_input": False}
B = C | {
    "system.use_styles": False,
    "system.use_pixel_norm": True,
    "system.use_instance_norm": False,
    "system.mapping_layers": 0,
}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (config F), "e", "d", "c", "b" (the ablation), "wgan_gp", "tiny" (32x32).

    "wgan_gp" is the paper's training on CelebA-HQ: gradient penalty, learning rates up to 0.002.
    """
    config = ml_collections.ConfigDict()
    config.name = "stylegan_ffhq"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 1024  # the full one
    config.data.channels = 3
    config.data.conditional = False
    config.data.mirror = True

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
        batch_sizes={"px4": 512, "px8": 256, "px16": 128, "px32": 64, "px64": 32},
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
    wgan_gp = {
        "optimizer.loss": "wgan_gp",
        "penalties.r1": 0.0,
        "penalties.gp": 10.0,
        "growth.learning_rates": {"px128": 0.0015, "px256": 0.002, "px512": 0.002, "px1024": 0.002},
    }
    variants = {"": {}, "e": E, "d": D, "c": C, "b": B, "wgan_gp": wgan_gp, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
