"""StyleGAN2 on Fashion-MNIST, padded to 32x32, with labels.

The `cifar` preset of StyleGAN2-ADA (arXiv 2006.06676): two mapping layers, plain D, no path length,
no style mixing. For a laptop: a sixteenth of its width and a batch of 32.

    python -m pipeline.prepare --source=fashion_mnist --resolution=32 --out=data/fashion32
    python -m ganpipe train --config=stylegan2_fashion_mnist:tiny --data=data/fashion32 \
        --workdir=runs/stylegan2-tiny
"""

import ml_collections

from ganpipe.configs import _stylegan2


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (about two hours on two cores), "tiny" (half as wide; a quarter of an hour)."""
    config = _stylegan2.config("stylegan2_fashion_mnist", 32, "cifar", channels=1)
    config.data.conditional = True
    config.system.channel_base = 2048
    config.system.channel_max = 64
    config.system.latent_dim = 128
    config.system.w_dim = 128
    config.system.group_size = 8
    config.system.ema_kimg = 20.0
    config.train.steps = 16_000
    config.train.batch_size = 32
    tiny = {
        "system.channel_base": 1024,
        "system.channel_max": 32,
        "system.ema_kimg": 5.0,
        "train.steps": 8000,
        "train.batch_size": 16,
    }
    return _stylegan2.choose(config, variant, {"": {}, "tiny": tiny})
