"""VGG16's fc2 against torch-fidelity with the same seeded weights."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import vgg16

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "width, size",
    [(16, 32), pytest.param(16, 224, marks=SLOW), pytest.param(4096, 32, marks=SLOW)],
)
def test_features_are_the_references(width, size, recipe, golden, relative):
    state = recipe.state(vgg16.state_shapes(width))
    extractor = vgg16.from_state(state, "0" * 64, batch_size=2, fc_dim=width)
    features = extractor.features(recipe.images(size))
    assert relative(features, golden("vgg16")[0][f"{width}/{size}/fc2_relu"]) < 5e-5
    # After ReLU.
    assert features.min() == 0 < features.max()


def test_published_names():
    shapes = vgg16.state_shapes()
    assert len(shapes) == 32
    assert sum(np.prod(s, dtype=int) for s in shapes.values()) == 138_357_544


def test_refusals(tmp_path, monkeypatch):
    monkeypatch.setenv("GANPIPE_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match="vgg16-397923af.pth.*download.pytorch.org"):
        vgg16.load()
    with pytest.raises(UserError, match="missing: features.0.weight"):
        vgg16.from_state({}, "")
