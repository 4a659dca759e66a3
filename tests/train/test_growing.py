"""A run that grows: data, batch and networks of each stage; going on in the middle of a fade."""

import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import ganpipe
from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.models import progan
from ganpipe.train import callbacks, checks, loop
from tests import harness


def growing(**overrides):
    """4 -> 8 px: 4 steps at 4, 4 of fading, some at 8; batches of 8 and 4."""
    values = config_lib.to_dict(config_lib.load("dcgan_fashion_mnist"))
    values["data"] |= {"resolution": 8, "channels": 1, "conditional": False}
    values["system"] = {"name": "progan", "fmap_max": 4, "latent_dim": 6, "group_size": 2}
    values["optimizer"] = {"g_learning_rate": 1e-3, "d_learning_rate": 1e-3}
    values.pop("penalties", None)
    values.pop("tips", None)
    values["growth"] = {
        "start_resolution": 4,
        "train_kimg": 0.03,
        "fade_kimg": 0.02,
        "total_kimg": 0.07,
        "batch_sizes": {"px4": 8},
        "learning_rates": {"px8": 5e-4},
        "repeats": 2,
    }
    values["train"] |= {
        "steps": 0,
        "batch_size": 4,
        "steps_per_execution": 1,
        "checkpoint_every": 1,
        "log_every": 1,
        "sample_every": 4,
        "precision": "float32",
        "deterministic": True,
    }
    for key, value in overrides.items():
        section, name = key.split("__")
        values[section][name] = value
    return config_lib.from_dict(values)


def test_stages_of_the_run(tiny_data, tmp_path, monkeypatch):
    seen = []
    step = progan.ProGAN.train_step

    def watched(self, data):
        images = data[0] if isinstance(data, tuple) else data
        seen.append((self.stage.resolution, self.stage.fading, tuple(images.shape)))
        return step(self, data)

    monkeypatch.setattr(progan.ProGAN, "train_step", watched)
    system = loop.train(growing(), tmp_path / "run", data_dir=tiny_data)
    # Traced once a stage, with the stage's own shapes.
    assert list(dict.fromkeys(seen)) == [
        (4, False, (8, 4, 4, 1)),
        (8, True, (4, 8, 8, 1)),
        (8, False, (4, 8, 8, 1)),
    ]
    stages = checks.growth(growing()).stages
    assert int(system.step.numpy()) == stages[-1].last_step
    assert float(system.g_optimizer.learning_rate) == pytest.approx(5e-4)
    # Adam began anew with the last stage.
    assert int(system.g_optimizer.iterations) == stages[-1].last_step - stages[-1].first_step
    assert system.sample(2).shape == (2, 8, 8, 1)


def assert_going_on_is_equal(stops, data, folder):
    whole = harness.values(loop.train(growing(), folder / "whole", data_dir=data))
    for stop in stops:
        run = folder / f"broken{stop}"
        loop.train(growing(train__steps=stop), run, data_dir=data)
        again = loop.train(growing(), run, data_dir=data)
        harness.assert_equal(whole, harness.values(again))


def test_going_on_in_a_fade_is_bit_equal(tiny_data, tmp_path):
    fade = checks.growth(growing()).stages[1]
    assert_going_on_is_equal([fade.first_step + 3], tiny_data, tmp_path)


@pytest.mark.slow
def test_going_on_at_either_end_of_a_fade_is_bit_equal(tiny_data, tmp_path):
    fade = checks.growth(growing()).stages[1]
    assert_going_on_is_equal([fade.first_step, fade.last_step], tiny_data, tmp_path)


