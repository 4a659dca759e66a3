"""A built system as a SavedModel that needs no ganpipe: signatures per row, warm-up records.

| signature         | inputs                                        | output                    |
| ----------------- | --------------------------------------------- | ------------------------- |
| `serving_default` | seed int64, label int64, truncation float32   | images uint8 (N, H, W, C) |
| `generate`        | latent float32 (N, D), label, truncation      | images float32 in [-1, 1] |
| `generate_png`    | seed, label, truncation                       | png_bytes string (N,)     |
| `discriminate`    | images float32 (N, H, W, C) in [-1, 1], label | logits float32 (N,)       |

Systems with styles (`ganpipe.export.style_signatures`) have more:

| signature    | inputs                                              | output                    |
| ------------ | --------------------------------------------------- | ------------------------- |
| `map`        | latent, label, truncation                           | styles float32 (N, L, W)  |
| `synthesize` | styles float32 (N, L, W)                            | images float32 in [-1, 1] |
| `mix`        | seed_a, seed_b, cutoff int64, label, truncation     | images uint8 (N, H, W, C) |

All inputs have one row an image, so a server may join requests into batches, and an output depends
on its own row alone: to a minibatch standard deviation every image is a batch of one, as if
`system.discriminate` were given single images. `label` is an input exactly when the system is
conditional; -1 draws it from the row's seed (`serving_default`, `generate_png`; `mix`: from each
seed its own).

Noise of styles: each seed's own in `serving_default` and `generate_png`, as in `sample`; constant
in the others, so that there nothing but the latent changes a picture. A system that grows is
exported at the stage it stands, its images enlarged to the full size.
"""

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.export import style_signatures
from ganpipe.models import inference

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

WARMUP_FILE = "tf_serving_warmup_requests"
WARMUP_ROWS = (1, 16)


def row_specs(system: "GANSystem") -> dict[str, tf.TensorSpec]:
    """Every input that a signature may have, by name; the first dimension counts rows."""
    return {
        "seed": tf.TensorSpec([None], tf.int64, name="seed"),
        "truncation": tf.TensorSpec([None], tf.float32, name="truncation"),
        "label": tf.TensorSpec([None], tf.int64, name="label"),
        "latent": tf.TensorSpec([None, system.latent_dim], tf.float32, name="latent"),
        "images": tf.TensorSpec([None, *system.image_shape], tf.float32, name="images"),
    }


def checked_label(label: tf.Tensor | None, least: int, classes: int) -> tf.Tensor | None:
    """int32 classes behind a check that fails in the graph; None stays None."""
    if label is None:
        return None
    expected = f"label: expected classes {least} to {classes - 1}" + (
        " (-1: drawn from the seed)" if least < 0 else ""
    )
    in_range = tf.logical_and(label >= least, label < classes)
    check = tf.debugging.Assert(tf.reduce_all(in_range), [expected, "found", label])
    with tf.control_dependencies([check]):
        return tf.cast(label, tf.int32)


def signatures(system: "GANSystem") -> tuple[tf.Module, dict[str, Callable]]:
    """(module that holds the variables, concrete function of every signature)."""
    module = tf.Module(name=system.system_name)
    # The variables, not the Keras models: saving those would trace their calls with guessed inputs.
    module.generator = [v.value for v in system.generator_ema.variables]
    module.discriminator = [v.value for v in system.discriminator.variables]
    conditional = system.num_classes > 0
    checked = functools.partial(checked_label, classes=system.num_classes)

    def serving_default(seed, truncation, label=None):
        images = system.synthesize_rows(seed, checked(label, -1), truncation)
        return {"images": tf.ensure_shape(images, [None, *system.image_shape])}

    def generate(latent, truncation, label=None):
        images = system.synthesize(latent, checked(label, 0), truncation)
        return {"images": tf.ensure_shape(images, [None, *system.image_shape])}

    def generate_png(seed, truncation, label=None):
        images = system.synthesize_rows(seed, checked(label, -1), truncation)
        encoded = tf.map_fn(
            tf.io.encode_png, images, fn_output_signature=tf.TensorSpec([], tf.string)
        )
        return {"png_bytes": encoded}

    def discriminate(images, label=None):
        return {"logits": inference.logits_alone(system, images, checked(label, 0))}

    rows = row_specs(system)
    inputs = {
        serving_default: ("seed", "truncation"),
        generate: ("latent", "truncation"),
        generate_png: ("seed", "truncation"),
        discriminate: ("images",),
    }
    made = {
        function.__name__: (function, (*names, "label") if conditional else names)
        for function, names in inputs.items()
    }
    if style_signatures.has_styles(system):
        rows |= style_signatures.row_specs(system)
        made |= style_signatures.functions(system, checked)
    functions = {
        name: tf.function(function).get_concrete_function(**{key: rows[key] for key in names})
        for name, (function, names) in made.items()
    }
    return module, functions


def _example_inputs(function: Callable, rows: int) -> dict[str, np.ndarray]:
    examples = {}
    for spec in tf.nest.flatten(function.structured_input_signature):
        if spec is None:  # the label of an unconditional system
            continue
        shape = [rows, *spec.shape[1:]]
        fill = 1 if spec.name == "truncation" else 0
        examples[spec.name] = np.full(shape, fill, spec.dtype.as_numpy_dtype)
    return examples


def write_warmup(path: Path, functions: dict[str, Callable]) -> None:
    """Writes one Predict request a signature and batch size, as TensorFlow Serving replays them."""
    # The proto package takes seconds to import; only exports pay for it.
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in functions.items():
            for rows in WARMUP_ROWS:
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = name
                for key, value in _example_inputs(function, rows).items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString())


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)


def export(system: "GANSystem", path: str | os.PathLike) -> Path:
    """Writes a SavedModel exactly at `path`, complete or not at all.

    Args:
      system: a trained or loaded system.
      path: folder to make.

    Returns:
      `path`.

    Raises:
      UserError: `path` exists, or its parent cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise UserError(f"--out: {path} exists; an export never overwrites. Give a new folder.")
    # Servers ignore names that are no integers, so a half-written model is never picked up.
    aside = path.with_name(f".writing_{path.name}_{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        module, functions = signatures(system)
        tf.saved_model.save(module, str(aside), signatures=functions)
        write_warmup(aside / "assets.extra" / WARMUP_FILE, functions)
        _sync(aside)
        aside.rename(path)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"--out: cannot write {path}: {error}") from error
    finally:
        if aside.exists():
            shutil.rmtree(aside)
    return path


def next_version(base: str | os.PathLike) -> int:
    """1 + the largest integer folder name in `base`; 1 when there is none."""
    base = Path(base)
    names = (
        [p.name for p in base.iterdir() if p.name.isdecimal() and p.name.isascii()]
        if base.is_dir()
        else []
    )
    return 1 + max(map(int, names), default=0)


def export_version(system: "GANSystem", base: str | os.PathLike) -> Path:
    """Writes `base`/<next integer>/ and returns it; see `export`."""
    base = Path(base)
    if base.exists() and not base.is_dir():
        raise UserError(f"--out={base} is a file; expected the folder of the model's versions.")
    return export(system, base / str(next_version(base)))
