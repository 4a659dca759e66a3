"""Paths, requests, the regression, noise maps, the schedule, sheets and films: pure parts."""

import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy import optimize

from ganpipe.errors import UserError
from ganpipe.latent import descent, films, logistic, noise_maps, paths, requests, sheet

# --- Requests -------------------------------------------------------------------------------------


def test_numbers_of_ranges():
    assert requests.numbers("seeds", "0-3, 8,5-5") == [0, 1, 2, 3, 8, 5]
    assert requests.numbers("labels", ["1", "2-3"]) == [1, 2, 3]
    assert len(requests.numbers("seeds", "0-4999,0-4999")) == requests.MOST
    for text in ("0-9998,0-9999", "0-9999,5"):  # each part is short enough, all of them are not
        with pytest.raises(UserError, match="at most 10,000 seeds"):
            requests.numbers("seeds", text)


@pytest.mark.parametrize(
    "text", ["", "1,,2", "-3", "4-2", "a", "1-", "1.5", "0-10000", "²", "9" * 30]
)
def test_numbers_refused(text):
    with pytest.raises(UserError, match="--seeds="):
        requests.numbers("seeds", text)


def test_layers_beyond_the_generator():
    assert requests.layers("styles", "3,0-1,1", 4) == [0, 1, 3]
    with pytest.raises(UserError, match=r"--styles=0-6: there is no style layer 6.* 0-5"):
        requests.layers("styles", "0-6", 6)


@pytest.mark.parametrize("value", [-2.1, 2.5, math.nan, math.inf])
def test_psi_out_of_range(value):
    with pytest.raises(UserError, match="--psi.*-2 to 2"):
        requests.psi("psi", value)
    assert requests.psi("psi", -2) == -2.0


@pytest.mark.parametrize("texts", [[], ["a"], ["nan"], ["1", "inf"]])
def test_floats_refused(texts):
    with pytest.raises(UserError, match="--scales="):
        requests.floats("scales", texts)


# --- Paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", paths.INTERPOLATIONS)
def test_legs_start_and_end_at_their_points(interpolation):
    points = np.random.default_rng(0).normal(size=(3, 2, 5)).astype(np.float32)
    legs = paths.through(points, 4, interpolation, loop=True)
    assert legs.shape == (3, 5, 2, 5) and legs.dtype == np.float32
    np.testing.assert_allclose(legs[:, 0], points, atol=1e-6)
    np.testing.assert_allclose(legs[:, -1], np.roll(points, -1, axis=0), atol=1e-6)
    assert len(paths.film(legs, loop=True)) == 12
    assert len(paths.film(legs[:2], loop=False)) == 9


def test_slerp_keeps_the_length_that_a_line_loses():
    a, b = np.array([3.0, 0.0, 0.0]), np.array([0.0, 3.0, 0.0])
    (middle,) = paths.between(a, b, np.array([0.5]), "slerp")
    np.testing.assert_allclose(middle, [3 / math.sqrt(2)] * 2 + [0], atol=1e-6)
    (middle,) = paths.between(a, b, np.array([0.5]), "linear")
    np.testing.assert_allclose(middle, [1.5, 1.5, 0], atol=1e-6)


def test_a_path_needs_two_points_and_a_frame():
    for count, frames in ((1, 5), (3, 0)):
        with pytest.raises(UserError, match="at least 2 points"):
            paths.through(np.zeros((count, 4)), frames, "linear", False)


@pytest.mark.parametrize(
    ("distribution", "mean", "variance"),
    [
        ("normal", 0, 1),
        ("sphere", 0, 1),
        ("uniform", 0, 1 / 3),
        ("unit_variance_uniform", 0, 1),
        ("unit_cube", 0.5, 1 / 12),
    ],
)
def test_every_frame_of_a_walk_is_a_sample(distribution, mean, variance):
    walk = paths.walk(200, 6, 20, distribution, 3, seed=1)
    assert walk.shape == (6, 200, 20) and walk.dtype == np.float32
    np.testing.assert_allclose(walk.mean(axis=(1, 2)), mean, atol=0.05)
    np.testing.assert_allclose(walk.var(axis=(1, 2)), variance, rtol=0.05)
    if distribution == "sphere":
        np.testing.assert_allclose(np.linalg.norm(walk, axis=2), math.sqrt(20), rtol=1e-5)


