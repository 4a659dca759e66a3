"""What `ganpipe latent` reads beside the run, and the files that it writes."""

import functools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import ganpipe
from ganpipe import data
from ganpipe.cli import image_folder, output
from ganpipe.errors import UserError
from ganpipe.latent import attributes, films
from ganpipe.latent.outcome import Outcome
from ganpipe.metrics import choice, material
from ganpipe.ops import images as image_ops
from ganpipe.train import callbacks, evaluation


class Ruler:
    """The classifier of a run's data set; trained, or taken from the cache, when it is asked for.

    Args:
      system: of the run.
      run: run folder.
      folder: prepared data folder; None takes the run's own.
      cache_dir: where classifiers are kept; None: `evaluation.default_cache_dir()`.
    """

    def __init__(self, system: Any, run: str, folder: str | None, cache_dir: str | None):
        self._system, self._run, self._folder = system, Path(run), folder
        self._cache = Path(cache_dir or evaluation.default_cache_dir())

    @functools.cached_property
    def source(self) -> Any:
        """The real images at the system's resolution.

        Raises:
          UserError: no data folder, or one that does not hold that resolution.
        """
        folder = self._folder or _data_folder(self._run)
        if not folder:
            raise UserError(
                f"{self._run} names no data folder, and the classifier is trained on it: give it "
                "with --data"
            )
        source = evaluation.data_source(data.info(folder), self._system.resolution)
        if source.channels != self._system.channels:
            raise UserError(
                f"--data={folder} has {source.channels} channel(s), the run {self._system.channels}"
            )
        return source

    @functools.cached_property
    def extractor(self) -> Any:
        """The classifier."""
        return choice.get(choice.OWN, self.source, self._cache)

    @property
    def network(self) -> Callable[[], Any] | None:
        """Gives the classifier's network; None where the data are not there any more."""
        try:
            choice.check(choice.OWN, self.source)
        except UserError:
            if self._folder:
                raise
            return None
        return lambda: self.extractor.model

    def reference(self) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
        """(images -> features, features of the held-out split)."""
        split = "test" if "test" in self.source.per_class else "train"
        real = material.reference(self.extractor, self.source, split, self._cache)[0]
        return self.extractor.features, real

    def all_classes(self, count: int | None) -> list[str]:
        """ "class:0", "class:1", ...: `count` of them; None takes the first five, or what there is.

        Raises:
          UserError: data without classes, or with fewer than `count`.
        """
        if not self.source.class_names:
            raise UserError(
                f"--method=labels: {self.source.name} has no classes; give --attribute=brightness, "
                "or --data with labels"
            )
        there = len(self.source.class_names)
        if count is not None and count > there:
            raise UserError(f"--count={count}: {self.source.name} has {there} classes")
        return [f"class:{i}" for i in range(min(5, there) if count is None else count)]

    def asked(self, texts: Sequence[str]) -> list[Callable[[np.ndarray], Any]]:
        """For each text a function that makes the attribute from pictures.

        Raises:
          UserError: an attribute that there is not.
        """
        return [self._attribute(text.strip()) for text in texts]

    def _attribute(self, text: str) -> Callable[[np.ndarray], attributes.Attribute]:
        if text == "brightness":
            return attributes.brightness
        if not text.startswith("class:"):
            raise UserError(f"--attribute={text}: expected class:NUMBER, class:NAME or brightness")
        names = self.source.class_names
        index = attributes.class_index(text, names)
        found = attributes.of_class(index, names[index], self.extractor.logits)
        return lambda images: found


def _data_folder(run: Path) -> str | None:
    """The folder that a run was trained on; None for imported ones."""
    try:
        record = json.loads((run / "config.json").read_text())
        return record.get("data_dir") or record["config"]["data"].get("dir") or None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


