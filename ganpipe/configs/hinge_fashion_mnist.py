"""The DCGAN pair with the hinge loss on Fashion-MNIST, padded to 32x32.

The loss of Lim & Ye 2017 (arXiv 1705.02894) and Miyato et al. 2018 (1802.05957, eq. 16-17):
`optimizer.loss` is all that differs from `dcgan_fashion_mnist`, which has labels by default.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fm32
    python -m ganpipe train --config=hinge_fashion_mnist:tiny --data=data/fm32 --workdir=runs/hinge
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (minutes to an hour on two cores), "tiny" (minutes on a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "hinge_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "dcgan"
    config.system.nf = 32
    config.system.latent_dim = 100
    config.system.latent_distribution = "normal"
    config.system.d_norm = "batch"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "hinge"
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
    config.train.steps = 5000
    config.train.batch_size = 64
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 10
    config.train.checkpoint_every = 500
    config.train.keep_checkpoints = 3
    config.train.log_every = 50
    config.train.sample_every = 500
    config.train.deterministic = False

    tiny = {
        "system.nf": 16,
        "train.steps": 1000,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
