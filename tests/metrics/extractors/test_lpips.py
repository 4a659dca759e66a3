"""LPIPS against the `lpips` package with seeded trunks: the workspace's golden case LP."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics.extractors import lpips

FULL = Path(__file__).parents[2] / "golden" / "metrics_public.npz"
SEED = 424242
NETS = ("alex", "vgg", "squeeze")


@pytest.fixture(scope="module")
def make(recipe):
    def build(net, **settings):
        shapes = lpips.NETS[net].shapes()
        return lpips.LPIPS(net, recipe.state(shapes, SEED), hash="0" * 64, **settings)

    return build


def pairs(values):
    """The golden pairs as floats; pair 3 differs by 1e-3 everywhere."""
    first, second = (values[f"in/LP/img{i}"].transpose(0, 2, 3, 1) / 127.5 - 1 for i in (0, 1))
    second[3] = first[3] + 1e-3
    return first, second


@pytest.mark.parametrize("net", NETS)
def test_published_values(net, make):
    with np.load(FULL) as values:
        first, second = pairs(values)
        whole, layers = (
            values[f"val/LP/lpips_{net}_f64"],
            values[f"val/LP/lpips_{net}_per_layer_f64"],
        )
        single = values[f"val/LP/lpips_{net}_f32"]
        plain = values[f"val/LP/baseline_no_lin_{net}_f64"]
    # float64 is slow in TensorFlow: two pairs of VGG's are enough by default.
    keep = [0, 3] if net == "vgg" else slice(None)
    exact = make(net, dtype="float64", batch_size=4 if keep != [0, 3] else 2)
    terms = exact.terms(first[keep], second[keep])
    # The last pair is a difference of 1e-3: cancellation costs digits.
    for ours, theirs in ((terms.sum(1), whole[keep]), (terms, layers.T[keep])):
        np.testing.assert_allclose(ours[:-1], theirs[:-1], rtol=1e-9)
        np.testing.assert_allclose(ours[-1], theirs[-1], rtol=1e-6)
    ours = make(net, batch_size=4, heads=False).distance(first, second)
    np.testing.assert_allclose(ours[:3], plain[:3], rtol=2e-5)
    found = make(net, batch_size=4).distance(first, second)
    np.testing.assert_allclose(found[:3], single[:3], rtol=2e-5)
    np.testing.assert_allclose(found[3], single[3], rtol=1e-3)


@pytest.mark.parametrize("net", NETS)
def test_odd_sizes_against_the_package(net, recipe, golden):
    state = recipe.state(lpips.NETS[net].shapes())
    distance = lpips.LPIPS(net, state, hash="0" * 64, batch_size=2)
    for size in (35, 66):
        first, second = (recipe.images(size, seed=i) for i in (0, 1))
        expected = golden("lpips")[0][f"{net}/{size}"]
        np.testing.assert_allclose(distance.distance(first, second), expected, rtol=2e-5)


@pytest.mark.parametrize("net", NETS)
def test_a_distance(net, make):
    distance = make(net, batch_size=2)
    rng = np.random.RandomState(0)
    # Odd sizes: every pool meets an edge.
    a, b = rng.randint(0, 256, (2, 3, 33, 38, 3)).astype(np.uint8)
    ab = distance.distance(a, b)
    assert ab.shape == (3,) and (ab > 1e-3).all()
    np.testing.assert_array_equal(distance.distance(a, a), 0)
    np.testing.assert_allclose(distance.distance(b, a), ab, rtol=1e-5)
    # Batches and dtypes do not matter.
    np.testing.assert_allclose(distance.distance(a[2:], b[2:]), ab[2:], rtol=1e-5)
    as_float = distance.distance(a / 127.5 - 1, b)
    np.testing.assert_allclose(as_float, ab, rtol=1e-4)
    assert distance.name == f"LPIPS-{net}"


def test_gradients_are_finite_where_features_vanish(make):
    distance = make("alex", batch_size=1)
    black = tf.fill((1, 32, 32, 3), -1.0)
    with tf.GradientTape() as tape:
        tape.watch(black)
        loss = tf.reduce_sum(distance.per_layer(black, tf.zeros_like(black)))
    gradient = tape.gradient(loss, black).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_refusals(make, tmp_path, monkeypatch):
    distance = make("alex")
    a = np.zeros((2, 32, 32, 3), np.uint8)
    for first, second, message in (
        (a, a[:1], "must be pairs"),
        (a[..., :1], a[..., :1], "colour images"),
        (a[:, :20], a[:, :20], "20x32.*at least 31x31"),
        (a + 0.0, a + 5.0, r"span 5..5.*\[-1, 1\]"),
        (a + np.nan, a + 0.0, "span nan"),
        (a.astype(int), a, "int64"),
    ):
        with pytest.raises(UserError, match=message):
            distance.distance(first, second)
    monkeypatch.setenv("GANPIPE_WEIGHTS", str(tmp_path))
    with pytest.raises(
        UserError, match="squeezenet1_1-b8a52dc0.pth.*download.pytorch.org.*b8a52dc0"
    ):
        lpips.load("squeeze")
    with pytest.raises(UserError, match="unknown LPIPS network 'resnet'"):
        lpips.load("resnet")
    with pytest.raises(UserError, match="missing: features.0.weight"):
        lpips.LPIPS("alex", {}, hash="")
