"""E-GAN on Fashion-MNIST, padded to 32x32.

Wang et al. 2018 (arXiv 1803.00657), with a quarter of the paper's width and else the settings of
the authors' Theano code for CIFAR-10.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fm32
    python -m ganpipe train --config=egan_fashion_mnist:tiny --data=data/fm32 --workdir=runs/egan

MO-EGAN: `--config.optimizer.mu=4 --config.optimizer.selection=nsga2`.
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (a quarter of the paper's width), "tiny" (half of that, a short run)."""
    config = ml_collections.ConfigDict()
    config.name = "egan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "egan"
    config.system.body = "conv"
    config.system.nf = 32
    config.system.norm = "batch"
    config.system.latent_dim = 100
    config.system.latent_distribution = "uniform"
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"  # of D; the mutations are G's
    config.optimizer.mu = 1
    config.optimizer.mutations = ("minimax", "heuristic", "least_squares")
    config.optimizer.selection = "fitness"
    config.optimizer.gamma = 0.004  # the Theano code's beta is half of it: its norm is squared
    config.optimizer.evaluation_size = 0  # all n_critic * batch_size
    config.optimizer.shared_latents = True
    config.optimizer.n_critic = 3
    config.optimizer.g_learning_rate = 2e-4
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.beta_1 = 0.5
    config.optimizer.d_beta_1 = 0.5
    config.optimizer.beta_2 = 0.999

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 10000
    config.train.batch_size = 32  # real images of one update of D
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
        "train.steps": 2000,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
