"""What is in a record comes out of it: encodings, maps, pairs, non-square levels, flips."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ganpipe import data
from ganpipe.data import reader, reader_order
from ganpipe.errors import UserError
from tests.data import folders

ALL = ("image", "label", "map", "pair", "key")
ORDERED = {"repeat": False, "shuffle": False, "drop_remainder": False}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """{encoding: (folder, truth)}: 24 images of 4x6 and 8x12 with a map and a grey pair."""
    made = {}
    for encoding in ("raw", "png", "jpeg:95"):
        root = tmp_path_factory.mktemp("mapped") / encoding.partition(":")[0]
        levels = ((4, 6), (8, 12))
        truth = folders.make(
            root, (("train", 24),), levels, encoding=encoding, maps=True, pair_channels=1
        )
        made[encoding] = root, truth["train"]
    return made


def read(root, resolution, features=ALL, **settings):
    """{feature: all values} of one pass in batches of 10."""
    stream = reader.load(root, resolution, 10, features=features, **(ORDERED | settings))
    parts = zip(*stream.as_numpy_iterator(), strict=True)
    return {name: np.concatenate(part) for name, part in zip(features, parts, strict=True)}


def pixels(values):
    return np.rint((values + 1) * 127.5)


@pytest.mark.parametrize("encoding", ["raw", "png", "jpeg:95"])
def test_every_feature_of_every_encoding(mapped, encoding):
    root, truth = mapped[encoding]
    for height in (4, 8):
        got = read(root, height)
        assert got["image"].dtype == got["pair"].dtype == np.float32
        assert got["map"].dtype == got["label"].dtype == np.int32
        assert got["map"].shape == (24, height, height * 6 // 4)
        np.testing.assert_array_equal(got["map"], truth[height]["map"][..., 0])
        np.testing.assert_array_equal(got["label"], truth["label"])
        assert [key.decode() for key in got["key"]] == truth["key"]
        for name in ("image", "pair"):
            expected = [through_pillow(image, encoding) for image in truth[height][name]]
            np.testing.assert_array_equal(pixels(got[name]), expected)


def through_pillow(image, encoding):
    """What is left of an (H, W, C) image: JPEG's accurate integer transform is the same there."""
    if encoding == "raw":
        return image
    with Image.open(io.BytesIO(folders.encoded(image, encoding))) as picture:
        left = np.asarray(picture).reshape(image.shape)
    assert np.array_equal(left, image) == (encoding == "png")
    return left


def test_static_shapes(mapped):
    stream = reader.load(mapped["png"][0], 8, 6, features=ALL, mirror=True, shard=(1, 2))
    assert [tuple(spec.shape) for spec in stream.element_spec] == [
        (3, 8, 12, 3),
        (3,),
        (3, 8, 12),
        (3, 8, 12, 1),
        (3,),
    ]
    types = [tf.float32, tf.int32, tf.int32, tf.float32, tf.string]
    assert [spec.dtype for spec in stream.element_spec] == types


def test_records_of_another_size_are_refused(mapped, tmp_path):
    for encoding in ("raw", "png"):
        root = tmp_path / encoding
        folders.make(root, (("train", 12),), ((4, 6),), encoding=encoding)
        path = root / "dataset.json"
        path.write_text(path.read_text().replace('"shape": [4, 6]', '"shape": [4, 8]'))
        with pytest.raises(tf.errors.InvalidArgumentError):
            read(root, 4, ("image",))


def test_mirror_flips_image_map_and_pair_together(mapped):
    root, _ = mapped["raw"]
    plain = read(root, 8)
    flipped = read(root, 8, mirror=True, seed=5)
    flips = []
    for i in range(24):
        is_flipped = np.array_equal(flipped["image"][i], plain["image"][i][:, ::-1])
        assert is_flipped or np.array_equal(flipped["image"][i], plain["image"][i])
        way = slice(None, None, -1 if is_flipped else 1)
        np.testing.assert_array_equal(flipped["map"][i], plain["map"][i][:, way])
        np.testing.assert_array_equal(flipped["pair"][i], plain["pair"][i][:, way])
        flips.append(is_flipped)
    assert 4 < sum(flips) < 20
    np.testing.assert_array_equal(flipped["label"], plain["label"])
    word = reader_order.seed_words(5)[2]
    assert flips == reader_order.coins(word, tf.range(24, dtype=tf.int64)).numpy().tolist()
    other = read(root, 8, ("image",), mirror=True, seed=6)
    assert not np.array_equal(other["image"], flipped["image"])


def test_coins_are_splitmix64_and_fair():
    def top_bit(seed, position):  # Steele, Lea and Flood, figure 16, draw by draw
        state = seed
        for _ in range(position + 1):
            state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return bool((z ^ z >> 31) >> 63)

    word = 3_141_592_653
    got = reader_order.coins(word, tf.range(100, dtype=tf.int64)).numpy().tolist()
    assert got == [top_bit(word << 32, i) for i in range(100)]
    many = reader_order.coins(word, tf.range(10**6, 2 * 10**6, dtype=tf.int64)).numpy()
    assert abs(many.mean() - 0.5) < 0.002  # four standard deviations
    assert abs((many[1:] == many[:-1]).mean() - 0.5) < 0.002
    other = reader_order.coins(word + 1, tf.range(10**6, 2 * 10**6, dtype=tf.int64)).numpy()
    assert abs((other == many).mean() - 0.5) < 0.002


