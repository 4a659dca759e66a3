"""WGAN with weight clipping on Fashion-MNIST, padded to 32x32.

Arjovsky et al. 2017 (arXiv 1701.07875) with its code's settings (RMSprop 5e-5, clip 0.01, five
critic updates, 100 of them in long phases) on the narrow DCGAN pair of `dcgan_fashion_mnist`.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fm32
    python -m ganpipe train --config=wgan_fashion_mnist:tiny --data=data/fm32 --workdir=runs/wgan
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (minutes to an hour on two cores), "tiny" (minutes on a laptop)."""
    config = ml_collections.ConfigDict()
    config.name = "wgan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "wgan"
    config.system.body = "dcgan"
    config.system.nf = 32
    config.system.latent_dim = 100
    config.system.latent_distribution = "normal"
    config.system.d_norm = ""  # of the body: "batch" for dcgan
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "wasserstein"
    config.optimizer.algorithm = "rmsprop"
    config.optimizer.g_learning_rate = 5e-5
    config.optimizer.d_learning_rate = 5e-5
    config.optimizer.n_critic = 5
    config.optimizer.warmup_iterations = 25
    config.optimizer.warmup_critic = 100
    config.optimizer.warmup_every = 500

    config.penalties = config_lib.penalties(clip=0.01)
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
        "system.nf": 16,
        # A short run has no time for long phases, and wants larger steps.
        "optimizer.g_learning_rate": 3e-4,
        "optimizer.d_learning_rate": 3e-4,
        "optimizer.warmup_iterations": 5,
        "optimizer.warmup_critic": 50,
        "train.steps": 2000,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
