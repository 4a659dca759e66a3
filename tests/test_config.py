"""Configs: finding, overriding, refusing, fingerprinting; and the ones that we ship."""

import json
import re

import ml_collections
import pytest

from ganpipe import config as config_lib
from ganpipe.errors import UserError

NAME = "dcgan_fashion_mnist"

OWN = """
import ml_collections

def get_config(variant=""):
    config = ml_collections.ConfigDict({"name": "own", "train": {"steps": 10, "rate": 0.5}})
    config.train.fast = False
    config.train.sizes = (1, 2)
    variants = {"": {}, "tiny": {"train.steps": 2}}
    if variant not in variants:
        raise KeyError("known: tiny")
    config.update_from_flattened_dict(variants[variant])
    return config
"""


@pytest.fixture
def own(tmp_path):
    """A config file of the user's."""
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return str(path)


# --- Finding ----------------------------------------------------------------------------------


def test_find_by_name_variant_and_path(own):
    path = config_lib.CONFIG_DIR / f"{NAME}.py"
    assert config_lib.find(NAME) == (path, "")
    assert config_lib.find(f"{NAME}:tiny") == (path, "tiny")
    found, variant = config_lib.find(f"{own}:tiny")
    assert (str(found), variant) == (own, "tiny")


def test_names_are_the_files_without_private_ones():
    names = config_lib.names()
    assert names == sorted(names)
    assert NAME in names
    assert not [n for n in names if n.startswith("_")]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dcgan_fashion_mnits", "no config 'dcgan_fashion_mnits'. Did you mean"),
        ("zzz", f"no config 'zzz'. Known names: .*{NAME}"),
        ("no/such.py", r"no config 'no/such.py'.*\.py file that defines get_config"),
        ("__init__", "no config '__init__'"),
        (f"{NAME}:huge", r"no such variant \(known: .*tiny"),
    ],
)
def test_unknown_configs_and_variants_are_refused(spec, message):
    for function in (config_lib.parse, config_lib.load):
        with pytest.raises(UserError, match=message):
            function(spec)


def test_a_missing_config_lists_the_names():
    for spec in (None, ""):
        with pytest.raises(UserError, match=f"--config is missing. Known names: .*{NAME}"):
            config_lib.parse(spec)


def test_a_file_without_get_config_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match="empty.py defines no get_config"):
        config_lib.load(str(path))


# --- Overrides --------------------------------------------------------------------------------


def test_parse_and_load_agree_and_freeze(own):
    parsed = config_lib.parse(
        f"{own}:tiny", ["--config.train.rate=0.25", "--config.train.fast=true"]
    )
    loaded = config_lib.load(f"{own}:tiny", {"train.rate": 0.25, "train.fast": True})
    assert config_lib.to_dict(parsed) == config_lib.to_dict(loaded)
    expected = {"steps": 2, "rate": 0.25, "fast": True, "sizes": [1, 2]}
    assert config_lib.to_dict(parsed)["train"] == expected
    for config in (parsed, loaded):
        assert isinstance(config, ml_collections.FrozenConfigDict)
        with pytest.raises(AttributeError):
            config.train.steps = 3


def test_an_override_does_not_leak_into_the_next_load(own):
    config_lib.load(own, {"train.steps": 99})
    config_lib.parse(own, ["--config.train.steps=99"])
    assert config_lib.load(own).train.steps == 10


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.stesp", "1", "config.train has no key 'stesp'. Did you mean 'steps'.*Its keys: "),
        ("trian.steps", "1", "config has no key 'trian'. Did you mean 'train'"),
        ("zzz", "1", "config has no key 'zzz'. Its keys: name, train"),
        ("train.steps", "many", "train.steps"),
        ("train.steps", "1.5", "train.steps"),
        ("train.rate", "fast", "train.rate"),
        ("train.fast", "maybe", "train.fast"),
        ("train", "5", "train"),
        ("train.steps.x", "5", "train.steps.x"),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused(own, key, value, message, capfd):
    with pytest.raises(UserError, match=message):
        config_lib.parse(own, [f"--config.{key}={value}"])
    typed = float(value) if value == "1.5" else value
    with pytest.raises(UserError, match=message):
        config_lib.load(own, {key: typed})
    assert capfd.readouterr() == ("", "")


