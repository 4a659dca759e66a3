"""f-GAN on Fashion-MNIST, padded to 32x32.

Nowozin et al. 2016 (arXiv 1606.00709) on the narrow DCGAN pair of `dcgan_fashion_mnist`, with its
normal latents. `--config.optimizer.divergence=kl`, reverse_kl, pearson, squared_hellinger, js, gan
or total_variation. The paper's pair of MLPs with its latents: variant `mlp`.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fm32
    python -m ganpipe train --config=fgan_fashion_mnist:tiny --data=data/fm32 --workdir=runs/fgan
"""

import ml_collections

from ganpipe import config as config_lib


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (minutes to an hour on two cores), "tiny" (minutes on a laptop), "mlp"."""
    config = ml_collections.ConfigDict()
    config.name = "fgan_fashion_mnist"

    config.data = ml_collections.ConfigDict()
    config.data.dir = ""  # --data says it on the command line
    config.data.resolution = 32
    config.data.channels = 1
    config.data.conditional = False

    config.system = ml_collections.ConfigDict()
    config.system.name = "fgan"
    config.system.body = "dcgan"
    config.system.nf = 32
    config.system.latent_dim = 100
    config.system.latent_distribution = "normal"
    config.system.d_norm = "batch"
    config.system.d_dropout = 0.0
    config.system.ema_decay = 0.999

    config.optimizer = ml_collections.ConfigDict()
    config.optimizer.loss = "fgan"  # of the divergence, or another loss on this body
    config.optimizer.divergence = "js"
    config.optimizer.generator_objective = "alternative"  # or "true"
    config.optimizer.clamp = -1.0  # of v; -1: 10 where there are exponentials, else none
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
    mlp = {
        "system.body": "mlp",
        "system.nf": 64,  # the default: this body has no such width
        "system.latent_distribution": "uniform",
    }
    variants = {"": {}, "tiny": tiny, "mlp": mlp}
    if variant not in variants:
        raise KeyError(f"known: {', '.join(v or '(none)' for v in variants)}")
    config.update_from_flattened_dict(variants[variant])
    return config
