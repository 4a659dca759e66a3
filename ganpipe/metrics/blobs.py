"""Blob artifacts: how much of a feature map's energy sits in isolated peaks.

Karras et al. 2020 (StyleGAN2), section 2 and figure 1: StyleGAN's images carry droplets, which show
in every feature map from 64x64 on as one small region far stronger than all else; the generator
makes it to smuggle signal strength past instance normalisation. StyleGAN2 without that
normalisation has none. The paper shows the maps and gives no number; this is ours:

* energy: squared activations about the mean of each map, averaged over channels: where the
  droplet is, all channels are strong at once;
* a peak: a place whose energy is a local maximum and more than `factor` times the median of the
  map. In noise or texture, however strong, the median is strong as well;
* isolated: in the ring around the peak the median energy is below `fall` of the peak's. The rim of
  a large bright object goes on, a droplet ends;
* the score: energy inside the windows of isolated peaks, over all energy of the map.

A map of smooth texture or noise has 0, a constant map 0, a single hot pixel on silence 1.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ganpipe.errors import UserError

# Side of the windows in shares of the map's: droplets of 64x64 maps measure some four pixels.
WINDOW = 1 / 16
FACTOR = 20.0
FALL = 0.1


@dataclass(frozen=True)
class Blobs:
    """Blobs of a set of maps.

    Attributes:
      share: (N,) float64 in [0, 1], energy in isolated peaks over all energy.
      peaks: (N,) int64, isolated peaks of each map.
    """

    share: np.ndarray
    peaks: np.ndarray

    @property
    def mean_share(self) -> float:
        """Mean over the maps."""
        return float(self.share.mean())

    @property
    def with_blobs(self) -> float:
        """Share of maps with at least one isolated peak."""
        return float((self.peaks > 0).mean())


def energy(maps: np.ndarray) -> np.ndarray:
    """(N, H, W, C) activations -> (N, H, W) float64: squares about each channel's mean, averaged.

    The mean over space is taken off because a constant is no shape.
    """
    maps = np.asarray(maps, np.float64)
    centred = maps - maps.mean(axis=(1, 2), keepdims=True)
    # Of a constant only rounding is left, which is no energy.
    noise = 1e-12 * np.abs(maps).max(axis=(1, 2), keepdims=True, initial=0.0)
    return np.square(np.where(np.abs(centred) <= noise, 0.0, centred)).mean(axis=3)


def find_blobs(
    maps: np.ndarray, *, factor: float = FACTOR, fall: float = FALL, window: int | None = None
) -> Blobs:
    """Isolated peaks of feature maps.

    Args:
      maps: (N, H, W, C) real activations, H and W at least 8.
      factor: how many times the map's median energy a peak has.
      fall: median energy of the ring around an isolated peak, at most, as a share of the peak's.
      window: odd side of the window that a peak's energy is summed in; None: the odd number at or
        above a sixteenth of the shorter side. The ring around it is as wide as the window.

    Returns:
      See `Blobs`. Rows depend on their own map alone, and not on its scale.

    Raises:
      UserError: another shape, values that are not finite, a window that does not fit.
    """
    maps = np.asarray(maps)
    if maps.ndim != 4 or min(maps.shape[1:3], default=0) < 8 or not maps.shape[3] or not len(maps):
        raise UserError(
            f"feature maps have shape {maps.shape}, expected (N, H, W, C) with H and W of at least "
            "8: smaller maps have no place beside a peak"
        )
    if not np.isfinite(maps).all():
        raise UserError("feature maps hold NaN or infinity: the network is broken")
    shorter = min(maps.shape[1:3])
    window = max(3, int(np.ceil(shorter * WINDOW)) // 2 * 2 + 1) if window is None else window
    if window % 2 == 0 or not 1 <= window <= shorter // 2:
        raise UserError(
            f"window={window}: expected an odd side of 1 to {shorter // 2}, half of the map's"
        )
    if not (factor > 1 and 0 < fall < 1):
        raise UserError(f"factor={factor}, fall={fall}: expected above 1, and between 0 and 1")
    found = [_of_one(e, factor, fall, window) for e in energy(maps)]
    return Blobs(np.array([share for share, _ in found]), np.array([count for _, count in found]))


def _of_one(values: np.ndarray, factor: float, fall: float, window: int) -> tuple[float, int]:
    """(share of the energy in isolated peaks, their number) of one (H, W) map of energy."""
    total = float(values.sum())
    if not total:
        return 0.0, 0
    # Outside the map there is nothing: a droplet at the rim is one too.
    highest = ndimage.maximum_filter(values, size=window, mode="constant", cval=0.0)
    candidates = np.argwhere((values == highest) & (values > factor * np.median(values)))
    inside = np.zeros(values.shape, bool)
    isolated: list[np.ndarray] = []
    for place in sorted(candidates, key=lambda p: -values[tuple(p)]):
        if any(np.abs(place - other).max() <= window // 2 for other in isolated):
            continue  # a plateau is one peak
        near = _window(values.shape, place, window // 2)
        around = _window(values.shape, place, window // 2 + window)
        ring = np.zeros(values.shape, bool)
        ring[around], ring[near] = True, False
        if np.median(values[ring]) < fall * values[tuple(place)] and _falls(
            values, place, window, fall
        ):
            isolated.append(place)
            inside[near] = True
    return float(values[inside].sum()) / total, len(isolated)


def _falls(values: np.ndarray, place: np.ndarray, window: int, fall: float) -> bool:
    """Whether the energy falls in every direction: a line or an edge goes on in two of them."""
    reach = window // 2 + max(1, window // 2)
    row, column = place
    for down, right in ((1, 0), (0, 1), (1, 1), (1, -1)):
        for sign in (1, -1):
            i, j = row + sign * down * reach, column + sign * right * reach
            beside = 0 <= i < values.shape[0] and 0 <= j < values.shape[1]
            if beside and values[i, j] >= fall * values[row, column]:
                return False
    return True


def _window(shape: tuple[int, ...], place: np.ndarray, reach: int) -> tuple[slice, ...]:
    return tuple(
        slice(max(0, p - reach), min(n, p + reach + 1)) for p, n in zip(place, shape, strict=True)
    )
