"""StatisticsGen against NumPy: counts, moments, histograms, maps, pairs, encodings, the gallery."""

import json

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from ganpipe.errors import UserError
from pipeline.components import example_validator, gallery, measure, statistics_gen


def noise(count, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def smooth(count, shape, seed=0):
    """Pictures of 4x4 even patches: what a JPEG keeps nearly as it is."""
    rng = np.random.default_rng(seed)
    h, w, c = shape
    small = rng.integers(0, 256, (count, 4, 4, c), np.uint8)
    return small.repeat(h // 4, axis=1).repeat(w // 4, axis=2)


def read(folder):
    return statistics_pb2.DatasetFeatureStatisticsList.FromString(
        (folder / "FeatureStats.pb").read_bytes()
    )


def features(proto, split):
    dataset = next(d for d in proto.datasets if d.name == split)
    return dataset, {f.path.step[0]: f for f in dataset.features}


def custom(feature):
    return {stat.name: stat.num for stat in feature.custom_stats}


def table(feature):
    """(id, name, how often) of every name."""
    (stat,) = [stat for stat in feature.custom_stats if stat.name == "table"]
    buckets = stat.rank_histogram.buckets
    assert all(bucket.low_rank == bucket.high_rank for bucket in buckets)
    return [(bucket.low_rank, bucket.label, bucket.sample_count) for bucket in buckets]


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_folder_once):
    """Colour pictures in two classes, several shards, a short last one."""
    root = tmp_path_factory.mktemp("statistics")
    arrays = {
        "train": {"image": noise(54), "label": np.arange(54) % 3 // 2},
        "test": {"image": noise(6, seed=1), "label": np.array([0, 0, 1, 0, 1, 0])},
    }
    info = write_folder_once(root / "data", arrays, class_names=["cat", "ant"])
    summary = statistics_gen.run(info.dir, root / "stats")
    return arrays, root / "stats", summary, read(root / "stats")


@pytest.mark.parametrize("split", ["train", "test"])
def test_statistics_equal_numpy(made, split):
    arrays, _, _, proto = made
    dataset, found = features(proto, split)
    x, y = arrays[split]["image"], arrays[split]["label"]
    assert dataset.num_examples == len(x)
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
    assert classes == {"cat": (y == 0).sum(), "ant": (y == 1).sum()}
    expected = [(0, "cat", (y == 0).sum()), (1, "ant", (y == 1).sum())]
    assert table(found["class_name"]) == expected
    assert found["height"].num_stats.min == found["width"].num_stats.max == 8
    assert found["channels"].num_stats.mean == 3
    assert found["image"].bytes_stats.avg_num_bytes == 8 * 8 * 3


def test_summary_and_schema(made):
    arrays, folder, summary, _ = made
    assert summary["train_images"] == 54 and summary["test_images"] == 6
    x = arrays["train"]["image"]
    assert summary["green_mean"] == pytest.approx(x[..., 1].mean(), abs=6e-4)
    assert summary["classes"] == 2 and summary["test_images_seen_in_train"] == 0
    schema = text_format.Parse((folder / "schema.pbtxt").read_text(), schema_pb2.Schema())
    wanted = {f.name: f for f in schema.feature}
    assert list(wanted["class_name"].string_domain.value) == ["cat", "ant"]
    assert (wanted["height"].int_domain.min, wanted["height"].int_domain.max) == (8, 8)
    assert wanted["label"].int_domain.max == 1
    comparator = wanted["brightness"].drift_comparator.jensen_shannon_divergence
    assert comparator.threshold == pytest.approx(0.1)
    constraint = schema.dataset_constraints.num_examples_drift_comparator
    assert constraint.min_fraction_threshold == pytest.approx(0.8)


def test_merged_parts_equal_the_whole():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 3, (20, 4, 4, 3), np.uint8)
    images[3], images[7], images[9] = 0, 5, images[9][..., :1]
    images[11] = (200, 0, 0)  # one colour, though not one value
    labels = rng.integers(0, 4, 20)
    maps = rng.integers(0, 3, (20, 4, 4), np.uint8)
    maps[2, 0, 0], maps[4, 1, 1] = 3, 255  # outside a table of three; unknown
    M = measure.Measurements

    def of(rows):
        return M.of(
            images[rows], labels[rows], 4, maps=maps[rows], map_classes=3, pairs=images[rows, ::-1]
        )

    whole = of(slice(None))
    parts = M.merge([of(slice(7)), of(slice(7, None))], 3, 4, 3)
    assert (whole.black, whole.constant, whole.grey) == (1, 3, 3)
    assert np.flatnonzero(whole.flagged(measure.UNKNOWN_ID)).tolist() == [2]
    np.testing.assert_array_equal(whole.pair_pixels, whole.pixels)
    np.testing.assert_array_equal(whole.map_ids, np.bincount(maps.ravel(), minlength=256))
    for name in M.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))


