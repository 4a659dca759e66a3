"""`--mode=directions`: directions in latent space that mean something.

Closed-form factorisation (SeFa, Shen and Zhou 2021): what the first layers do to a step n in the
latent is A n; the n of unit length that changes most are the eigenvectors of A^T A with the largest
eigenvalues. A is the first dense layer of a z system, or the affine layers of the styles in w; as
in the authors' code every unit's row of A is scaled to length 1.

From labels: the normal of the linear support vector machine that tells the latents of pictures with
an attribute from those without (as in linear separability, Karras et al. 2019).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent import requests, sheet, taps
from ganpipe.latent.arithmetic import along
from ganpipe.latent.attributes import Attribute, check_both
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space
from ganpipe.metrics import separability

SCALES = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
SPREAD_OF = 500  # latents behind the length of a step


def first_kernel(space: Space) -> np.ndarray:
    """(D, units) float64: the weights that z meets first in the averaged generator.

    Raises:
      UserError: no dense layer takes z.
    """
    system = space.system
    label = tf.zeros([1], tf.int32) if system.num_classes else None
    layers = taps.weighted(system.generator_ema, 2)

    def calls(seed: int) -> list[tuple[Any, Any]]:
        z = tf.constant(space.z([seed]))
        return taps.order(layers, lambda: system.synthesize(z, label, tf.ones([1])))

    for (layer, x), (_, other) in zip(calls(0), calls(1), strict=True):
        kernel = taps.runtime_kernel(layer).numpy()
        # A label may be embedded first, and be joined behind z: only z differs here.
        if kernel.shape[0] >= system.latent_dim and bool(tf.reduce_any(x != other)):
            return kernel[: system.latent_dim].astype(np.float64)
    raise UserError(
        f"--method=sefa needs a dense layer that takes z; this {system.system_name} has none"
    )


def style_kernels(space: Space) -> dict[int, list[np.ndarray]]:
    """Style layer -> kernels (w_dim, units) of the affine layers that it feeds.

    Found by what they are fed with: each style layer gets a constant of its own.

    Raises:
      UserError: no dense layer takes a style.
    """
    network = space.system.generator_ema
    count, width = int(network.num_ws), int(network.w_dim)
    mark = np.broadcast_to(np.arange(count, dtype=np.float32)[None, :, None], (1, count, width))
    layers = taps.weighted(network, 2)
    found: dict[int, list[np.ndarray]] = {}
    for layer, x in taps.order(layers, lambda: network.synthesis(tf.constant(mark), None)):
        kernel = taps.runtime_kernel(layer).numpy()
        if tuple(x.shape) == (1, width) and kernel.shape[0] == width:
            found.setdefault(round(float(x[0, 0])), []).append(kernel.astype(np.float64))
    if not found:
        raise UserError(
            f"--method=sefa needs dense layers that take styles; this {space.system.system_name} "
            "has none"
        )
    return found


def factorise(kernel: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(directions (count, D) of unit length, eigenvalues (count,), largest first).

    The sign is fixed: the coordinate of largest size is positive.

    Args:
      kernel: (D, units).
      count: 1 to D.

    Raises:
      UserError: count out of range.
    """
    if not 1 <= count <= len(kernel):
        raise UserError(f"--count={count}: expected 1 to {len(kernel)}, the length of a latent")
    lengths = np.linalg.norm(kernel, axis=0)
    rows = kernel[:, lengths > 0] / lengths[lengths > 0]
    values, vectors = np.linalg.eigh(rows @ rows.T)
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count].T
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(1)[:, None], axis=1)
    return vectors * np.sign(largest), values


def _layers(space: Space, styles: str | Sequence[str] | None) -> list[int]:
    if styles is None:
        return list(range(space.num_ws))
    if space.name != "w":
        raise UserError("--styles picks layers of w; this is z")
    return requests.layers("styles", styles, space.num_ws)


def _in_layers(space: Space, directions: np.ndarray, chosen: Sequence[int]) -> np.ndarray:
    """(K, D) -> what is added to a point: itself, or (K, num_ws, D) with 0 in other layers."""
    if space.name == "z":
        return directions.astype(np.float32)
    found = np.zeros((len(directions), space.num_ws, directions.shape[1]), np.float32)
    found[:, chosen] = directions[:, None]
    return found


def _steps(space: Space, directions: np.ndarray, classes: np.ndarray | None) -> np.ndarray:
    """(K,) standard deviation of latents along each direction: the unit of the scales."""
    seeds = range(10**6, 10**6 + SPREAD_OF)
    given = None if classes is None else int(classes[0])
    points = space.points(seeds, space.labels(seeds, given))
    points = points[:, 0] if space.name == "w" else points
    return (points.astype(np.float64) @ directions.T).std(axis=0)


