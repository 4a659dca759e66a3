"""Which scores may be compared."""

import copy

import pytest

from ganpipe.metrics import passport

ONE = {
    "extractor": "smallcnn aa",
    "extractor_fingerprint": "ff",
    "counts": {"generated": 2000, "reference": 10000},
    "split": "test",
    "resolution": 32,
    "channels": 1,
    "dtype": "float32",
    "labels": {"distances": "balanced", "label_accuracy": "balanced"},
    "kernel": {"subsets": 100, "subset_size": 1000},
    "precision": {"k": 3},
    "data": {"name": "a", "fingerprint": "dd"},
    "seeds": {"seed": 0},
    "code": {"version": "0.1.0", "commit": "abc"},
    "seconds": 3.0,
}


def changed(path, value):
    other = copy.deepcopy(ONE)
    *parents, leaf = path.split(".")
    node = other
    for parent in parents:
        node = node[parent]
    node[leaf] = value
    return other


FEATURES = ("features", "reference")


@pytest.mark.parametrize(
    "path",
    [
        "extractor",
        "extractor_fingerprint",
        "counts.generated",
        "counts.reference",
        "split",
        "resolution",
        "dtype",
        "data.fingerprint",
        "kernel.subsets",
    ],
)
def test_what_must_be_alike(path):
    other = changed(path, "other")
    found = passport.differences(ONE, other, "kernel", FEATURES)
    assert list(found) == [path] and found[path][1] == "other"
    assert passport.differences(other, ONE, "kernel", FEATURES)[path][0] == "other"
    assert passport.identity(ONE) != passport.identity(other)


@pytest.mark.parametrize("path", ["data.name", "seeds.seed", "code.commit", "seconds"])
def test_what_may_differ(path):
    assert passport.differences(ONE, changed(path, "other"), "kernel", FEATURES) == {}


def test_what_a_metric_does_not_use_does_not_count():
    assert passport.differences(ONE, changed("precision.k", 5), "kernel", FEATURES) == {}
    pixels = ("reference",)
    assert passport.differences(ONE, changed("extractor", "b"), "ms_ssim", pixels) == {}
    assert passport.differences(ONE, changed("split", "b"), "inception_score", ("classes",)) == {}
    less = {k: v for k, v in ONE.items() if k != "split"}
    assert passport.differences(ONE, less, "kernel", FEATURES) == {"split": ("test", None)}


def test_rules_of_labels():
    # An unconditional model is taken to follow the real proportions.
    free = changed("labels.distances", "none")
    assert passport.differences(ONE, free, "kernel", FEATURES) == {}
    given = changed("labels.distances", "as given")
    found = passport.differences(ONE, given, "kernel", FEATURES)
    assert found == {"labels": ("proportional", "as given")}
    assert passport.differences(ONE, given, "label_accuracy", ("labels", "classes")) == {}


def test_times_and_code_make_no_other_evaluation():
    assert passport.identity(ONE) == passport.identity(changed("code.commit", "x") | {"seconds": 9})
    assert passport.identity(ONE) != passport.identity(changed("seeds.seed", 1))