def test_fade_is_the_official_blend():
    """By hand: up2(avgpool2(x)) * alpha + x * (1 - alpha), pixel by pixel."""
    x = np.random.default_rng(0).uniform(-1, 1, (2, 4, 6, 3)).astype(np.float32)
    alpha = 0.3
    expected = np.empty_like(x)
    for n, i, j, c in np.ndindex(*x.shape):
        top, left = i // 2 * 2, j // 2 * 2
        mean = x[n, top : top + 2, left : left + 2, c].astype(np.float64).sum() / 4
        expected[n, i, j, c] = x[n, i, j, c] * (1 - alpha) + mean * alpha
    got = reader.blend(tf.constant(x), alpha)
    assert got.dtype == tf.float32 and got.shape == x.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(reader.blend(tf.constant(x), 0.0), x)
    with pytest.raises(ValueError, match="even"):
        reader.blend(tf.zeros([1, 3, 4, 1]), 0.5)


def test_load_fades_by_the_step(mapped):
    root, _ = mapped["raw"]

    def schedule(step):
        assert step.dtype == tf.int64 and step.shape == ()
        return tf.minimum(tf.cast(step, tf.float32) / 8, 0.75)

    settings = {"features": ("image", "map", "pair"), "seed": 2}
    plain = list(reader.load(root, 8, 4, **settings).take(10))
    faded = list(reader.load(root, 8, 4, fade=schedule, **settings).take(10))
    for step, (before, after) in enumerate(zip(plain, faded, strict=True)):
        alpha = min(step / 8, 0.75)
        for k in (0, 2):
            np.testing.assert_array_equal(after[k], reader.blend(before[k], alpha))
        np.testing.assert_array_equal(after[1], before[1])  # ids are not blended
        assert (alpha == 0) == np.array_equal(before[0], after[0])


def test_a_level_that_cannot_fade_is_told(tmp_path):
    folders.make(tmp_path / "odd", (("train", 12),), ((3, 4),))
    with pytest.raises(UserError, match="3x4 cannot be halved"):
        reader.load(tmp_path / "odd", 3, 4, fade=lambda step: 0.5)


@pytest.fixture(scope="module")
def two_domains(tmp_path_factory):
    """40 horses and 15 zebras for training, 12 and 12 for test."""
    root = tmp_path_factory.mktemp("domains") / "data"
    splits = (("trainA", 40), ("trainB", 15), ("testA", 12), ("testB", 12))
    return root, folders.make(root, splits, ((4, 4),), domains=("horse", "zebra"))


def test_one_domain_by_its_split(two_domains):
    root, truth = two_domains
    got = read(root, 4, split="testB", features=("image", "key"))
    assert [key.decode() for key in got["key"]] == truth["testB"]["key"]
    for split in ("train", "test"):
        with pytest.raises(UserError, match="horse and zebra.*testA, testB, trainA, trainB"):
            data.load(root, 4, 4, split=split)


def test_two_domains_go_round_each_at_its_own_pace(two_domains):
    root, truth = two_domains
    features = ("image", "label", "key")
    got = list(
        reader.load_domains(root, 4, 5, seed=3, features=features).take(24).as_numpy_iterator()
    )
    for side, split, steps in ((0, "trainA", 8), (1, "trainB", 3)):
        keys = [batch[side][2].tolist() for batch in got]
        rounds = [[k for ks in keys[i : i + steps] for k in ks] for i in range(0, 24, steps)]
        assert all(sorted(k.decode() for k in r) == truth[split]["key"] for r in rounds)
        assert all(a != b for a, b in itertools.pairwise(rounds))
    (images, labels, keys), _ = got[0]
    rows = [truth["trainA"]["key"].index(key.decode()) for key in keys]
    np.testing.assert_array_equal(pixels(images), truth["trainA"][4]["image"][rows])
    np.testing.assert_array_equal(labels, truth["trainA"]["label"][rows])


def test_domains_of_one_size_have_orders_of_their_own(tmp_path):
    splits = (("trainA", 30), ("trainB", 30))
    folders.make(tmp_path / "d", splits, ((4, 4),), domains=("a", "b"))
    (a,), (b,) = next(iter(reader.load_domains(tmp_path / "d", 4, 30, features=("key",))))
    assert [key[-8:] for key in a.numpy()] != [key[-8:] for key in b.numpy()]


def test_two_domains_restart_and_share(two_domains):
    root, _ = two_domains

    def run(steps, **settings):
        stream = reader.load_domains(root, 4, 4, seed=1, mirror=True, **settings).take(steps)
        return [[v for side in batch for v in side] for batch in stream.as_numpy_iterator()]

    whole = run(20)
    for a, b in zip(whole[13:], run(7, start_step=13), strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    parts = [run(7, start_step=13, shard=(i, 2)) for i in range(2)]
    for a, *slices in zip(whole[13:], *parts, strict=True):
        joined = [np.concatenate(v) for v in zip(*slices, strict=True)]
        assert all(np.array_equal(x, y) for x, y in zip(a, joined, strict=True))


def test_bad_domains_are_told(mapped, two_domains):
    with pytest.raises(UserError, match="holds one domain"):
        reader.load_domains(mapped["raw"][0], 4, 4)
    with pytest.raises(UserError, match="no split 'valA'"):
        reader.load_domains(two_domains[0], 4, 4, split="val")
    with pytest.raises(TypeError, match="no end"):
        reader.load_domains(two_domains[0], 4, 4, repeat=False)