def test_a_walk_is_closed_smooth_and_seeded():
    walk = paths.walk(2, 200, 8, "normal", 3, seed=4)
    steps = np.linalg.norm(np.diff(np.concatenate([walk, walk[:1]]), axis=0), axis=2)
    # |dx/dt|^2 = (2 pi)^2 mean(k^2) d = 4 pi^2 (14 / 3) 8 over a round, on average.
    assert steps.max() < 3 * math.sqrt(4 * math.pi**2 * 14 / 3 * 8) / 200
    np.testing.assert_array_equal(walk[:, :1], paths.walk(1, 200, 8, "normal", 3, seed=4))
    assert np.abs(walk - paths.walk(2, 200, 8, "normal", 3, seed=5)).max() > 1
    with pytest.raises(UserError, match="1 or more"):
        paths.walk(1, 10, 8, "normal", 0, 0)


# --- Logistic regression --------------------------------------------------------------------------


def test_regression_is_the_optimum():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4)) * [1, 10, 0.1, 1] + [0, 5, 0, 0]
    x[:, 3] = 7.0  # a constant feature
    positive = x[:, 0] + 0.3 * x[:, 1] + rng.normal(size=80) > 1.5
    probe = logistic.fit(x, positive, penalty=2.0)
    assert probe.weights[3] == pytest.approx(0.0, abs=1e-12)
    standard, y = (x - probe.mean) / probe.scale, np.where(positive, 1.0, -1.0)

    def value(theta):
        s = standard @ theta[:-1] + theta[-1]
        return np.logaddexp(0, -y * s).sum() + theta[:-1] @ theta[:-1]

    best = optimize.minimize(value, np.zeros(5), options={"gtol": 1e-9})
    np.testing.assert_allclose([*probe.weights, probe.bias], best.x, atol=1e-5)
    np.testing.assert_allclose(probe.score(x), standard @ best.x[:-1] + best.x[-1], atol=1e-4)


def test_separable_data_have_an_optimum_too():
    x = np.linspace(-1, 1, 50)[:, None]
    probe = logistic.fit(x, x[:, 0] > 0, penalty=1e-3)
    assert np.isfinite(probe.weights).all() and probe.weights[0] > 5


def test_regression_refuses():
    with pytest.raises(ValueError, match="both labels"):
        logistic.fit(np.zeros((3, 2)), np.ones(3, bool))


# --- Noise maps and the schedule ------------------------------------------------------------------


def by_hand(noise):
    """The official definition, one map (H, W), written out."""
    total = 0.0
    while True:
        total += (noise * np.roll(noise, 1, 0)).mean() ** 2
        total += (noise * np.roll(noise, 1, 1)).mean() ** 2
        if len(noise) <= 8:
            return total
        noise = noise.reshape(len(noise) // 2, 2, -1, 2).mean(axis=(1, 3))


def test_noise_regularisation():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, side, side, 1)).astype(np.float32) for side in (4, 16, 32)]
    expected = [sum(by_hand(m[i, ..., 0].astype(np.float64)) for m in maps) for i in range(2)]
    found = noise_maps.regularisation([tf.constant(m) for m in maps])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    smooth = tf.ones([1, 32, 32, 1])  # a picture in the noise costs much
    assert float(noise_maps.regularisation([smooth])[0]) == pytest.approx(6.0, rel=1e-5)


