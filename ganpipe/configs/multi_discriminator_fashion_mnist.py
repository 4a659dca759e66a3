"""Four discriminators with hypervolume maximisation on Fashion-MNIST, padded to 32x32.

Albuquerque et al. 2019 (arXiv 1901.08680): Adam 2e-4 with betas .5 and .999, delta 1.5, all
discriminators on the same batch, each behind its own frozen random projection; theirs are 8 and of
full width.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fm32
    python -m ganpipe train --config=multi_discriminator_fashion_mnist:tiny --data=data/fm32 \\
      --workdir=runs/multi

GMAN (arXiv 1611.01673): `--config.optimizer.aggregation=gman --config.optimizer.own_slices=True
--config.system.projection=False --config.system.dropout=True --config.optimizer.loss=minimax`.
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (a quarter of the paper's width), "tiny" (half of that, a short run)."""
    config = ml_collections.ConfigDict()
    config.name = "multi_discriminator_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "multi_discriminator"
    config.system.discriminators = 4
    config.system.body = "dcgan"
    config.system.nf = 32
    config.system.d_norm = "batch"
    config.system.projection = True
    config.system.dropout = False
    config.system.latent_dim = 100
    config.system.latent_distribution = "normal"
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "non_saturating"
    config.optimizer.aggregation = "hypervolume"
    config.optimizer.slack = 1.5
    config.optimizer.sharpness = 1.0  # GMAN's lambda
    config.optimizer.detach = False
    config.optimizer.own_slices = False
    config.optimizer.n_critic = 1
    config.optimizer.g_learning_rate = 2e-4
    config.optimizer.d_learning_rate = 2e-4
    config.optimizer.beta_1 = 0.5
    config.optimizer.beta_2 = 0.999

    config.penalties = config_lib.penalties()
    config.tips = config_lib.tips()
    config.monitor = config_lib.monitor()
    config.evaluate = config_lib.evaluate()

    config.train = ml_collections.ConfigDict()
    config.train.steps = 8000
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
        "system.discriminators": 3,
        "train.steps": 1500,
    }
    variants = {"": {}, "tiny": tiny}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
