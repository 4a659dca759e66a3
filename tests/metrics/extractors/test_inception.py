"""FID's InceptionV3 against torch-fidelity and pytorch-fid with the same seeded weights."""

import functools

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import inception, resize

TAPS = ("64", "192", "768", "2048", "logits_unbiased", "logits")


@pytest.fixture(scope="module")
def state(recipe, golden):
    return recipe.state(golden("inception")[1]["shapes"])


@pytest.fixture(scope="module")
def model(state):
    model = inception.build((*TAPS, "map_192"))
    inception.assign(model, state)
    return model


@pytest.fixture(scope="module")
def outputs(model, recipe):
    """(convention, size) -> every tap of the recipe's images."""

    def compute(convention, size):
        images = resize.resize(recipe.images(size), inception.SIZE, convention)
        taps = model(inception.scale(images, convention), training=False)
        return {tap: value.numpy() for tap, value in taps.items()}

    return functools.cache(compute)


def test_published_names_and_shapes(golden):
    theirs = {
        name: tuple(shape)
        for name, shape in golden("inception")[1]["shapes"].items()
        if not name.endswith("num_batches_tracked")
    }
    assert inception.state_shapes() == theirs
    assert len(theirs) == 472 and len(golden("inception")[1]["shapes"]) == 566


@pytest.mark.parametrize(
    "convention, size", [(c, s) for s in (32, 299) for c in ("legacy", "torch")]
)
def test_features_are_the_references(convention, size, outputs, golden, relative):
    values, compared = golden("inception")[0], 0
    ours = outputs(convention, size)
    for tap in TAPS:
        key = f"{convention}/{size}/{tap}"
        if key in values:
            assert relative(ours[tap], values[key]) < 1e-5, key
            compared += 1
    assert compared == (6 if convention == "legacy" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("convention, size", [("clean", 32), ("clean", 299)])
def test_features_are_the_references_elsewhere(convention, size, outputs, golden, relative):
    ours, values = outputs(convention, size), golden("inception")[0]
    for tap in TAPS[:4]:
        assert relative(ours[tap], values[f"{convention}/{size}/{tap}"]) < 1e-5, tap


def test_the_tolerance_tells_conventions_and_images_apart(golden, relative):
    values = golden("inception")[0]
    for a, b in (("legacy", "torch"), ("legacy", "clean"), ("torch", "clean")):
        assert relative(values[f"{a}/32/2048"], values[f"{b}/32/2048"]) > 3e-3
    first, second = values["legacy/299/2048"]
    assert relative(first, second) > 3e-3


def test_the_extractor_is_the_model(state, outputs, recipe):
    extractor = inception.from_state(state, "0" * 64, batch_size=2)
    features, logits = extractor.forward(recipe.images(32))
    ours = outputs("legacy", 32)
    np.testing.assert_allclose(features, ours["2048"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, ours["logits_unbiased"], rtol=1e-4, atol=1e-5)
    assert (extractor.dim, extractor.num_classes) == (2048, 1008)
    # Weights that are not the published ones have no right to the name FID.
    assert extractor.score_name("FD") == "FD-Inception"
    with pytest.raises(UserError, match="1 channel.*colour"):
        extractor.features(np.zeros((1, 8, 8, 1), np.uint8))


def test_names_of_scores(monkeypatch):
    monkeypatch.setattr(inception, "build", lambda taps: None)
    monkeypatch.setattr(inception, "assign", lambda model, state: None)
    extractor = inception.from_state({}, "0" * 64, published=True)
    names = [extractor.score_name(prefix) for prefix in ("FD", "KD", "CS", "P")]
    assert names == ["FID", "KID", "IS", "P-Inception"]
    extractor = inception.from_state({}, "0" * 64, tap="192", published=True)
    assert (extractor.score_name("FD"), extractor.dim) == ("FD-Inception-192", 192)


def test_feature_maps_at_any_size(state, outputs, recipe):
    model = inception.build(("map_192",), size=None)
    inception.assign(model, state)
    images = resize.resize(recipe.images(32), inception.SIZE, "legacy")
    whole = model(inception.scale(images, "legacy"))["map_192"].numpy()
    np.testing.assert_allclose(whole, outputs("legacy", 32)["map_192"], rtol=1e-4, atol=1e-5)
    assert model(np.zeros((1, 40, 64, 3), np.float32))["map_192"].shape == (1, 6, 12, 192)


def test_the_first_layers_from_torchvisions_file(state, outputs, recipe):
    # Its names: the same but for 1000 classes and the auxiliary head.
    theirs = state | {
        "fc.weight": np.zeros((1000, 2048), np.float32),
        "fc.bias": np.zeros(1000, np.float32),
        "AuxLogits.conv0.conv.weight": np.zeros((128, 768, 1, 1), np.float32),
        "AuxLogits.fc.bias": np.zeros(1000, np.float32),
    }
    model = inception.build(("64", "map_192"))
    inception.assign(model, theirs)
    images = resize.resize(recipe.images(32), inception.SIZE, "legacy")
    found = model(inception.scale(images, "legacy"))
    for tap in ("64", "map_192"):
        expected = outputs("legacy", 32)[tap]
        np.testing.assert_allclose(found[tap].numpy(), expected, rtol=1e-4, atol=1e-5)
    # What the taps do need is still checked.
    name = "Conv2d_4a_3x3.conv.weight"
    for wrong in ({name: np.zeros((192, 80, 1, 1))}, {name: np.full((192, 80, 3, 3), np.nan)}):
        with pytest.raises(UserError, match="Conv2d_4a_3x3.conv.weight"):
            inception.assign(model, theirs | wrong)
    with pytest.raises(UserError, match="missing: Conv2d_4a_3x3.conv.weight"):
        inception.assign(model, {k: v for k, v in theirs.items() if k != name})


def test_weights_of_another_network(state, model):
    def refused(changed, *parts):
        with pytest.raises(UserError) as caught:
            inception.assign(model, changed)
        for part in parts:
            assert part in str(caught.value)

    less = {k: v for k, v in state.items() if k != "Mixed_7c.branch_pool.conv.weight"}
    refused(less, "missing: Mixed_7c.branch_pool.conv.weight")
    refused(state | {"AuxLogits.fc.weight": np.zeros(3)}, "not expected: AuxLogits.fc.weight")
    # torchvision's ImageNet network has 1000 classes.
    refused(state | {"fc.bias": np.zeros(1000)}, "fc.bias has shape (1000,), expected (1008,)")
    refused(state | {"fc.bias": np.full(1008, np.nan)}, "fc.bias holds numbers that are not finite")
    variance = "Conv2d_1a_3x3.bn.running_var"
    refused(state | {variance: -state[variance]}, f"{variance} is negative")
    with_counters = [k for k in state if k.endswith("num_batches_tracked")]
    bare = {k: v for k, v in state.items() if k not in with_counters}
    assert len(with_counters) == 94
    inception.assign(model, bare)
    stem = {layer.name for layer in inception.build(("64",)).layers}
    assert "Conv2d_2b_3x3" in stem and "Mixed_5b.branch1x1" not in stem


def test_missing_and_wrong_files(tmp_path, monkeypatch):
    monkeypatch.setenv("GANPIPE_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError) as caught:
        inception.load()
    for part in ("pt_inception-2015-12-05-6726825d.pth", "github.com/mseitzer", "6726825d"):
        assert part in str(caught.value)
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(b"something else")
    with pytest.raises(UserError, match="expected 6726825d"):
        inception.load()
    for wrong in ({"tap": "1024"}, {"convention": "nearest"}):
        with pytest.raises(UserError, match="1024|nearest"):
            inception.from_state({}, "", **wrong)
    with pytest.raises(UserError, match="unknown tap"):
        inception.build(("65",))
