"""StyleGAN2's layers with progressive growing on Fashion-MNIST, padded to 32x32, with classes.

Configs B, C and D of Karras et al. 2020 (arXiv 1912.04958): 8x8 to 32x32 in three levels. For a
laptop: an eighth of the paper's width and a fortieth of its images.

    python -m pipeline.prepare --source=fashion_mnist --out=data/fashion_mnist
    python -m ganpipe train --config=stylegan2_grown_fashion_mnist:tiny --data=data/fashion_mnist \
        --workdir=runs/grown-tiny
"""

import ml_collections

from ganpipe.configs import _stylegan2_grown

OWN = {
    "data.resolution": 32,  # the full one
    "data.channels": 1,
    "data.conditional": True,
    "data.mirror": False,
    "system.latent_dim": 128,
    "system.w_dim": 128,
    "system.channel_base": 2048,
    "system.channel_max": 64,
    "growth.train_kimg": 60.0,
    "growth.fade_kimg": 60.0,
    "growth.total_kimg": 600.0,
    "growth.batch_sizes": {"px8": 64, "px16": 32, "px32": 16},
    "growth.learning_rates": {},
    "train.batch_size": 16,
    "train.checkpoint_every": 2000,
    "train.log_every": 100,
    "train.sample_every": 2000,
}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" or "d" (config D; hours on two cores), "c", "b", "tiny" (narrow, minutes)."""
    config = _stylegan2_grown.config("stylegan2_grown_fashion_mnist")
    config.update_from_flattened_dict(OWN)
    tiny = {
        "system.latent_dim": 64,
        "system.w_dim": 64,
        "system.channel_base": 512,
        "system.channel_max": 32,
        "system.mapping_layers": 4,
        "system.ema_kimg": 1.0,
        "growth.train_kimg": 8.0,
        "growth.fade_kimg": 8.0,
        "growth.total_kimg": 48.0,
        "growth.batch_sizes": {"px8": 32, "px16": 32, "px32": 16},
        "train.checkpoint_every": 400,
        "train.sample_every": 400,
    }
    return _stylegan2_grown.choose(config, variant, tiny)
