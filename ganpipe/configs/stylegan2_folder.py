"""StyleGAN2-ADA on any folder of colour images, 256x256: the `auto` preset (arXiv 2006.06676).

Sub-folders are classes: set data.conditional=True to train with them. LSUN and CelebA go the same
way, from folders.

    python -m pipeline.prepare --source=folder:PICTURES --resolution=256 --out=data/mine
    python -m ganpipe train --config=stylegan2_folder --data=data/mine --workdir=runs/mine
"""

import ml_collections

from ganpipe.configs import _stylegan2
from ganpipe.configs.stylegan2_emoji import HOUR


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (256x256), "px512", "px1024" (each with its `auto` preset), "tiny" (64x64)."""
    resolution = {"px512": 512, "px1024": 1024}.get(variant, 256)
    config = _stylegan2.config("stylegan2_folder", resolution)
    config.optimizer.augment = "ada"
    tiny = {"data.resolution": 64} | HOUR
    return _stylegan2.choose(config, variant, {"": {}, "px512": {}, "px1024": {}, "tiny": tiny})
