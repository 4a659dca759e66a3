"""Official networks give the official outputs; files by tools/make_import_golden_*.py."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.importers import contents, export_npz, run, slots
from tests.golden import import_recipe
from tests.importers import writer
from tests.importers.conftest import GOLDEN

TORCH = ("stylegan2_ada_unconditional", "stylegan2_ada_conditional")
TF = ("stylegan2_tf", "stylegan2_tf_ada", "stylegan_tf", "progan_tf", "progan_tf_unfused")


@pytest.fixture(scope="module")
def built(golden_file):
    """name -> (system, its file)."""
    made = {}

    def get(name):
        if name not in made:
            file = golden_file(name)
            made[name] = run.build(file), file
        return made[name]

    return get


def error(found, expected):
    return float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", TORCH + TF)
def test_outputs_are_the_official_ones(name, built):
    system, _ = built(name)
    golden = np.load(GOLDEN / f"{name}.npz")
    given = import_recipe.inputs(system.latent_dim, system.num_classes, system.resolution)
    labels = given["labels"] if system.num_classes else None
    keys = [key for key in golden if key.startswith("psi_")]
    assert len(keys) == (1 if name.startswith("progan_tf") else 2)
    for key in keys:
        images = system.generate(given["z"], labels, truncation=float(key[4:]))
        assert error(images, golden[key]) < 2e-5, key
    both = None if labels is None else np.concatenate([labels, labels])
    assert error(system.discriminate(given["images"], both), golden["logits"]) < 2e-5


@pytest.mark.parametrize("name", ("stylegan2_ada_conditional", "progan_tf"))
def test_the_raw_generator_is_read_too(name, built):
    system, _ = built(name)
    golden = np.load(GOLDEN / f"{name}.npz")
    given = import_recipe.inputs(system.latent_dim, system.num_classes, system.resolution)
    images = system.generator([given["z"], given["labels"]], training=False)
    assert error(images, golden["raw"]) < 2e-5


def test_class_logits_of_progan(built):
    system, _ = built("progan_tf")
    golden = np.load(GOLDEN / "progan_tf.npz")
    given = import_recipe.inputs(system.latent_dim, system.num_classes, system.resolution)
    logits = system.discriminator(given["images"], training=False)
    assert error(logits[:, 1:], golden["classes"]) < 2e-5


@pytest.mark.parametrize("name", TORCH + TF)
def test_every_weight_comes_back_with_its_official_name(name, built):
    system, file = built(name)
    known = run.family(file.format)
    for role in run.ROLES:
        official, network = file.networks[role], getattr(system, role)
        d = role == "discriminator"
        make = known.discriminator_slots if d else known.generator_slots
        found = slots.dump(make(network, official))
        expected = known.values(official)
        assert found.keys() == expected.keys()
        for key, value in found.items():
            assert value.shape == expected[key].shape, key
            np.testing.assert_allclose(value, expected[key], rtol=0, atol=1e-6, err_msg=key)
        # None left over on our side: only what says the stage of growth has no official name.
        variables = {id(slot.variable) for slot in make(network, official).values()}
        left = [v for v in network.variables if id(v) not in variables]
        assert {v.name for v in left} <= {"alpha", "level"}


def test_the_export_has_all_names_of_the_file(built):
    for name in (*TORCH, "stylegan2_tf", "progan_tf"):
        system, file = built(name)
        torch = file.format == "stylegan2-ada-pytorch"
        prefixes = ("G.", "G_ema.", "D.") if torch else ("G/", "Gs/", "D/")
        values = export_npz.official_values(system, file.format)
        pairs = zip(run.ROLES, prefixes, strict=True)
        expected = {p + k: v for role, p in pairs for k, v in file.networks[role].values.items()}
        assert values.keys() == expected.keys()
        for key, value in values.items():
            np.testing.assert_allclose(value, expected[key], rtol=0, atol=1e-6, err_msg=key)


def test_clamps_of_the_file_hold_in_float32(golden_file):
    file = golden_file("stylegan2_ada_unconditional")
    assert run.build(file).get_config()["clamps"] == (256.0, 256.0)
    arguments = [file.networks[role].arguments for role in ("generator_ema", "discriminator")]
    arguments[0]["synthesis_kwargs"]["conv_clamp"] = 0.5
    arguments[1]["conv_clamp"] = None
    system = run.build(file)
    networks = (system.generator, system.generator_ema, system.discriminator)
    assert [network.conv_clamp for network in networks] == [0.5, 0.5, None]
    z = np.zeros((1, system.latent_dim), np.float32)
    assert 0.5 < np.abs(system.generate(z)).max() <= 4 * 0.5 * 1.5  # four images, overshoot of FIR


@pytest.mark.parametrize("protocol", (2, 3, 4, 5))
def test_tf_pickles_of_every_protocol(protocol, tmp_path, golden_file):
    file = golden_file("progan_tf")
    path = tmp_path / "net.pkl"
    path.write_bytes(writer.tf_file(file, protocol))
    found = contents.read(path, "progan-tf")
    for role, network in found.networks.items():
        expected = file.networks[role]
        assert network.arguments == expected.arguments
        assert network.values.keys() == expected.values.keys()
        for key, value in network.values.items():
            np.testing.assert_array_equal(value, expected.values[key], err_msg=key)


@pytest.mark.parametrize("name", TORCH + TF)
@pytest.mark.parametrize("other", contents.FORMATS)
def test_another_format_is_named(name, other, golden_file):
    path, found = GOLDEN / f"{name}.pkl", golden_file(name).format
    if other == found:
        assert contents.read(path, other).format == other
        return
    with pytest.raises(UserError, match=f"looks like {found}"):
        contents.read(path, other)


@pytest.mark.parametrize("lod", (0.0, 0.25, 1.0, 1.5))
@pytest.mark.parametrize("name", ("progan_tf", "stylegan_tf"))
def test_the_stage_of_growth_is_taken_over(name, lod, golden_file):
    file = golden_file(name)
    for network in file.networks.values():
        network.values["lod"] = np.float32(lod)
    system = run.build(file)
    for role in run.ROLES:
        network = getattr(system, role)
        assert network.resolution_now == 32 >> int(lod)
        assert float(network.alpha.numpy()) == pytest.approx(lod % 1)
        assert network.fading == (lod % 1 > 0)
    values = export_npz.official_values(system, file.format)
    assert float(values["Gs/lod"]) == pytest.approx(lod)


def test_a_stage_that_is_not_there(golden_file):
    file = golden_file("progan_tf")
    file.networks["discriminator"].values["lod"] = np.float32(np.nan)
    with pytest.raises(UserError, match="lod"):
        run.build(file)


def test_a_file_without_the_raw_generator(tmp_path, golden_file):
    file = golden_file("stylegan2_ada_unconditional")
    path = tmp_path / "net.pkl"
    found = {}
    for role, key in (("generator_ema", "G_ema"), ("discriminator", "D")):
        network = file.networks[role]
        found[key] = writer.module(network.kind, network.values, network.arguments)
    path.write_bytes(writer.dumps(found))
    read = contents.read(path)
    assert read.networks["generator"] is read.networks["generator_ema"]


def test_arguments_by_place(tmp_path, golden_file):
    file = golden_file("stylegan2_ada_conditional")
    g = file.networks["generator_ema"]
    places = [g.arguments.pop(k) for k in ("z_dim", "c_dim", "w_dim", "img_resolution")]
    made = writer.module("Generator", g.values, g.arguments)
    made.arguments[0]["state"]["_init_args"] = tuple(places)
    d = file.networks["discriminator"]
    made = {"G_ema": made, "D": writer.module("Discriminator", d.values, d.arguments)}
    path = tmp_path / "net.pkl"
    path.write_bytes(writer.dumps(made))
    found = contents.read(path).networks["generator_ema"].arguments
    assert [found[k] for k in ("z_dim", "c_dim", "w_dim", "img_resolution")] == [16, 3, 20, 32]
