"""The tfds path, for real and offline: tiny builders are prepared from memory in the test."""

import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from ganpipe import data
from ganpipe.data import sources
from ganpipe.data.sources import tfds as tfds_source
from ganpipe.errors import UserError
from pipeline.components import example_gen


class _Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {"1.2.0": "test"}  # noqa: RUF012
    SHAPE, SPLITS, LABELS = (8, 8, 3), {"train": 30, "test": 10}, ("cat", "ant")

    def _info(self):
        features = {"image": tfds.features.Image(shape=self.SHAPE)}
        if self.LABELS:
            features["label"] = tfds.features.ClassLabel(names=self.LABELS)
        keys = ("image", "label") if self.LABELS else None
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=keys
        )

    def _split_generators(self, dl_manager):
        return {name: self._generate_examples(n) for name, n in self.SPLITS.items()}

    def _generate_examples(self, count):
        for i in range(count):
            height, width = (s or 9 + i % 3 for s in self.SHAPE[:2])
            # The class can be read off the pixels: label 1 is bright.
            image = np.full((height, width, self.SHAPE[2]), 200 * (i % 2) + i, np.uint8)
            yield i, {"image": image, "label": i % 2} if self.LABELS else {"image": image}


class TinyPictures(_Tiny):
    """Two classes, two splits, one size."""


class TinyRagged(_Tiny):
    """No labels, one split, many sizes, grey."""

    SHAPE, SPLITS, LABELS = (None, None, 1), {"train": 30}, ()


class TinyNumbers(_Tiny):
    """No images at all."""

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"x": np.int64}))

    def _generate_examples(self, count):
        yield from ((i, {"x": i}) for i in range(count))


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    for builder in (TinyPictures, TinyRagged, TinyNumbers):
        builder(data_dir=root).download_and_prepare()
    return str(root)


def run(spec, out, resolution, tfds_dir, **kwargs):
    return example_gen.run(
        spec, out, resolution, tfds_data_dir=tfds_dir, say=lambda s: None, progress=False, **kwargs
    )


def test_labelled_splits(tfds_dir, tmp_path):
    info = run("tfds:tiny_pictures:1.2.0", tmp_path / "o", 8, tfds_dir)
    assert info.class_names == ("cat", "ant")  # TFDS' order, not the alphabet's
    assert {s: v["per_class"] for s, v in info.splits.items()} == {
        "train": [15, 15],
        "test": [5, 5],
    }
    for x, y in data.load(info.dir, 4, 5, split="test", repeat=False):
        bright = (x.numpy().mean(axis=(1, 2, 3)) > 0).astype(np.int32)
        np.testing.assert_array_equal(bright, y)


def test_ragged_unlabelled_and_without_test_split(tfds_dir, tmp_path):
    info = run("tfds:tiny_ragged", tmp_path / "o", 8, tfds_dir)
    assert (info.channels, info.num_classes) == (1, 0)
    assert (info.count("train"), info.count("test")) == (27, 3)
    _, labels = next(iter(data.load(info.dir, 8, 9)))
    assert not labels.numpy().any()


def test_splits_by_name(tfds_dir, tmp_path):
    info = run("tfds:tiny_pictures:test", tmp_path / "a", 8, tfds_dir, test_fraction=0.0)
    assert {s: v["count"] for s, v in info.splits.items()} == {"train": 10}
    spec = "tfds:tiny_pictures:1.2.0:train[20%:50%]+test"
    info = run(spec, tmp_path / "b", 8, tfds_dir)
    assert {s: v["count"] for s, v in info.splits.items()} == {"train": 17, "test": 2}
    whole = run("tfds:tiny_pictures", tmp_path / "c", 8, tfds_dir)
    keys = list(_keys(info, "train"))
    assert keys[:9] == _keys(whole, "train")[6:15] and keys[9] == "test/0000000"
    with pytest.raises(UserError, match="no split 'dev'.*it has"):
        run("tfds:tiny_pictures:dev", tmp_path / "d", 8, tfds_dir)


def _keys(info, split):
    return [
        tf.train.Example.FromString(raw).features.feature["key"].bytes_list.value[0].decode()
        for shard in info.files(split, 8)
        for raw in tf.data.TFRecordDataset(str(shard["path"])).as_numpy_iterator()
    ]


def test_sets_that_cannot_be_used(tfds_dir, tmp_path):
    with pytest.raises(UserError, match="no image feature, only x"):
        run("tfds:tiny_numbers", tmp_path / "o", 8, tfds_dir)
    with pytest.raises(UserError, match="are 8x8; use --resolution=8"):
        run("tfds:tiny_pictures", tmp_path / "o", 16, tfds_dir)
    assert not list(tmp_path.iterdir())


def test_unknown_names_are_told_fast(tfds_dir):
    started = time.monotonic()
    with pytest.raises(UserError, match="did you mean cifar10"):
        sources.open_source("tfds:cifar01", tfds_dir)
    with pytest.raises(UserError, match="did you mean tiny_pictures"):
        sources.open_source("tfds:tiny_picture", tfds_dir)
    with pytest.raises(UserError, match=r"tiny_pictures:9\.9\.9"):
        sources.open_source("tfds:tiny_pictures:9.9.9", tfds_dir)
    assert time.monotonic() - started < 20


def test_no_network_is_told_fast(tfds_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_source, "reachable", lambda url: False)
    with pytest.raises(UserError, match=r"www.cs.toronto.edu, which does not answer"):
        run("tfds:cifar10", tmp_path / "o", 32, str(tmp_path / "tfds"))
    assert not (tmp_path / "o").exists()


def test_fingerprint_is_name_and_version(tfds_dir):
    a = sources.source_fingerprint("tfds:tiny_pictures", tfds_dir)
    assert a == sources.source_fingerprint("tfds:tiny_pictures:1.2.0", tfds_dir)
    assert a != sources.source_fingerprint("tfds:tiny_ragged", tfds_dir)