@pytest.mark.parametrize(("encoding", "most"), [("raw", 0), ("png", 0), ("jpeg:95", 3)])
def test_maps_pairs_and_other_shapes_in_every_encoding(write_folder, tmp_path, encoding, most):
    images = smooth(20, (32, 48, 3))
    pairs = smooth(20, (32, 48, 1), seed=1)
    maps = (images[..., 0] > 127).astype(np.uint8)
    maps[3, :4, :4] = 7
    maps[5, :2, :2] = 255
    info = write_folder(
        tmp_path / "data",
        {"train": {"image": images, "map": maps, "pair": pairs}},
        map_classes=["sea", "land"],
        encodings={32: encoding, 16: encoding},
    )
    statistics_gen.run(info.dir, tmp_path / "stats")
    _, found = features(read(tmp_path / "stats"), "train")
    for c, name in enumerate(("red", "green", "blue")):
        assert abs(found[f"pixel_{name}"].num_stats.mean - images[..., c].mean()) <= most
    assert abs(found["pair_grey"].num_stats.mean - pairs.mean()) <= most
    assert found["pair_channels"].num_stats.max == 1
    assert (found["height"].num_stats.max, found["width"].num_stats.max) == (32, 48)
    ids = {v.value: v.frequency for v in found["map_class"].string_stats.top_values}
    assert ids == {
        "sea": (maps == 0).sum(),
        "land": (maps == 1).sum(),
        "id 7": 16,
        "unknown": 4,
    }
    numbers = custom(found["map_class"])
    assert numbers.pop("table") == 0  # no number
    assert numbers == {"unknown_pixels": 16, "images_with_unknown_ids": 1}
    assert table(found["map_class"]) == [(0, "sea", ids["sea"]), (1, "land", ids["land"])]


def test_two_domains(write_folder, tmp_path):
    splits = {
        "trainA": {"image": noise(20)},
        "trainB": {"image": noise(12, seed=1)},
        "testA": {"image": noise(20)[:4]},
        "testB": {"image": noise(20)[:5]},
    }
    info = write_folder(tmp_path / "data", splits, domains=["horses", "zebras"])
    summary = statistics_gen.run(info.dir, tmp_path / "stats")
    assert summary["trainA_images"] == 20 and summary["trainB_images"] == 12
    assert summary["testA_images_seen_in_trainA"] == 4
    assert summary["testB_images_seen_in_trainB"] == 0
    both = np.concatenate([splits["trainA"]["image"], splits["trainB"]["image"]])
    assert summary["red_mean"] == pytest.approx(both[..., 0].mean(), abs=6e-4)
    shown = json.loads((tmp_path / "stats" / gallery.GALLERY).read_text())
    assert [sheet["split"] for sheet in shown["sheets"]] == ["trainA", "trainB"]


def test_hashes_are_of_the_level_of_32(write_folder, tmp_path):
    top = smooth(20, (64, 64, 3), seed=4)
    info = write_folder(tmp_path / "data", {"train": {"image": top}}, levels=3)
    assert info.resolutions == (16, 32, 64) and measure.hash_level(info) == 32
    measured = statistics_gen._measure(info, str(tmp_path), None)["train"]
    small = top.reshape(20, 32, 2, 32, 2, 3).mean((2, 4)).astype(np.uint8)
    expected = measure.Measurements.of(top, np.zeros(20, int), 0, small=small)
    np.testing.assert_array_equal(measured.hashes, expected.hashes)
    np.testing.assert_array_equal(measured.digests, expected.digests)
    other = write_folder(tmp_path / "low", {"train": {"image": noise(2, (24, 32, 1))}})
    assert measure.hash_level(other) == 24


def test_gallery_shows_the_images_it_names(write_folder, tmp_path):
    images = smooth(40, (32, 32, 3), seed=5)
    images[10] = (9, 9, 200)
    images[20] = images[20][..., :1]
    images[37] = np.clip(images[30].astype(int) + 1, 0, 255)  # in another shard
    info = write_folder(tmp_path / "data", {"train": {"image": images}})
    statistics_gen.run(info.dir, tmp_path / "stats")
    shown = json.loads((tmp_path / "stats" / gallery.GALLERY).read_text())
    (pair,) = shown["pairs"]
    assert [pair["a"]["key"], pair["b"]["key"]] == ["train/0030.png", "train/0037.png"]
    assert {kind["what"]: [i["key"] for i in kind["images"]] for kind in shown["odd"]} == {
        "of one single colour": ["train/0010.png"],
        "grey in a colour set": ["train/0020.png"],
    }
    assert pair["b"]["image"] == gallery._png(images[37])
    assert shown["data"]["shape"] == [32, 32, 3] and shown["complete"] is True


def test_what_is_kept_of_an_image_is_small():
    one = measure.Measurements.of(noise(1000), np.zeros(1000, int), 0)
    each = sum(getattr(one, name).nbytes for name in measure._PER_IMAGE) / 1000
    assert 40 <= each <= 64


def test_names_that_are_no_utf8_and_names_with_markup(write_folder, tmp_path):
    splits = {"train": {"image": noise(20), "label": np.arange(20) % 2}}
    info = write_folder(tmp_path / "data", splits, class_names=["caf\udce9", "<b>猫</b>"])
    statistics_gen.run(info.dir, tmp_path / "stats")
    _, found = features(read(tmp_path / "stats"), "train")
    names = [v.value for v in found["class_name"].string_stats.top_values]
    assert names == ["caf\ufffd", "<b>猫</b>"]
    result = example_validator.run(tmp_path / "stats", tmp_path / "stats")
    assert result["anomalies"] == []
    page = (tmp_path / "stats" / "statistics.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;猫&lt;/b&gt;" in page and "<b>猫" not in page


def test_missing_and_damaged_data(write_folder, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        statistics_gen.run(tmp_path / "nothing", tmp_path / "stats")
    info = write_folder(tmp_path / "data", {"train": {"image": noise(4)}})
    path = info.files("train", 8)[0]["path"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="cut short"):
        statistics_gen.run(info.dir, tmp_path / "stats")
