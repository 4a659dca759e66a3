"""`--mode=ablate`: dropping the feature maps of a thing (Radford et al. 2015, section 6.3.1).

The paper drew 52 boxes around windows in 150 generated bedrooms, fitted a logistic regression that
tells from the maps of the second highest convolution of G whether a position lies in a box, and
set every map of positive weight (200 of them) to zero: windows were left out of the pictures or
turned into doors and mirrors.

Here the thing is an attribute of whole pictures (a class; the features are spatial means of maps)
or a mask (the features are those of positions, as in the paper). The maps are what a convolution
of G takes in; by default the last but one: 16x16x256 in the paper's G, where 200 maps could be
dropped. Equally many other maps, drawn at random, are dropped for comparison.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent import logistic, sheet, taps
from ganpipe.latent.attributes import Attribute, check_both
from ganpipe.latent.outcome import Outcome, Progress
from ganpipe.latent.space import Space
from ganpipe.metrics import frechet
from ganpipe.ops import images as image_ops

SHOWN = 12
RANDOM_DRAWS = 5


@dataclass(frozen=True)
class Place:
    """A convolution of G.

    Attributes:
      layer: the layer itself.
      name: its path.
      shape: (h, w, channels) of the maps that it takes in.
    """

    layer: Any
    name: str
    shape: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.shape[0]}x{self.shape[1]}x{self.shape[2]} into {self.name}"


class Maps:
    """Pictures of latents with some maps of one convolution set to zero.

    Args:
      space: of the system; z alone is used, noise is constant.
      layer: number of the convolution in the order of their calls; -1 is the last; None takes the
        last but one.

    Raises:
      UserError: a generator without convolutions, or no such one.
    """

    def __init__(self, space: Space, layer: int | None = None):
        self.space = space
        self.places = places(space)
        layer = -min(2, len(self.places)) if layer is None else layer
        if not -len(self.places) <= layer < len(self.places):
            listed = "; ".join(f"{i} {place}" for i, place in enumerate(self.places))
            raise UserError(f"--layer={layer}: no such convolution; there are {listed}")
        self.place = self.places[layer]
        self._forward = tf.function(self._traced)

    def _traced(self, z: tf.Tensor, labels: tf.Tensor | None, keep: tf.Tensor) -> tuple:
        seen: list[tf.Tensor] = []

        def look(_: Any, x: tf.Tensor) -> tf.Tensor:
            seen.append(tf.cast(x, tf.float32))
            return x * tf.cast(keep, x.dtype)

        system = self.space.system
        truncation = tf.fill([tf.shape(z)[0]], self.space.truncation)
        with taps.watched([self.place.layer], look):
            images = system.synthesize(z, labels, truncation)
        return image_ops.to_uint8(images), seen[0]

    def run(
        self,
        z: np.ndarray,
        labels: np.ndarray | None,
        dropped: Sequence[int] = (),
        reduce: Any = None,
        progress: Progress | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(pictures (N, H, W, C) uint8, features of the maps before any is dropped).

        Args:
          z: (N, D).
          labels: (N,) or None.
          dropped: maps set to zero at all positions.
          reduce: (rows (B, h, w, M), index (B,)) -> their features; None: means over positions.
          progress: see `Space.images`.
        """
        keep = np.ones(self.place.shape[2], np.float32)
        keep[list(dropped)] = 0.0
        images, features, size = [], [], self.space.batch_size
        for start in range(0, len(z), size):
            index = np.minimum(np.arange(start, start + size), len(z) - 1)
            part = None if labels is None else tf.constant(labels[index])
            made, maps = self._forward(tf.constant(z[index]), part, tf.constant(keep))
            count = min(size, len(z) - start)
            images.append(made.numpy()[:count])
            rows = maps.numpy()[:count]
            features.append(rows.mean(axis=(1, 2)) if reduce is None else reduce(rows, index))
            if progress is not None:
                progress(count)
        return np.concatenate(images), np.concatenate(features)


def places(space: Space) -> list[Place]:
    """The convolutions of the averaged generator in the order of their calls.

    Raises:
      UserError: there are none.
    """
    system = space.system
    z = tf.constant(space.z([0]))
    label = tf.zeros([1], tf.int32) if system.num_classes else None
    layers = taps.weighted(system.generator_ema, 4)
    calls = taps.order(layers, lambda: system.synthesize(z, label, tf.ones([1])))
    found = [
        Place(layer, layer.path or layer.name, tuple(int(n) for n in x.shape[1:]))
        for layer, x in calls
        if len(x.shape) == 4
    ]
    if not found:
        raise UserError(
            f"--mode=ablate drops maps of convolutions; the generator of this {system.system_name} "
            "has none"
        )
    return found


