"""Scores of a latent space: perceptual path length and linear separability, for the suite."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from ganpipe.errors import UserError
from ganpipe.metrics import path_length, separability
from ganpipe.metrics.context import Context, Score
from ganpipe.metrics.extractors import base, lpips
from ganpipe.metrics.latents import LatentModel
from ganpipe.metrics.source import ImageSource
from ganpipe.ops import images as image_ops

# Pairs that go through generator and distance at once.
BATCH = 16

# The published numbers of samples; more than asked for with --num are never taken.
PAIRS = 50_000
SAMPLES = 200_000

# Latents of these scores are none of those that images were sampled from.
_STREAMS = {"path": 1, "separability": 2}
_STRIDE = 10**9
_STREAM = 10**17


def fits_path(source: ImageSource) -> None:
    """UserError unless `path_length.shrink` can average the images down."""
    factor = max(source.resolution // path_length.SIZE, 1)
    if any(side % factor for side in source.image_shape[:2]):
        raise UserError(
            f"path_length: images of {source.size} (height x width) cannot be averaged down by the "
            f"whole factor {factor}, to {path_length.SIZE} pixels: leave it out of --metrics"
        )


def path(context: Context, space: str, sampling: str) -> Score:
    """`path_length_SPACE`: t over the whole path, or at its end.

    The distance is LPIPS of VGG16 where its published file is there and the images are coloured,
    else the squared distance of the extractor's features at unit length; the score is named by it.
    """
    model = _model(context, space)
    distance, named, ruler = _distance(context)
    name = f"path_length_{space}" + ("" if sampling == "full" else "_end")

    def draw(rows: np.ndarray) -> np.ndarray:
        return model.draw(_seeds(context, "path", rows))

    def generate(latents: np.ndarray, index: np.ndarray) -> np.ndarray:
        if space == "w":
            return _in_range(model.synthesize(latents))
        return _in_range(model.generate(latents, model.labels(index)))

    def mapped(z: np.ndarray, index: np.ndarray) -> np.ndarray:
        return model.map_latents(z, model.labels(index))

    found = path_length.perceptual_path_length(
        generate,
        distance,
        z_dim=model.z_dim,
        num_samples=min(context.count, PAIRS),
        space=space,
        sampling=sampling,
        map_latents=mapped if space == "w" else None,
        interpolation="lerp" if space == "w" else model.interpolation,
        batch_size=BATCH,
        draw=draw,
    )
    settings = {
        "pairs": found.count,
        "epsilon": path_length.EPSILON,
        "interpolation": "lerp" if space == "w" else model.interpolation,
        "distance": ruler,
        "noise": "const",
        "crop": False,
        "pixels": "cut to [-1, 1], not rounded",
    }
    prefix = f"PPL-{space}" + ("" if sampling == "full" else "-end")
    values = {name: found.mean, f"{name}_std": found.std}
    return Score(values, settings, name=f"{prefix}-{named}")


def separable(context: Context, space: str) -> Score:
    """`separability_SPACE`: the own classifier's classes are the attributes, one against the rest.

    Of two classes one attribute is taken: the other is its mirror image.
    """
    _model(context, space)
    latents, logits = _samples(context)
    attributes = one_against_rest(logits)
    if attributes.shape[1] == 2:
        attributes = attributes[:, :1]
    found = separability.linear_separability(latents[space], attributes)
    names = list(context.source.class_names)[: attributes.shape[1]]
    more = {
        f"separability_{space}_entropies": {
            name: float(value) for name, value in zip(names, found.entropies, strict=True)
        }
    }
    settings = {
        "samples": len(logits),
        "kept": found.kept,
        "attributes": attributes.shape[1],
        "noise": "const",
    }
    return Score({f"separability_{space}": found.score}, settings, more)


def one_against_rest(logits: np.ndarray) -> np.ndarray:
    """(N, K) logits of classes -> (N, K) logits of "is of this class": log p / (1 - p).

    In float64 by the sum of the other classes alone, so that a sure class does not saturate.
    """
    x = np.asarray(logits, np.float64)
    out = np.empty_like(x)
    for k in range(x.shape[1]):
        others = np.delete(x, k, axis=1)
        top = others.max(axis=1, keepdims=True)
        out[:, k] = x[:, k] - top[:, 0] - np.log(np.exp(others - top).sum(axis=1))
    return out


def _in_range(images: np.ndarray) -> np.ndarray:
    """What a viewer sees of images whose generator may overshoot; cut, but not rounded."""
    return np.clip(images, -1.0, 1.0)


def _model(context: Context, space: str) -> LatentModel:
    """The generator; UserError where it has no such space. `evaluate.check` refuses before."""
    if context.latents is None or space not in context.latents.spaces:
        raise UserError(f"this generator has no latent space {space}: leave its scores out")
    return context.latents


def _seeds(context: Context, stream: str, rows: np.ndarray) -> np.ndarray:
    return _STREAMS[stream] * _STREAM + context.seed * _STRIDE + np.asarray(rows, np.int64)


def _samples(context: Context) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({space: (N, d) latents}, (N, K) logits of their images), taken once for both spaces."""
    kept = context.kept
    if "separability" not in kept:
        model, count = context.latents, min(context.count, SAMPLES)
        latents: dict[str, list[np.ndarray]] = {space: [] for space in model.spaces}
        logits = []
        with tqdm(total=count, desc="separability", unit="image", disable=None) as progress:
            for start in range(0, count, BATCH):
                # The last batch is filled with copies of its last row: one shape, one graph.
                rows = np.minimum(np.arange(start, start + BATCH), count - 1)
                taken = min(BATCH, count - start)
                z = model.draw(_seeds(context, "separability", rows))
                found = {"z": z}
                if model.styles:
                    w = model.map_latents(z, model.labels(rows))
                    found["w"] = w[:, -1]  # one w for all layers: nothing is mixed here
                    images = model.synthesize(w)
                else:
                    images = model.generate(z, model.labels(rows))
                for space, values in found.items():
                    latents[space].append(values[:taken])
                # As users get them, and as the classifier's test images are.
                logits.append(
                    context.extractor.forward(image_ops.to_uint8(images[:taken]).numpy())[1]
                )
                progress.update(taken)
        kept["separability"] = (
            {space: np.concatenate(parts) for space, parts in latents.items()},
            np.concatenate(logits),
        )
    return kept["separability"]


def _distance(context: Context) -> tuple[Callable, str, str]:
    """(distance of pairs, what the score is called by, what stands in the passport)."""
    if "distance" not in context.kept:
        context.kept["distance"] = _found_distance(context.extractor, context.source.channels)
    return context.kept["distance"]


def _found_distance(extractor: Any, channels: int) -> tuple[Callable, str, str]:
    if channels == 3:
        try:
            base.locate(lpips.NETS["vgg"].published)
        except UserError:
            pass  # no weights here: the extractor's own features do
        else:
            net = lpips.load("vgg", batch_size=BATCH)
            return net.distance, net.name, f"{net.name} {net.hash}"
    features = extractor.float_features
    return (
        functools.partial(_unit_distance, features),
        extractor.name,
        f"unit features of {extractor.name} {extractor.hash}",
    )


def _unit_distance(
    features: Callable[[np.ndarray], np.ndarray], first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """(B,) squared distances of features scaled to length 1; a zero vector stays zero."""
    a, b = (np.asarray(features(images), np.float64) for images in (first, second))
    a, b = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-10) for x in (a, b))
    return np.square(a - b).sum(axis=1)
