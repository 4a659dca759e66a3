"""Class-conditional DCGAN on Fashion-MNIST, padded to 32x32: the main job of `make demo`.

Radford, Metz, Chintala 2015 (arXiv 1511.06434) with labels at every layer (Newmu's
train_cond_dcgan.py) and a quarter of the paper's width, so that it trains on a laptop.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fashion_mnist
    python -m ganpipe train --config=dcgan_fashion_mnist --data=data/fashion_mnist --workdir=runs/a
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (minutes on two cores), "tiny" (a minute on a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "dcgan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = True

    config.system = ml_collections.ConfigDict()
    config.system.name = "dcgan"
    config.system.nf = 32
    config.system.latent_dim = 100
    config.system.latent_distribution = "normal"
    config.system.d_norm = "batch"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"
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

    variants = {"": {}, "tiny": {"system.nf": 16, "train.steps": 1000}}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
