"""Experiment configs: find one by name, apply `--config.key=value`, validate, freeze, fingerprint.

A config is a Python file with `get_config(variant="") -> ml_collections.ConfigDict`. It is named
on the command line by its file name (`dcgan_fashion_mnist`), with a variant
(`dcgan_fashion_mnist:tiny`), or by path (`my/own.py:tiny`).
"""

import contextlib
import difflib
import hashlib
import importlib.util
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from ganpipe.errors import UserError
from ganpipe.ops.switches import PENALTIES, TIPS

CONFIG_DIR = Path(__file__).parent / "configs"

# Health monitor of training; docs/monitor.md tells where each number comes from.
MONITOR = {
    "action": "warn",  # at a breach: "warn", "stop", "rollback" or "off"
    "actions": {  # the same by kind; "" takes `action`
        "nan": "",  # at least stops
        "saturation": "",
        "useless_discriminator": "",
        "vanishing_gradient": "",
        "exploding_gradient": "",
        "collapse": "",
        "learning_rate": "",
    },
    "max_rollbacks": 3,  # in a run; then it stops
    "rollback_lr_factor": 0.5,  # on all learning rates, at each rollback
    "every": 50,  # steps between two looks at fakes and weights
    "ema_decay": 0.99,  # a step, of the smoothed scalars
    "saturation_accuracy": 0.99,  # of D, on both sides
    "saturation_d_loss": 0.0,  # 0: that of the loss
    "saturation_steps": 1000,
    "useless_accuracy": 0.3,  # of D, on fakes
    "useless_d_loss": 0.0,  # 0: that of the loss
    "useless_steps": 1000,
    "vanishing_norm": 1e-5,  # of G's gradient
    "vanishing_ratio": 1e-4,  # G's norm over D's
    "vanishing_steps": 150,
    "exploding_norm": 500.0,  # of a gradient, smoothed
    "exploding_steps": 150,
    "collapse_diversity": 0.3,  # shares of the real images' values
    "collapse_class_diversity": 0.1,
    "collapse_modes": 0.3,
    "collapse_checks": 2,  # in a row
    "collapse_grace": 2000,  # steps that a generator has to become varied at all
    "moved_most": 1.0,  # path of the weights between two looks, a share of their length
    "moved_factor": 10.0,  # the same beside the usual path
    "jump_factor": 20.0,  # a loss or gradient norm beside its usual value
    "jump_steps": 20,
}

# Progressive growing; see `ganpipe.ops.growth`. Tables are by working resolution, {"px64": 32}.
GROWTH = {
    "start_resolution": 4,
    "train_kimg": 600.0,  # thousands of real images between two fades
    "fade_kimg": 600.0,  # and of a fade
    "total_kimg": 12_000.0,
    "batch_sizes": {},  # where it is not train.batch_size
    "learning_rates": {},  # of both networks, where it is not the optimizer's
    "repeats": 4,  # steps between two looks at the schedule
}

# Scores while training; docs/metrics.md.
EVALUATE = {
    "every": 0,  # steps, a multiple of train.checkpoint_every; 0: off
    "metrics": ("frechet",),
    "num": 2000,  # generated images
    "split": "test",
    "best": "frechet",  # the checkpoint with the best value of it is kept
    "extractor": "auto",  # of the features: a name of `ganpipe eval --extractor=help`
}

_HELP = """experiment config: NAME, NAME:VARIANT or PATH.py[:VARIANT]; single keys are changed by
--config.KEY=VALUE, for example --config.train.steps=2000"""


def names(directory: Path = CONFIG_DIR) -> list[str]:
    """Names of the configs in `directory`, sorted."""
    return sorted(p.stem for p in directory.glob("*.py") if not p.stem.startswith("_"))


def penalties(**weights: float) -> ml_collections.ConfigDict:
    """The `penalties` section: every weight of `PENALTIES` at 0 (off) but the given ones."""
    return _section("penalties", PENALTIES, weights)


def tips(**values: Any) -> ml_collections.ConfigDict:
    """The `tips` section: every switch of `TIPS` off but the given ones."""
    return _section("tips", TIPS, values)


def monitor(**values: Any) -> ml_collections.ConfigDict:
    """The `monitor` section: `MONITOR` but for the given values; `actions` may name some kinds."""
    actions = _section("monitor.actions", MONITOR["actions"], values.get("actions", {}))
    return _section("monitor", MONITOR, dict(values) | {"actions": actions})


def evaluate(**values: Any) -> ml_collections.ConfigDict:
    """The `evaluate` section: `EVALUATE` but for the given values."""
    return _section("evaluate", EVALUATE, values)


def growth(**values: Any) -> ml_collections.ConfigDict:
    """The `growth` section of a system that grows: `GROWTH` but for the given values."""
    return _section("growth", GROWTH, values)


def _section(
    name: str, known: Mapping[str, Any], values: Mapping[str, Any]
) -> ml_collections.ConfigDict:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UserError(f"{name}.{unknown[0]}: unknown. Known: {', '.join(known)}.")
    return ml_collections.ConfigDict(dict(known) | dict(values))


def define_config_flag(flag_values: flags.FlagValues, default: str | None = None) -> None:
    """Defines `--config`; `--config.key=value` reach `main` as leftovers, for `parse`."""
    flags.DEFINE_string("config", default, " ".join(_HELP.split()), flag_values=flag_values)


