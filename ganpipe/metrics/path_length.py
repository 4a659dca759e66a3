"""Perceptual path length: how much an image changes when its latent moves a little.

    PPL = mean of d(G(path(t)), G(path(t + eps))) / eps^2,   eps = 1e-4      (Karras et al. 2019)

Two latents are drawn and joined: in Z by `slerp` of normalised latents, in W by `lerp` of mapped
ones. `slerp` gives latents of length 1, which StyleGAN normalises anyway; a generator that is used
to lengths of about sqrt(d) needs "slerp_any". t is uniform in [0, 1) ("full") or 0 ("end").

The smallest and largest distances are left out: those outside [1st percentile, 99th percentile],
taken as existing values ("lower", "higher") and both kept.

Published settings: 100,000 pairs (StyleGAN), 50,000 (StyleGAN2: `ppl2_wend`, W, end, no crop);
faces are cropped to their middle; the distance is taken at 256 pixels.

The images must not be rounded: eps moves pixels by far less than 1 / 255, so a cast to uint8
between generator and distance turns the score into noise (values of 31 and 1147 have been reported
for one model). `quantise=True` does so on purpose, because torch-fidelity does.

torch-fidelity's default is `space="z", sampling="end", interpolation="lerp", quantise=True,
size=64` with LPIPS-VGG inside; it shrinks bilinearly, not by averaging, so give `size=None` and
shrink in `distance` to follow it to the last digit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from ganpipe.errors import UserError

EPSILON = 1e-4
PERCENTILES = (1.0, 99.0)
SIZE = 256

Generate = Callable[[np.ndarray, np.ndarray], np.ndarray]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Trimmed:
    """Distances without their tails.

    Attributes:
      mean: of those kept.
      std: of those kept (ddof 0).
      low: smallest kept value.
      high: largest kept value.
      kept: how many.
      count: how many there were.
    """

    mean: float
    std: float
    low: float
    high: float
    kept: int
    count: int


def normalise(x: np.ndarray) -> np.ndarray:
    """(..., d) -> unit length along the last axis, float64. A zero vector gives NaN."""
    x = np.asarray(x, np.float64)
    with np.errstate(invalid="ignore"):
        return x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True))


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """From the direction of a (t = 0) to that of b (t = 1) along the great circle.

    Args:
      a, b: (..., d); lengths are ignored.
      t: broadcast against (..., 1).

    Returns:
      (..., d) float64 of unit length. a where the two directions are the same; opposite
      directions have no shortest way between them and give NaN or any.
    """
    a, b = normalise(a), normalise(b)
    cosine = np.clip(np.sum(a * b, axis=-1, keepdims=True), -1.0, 1.0)
    across = b - cosine * a
    length = np.sqrt(np.sum(across * across, axis=-1, keepdims=True))
    # Same direction: nothing lies across, and a is the answer for every t.
    across = np.divide(across, length, out=np.zeros_like(across), where=length > 0)
    angle = t * np.arccos(cosine)
    return normalise(a * np.cos(angle) + across * np.sin(angle))


def lerp(a: np.ndarray, b: np.ndarray, t: np.ndarray | float) -> np.ndarray:
    """a + (b - a) t, float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return a + (b - a) * t


def slerp_weights(
    a: np.ndarray, b: np.ndarray, t: np.ndarray | float, *, unit: bool = False
) -> np.ndarray:
    """torch-fidelity's slerp: the weights of the angle between a and b, put on a and b themselves.

    Unlike `slerp`, lengths are kept: t = 0 gives a, t = 1 gives b. Where a or b is 0, or both have
    one direction (cosine beyond 1 - 1e-7), it is `lerp`.

    Args:
      a, b: (..., d).
      t: broadcast against (..., 1).
      unit: scale the result to unit length.
    """
    tiny = 1e-7
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = [np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b)]
    unit_a, unit_b = (v / np.maximum(n, tiny) for v, n in zip((a, b), lengths, strict=True))
    cosine = np.sum(unit_a * unit_b, axis=-1, keepdims=True)
    straight = (lengths[0] < tiny**2) | (lengths[1] < tiny**2) | (np.abs(cosine) > 1 - tiny)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    sine = np.maximum(np.sin(angle), tiny)
    bent = np.sin((1 - t) * angle) / sine * a + np.sin(t * angle) / sine * b
    result = np.where(straight, lerp(a, b, t), bent)
    if not unit:
        return result
    return result / np.maximum(np.linalg.norm(result, axis=-1, keepdims=True), tiny)


