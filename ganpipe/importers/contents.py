"""From the records of a pickle to named networks: role, constructor arguments, weights by name."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganpipe.errors import UserError
from ganpipe.importers import records
from ganpipe.importers.reader import PROGAN_NETWORK, contents_kind, read_pickle
from ganpipe.ops.pickle_machine import RefusedError

FORMATS = ("stylegan2-ada-pytorch", "progan-tf", "stylegan-tf", "stylegan2-tf")
# Constructors of StyleGAN2-ADA (PyTorch), for arguments that were given by place.
_PLACES = {
    "Generator": (
        *("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "mapping_kwargs"),
        "synthesis_kwargs",
    ),
    "Discriminator": (
        *("c_dim", "img_resolution", "img_channels", "architecture", "channel_base"),
        *("channel_max", "num_fp16_res", "conv_clamp", "cmap_dim", "block_kwargs"),
        *("mapping_kwargs", "epilogue_kwargs"),
    ),
}
_DEEPEST = 16  # modules in modules, components in components, arguments in arguments
_MOST_PARTS = 10_000  # modules or values of arguments of one network
_MOST_TENSORS = 100_000
_LONGEST_TEXT = 4096  # of an argument
_LONGEST_NAME = 256  # of a weight or module; names of modules are repeated for each weight in them
# Views may repeat elements, so tensors may be larger than the file; this many bytes more at most.
_LARGEST_EXPANSION = 2**27


@dataclass(frozen=True)
class OfficialNetwork:
    """One network of a file.

    Attributes:
      kind: class or build function that made it.
      arguments: of its constructor, plain Python values.
      values: name -> weight or buffer in the layout of the file.
    """

    kind: str
    arguments: dict[str, Any]
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class OfficialFile:
    """The networks of a file: "generator", "generator_ema", "discriminator"."""

    path: Path
    format: str
    networks: dict[str, OfficialNetwork]

    def check_size(self, least: int) -> None:
        """Refuses arguments of far larger networks than the file's: building one takes the memory.

        Args:
          least: weights that a network of the arguments has at least.

        Raises:
          UserError: more than the file's generator can have, with slack for weights that miss.
        """
        held = sum(value.size for value in self.networks["generator_ema"].values.values())
        if least > 4 * held + 2**24:
            raise UserError(
                f"{self.path}: its arguments are of networks with {least:,} weights or more, its "
                f"generator holds {held:,}; nothing was imported."
            )


class _Counter:
    """Bounds what one file may unfold to: shared records can stand in it any number of times."""

    def __init__(self, limit: int):
        self.limit, self.taken, self.parts, self.tensors = limit, 0, 0, 0

    def part(self, depth: int, count: int = 1) -> None:
        """Counts modules or values at a depth, before they are looked at."""
        self.parts += count
        if depth > _DEEPEST:
            raise RefusedError(f"its networks are nested more than {_DEEPEST} deep")
        if self.parts > _MOST_PARTS:
            raise RefusedError(f"its networks have more than {_MOST_PARTS} parts")

    def entries(self, count: int) -> None:
        """Counts entries of a table, before they are looked at; empty ones cost time as well."""
        self.tensors += count
        if self.tensors > _MOST_TENSORS:
            raise RefusedError(f"its networks have more than {_MOST_TENSORS} tensors")

    def array(self, name: str, value: Any) -> np.ndarray:
        """The values of a record; RefusedError when all together exceed the limit."""
        if isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**62):
            return np.asarray(value)
        if not isinstance(value, records.Tensor | records.Array):
            raise RefusedError(f"{name!r:.100} is {contents_kind(value)}, expected a tensor")
        itemsize = 4 if isinstance(value, records.Array) else value.storage.values.itemsize
        self.taken += value.count * itemsize
        if self.taken > self.limit:
            raise RefusedError(
                f"with {name!r:.100} its tensors repeat their values to more than the "
                f"{self.limit} bytes that a file of its size may hold"
            )
        try:
            return value.array()
        except RefusedError as error:
            raise RefusedError(f"{name!r:.100}: {error}") from None


def _is_short(value: int | str) -> bool:
    return len(value) <= _LONGEST_TEXT if isinstance(value, str) else abs(value) < 2**62


def plain(value: Any, counter: _Counter, depth: int = 0) -> Any:
    """Constructor arguments as plain Python; RefusedError for anything else."""
    counter.part(depth)
    if isinstance(value, int | str) and not _is_short(value):
        raise RefusedError("an argument of its networks is a number or a text without end")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(k): plain(v, counter, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, counter, depth + 1) for v in value]
    if isinstance(value, records.Tensor | records.Array) and value.count <= 1024:
        return counter.array("an argument", value).tolist()
    raise RefusedError(f"an argument of its networks is {contents_kind(value)}")


def flatten_module(module: records.Module, counter: _Counter) -> dict[str, np.ndarray]:
    """Parameters and buffers by dotted name, as `state_dict` names them."""
    result: dict[str, np.ndarray] = {}
    waiting: list[tuple[str, Any, int]] = [("", module, 0)]
    while waiting:
        prefix, part, depth = waiting.pop()
        if not isinstance(part, records.Module):
            raise RefusedError(f"{prefix[:-1]!r:.100} is {contents_kind(part)}, expected a module")
        for group in ("_parameters", "_buffers"):
            for name, value in _names(part, group, counter):
                if value is not None:
                    result[prefix + name] = counter.array(prefix + name, value)
        children = _names(part, "_modules", counter)
        counter.part(depth + 1, len(children))
        for name, child in children:
            if child is not None:
                waiting.append((f"{prefix}{name}.", child, depth + 1))
    return result


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _LONGEST_NAME


def _names(module: records.Module, group: str, counter: _Counter) -> list[tuple[str, Any]]:
    table = module.state.get(group, {})
    counter.entries(len(table) if isinstance(table, dict) else 0)
    if not isinstance(table, dict) or not all(map(_is_name, table)):
        raise RefusedError(f"module {module.class_name[:80]!r} has no table {group} of names")
    return list(table.items())


def _torch_network(module: Any, role: str, counter: _Counter) -> OfficialNetwork:
    expected = "Discriminator" if role == "discriminator" else "Generator"
    if not isinstance(module, records.Module):
        raise RefusedError(f"its {role} is {contents_kind(module)}, expected a module {expected}")
    if module.class_name != expected:
        raise RefusedError(
            f"its {role} is a module {module.class_name[:80]!r}, expected {expected}"
        )
    given = plain(module.state.get("_init_kwargs"), counter)
    places = plain(module.state.get("_init_args", ()), counter)
    if not isinstance(given, dict) or not isinstance(places, list):
        raise RefusedError(f"its {role} does not say which arguments it was made with")
    names = _PLACES[expected]
    if len(places) > len(names) or set(names[: len(places)]) & set(given):
        raise RefusedError(f"its {role} was made with other arguments than {expected} takes")
    arguments = dict(zip(names, places, strict=False)) | given
    return OfficialNetwork(expected, arguments, flatten_module(module, counter))


def _torch_file(contents: dict, counter: _Counter) -> dict[str, OfficialNetwork]:
    for key in ("G_ema", "D"):
        if key not in contents:
            there = ", ".join(str(k)[:40] for k in list(contents)[:8])
            raise RefusedError(f"it has no {key} (it has: {there}): a run needs both networks")
    roles = {"generator": "G", "generator_ema": "G_ema", "discriminator": "D"}
    # Only continued training needs the raw generator; files that dropped it, or that hold one
    # module twice, can be used.
    if contents.get("G") is None or contents["G"] is contents["G_ema"]:
        del roles["generator"]
    networks = {role: _torch_network(contents[key], role, counter) for role, key in roles.items()}
    networks.setdefault("generator", networks["generator_ema"])
    return networks


def flatten_network(network: records.Network, counter: _Counter) -> dict[str, np.ndarray]:
    """Variables by name, those of components as component/name."""
    result: dict[str, np.ndarray] = {}
    waiting: list[tuple[str, Any, int]] = [("", network, 0)]
    while waiting:
        prefix, part, depth = waiting.pop()
        if not isinstance(part, records.Network):
            raise RefusedError(f"component {prefix[:-1]!r:.100} is {contents_kind(part)}")
        variables, parts = part.state.get("variables"), part.state.get("components", {})
        if not isinstance(variables, list) or not isinstance(parts, dict):
            raise RefusedError("a network of it has no list of variables")
        counter.entries(len(variables))
        counter.part(depth + 1, len(parts))
        if not all(map(_is_name, parts)):
            raise RefusedError("a network of it has a malformed dict of components")
        for pair in variables:
            if not isinstance(pair, tuple | list) or len(pair) != 2 or not _is_name(pair[0]):
                raise RefusedError("a network of it has a malformed list of variables")
            result[prefix + pair[0]] = counter.array(prefix + pair[0], pair[1])
        waiting += [(f"{prefix}{name}/", child, depth + 1) for name, child in parts.items()]
    return result


def _tf_network(network: records.Network, counter: _Counter) -> OfficialNetwork:
    version, kind = network.state.get("version"), network.state.get("build_func_name")
    if version not in (2, 3, 4, 5) or not isinstance(kind, str):
        raise RefusedError("a network of it is of no known version (2 to 5)")
    arguments = plain(network.state.get("static_kwargs"), counter)
    if not isinstance(arguments, dict):
        raise RefusedError("a network of it does not say which arguments it was made with")
    return OfficialNetwork(kind, arguments, flatten_network(network, counter))


def _tf_format(networks: dict[str, OfficialNetwork]) -> str | None:
    """Which TensorFlow release wrote it, from the names of the averaged generator's weights."""
    names = set(networks["generator_ema"].values)
    if any(name.endswith("/mod_weight") for name in names):
        return "stylegan2-tf"
    if any(name.startswith("synthesis/") for name in names):
        return "stylegan-tf"
    return "progan-tf" if "4x4/Dense/weight" in names else None


