"""Classification accuracy score: good, collapsed and mislabelled fakes, balance, refusals."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import classification_score as cas
from ganpipe.metrics import smallcnn, smallresnet

FAST = smallcnn.TrainingSettings(batch_size=32, min_steps=30, max_steps=30)


def squares(count, seed, labels=None):
    """Noise with one square whose colour is the class, 16 x 16."""
    rng = np.random.RandomState(seed)
    labels = np.arange(count) % 3 if labels is None else np.asarray(labels)
    images = rng.randint(0, 60, (count, 16, 16, 3)).astype(np.uint8)
    for i, label in enumerate(labels):
        y, x = rng.randint(0, 8, 2)
        images[i, y : y + 8, x : x + 8, label] = 230
    return cas.LabelledImages(images, labels)


TEST = squares(90, 9)


@pytest.fixture(scope="module")
def good():
    return cas.classification_score(squares(240, 1), TEST, 3, settings=FAST)


def test_good_fakes_teach_the_classes(good):
    assert good.top1 > 0.9
    assert good.trained_on == "fake"
    assert (good.train_count, good.test_count, good.images_seen) == (240, 90, 30 * 32)
    np.testing.assert_array_equal(good.confusion.sum(axis=1), [30, 30, 30])
    assert good.top1 == pytest.approx(np.trace(good.confusion) / 90, rel=1e-12)
    assert good.per_class.mean() == pytest.approx(good.top1, rel=1e-12)
    assert good.top5 is None  # Among three classes the likeliest five are all.


def test_swapped_labels_score_below_chance():
    fake = squares(240, 1)
    wrong = cas.LabelledImages(fake.images, (fake.labels + 1) % 3)
    found = cas.classification_score(wrong, TEST, 3, settings=FAST)
    assert found.top1 < 0.1
    # Row = true class, column = predicted: class 0 is called 1.
    assert found.confusion[0, 1] > 20


@pytest.mark.slow
def test_a_class_that_shows_another_is_not_learned(good):
    fake = squares(240, 2)
    shown = np.where(fake.labels == 2, 1, fake.labels)  # Asked for blue, made green.
    found = cas.classification_score(
        cas.LabelledImages(squares(240, 2, shown).images, fake.labels), TEST, 3, settings=FAST
    )
    assert found.per_class[0] > 0.9
    assert found.top1 < 0.8 < good.top1


def test_naive_augmentation():
    real, fake = squares(60, 3), squares(120, 4)
    both = cas.naive_augmentation(real, fake, TEST, 3, settings=FAST)
    assert (both.trained_on, both.train_count) == ("real+fake", 180)
    assert both.top1 > 0.9


def test_reference_trains_on_the_real_images(monkeypatch):
    monkeypatch.setattr(cas, "train_and_test", lambda *given, **named: (given, named))
    real = squares(6, 3)
    given, named = cas.reference(real, TEST, 3)
    assert given == (real, TEST, 3)
    assert named == {"trained_on": "real", "settings": None, "network": "smallcnn"}


def test_joined_keeps_images_with_their_labels():
    a, b = squares(4, 5), squares(3, 6)
    both = cas.joined(a, b)
    np.testing.assert_array_equal(both.images[4:], b.images)
    np.testing.assert_array_equal(both.labels, [0, 1, 2, 0, 0, 1, 2])


def test_top_k_counts_a_tie_against_the_row():
    logits = np.array([[5.0, 4, 3, 2], [5, 4, 3, 2], [1, 1, 1, 1]])
    labels = np.array([0, 2, 1])
    assert cas.top_k_accuracy(logits, labels, 1) == pytest.approx(1 / 3)
    assert cas.top_k_accuracy(logits, labels, 3) == pytest.approx(2 / 3)
    assert cas.top_k_accuracy(logits, labels, 4) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_top_k_refuses_logits_that_are_not_finite(value):
    logits = np.array([[5.0, 4, 3, 2], [value, 4, 3, 2]])
    with pytest.raises(ValueError, match="NaN or infinity"):
        cas.top_k_accuracy(logits, np.array([0, 0]), 1)


def test_unbalanced_fakes_are_refused_before_training():
    fake = squares(40, 7, [0] * 20 + [1] * 15 + [2] * 5)
    with pytest.raises(UserError, match="5 of class 2 and 20 of class 0"):
        cas.classification_score(fake, TEST, 3, settings=FAST)
    cas.check_balanced(squares(40, 7), 3)  # 14, 13, 13: within one.


def test_bad_input_is_refused():
    fake = squares(30, 8)
    for data, words in (
        (cas.LabelledImages(fake.images / 255.0, fake.labels), "float64 .* expected uint8"),
        (cas.LabelledImages(fake.images, fake.labels[:-1]), "one an image"),
        (cas.LabelledImages(fake.images, fake.labels.astype(float)), "expected integers"),
        (cas.LabelledImages(fake.images, fake.labels + 1), "span 1..3, expected 0..2"),
        (cas.LabelledImages(fake.images[:, :8, :8], fake.labels), "one size"),
        (cas.LabelledImages(fake.images[..., :1], fake.labels), "one size"),
        (cas.LabelledImages(fake.images[:0], fake.labels[:0]), "N >= 1"),
        (squares(30, 8, [0, 1] * 15), r"classes \[2\] have none"),
    ):
        with pytest.raises(UserError, match=words):
            cas.classification_score(data, TEST, 3, balanced=False, settings=FAST)
    with pytest.raises(UserError, match="at least 2 classes"):
        cas.train_and_test(squares(3, 0, [0, 0, 0]), squares(3, 0, [0, 0, 0]), 1, settings=FAST)
    with pytest.raises(UserError, match="trained on together"):
        cas.joined(fake, cas.LabelledImages(fake.images[:, :8, :8], fake.labels))


def test_residual_network_has_the_papers_size():
    # He et al. 2016, table 6: 0.27M of ResNet-20, 0.85M of ResNet-56. By hand, n blocks a stage:
    # 3x3 kernels and two numbers of each normalisation, then the linear layer.
    def count(n):
        inputs, total = 3, 0
        for width in (16, *[w for w in (16, 32, 64) for _ in range(2 * n)]):
            total, inputs = total + 9 * inputs * width + 2 * width, width
        return total + 64 * 10 + 10

    for depth, n, millions in ((20, 3, 0.27), (56, 9, 0.85)):
        model = smallresnet.build(32, 3, 10, depth=depth)
        weights = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        assert weights == count(n) and weights / 1e6 == pytest.approx(millions, abs=0.01)
        assert [tuple(o.shape) for o in model.outputs] == [(None, 64), (None, 10)]


def test_a_shortcut_keeps_every_second_pixel_and_adds_zeros():
    x = np.arange(2 * 4 * 4 * 3, dtype="f4").reshape(2, 4, 4, 3)
    y = np.asarray(smallresnet._Shortcut(5)(x))
    np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
    assert y.shape == (2, 2, 2, 5) and not y[..., 3:].any()


@pytest.mark.slow
def test_a_residual_network_learns_the_classes():
    fast = smallcnn.TrainingSettings(batch_size=32, min_steps=60, max_steps=60)
    found = cas.classification_score(squares(240, 1), TEST, 3, settings=fast, network="resnet8")
    assert found.top1 > 0.8 and found.images_seen == 60 * 32


@pytest.mark.parametrize("network", ["resnet", "resnet21", "resnet2", "vgg", "resnet-20"])
def test_networks_that_there_are_not(network):
    with pytest.raises(UserError, match="network="):
        cas.find_network(network)
