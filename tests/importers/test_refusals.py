"""What does not fit is refused by name, before anything is written."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.importers import contents, run
from tests.importers import writer

TORCH = "stylegan2_ada_unconditional"
CASES = {  # file -> role, weight
    TORCH: ("generator_ema", "synthesis.b16.conv0.weight"),
    "stylegan2_tf": ("discriminator", "16x16/Skip/weight"),
    "stylegan_tf": ("generator", "synthesis/8x8/Conv1/StyleMod/bias"),
    "progan_tf": ("generator_ema", "ToRGB_lod1/weight"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_missing_weight_is_named(name, golden_file):
    file, (role, weight) = golden_file(name), CASES[name]
    del file.networks[role].values[weight]
    with pytest.raises(UserError, match=f"{role} lacks {weight};") as error:
        run.build(file)
    assert f"{name}.pkl" in str(error.value)


@pytest.mark.parametrize("name", CASES)
def test_a_weight_too_many_is_named(name, golden_file):
    file, (role, _) = golden_file(name), CASES[name]
    file.networks[role].values["synthesis/one_more"] = np.zeros(3, np.float32)
    with pytest.raises(UserError, match=f"{role} has synthesis/one_more beside"):
        run.build(file)


@pytest.mark.parametrize("name", CASES)
def test_a_weight_of_another_shape_is_named_with_both(name, golden_file):
    file, (role, weight) = golden_file(name), CASES[name]
    values = file.networks[role].values
    expected = values[weight].shape
    values[weight] = np.concatenate([values[weight]] * 2, axis=-1)
    with pytest.raises(UserError) as error:
        run.build(file)
    for part in (weight, str(expected), str(values[weight].shape), role):
        assert part in str(error.value), error.value


def test_a_transposed_weight_of_equal_size_is_refused(golden_file):
    file = golden_file("stylegan_tf")
    values = file.networks["generator_ema"].values
    values["mapping/Dense0/weight"] = values["mapping/Dense0/weight"].T
    with pytest.raises(UserError, match=r"mapping/Dense0/weight has the shape \(20, 16\)"):
        run.build(file)


def test_values_that_are_not_finite(golden_file):
    file = golden_file("progan_tf")
    file.networks["discriminator"].values["4x4/Conv/bias"][2] = np.nan
    with pytest.raises(UserError, match="4x4/Conv/bias holds NaN"):
        run.build(file)


UNKNOWN = {
    TORCH: ("generator_ema", ("synthesis_kwargs", "magnitude_ema_beta")),
    "stylegan2_tf": ("discriminator", ("attention",)),
    "stylegan_tf": ("generator_ema", ("attention",)),
    "progan_tf": ("discriminator", ("attention",)),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_argument_is_named(name, golden_file):
    file, (role, path) = golden_file(name), UNKNOWN[name]
    target = file.networks[role].arguments
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = 0.999
    with pytest.raises(UserError, match=rf"{'.'.join(path)}=0.999"):
        run.build(file)


CHANGED = [  # file, role, argument, value, what the message names
    (TORCH, "generator_ema", "mapping_kwargs.activation", "relu", "mapping_kwargs.activation"),
    (TORCH, "generator_ema", "synthesis_kwargs.resample_filter", [1, 1], "resample_filter"),
    (TORCH, "generator_ema", "synthesis_kwargs.use_noise", False, "use_noise=False"),
    (TORCH, "generator_ema", "synthesis_kwargs.conv_clamp", -3, "conv_clamp=-3"),
    (TORCH, "generator_ema", "synthesis_kwargs", 3, "a dict of arguments"),
    (TORCH, "generator_ema", "z_dim", "many", "z_dim='many'"),
    (TORCH, "generator_ema", "z_dim", None, "z_dim"),
    (TORCH, "generator_ema", "w_dim", -1, "w_dim=-1"),
    (TORCH, "generator_ema", "w_dim", 2**20, "weights or more"),
    (TORCH, "generator_ema", "z_dim", 2**24, "weights or more"),
    ("stylegan_tf", "generator_ema", "mapping_fmaps", 2**20, "weights or more"),
    ("progan_tf", "generator_ema", "latent_size", 2**22, "weights or more"),
    (TORCH, "generator_ema", "img_channels", 4, "channels=4, D with 3"),
    (TORCH, "generator_ema", "img_resolution", 48, "img_resolution|resolution"),
    (TORCH, "discriminator", "channel_base", 512, "channel_base=256, D with 512"),
    (TORCH, "discriminator", "epilogue_kwargs.mbstd_group_size", 0, "mbstd_group_size"),
    (TORCH, "discriminator", "cmap_dim", 7, "cmap_dim=7"),
    ("stylegan2_ada_conditional", "discriminator", "mapping_kwargs.num_layers", 3, "mapping.fc3"),
    ("stylegan2_tf", "generator_ema", "synthesis_func", "G_synthesis_stylegan_revised", "A to D"),
    ("stylegan2_tf", "generator_ema", "mapping_fmaps", 7, "mapping_fmaps=7"),
    ("stylegan2_tf", "discriminator", "use_spectral_norm", True, "use_spectral_norm"),
    ("stylegan_tf", "generator_ema", "nonlinearity", "relu", "nonlinearity"),
    ("stylegan_tf", "generator_ema", "style_mixing_prob", "often", "style_mixing_prob='often'"),
    ("stylegan_tf", "generator_ema", "truncation_cutoff", [8], "truncation_cutoff"),
    ("stylegan2_tf_ada", "generator_ema", "label_fmaps", "wide", "label_fmaps='wide'"),
    ("stylegan_tf", "discriminator", "blur_filter", None, "blur"),
    ("progan_tf", "generator_ema", "use_pixelnorm", False, "use_pixelnorm"),
    ("progan_tf", "discriminator", "fused_scale", 2, "fused_scale"),
    ("progan_tf", "discriminator", "label_size", 0, "num_classes=3, D with 0"),
]


@pytest.mark.parametrize(("name", "role", "argument", "value", "named"), CHANGED)
def test_an_argument_that_cannot_be_built(name, role, argument, value, named, golden_file):
    file = golden_file(name)
    *path, last = argument.split(".")
    target = file.networks[role].arguments
    for key in path:
        target = target[key]
    target[last] = value
    with pytest.raises(UserError, match=named):
        run.build(file)


def test_configs_that_grow(golden_file):
    file = golden_file("stylegan2_tf")
    d = file.networks["discriminator"]
    file.networks["discriminator"] = contents.OfficialNetwork("D_stylegan", d.arguments, d.values)
    with pytest.raises(UserError, match="configs A to D"):
        run.build(file)


def test_a_filter_of_another_shape(golden_file):
    file = golden_file(TORCH)
    file.networks["discriminator"].values["b8.conv1.resample_filter"][0, 0] = 0.5
    with pytest.raises(UserError, match="b8.conv1.resample_filter"):
        run.build(file)


def test_modules_of_another_release(tmp_path, golden_file):
    g = golden_file(TORCH).networks["generator_ema"]
    path = tmp_path / "net.pkl"
    found = {"G_ema": writer.module("SuperresGenerator", g.values, {}), "D": None}
    path.write_bytes(writer.dumps(found))
    with pytest.raises(UserError, match="'SuperresGenerator', expected Generator"):
        contents.read(path)
    meta = {"type": "class", "version": 5, "module_src": "", "class_name": "Generator", "state": {}}
    persistent = "torch_utils.persistence._reconstruct_persistent_obj"
    path.write_bytes(writer.dumps(writer.Call(persistent, meta)))
    with pytest.raises(UserError, match="version 6"):
        contents.read(path)


def test_single_networks_and_other_tf_networks(tmp_path, golden_file):
    file = golden_file("progan_tf")
    path = tmp_path / "net.pkl"
    foreign = tuple(writer.tf_network(network) for network in file.networks.values())
    path.write_bytes(writer.dumps(foreign))
    with pytest.raises(UserError, match="as NVlabs/stylegan builds them"):
        contents.read(path)
    one = writer.tf_network(file.networks["generator"])
    path.write_bytes(writer.dumps(one))
    with pytest.raises(UserError, match="it holds a TensorFlow network"):
        contents.read(path)
    for network in file.networks.values():
        network.values.pop("4x4/Dense/weight", None)
    path.write_bytes(writer.tf_file(file))
    with pytest.raises(UserError, match="none of progan-tf"):
        contents.read(path)