def sefa(
    space: Space,
    seeds: Sequence[int],
    count: int = 5,
    styles: str | Sequence[str] | None = None,
    scales: Sequence[float] = SCALES,
    labels: int | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """The directions that the weights alone say change most.

    Args:
      space: z or w.
      seeds: rows of the pictures.
      count: directions.
      styles: in w, the layers that are factorised and moved; None: all.
      scales: columns, in standard deviations of latents along the direction.
      labels: see `Space.labels`.
      progress: see `Space.images`.

    Returns:
      A sheet for each direction, and one of all with the first seed; array `directions`.

    Raises:
      UserError: no dense layers, or numbers out of range.
    """
    classes = space.labels(seeds, labels, one=True)
    chosen = _layers(space, styles)
    if space.name == "w":
        kernels = style_kernels(space)
        parts = [k for i in chosen for k in kernels.get(i, [])]
        if not parts:
            raise UserError(f"--styles: layers {chosen} feed no affine layer")
        kernel = np.concatenate(parts, axis=1)
    else:
        kernel = first_kernel(space)
    directions, values = factorise(kernel, count)
    steps = _steps(space, directions, classes)
    moves = _in_layers(space, directions * steps[:, None], chosen)
    points = space.points(seeds, classes)
    sheets = {}
    for i, move in enumerate(moves):
        title = f"direction {i}, eigenvalue {values[i]:.3g}, in {space.name}"
        args = (space, points, move, scales, classes, seeds, title, progress)
        sheets[f"_{i}"] = along(*args)
    overview = _overview(space, points[0], moves, scales, classes, seeds[0], progress)
    share = values / kernel[:, np.linalg.norm(kernel, axis=0) > 0].shape[1]
    return Outcome(
        {"": overview, **sheets},
        arrays={"directions": directions, "eigenvalues": values, "steps": steps},
        figures={
            "eigenvalues": values.tolist(),
            "share_of_all": share.tolist(),
            "layers": chosen,
            "space": space.name,
        },
        lines=[
            f"direction {i}: eigenvalue {v:.3g}, {s:.1%} of what the first layers see"
            for i, (v, s) in enumerate(zip(values, share, strict=True))
        ],
    )


def _overview(space, point, moves, scales, classes, seed, progress) -> np.ndarray:
    """One seed: a row for each direction."""
    steps = np.asarray(scales, np.float32).reshape(1, -1, *[1] * (moves.ndim - 1))
    moved = point + steps * moves[:, None]
    every = None if classes is None else np.repeat(classes[:1], len(moves) * len(scales))
    images = space.images(moved.reshape(-1, *point.shape), every, progress)
    images = images.reshape(len(moves), len(scales), *images.shape[1:])
    heads = [f"direction {i}" for i in range(len(moves))]
    return sheet.table(images, heads, [f"{s:+g}" for s in scales], f"seed {seed}")


def from_labels(
    space: Space,
    seeds: Sequence[int],
    attributes: Sequence[Any],
    samples: int = 2000,
    styles: str | Sequence[str] | None = None,
    scales: Sequence[float] = SCALES,
    labels: int | Sequence[int] | None = None,
    seed: int = 10**6,
    progress: Progress | None = None,
) -> Outcome:
    """A direction for each attribute, from pictures of random latents and their labels.

    Args:
      space: z or w.
      seeds: rows of the pictures.
      attributes: `Attribute`s, or functions of the pictures (N, H, W, C) uint8 that give one.
      samples: pictures labelled; the surer half fits the plane.
      styles: in w, the layers that are moved; None: all.
      scales: columns, in standard deviations of latents along the direction.
      labels: see `Space.labels`.
      seed: of the first sample.
      progress: see `Space.images`.

    Returns:
      A sheet for each attribute; array `directions` (K, D); figures: accuracy of the plane on the
      other half, and the attribute's share of the pictures of `seeds` at each scale.

    Raises:
      UserError: too few pictures of either kind, or numbers out of range.
    """
    chosen = _layers(space, styles)
    classes = space.labels(seeds, labels, one=True)
    if samples < 40:
        raise UserError(f"--samples={samples}: expected 40 or more")
    rows = range(seed, seed + samples)
    own = None if classes is None else space.labels(rows, int(classes[0]))
    points = space.points(rows, own)
    images = space.images(points, own, progress)
    flat = points[:, 0] if space.name == "w" else points
    moved_from = space.points(seeds, classes)
    sheets, directions, figures, lines = {}, [], {}, []
    for i, make in enumerate(attributes):
        attribute: Attribute = make if isinstance(make, Attribute) else make(images)
        score = attribute.score(images)
        check_both(attribute.name, score >= 0)
        order = separability.most_confident(score, samples)
        fitted, other = np.sort(order[: samples // 2]), order[samples // 2 :]
        check_both(attribute.name, score[fitted] >= 0, least=2)
        plane = separability.fit_linear_svm(flat[fitted], score[fitted] >= 0)
        direction = plane[:-1] / np.linalg.norm(plane[:-1])
        sides = flat.astype(np.float64) @ plane[:-1] + plane[-1]
        right = (sides >= 0) == (score >= 0)
        step = (flat.astype(np.float64) @ direction).std()
        move = _in_layers(space, (direction * step)[None], chosen)[0]
        title = f"{attribute.name}: steps of {step:.3g} in {space.name}"
        sheets[f"_{i}"] = along(space, moved_from, move, scales, classes, seeds, title, progress)
        shares = _shares(space, attribute, flat, points, move, scales, own)
        figures[attribute.name] = {
            "accuracy_fitted": float(right[fitted].mean()),
            "accuracy_rest": float(right[other].mean()),
            "share": float((score >= 0).mean()),
            "scales": list(scales),
            "share_at_scales": shares,
        }
        directions.append(direction)
        lines.append(
            f"{attribute.name}: the plane is right on {right[fitted].mean():.1%} of the surer half "
            f"and {right[other].mean():.1%} of the rest; share from {shares[0]:.1%} at "
            f"{scales[0]:+g} to {shares[-1]:.1%} at {scales[-1]:+g}"
        )
    whole = sheet.stack(list(sheets.values()))
    return Outcome(
        {"": whole, **(sheets if len(sheets) > 1 else {})},
        arrays={"directions": np.stack(directions)},
        figures={"space": space.name, "attributes": figures, "layers": chosen},
        lines=lines,
    )


def _shares(space, attribute, flat, points, move, scales, classes) -> list[float]:
    """Share of pictures with the attribute when 100 samples are moved by each scale."""
    few = min(100, len(flat))
    part = None if classes is None else classes[:few]
    return [
        float((attribute.score(space.images(points[:few] + s * move, part)) >= 0).mean())
        for s in np.asarray(scales, np.float32)
    ]
