"""Path length and separability through `evaluate`, on generators whose answers are known."""

import dataclasses
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import evaluate, latent_scores, latents, separability
from ganpipe.metrics.extractors import pixels
from ganpipe.metrics.suite import METRICS

spec = importlib.util.spec_from_file_location("squares", Path(__file__).with_name("conftest.py"))
squares_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(squares_module)
make_source, squares = squares_module.make_source, squares_module.squares

DIM = 6
BASES = np.random.RandomState(0).uniform(-0.03, 0.03, (DIM, 16, 16, 3))


def draw(seeds):
    return np.stack([np.random.RandomState(s % 2**32).standard_normal(DIM) for s in seeds])


def paint(w, labels=None):
    """Linear in w: the path length in w with pixels as features follows from the ends."""
    return np.tensordot(np.asarray(w, np.float32), BASES.astype(np.float32), 1)


def coloured(w, labels=None):
    """The picture's class is the largest of the first three coordinates."""
    chosen = np.asarray(w)[:, :3].argmax(axis=1)
    return squares(len(w), 5, labels=chosen)[0] / np.float32(127.5) - 1


def model(paint=paint, mix=None, **changes):
    mix = np.eye(DIM) if mix is None else mix
    layers = 2
    made = latents.LatentModel(
        DIM,
        0,
        "normal",
        lambda seeds: draw(seeds).astype(np.float32),
        lambda z, labels: paint(z @ mix),
        lambda z, labels: np.repeat((z @ mix)[:, None], layers, axis=1),
        lambda w: paint(w[:, -1]),
    )
    return dataclasses.replace(made, **changes)


def score(metrics, made, source, extractor, num=64, seed=0):
    wanted = evaluate.check(
        metrics=metrics, num=num, source=source, spaces=made.spaces, num_classes=made.num_classes
    )
    sampler = pytest.fail  # no image is sampled for scores of latents alone
    return evaluate.evaluate(sampler, source, extractor, wanted, seed, latents=made)


@pytest.fixture(scope="module")
def plain():
    return make_source(labelled=False), pixels.load(channels=3, size=16)


def test_path_length_in_w_is_that_of_the_line(plain):
    source, extractor = plain
    made = model()
    result = score(["path_length_w_end"], made, source, extractor, num=40)
    assert result["names"] == {"path_length_w_end": "PPL-w-end-pixels"}
    assert result["passport"]["counts"] == {"generated": 40}

    # |d/dt f/|f||^2 at the start of each line, by hand: f = image of w as the extractor sees it.
    def seen(w):
        return extractor.float_features(paint(w)).astype(np.float64)

    seeds = 10**17 + np.arange(80)
    z = draw(seeds).astype(np.float32).reshape(40, 2, DIM)
    f, other = seen(z[:, 0]), seen(z[:, 1])
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    speed = (other - f) / np.linalg.norm(f, axis=1, keepdims=True)
    across = speed - (speed * unit).sum(axis=1, keepdims=True) * unit
    expected = np.sort((across**2).sum(axis=1))  # none of 40 is beyond the percentiles' own values
    assert result["scores"]["path_length_w_end"] == pytest.approx(expected.mean(), rel=0.02)


def test_a_twice_as_restless_mapping_has_a_longer_path_in_z_alone(plain):
    source, extractor = plain
    names = ["path_length_z", "path_length_w", "path_length_z_end", "path_length_w_end"]
    bent = np.eye(DIM)
    bent[0, 0] = 6.0
    calm = score(names, model(), source, extractor)["scores"]
    wild = score(names, model(mix=bent), source, extractor)["scores"]
    assert wild["path_length_z"] > 2 * calm["path_length_z"]
    assert all(np.isfinite(value) and value > 0 for value in calm.values())


def test_systems_without_styles_keep_lengths_and_know_z_alone(plain):
    source, extractor = plain
    made = model(map_latents=None, synthesize=None)
    assert made.spaces == ("z",) and made.interpolation == "slerp_any"
    flat = dataclasses.replace(made, distribution="uniform")
    assert flat.interpolation == "lerp" and model().interpolation == "slerp"
    result = score(["path_length_z"], made, source, extractor)
    assert result["passport"]["path_length_z"]["interpolation"] == "slerp_any"
    with pytest.raises(UserError, match="this generator has z alone"):
        score(["path_length_w"], made, source, extractor)
    with pytest.raises(UserError, match="here are images"):
        evaluate.check(metrics=["path_length_z"], num=64, source=source)


def test_seeds_are_other_latents_and_repeat(plain):
    source, extractor = plain
    first, again = (score(["path_length_z"], model(), source, extractor) for _ in range(2))
    other = score(["path_length_z"], model(), source, extractor, seed=1)
    assert first["scores"] == again["scores"] != other["scores"]
    settings = [r["passport"]["path_length_z"] for r in (first, other)]
    assert settings[0] == settings[1]