INTERPOLATIONS = {
    "slerp": slerp,
    "lerp": lerp,
    "slerp_any": slerp_weights,
    "slerp_unit": lambda a, b, t: slerp_weights(a, b, t, unit=True),
}


def trimmed(distances: np.ndarray, percentiles: tuple[float, float] = PERCENTILES) -> Trimmed:
    """Mean without the tails.

    Args:
      distances: (N,) real, finite.
      percentiles: the range kept; its ends are values that occur, and are kept.

    Raises:
      UserError: no distances, or one that is not finite.
    """
    x = np.asarray(distances)
    if x.ndim != 1 or not len(x):
        raise UserError(f"distances have shape {x.shape}, expected (N,) with N >= 1")
    if not np.isfinite(x).all():
        raise UserError(
            f"{np.count_nonzero(~np.isfinite(x))} of {len(x)} distances are NaN or infinite: the "
            "generator or the distance is broken"
        )
    low = np.percentile(x, percentiles[0], method="lower")
    high = np.percentile(x, percentiles[1], method="higher")
    kept = x[(x >= low) & (x <= high)].astype(np.float64)
    return Trimmed(
        float(kept.mean()), float(kept.std()), float(low), float(high), len(kept), len(x)
    )


def crop_face(images: np.ndarray) -> np.ndarray:
    """Rows 3/8 to 7/8 and columns 2/8 to 6/8 of (B, H, W, C): a centred face without hair."""
    unit = images.shape[1] // 8
    return images[:, 3 * unit : 7 * unit, 2 * unit : 6 * unit]


def shrink(images: np.ndarray, size: int) -> np.ndarray:
    """Averages (B, H, W, C) images down by H // size in both directions; unchanged if not larger.

    Raises:
      UserError: a side that this whole factor does not divide.
    """
    factor = images.shape[1] // size
    if factor < 2:
        return images
    batch, height, width, channels = images.shape
    if height % factor or width % factor:
        raise UserError(
            f"{height}x{width} images cannot be averaged down to {size}: {factor} divides not "
            "both sides; give another size"
        )
    parts = images.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return parts.mean(axis=(2, 4))


def _checked(images: np.ndarray, batch: int, quantise: bool) -> np.ndarray:
    """What `generate` gave, as float32; UserError if it is not (batch, H, W, C) floats."""
    images = np.asarray(images)
    if images.ndim != 4 or len(images) != batch:
        raise UserError(f"generate gave shape {images.shape}, expected ({batch}, H, W, C)")
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(
            f"generate gave {images.dtype} images, expected floats in [-1, 1]: rounding is far "
            "coarser than the step that is measured; quantise=True rounds on purpose"
        )
    if not np.isfinite(images).all():
        raise UserError("generate gave NaN or infinite pixels: the generator is broken")
    if quantise:
        levels = np.round(np.clip((images + 1.0) * 127.5, 0.0, 255.0))
        return (levels / 127.5 - 1.0).astype(np.float32)
    return images.astype(np.float32, copy=False)


