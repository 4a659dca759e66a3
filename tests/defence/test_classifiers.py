"""The classifiers' sizes, their dropout, their training and where they are kept."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.defence import classifiers, store
from ganpipe.errors import UserError

# defense_gan.md section 3.
COUNTS = {
    "A": 1285194,
    "B": 710218,
    "C": 1387210,
    "D": 199210,
    "E": 199210,
    "F": 710218,
    "P": 421642,
}


def patches(count=256, seed=0):
    """Two classes: bright above or bright below by 25, and one pixel of 16 by 120."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = rng.integers(0, 100, (count, 28, 28, 1))
    images[labels == 0, :14] += 25
    images[labels == 1, 14:] += 25
    images[labels == 0, :14:4, ::4] += 120
    images[labels == 1, 14::4, ::4] += 120
    return images.astype(np.uint8), labels


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_and_unit_columns(name):
    network = classifiers.build(name)
    assert sum(int(np.prod(v.shape)) for v in network.trainable_variables) == COUNTS[name]
    for variable in network.trainable_variables:
        if len(variable.shape) == 1:
            np.testing.assert_array_equal(variable, 0.0)
        else:
            columns = np.reshape(variable, [-1, variable.shape[-1]])
            np.testing.assert_allclose(np.linalg.norm(columns, axis=0), 1.0, rtol=1e-5)
            assert np.abs(np.linalg.norm(columns, axis=0) - 1).max() < 1e-4


@pytest.mark.parametrize(("dropout", "kept"), [("rate", 0.8), ("keep", 0.2)])
def test_both_meanings_of_dropout(dropout, kept):
    """B drops pixels: a share .2 of them, or all but that."""
    network = classifiers.build("B", dropout=dropout)
    layer = network.layers[1 if "dropout" in network.layers[1].name else 2]
    out = layer(tf.ones([4, 28, 28, 1]), training=True).numpy()
    assert np.mean(out > 0) == pytest.approx(kept, abs=0.04)
    assert out.max() == pytest.approx(1.0 / kept, rel=1e-5)
    np.testing.assert_array_equal(layer(tf.ones([1, 28, 28, 1]), training=False), 1.0)


def test_training_learns_and_is_a_function_of_the_seed():
    images, labels = patches()
    settings = classifiers.Settings(model="D", epochs=3, batch_size=32)
    one = classifiers.train(images, labels, 2, settings)
    assert classifiers.accuracy(one, *patches(seed=1)) > 0.95
    two = classifiers.train(images, labels, 2, settings)
    other = classifiers.train(images, labels, 2, dataclasses.replace(settings, seed=1))
    for a, b, c in zip(one.weights, two.weights, other.weights, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)


def test_adversarial_training_makes_fgsm_harder():
    from ganpipe.defence import attacks

    images, labels = patches()
    settings = classifiers.Settings(model="E", epochs=6, batch_size=32)
    robust = dataclasses.replace(settings, adversarial=0.1)
    x, y = classifiers.to_unit(images), tf.constant(labels, tf.int32)
    hits = []
    for s in (settings, robust):
        network = classifiers.train(images, labels, 2, s)
        changed = attacks.fgsm(classifiers.logits_of(network), x, y, 0.1)
        hits.append(classifiers.accuracy(network, changed.numpy(), labels))
    assert hits[1] > hits[0] + 0.2


def test_further_images_fill_half_of_the_batches():
    """Told apart by what only they say: in them, bright above is class 1."""
    images, labels = patches()
    settings = classifiers.Settings(model="E", epochs=6, batch_size=32)
    inverted = (255 - images, labels)
    network = classifiers.train(images, labels, 2, settings, extra=inverted)
    assert classifiers.accuracy(network, images, labels) > 0.9
    assert classifiers.accuracy(network, *inverted) > 0.9
    alone = classifiers.train(images, labels, 2, settings)
    assert classifiers.accuracy(alone, *inverted) < 0.6


BAD = [
    ({"model": "G"}, "classifier 'G'"),
    ({"dropout": "both"}, "rate or keep"),
    ({"epochs": 0}, "epochs=0"),
    ({"precision": "float16"}, "mixed_bfloat16"),
    ({"adversarial": 2.0}, "adversarial"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        classifiers.train(*patches(4), 2, classifiers.Settings(**settings))


def test_store_keeps_what_it_trained_and_replaces_what_is_damaged(tmp_path, capsys, monkeypatch):
    images, labels = patches(64)
    settings = classifiers.Settings(model="E", epochs=1, batch_size=32)
    network, card = store.load_or_train(tmp_path, settings, "data", images, labels, 2)
    assert card["parameters"] == sum(int(np.prod(v.shape)) for v in network.weights)
    path = tmp_path / card["file"]
    train = classifiers.train
    monkeypatch.setattr(classifiers, "train", lambda *a: pytest.fail("trained again"))
    again, same = store.load_or_train(tmp_path, settings, "data", images, labels, 2)
    assert same == card
    for a, b in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    monkeypatch.setattr(classifiers, "train", train)
    path.write_bytes(path.read_bytes()[:1000])
    store.load_or_train(tmp_path, settings, "data", images, labels, 2)
    assert "is damaged" in capsys.readouterr().err
    # Other data or settings have files of their own.
    other = dataclasses.replace(settings, seed=1)
    assert store.fingerprint(settings, "data") != store.fingerprint(settings, "other data")
    assert store.fingerprint(settings, "data") != store.fingerprint(other, "data")
    assert store.fingerprint(settings, "data") != store.fingerprint(settings, "data", "more")