@dataclass(frozen=True)
class Targets:
    """Pictures to project.

    Attributes:
      images: (N, H, W, C) uint8.
      labels: (N,) classes, or None for an unconditional system.
      names: one for each.
      groups: the split of each, or "".
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: list[str]
    groups: list[str]


def targets(
    path: str | None, system: Any, splits: Sequence[str], count: int, labels: list[int] | None
) -> Targets:
    """Reads a picture, a folder of pictures, or the first `count` of splits of a prepared folder.

    Raises:
      UserError: nothing there, too few pictures, another size or number of channels, or a
        conditional system without labels.
    """
    if not path:
        raise UserError("--images is missing: a picture, a folder of them, or a prepared folder")
    place = Path(path)
    if (place / "dataset.json").is_file():
        found = _prepared(place, system, splits, count)
    elif place.is_dir():
        folder = image_folder.Folder(place, system.channels)
        folder.paths = folder.paths[:count]
        names = [p.stem for p in folder.paths]
        found = Targets(folder.read(), None, names, ["pictures"] * len(names))
    else:
        found = Targets(_picture(place, system.channels)[None], None, [place.stem], ["picture"])
    return _with_labels(found, system, labels)


def _with_labels(found: Targets, system: Any, labels: list[int] | None) -> Targets:
    classes, own = system.num_classes, found.labels
    if labels is not None:
        if not classes:
            raise UserError(f"--labels: this {system.system_name} is unconditional; leave them out")
        if len(labels) not in (1, len(found.images)) or max(labels) >= classes:
            raise UserError(
                f"--labels: {len(labels)} classes for {len(found.images)} pictures; expected one "
                f"for all or one for each, of 0 to {classes - 1}"
            )
        own = np.broadcast_to(np.array(labels, np.int32), (len(found.images),))
    if not classes:
        own = None
    elif own is None:
        raise UserError(
            f"this {system.system_name} is conditional: give the pictures' classes with --labels"
        )
    elif own.max() >= classes:
        raise UserError(f"--images: class {own.max()}; the run has {classes} classes")
    return Targets(found.images, own, found.names, found.groups)


def _prepared(place: Path, system: Any, splits: Sequence[str], count: int) -> Targets:
    info = data.info(place)
    info.check_resolution(system.resolution)
    if info.channels != system.channels:
        raise UserError(
            f"--images={place} has {info.channels} channel(s), the run {system.channels}"
        )
    images, labels, names, groups = [], [], [], []
    for split in splits:
        info.check_split(split)
        if info.count(split) < count:
            raise UserError(f"--count={count}: split {split} of {place} has {info.count(split)}")
        batches = data.load(place, system.resolution, count, split, shuffle=False, repeat=False)
        batch, batch_labels = next(iter(batches))
        images.append(image_ops.to_uint8(batch).numpy())
        labels.append(batch_labels.numpy())
        names += [f"{split} {i}" for i in range(count)]
        groups += [split] * count
    classes = np.concatenate(labels).astype(np.int32) if info.num_classes else None
    return Targets(np.concatenate(images), classes, names, groups)


def _picture(path: Path, channels: int) -> np.ndarray:
    """(H, W, C) uint8 of a file."""
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"--images={path} cannot be read as a picture: {error}") from error
    if mode not in (image_folder.GREY if channels == 1 else image_folder.COLOUR):
        wanted = "grey" if channels == 1 else "colour without transparency"
        raise UserError(f"--images={path} is a picture of the kind {mode}; the run makes {wanted}")
    return pixels.reshape(*pixels.shape[:2], channels)


def masks(path: str) -> np.ndarray:
    """A mask from a PNG (white is marked) or .npy file: (R, R) or (N, R, R).

    Raises:
      UserError: it cannot be read.
    """
    try:
        if path.endswith(".npy"):
            return np.load(path, allow_pickle=False)
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L")) >= 128
    except (OSError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(f"--mask={path} cannot be read as a PNG or .npy file: {error}") from error


def write(
    out: Path,
    name: str,
    found: Outcome,
    origin: dict[str, Any],
    kinds: Sequence[str],
    fps: float,
) -> list[Path]:
    """Writes pictures, films, arrays and figures; returns the paths.

    Raises:
      UserError: the folder cannot be written.
    """
    paths = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for suffix, picture in found.sheets.items():
            paths.append(out / f"{name}{suffix}.png")
            callbacks.write_png(paths[-1], picture)
        if found.frames is not None:
            for kind in kinds:
                paths.append(out / f"{name}.{kind}")
                films.write(paths[-1], found.frames, fps)
        if found.arrays:
            paths.append(out / f"{name}.npz")
            aside = out / f".{name}.{os.getpid()}.npz"
            np.savez_compressed(aside, **found.arrays)
            aside.replace(paths[-1])
        paths.append(out / f"{name}.json")
        record = origin | {"version": ganpipe.__version__, "figures": found.figures}
        output.write_json(paths[-1], record)
    except OSError as error:
        raise UserError(f"--out={out} cannot be written: {error}") from error
    return paths
