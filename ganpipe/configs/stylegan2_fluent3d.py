"""StyleGAN2-ADA on 3,391 pictures of Fluent Emoji in 3-D, 256x256.

The `auto` preset of StyleGAN2-ADA (arXiv 2006.06676) with adaptive augmentation, which so small a
set needs. "px64" is about an hour of two cores at 64x64, with the nine groups as labels: people,
flags and so on differ so much that a small G learns them sooner apart.

    python -m pipeline.prepare --source=fluent3d --resolution=64 --out=data/fluent64
    python -m ganpipe train --config=stylegan2_fluent3d:px64 --data=data/fluent64 --workdir=runs/f3d
"""

import ml_collections

from ganpipe.configs import _stylegan2
from ganpipe.configs.stylegan2_emoji import HOUR


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: "" (a GPU's work), "px64" (64x64, about an hour on two cores), "tiny": px64."""
    config = _stylegan2.config("stylegan2_fluent3d", 256)
    config.optimizer.augment = "ada"
    px64 = {"data.resolution": 64, "data.conditional": True, "data.mirror": True} | HOUR
    return _stylegan2.choose(config, variant, {"": {}, "px64": px64, "tiny": px64})
