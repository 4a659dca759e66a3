"""StatisticsGen and ExampleValidator against NumPy and against data made to be wrong."""

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from ganpipe import data
from ganpipe.errors import UserError
from pipeline.components import example_gen, example_validator, statistics_gen


def make(root, out, images, classes, **kwargs):
    """Writes (H, W, 3) or (H, W) arrays under class names and prepares them at 8x8."""
    for i, (image, name) in enumerate(zip(images, classes, strict=True)):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    settings = {"say": lambda line: None, "progress": False} | kwargs
    return example_gen.run(f"folder:{root}", out, 8, **settings)


def noise(count, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8))


def pixels(info, split):
    x, y = zip(
        *data.load(info.dir, 8, 1, split=split, repeat=False, shuffle=False).as_numpy_iterator(),
        strict=True,
    )
    return np.rint((np.concatenate(x) + 1) * 127.5).astype(np.uint8), np.concatenate(y)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("statistics")
    images, classes = noise(60), ["cat"] * 40 + ["ant"] * 20
    info = make(root / "in", root / "data", images, classes)
    summary = statistics_gen.run(info.dir, root / "stats")
    proto = statistics_pb2.DatasetFeatureStatisticsList.FromString(
        (root / "stats" / "FeatureStats.pb").read_bytes()
    )
    return info, root / "stats", summary, proto


def features(proto, split):
    dataset = next(d for d in proto.datasets if d.name == split)
    return dataset, {f.path.step[0]: f for f in dataset.features}