def test_a_whole_number_fits_a_float_key(own):
    assert config_lib.parse(own, ["--config.train.rate=2"]).train.rate == 2.0
    assert config_lib.load(own, {"train.rate": 2}).train.rate == 2.0


def test_stray_arguments_are_refused(own):
    with pytest.raises(UserError, match="unexpected argument.*stray"):
        config_lib.parse(own, ["stray"])


# --- Dicts and fingerprints -------------------------------------------------------------------


def test_fingerprint_is_the_same_in_any_order_and_form(own):
    a = {"x": 1, "y": {"b": [1, 2], "a": None}}
    b = {"y": {"a": None, "b": (1, 2)}, "x": 1}
    assert config_lib.fingerprint(a) == config_lib.fingerprint(b)
    # sha256 of '{"x":1,"y":{"a":null,"b":[1,2]}}', by coreutils' sha256sum.
    assert config_lib.fingerprint(a) == (
        "67411f6b98272652788e445aaa660b47621f75283d31ed88bb70b6e97ec0b629"
    )
    config = config_lib.load(own)
    plain = config_lib.to_dict(config)
    back = config_lib.from_dict(json.loads(json.dumps(plain)))
    assert config_lib.fingerprint(config) == config_lib.fingerprint(plain)
    assert config_lib.fingerprint(back) == config_lib.fingerprint(plain)


def test_fingerprint_sees_every_value(own):
    base = config_lib.fingerprint(config_lib.load(own))
    for changes in ({"train.steps": 11}, {"train.fast": True}, {"name": "other"}):
        assert config_lib.fingerprint(config_lib.load(own, changes)) != base
    assert re.fullmatch("[0-9a-f]{64}", base)


def test_differences_are_dotted_keys():
    a = {"name": "a", "train": {"steps": 1, "seed": 0}, "old": 1}
    b = {"name": "a", "train": {"steps": 2, "seed": 0}, "new": None}
    assert config_lib.differences(a, b) == {"train.steps": (1, 2), "old": (1, None)}
    assert config_lib.differences(a, a) == {}


# --- The configs we ship ----------------------------------------------------------------------

KEYS = {
    "data": {"dir": str, "resolution": int, "channels": int, "conditional": bool},
    "train": {
        "steps": int,
        "batch_size": int,
        "seed": int,
        "precision": str,
        "steps_per_execution": int,
        "checkpoint_every": int,
        "keep_checkpoints": int,
        "log_every": int,
        "sample_every": int,
        "deterministic": bool,
    },
}


def variants(name):
    """The variants that a config tells of when it is asked for one it does not have."""
    with pytest.raises(UserError) as refused:
        config_lib.load(f"{name}:no such variant")
    known = re.search(r"known: (.*)\)\.", str(refused.value)).group(1)
    return ["" if v == "(none)" else v for v in known.split(", ")]


@pytest.mark.parametrize("name", config_lib.names())
def test_shipped_configs_hold_what_the_trainer_reads(name):
    assert {"", "tiny"} <= set(variants(name))
    for variant in variants(name):
        config = config_lib.load(f"{name}:{variant}")
        assert config.name == name
        assert config.system.name and "loss" in config.optimizer
        for section, types in KEYS.items():
            found = {key: type(value) for key, value in config[section].items()}
            assert found.pop("mirror", bool) is bool  # where the data are flipped at random
            assert found == types
        per_call = config.train.steps_per_execution
        for key in ("steps", "checkpoint_every", "log_every", "sample_every"):
            assert config.train[key] % per_call == 0, f"train.{key}"
        json.dumps(config_lib.to_dict(config), allow_nan=False)
