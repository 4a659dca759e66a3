"""Projection: it comes closer, it repeats itself, pictures do not meet; distances; refusals."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent import descent, distances, project, projectors
from ganpipe.metrics import smallcnn
from tests.latent import systems

FAST = projectors.Settings(schedule=descent.Schedule(80, 0.1), restarts=2, chunk=2)


@pytest.fixture(scope="module")
def dcgan():
    return systems.plain("dcgan", channels=1)


@pytest.fixture(scope="module")
def styled():
    return systems.styled()


def mse(images, targets):
    return np.square(images - (targets / 127.5 - 1.0)).mean(axis=(1, 2, 3))


def test_z_is_found_again(dcgan):
    space, targets = systems.space(dcgan), dcgan.sample(3, [900, 901, 902])
    ticks = []
    found = project.project_images(space, targets, None, distances.pixels(), FAST, ticks.append)
    assert found.latents.shape == (3, 6) and found.noise == []
    assert sum(ticks) == project.steps(FAST, 3) == 160
    assert (mse(found.images, targets) < 0.2 * mse(found.start, targets)).all()
    np.testing.assert_allclose(found.images, dcgan.generate(found.latents), atol=1e-4)
    # A picture alone, and all again: the same latents.
    (alone,) = project.project_images(space, targets[:1], None, distances.pixels(), FAST).latents
    np.testing.assert_allclose(alone, found.latents[0], atol=1e-3)
    again = project.project_images(space, targets, None, distances.pixels(), FAST)
    np.testing.assert_array_equal(again.latents, found.latents)
    other = dataclasses.replace(FAST, seed=1, schedule=descent.Schedule(1))
    moved = project.project_images(space, targets, None, distances.pixels(), other)
    assert np.abs(moved.latents - found.latents).max() > 0.1


def test_restarts_keep_the_best(dcgan):
    space, targets = systems.space(dcgan), dcgan.sample(2, [900, 901])
    errors = []
    for restarts in (1, 4):
        one = dataclasses.replace(FAST, restarts=restarts, schedule=descent.Schedule(5))
        found = project.project_images(space, targets, None, distances.pixels(), one)
        errors.append(mse(found.images, targets))
    assert (errors[1] <= errors[0] + 1e-6).all() and (errors[1] < errors[0]).any()


@pytest.mark.parametrize("distribution", ["uniform", "unit_cube", "sphere"])
def test_latents_stay_in_their_support(distribution):
    system = systems.plain("dcgan", latent_distribution=distribution)
    targets = np.full((1, 8, 8, 1), 255, np.uint8)  # out of reach: pulls outwards
    wild = dataclasses.replace(FAST, schedule=descent.Schedule(10, 3.0))
    found = project.project_images(
        systems.space(system), targets, None, distances.pixels(), wild
    ).latents
    if distribution == "sphere":
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.sqrt(6), rtol=1e-5)
    else:
        low = 0.0 if distribution == "unit_cube" else -1.0
        assert found.min() >= low and found.max() <= 1.0


def test_style_statistics(styled):
    space = systems.space(styled)
    mean, spread = projectors.style_statistics(space, None, count=50)
    z = np.random.RandomState(123).randn(50, 6).astype(np.float32)
    w = styled.map_latents(z).numpy()[:, 0]
    np.testing.assert_allclose(mean, w.mean(axis=0), atol=1e-6)
    assert spread == pytest.approx(np.sqrt(np.square(w - w.mean(0)).sum(axis=1).mean()), rel=1e-5)


@pytest.mark.parametrize(("kind", "classes"), [("w", 0), ("w+", 3)])
def test_w_and_noise_come_closer(kind, classes, monkeypatch):
    monkeypatch.setattr(projectors.style_statistics, "__defaults__", (100,))
    system = systems.styled(classes)
    space, targets = systems.space(system), system.sample(2, [900, 901])
    labels = None if not classes else np.array([0, 2], np.int32)
    settings = dataclasses.replace(FAST, space=kind)
    found = project.project_images(space, targets, labels, distances.pixels(), settings)
    layers = system.generator_ema.num_ws
    assert found.latents.shape == (2, layers, 6)
    same = np.abs(np.diff(found.latents, axis=1)).max()
    assert (same == 0) if kind == "w" else (same > 1e-3)
    assert (mse(found.images, targets) < 0.7 * mse(found.start, targets)).all()
    assert len(found.noise) == len(system.generator_ema.noise_consts())
    for noise in found.noise:
        assert noise.shape[0] == 2 and noise.shape[3] == 1
        np.testing.assert_allclose(np.square(noise).mean(axis=(1, 2, 3)), 1, rtol=1e-4)
    images = system.generator_ema.synthesis(found.latents, [tf.constant(n) for n in found.noise])
    np.testing.assert_allclose(found.images, images, atol=1e-4)


def test_report(dcgan):
    space, targets = systems.space(dcgan), dcgan.sample(3, [900, 901, 902])
    names, groups = ["train 0", "train 1", "a long name of a picture"], ["train", "train", "test"]
    args = (space, targets, None, distances.pixels(), FAST, names, groups)
    found = project.project(*args)
    figures = found.figures
    assert [row["name"] for row in figures["pictures"]] == names
    assert set(figures["means"]) == {"train", "test"} and len(found.lines) == 2
    rows = figures["pictures"]
    error = mse(space.images(found.arrays["latents"], None) / 127.5 - 1.0, targets)
    for row, value in zip(rows, error, strict=True):
        assert row["distance"] == pytest.approx(value, rel=0.1, abs=1e-4)
        assert row["psnr"] == pytest.approx(10 * np.log10(4 / row["distance"]), abs=1e-3)
        assert row["distance"] < row["distance_at_start"]
    mean = np.mean([row["psnr"] for row in rows[:2]])
    assert figures["means"]["train"]["psnr"] == pytest.approx(mean)


def test_wrong_pictures_are_refused(dcgan):
    space = systems.space(dcgan)
    for shape in ((2, 16, 16, 1), (2, 8, 8, 3), (0, 8, 8, 1)):
        with pytest.raises(UserError, match=r"makes \(8, 8, 1\).*pipeline.prepare"):
            project.check_targets(space, np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match="expected uint8"):
        project.check_targets(space, np.zeros((1, 8, 8, 1), np.float32))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"space": "v"}, "--space=v"),
        ({"space": "w"}, "--space=w: this dcgan has no styles"),
        ({"restarts": 0}, "--restarts=0"),
        ({"chunk": 0}, "--chunk=0"),
        ({"noise_weight": -1.0}, "--noise_weight=-1"),
        ({"schedule": descent.Schedule(0)}, "--steps=0"),
    ],
)
def test_wrong_settings_are_refused(dcgan, change, text):
    with pytest.raises(UserError, match=text):
        dataclasses.replace(FAST, **change).chosen(systems.space(dcgan))


# --- Distances ------------------------------------------------------------------------------------


def pictures(channels=1, side=16):
    rng = np.random.default_rng(0)
    return tf.constant(rng.uniform(-1, 1, (2, side, side, channels)).astype(np.float32))


def test_pixels():
    x = pictures()
    np.testing.assert_allclose(distances.pixels()(x, x + 0.5), [0.25, 0.25], rtol=1e-5)


def test_maps_are_compared_by_direction():
    """Orthogonal features are 2 apart, equal ones 0, whatever their length."""
    maps = tf.constant([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 5.0]])[:, None, None]

    def network(images):
        return [tf.repeat(tf.gather(maps, tf.cast(images[:, 0, 0, 0], tf.int32)), 3, axis=1)]

    distance = distances.of_maps("toy", network, weight=0.0)
    codes = tf.reshape(tf.constant([0.0, 0.0]), [2, 1, 1, 1])
    others = tf.reshape(tf.constant([1.0, 3.0]), [2, 1, 1, 1])
    np.testing.assert_allclose(distance(codes, others), [0.0, 2.0], atol=1e-5)
    assert distance.name == "toy"


def test_the_classifier_as_a_ruler():
    model = smallcnn.build(16, 1, 3)
    distance = distances.smallcnn(model)
    x = pictures()
    np.testing.assert_allclose(distance(x, x), [0, 0], atol=1e-5)
    shifted = tf.roll(x, 3, axis=1)
    assert (distance(x, shifted).numpy() > 0.05).all()
    assert distance.name == "smallcnn + 1 x pixels"
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(distance(x, shifted))
    slope = tape.gradient(value, x)
    step = 1e-2 * slope / tf.norm(slope)
    rise = tf.reduce_sum(distance(x + step, shifted)) - tf.reduce_sum(distance(x - step, shifted))
    assert float(rise) == pytest.approx(2e-2 * float(tf.norm(slope)), rel=0.1)


def test_choice_of_the_ruler(monkeypatch, tmp_path):
    monkeypatch.setenv("GANPIPE_WEIGHTS", str(tmp_path))
    own = lambda: smallcnn.build(16, 1, 3)  # noqa: E731
    assert distances.choose("auto", 1, own).name == "smallcnn + 1 x pixels"
    assert distances.choose("auto", 1, None).name == "pixels"
    assert distances.choose("pixels", 3, None).name == "pixels"
    for kind, channels, text in (
        ("lpips", 3, "vgg16"),
        ("own", 1, "give --data"),
        ("efflite0", 1, "grey"),
        ("ssim", 1, "expected one of auto"),
    ):
        with pytest.raises(UserError, match=text):
            distances.choose(kind, channels, None)


def test_efficientnet_as_a_ruler():
    distance = distances.choose("efflite0", 3, None)
    x = pictures(3, 32)
    # As the descent asks it first: within a graph, which must not hold the building of the network.
    far = tf.function(distance)(x, tf.reverse(x, [1])).numpy()
    np.testing.assert_allclose(distance(x, tf.reverse(x, [1])), far, rtol=1e-4)
    np.testing.assert_allclose(distance(x, x), [0, 0], atol=1e-4)
    assert (far > 0.05).all() and distance.name == "EffLite0 + 1 x pixels"
