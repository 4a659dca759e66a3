"""How varied fakes are, and how far weights went: figures that can be worked out by hand."""

import numpy as np
import pytest

from ganpipe import data as data_lib
from ganpipe.train import monitor_probe
from tests import harness


def test_images_are_compared_at_32_pixels_at_most():
    images = np.arange(2 * 70 * 70, dtype=np.float32).reshape(2, 70, 70, 1)
    small = monitor_probe.shrink(images)
    assert small.shape == (2, 35, 35, 1)
    assert small[0, 0, 0, 0] == images[0, :2, :2].mean()
    assert monitor_probe.shrink(images[:, :32, :32]).shape == (2, 32, 32, 1)
    assert monitor_probe.shrink(images[:, :1, :1]).shape == (2, 1, 1, 1)
    # Levels of data are powers of two apart: 96x160 is compared at 48x80.
    assert monitor_probe.shrink(np.zeros((1, 96, 160, 1))).shape == (1, 48, 80, 1)
    assert [monitor_probe.factor(n) for n in (1, 32, 63, 64, 96, 127, 128, 1024)] == [
        1,
        1,
        1,
        2,
        2,
        2,
        4,
        32,
    ]


def test_effective_classes():
    assert monitor_probe.effective_classes(np.arange(10)) == pytest.approx(10)
    assert monitor_probe.effective_classes(np.zeros(10, int)) == pytest.approx(1)
    assert monitor_probe.effective_classes(np.array([0, 0, 0, 1])) == pytest.approx(1.7548, 1e-4)


def reals(n=200, classes=4, seed=0):
    """(n, 8, 8, 1) images: a bright quarter by class, and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    images = 0.1 * rng.standard_normal((n, 8, 8, 1)).astype(np.float32)
    for i, k in enumerate(labels):
        images[i, 4 * (k // 2) : 4 * (k // 2) + 4, 4 * (k % 2) : 4 * (k % 2) + 4] += 1
    return images, labels


def test_diversity_is_a_share_of_the_real_one():
    images, labels = reals()
    yardstick = monitor_probe.Reference(images, labels, 4, conditional=False)
    mean = images.mean(0)
    for share in (0.0, 0.25, 1.0):
        values = yardstick.compare(mean + share * (images - mean))
        assert values["diversity"] == pytest.approx(share, abs=1e-6)


def test_modes_are_counted_by_the_nearest_mean_image():
    images, labels = reals()
    yardstick = monitor_probe.Reference(images, labels, 4, conditional=False)
    assert yardstick.compare(images[:64])["modes"] == pytest.approx(1.0)
    one = yardstick.compare(images[labels == 2][:40])
    assert one["modes"] == pytest.approx(1 / yardstick.modes)
    assert one["modes"] == pytest.approx(0.25, abs=0.02)
    no_labels = monitor_probe.Reference(images, np.zeros(200, int), 0, conditional=False)
    assert set(no_labels.compare(images)) == {"diversity"}


def test_one_dull_class_shows_where_the_mean_does_not():
    images, labels = reals(400)
    yardstick = monitor_probe.Reference(images, labels, 4, conditional=True)
    assert len(yardstick.labels) == monitor_probe.ROWS
    rng = np.random.default_rng(1)
    fakes = np.stack([images[rng.choice(np.flatnonzero(labels == k))] for k in yardstick.labels])
    values = yardstick.compare(fakes)
    assert values["diversity"] == pytest.approx(1.0, abs=0.1)
    assert values["diversity_least"] == pytest.approx(1.0, abs=0.2)
    fakes[yardstick.labels == 3] = fakes[yardstick.labels == 3][0]
    values = yardstick.compare(fakes)
    assert values["diversity"] == pytest.approx(0.75, abs=0.1)
    assert values["diversity_least"] == 0.0


def test_many_classes_are_looked_at_eight_at_a_time():
    rng = np.random.default_rng(0)
    images, labels = rng.standard_normal((900, 4, 4, 3)), np.arange(900) % 300
    yardstick = monitor_probe.Reference(images, labels, 300, conditional=True)
    assert len(np.unique(yardstick.labels)) == 8
    assert np.bincount(yardstick.labels).max() == 8


@pytest.mark.parametrize("classes", [0, 3])
def test_probe_of_a_system(classes, tiny_data):
    system = harness.small("dcgan", num_classes=classes)
    yardstick = monitor_probe.reference(data_lib.info(tiny_data), 8, bool(classes))
    probe = monitor_probe.Probe(system, yardstick)
    probe.start()
    first = probe.measure()
    assert first["G_moved"] == first["D_moved"] == 0.0
    assert first["diversity"] > 0.0
    # The generator as it stands, not its average; weights twice as long have gone their length.
    for variable in system.generator.trainable_variables:
        variable.assign(2.0 * variable)
    second = probe.measure()
    assert second["G_moved"] == pytest.approx(1.0, rel=1e-5)
    assert second["D_moved"] == 0.0
    assert second["diversity"] > first["diversity"]
    kept = probe.state()
    for variable in system.generator.trainable_variables:
        variable.assign(0.0 * variable)
    third = probe.measure()
    assert third["diversity"] == 0.0
    assert third["G_moved"] == pytest.approx(1.0, rel=1e-5)
    probe.restore(kept)
    assert probe.measure()["G_moved"] == pytest.approx(1.0, rel=1e-5)
    variable = system.generator.trainable_variables[-1]  # ReLU may turn NaN into 0
    variable.assign(np.full(variable.shape, np.nan))
    assert np.isnan(probe.measure()["diversity"])


def test_fixed_noise_is_fixed(tiny_data):
    yardstick = monitor_probe.reference(data_lib.info(tiny_data), 8, False)
    images = [monitor_probe.Probe(harness.small("dcgan"), yardstick).draw() for _ in range(2)]
    np.testing.assert_array_equal(*images)
    assert images[0].shape == (64, 8, 8, 1)


def test_fakes_of_large_images_are_drawn_in_parts(tiny_data, monkeypatch):
    yardstick = monitor_probe.reference(data_lib.info(tiny_data), 8, False)
    system = harness.small("dcgan")
    whole = monitor_probe.Probe(system, yardstick).draw()
    monkeypatch.setattr(monitor_probe.inference, "rows_at_once", lambda system: 16)
    np.testing.assert_allclose(monitor_probe.Probe(system, yardstick).draw(), whole, atol=1e-5)


def test_large_images_are_read_at_the_size_at_which_they_are_compared(tiny_data, monkeypatch):
    info, load, sizes = data_lib.info(tiny_data), data_lib.load, []

    def watched(folder, size, *args, **kwargs):
        sizes.append(size)
        return load(folder, size, *args, **kwargs)

    monkeypatch.setattr(monitor_probe.data_lib, "load", watched)
    monkeypatch.setattr(monitor_probe, "PIXELS", 4)
    read = monitor_probe.reference(info, 8, False)
    images, labels = next(iter(load(info.dir, 8, info.count("train"), "train", repeat=False)))
    shrunk = monitor_probe.Reference(images.numpy(), labels.numpy(), info.num_classes, False)
    assert sizes == [4]
    assert read.spread == pytest.approx(shrunk.spread, rel=0.02)
    assert read.means.shape == shrunk.means.shape
