"""ExampleValidator against data made to be wrong, and against earlier data."""

import math

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from ganpipe.errors import UserError
from pipeline.components import drift, example_validator, statistics_gen

pytestmark = pytest.mark.usefixtures("without_beam")


def noise(count, shape=(8, 8, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def measure(write, place, splits, **settings):
    """A report folder of a data folder made of `splits`."""
    info = write(place / "data", splits, **settings)
    statistics_gen.run(info.dir, place / "report")
    return place / "report"


def validate(report, **settings):
    result = example_validator.run(report, report.parent / "checked", **settings)
    text = (report.parent / "checked" / "anomalies.pbtxt").read_text()
    return result, text_format.Parse(text, anomalies_pb2.Anomalies())


def reasons(info):
    return {info.Type.Name(reason.type) for reason in info.reason}


@pytest.fixture(scope="module")
def sound(tmp_path_factory, write_folder_once, without_beam):
    splits = {
        "train": {"image": noise(80), "label": np.arange(80) % 2},
        "test": {"image": noise(20, seed=1), "label": np.arange(20) % 2},
    }
    place = tmp_path_factory.mktemp("sound")
    return measure(write_folder_once, place, splits, class_names=["ant", "cat"])


def test_sound_data_have_no_anomalies(sound):
    result, proto = validate(sound)
    assert result == {"anomalies": [], "warnings": [], "baseline": ""}
    assert not proto.anomaly_info and not proto.dataset_anomaly_info.reason
    assert {f.name for f in proto.baseline.feature} == {
        "image", "height", "width", "channels", "brightness", "contrast", "label", "class_name"
    }  # fmt: skip


def test_images_of_nothing_and_without_colour(write_folder, tmp_path):
    images = noise(30)
    images[:3] = 0
    images[3:15] = np.arange(12, dtype=np.uint8)[:, None, None, None] + [9, 40, 90]
    images[15:18] = images[15:18, ..., :1]
    result, proto = validate(measure(write_folder, tmp_path, {"train": {"image": images}}))
    (blocks,) = result["anomalies"]
    assert blocks.startswith("40.0% of the images of split 'train' are of one single colour: ")
    told = "\n".join(result["warnings"])
    assert "10.0% of the images of split 'train' are all black" in told
    assert "20.0% of the images of split 'train' are grey in a colour set: remove" in told
    assert "there is no test split" in told and "--test_fraction=0.1" in told
    entry = proto.anomaly_info["image"]
    assert entry.severity == entry.ERROR and "one single colour" in entry.description
    assert reasons(entry) == {"CUSTOM_VALIDATION"}
    assert reasons(proto.dataset_anomaly_info) == {"DATASET_LOW_NUM_EXAMPLES"}
    assert proto.dataset_anomaly_info.severity == entry.WARNING


def test_a_set_that_is_all_grey_is_told_to_be_prepared_as_such(write_folder, tmp_path):
    images = noise(20, (8, 8, 1)).repeat(3, axis=-1)
    result, _ = validate(measure(write_folder, tmp_path, {"train": {"image": images}}))
    assert any("100.0% of the images" in w and "--channels=1" in w for w in result["warnings"])


def test_classes_missing_rare_and_shifted(write_folder, tmp_path):
    mixes = {"train": [70, 2, 8], "test": [4, 0, 16]}
    splits = {
        split: {"image": noise(sum(mix), seed=sum(mix)), "label": np.repeat([0, 1, 2], mix)}
        for split, mix in mixes.items()
    }
    report = measure(write_folder, tmp_path, splits, class_names=["a", "b", "c"])
    result, proto = validate(report)
    (blocks,) = result["anomalies"]
    assert blocks.startswith("class 'c' is 10.0% of 'train' and 80.0% of 'test': ")
    told = "\n".join(result["warnings"])
    assert "1 of 3 classes have fewer than 3 of the 80 training images ('b')" in told
    assert "1 of 3 classes have no images in split 'test' ('b')" in told
    assert "COMPARATOR_L_INFTY_HIGH" in reasons(proto.anomaly_info["class_name"])
    (measured,) = proto.drift_skew_info[0].skew_measurements
    assert measured.type == measured.L_INFTY and measured.value == pytest.approx(0.7)
    assert measured.threshold == pytest.approx(0.1)


def test_size_channels_and_new_classes_against_a_baseline(sound, write_folder, tmp_path):
    splits = {
        "train": {"image": noise(80, (16, 8, 1)), "label": np.arange(80) % 3},
        "test": {"image": noise(20, (16, 8, 1), 1), "label": np.arange(20) % 3},
    }
    report = measure(write_folder, tmp_path, splits, class_names=["ant", "cat", "dog"])
    for how in ({"baseline": sound}, {"previous_schema": sound / "schema.pbtxt"}):
        result, proto = validate(report, **how)
        told = "\n".join(result["anomalies"])
        assert "channels is 1, the schema asks for 3" in told
        assert "height is 16, the schema asks for 8" in told and "width" not in told
        assert "class 'dog' is not in the schema: remove it" in told
        kinds = reasons(proto.anomaly_info["class_name"])
        assert "ENUM_TYPE_UNEXPECTED_STRING_VALUES" in kinds
        assert list(proto.baseline.feature[-1].string_domain.value) == ["ant", "cat"]
        kept = (report.parent / "checked" / "schema.pbtxt").read_text()
        assert text_format.Parse(kept, schema_pb2.Schema()) == proto.baseline


def test_labels_come_and_go(sound, write_folder, tmp_path):
    bare = measure(write_folder, tmp_path / "a", {"train": {"image": noise(80)}})
    result, _ = validate(bare, baseline=sound)
    assert any("the schema asks for 'class_name'" in a for a in result["anomalies"])
    result, _ = validate(sound, baseline=bare)
    assert any("the data have classes, the schema has none" in a for a in result["anomalies"])


def told_of_names(write, place, before, after, feature="class_name"):
    """{kind of reason: text} of the findings on names, of a span against an earlier one."""
    reports = []
    for name, names in (("before", before), ("after", after)):
        arrays = {"image": noise(40)}
        if feature == "class_name":
            arrays["label"], tables = np.arange(40) % 2, {"class_names": names}
        else:  # only the first id occurs
            arrays["map"], tables = np.zeros((40, 8, 8), np.uint8), {"map_classes": names}
        reports.append(measure(write, place / name, {"train": arrays}, **tables))
    result, proto = validate(reports[1], baseline=reports[0])
    info = proto.anomaly_info[feature]
    told = {info.Type.Name(r.type): r.description for r in info.reason}
    assert set(told.values()) <= {*result["anomalies"], *result["warnings"]}
    assert info.severity == (info.ERROR if set(told.values()) & set(result["anomalies"]) else 0)
    return told


@pytest.mark.parametrize(("feature", "what"), [("class_name", "class"), ("map_class", "map class")])
def test_names_in_another_order_block(write_folder, tmp_path, feature, what):
    same = told_of_names(write_folder, tmp_path / "a", ["ant", "bee"], ["ant", "bee"], feature)
    assert same == {}
    told = told_of_names(write_folder, tmp_path / "b", ["ant", "bee"], ["bee", "ant"], feature)
    assert set(told) == {"CUSTOM_VALIDATION"}
    assert told["CUSTOM_VALIDATION"].startswith(
        f"{what} 'ant' has the id 1 and 0 in the schema, so ids mean other {what}es"
    )


def test_another_class_table_of_maps_blocks(write_folder, tmp_path):
    three, six = ["sky", "sea", "land"], ["a", "b", "c", "d", "e", "f"]
    told = told_of_names(write_folder, tmp_path / "a", three, six, "map_class")
    assert set(told) == {"ENUM_TYPE_UNEXPECTED_STRING_VALUES", "FEATURE_TYPE_LOW_UNIQUE"}
    text = told["ENUM_TYPE_UNEXPECTED_STRING_VALUES"]
    assert text.startswith(
        "6 map classes are not in the schema ('a', 'b', 'c', 'd', 'e' and 1 more"
    )
    text = told["FEATURE_TYPE_LOW_UNIQUE"]
    assert text.startswith("3 of 3 map classes are not in the class table ('sky', 'sea', 'land')")
    # A name that no pixel has counts too.
    told = told_of_names(write_folder, tmp_path / "b", three, [*three, "rain"], "map_class")
    assert set(told) == {"ENUM_TYPE_UNEXPECTED_STRING_VALUES"}
    told = told_of_names(write_folder, tmp_path / "c", three, three[:2], "map_class")
    assert set(told) == {"FEATURE_TYPE_LOW_UNIQUE"}


def test_a_new_class_in_the_middle_is_one_finding_until_the_schema_has_it(write_folder, tmp_path):
    told = told_of_names(write_folder, tmp_path, ["ant", "cat"], ["ant", "bee", "cat"])
    assert any(text.startswith("class 'bee' is not in the schema") for text in told.values())
    assert "CUSTOM_VALIDATION" not in told
    schema = example_validator.read_schema(tmp_path / "before" / "report" / "schema.pbtxt")
    names = next(f for f in schema.feature if f.name == "class_name").string_domain
    edited = tmp_path / "mine.pbtxt"
    for order, text in ((["ant", "cat", "bee"], "class 'cat' has the id 2 and 1"), (None, "")):
        names.value[:] = order or ["ant", "bee", "cat"]
        edited.write_text(text_format.MessageToString(schema))
        result, _ = validate(tmp_path / "after" / "report", previous_schema=edited)
        found = [a for a in result["anomalies"] if "no images in split" not in a]
        assert len(found) == bool(text) and all(a.startswith(text) for a in found)


def test_statistics_without_tables_are_read_as_before(sound):
    statistics = example_validator.read_statistics(sound / "FeatureStats.pb")
    schema = example_validator.read_schema(sound / "schema.pbtxt")
    for dataset in statistics.datasets:
        for feature in dataset.features:
            feature.ClearField("custom_stats")
    names = next(f for f in schema.feature if f.name == "class_name").string_domain
    names.value[:] = ["cat", "ant"]
    assert list(example_validator.check(statistics, schema)) == []
    names.value[:] = ["cat"]
    (found,) = example_validator.check(statistics, schema)
    assert found.text == "class 'ant' is not in the schema"


def test_second_pictures_come_and_go(write_folder, tmp_path):
    bare = measure(write_folder, tmp_path / "a", {"train": {"image": noise(40)}})
    arrays = {"image": noise(40), "pair": noise(40, (8, 8, 1), 1)}
    paired = measure(write_folder, tmp_path / "b", {"train": arrays})
    result, proto = validate(paired, baseline=bare)
    (blocks,) = result["anomalies"]
    assert blocks.startswith("the data have second pictures, the schema has none: ")
    assert reasons(proto.anomaly_info["pair_channels"]) == {"SCHEMA_NEW_COLUMN"}
    result, proto = validate(bare, baseline=paired)
    assert any("the schema asks for 'pair_channels'" in a for a in result["anomalies"])
    assert reasons(proto.anomaly_info["pair_channels"]) == {"SCHEMA_MISSING_COLUMN"}


def test_copies_across_and_within_splits(write_folder, tmp_path):
    images = noise(40, (32, 32, 3))
    images[30:33] = images[:3]
    test = np.concatenate([images[:2], np.clip(images[5:8].astype(int) + 1, 0, 255)])
    test = np.concatenate([test, noise(5, (32, 32, 3), 9)]).astype(np.uint8)
    splits = {"train": {"image": images}, "test": {"image": test}}
    result, _ = validate(measure(write_folder, tmp_path, splits))
    told = "\n".join(result["warnings"])
    assert "3 of the 40 images of split 'train' are exact copies of another" in told
    assert "2 of the 10 images of split 'test' are also in 'train'" in told
    assert "3 of the 10 images of split 'test' look the same as one of 'train'" in told
    assert not result["anomalies"]


def test_a_test_split_of_training_images_blocks(write_folder, tmp_path):
    splits = {"train": {"image": noise(20)}, "test": {"image": noise(20)[:5]}}
    result, _ = validate(measure(write_folder, tmp_path, splits))
    assert "5 of the 5 images of split 'test' are also in 'train'" in result["anomalies"][0]


def test_map_ids_outside_the_table_block(write_folder, tmp_path):
    maps = np.zeros((20, 8, 8), np.uint8)
    maps[4, 0, 0], maps[5] = 9, 255  # 255 is "unknown", and allowed
    splits = {"train": {"image": noise(20), "map": maps}}
    report = measure(write_folder, tmp_path, splits, map_classes=["sky", "sea"])
    result, proto = validate(report)
    (blocks,) = result["anomalies"]
    found = "label maps of split 'train' hold ids outside the class table ('id 9'), 1 of 20: "
    assert blocks.startswith(found)
    assert reasons(proto.anomaly_info["map_class"]) == {"ENUM_TYPE_UNEXPECTED_STRING_VALUES"}


def later(write, place, change=lambda x: x, mix=(0.5, 0.5), count=400):
    """A span of `count` smooth pictures, a change of their pixels and a class mix."""
    rng = np.random.default_rng(7)
    images = rng.normal(120, 25, (count, 1, 1, 1)) + rng.normal(0, 40, (count, 8, 8, 3))
    images = np.clip(change(images), 0, 255).astype(np.uint8)
    labels = np.repeat([0, 1], [round(count * mix[0]), count - round(count * mix[0])])
    return measure(write, place, {"train": {"image": images, "label": labels}},
                   class_names=["ant", "cat"], shard=200)  # fmt: skip


@pytest.fixture(scope="module")
def before(tmp_path_factory, write_folder_once, without_beam):
    return later(write_folder_once, tmp_path_factory.mktemp("before"))


def drifted(result):
    """Findings that come from the comparison."""
    found = [*result["anomalies"], *result["warnings"]]
    return [text for text in found if "baseline" in text.partition(":")[0]]


def test_the_same_again_has_not_drifted(before, write_folder, tmp_path):
    result, proto = validate(before, baseline=before, baseline_name="last month")
    assert drifted(result) == [] and not proto.drift_skew_info
    assert result["baseline"] == "last month"
    # Fewer, but drawn alike: chance is no drift.
    half = later(write_folder, tmp_path, mix=(0.56, 0.44), count=340)
    assert drifted(validate(half, baseline=before)[0]) == []


def test_darker_pictures_are_told_and_much_darker_ones_block(before, write_folder, tmp_path):
    some = later(write_folder, tmp_path / "a", lambda x: x - 35)
    result, proto = validate(some, baseline=before)
    assert not result["anomalies"]
    assert any(w.startswith("brightness of split 'train' is 8") for w in result["warnings"])
    (means,) = [w for w in result["warnings"] if w.startswith("the means of ")]
    assert means.startswith("the means of red, green, blue are 8")
    assert "were 117, 117, 117 in the baseline: look for" in means
    entry = proto.anomaly_info["brightness"]
    assert reasons(entry) == {"COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH"}
    measured = {m.type: m for d in proto.drift_skew_info for m in d.drift_measurements}
    found = measured[anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE]
    assert 0.1 < found.value < 0.5 and found.threshold == pytest.approx(0.1)
    dark = later(write_folder, tmp_path / "b", lambda x: x - 100)
    result, _ = validate(dark, baseline=before)
    assert any(a.startswith("brightness of split 'train'") for a in result["anomalies"])


def test_a_colour_cast_moves_one_channel(before, write_folder, tmp_path):
    cast = later(write_folder, tmp_path, lambda x: x + np.array([30, 0, 0]))
    told = "\n".join(drifted(validate(cast, baseline=before)[0]))
    assert "the mean of red is" in told
    assert "the mean of red is 147 in split 'train' and was 117" in told
    assert "green" not in told and "blue" not in told


@pytest.mark.parametrize(
    ("share", "count", "warns", "blocks"),
    [(0.55, 400, 0, 0), (0.75, 400, 1, 0), (0.95, 400, 0, 1), (0.65, 400, 0, 0), (0.7, 400, 1, 0),
     (0.7, 40, 0, 0)],  # of forty pictures, chance may have it
)  # fmt: skip
def test_class_mix(before, write_folder, tmp_path, share, count, warns, blocks):
    report = later(write_folder, tmp_path, mix=(share, 1 - share), count=count)
    result, _ = validate(report, baseline=before)
    text = f"class 'cat' is {1 - share:.1%} of split 'train' and was 50.0% in the baseline"
    assert sum(text in w for w in result["warnings"]) == warns
    assert sum(text in a for a in result["anomalies"]) == blocks


@pytest.mark.parametrize(("count", "warns", "blocks"), [(330, 0, 0), (300, 1, 0), (190, 0, 1)])
def test_fewer_images(before, write_folder, tmp_path, count, warns, blocks):
    result, proto = validate(later(write_folder, tmp_path, count=count), baseline=before)
    text = f"split 'train' has {count} images, the baseline 400"
    assert sum(text in w for w in result["warnings"]) == warns
    assert sum(text in a for a in result["anomalies"]) == blocks
    low = "COMPARATOR_LOW_NUM_EXAMPLES" in reasons(proto.dataset_anomaly_info)
    assert low == bool(warns or blocks)


def test_bounds_are_those_of_the_schema(before, write_folder, tmp_path):
    some = later(write_folder, tmp_path, lambda x: x - 35, mix=(0.75, 0.25))
    schema = example_validator.read_schema(before / "schema.pbtxt")
    for feature in schema.feature:
        if feature.name in ("brightness", "contrast"):
            feature.drift_comparator.jensen_shannon_divergence.threshold = 0.9
        if feature.name == "class_name":
            feature.drift_comparator.infinity_norm.threshold = 0.9
    edited = tmp_path / "mine.pbtxt"
    edited.write_text(text_format.MessageToString(schema))
    result, _ = validate(some, baseline=before, previous_schema=edited)
    assert all("the means of" in text for text in drifted(result)) and drifted(result)
    # A schema alone knows nothing of earlier images.
    assert drifted(validate(some, baseline=edited)[0]) == []


def test_a_baseline_of_another_kind_is_told(before, write_folder, tmp_path):
    splits = {"trainA": {"image": noise(20)}, "trainB": {"image": noise(20, seed=1)}}
    report = measure(write_folder, tmp_path, splits, domains=["a", "b"])
    result, proto = validate(report, baseline=before)
    told = "\n".join(result["warnings"])
    assert "the baseline has no split 'trainA', only train, so drift was not looked for" in told
    assert "COMPARATOR_CONTROL_DATA_MISSING" in reasons(proto.dataset_anomaly_info)


def test_jensen_shannon_by_hand():
    assert drift.jensen_shannon([1, 1], [5, 5]) == 0
    assert drift.jensen_shannon([3, 0], [0, 8]) == pytest.approx(1)
    # P = (1, 0), Q = (1/2, 1/2), M = (3/4, 1/4).
    by_hand = (math.log2(4 / 3) + 0.5 * math.log2(2 / 3) + 0.5 * math.log2(2)) / 2
    assert drift.jensen_shannon([4, 0], [3, 3]) == pytest.approx(by_hand)
    assert drift.jensen_shannon([3, 3], [4, 0]) == pytest.approx(by_hand)


def test_what_chance_explains():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(12))
    found = []
    for _ in range(400):
        pair = rng.multinomial(300, shares), rng.multinomial(900, shares)
        found.append((drift.jensen_shannon(*pair), drift.by_chance(*pair)))
    divergence, allowed = np.array(found).T
    assert 0.90 < (divergence <= allowed).mean() < 0.995
    assert allowed.mean() < 3 * divergence.mean(), "and hardly more than it"


def test_an_empty_split_blocks():
    proto = statistics_pb2.DatasetFeatureStatisticsList()
    proto.datasets.add(name="train", num_examples=0)
    (found,) = example_validator.check(proto, schema_pb2.Schema())
    assert found.blocks and found.text == "split 'train' has no images"


def test_what_cannot_be_read(sound, tmp_path):
    with pytest.raises(UserError, match=r"FeatureStats.pb is missing"):
        example_validator.run(tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match=r"--baseline=.*nowhere does not exist"):
        example_validator.run(sound, tmp_path / "out", baseline=tmp_path / "nowhere")
    broken = tmp_path / "broken.pbtxt"
    broken.write_text("feature { nme: 'x' }")
    with pytest.raises(UserError, match=r"broken.pbtxt cannot be read as a schema .*1:11"):
        example_validator.run(sound, tmp_path / "out", baseline=broken)
    assert not (tmp_path / "out").exists()


def test_the_page_needs_nothing_else_and_says_it_all(before, write_folder, tmp_path):
    some = later(write_folder, tmp_path, lambda x: x - 100)
    result, _ = validate(some, baseline=before, baseline_name="<b>last</b> month")
    page = (tmp_path / "checked" / "statistics.html").read_text()
    for outside in ("http://", "https://", "<script", "<link", "url(", "@import"):
        assert outside not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "not fit for training" in page and "<b>last</b>" not in page
    assert "compared with &lt;b&gt;last&lt;/b&gt; month" in page
    for text in (*result["anomalies"], *result["warnings"]):
        found = text.partition(":")[0].replace("'", "&#39;")
        assert found[1:] in page
    assert page.count("<svg") == 3 and 'class="line before' in page
    assert page.count("data:image/png;base64,") == 1
    (some / "gallery.json").unlink()
    validate(some)
    assert "data:image" not in (tmp_path / "checked" / "statistics.html").read_text()
