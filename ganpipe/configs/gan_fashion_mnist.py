"""The first GAN on Fashion-MNIST, padded to 32x32 (Goodfellow et al. 2014, arXiv 1406.2661).

The body and the optimiser of the authors' mnist.yaml: maxout discriminator with dropout, SGD whose
momentum rises from .5 to .7, learning rate 0.1, batch 100, both players at once.

    python -m ganpipe train --config=gan_fashion_mnist --data=data/fashion_mnist --workdir=runs/gan
"""

import ml_collections
from ml_collections import config_dict

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the yaml's body and schedule), "tiny" (narrow and short, for a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "gan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "gan"
    config.system.hidden = 1200
    config.system.maxout_units = 240
    config.system.maxout_pieces = 5
    config.system.latent_dim = 100
    config.system.latent_distribution = "unit_variance_uniform"
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"
    config.optimizer.learning_rate = 0.1  # of both, where the next two say nothing
    config.optimizer.g_learning_rate = config_dict.placeholder(float)
    config.optimizer.d_learning_rate = config_dict.placeholder(float)
    config.optimizer.decay = 1.000004
    config.optimizer.momentum = 0.5
    config.optimizer.final_momentum = 0.7
    config.optimizer.momentum_ramp = 125_000
    config.optimizer.n_critic = 1

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    # D's weights start tiny and move by four times their length in the first 250 steps.
    config.monitor = config_lib.monitor(moved_most=10.0)
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 60_000  # 100 epochs of 600 batches
    config.train.batch_size = 100
    config.train.seed = 0
    config.train.precision = "float32"
    config.train.steps_per_execution = 20
    config.train.checkpoint_every = 2000
    config.train.keep_checkpoints = 3
    config.train.log_every = 100
    config.train.sample_every = 2000
    config.train.deterministic = False

    variants = {"": {}, "tiny": {"system.hidden": 512, "train.steps": 6000}}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
