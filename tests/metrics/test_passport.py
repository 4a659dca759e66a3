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


@pytest.mark.parametrize(
    "path",
    [
        "extractor",
        "extractor_fingerprint",
        "counts.generated",
        "split",
        "resolution",
        "dtype",
        "labels.distances",
        "data.fingerprint",
        "kernel.subsets",
    ],
)
def test_what_must_be_alike(path):
    other = changed(path, "other")
    found = passport.differences(ONE, other, "kernel")
    assert list(found) == [path] and found[path][1] == "other"
    assert passport.differences(other, ONE, "kernel")[path][0] == "other"


@pytest.mark.parametrize("path", ["data.name", "seeds.seed", "code.commit", "seconds"])
def test_what_may_differ(path):
    assert passport.differences(ONE, changed(path, "other"), "kernel") == {}


def test_settings_of_other_metrics_do_not_count_and_missing_fields_do():
    assert passport.differences(ONE, changed("precision.k", 5), "kernel") == {}
    less = {k: v for k, v in ONE.items() if k != "split"}
    assert passport.differences(ONE, less, "kernel") == {"split": ("test", None)}