def find(spec: str, directory: Path = CONFIG_DIR) -> tuple[Path, str]:
    """Resolves `NAME[:VARIANT]` or `PATH.py[:VARIANT]` to (file, variant).

    Raises:
      UserError: no such config; the message lists the names there are.
    """
    name, _, variant = (spec or "").partition(":")
    path = Path(name) if name.endswith(".py") else directory / f"{name}.py"
    if not name or not path.is_file() or path.stem.startswith("_"):
        known = names(directory)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(
            f"--config: no config {name!r}.{hint} Known names: {', '.join(known)}; "
            "or give the path of a .py file that defines get_config(variant)."
        )
    return path.resolve(), variant


def parse(
    spec: str | None, arguments: Sequence[str] = (), directory: Path = CONFIG_DIR
) -> ml_collections.FrozenConfigDict:
    """Loads a config and applies command-line overrides, with their types checked.

    Args:
      spec: `NAME[:VARIANT]` or `PATH.py[:VARIANT]`.
      arguments: `["--config.train.steps=10", ...]` as left over by `ganpipe.cli.app.run`.
      directory: where a NAME is looked up.

    Raises:
      UserError: unknown config, variant or key, or a value of the wrong type.
    """
    if not spec:
        raise UserError(
            f"--config is missing. Known names: {', '.join(names(directory))}; "
            "for example --config=dcgan_fashion_mnist:tiny"
        )
    path, variant = find(spec, directory)
    _check_variant(path, variant)
    command_line = [f"--config={path}:{variant}", *arguments]
    parsed = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", flag_values=parsed, sys_argv=["", *command_line], lock_config=True
    )
    try:
        # The library prints its own traceback of a failing key to stderr; one line is enough.
        with contextlib.redirect_stderr(io.StringIO()):
            leftovers = parsed(["", *command_line])[1:]
    except (AttributeError, KeyError, flags.Error, TypeError, ValueError) as error:
        text = " ".join(str(error.args[0] if error.args else error).split())
        raise UserError(_unknown_key(path, variant, arguments) or text) from error
    if leftovers:
        raise UserError(f"unexpected argument(s) on the command line: {' '.join(leftovers)}")
    return ml_collections.FrozenConfigDict(parsed.config)


def load(
    spec: str, overrides: Mapping[str, Any] | None = None, directory: Path = CONFIG_DIR
) -> ml_collections.FrozenConfigDict:
    """Loads a config in code; `overrides` maps dotted keys to values, `{"train.steps": 10}`.

    Raises:
      UserError: as `parse`.
    """
    path, variant = find(spec, directory)
    _check_variant(path, variant)
    config = _get_config(path)(variant)
    config.lock()  # an override names a key that is there; any other is refused
    for key, value in (overrides or {}).items():
        try:
            config.update_from_flattened_dict({key: value})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            text = f"config key {key!r}: {' '.join(str(error).split())}"
            unknown = _unknown_key(path, variant, [f"--config.{key}"])
            raise UserError(unknown or text) from error
    return ml_collections.FrozenConfigDict(config)


def to_dict(config: Any) -> dict[str, Any]:
    """A plain, JSON-able dict of a (frozen) ConfigDict; tuples become lists."""
    plain = config.to_dict() if hasattr(config, "to_dict") else dict(config)
    return json.loads(json.dumps(plain))


def from_dict(values: Mapping[str, Any]) -> ml_collections.FrozenConfigDict:
    """The inverse of `to_dict`."""
    return ml_collections.FrozenConfigDict(ml_collections.ConfigDict(dict(values)))


def fingerprint(values: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a config, dict or list."""
    plain = to_dict(values) if isinstance(values, Mapping) or hasattr(values, "to_dict") else values
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> dict[str, tuple]:
    """Dotted keys whose values differ: `{"train.seed": (value_in_a, value_in_b)}`."""
    found: dict[str, tuple] = {}
    for key in sorted(set(a) | set(b)):
        left, right = a.get(key), b.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found |= differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found[f"{prefix}{key}"] = (left, right)
    return found


def _get_config(path: Path):
    """Imports the file at `path` and returns its `get_config`."""
    module_spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"--config: {path} defines no get_config(variant) function.")
    return module.get_config


def _check_variant(path: Path, variant: str) -> None:
    try:
        _get_config(path)(variant)
    except KeyError as error:
        raise UserError(
            f"--config={path.stem}:{variant}: no such variant ({error.args[0]})."
        ) from error


def _unknown_key(path: Path, variant: str, arguments: Sequence[str]) -> str:
    """Says which override names no key of the config, and which keys there are; "" if all do."""
    config = _get_config(path)(variant)
    for argument in arguments:
        parts = argument.lstrip("-").partition("=")[0].split(".")[1:]
        node: Any = config
        for depth, part in enumerate(parts):
            if not hasattr(node, "keys"):
                break
            if part not in node:
                where = ".".join(["config", *parts[:depth]])
                close = difflib.get_close_matches(part, list(node.keys()), n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                return (
                    f"--{'.'.join(['config', *parts])}: {where} has no key {part!r}.{hint} "
                    f"Its keys: {', '.join(sorted(node.keys()))}."
                )
            node = node[part]
    return ""
