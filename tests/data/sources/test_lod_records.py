"""Record sets of the official tools, written here with TensorFlow as those tools do."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.data import sources, transforms
from ganpipe.data.sources import lod_records
from ganpipe.errors import UserError
from pipeline.components import example_gen


def official(folder, images, labels=None, name="cats"):
    """Writes images (N, H, H, C) uint8 as progan.md section 6 says: float means, rint, clip, "
    "CHW."""
    folder.mkdir(exist_ok=True)
    side = images.shape[1]
    levels, current = {}, images.astype(np.float32)
    while side >= 4:
        levels[side] = np.rint(current).clip(0, 255).astype(np.uint8)
        current = (
            current[:, 0::2, 0::2]
            + current[:, 0::2, 1::2]
            + current[:, 1::2, 0::2]
            + current[:, 1::2, 1::2]
        ) * np.float32(0.25)
        side //= 2
    for side, level in levels.items():
        path = folder / f"{name}-r{int(np.log2(side)):02d}.tfrecords"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for image in level.transpose(0, 3, 1, 2):
                feature = {
                    "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=image.shape)),
                    "data": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[image.tobytes()])
                    ),
                }
                example = tf.train.Example(features=tf.train.Features(feature=feature))
                writer.write(example.SerializeToString())
    if labels is not None:
        with open(folder / f"{name}-rxx.labels", "wb") as file:
            np.save(file, np.eye(3, dtype=np.float32)[labels])
    return levels


@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_is_that_of_the_official_files(tmp_path, channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (50, 32, 32, channels), np.uint8)
    labels = rng.integers(0, 3, 50)
    levels = official(tmp_path / "in", images, labels)
    info = example_gen.run(
        f"tfrecord:{tmp_path}/in", tmp_path / "out", 32, say=lambda s: None, progress=False
    )
    assert info.channels == channels and info.class_names == ("0", "1", "2")
    assert info.count("train") + info.count("test") == 50 and info.count("test") > 0
    for split in ("train", "test"):
        for level in info.resolutions:
            for shard in info.files(split, level):
                for raw in tf.data.TFRecordDataset(str(shard["path"])).as_numpy_iterator():
                    feature = tf.train.Example.FromString(raw).features.feature
                    row = int(feature["key"].bytes_list.value[0])
                    pixels = feature["image"].bytes_list.value[0]
                    assert pixels == levels[level][row].tobytes()
                    assert feature["label"].int64_list.value[0] == labels[row]


def test_which_file_is_taken(tmp_path):
    images = np.zeros((4, 16, 16, 1), np.uint8)
    official(tmp_path / "in", images)
    for pattern in (tmp_path / "in", tmp_path / "in" / "cats-r*.tfrecords"):
        source = sources.open_source(f"tfrecord:{pattern}")
        assert source.file.endswith("cats-r04.tfrecords") and source.name == "cats"
        assert source.fixed_size() == (16, 16)
    official(tmp_path / "in", images, name="dogs")
    with pytest.raises(UserError, match="matches 2 sets"):
        sources.open_source(f"tfrecord:{tmp_path}/in").fixed_size()
    with pytest.raises(UserError, match="no file like NAME-r07.tfrecords"):
        sources.open_source(f"tfrecord:{tmp_path}/none").fixed_size()


def test_damaged_files(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    official(tmp_path / "in", images)
    path = tmp_path / "in" / "cats-r03.tfrecords"
    whole = path.read_bytes()
    geometry = transforms.Geometry(8, 8, 3, 2)

    def read():
        source = sources.open_source(f"tfrecord:{tmp_path}/in").fetch(lambda s: None)
        plan = source.plan(geometry, 0, 0.0, None)
        return list(source.batches("train", plan.splits["train"], 2, geometry))

    assert sum(len(b.keys) for b in read()) == 4
    path.write_bytes(whole[:-7])
    with pytest.raises(UserError, match="cut short or damaged at byte"):
        read()
    broken = bytearray(whole)
    broken[len(whole) // 2 + 40] ^= 1
    path.write_bytes(bytes(broken))
    with pytest.raises(UserError, match="wrong checksum"):
        read()
    path.write_bytes(b"")
    with pytest.raises(UserError, match="cut short|empty"):
        read()
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(tf.train.Example().SerializeToString())
        writer.write(b"no example at all")
    with pytest.raises(UserError, match="no record file of the ProGAN or StyleGAN tools"):
        read()


def test_names_with_brackets_and_both_endings(tmp_path):
    images = np.zeros((4, 16, 16, 1), np.uint8)
    folder = tmp_path / "in [1]"
    official(folder, images, name="cats[x]")
    for path in folder.glob("*.tfrecords"):
        path.rename(path.with_suffix(".tfrecord"))
    top = "cats[[]x]-r04.tfrecord"
    for pattern in ("", "cats[x]-r04.tfrecord", top, "cats[x]-r*.tfrecord", "*-r0?.tfrecord*"):
        source = sources.open_source(f"tfrecord:{folder / pattern}")
        assert source.file == str(folder / "cats[x]-r04.tfrecord"), pattern
        assert source.fetch(lambda line: None).fixed_size() == (16, 16)


def test_the_folder_is_not_searched_per_record(tmp_path, monkeypatch):
    official(tmp_path / "in", np.zeros((40, 4, 4, 1), np.uint8))
    geometry = transforms.Geometry(4, 4, 1, 1)
    source = sources.open_source(f"tfrecord:{tmp_path}/in")
    rows = source.plan(geometry, 0, 0.0, None).splits["train"]
    searched, matches = [], lod_records._matches
    monkeypatch.setattr(
        lod_records, "_matches", lambda pattern: searched.append(pattern) or matches(pattern)
    )
    assert sum(len(batch.keys) for batch in source.batches("train", rows, 8, geometry)) == 40
    assert len(searched) == 1
