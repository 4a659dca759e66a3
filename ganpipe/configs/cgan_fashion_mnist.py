"""Conditional GAN on Fashion-MNIST, padded to 32x32 (Mirza & Osindero 2014, arXiv 1411.1784).

The body and the optimiser of the paper's section 4.1: labels joined in both networks, SGD whose
momentum rises from .5 to .7, learning rate 0.1 falling by 1.00004 a step, batch 100.

Two keys differ from the paper. With its z ~ U(0, 1) and dropout in G, 6,000 steps on Fashion-MNIST
gave images that ignore z: all samples of a class were equal. With latents of unit variance and no
dropout in G they vary, so `system.latent_distribution` and `system.g_keep` are set to that. The
paper's own: --config.system.latent_distribution=unit_cube --config.system.g_keep=0.5

    python -m ganpipe train --config=cgan_fashion_mnist --data=data/fashion_mnist \\
        --workdir=runs/cgan
"""

import ml_collections
from ml_collections import config_dict

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the paper's widths and schedule), "tiny" (narrow and short, for a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "cgan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = True

    config.system = ml_collections.ConfigDict()
    config.system.name = "cgan"
    config.system.joint_units = 1200
    # The paper: "unit_cube", U(0, 1). With it and g_keep .5 all samples of a class came out equal.
    config.system.latent_distribution = "unit_variance_uniform"
    config.system.g_keep = 1.0  # the paper: .5; see above
    config.system.latent_dim = 100
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"
    config.optimizer.learning_rate = 0.1  # of both, where the next two say nothing
    config.optimizer.g_learning_rate = config_dict.placeholder(float)
    config.optimizer.d_learning_rate = config_dict.placeholder(float)
    config.optimizer.decay = 1.00004
    config.optimizer.momentum = 0.5
    config.optimizer.final_momentum = 0.7
    config.optimizer.momentum_ramp = 125_000
    config.optimizer.n_critic = 1

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
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

    variants = {"": {}, "tiny": {"system.joint_units": 512, "train.steps": 6000}}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
