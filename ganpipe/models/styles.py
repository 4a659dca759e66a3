"""Systems whose generator maps z to styles w first: StyleGAN and StyleGAN2.

Such a system sets `styles = True`, and its generators have

    mapping(z, labels=None, training=False) -> ws (B, num_ws, w_dim) float32, not truncated
    truncate(ws, truncation (B,), cutoff) -> ws, pulled to `w_average` for the layers below cutoff
    synthesis(ws, noise) -> images
    num_ws, w_dim, w_average, default_cutoff

where noise is None (none), "const" (the buffers), a (2,) seed of the whole batch, ("rows", (B,)
int64 seeds) for noise of each row's own, or a list of maps. The functions are methods of
`GANSystem`, which lends them its state.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.models import requests, stages

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

NOISES = ("const", "random", "none")


def checked_noise(system: "GANSystem", noise: str | None) -> str | None:
    """ "const", "random" or None; None for systems without noise inputs.

    Raises:
      UserError: another word.
    """
    if noise not in (*NOISES, None):
        raise UserError(f"noise: {noise!r}; expected one of {', '.join(NOISES)}.")
    return noise if system.styles and noise != "none" else None


def noise_of(system: "GANSystem", noise: str | None, n: int, seed: Any) -> Any:
    """`noise` as the generator's synthesis takes it, for n rows.

    Raises:
      UserError: an unknown word; seeds that are not one a row.
    """
    noise = checked_noise(system, noise)
    if noise != "random":
        return noise
    return "rows", tf.constant(requests.seeds(n, seed), tf.int64)


def mapped(
    system: "GANSystem",
    z: tf.Tensor,
    labels: tf.Tensor | None,
    truncation: tf.Tensor,
    cutoff: int | None = None,
) -> tf.Tensor:
    """(B, D), (B,) or None, (B,) -> truncated styles (B, num_ws, w_dim) of the average."""
    network = system.generator_ema
    ws = network.mapping(z, labels, training=False)
    return network.truncate(ws, truncation, network.default_cutoff if cutoff is None else cutoff)


def synthesized(system: "GANSystem", ws: tf.Tensor, noise: Any) -> tf.Tensor:
    """(B, num_ws, w_dim) -> (B, H, W, C) float32 of the average."""
    images = system.generator_ema.synthesis(ws, noise)
    return stages.full_size(system, tf.cast(images, tf.float32))


def _refuse(system: "GANSystem") -> None:
    if not system.styles:
        raise UserError(
            f"this {system.system_name} has no mapping network and no styles; expected stylegan, "
            "stylegan2 or stylegan2_grown."
        )


def map_latents(
    system: "GANSystem",
    z: Any,
    labels: int | Sequence[int] | None = None,
    truncation: float | Sequence[float] = 1.0,
    cutoff: int | None = None,
) -> tf.Tensor:
    """Styles of latents.

    Args:
      z: (B, latent_dim) float32.
      labels: one class or (B,) classes; required by a conditional system.
      truncation: psi, scalar or (B,): w_average + psi (w - w_average).
      cutoff: first layer that is not truncated; None: that of the system (StyleGAN: 8).

    Returns:
      (B, num_ws, w_dim) float32, one style a layer.

    Raises:
      UserError: a system without styles; z of another width; labels missing or unwanted.
    """
    _refuse(system)
    from ganpipe.models import inference  # which asks this module for noise

    z, labels, truncation = inference.checked(system, z, labels, truncation)
    if cutoff is not None and not 0 <= cutoff <= system.generator_ema.num_ws:
        raise UserError(
            f"cutoff: {cutoff}; expected 0 to {system.generator_ema.num_ws}, the layers there are."
        )
    return system._map(system, z, labels, truncation, cutoff)


def synthesize_styles(
    system: "GANSystem", ws: Any, noise: str | None = "const", seed: int | Sequence[int] = 0
) -> tf.Tensor:
    """Images of styles: (B, num_ws, w_dim), or (B, w_dim) for all layers, -> (B, H, W, C).

    Args:
      ws: float32.
      noise: "const", "random" or "none".
      seed: of random noise: row i uses seed + i; or one seed for every row.

    Raises:
      UserError: a system without styles; styles of another shape; unknown noise.
    """
    _refuse(system)
    network = system.generator_ema
    ws = tf.convert_to_tensor(np.asarray(ws, np.float32) if not tf.is_tensor(ws) else ws)
    if ws.shape.rank == 2:
        ws = tf.repeat(ws[:, None], network.num_ws, axis=1)
    if ws.shape.rank != 3 or tuple(ws.shape[1:]) != (network.num_ws, network.w_dim):
        raise UserError(
            f"ws: shape {tuple(ws.shape)}; expected (batch, {network.num_ws}, {network.w_dim}) or "
            f"(batch, {network.w_dim})."
        )
    return system._styles(system, ws, noise_of(system, noise, ws.shape[0], seed))
