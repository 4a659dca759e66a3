"""StyleGAN2 on FFHQ at 1024x1024: config F of Karras et al. 2020 (arXiv 1912.04958).

25 million images; the published distance is 2.84, on eight GPUs for nine and a half days.

    python -m pipeline.prepare --source=folder:FFHQ --resolution=1024 --out=data/ffhq
    python -m ganpipe train --config=stylegan2_ffhq --data=data/ffhq --workdir=runs/ffhq
"""

import ml_collections

from ganpipe.configs import _stylegan2


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (config F), "e" (config E, half as wide), "px256" (`paper256`), "tiny"."""
    resolution, preset = {"e": (1024, "e"), "px256": (256, "paper256")}.get(variant, (1024, "f"))
    config = _stylegan2.config("stylegan2_ffhq", resolution, preset)
    tiny = {
        "data.resolution": 64,
        "system.channel_base": 2048,
        "system.channel_max": 64,
        "system.mapping_layers": 2,
        "optimizer.r1_gamma": 0.1,
        "system.ema_kimg": 5.0,
        "train.steps": 1600,
        "train.batch_size": 16,
        "train.checkpoint_every": 800,
        "train.sample_every": 800,
    }
    return _stylegan2.choose(config, variant, {"": {}, "e": {}, "px256": {}, "tiny": tiny})
