"""Evaluation end to end on the coloured squares: scores, labels, passport, refusals."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.metrics import evaluate, frechet, kernel, material
from ganpipe.metrics.suite import METRICS

spec = importlib.util.spec_from_file_location("squares", Path(__file__).with_name("conftest.py"))
squares_module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(squares_module)
make_source, squares = squares_module.make_source, squares_module.squares

ALL = ("frechet", "kernel", "label_accuracy")


class Painter:
    """A generator that obeys its labels, except that it paints `wrong` as red."""

    def __init__(self, wrong=None):
        self.wrong, self.calls = wrong, []

    def __call__(self, n, seed=0, labels=None):
        self.calls.append((n, seed, None if labels is None else labels.copy()))
        shown = np.random.RandomState(seed % 2**32).randint(0, 3, n) if labels is None else labels
        shown = np.where(shown == self.wrong, 0, shown)
        return squares(n, seed % 2**32, labels=shown)[0]


def request(source, metrics=ALL, num=90, **changes):
    return evaluate.check(metrics=metrics, num=num, source=source, num_classes=3, **changes)


def test_good_and_bad_generators(trained):
    source, extractor = trained
    good = evaluate.evaluate(Painter(), source, extractor, request(source))
    bad = evaluate.evaluate(Painter(wrong=2), source, extractor, request(source))
    assert good["scores"]["label_accuracy"] >= 0.95
    assert bad["scores"]["label_accuracy"] == pytest.approx(2 / 3, abs=0.05)
    assert bad["label_accuracy_per_class"][2] <= 0.05
    matrix = np.array(bad["confusion"]["matrix"])
    assert matrix.sum(1).tolist() == [30, 30, 30] and matrix[2, 0] >= 28
    for score in ("frechet", "kernel"):
        assert good["scores"][score] < 0.5 * bad["scores"][score]


def test_every_metric_sees_the_lost_class(trained):
    source, extractor = trained
    slow = ("classification_score", "classification_score_resnet")
    names = [name for name in METRICS if name not in slow and not METRICS[name].space]
    wanted = request(source, names, num=200)
    good = evaluate.evaluate(Painter(), source, extractor, wanted)
    bad = evaluate.evaluate(Painter(wrong=2), source, extractor, wanted)
    assert list(good["names"]) == names and set(names) <= good["scores"].keys()
    for name in names:
        ours, theirs = good["scores"][name], bad["scores"][name]
        lower = METRICS[name].lower
        if name in ("precision", "density"):  # what is left is as real as before
            assert theirs > 0.5
        elif name == "nearest_neighbour":
            assert abs(ours - 0.5) < abs(theirs - 0.5)
        elif lower is not None and name != "inception_score":  # the classifier is unsure
            assert (ours < theirs) == lower, name
    assert bad["scores"]["modes_covered"] == 2 and good["scores"]["modes_covered"] == 3
    assert good["names"]["sliced_wasserstein"] == "SWD"
    assert good["names"]["inception_score"] == "CS-smallcnn"
    assert good["passport"]["precision"] == {"k": 3}


def test_scores_are_the_functions_of_the_features(trained):
    source, extractor = trained
    painter = Painter()
    wanted = request(source, ("frechet", "kernel"))
    result = evaluate.evaluate(painter, source, extractor, wanted, seed=2)
    ((n, seed, labels),) = painter.calls
    assert (n, seed) == (90, 2 * 10**9)
    proportions = np.array(source.per_class["test"]) / 120 * 90
    assert np.abs(np.bincount(labels, minlength=3) - proportions).max() < 1
    fakes = extractor.features(painter(n, seed=seed, labels=labels))
    reals, _ = material.reference(extractor, source, "test")
    distance = kernel.kernel_distance(fakes, reals)
    assert result["scores"]["frechet"] == frechet.frechet_from_features(fakes, reals)
    assert result["scores"]["kernel"] == distance.mean
    assert result["scores"]["kernel_std"] == distance.std


def test_balanced_reference_shares_its_images(trained):
    source, extractor = trained
    even = replace(source, per_class={"train": [1, 1, 1], "test": [40, 40, 40]})
    painter = Painter()
    result = evaluate.evaluate(painter, even, extractor, request(even))
    ((_, _, labels),) = painter.calls
    np.testing.assert_array_equal(labels, np.arange(90) % 3)
    assert result["passport"]["labels"] == {"distances": "balanced", "label_accuracy": "balanced"}


def test_unbalanced_reference_gets_its_own_images(trained):
    source, extractor = trained
    skewed = replace(source, per_class={"train": [1, 1, 1], "test": [60, 60, 0]})
    painter = Painter()
    result = evaluate.evaluate(painter, skewed, extractor, request(skewed))
    asked = [np.bincount(labels, minlength=3).tolist() for _, _, labels in painter.calls]
    assert asked == [[30, 30, 30], [45, 45, 0]]
    assert result["passport"]["labels"] == {
        "distances": "reference proportions",
        "label_accuracy": "balanced",
    }
    painter = Painter()
    evaluate.evaluate(painter, skewed, extractor, request(skewed, ("frechet",)))
    assert len(painter.calls) == 1


def test_chunks_change_nothing(trained, monkeypatch):
    source, extractor = trained

    def by_row(n, seed=0, labels=None):
        return np.concatenate([squares(1, seed + i, labels=[labels[i]])[0] for i in range(n)])

    whole = evaluate.evaluate(by_row, source, extractor, request(source))
    monkeypatch.setattr(material, "CHUNK", 40)
    parts = evaluate.evaluate(by_row, source, extractor, request(source))
    assert parts["confusion"] == whole["confusion"]
    for score, value in whole["scores"].items():
        assert parts["scores"][score] == pytest.approx(value, rel=1e-4)


def test_passport_and_json(trained):
    source, extractor = trained
    result = evaluate.evaluate(Painter(), source, extractor, request(source), seed=1)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["names"] == {
        "frechet": "FD-smallcnn",
        "kernel": "KD-smallcnn",
        "label_accuracy": "LA-smallcnn",
    }
    assert result["extractor"]["hash"] == extractor.hash
    assert result["extractor"]["test_accuracy"] == extractor.card["test_accuracy"]
    passport = result["passport"]
    assert passport["counts"] == {"generated": 90, "reference": 120}
    assert passport["data"] == {"name": "squares", "fingerprint": source.fingerprint}
    assert (passport["split"], passport["resolution"]) == ("test", 16)
    assert passport["seeds"]["seed"] == 1 and passport["kernel"]["subset_size"] == 90
    assert passport["extractor"].endswith(extractor.hash) and passport["code"]["version"]


def test_unconditional_generator(trained):
    source, extractor = trained
    wanted = evaluate.check(metrics=["frechet"], num=60, source=source, num_classes=0)
    painter = Painter()
    result = evaluate.evaluate(painter, source, extractor, wanted)
    assert painter.calls[0][2] is None
    assert set(result["scores"]) == {"frechet"} and "confusion" not in result


def test_given_images(trained):
    source, extractor = trained
    images, labels = squares(100, seed=3)
    wanted = request(source, num=80)
    result = evaluate.evaluate_images(images, labels, source, extractor, wanted)
    assert result["passport"]["counts"]["generated"] == 80
    assert np.sum(result["confusion"]["matrix"]) == 80
    assert result["scores"]["label_accuracy"] >= 0.95


def test_reference_features_are_kept_and_checked(trained, monkeypatch):
    source, extractor = trained
    first, logits = material.reference(extractor, source, "train")
    assert logits.shape == (320, 3)
    kept = extractor.folder / "reference-train.npz"
    assert kept.exists() and first.shape == (320, 128)
    silent = replace(source, batches=lambda *a: pytest.fail("read again"))
    again, _ = material.reference(extractor, silent, "train")
    np.testing.assert_array_equal(again, first)
    kept.write_bytes(b"no archive")
    again, _ = material.reference(extractor, source, "train")
    np.testing.assert_array_equal(again, first)
    np.savez(kept, features=first[::-1], logits=logits, key=np.array("of another network"))
    again, _ = material.reference(extractor, source, "train")
    np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["fid"]}, "unknown metric 'fid'; known are frechet, "),
        ({"metrics": []}, "--metrics is empty"),
        ({"resolution": 32}, "generated images are 32x32, .* 16x16"),
        ({"channels": 1}, "have 1 channel.* has 3"),
        ({"num_classes": 10}, "10 classes, .* has 3"),
        ({"num_classes": 0}, "label_accuracy needs labels .* unconditional"),
        ({"num": 1, "metrics": ["frechet"]}, "frechet needs at least 2 .* 1 generated .--num"),
        ({"num": 1, "metrics": ["kernel"]}, "kernel needs at least 2"),
        ({"num": 2, "metrics": ["label_accuracy"]}, "--num=2 .* 3 classes"),
        ({"split": "valid"}, "no split 'valid'; it has test, train"),
    ],
)
def test_refused_before_any_work(arguments, message):
    base = {"metrics": ALL, "num": 90, "source": make_source(), "num_classes": 3}
    with pytest.raises(UserError, match=message):
        evaluate.check(**{**base, **arguments})


def test_label_accuracy_without_labels_in_the_data_is_refused():
    unlabelled = make_source(labelled=False)
    with pytest.raises(UserError, match="needs a data set with labels, squares has none"):
        evaluate.check(metrics=ALL, num=90, source=unlabelled, num_classes=3)
    evaluate.check(metrics=["frechet", "kernel"], num=90, source=unlabelled, num_classes=3)


def test_broken_sampler_is_named(trained):
    source, extractor = trained

    def floats(n, seed=0, labels=None):
        return np.zeros((n, 16, 16, 3), np.float32)

    with pytest.raises(UserError, match="float32, expected 90 uint8"):
        evaluate.evaluate(floats, source, extractor, request(source, ("frechet",)))


def test_choices_are_mixed_whole_and_repeatable():
    rows = material.mixed_rows(100, 100)
    assert sorted(rows) == list(range(100))
    np.testing.assert_array_equal(material.mixed_rows(100, 10), rows[:10])
    source = make_source()
    whole, labels = material.real_arrays(source, "test", 120)
    again, _ = material.real_arrays(source, "test", 50)
    np.testing.assert_array_equal(whole[:50], again)
    ordered = np.concatenate([y.numpy() for _, y in source.batches("test", 250, None)])
    np.testing.assert_array_equal(labels, ordered[material.mixed_rows(120, 120)])
