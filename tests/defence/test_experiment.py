"""The measurement itself, with a defence whose answers are known."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.defence import experiment
from ganpipe.errors import UserError

N = 12
RNG = np.random.default_rng(0)
LABELS = np.arange(N) % 2
# Class 0 is dark, class 1 bright; mean grey decides.
IMAGES = (np.where(LABELS == 0, 80, 170)[:, None, None, None] * np.ones((1, 8, 8, 1))).astype(
    np.uint8
)


class Classifier:
    """Bright or dark, seen through weights that an attacker can follow."""

    def __call__(self, images, training=False):
        bright = 10.0 * (tf.reduce_mean(images, axis=[1, 2, 3]) - 0.5)
        return tf.stack([-bright, bright], axis=1)


class Defence:
    """Knows the two clean pictures and the seeds it was called with."""

    def __init__(self):
        self.seeds = []

    @staticmethod
    def clean(images):
        bright = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True) > 0.15
        return tf.where(bright, 2 * 170 / 255 - 1.0, 2 * 80 / 255 - 1.0) * tf.ones_like(images)

    def reconstruct(self, images, seed, chunk, progress=None, **settings):
        self.seeds.append(seed)
        found = self.clean(images).numpy()
        if progress is not None:
            progress(len(images))
        errors = np.mean(((found - images) / 2) ** 2, axis=(1, 2, 3))
        return SimpleNamespace(images=found, errors=errors)

    def projector(self, **settings):
        return lambda images, keys: SimpleNamespace(images=self.clean(images))


def run(**settings):
    settings = {"epsilon": 0.25, "bpda_images": 5, "bpda_steps": 4, "chunk": 3} | settings
    made = experiment.Settings(**settings)
    return experiment.Experiment(Defence(), Classifier(), IMAGES, LABELS, made)


def test_lines_of_a_measurement():
    made = run()
    clean = made.measure("none")
    assert (clean["undefended"], clean["defended"], clean["images"]) == (1.0, 1.0, N)
    assert clean["mean_error"] == pytest.approx(0.0, abs=1e-9)
    line = made.measure("fgsm")
    assert line["undefended"] == 0.0
    assert line["max_linf"] == pytest.approx(0.25, abs=1e-6)
    assert line["mean_l2"] == pytest.approx(0.25 * 8, abs=1e-4)
    # 80 + 64 stays on the dark side of the defence's border, 170 - 64 falls on it.
    assert line["defended"] == 0.5
    assert line["detection_auc"] == 1.0
    assert "defended_on_the_same_images" not in line
    bpda = made.measure("bpda")
    assert bpda["images"] == 5
    assert bpda["defended_on_the_same_images"] == {"none": 1.0, "fgsm": pytest.approx(0.6)}


def test_every_set_meets_starts_of_its_own():
    made = run(seed=2)
    for name in ("none", "fgsm", "rand_fgsm"):
        made.measure(name)
    assert made.system.seeds == [2000, 2001, 2002]


def test_sheet_has_two_rows_a_set():
    made = run()
    for name in ("none", "bpda"):
        made.measure(name)
    sheet = made.sheet(columns=6)
    assert sheet.shape == (24, 8, 8, 1) and sheet.dtype == np.uint8
    np.testing.assert_array_equal(sheet[:6], IMAGES[:6])
    assert np.all(sheet[17] == 255)  # BPDA attacked five images only


def test_nearest_rows_of_a_gallery():
    rng = np.random.default_rng(3)
    gallery = rng.integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)
    images = gallery[[7, 0, 19]] / 255.0 + rng.uniform(-0.05, 0.05, (3, 4, 4, 1))
    np.testing.assert_array_equal(experiment.nearest(images, gallery, block=6), [7, 0, 19])


def test_the_yardstick_is_the_nearest_picture_of_the_gallery():
    settings = experiment.Settings(epsilon=0.25)
    gallery = np.stack([np.full((8, 8, 1), level, np.uint8) for level in (80, 170)])
    made = experiment.Experiment(Defence(), Classifier(), IMAGES, LABELS, settings, gallery)
    assert made.measure("none")["nearest"] == 1.0
    # 80 + 64 is nearer to 170, 170 - 64 nearer to 80.
    assert made.measure("fgsm")["nearest"] == 0.0


@pytest.mark.parametrize("name", ["rand_fgsm", "pgd"])
def test_every_batch_of_an_attack_gets_noise_of_its_own(name):
    settings = experiment.Settings(
        attacks=(name,), epsilon=0.1, alpha=0.05, pgd_steps=1, pgd_step_size=0.01, chunk=3
    )
    images, labels = np.full((150, 8, 8, 1), 128, np.uint8), np.ones(150, np.int64)
    made = experiment.Experiment(Defence(), Classifier(), images, labels, settings)
    noise = made.attack(name) - made.clean
    assert np.abs(noise[0] - noise[100]).max() > 0.05
    np.testing.assert_array_equal(made.attack(name) - made.clean, noise)


def test_bpda_starts_as_often_as_it_is_told(monkeypatch):
    calls = []
    attack = experiment.attacks.BPDA.__call__

    def counted(self, *arguments, **settings):
        calls.append(settings)
        return attack(self, *arguments, **settings)

    monkeypatch.setattr(experiment.attacks.BPDA, "__call__", counted)
    run(bpda_restarts=2).attack("bpda")
    assert [(c["steps"], c["restarts"]) for c in calls] == [(4, 2), (4, 2)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attacks": ("fgms",)}, "fgms"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"alpha": 0.3}, "alpha"),
        ({"cw_search": 0}, "cw_search"),
        ({"bpda_steps": 0}, "bpda_steps"),
        ({"bpda_restarts": 0}, "bpda_restarts"),
        ({"bpda_projection_steps": -1}, "bpda_projection_steps"),
        ({"pgd_step_size": 0.0}, "pgd_step_size"),
        ({"cw_constant": float("nan")}, "cw_constant"),
        ({"cw_learning_rate": -1.0}, "cw_learning_rate"),
        ({"seed": 16_000}, "seed"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        run(**settings)
