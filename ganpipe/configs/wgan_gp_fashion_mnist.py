"""WGAN-GP on Fashion-MNIST, padded to 32x32.

Gulrajani et al. 2017 (arXiv 1704.00028): the pair of gan_cifar.py with its settings (Adam 1e-4,
betas .5 and .9, penalty 10, five critic updates), at a quarter of its width.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fm32
    python -m ganpipe train --config=wgan_gp_fashion_mnist:tiny --data=data/fm32 --workdir=runs/gp
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (minutes to an hour on two cores), "tiny" (minutes on a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "wgan_gp_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "wgan_gp"
    config.system.body = "dcgan"
    config.system.dim = 32
    config.system.latent_dim = 128
    config.system.latent_distribution = "normal"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "wasserstein"
    config.optimizer.g_learning_rate = 1e-4
    config.optimizer.d_learning_rate = 1e-4
    config.optimizer.beta_1 = 0.5
    config.optimizer.beta_2 = 0.9
    config.optimizer.decay_steps = 0  # linear to 0 in so many steps; 0: constant
    config.optimizer.n_critic = 5

    config.penalties = config_lib.penalties(gp=10.0)
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 8000
    config.train.batch_size = 64  # real images of one critic update
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 10
    config.train.checkpoint_every = 500
    config.train.keep_checkpoints = 3
    config.train.log_every = 50
    config.train.sample_every = 500
    config.train.deterministic = False

    tiny = {
        "system.dim": 16,
        # A short run wants larger steps, and a generator that moves more often.
        "optimizer.g_learning_rate": 5e-4,
        "optimizer.d_learning_rate": 5e-4,
        "optimizer.n_critic": 3,
        "train.steps": 1500,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