def _networks(contents: Any, counter: _Counter) -> tuple[str, dict[str, OfficialNetwork]]:
    if isinstance(contents, dict):
        return FORMATS[0], _torch_file(contents, counter)
    three = isinstance(contents, tuple | list) and len(contents) == 3
    if three and all(isinstance(network, records.Network) for network in contents):
        roles = ("generator", "discriminator", "generator_ema")
        pairs = zip(roles, contents, strict=True)
        networks = {role: _tf_network(network, counter) for role, network in pairs}
        found = _tf_format(networks)
        if found == "progan-tf" and contents[0].made_by != PROGAN_NETWORK:
            raise RefusedError(
                "its networks are Progressive GAN's as NVlabs/stylegan builds them, with other "
                f"layouts: expected {PROGAN_NETWORK} of tkarras/progressive_growing_of_gans"
            )
        if found is None:
            raise RefusedError(
                f"its generator was built by {networks['generator'].kind[:80]!r} and is none of "
                f"{', '.join(FORMATS[1:])}"
            )
        return found, networks
    raise RefusedError(
        f"it holds {contents_kind(contents)}, expected what the official training scripts pickle: "
        "a dict with G, D and G_ema (PyTorch) or the three networks (G, D, Gs) (TensorFlow)"
    )


def read(path: str | os.PathLike, expected: str | None = None) -> OfficialFile:
    """Reads a published pickle without executing anything in it.

    Args:
      path: the file.
      expected: one of `FORMATS`; None takes what it looks like.

    Raises:
      UserError: an unknown format, a file of another one (named), a broken or hostile file.
    """
    if expected is not None and expected not in FORMATS:
        raise UserError(f"--format={expected}: expected one of {', '.join(FORMATS)}.")
    path = Path(path)
    contents = read_pickle(path)
    counter = _Counter(os.path.getsize(path) + _LARGEST_EXPANSION)
    try:
        found, networks = _networks(contents, counter)
    except RefusedError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: its networks are malformed: {str(error)[:200]}") from error
    if expected is not None and found != expected:
        raise UserError(
            f"--format={expected}: {path} looks like {found}; give --format={found}, or another "
            "file."
        )
    return OfficialFile(path, found, networks)
