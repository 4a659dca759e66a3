import hashlib

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.data import records


@pytest.mark.parametrize("shape", [(4, 4, 1), (32, 32, 3), (128, 128, 1)])
def test_shards_are_read_back_by_tensorflow(tmp_path, shape):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, *shape), np.uint8)
    labels, keys = [0, 1, 127, 128, 70000], ["a", "b/c", "grüße", "x" * 300, ""]
    writer = records.ShardWriter(tmp_path / "s.tfrecord", shape)
    writer.write(images[:2], labels[:2], keys[:2])
    writer.write(images[2:], labels[2:], keys[2:])
    assert not (tmp_path / "s.tfrecord").exists()  # nothing under the final name before the end
    entry = writer.close()
    content = (tmp_path / "s.tfrecord").read_bytes()
    assert entry == {
        "file": "s.tfrecord",
        "count": 5,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert [p.name for p in tmp_path.iterdir()] == ["s.tfrecord"]
    for i, raw in enumerate(tf.data.TFRecordDataset(str(tmp_path / "s.tfrecord"))):
        feature = tf.train.Example.FromString(raw.numpy()).features.feature
        assert set(feature) == {"image", "shape", "label", "key"}
        assert feature["image"].bytes_list.value[0] == images[i].tobytes()
        assert tuple(feature["shape"].int64_list.value) == shape
        assert feature["label"].int64_list.value[0] == labels[i]
        assert feature["key"].bytes_list.value[0].decode() == keys[i]


def test_equal_to_tensorflows_own_writer(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    writer = records.ShardWriter(tmp_path / "ours", image.shape)
    writer.write(image[None], [7], ["k"])
    writer.close()

    def ints(*values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def raw(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    example = tf.train.Example(
        features=tf.train.Features(
            feature={
                "image": raw(image.tobytes()),
                "shape": ints(4, 4, 3),
                "label": ints(7),
                "key": raw(b"k"),
            }
        )
    )
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as theirs:
        theirs.write(example.SerializeToString(deterministic=True))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_discard_leaves_nothing(tmp_path):
    writer = records.ShardWriter(tmp_path / "s", (4, 4, 1))
    writer.write(np.zeros((1, 4, 4, 1), np.uint8), [0], ["k"])
    writer.discard()
    assert not list(tmp_path.iterdir())