def perceptual_path_length(
    generate: Generate,
    distance: Distance,
    *,
    z_dim: int,
    num_samples: int,
    space: str = "w",
    sampling: str = "end",
    map_latents: Generate | None = None,
    interpolation: str | None = None,
    epsilon: float = EPSILON,
    crop: bool = False,
    size: int | None = SIZE,
    quantise: bool = False,
    percentiles: tuple[float, float] = PERCENTILES,
    batch_size: int = 16,
    seed: int = 0,
    draw: Callable[[np.ndarray], np.ndarray] | None = None,
    show: bool = True,
) -> Trimmed:
    """Perceptual path length of a generator.

    Args:
      generate: (latents (B, ...) float32, index (B,) int64) -> (B, H, W, C) float images in
        [-1, 1]. Latents are z for space "z", else what `map_latents` gave, interpolated. `index`
        numbers the pair: synthesis noise and label must follow from it alone, since both images of
        a pair have to share them. Called with one static B, so a `tf.function` traces once.
      distance: (images, images) float32, cropped and shrunk -> (B,) distances. LPIPS takes
        [-1, 1]; StyleGAN's VGG wants (x + 1) * 127.5.
      z_dim: length of z, drawn standard normal.
      num_samples: pairs.
      space: "z" or "w".
      sampling: "full" (t uniform in [0, 1)) or "end" (t = 0).
      map_latents: for space "w": (z (B, z_dim) float32, index) -> w (B, ...).
      interpolation: key of `INTERPOLATIONS`; None takes slerp in Z and lerp in W.
      epsilon: step in t.
      crop: cut faces out before shrinking.
      size: side in pixels above which images are averaged down; None never does.
      quantise: round pixels to 8 bits, as torch-fidelity does.
      percentiles: see `trimmed`.
      batch_size: pairs a call; twice as many images are held. No effect on the draw.
      seed: of latents and t.
      draw: (n,) int64 numbers of latents -> (n, z_dim), for latents that are not normal or come
        from elsewhere; pair i joins number 2 i and number 2 i + 1. None: normal, from `seed`.
      show: a progress bar.

    Returns:
      Distances over epsilon^2, trimmed; `.mean` is the score.

    Raises:
      UserError: an unknown setting, integer or broken images, distances that are not finite.
    """
    if space not in ("z", "w") or sampling not in ("full", "end"):
        raise UserError(f"space={space!r}, sampling={sampling!r}: expected z or w, and full or end")
    if (space == "w") != (map_latents is not None):
        raise UserError(f"space={space!r}: map_latents belongs to space 'w', and is needed there")
    name = interpolation or ("slerp" if space == "z" else "lerp")
    if name not in INTERPOLATIONS:
        raise UserError(f"interpolation={name!r}: expected one of {', '.join(INTERPOLATIONS)}")
    if num_samples < 1 or batch_size < 1 or not epsilon > 0:
        raise UserError(
            f"num_samples={num_samples}, batch_size={batch_size}, epsilon={epsilon}: all must be "
            "positive"
        )
    # Two streams, so that neither the batch size nor `sampling` changes which latents are drawn.
    latents_rng, t_rng = (np.random.default_rng([seed, stream]) for stream in (0, 1))
    found = np.empty(num_samples)
    bar = tqdm(total=num_samples, desc="path length", unit="pair", disable=None if show else True)
    with bar:
        for start in range(0, num_samples, batch_size):
            count = min(batch_size, num_samples - start)
            if draw is None:
                z = latents_rng.standard_normal((count, 2, z_dim))
            else:
                z = np.asarray(draw(np.arange(2 * start, 2 * (start + count))), np.float64)
                z = z.reshape(count, 2, z_dim)
            t = t_rng.random(count) if sampling == "full" else np.zeros(count)
            # The last batch is filled with copies of its last row.
            rows = np.minimum(np.arange(batch_size), count - 1)
            z, t, index = z[rows], t[rows], (start + rows).astype(np.int64)
            a, b = z[:, 0], z[:, 1]
            if map_latents is not None:
                a, b = (np.asarray(map_latents(v.astype(np.float32), index)) for v in (a, b))
            t = t.reshape(-1, *[1] * (a.ndim - 1))
            images = []
            for at in (t, t + epsilon):
                latents = INTERPOLATIONS[name](a, b, at).astype(np.float32)
                x = _checked(generate(latents, index), batch_size, quantise)
                x = crop_face(x) if crop else x
                images.append(x if size is None else shrink(x, size))
            d = np.asarray(distance(*images), np.float64)
            if d.shape != (batch_size,):
                raise UserError(f"distance gave shape {d.shape}, expected ({batch_size},)")
            found[start : start + count] = d[:count] / epsilon**2
            bar.update(count)
    return trimmed(found, percentiles)
