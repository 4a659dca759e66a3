"""The classifier: it learns, it is cached, and what is cached is checked."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.metrics import classifier, smallcnn

spec = importlib.util.spec_from_file_location("squares", Path(__file__).with_name("conftest.py"))
squares_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(squares_module)
FAST, make_source, squares = (
    squares_module.FAST,
    squares_module.make_source,
    squares_module.squares,
)
INSTANT = replace(FAST, min_steps=2, max_steps=2)


class Notices(list):
    def __call__(self, line):
        self.append(line)


def test_learns_the_squares(trained):
    _, extractor = trained
    assert extractor.card["test_accuracy"] >= 0.95
    images, labels = squares(200, seed=77)
    assert np.mean(extractor.predict(images) == labels) >= 0.95
    assert (extractor.name, extractor.num_classes) == ("smallcnn", 3)


def test_card_tells_what_it_is(trained):
    source, extractor = trained
    card = json.loads((extractor.folder / "extractor.json").read_text())
    assert card == extractor.card
    assert card["data_fingerprint"] == source.fingerprint
    assert card["architecture"] == smallcnn.ARCHITECTURE
    assert (card["resolution"], card["channels"], card["class_names"]) == (
        16,
        3,
        ["red", "green", "blue"],
    )
    assert len(card["weights_sha256"]) == 64
    assert extractor.folder.name == f"smallcnn-{card['fingerprint'][:12]}"
    assert not [p for p in extractor.folder.parent.iterdir() if p.name.startswith(".")]


def test_training_repeats_bit_for_bit_and_follows_the_seed(trained):
    source, _ = trained
    once = smallcnn.train(source, INSTANT)[0].get_weights()
    keras.utils.set_random_seed(123)  # global state must not matter
    again = smallcnn.train(source, INSTANT)[0].get_weights()
    other = smallcnn.train(source, replace(INSTANT, seed=1))[0].get_weights()
    for a, b in zip(once, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(not np.array_equal(a, b) for a, b in zip(once, other, strict=True))
    assert keras.config.dtype_policy().name == "float32"


def test_second_call_does_not_train(trained, monkeypatch):
    source, extractor = trained
    monkeypatch.setattr(smallcnn, "train", lambda *a: pytest.fail("trained again"))
    notices = Notices()
    again = classifier.get_or_train(source, extractor.folder.parent, FAST, notices)
    assert not notices and again.hash == extractor.hash
    images, _ = squares(10, seed=5)
    np.testing.assert_array_equal(again.features(images), extractor.features(images))


def damage_flip(folder):
    with np.load(folder / "weights.npz") as archive:
        weights = {k: archive[k] for k in archive.files}
    name = sorted(weights)[0]
    weights[name].flat[0] += 1e-3
    np.savez(folder / "weights.npz", **weights)


def damage_cut(folder):
    path = folder / "weights.npz"
    path.write_bytes(path.read_bytes()[:1000])


def damage_json(folder):
    (folder / "extractor.json").write_text('{"name": "small')


def damage_missing(folder):
    (folder / "weights.npz").unlink()


@pytest.mark.parametrize("damage", [damage_flip, damage_cut, damage_json, damage_missing])
def test_damaged_cache_is_trained_again(trained, tmp_path, monkeypatch, damage):
    source, extractor = trained
    folder = tmp_path / extractor.folder.name
    shutil.copytree(extractor.folder, folder)
    damage(folder)
    # What training gives is known: the time is better spent elsewhere.
    monkeypatch.setattr(smallcnn, "train", lambda *a: (extractor.model, 1))
    notices = Notices()
    again = classifier.get_or_train(source, tmp_path, FAST, notices)
    assert "damaged" in notices[0] and "training" in notices[1]
    assert again.hash == extractor.hash
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "change", [{"fingerprint": "e" * 64}, {"resolution": 8}, {"settings": replace(FAST, seed=3)}]
)
def test_other_fingerprints_are_other_artifacts(trained, change):
    source, extractor = trained
    settings = change.pop("settings", FAST)
    other = classifier.fingerprint(replace(source, **change), settings)
    assert other != extractor.card["fingerprint"]
    assert classifier.fingerprint(source, FAST) == extractor.card["fingerprint"]


def test_failed_training_leaves_nothing(tmp_path, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("the loss is nan")

    monkeypatch.setattr(smallcnn, "train", fails)
    with pytest.raises(RuntimeError, match="nan"):
        classifier.get_or_train(make_source(), tmp_path, FAST, Notices())
    assert not list(tmp_path.iterdir())


def test_without_labels_it_learns_rotations(tmp_path):
    source = make_source(labelled=False, counts=(64, 40))
    extractor = classifier.get_or_train(source, tmp_path, INSTANT, Notices())
    assert extractor.name == "smallcnn-rot" and extractor.num_classes == 0
    assert extractor.card["task"] == "rotation"
    images, _ = squares(3, seed=1)
    assert extractor.features(images).shape == (3, smallcnn.FEATURE_DIM)
    assert extractor.logits(images).shape == (3, 4)
    with pytest.raises(UserError, match="trained without labels"):
        extractor.predict(images)


def test_rotate_turns_row_i_by_i_quarters():
    images = tf.reshape(tf.range(6 * 4, dtype=tf.float32), (6, 2, 2, 1))
    turned, turns = smallcnn.rotate(images)
    np.testing.assert_array_equal(turns, [0, 0, 1, 1, 2, 3])
    for row, origin in enumerate([0, 4, 1, 5, 2, 3]):
        expected = np.rot90(images[origin, :, :, 0].numpy(), int(turns[row]))
        np.testing.assert_array_equal(turned[row, :, :, 0], expected)


def test_uint8_and_floats_agree_whatever_the_batches(trained):
    _, extractor = trained
    images, _ = squares(260, seed=6)  # more than one batch of 250
    whole = extractor.features(images)
    assert whole.dtype == np.float32 and whole.shape == (260, smallcnn.FEATURE_DIM)
    assert whole.min() >= 0
    floats = images.astype(np.float32) / 127.5 - 1
    np.testing.assert_array_equal(extractor.features(floats), whole)
    parts = np.concatenate([extractor.features(images[i : i + 37]) for i in range(0, 260, 37)])
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
    assert extractor.features(images[:0]).shape == (0, smallcnn.FEATURE_DIM)


def test_bad_images_are_refused(trained):
    _, extractor = trained
    with pytest.raises(UserError, match=r"expects \(N, 16, 16, 3\)"):
        extractor.features(np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r"0\.\.255"):
        extractor.features(np.linspace(0, 255, 768, dtype=np.float32).reshape(1, 16, 16, 3))
    with pytest.raises(UserError, match=r"\[-1, 1\]"):
        extractor.features(np.full((1, 16, 16, 3), np.nan, np.float32))
    with pytest.raises(UserError, match="int64"):
        extractor.features(np.zeros((1, 16, 16, 3), np.int64))


@pytest.mark.parametrize(("resolution", "channels"), [(8, 1), (32, 1), (64, 3), (256, 3)])
def test_every_size_gives_128_features(resolution, channels):
    model = smallcnn.build(resolution, channels, 10)
    features, logits = model(np.zeros((2, resolution, resolution, channels), np.float32))
    assert features.shape == (2, smallcnn.FEATURE_DIM) and logits.shape == (2, 10)


@pytest.mark.parametrize(("resolution", "channels"), [(4, 1), (48, 3), (512, 3), (32, 4)])
def test_impossible_sizes_are_refused(resolution, channels):
    with pytest.raises(UserError, match=f"found {resolution} pixels with {channels} channels"):
        smallcnn.build(resolution, channels, 10)


def test_settings_bound_the_steps():
    settings = smallcnn.TrainingSettings(epochs=2, batch_size=100, min_steps=10, max_steps=50)
    assert settings.steps(1000) == 20
    assert settings.steps(10**6) == 50
    assert settings.steps(30) == 10 and settings.batch(30) == 30
