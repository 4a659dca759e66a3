"""Defense-GAN on Fashion-MNIST at its own 28x28: the WGAN-GP that images are projected on.

Samangouei, Kabkab, Chellappa 2018 (arXiv 1805.06605) with the settings of kabkabm/defensegan's
fmnist config, which is gan_mnist.py of WGAN-GP: dim 64, batch 50, Adam 1e-4 (.5, .9), five critic
updates, 200,000 generator updates.

    python -m pipeline.prepare --source=fashion_mnist --base=7x7 --levels=3 --out=data/fm28
    python -m ganpipe train --config=defense_gan_fashion_mnist --data=data/fm28 --workdir=runs/d
    python -m ganpipe defend --run=runs/d --data=data/fm28 --out=defence.json
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the authors', a GPU's work), "tiny" (half an hour on two cores)."""
    config = ml_collections.ConfigDict()
    config.name = "defense_gan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 28
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "defense_gan"
    config.system.dim = 64
    config.system.latent_dim = 128
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "wasserstein"
    config.optimizer.g_learning_rate = 1e-4
    config.optimizer.d_learning_rate = 1e-4
    config.optimizer.beta_1 = 0.5
    config.optimizer.beta_2 = 0.9
    config.optimizer.n_critic = 5

    config.penalties = config_lib.penalties(gp=10.0)
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 200_000
    config.train.batch_size = 50
    config.train.seed = 0
    config.train.precision = "mixed_bfloat16"
    config.train.steps_per_execution = 10
    config.train.checkpoint_every = 1000
    config.train.keep_checkpoints = 3
    config.train.log_every = 100
    config.train.sample_every = 1000
    config.train.deterministic = False

    # A short run wants larger steps, a generator that moves more often, and few latents: what a
    # young G of many latents can make is not yet only clothes, and the projection finds the rest.
    tiny = {
        "system.dim": 32,
        "system.latent_dim": 16,
        "optimizer.g_learning_rate": 4e-4,
        "optimizer.d_learning_rate": 4e-4,
        "optimizer.n_critic": 3,
        "train.batch_size": 64,
        "train.steps": 8000,
        "train.checkpoint_every": 500,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
