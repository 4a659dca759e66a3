"""Our weights as a plain .npz with the official names and layouts: data, no code."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from ganpipe.errors import UserError
from ganpipe.importers import slots
from ganpipe.importers.contents import FORMATS
from ganpipe.importers.run import ROLES, family

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

_PREFIXES = {  # role -> what stands before the names in PyTorch's and TensorFlow's formats
    "generator": ("G.", "G/"),
    "generator_ema": ("G_ema.", "Gs/"),
    "discriminator": ("D.", "D/"),
}


def _lod(network: keras.Model) -> np.ndarray:
    """The official level of detail of a growing network: 0 is full size."""
    full = (network.resolution // network.resolution_now).bit_length() - 1
    return np.float32(full + float(network.alpha.numpy()))


def _filters(values: dict[str, np.ndarray], is_generator: bool) -> dict[str, np.ndarray]:
    """The constant filter of every layer and block that has one in the PyTorch release."""
    taps = np.float32([1, 3, 3, 1])
    layers = {
        name.removesuffix(".weight")
        for name, value in values.items()
        if value.ndim == 4 and ".torgb." not in name
    }
    blocks = {name.rpartition(".")[0] for name in layers}
    if not is_generator:
        blocks.discard("b4")  # the last block of D halves nothing
    filter_ = np.outer(taps, taps) / np.square(taps.sum())
    return {f"{name}.resample_filter": filter_ for name in layers | blocks}


def _extras(
    network: keras.Model, form: str, is_generator: bool, values: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """What the official networks hold beside what ours have."""
    if form == "stylegan2-ada-pytorch":
        return _filters(values, is_generator)
    if form == "stylegan2-tf":  # StyleGAN2 has it, StyleGAN2-ADA has not
        is_ada = network.num_classes and network.conditioning != "stylegan2"
        return {"lod": np.float32(0)} if is_generator and not is_ada else {}
    both = {"lod": _lod(network)}
    if form == "stylegan-tf" and is_generator:
        both["synthesis/lod"] = both["lod"]
    return both


def check(system: "GANSystem", form: str) -> None:
    """Refuses a format that the networks of a system do not have.

    Raises:
      UserError: an unknown format, or one of other networks.
    """
    if form not in FORMATS:
        raise UserError(f"--export_format={form}: expected one of {', '.join(FORMATS)}.")
    fitting = [name for name in FORMATS if system.system_name == family(name).SYSTEM]
    if form not in fitting:
        raise UserError(
            f"--export_format={form}: the run is a {system.system_name}, whose networks have "
            f"{'the names of ' + ' or '.join(fitting) if fitting else 'no official names'}."
        )
    arguments = system.get_config()
    if arguments.get("base", 4) != 4:
        raise UserError(
            f"--export_format={form}: the official networks begin at 4x4, this run at "
            f"system.base={arguments['base']}."
        )
    joint = system.num_classes and arguments.get("conditioning") == "stylegan2"
    if joint and form == "stylegan2-ada-pytorch":
        raise UserError(
            f"--export_format={form}: the run conditions as StyleGAN2 does "
            "(system.conditioning=stylegan2); its names are those of stylegan2-tf."
        )


def official_values(system: "GANSystem", form: str) -> dict[str, np.ndarray]:
    """Official name, with "G.", "G_ema." or "D." (TensorFlow: "G/", "Gs/", "D/") -> float32 array.

    Raises:
      UserError: as `check`.
    """
    check(system, form)
    known, result = family(form), {}
    for role in ROLES:
        network, is_generator = getattr(system, role), role != "discriminator"
        names = (known.generator_slots if is_generator else known.discriminator_slots)(network)
        values = slots.dump(names)
        values |= _extras(network, form, is_generator, values)
        prefix = _PREFIXES[role][form.endswith("-tf")]
        result |= {prefix + name: value for name, value in values.items()}
    return result


def write(system: "GANSystem", form: str, path: str | os.PathLike) -> Path:
    """Writes an uncompressed .npz with `official_values`, complete or not at all.

    The entry `ganpipe_json` tells format, system and its arguments.

    Raises:
      UserError: as `check`; a path that exists, does not end in .npz or cannot be written.
    """
    check(system, form)
    path = Path(path)
    if path.suffix != ".npz":
        raise UserError(f"--out={path}: expected a name that ends in .npz.")
    if path.exists():
        raise UserError(f"--out={path} exists; an export never overwrites. Give a new name.")
    about: dict[str, Any] = {
        "format": form,
        "system": system.system_name,
        "arguments": system.get_config(),
        "step": int(system.step.numpy()),
    }
    aside = path.with_name(f".writing_{os.getpid()}_{path.name}")
    values = official_values(system, form) | {"ganpipe_json": np.array(json.dumps(about))}
    try:
        with aside.open("xb") as file:
            np.savez(file, **values)
        aside.rename(path)
    except OSError as error:
        raise UserError(f"--out={path}: cannot be written: {error}") from error
    finally:
        aside.unlink(missing_ok=True)
    return path
