"""WGAN-GP's ResNet on CIFAR-10, as in gan_cifar_resnet.py.

Gulrajani et al. 2017 (arXiv 1704.00028): Adam 2e-4 falling linearly to 0, betas 0 and .9, penalty
10, five critic updates of 64 images, 128 in the generator's; 100,000 generator updates. With
`--config.data.conditional=True` it is the AC-GAN of the same script. A GPU's work.

    python -m pipeline.prepare --source=cifar10 --out=data/cifar10
    python -m ganpipe train --config=wgan_gp_cifar10 --data=data/cifar10 --workdir=runs/cifar
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the authors', a GPU's work), "tiny" (a quarter of the width, 2,000 steps)."""
    config = ml_collections.ConfigDict()
    config.name = "wgan_gp_cifar10"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 3
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "wgan_gp"
    config.system.body = "resnet"
    config.system.dim = 128
    config.system.latent_dim = 128
    config.system.g_batch_factor = 2
    config.system.latent_distribution = "normal"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "wasserstein"
    config.optimizer.g_learning_rate = 2e-4
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.beta_1 = 0.0
    config.optimizer.beta_2 = 0.9
    config.optimizer.decay_steps = 100000
    config.optimizer.n_critic = 5

    config.penalties = config_lib.penalties(gp=10.0)
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 100000
    config.train.batch_size = 64  # real images of one critic update
    config.train.seed = 0
    config.train.precision = "float32"
    config.train.steps_per_execution = 10
    config.train.checkpoint_every = 1000
    config.train.keep_checkpoints = 3
    config.train.log_every = 50
    config.train.sample_every = 1000
    config.train.deterministic = False

    tiny = {
        "system.dim": 32,
        "optimizer.decay_steps": 2000,
        "train.steps": 2000,
        "train.checkpoint_every": 500,
        "train.sample_every": 500,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
