"""StyleGAN2-ADA on CIFAR-10 with the published settings.

The `cifar` preset of NVlabs/stylegan2-ada-pytorch (arXiv 2006.06676): batch 64, R1 of .01, 100
million images, adaptive augmentation; published distances 2.92 without and 2.42 with labels
(`--config.data.conditional=True`). A GPU's work.

    python -m pipeline.prepare --source=cifar10 --out=data/cifar10
    python -m ganpipe train --config=stylegan2_cifar10 --data=data/cifar10 --workdir=runs/cifar
"""

import ml_collections

from ganpipe.configs import _stylegan2


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (the paper's), "tiny" (an eighth of the width, 1,600 steps of 16 images)."""
    config = _stylegan2.config("stylegan2_cifar10", 32, "cifar")
    config.optimizer.augment = "ada"
    tiny = {
        "system.channel_base": 2048,
        "system.channel_max": 64,
        "system.group_size": 4,
        "system.ema_kimg": 5.0,
        "train.steps": 1600,
        "train.batch_size": 16,
        "train.checkpoint_every": 800,
        "train.sample_every": 800,
    }
    return _stylegan2.choose(config, variant, {"": {}, "tiny": tiny})
