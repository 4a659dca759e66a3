"""A data set that a small network learns in seconds: squares whose colour is their class."""

import numpy as np
import pytest

from ganpipe.metrics import smallcnn, source

NAMES = ("red", "green", "blue")
FAST = smallcnn.TrainingSettings(batch_size=32, min_steps=40, max_steps=40)


def squares(count, seed, resolution=16, channels=3, labels=None):
    """(count, R, R, C) uint8 noise with one square at a random place, and its (count,) class."""
    rng = np.random.RandomState(seed)
    labels = rng.randint(0, 3, count) if labels is None else np.asarray(labels)
    images = rng.randint(0, 60, (count, resolution, resolution, channels)).astype(np.uint8)
    side = resolution // 2
    for i, label in enumerate(labels):
        y, x = rng.randint(0, resolution - side, 2)
        if channels == 3:
            images[i, y : y + side, x : x + side, label] = 230
        else:
            images[i, y : y + side, x : x + side] = (110, 170, 230)[label]
    return images, labels


def make_source(labelled=True, seed=0, fingerprint="f" * 64, counts=(320, 120), **shape):
    splits = {"train": squares(counts[0], seed, **shape), "test": squares(counts[1], 9, **shape)}
    if not labelled:
        splits = {k: (images, None) for k, (images, _) in splits.items()}
    return source.from_arrays("squares", fingerprint, splits, NAMES if labelled else ())


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """(source, extractor) on the coloured squares, trained once for the whole session."""
    from ganpipe.metrics import classifier

    data = make_source()
    cache = tmp_path_factory.mktemp("extractors")
    return data, classifier.get_or_train(data, cache, FAST, notice=lambda line: None)
