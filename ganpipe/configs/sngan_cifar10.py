"""SN-GAN's ResNet on CIFAR-10 with the paper's settings.

Miyato et al. 2018 (arXiv 1802.05957), the official code's: hinge, Adam 2e-4 falling linearly to 0
over 50,000 steps, betas 0 and .9, five updates of D on 64 real images a step, 128 in G's, uniform
dequantisation noise, no flips. With `--config.data.conditional=True` it is the projection
discriminator (1802.05637). A GPU's work.

    python -m pipeline.prepare --source=cifar10 --out=data/cifar10
    python -m ganpipe train --config=sngan_cifar10 --data=data/cifar10 --workdir=runs/sngan-cifar
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the paper's, a GPU's work), "tiny" (an eighth of the width, 1,000 steps)."""
    config = ml_collections.ConfigDict()
    config.name = "sngan_cifar10"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 3
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "sngan"
    config.system.body = "resnet"
    config.system.nf = 256
    config.system.latent_dim = 128
    config.system.g_batch_factor = 2
    config.system.latent_distribution = "normal"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "hinge"
    config.optimizer.g_learning_rate = 2e-4
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.beta_1 = 0.0
    config.optimizer.beta_2 = 0.9
    config.optimizer.n_critic = 5
    config.optimizer.decay_steps = 50000
    config.optimizer.decay_start = 0
    config.optimizer.dequantize = True

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 50000
    config.train.batch_size = 64  # real images of one update of D
    config.train.seed = 0
    config.train.precision = "float32"
    config.train.steps_per_execution = 10
    config.train.checkpoint_every = 1000
    config.train.keep_checkpoints = 3
    config.train.log_every = 50
    config.train.sample_every = 1000
    config.train.deterministic = False

    tiny = {
        "system.nf": 32,
        "optimizer.decay_steps": 1000,
        "train.steps": 1000,
        "train.checkpoint_every": 500,
        "train.sample_every": 500,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
