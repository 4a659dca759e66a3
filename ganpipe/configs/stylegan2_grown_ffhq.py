"""StyleGAN2's layers with progressive growing on FFHQ at 1024x1024: the schedule for 8 GPUs.

Configs B, C and D of Karras et al. 2020 (arXiv 1912.04958, table 1): 25 million images, 8x8 to
1024x1024, full size from 8.4 million on. A is stylegan_ffhq, E and F are stylegan2_ffhq. The batch
of a stage is shared by the replicas (--strategy=mirrored).

    python -m pipeline.prepare --source=folder:FFHQ --resolution=1024 --out=data/ffhq
    python -m ganpipe train --config=stylegan2_grown_ffhq --data=data/ffhq --workdir=runs/ffhq-d
"""

import ml_collections

from ganpipe.configs import _stylegan2_grown


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" or "d" (config D), "c", "b" (the ablation), "tiny" (32x32)."""
    config = _stylegan2_grown.config("stylegan2_grown_ffhq")
    tiny = {
        "data.resolution": 32,
        "system.latent_dim": 64,
        "system.w_dim": 64,
        "system.channel_base": 1024,
        "system.channel_max": 64,
        "system.ema_kimg": 2.0,
        "growth.train_kimg": 20.0,
        "growth.fade_kimg": 20.0,
        "growth.total_kimg": 120.0,
        "growth.batch_sizes": {"px8": 32, "px16": 32, "px32": 16},
        "train.batch_size": 16,
        "train.checkpoint_every": 1000,
        "train.sample_every": 1000,
    }
    return _stylegan2_grown.choose(config, variant, tiny)