@pytest.mark.parametrize("split", ["train", "test"])
def test_statistics_equal_numpy(made, split):
    info, _, _, proto = made
    dataset, found = features(proto, split)
    x, y = pixels(info, split)
    assert dataset.num_examples == len(x) == info.count(split)
    for c, name in enumerate(("red", "green", "blue")):
        stats, values = found[f"pixel_{name}"].num_stats, x[..., c].ravel()
        np.testing.assert_allclose(stats.mean, values.mean(), rtol=1e-12)
        np.testing.assert_allclose(stats.std_dev, values.std(), rtol=1e-12)
        assert (stats.min, stats.max) == (values.min(), values.max())
        assert stats.num_zeros == (values == 0).sum()
        assert stats.median == np.sort(values)[(len(values) + 1) // 2 - 1]
        buckets = stats.histograms[0].buckets
        counts = np.histogram(values, bins=[b.low_value for b in buckets] + [256])[0]
        assert [b.sample_count for b in buckets] == counts.tolist()
        assert stats.common_stats.tot_num_values == values.size
    for name, values in (
        ("brightness", x.mean(axis=(1, 2, 3))),
        ("contrast", x.reshape(len(x), -1).std(axis=1)),
    ):
        stats = found[name].num_stats
        # Kept as float32 per image: 24 bits of a value of up to 255.
        np.testing.assert_allclose(stats.mean, values.mean(), rtol=1e-6)
        np.testing.assert_allclose(stats.median, np.median(values), rtol=1e-6)
        counts = np.histogram(values, bins=20, range=(0, 255))[0]
        assert [b.sample_count for b in stats.histograms[0].buckets] == counts.tolist()
    classes = {v.value: v.frequency for v in found["class_name"].string_stats.top_values}
    assert classes == {"ant": (y == 0).sum(), "cat": (y == 1).sum()}
    assert found["height"].num_stats.min == found["width"].num_stats.max == 8
    assert found["channels"].num_stats.mean == 3
    assert found["image"].bytes_stats.avg_num_bytes == 8 * 8 * 3


def test_summary_and_schema(made):
    info, folder, summary, _ = made
    assert summary["train_images"] == 54 and summary["test_images"] == 6
    x, _ = pixels(info, "train")
    assert summary["green_mean"] == pytest.approx(x[..., 1].mean(), abs=6e-4)
    assert summary["classes"] == 2 and summary["test_images_seen_in_train"] == 0
    schema = text_format.Parse((folder / "schema.pbtxt").read_text(), schema_pb2.Schema())
    wanted = {f.name: f for f in schema.feature}
    assert list(wanted["class_name"].string_domain.value) == ["ant", "cat"]
    assert (wanted["height"].int_domain.min, wanted["height"].int_domain.max) == (8, 8)
    assert wanted["label"].int_domain.max == 1


def test_merged_parts_equal_the_whole():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 3, (20, 4, 4, 3), np.uint8)
    images[3], images[7], images[9] = 0, 5, images[9][..., :1]
    labels = rng.integers(0, 4, 20)
    M = statistics_gen.Measurements
    whole = M.of(images, labels, 4)
    parts = M.merge([M.of(images[:7], labels[:7], 4), M.of(images[7:], labels[7:], 4)], 3, 4)
    assert (whole.black, whole.constant, whole.grey) == (1, 2, 3)
    for name in ("pixels", "labels", "brightness", "contrast", "digests", "black", "grey"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


def validate(info, tmp_path, **kwargs):
    statistics_gen.run(info.dir, tmp_path / "stats")
    result = example_validator.run(tmp_path / "stats", tmp_path / "anomalies", **kwargs)
    text = (tmp_path / "anomalies" / "anomalies.pbtxt").read_text()
    return result, text_format.Parse(text, anomalies_pb2.Anomalies())


def test_sound_data_have_no_anomalies(made, tmp_path):
    result, proto = validate(made[0], tmp_path)
    assert result == {"anomalies": [], "warnings": []}
    assert not proto.anomaly_info and len(proto.baseline.feature) == 6


def test_images_of_nothing(tmp_path):
    images = noise(30)
    images[:3] = [np.zeros((8, 8, 3), np.uint8)] * 3  # 10 % black
    images[3:15] = [np.full((8, 8, 3), 9 + i, np.uint8) for i in range(12)]  # 40 % constant
    info = make(tmp_path / "in", tmp_path / "data", images, ["all"] * 30, test_fraction=0)
    result, proto = validate(info, tmp_path)
    assert result["anomalies"] == ["40.0% of the images of split 'train' are of one single colour"]
    assert any(
        "10.0% of the images of split 'train' are all black" in w for w in result["warnings"]
    )
    assert any("no test split" in w for w in result["warnings"])
    assert any("grey in a colour set" in w for w in result["warnings"])
    entry = proto.anomaly_info["image"]
    assert entry.severity == entry.ERROR and len(entry.reason) == 5
    assert "one single colour" in entry.description


def test_classes_missing_rare_and_shifted(tmp_path):
    for split, mix in (("train", {"a": 70, "b": 2, "c": 8}), ("test", {"a": 4, "c": 16})):
        images, names = noise(sum(mix.values()), len(split)), []
        for name, count in mix.items():
            names += [f"{split}/{name}"] * count
        for i, (image, name) in enumerate(zip(images, names, strict=True)):
            (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "in" / name / f"{i}.png")
    info = make(tmp_path / "in", tmp_path / "data", [], [])
    result, proto = validate(info, tmp_path)
    assert result["anomalies"] == ["class 'c' is 10.0% of 'train' and 80.0% of 'test'"]
    assert any(
        "1 of 3 classes have fewer than 3" in w and "'b' (2)" in w for w in result["warnings"]
    )
    assert any("no images in split 'test': 'b'" in w for w in result["warnings"])
    reasons = {r.type for r in proto.anomaly_info["class_name"].reason}
    assert anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH in reasons


def test_against_an_earlier_schema(made, tmp_path):
    grey = [image[..., 0] for image in noise(20)]
    info = make(tmp_path / "in", tmp_path / "data", grey, ["cat"] * 10 + ["dog"] * 10)
    result, _ = validate(info, tmp_path, previous_schema=made[1])
    assert "channels is 1, the schema asks for 3" in result["anomalies"]
    assert "1 classes are not in the schema: 'dog'" in result["anomalies"]
    assert "1 of 2 classes have no images in split 'train': 'ant'" in result["anomalies"]


def test_copies_between_splits_are_told(tmp_path):
    for split, count in (("train", 20), ("test", 5)):
        (tmp_path / "in" / split).mkdir(parents=True)
        for i, image in enumerate(noise(count)):  # the same seed: five are in both
            Image.fromarray(image).save(tmp_path / "in" / split / f"{i}.png")
    info = make(tmp_path / "in", tmp_path / "data", [], [])
    result, _ = validate(info, tmp_path)
    assert "5 of the 5 images of split 'test' are also in 'train'" in result["warnings"]
    assert not result["anomalies"]


def test_an_empty_split_blocks():
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    proto.datasets.add(name="train", num_examples=0)
    found = list(example_validator.check(proto, schema_pb2.Schema()))
    assert [(f.blocks, f.text) for f in found] == [(True, "split 'train' has no images")]


def test_missing_statistics(tmp_path):
    with pytest.raises(UserError, match=r"FeatureStats.pb is missing"):
        example_validator.run(tmp_path, tmp_path / "out")