def largest(weights: np.ndarray, drop: int | None, usable: np.ndarray) -> np.ndarray:
    """Maps to drop, those of the largest weights.

    Args:
      weights: (M,).
      drop: how many; 0: all of positive weight, as in the paper; None: a quarter of the usable
        ones, or what there is of positive weight if less.
      usable: (M,) bool; others are never dropped.

    Raises:
      UserError: more than there are with a positive weight, or none.
    """
    order = np.argsort(-np.where(usable, weights, -np.inf), kind="stable")
    positive = int(np.count_nonzero(usable & (weights > 0)))
    if drop is None and positive:
        drop = min(positive, -(-int(usable.sum()) // 4))
    if not positive:
        raise UserError(
            f"none of {int(usable.sum())} maps has a positive weight: these maps do not know the "
            "thing; take another --layer"
        )
    if drop > positive or drop < 0:
        raise UserError(
            f"--drop={drop}: {positive} of {int(usable.sum())} maps have a positive weight; "
            f"expected 1 to {positive}, or 0 for all of these"
        )
    return np.sort(order[: drop or positive])


def shrunk(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) bool -> (height, width): the marked share of every cell's area."""
    for axis, size in enumerate((height, width)):
        if mask.shape[axis] % size:  # cells cut through pixels: pixels are cut up first
            mask = mask.repeat(size, axis=axis)
    rows, columns = (n // size for n, size in zip(mask.shape, (height, width), strict=True))
    return mask.reshape(height, rows, width, columns).mean(axis=(1, 3))


def _by_position(masks: np.ndarray, seed: int) -> tuple[Any, list[np.ndarray]]:
    """(`reduce` of `Maps.run` that picks positions, a list that it fills with their labels)."""
    labels: list[np.ndarray] = []

    def reduce(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
        _, h, w, channels = rows.shape
        picked = []
        for row, i in zip(rows, index[: len(rows)], strict=True):
            share = shrunk(masks[i % len(masks)], h, w)
            inside = np.flatnonzero(share.ravel() >= 0.5)
            outside = np.flatnonzero(share.ravel() < 0.5)
            rng = np.random.default_rng([seed, int(i)])
            outside = rng.permutation(outside)[: len(inside)]
            picked.append(row.reshape(-1, channels)[np.concatenate([inside, outside])])
            labels.append(np.arange(len(inside) + len(outside)) < len(inside))
        return np.concatenate(picked)

    return reduce, labels


def check_masks(space: Space, masks: np.ndarray, count: int) -> np.ndarray:
    """(1 or N, H, W) bool.

    Raises:
      UserError: another shape, or a mask that is empty or full.
    """
    (height, width, _), masks = space.system.image_shape, np.asarray(masks)
    if masks.ndim == 2:
        masks = masks[None]
    if masks.shape[1:] != (height, width) or len(masks) not in (1, count):
        raise UserError(
            f"--mask: shape {masks.shape}; expected ({height}, {width}), or one for each of "
            f"{count} seeds ({count}, {height}, {width})"
        )
    masks = masks > 0
    if masks.all() or not masks.any():
        raise UserError("--mask: all or none of it is marked; expected a region")
    return masks


def ablate(
    space: Space,
    seeds: Sequence[int],
    attribute: Attribute | Callable[[np.ndarray], Attribute] | None = None,
    masks: np.ndarray | None = None,
    layer: int | None = None,
    drop: int | None = None,
    labels: int | Sequence[int] | None = None,
    penalty: float = 1.0,
    seed: int = 0,
    features: Any = None,
    real: np.ndarray | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Fits, drops and compares.

    Args:
      space: of the system.
      seeds: of the pictures; half of them fit the probe, the others judge it.
      attribute: of whole pictures, or a function of the pictures that gives one; or
      masks: (R, R) or (N, R, R): marked positions, as the boxes of the paper.
      layer: see `Maps`.
      drop: see `largest`.
      labels: see `Space.labels`.
      penalty: of the regression.
      seed: of the random maps and positions.
      features: (N, H, W, C) uint8 -> (N, d), with `real`: for the Frechet distance before and
        after; None leaves it out.
      real: (M, d) features of real pictures.
      progress: see `Space.images`.

    Returns:
      Sheet (before, after, random maps); figures: probe accuracy, maps dropped, frequencies.

    Raises:
      UserError: neither or both of attribute and masks, too few pictures of either kind, and what
        `Maps` and `largest` refuse.
    """
    if (attribute is None) == (masks is None):
        raise UserError(
            "--mode=ablate needs labels: --attribute=class:3 (of the run's classifier), "
            "--attribute=brightness, or --mask=FILE with the region; one of them"
        )
    maps = Maps(space, layer)
    classes, z = space.labels(seeds, labels), space.z(seeds)
    reduce, found = None, []
    if masks is not None:
        masks = check_masks(space, masks, len(seeds))
        reduce, found = _by_position(masks, seed)
    before, x = maps.run(z, classes, (), reduce, progress)
    if attribute is not None:
        attribute = attribute if isinstance(attribute, Attribute) else attribute(before)
        positive = attribute.score(before) >= 0
        check_both(attribute.name, positive)
    else:
        positive = np.concatenate(found)
        check_both("mask", positive)
    probe, accuracy, usable = _probe(x, positive, penalty, seed)
    dropped = largest(probe.weights, drop, usable)
    after, _ = maps.run(z, classes, dropped, None, progress)
    rng, others = np.random.default_rng(seed), []
    for _ in range(RANDOM_DRAWS):
        chosen = rng.permutation(np.flatnonzero(usable))[: len(dropped)]
        others.append(maps.run(z, classes, chosen, None, progress)[0])

    def changed(images: np.ndarray) -> np.ndarray:
        return np.abs(images.astype(np.float64) - before).mean(axis=3)

    figures: dict[str, Any] = {
        "maps": str(maps.place),
        "attribute": attribute.name if attribute is not None else "mask",
        "probe_accuracy": accuracy,
        "positives": int(np.count_nonzero(positive)),
        "samples": len(positive),
        "maps_usable": int(usable.sum()),
        "dropped": dropped.tolist(),
        "weights": probe.weights[dropped].tolist(),
        "pixels_changed": float(changed(after).mean()),
        "pixels_changed_random": float(np.mean([changed(o).mean() for o in others])),
    }
    lines = [
        f"maps: {maps.place}; probe accuracy {accuracy:.3f} on the half not fitted",
        f"dropped {len(dropped)} of {int(usable.sum())} maps; pixels change by "
        f"{figures['pixels_changed']:.1f}, with random maps {figures['pixels_changed_random']:.1f}",
    ]
    if attribute is not None:
        shares = [float(np.mean(attribute.score(i) >= 0)) for i in (before, after, *others)]
        figures |= {
            "frequency_before": shares[0],
            "frequency_after": shares[1],
            "frequency_random": shares[2:],
        }
        lines.append(
            f"{attribute.name}: {shares[0]:.1%} of the pictures before, {shares[1]:.1%} after, "
            f"{np.mean(shares[2:]):.1%} with random maps dropped"
        )
        rows = np.flatnonzero(positive)
    else:
        inside = np.broadcast_to(masks, (len(seeds), *masks.shape[1:]))
        figures |= {
            "changed_inside": float(changed(after)[inside].mean()),
            "changed_outside": float(changed(after)[~inside].mean()),
            "changed_inside_random": float(np.mean([changed(o)[inside].mean() for o in others])),
            "changed_outside_random": float(np.mean([changed(o)[~inside].mean() for o in others])),
        }
        lines.append(
            f"pixels change by {figures['changed_inside']:.1f} inside the mask, "
            f"{figures['changed_outside']:.1f} outside (random maps: "
            f"{figures['changed_inside_random']:.1f}, {figures['changed_outside_random']:.1f})"
        )
        rows = np.arange(len(seeds))
    if features is not None and real is not None:
        lines.append(_distances(figures, features, real, before, after, others[0]))
    rows = rows[:SHOWN]
    pictures = np.stack([before[rows], after[rows], others[0][rows]])
    title = f"{len(dropped)} of {int(usable.sum())} maps dropped ({figures['attribute']})"
    heads = ["before", "dropped", "random"]
    columns = [str(seeds[i]) for i in rows]
    return Outcome(
        {"": sheet.table(pictures, heads, columns, title)},
        arrays={"weights": probe.weights, "dropped": dropped},
        figures=figures,
        lines=lines,
    )


def _probe(
    x: np.ndarray, positive: np.ndarray, penalty: float, seed: int
) -> tuple[logistic.Probe, float, np.ndarray]:
    """(probe of a random half, its balanced accuracy on the other, maps that vary at all).

    Constant maps, such as planes of a one-hot label, tell nothing and are left alone.
    """
    usable = x.std(axis=0) > 1e-6
    rng = np.random.default_rng([seed, 1])
    first = np.zeros(len(x), bool)
    for kind in (True, False):  # half of each, so that both halves hold both
        rows = rng.permutation(np.flatnonzero(positive == kind))
        first[rows[: (len(rows) + 1) // 2]] = True
    probe = logistic.fit(x[first], positive[first], penalty)
    right = (probe.score(x[~first]) >= 0) == positive[~first]
    judged = positive[~first]
    accuracy = 0.5 * (right[judged].mean() + right[~judged].mean())
    return probe, float(accuracy), usable


def _distances(figures, features, real, before, after, other) -> str:
    """Adds the Frechet distances of three lots of pictures; the line that tells them."""
    whole = frechet.GaussianStatistics.of(real)
    names = ("frechet_before", "frechet_after", "frechet_random")
    for name, images in zip(names, (before, after, other), strict=True):
        own = frechet.GaussianStatistics.of(features(images))
        figures[name] = float(frechet.frechet_distance(own.mean, own.cov, whole.mean, whole.cov))
    shown = [f"{figures[name]:.2f}" for name in names]
    return (
        f"Frechet distance of {len(before)} pictures: {shown[0]} before, {shown[1]} after, "
        f"{shown[2]} with random maps dropped"
    )