@pytest.mark.slow
def test_a_run_killed_in_a_fade_ends_as_one_that_was_not(tiny_data, tmp_path):
    """SIGKILL to the command itself, at a random moment of the fade."""
    settings = {
        "data.resolution": 8,
        "growth.train_kimg": 0.4,
        "growth.fade_kimg": 4.0,
        "growth.total_kimg": 5.0,
        "growth.batch_sizes.px8": 16,
        "system.fmap_max": 8,
        "system.latent_dim": 8,
        "train.checkpoint_every": 8,
        "train.log_every": 8,
        "train.sample_every": 400,
        "train.deterministic": True,
    }
    command = [sys.executable, "-m", "ganpipe", "train", "--config=progan_fashion_mnist:tiny"]
    command += [f"--data={tiny_data}", *(f"--config.{k}={v}" for k, v in settings.items())]

    def start(run):
        return subprocess.Popen([*command, f"--workdir={run}"], stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait(300) == 0
    broken, killed = tmp_path / "broken", start(tmp_path / "broken")
    for _ in range(3000):
        steps = [int(p.name[5:]) for p in (broken / "checkpoints").glob("step_*")]
        if steps and max(steps) >= 40:  # the fade begins at step 16 and ends at 266
            break
        time.sleep(0.1)
    time.sleep(random.random())
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    steps = [int(p.name[5:]) for p in (broken / "checkpoints").glob("step_*")]
    assert 40 <= max(steps) < 240
    assert start(broken).wait(300) == 0
    ends = [ganpipe.load(tmp_path / name) for name in ("whole", "broken")]
    assert int(ends[0].step) == int(ends[1].step)
    for role in ("generator", "generator_ema", "discriminator"):
        pairs = zip(*(getattr(end, role).get_weights() for end in ends), strict=True)
        for whole, again in pairs:
            np.testing.assert_array_equal(whole, again)


def test_a_loaded_run_stands_at_its_stage(tiny_data, tmp_path):
    fade = checks.growth(growing()).stages[1]
    run = tmp_path / "run"
    trained = loop.train(growing(train__steps=fade.first_step + 3), run, data_dir=tiny_data)
    loaded = ganpipe.load(run)
    assert loaded.generator_ema.resolution_now == 8
    assert loaded.generator_ema.fading
    np.testing.assert_array_equal(loaded.sample(3), trained.sample(3))
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 1)).astype(np.float32)
    np.testing.assert_allclose(loaded.discriminate(images), trained.discriminate(images), rtol=1e-5)


def test_before_growth_pictures_are_blown_up(tiny_data, tmp_path):
    system = loop.train(growing(train__steps=2), tmp_path / "run", data_dir=tiny_data)
    images = system.sample(2)
    assert images.shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(images, np.kron(images[:, ::2, ::2], np.ones((1, 2, 2, 1))))


def test_seconds_run_on_over_the_border_of_two_stages(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(callbacks.checkpoint, "save", lambda *args: None)
    saver = callbacks.Checkpoints(tmp_path, 3, 6, 2, True, seconds=0.0)
    saver.set_model(harness.small("dcgan"))
    for steps in ((1, 2), (3, 4), (5, 6)):  # of the three stages; 10 s a step, 1 s between stages
        now[0] += 1.0
        saver.on_train_begin()
        for step in steps:
            now[0] += 10.0
            saver.after(step, {})
        saver.on_train_end()
    assert saver.seconds == 60.0


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"growth__start_resolution": 3}, "start_resolution"),
        ({"growth__start_resolution": 2}, "no level in"),
        ({"growth__batch_sizes": {"4": 8000}}, "growth.batch_sizes.px4=8000"),
        ({"train__steps_per_execution": 3, "train__sample_every": 3}, "growth.repeats=2"),
        ({"growth__nonsense": 1}, "config.growth.nonsense"),
        ({"growth__batch_sizes": {"4": 7}}, "growth.batch_sizes.px4=7: .*groups of 2"),
        ({"train__batch_size": 5}, "train.batch_size=5: .*groups of 2"),
        ({"train__batch_size": 8000}, "train.batch_size=8000: .*has only"),
    ],
)
def test_impossible_growth_is_refused(tiny_data, tmp_path, overrides, match):
    with pytest.raises(UserError, match=match):
        loop.train(growing(**overrides), tmp_path / "run", data_dir=tiny_data)
    assert not (tmp_path / "run").exists()


def test_weights_of_an_early_stage_go_on_at_full_size(tiny_data, tmp_path):
    loop.train(growing(train__steps=2), tmp_path / "early", data_dir=tiny_data)  # at 4x4
    config = growing(growth__start_resolution=8, train__steps=1)
    system = loop.train(config, tmp_path / "late", data_dir=tiny_data, init_from=tmp_path / "early")
    for network in (system.generator, system.discriminator, system.generator_ema):
        assert network.resolution_now == 8
