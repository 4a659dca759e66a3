"""SN-GAN's ResNet on Fashion-MNIST, padded to 32x32, with a projection discriminator.

Miyato et al. 2018 (arXiv 1802.05957) and Miyato & Koyama 2018 (1802.05637): hinge loss, Adam 2e-4,
betas 0 and .9. For a laptop: a quarter of the paper's widths (G 64, D 32 channels), two updates of
D a step instead of five, and G's batch as large as D's.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fashion_mnist
    python -m ganpipe train --config=sngan_fashion_mnist --data=data/fashion_mnist --workdir=runs/sn
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (an hour or two on two cores), "tiny" (the narrow standard CNN; minutes)."""
    config = ml_collections.ConfigDict()
    config.name = "sngan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = True

    config.system = ml_collections.ConfigDict()
    config.system.name = "sngan"
    config.system.body = "resnet"
    config.system.nf = 64
    config.system.latent_dim = 128
    config.system.g_batch_factor = 1
    config.system.latent_distribution = "normal"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "hinge"
    config.optimizer.g_learning_rate = 2e-4
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.beta_1 = 0.0
    config.optimizer.beta_2 = 0.9
    config.optimizer.n_critic = 2
    config.optimizer.decay_steps = 0
    config.optimizer.decay_start = 0
    config.optimizer.dequantize = False

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 10000
    config.train.batch_size = 64  # real images of one update of D
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 10
    config.train.checkpoint_every = 500
    config.train.keep_checkpoints = 3
    config.train.log_every = 50
    config.train.sample_every = 500
    config.train.deterministic = False

    tiny = {"system.body": "cnn", "system.nf": 16, "train.steps": 2000}
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