def test_noise_renormalisation_of_each_row():
    noise = np.random.default_rng(0).normal(3, 2, (2, 8, 8, 1)).astype(np.float32)
    (found,) = noise_maps.renormalised([tf.constant(noise)])
    np.testing.assert_allclose(np.mean(found, axis=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(np.mean(np.square(found), axis=(1, 2, 3)), 1, rtol=1e-5)


def test_learning_rate_of_the_official_schedule():
    schedule = descent.Schedule(1000, 0.1)
    # linear up over 50 steps, flat, half a cosine down over the last 250
    known = {0: 0.0, 25: 0.05, 50: 0.1, 500: 0.1, 750: 0.1, 875: 0.05, 1000: 0.0}
    for step, rate in known.items():
        assert schedule.at(step) == pytest.approx(rate, abs=1e-9)
    for wrong in ({"steps": 0}, {"rate": 0.0}, {"rate": math.nan}):
        with pytest.raises(UserError):
            descent.Schedule(**wrong).check()


def test_descent_is_adam_row_by_row():
    target = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)

    def objective(values, constants, step):
        return tf.reduce_sum(tf.square(values[0] - constants[0]), axis=1)

    ticks = []
    run = descent.Descent(objective, descent.Schedule(400, 0.1))
    (found,) = run.run([np.zeros((2, 2))], [target], ticks.append)
    np.testing.assert_allclose(found, target, atol=1e-2)
    assert ticks == [1] * 400
    (alone,) = run.run([np.zeros((1, 2))], [target[1:]])
    np.testing.assert_allclose(alone[0], found[1], atol=1e-6)
    # The first step is not taken (rate 0), the second has the size of its learning rate.
    short = descent.Descent(objective, descent.Schedule(2, 0.1, ramp_up=1.0, ramp_down=1e-9))
    (moved,) = short.run([np.zeros((2, 2))], [target])
    np.testing.assert_allclose(moved, 0.05 * np.sign(target), rtol=1e-4)


# --- Sheets and films -----------------------------------------------------------------------------


def test_table_puts_every_picture_in_its_cell():
    values = np.arange(6, dtype=np.uint8).reshape(2, 3) * 20 + 10
    images = np.broadcast_to(values[:, :, None, None, None], (2, 3, 8, 8, 1))
    bare = sheet.table(images, side=8)
    assert bare.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    for r in range(2):
        for c in range(3):
            cell = bare[2 + 10 * r : 10 + 10 * r, 2 + 10 * c : 10 + 10 * c]
            assert (cell == values[r, c]).all()
    heads = sheet.table(images, ["one", "two"], images[0] + 100, "a title", side=8)
    assert heads.shape[0] > bare.shape[0] and heads.shape[1] > bare.shape[1]
    assert (heads[-10:-2, -10:-2] == values[1, 2]).all()
    assert (heads == 150).all(axis=-1).any()  # the head of the last column


def test_small_pictures_are_enlarged_by_whole_factors():
    images = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    big = sheet.enlarge(images, 5)
    assert big.shape == (1, 6, 6, 1)
    np.testing.assert_array_equal(big[0, ::3, ::3, 0], images[0, ..., 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_has_every_frame_and_its_speed(tmp_path, channels):
    frames = np.random.default_rng(0).integers(0, 255, (5, 16, 16, channels)).astype(np.uint8)
    frames[:, :8] = (np.arange(5) * 50)[:, None, None, None]
    films.write(tmp_path / "a.gif", frames, 20)
    with Image.open(tmp_path / "a.gif") as film:
        assert (film.n_frames, film.size, film.info["duration"]) == (5, (128, 128), 50)
        for i in range(5):
            film.seek(i)
            pixels = np.asarray(film.convert("RGB"))[:64]
            assert np.abs(pixels.astype(int) - 50 * i).max() <= 2
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]


def fake_ffmpeg(monkeypatch, fail=False):
    """A stand-in for imageio_ffmpeg that keeps what it is given."""
    kept = {"frames": []}

    def write_frames(path, size, **settings):
        kept.update(path=path, size=size, settings=settings)
        try:
            while True:
                kept["frames"].append((yield))
        except GeneratorExit:
            if not fail:
                Path(path).write_bytes(b"film")

    module = types.ModuleType("imageio_ffmpeg")
    module.write_frames = write_frames
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", module)
    return kept


def test_mp4_gets_even_rgb_frames(tmp_path, monkeypatch):
    kept = fake_ffmpeg(monkeypatch)
    frames = np.zeros((3, 129, 131, 1), np.uint8)
    frames[1] = 200
    films.write(tmp_path / "a.mp4", frames, 24)
    assert kept["size"] == (132, 130) and kept["settings"]["fps"] == 24
    assert kept["path"].endswith(".mp4")
    assert [len(f) for f in kept["frames"]] == [132 * 130 * 3] * 3
    assert set(kept["frames"][1]) == {200}
    assert (tmp_path / "a.mp4").read_bytes() == b"film"


def test_a_failed_film_leaves_nothing(tmp_path, monkeypatch):
    fake_ffmpeg(monkeypatch, fail=True)
    with pytest.raises(UserError, match="cannot be written"):
        films.write(tmp_path / "a.mp4", np.zeros((2, 128, 128, 3), np.uint8), 24)
    assert not list(tmp_path.iterdir())


def test_films_that_cannot_be_written_are_refused_first(monkeypatch):
    monkeypatch.setattr(films, "can_write_mp4", lambda: False)
    films.check(["gif"], 20)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg.*--films=gif"):
        films.check(["gif", "mp4"], 20)
    with pytest.raises(UserError, match="'avi'"):
        films.check(["avi"], 20)
    with pytest.raises(UserError, match="--fps=0"):
        films.check(["gif"], 0)