def test_pixels_beyond_the_range_are_cut_as_in_any_picture(plain):
    source, extractor = plain
    made = model(lambda w, labels=None: 100 * paint(w))  # nearly all of it black or white
    result = score(["path_length_w"], made, source, extractor)
    assert np.isfinite(result["scores"]["path_length_w"])


def test_separability_tells_a_straight_space_from_a_bent_one(trained):
    source, extractor = trained
    names = ["separability_z", "separability_w"]
    straight = model(coloured)
    # z is turned inside out: the class depends on products of coordinates, w is as before.
    bent = dataclasses.replace(
        straight,
        map_latents=lambda z, labels: np.repeat((z * np.roll(z, 1, axis=1))[:, None], 2, axis=1),
    )
    easy = score(names, straight, source, extractor, num=600)
    hard = score(names, bent, source, extractor, num=600)
    assert 1 <= easy["scores"]["separability_z"] == easy["scores"]["separability_w"] < 2.6
    assert hard["scores"]["separability_z"] > 1.5 * hard["scores"]["separability_w"]
    assert list(easy["separability_w_entropies"]) == ["red", "green", "blue"]
    assert easy["names"]["separability_w"] == "LS-w-smallcnn"
    assert easy["passport"]["separability_z"] == {
        "samples": 600,
        "kept": 300,
        "attributes": 3,
        "noise": "const",
    }


def test_separability_in_z_of_a_generator_that_is_told_the_class(trained):
    source, extractor = trained
    with pytest.raises(UserError, match="told the class beside z"):
        score(["separability_z"], model(num_classes=3), source, extractor, num=200)
    with pytest.raises(UserError, match="at least 100"):
        score(["separability_w"], model(), source, extractor, num=50)


def test_the_distance_is_lpips_where_its_file_is_there(plain, monkeypatch):
    source, extractor = plain
    monkeypatch.setattr(latent_scores.base, "locate", lambda published: "there")
    net = SimpleNamespace(
        name="LPIPS-vgg",
        hash="abc",
        distance=lambda a, b: np.square(a - b).mean(axis=(1, 2, 3), dtype=np.float64),
    )
    monkeypatch.setattr(latent_scores.lpips, "load", lambda kind, batch_size: net)
    result = score(["path_length_w", "path_length_z"], model(), source, extractor)
    assert result["names"]["path_length_w"] == "PPL-w-LPIPS-vgg"
    assert result["passport"]["path_length_z"]["distance"] == "LPIPS-vgg abc"
    # Linear in w, plain squares as distance: |w2 - w1|^2 in pixels, whatever t is.
    z = draw(10**17 + np.arange(128)).reshape(64, 2, DIM)
    moved = np.square(paint(z[:, 1] - z[:, 0])).mean(axis=(1, 2, 3))
    assert result["scores"]["path_length_w"] == pytest.approx(moved.mean(), rel=0.02)
    grey = dataclasses.replace(source, channels=1)
    _, named, _ = latent_scores._found_distance(extractor, grey.channels)
    assert named == "pixels"  # LPIPS takes colour


def test_one_class_against_the_rest():
    logits = np.random.RandomState(1).standard_normal((50, 4)) * 5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(latent_scores.one_against_rest(logits), np.log(p / (1 - p)))
    sure = latent_scores.one_against_rest(np.array([[900.0, 0.0, 0.0]]))
    assert sure[0, 0] == pytest.approx(900 - np.log(2)) and np.isfinite(sure).all()


def test_of_two_classes_one_attribute_is_taken(trained, monkeypatch):
    source, extractor = trained
    seen = []
    real = separability.linear_separability

    def note(latents, logits, **how):
        seen.append(logits.shape)
        return real(latents, logits, **how)

    monkeypatch.setattr(separability, "linear_separability", note)
    monkeypatch.setattr(
        type(extractor), "forward", lambda self, x: (None, x.mean(axis=(1, 2))[:, :2] - 60.0)
    )
    score(["separability_w"], model(coloured), source, extractor, num=200)
    assert seen == [(200, 1)]


def test_every_latent_metric_has_its_row():
    rows = [name for name, metric in METRICS.items() if metric.space]
    assert len(rows) == 6 and all("latents" in METRICS[name].needs for name in rows)


def test_of_a_real_system():
    import ganpipe

    system = ganpipe.create("dcgan", resolution=16, channels=3, num_classes=3, nf=4)
    found = latents.of_system(system)
    assert found.spaces == ("z",) and found.num_classes == 3
    z = found.draw(np.arange(4))
    images = found.generate(z, found.labels(np.arange(4)))
    assert images.shape == (4, 16, 16, 3) and images.dtype == np.float32
    np.testing.assert_array_equal(found.draw(np.arange(2, 4)), z[2:])
    assert latents.of_system(object()) is None
