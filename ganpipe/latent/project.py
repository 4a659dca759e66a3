"""`--mode=project`: latents of given pictures, by gradient descent through the generator.

Style systems: the projector of StyleGAN2 (Karras et al. 2020, appendix D), in w, with noise maps.
Others, and `space="z"`: Adam on z from several starts, each kept inside the support of the latent
distribution; the best start wins. Every draw is a function of (seed, index of the picture).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent import projectors, sheet
from ganpipe.latent.distances import Distance
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.projectors import Settings
from ganpipe.latent.space import Space
from ganpipe.ops import images as image_ops


@dataclass
class Projection:
    """What `project_images` finds for N pictures.

    Attributes:
      latents: (N, D) z, or (N, num_ws, w_dim).
      noise: noise maps, (N, H, W, 1) each; [] without styles.
      start: (N, H, W, C) float32, pictures of the first step.
      images: (N, H, W, C) float32, pictures of `latents`.
    """

    latents: np.ndarray
    noise: list[np.ndarray]
    start: np.ndarray
    images: np.ndarray


def check_targets(space: Space, targets: np.ndarray, what: str = "--images") -> None:
    """UserError unless pictures are uint8 (N, H, W, C) of the system's size, N >= 1."""
    system = space.system
    expected = system.image_shape
    if targets.ndim != 4 or targets.shape[1:] != expected or not len(targets):
        raise UserError(
            f"{what}: pictures of shape {targets.shape[1:]}; this {system.system_name} makes "
            f"{expected} (height, width, channels): resize and crop them first, or prepare a data "
            "folder of them (python -m pipeline.prepare --source=folder:...)"
        )
    if targets.dtype != np.uint8:
        raise UserError(f"{what}: {targets.dtype} pictures; expected uint8")


def steps(settings: Settings, count: int) -> int:
    """Steps of all descents together: the length of a progress bar."""
    return settings.schedule.steps * math.ceil(count / min(settings.chunk, count))


def project_images(
    space: Space,
    targets: np.ndarray,
    labels: np.ndarray | None,
    distance: Distance,
    settings: Settings,
    progress: Progress | None = None,
) -> Projection:
    """Latents whose pictures are closest to `targets`.

    Args:
      space: of the system.
      targets: (N, R, R, C) uint8.
      labels: (N,) classes of a conditional system, else None.
      distance: what is made small.
      settings: see `Settings`.
      progress: called with 1 after every step of a chunk.

    Raises:
      UserError: settings or pictures that do not fit.
    """
    check_targets(space, targets)
    kind, count = settings.chosen(space), len(targets)
    wanted = image_ops.to_float(targets).numpy()
    classes = None if labels is None else np.asarray(labels, np.int32)
    chunk = min(settings.chunk, count)
    projector = (projectors.InZ if kind == "z" else projectors.InW)(space, distance, settings)
    parts = []
    for start in range(0, count, chunk):
        # The last chunk is filled up with its last picture: one shape, one compiled function.
        index = np.minimum(np.arange(start, start + chunk), count - 1)
        part = None if classes is None else classes[index]
        found = projector(wanted[index], part, index, progress)
        parts.append([value[: count - start] for value in found])
    latents, before, images, *noise = (np.concatenate(p) for p in zip(*parts, strict=True))
    return Projection(latents, noise, before, images)


def project(
    space: Space,
    targets: np.ndarray,
    labels: np.ndarray | None,
    distance: Distance,
    settings: Settings,
    names: Sequence[str],
    groups: Sequence[str],
    progress: Progress | None = None,
) -> Outcome:
    """Projects pictures and reports how close they come.

    Args:
      space: of the system.
      targets: (N, R, R, C) uint8.
      labels: (N,) classes of a conditional system, else None.
      distance: what is made small.
      settings: see `Settings`.
      names: of the pictures, for the table.
      groups: of the pictures ("train", "test", ...): figures are averaged in each.
      progress: see `project_images`.

    Returns:
      Sheet with a column a picture: target, start, projection, difference (x 2, grey is none);
      arrays `latents` (and `noise_0` ...), `targets`, `images`; figures of each picture and the
      means of each group.

    Raises:
      UserError: see `project_images`.
    """
    found = project_images(space, targets, labels, distance, settings, progress)
    start, images = (image_ops.to_uint8(x).numpy() for x in (found.start, found.images))
    wanted = image_ops.to_float(targets)

    def measured(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mse = np.square(rows.astype(np.float64) - wanted.numpy()).mean(axis=(1, 2, 3))
        far = np.concatenate(
            [
                distance(tf.constant(r[None]), t[None]).numpy()
                for r, t in zip(rows, wanted, strict=True)
            ]
        )
        return far, 10 * np.log10(4.0 / np.maximum(mse, 1e-10))

    (far_start, psnr_start), (far, psnr) = measured(found.start), measured(found.images)
    table = [
        {
            "name": names[i],
            "group": groups[i],
            "distance_at_start": float(far_start[i]),
            "distance": float(far[i]),
            "psnr_at_start": float(psnr_start[i]),
            "psnr": float(psnr[i]),
        }
        for i in range(len(names))
    ]
    if labels is not None:
        for row, label in zip(table, labels, strict=True):
            row["label"] = int(label)
    means, lines = {}, []
    for group in dict.fromkeys(groups):
        rows = [row for row in table if row["group"] == group]
        keys = ("distance_at_start", "distance", "psnr_at_start", "psnr")
        means[group] = {key: float(np.mean([row[key] for row in rows])) for key in keys}
        m = means[group]
        lines.append(
            f"{group}: {len(rows)} pictures, {distance.name} {m['distance_at_start']:.4f} -> "
            f"{m['distance']:.4f}, PSNR {m['psnr_at_start']:.2f} -> {m['psnr']:.2f} dB"
        )
    difference = images.astype(np.int16) - targets
    difference = np.clip(127 + difference, 0, 255).astype(np.uint8)
    rows = np.stack([targets, start, images, difference])
    picture = sheet.table(rows, ["target", "start", "projected", "difference"], _heads(names))
    arrays = {"latents": found.latents, "targets": targets, "images": images}
    arrays |= {f"noise_{i}": noise for i, noise in enumerate(found.noise)}
    figures = {
        "distance": distance.name,
        "space": settings.chosen(space),
        "steps": settings.schedule.steps,
        "restarts": settings.rows(space),
        "seed": settings.seed,
        "means": means,
        "pictures": table,
    }
    return Outcome({"": picture}, arrays=arrays, figures=figures, lines=lines)


def _heads(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= 10 else "…" + name[-9:] for name in names]
