"""`--mode=blobs`: water drops in the feature maps (Karras et al. 2020, section 2, figure 3).

StyleGAN's generator makes one small region of a map far stronger than all else, from 64x64 on and
in every picture: the instance normalisation of AdaIN then scales the rest as G wants it. Weight
demodulation (StyleGAN2) normalises by what is expected, not by what is there, and leaves nothing to
gain. `ganpipe.metrics.blobs` measures how much of a map's energy sits in such peaks; here it looks
at the maps that every convolution of a run's generator takes in.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent import ablate, sheet, taps
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space
from ganpipe.metrics import blobs as measure
from ganpipe.ops import images as image_ops

LEAST = 16  # smaller maps have hardly a place beside a peak; droplets begin at 64
SHOWN = 8


def blobs(
    space: Space,
    seeds: Sequence[int],
    labels: int | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Measures the droplets of a generator's maps.

    Args:
      space: of the system; z alone is used, noise is constant.
      seeds: of the pictures.
      labels: see `Space.labels`.
      progress: see `Space.images`.

    Returns:
      Sheet: the `SHOWN` pictures with most energy in peaks, and the energy of their maps, white the
      largest of each map. Figures of each convolution: mean share of the energy in isolated peaks,
      share of maps with one, peaks a map. Arrays: `share` and `peaks`, (N, convolutions).

    Raises:
      UserError: a generator without convolutions, or with maps below `LEAST` pixels alone.
    """
    places = [place for place in ablate.places(space) if min(place.shape[:2]) >= LEAST]
    if not places:
        raise UserError(
            f"--mode=blobs looks at maps of {LEAST}x{LEAST} and more, which this "
            f"{space.system.system_name} of {space.system.resolution} pixels has not"
        )
    classes, z = space.labels(seeds, labels), space.z(seeds)
    truncation = tf.fill([space.batch_size], space.truncation)

    @tf.function
    def forward(z: tf.Tensor, labels: tf.Tensor | None) -> tuple[tf.Tensor, list[tf.Tensor]]:
        seen: dict[int, tf.Tensor] = {}

        def look(layer: Any, x: tf.Tensor) -> tf.Tensor:
            seen.setdefault(id(layer), tf.cast(x, tf.float32))
            return x

        with taps.watched([place.layer for place in places], look):
            images = space.system.synthesize(z, labels, truncation)
        return image_ops.to_uint8(images), [seen[id(place.layer)] for place in places]

    images, found = [], [[] for _ in places]
    energies: list[list[np.ndarray]] = [[] for _ in places]
    for start in range(0, len(z), space.batch_size):
        index = np.minimum(np.arange(start, start + space.batch_size), len(z) - 1)
        count = min(space.batch_size, len(z) - start)
        part = None if classes is None else tf.constant(classes[index])
        made, maps = forward(tf.constant(z[index]), part)
        images.append(made.numpy()[:count])
        for i, rows in enumerate(maps):
            rows = rows.numpy()[:count]
            found[i].append(measure.find_blobs(rows))
            energies[i].append(measure.energy(rows).astype(np.float32))
        if progress is not None:
            progress(count)
    share = np.stack([np.concatenate([part.share for part in f]) for f in found], axis=1)
    peaks = np.stack([np.concatenate([part.peaks for part in f]) for f in found], axis=1)
    figures = {
        "convolutions": [
            {
                "maps": str(place),
                "share": float(share[:, i].mean()),
                "with_blobs": float((peaks[:, i] > 0).mean()),
                "peaks": float(peaks[:, i].mean()),
            }
            for i, place in enumerate(places)
        ],
        "share": float(share.mean()),
        "with_blobs": float((peaks > 0).mean()),
    }
    lines = [
        f"{row['maps']}: {row['share']:.2%} of the energy in isolated peaks, "
        f"{row['with_blobs']:.1%} of the maps have one"
        for row in figures["convolutions"]
    ]
    lines.append(
        f"all: {figures['share']:.2%} of the energy, {figures['with_blobs']:.1%} of the maps"
    )
    shown = np.argsort(-share.mean(axis=1), kind="stable")[:SHOWN]
    drawn = _drawn(np.concatenate(images), [np.concatenate(e) for e in energies], shown)
    columns = ["picture", *("x".join(map(str, place.shape)) for place in places)]
    title = f"energy of the maps that convolutions take in; {space.system.system_name}"
    names = [f"seed {seeds[i]}" for i in shown]
    return Outcome(
        {"": sheet.table(drawn, names, columns, title)},
        arrays={"share": share, "peaks": peaks},
        figures=figures,
        lines=lines,
    )


def _drawn(images: np.ndarray, energies: list[np.ndarray], shown: np.ndarray) -> np.ndarray:
    """(rows, 1 + convolutions, H, W, 3) uint8: a picture, then its energies, roots of them."""
    height, width = (max(sheet.SIDE, n) for n in images.shape[1:3])
    result = np.zeros((len(shown), 1 + len(energies), height, width, 3), np.uint8)
    for row, i in enumerate(shown):
        result[row, 0] = sheet.rgb(_resized(images[i], height, width))
        for column, energy in enumerate(energies, start=1):
            amplitude = np.sqrt(energy[i] / max(float(energy[i].max()), 1e-30))
            grey = (255.0 * amplitude).round().astype(np.uint8)[..., None]
            result[row, column] = sheet.rgb(_resized(grey, height, width))
    return result


def _resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) -> (height, width, C), each place its nearest pixel."""
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return image[rows[:, None], columns]
