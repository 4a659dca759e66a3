"""StyleGAN2-ADA on 15,636 emoji in four styles, 64x64.

The `auto` preset of StyleGAN2-ADA (arXiv 2006.06676) with adaptive augmentation. "tiny" is about an
hour of two cores: a sixteenth of the width, a batch of 16, styles as labels, and p five times as
quick as in long runs.

    python -m pipeline.prepare --source=emoji --resolution=64 --out=data/emoji64
    python -m ganpipe train --config=stylegan2_emoji:tiny --data=data/emoji64 --workdir=runs/emoji
"""

import ml_collections

from ganpipe.configs import _stylegan2

# An hour of two cores at 64x64; `stylegan2_fluent3d:px64` is the same with another set.
HOUR = {
    "system.channel_base": 1024,
    "system.channel_max": 128,
    "system.latent_dim": 128,
    "system.w_dim": 128,
    "system.ema_kimg": 20.0,
    "optimizer.r1_gamma": 0.2,
    "optimizer.pl_weight": 0.0,  # as the `cifar` preset: images per hour count more here
    "optimizer.style_mixing": 0.0,
    "optimizer.augment": "ada",
    "optimizer.ada_kimg": 100.0,
    "train.steps": 14080,  # 225,280 images
    "train.batch_size": 16,
    "train.checkpoint_every": 1280,
    "train.sample_every": 1280,
}


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (a GPU's work), "tiny" (about an hour on two cores)."""
    config = _stylegan2.config("stylegan2_emoji", 64)
    config.optimizer.augment = "ada"
    tiny = {"data.conditional": True} | HOUR
    return _stylegan2.choose(config, variant, {"": {}, "tiny": tiny})
