"""Any folder of pictures -> a blessed, pushed DCGAN at 64x64.

    python -m pipeline.run --config=folder --config.pipeline.source=folder:/data/cats --root=cats

A flat folder trains without labels. Sub-folders are classes; to train on them add
`--config.data.conditional=true`. The experiment is `ganpipe/configs/dcgan_folder.py`. There is no
threshold that suits every folder, so a first model is blessed if its scores are finite numbers, and
each later one must not be clearly worse than the last (`max_frechet_ratio`). Set `max_frechet` when
you know what your folder can reach.
"""

import ml_collections

from pipeline.configs import _section


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Variants: those of the experiment `dcgan_folder`."""
    return _section.get_config("dcgan_folder", variant, source="")
