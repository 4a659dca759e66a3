"""The stage of growth that an official file was saved at."""

import math

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.importers.contents import OfficialNetwork


def take_stage(network: keras.Model, official: OfficialNetwork, most: int) -> None:
    """Makes `network` grow to the file's `lod`, its level of detail.

    Args:
      network: with `grow` and `alpha`.
      official: its `lod` is 0 at full size; 1.25 is half of it, with a quarter of the level below.
      most: levels that there are below the full size.

    Raises:
      UserError: a level of detail that the network does not have.
    """
    lod = np.asarray(official.values.get("lod", 0.0))
    if lod.size != 1 or not 0.0 <= float(lod) <= most:
        raise UserError(f"weight lod of {official.kind[:80]}: expected one number, 0 to {most}.")
    whole = math.floor(float(lod))
    network.grow(network.resolution >> whole, fading=float(lod) > whole)
    network.alpha.assign(float(lod) - whole)
