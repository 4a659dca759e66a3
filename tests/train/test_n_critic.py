"""A train step takes n_critic batches: the same ones on any number of replicas, from any step."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe import config as config_lib
from ganpipe import data
from ganpipe.errors import UserError
from ganpipe.train import distribute, loop
from tests import harness


def read(folder, start=0):
    features = ("image", "key")
    return lambda shard: data.load(
        folder, 8, 8, seed=1, features=features, shard=shard, start_step=start
    )


def test_a_step_takes_consecutive_batches(tiny_data):
    strategy = tf.distribute.get_strategy()
    plain = [b.numpy() for _, b in read(tiny_data)((0, 1)).take(60)]  # 180 images: into epoch 3
    stream = distribute.feed(strategy, read(tiny_data), 8, per_step=3)
    assert stream.element_spec[0].shape == (24, 8, 8, 1)
    assert stream.cardinality().numpy() == tf.data.INFINITE_CARDINALITY
    joined = [b.numpy() for _, b in stream.take(20)]
    for step, keys in enumerate(joined):
        np.testing.assert_array_equal(keys, np.concatenate(plain[3 * step : 3 * step + 3]))
    later = distribute.feed(strategy, read(tiny_data, start=3 * 11), 8, per_step=3)
    np.testing.assert_array_equal(next(iter(later))[1].numpy(), joined[11])


def test_replicas_of_a_worker_get_their_rows_of_each_batch():
    numbers = tf.data.Dataset.range(48).batch(8, drop_remainder=True).map(lambda x: (x, x + 100))
    parts = [a.numpy() for a, _ in distribute._joined(numbers, 3, 2).take(2)]
    np.testing.assert_array_equal(parts[0], [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19])
    np.testing.assert_array_equal(parts[1], [4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23])


@pytest.fixture
def critics(tiny_config):
    """A tiny config whose steps take two batches."""

    def make(steps, n_critic=2):
        plain = config_lib.to_dict(tiny_config(**{"train.steps": steps}))
        plain["optimizer"]["n_critic"] = n_critic
        return config_lib.from_dict(plain)

    return make


def test_stopped_and_continued_equals_unbroken(critics, tiny_data, tmp_path):
    whole = loop.train(critics(8), tmp_path / "whole", data_dir=tiny_data)
    assert whole.n_critic == 2
    for steps in (4, 8):
        broken = loop.train(critics(steps), tmp_path / "broken", data_dir=tiny_data)
    harness.assert_equal(harness.values(whole), harness.values(broken))
    seen = images_seen(tmp_path / "whole")
    assert seen == {4: 4 * 2 * 8, 8: 8 * 2 * 8}


def images_seen(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    return {
        e.step: int(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("train/images_seen")
    }


@pytest.mark.parametrize("count", [0, 1.5])
def test_a_count_that_is_none_is_refused(critics, count, tiny_data, tmp_path):
    with pytest.raises(UserError, match=f"optimizer.n_critic={count}: expected 1 or more"):
        loop.train(critics(4, count), tmp_path / "run", data_dir=tiny_data)
    assert not (tmp_path / "run").exists()
