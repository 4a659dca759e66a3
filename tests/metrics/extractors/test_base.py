"""What every extractor answers and refuses, on a network of one multiplication."""

import json

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics import classifier, material
from ganpipe.metrics.extractors import NAMES, base, load, pixels


def means(batch_size=4, size=6, **changed):
    """Channel means as features and twice as many logits; counts its traces."""
    traces = []

    def network(images):
        traces.append(images.shape)
        mean = tf.reduce_mean(images, (1, 2))
        return mean, tf.concat([mean, -mean], 1)

    values = {
        "name": "means",
        "version": "means/1",
        "weights_sha256": "0" * 64,
        "contract": base.InputContract(3, size, "clean", "none"),
        "network": network,
        "dim": 3,
        "num_classes": 6,
        "batch_size": batch_size,
    }
    return base.Extractor(**values | changed), traces


def images(count=7, size=6, channels=3):
    return np.random.RandomState(0).randint(0, 256, (count, size, size, channels)).astype(np.uint8)


def test_any_count_in_static_batches():
    extractor, traces = means()
    x = images()
    features, logits = extractor.forward(x)
    np.testing.assert_allclose(features, x.mean((1, 2)), rtol=1e-5)
    assert features.dtype == logits.dtype == np.float32 and logits.shape == (7, 6)
    for count in (1, 3, 4, 5):
        np.testing.assert_array_equal(extractor.features(x[:count]), features[:count])
    assert traces == [(4, 6, 6, 3)]
    other, _ = means(batch_size=3)
    np.testing.assert_allclose(other.features(x), features, rtol=1e-6)
    assert extractor.features(x[:0]).shape == (0, 3)
    np.testing.assert_array_equal(extractor.predict(x), logits.argmax(1))


def test_another_size_is_resized_inside():
    extractor, traces = means()
    assert extractor.features(images(size=9)).shape == (7, 3)
    assert extractor.features(np.zeros((2, 5, 8, 3), np.uint8)).shape == (2, 3)
    assert traces == [(4, 6, 6, 3)] * 2


@pytest.mark.parametrize(
    "x, message",
    [
        (images(channels=1), r"1 channel\(s\).*expects 3.*colour.*smallcnn or pixels"),
        (images(channels=4), r"4 channel\(s\), the extractor means expects 3"),
        (images().transpose(0, 3, 1, 2), "NCHW"),
        (images()[0], r"shape \(6, 6, 3\)"),
        (images() / 127.5 - 1, r"float64 in -1..1,.*to_uint8"),
        (images().astype(np.int64), "int64 in 0..255"),
        (np.zeros((2, 0, 6, 3), np.uint8), "shape"),
    ],
)
def test_images_that_do_not_fit(x, message):
    with pytest.raises(UserError, match=message):
        means()[0].forward(x)


def test_names_and_fingerprints():
    extractor, _ = means(published={"FD": "FID"})
    assert extractor.score_name("FD") == "FID" and extractor.score_name("P") == "P-means"
    prints = {
        means()[0].fingerprint,
        means(size=7)[0].fingerprint,
        means(weights_sha256="1" * 64)[0].fingerprint,
        means(version="means/2")[0].fingerprint,
        means(contract=base.InputContract(3, 6, "legacy", "none"))[0].fingerprint,
    }
    assert len(prints) == 5 and means()[0].fingerprint in prints
    with pytest.raises(UserError, match="batch_size=0"):
        means(batch_size=0)


def test_it_answers_like_the_trained_classifier():
    extractor, _ = means()
    public = {n for n in vars(classifier.ClassifierExtractor) if not n.startswith("_")}
    for name in public | {"card", "batch_size", "folder"}:
        assert hasattr(extractor, name), name
    for key in ("test_accuracy", "test_count", "task", "feature_dim", "architecture", "resize"):
        assert key in extractor.card
    json.dumps(extractor.card)
    seen = material.see(extractor, images())
    assert seen.features.shape == (7, 3) and seen.predicted.shape == (7,)


def test_a_network_without_logits():
    extractor = pixels.load(channels=3, size=6)
    features, logits = extractor.forward(images())
    assert features.shape == (7, 108) and not logits.any() and logits.shape == (7, 1)
    for call in (extractor.logits, extractor.predict):
        with pytest.raises(UserError, match="no classes"):
            call(images())


# --- files of weights ---------------------------------------------------------------------------

FILE = base.PublishedFile("the net", ("a.pth", "b.pth"), ("https://x.org/a.pth",), "abcd", "MIT")


def test_weights_are_looked_for_in_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GANPIPE_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError) as caught:
        base.locate(FILE)
    for part in ("a.pth or b.pth", "https://x.org/a.pth", "abcd", "MIT", str(tmp_path), "GANPIPE_"):
        assert part in str(caught.value)
    (tmp_path / "b.pth").write_bytes(b"x")
    assert base.locate(FILE) == tmp_path / "b.pth"
    (tmp_path / "mine.pth").write_bytes(b"x")
    assert base.locate(FILE, tmp_path / "mine.pth") == tmp_path / "mine.pth"
    with pytest.raises(UserError, match="no.pth: no such file.*published at"):
        base.locate(FILE, tmp_path / "no.pth")
    monkeypatch.delenv("GANPIPE_WEIGHTS")
    monkeypatch.setenv("HOME", "/nobody")
    assert str(base.weights_folder()) == "/nobody/.cache/ganpipe/weights"


def test_by_name():
    assert load("pixels", channels=1, size=4).dim == 16
    with pytest.raises(UserError, match="unknown extractor 'resnet'; known are efflite0"):
        load("resnet")
    assert set(NAMES) == {"efflite0", "inception", "vgg16", "pixels"}


def test_pixels_are_themselves():
    x = images(3, 5, 1)
    features = pixels.load(channels=1, size=5, batch_size=2).features(x)
    np.testing.assert_allclose(features, x.reshape(3, -1) / 127.5 - 1, atol=1e-6)
    with pytest.raises(UserError, match="at least 1"):
        pixels.load(channels=0, size=5)


def test_float_features_are_those_of_uint8_but_finer():
    extractor = pixels.load(channels=3, size=8)
    images = np.random.RandomState(0).randint(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    floats = images / np.float32(127.5) - 1
    np.testing.assert_allclose(
        extractor.float_features(floats), extractor.features(images), rtol=1e-5, atol=1e-4
    )
    finer = extractor.float_features(np.clip(floats + 1e-3, -1, 1))
    assert 0 < np.abs(finer - extractor.float_features(floats)).max() < 1
    for bad, message in (
        (floats * 3, "expects .-1, 1."),
        (np.full((1, 8, 8, 3), np.nan, "f4"), "expects .-1, 1."),
        (floats[..., :1], "1 channel"),
    ):
        with pytest.raises(UserError, match=message):
            extractor.float_features(bad)
