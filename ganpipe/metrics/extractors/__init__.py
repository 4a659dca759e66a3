"""Extractors: fixed networks that turn images into the features a score compares.

`load` makes one by name; `base.Extractor` tells what they all answer. The small classifier that is
trained on the data set itself is another module: `ganpipe.metrics.classifier`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ganpipe.errors import UserError

if TYPE_CHECKING:
    from ganpipe.metrics.extractors.base import Extractor

# name -> (module, the line that help texts show)
NAMES = {
    "efflite0": ("efficientnet_lite0", "ImageNet features that install with pip: FD-EffLite0"),
    "inception": ("inception", "FID's InceptionV3 from its published file: FID, KID, IS"),
    "vgg16": ("vgg16", "VGG16's fc2 from torchvision's file: precision and recall"),
    "pixels": ("pixels", "raw pixels; needs channels= and size="),
}


def load(name: str, **settings: Any) -> "Extractor":
    """The extractor of a name out of `NAMES`.

    Args:
      name: key of `NAMES`.
      **settings: as the module's own `load` takes them (path, convention, batch_size).

    Raises:
      UserError: an unknown name, and what the module's `load` raises.
    """
    if name not in NAMES:
        raise UserError(f"unknown extractor {name!r}; known are {', '.join(NAMES)}")
    module = importlib.import_module(f"ganpipe.metrics.extractors.{NAMES[name][0]}")
    return module.load(**settings)
