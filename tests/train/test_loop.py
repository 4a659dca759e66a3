"""Training from a config: what it leaves behind, how it continues, what it refuses."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.train import checkpoint, loop, monitor, monitor_journal, run_folder
from tests import harness


@pytest.fixture(scope="module")
def trained(tiny_data, tmp_path_factory):
    """(run folder, config, values of every variable) of an unbroken run."""
    values = {
        "data.resolution": 8,
        "system.nf": 4,
        "system.latent_dim": 6,
        "train.steps": 12,
        "train.batch_size": 8,
        "train.precision": "float32",
        "train.steps_per_execution": 2,
        "train.checkpoint_every": 4,
        "train.log_every": 2,
        "train.sample_every": 6,
        "train.deterministic": True,
    }
    config = config_lib.load("dcgan_fashion_mnist", values)
    run = tmp_path_factory.mktemp("runs") / "a"
    system = loop.train(config, run, data_dir=tiny_data)
    return run, config, harness.values(system)


def test_run_folder_holds_what_it_says(trained, tiny_data):
    run, *_ = trained
    record = json.loads((run / "config.json").read_text())
    assert record["config"]["train"]["steps"] == 12
    assert record["data_fingerprint"] == ganpipe.data.info(tiny_data).fingerprint
    assert "tensorflow==" in (run / "environment.txt").read_text()
    names = sorted(p.name for p in (run / "samples").iterdir())
    assert names == ["step_00000000.png", "step_00000006.png", "step_00000012.png"]
    assert (run / "reals.png").is_file()
    assert checkpoint.list_steps(run / "checkpoints") == [4, 8, 12]
    assert not list(run.rglob(".writing*"))


def test_tensorboard_holds_the_curves(trained):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained[0] / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    expected = {"D/loss", "G/loss", "D/real", "D/fake", "D/grad_norm", "G/grad_norm"}
    expected |= {"G/learning_rate", "D/learning_rate", "train/images_per_second", "samples_ema"}
    assert expected <= tags
    assert [e.step for e in events.Tensors("D/loss")] == [2, 4, 6, 8, 10, 12]
    rate = tf.make_ndarray(events.Tensors("G/learning_rate")[0].tensor_proto)
    assert rate == pytest.approx(2e-4)


def test_load_brings_the_trained_system_back(trained):
    run, _, values = trained
    system = ganpipe.load(run)
    for i, variable in enumerate(system.generator_ema.variables):
        np.testing.assert_array_equal(variable, values[f"generator_ema/{i}"])
    assert int(system.step.numpy()) == 12
    assert system.sample(3, seed=1, labels=[0, 1, 2]).shape == (3, 8, 8, 1)


def test_stopped_and_continued_equals_unbroken(trained, tiny_data, tmp_path):
    _, config, values = trained
    for steps in (4, 8, 12):
        part = ganpipe_config_with(config, steps)
        system = loop.train(part, tmp_path / "b", data_dir=tiny_data)
    harness.assert_equal(values, harness.values(system))


def ganpipe_config_with(config, steps):
    values = config_lib.to_dict(config)
    values["train"]["steps"] = steps
    return config_lib.from_dict(values)


def test_damaged_newest_checkpoint_falls_back(trained, tiny_data, tmp_path, capsys):
    run, config, values = trained
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    damaged = next((copy / "checkpoints" / "step_00000012").glob("*.data-*"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    system = loop.train(config, copy, data_dir=tiny_data)
    message = capsys.readouterr().err
    assert "step_00000012 is damaged" in message
    assert "continuing" in message
    assert "step 8" in message
    harness.assert_equal(values, harness.values(system))
    for folder in (copy / "checkpoints").iterdir():
        (folder / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="all 3 checkpoints are damaged"):
        ganpipe.load(copy)


def test_checkpoint_of_another_body_is_refused(trained):
    run, *_ = trained
    other = harness.small("dcgan", num_classes=3, nf=8)
    with pytest.raises(UserError, match="does not fit this dcgan"):
        checkpoint.restore_networks(other, checkpoint.path_of(run / "checkpoints", 12))


def test_workdir_of_another_configuration_names_the_keys(trained, tiny_data, tiny_config):
    run, *_ = trained
    other = tiny_config(**{"optimizer.beta_1": 0.9})
    with pytest.raises(UserError, match=r"config.optimizer.beta_1: 0.5 there, 0.9 here"):
        loop.train(other, run, data_dir=tiny_data)


def test_workdir_that_is_no_run_is_left_alone(tiny_data, tiny_config, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds thesis.tex but no config.json"):
        loop.train(tiny_config(), tmp_path, data_dir=tiny_data)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


BAD = [
    ({"train.batch_size": 1000}, "has only .* training images"),
    ({"train.steps": 7, "train.steps_per_execution": 2}, "multiple of train.steps_per_execution=2"),
    ({"train.steps": 0}, "train.steps=0: expected 1 or more"),
    ({"train.precision": "float8"}, "expected float32 or mixed_bfloat16"),
    ({"data.resolution": 32}, "data.resolution=32: .* has 4, 8"),
    ({"data.channels": 3}, "data.channels=3: the images .* have 1 channel"),
    ({"system.name": "dcgam"}, "Did you mean 'dcgan'"),
    ({"optimizer.loss": "hing"}, "optimizer.loss"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD)
def test_impossible_configs_are_refused_before_any_work(
    overrides, message, tiny_data, tiny_config, tmp_path
):
    with pytest.raises(UserError, match=message):
        loop.train(tiny_config(**overrides), tmp_path / "run", data_dir=tiny_data)
    assert not (tmp_path / "run").exists()


def test_missing_data_is_refused(tiny_config, tmp_path):
    with pytest.raises(UserError, match="--data is missing"):
        loop.train(tiny_config(), tmp_path / "run")
    with pytest.raises(UserError):
        loop.train(tiny_config(), tmp_path / "run", data_dir=tmp_path / "nothing")
    assert not (tmp_path / "run").exists()


def test_load_without_a_run(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        ganpipe.load(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"has no system.json"):
        ganpipe.load(tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    system = harness.small("dcgan")
    values = {"monitor": monitor.settings({"action": "off"})}
    journal = monitor_journal.Journal(tmp_path)
    guard = monitor.Monitor(tmp_path, values, journal, None, system.objective)
    guard.set_model(system)
    guard.on_train_begin()
    guard.on_train_batch_end(0, {"D/loss": np.float32([1.0])})
    with pytest.raises(UserError, match="D/loss is nan at step 2"):
        guard.on_train_batch_end(1, {"D/loss": np.float32([np.nan])})


def test_free_keys_do_not_count_as_another_configuration(trained, tiny_data):
    run, config, _ = trained
    longer = ganpipe_config_with(config, 20)
    run_folder.check(run, longer, ganpipe.data.info(tiny_data).fingerprint)
    with pytest.raises(UserError, match="other data"):
        run_folder.check(run, longer, "0" * 64)


def command(config, run, data):
    overrides = [
        f"--config.{k}={v}"
        for k, v in {
            "data.resolution": 8,
            "system.nf": 4,
            "system.latent_dim": 6,
            "train.steps": config.train.steps,
            "train.batch_size": 8,
            "train.precision": "float32",
            "train.steps_per_execution": config.train.steps_per_execution,
            "train.checkpoint_every": config.train.checkpoint_every,
            "train.log_every": config.train.log_every,
            "train.sample_every": config.train.sample_every,
            "train.deterministic": True,
        }.items()
    ]
    program = [sys.executable, "-m", "ganpipe", "train", "--config=dcgan_fashion_mnist"]
    return [*program, f"--data={data}", f"--workdir={run}", *overrides]


def killed_and_continued(tiny_config, tiny_data, tmp_path, kills, steps, rng):
    """Runs once unbroken and once with `kills` SIGKILLs; returns both final checkpoints."""
    config = tiny_config(
        **{
            "train.steps": steps,
            "train.checkpoint_every": 20,
            "train.log_every": 20,
            "train.sample_every": 100,
        }
    )
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(config, whole, tiny_data), env=environment, check=True)
    for _ in range(kills):
        start = len(list(broken.glob("tensorboard/*")))
        process = subprocess.Popen(command(config, broken, tiny_data), env=environment)
        # Wait until this process trains, then strike at a random moment.
        while process.poll() is None and len(list(broken.glob("tensorboard/*"))) == start:
            time.sleep(0.05)
        time.sleep(rng.uniform(0.3, 3.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        print("killed at", checkpoint.list_steps(broken / "checkpoints"))
    subprocess.run(command(config, broken, tiny_data), env=environment, check=True)
    final = [checkpoint.path_of(run / "checkpoints", steps) for run in (whole, broken)]
    return [tf.train.load_checkpoint(str(folder / "state")) for folder in final]


def assert_same_checkpoint(a, b):
    shapes = a.get_variable_to_shape_map()
    assert shapes == b.get_variable_to_shape_map()
    names = [n for n in shapes if n != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert len(names) == 31  # step, networks, average, optimisers
    for name in names:
        np.testing.assert_array_equal(a.get_tensor(name), b.get_tensor(name), err_msg=name)


def test_killed_once_equals_unbroken(tiny_config, tiny_data, tmp_path):
    rng = np.random.default_rng(0)
    assert_same_checkpoint(*killed_and_continued(tiny_config, tiny_data, tmp_path, 1, 400, rng))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_five_times_equals_unbroken(tiny_config, tiny_data, tmp_path):
    rng = np.random.default_rng()
    assert_same_checkpoint(*killed_and_continued(tiny_config, tiny_data, tmp_path, 5, 3000, rng))


def test_a_run_starts_from_the_networks_of_another(tiny_config, tiny_data, tmp_path):
    first = loop.train(tiny_config(**{"train.steps": 4}), tmp_path / "a", data_dir=tiny_data)
    info = ganpipe.data.info(tiny_data)
    system = loop.build(tiny_config(**{"train.seed": 5}), info)
    run_folder.start_from(system, tmp_path / "a")
    assert int(system.step) == 0 and int(system.g_optimizer.iterations) == 0
    for role in ("generator", "generator_ema", "discriminator"):
        pairs = zip(getattr(first, role).weights, getattr(system, role).weights, strict=True)
        for ours, theirs in pairs:
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    tuned = loop.train(
        tiny_config(**{"train.steps": 4, "train.seed": 5}),
        tmp_path / "b",
        data_dir=tiny_data,
        init_from=tmp_path / "a",
    )
    assert int(tuned.step) == 4


def test_what_no_run_can_start_from(tiny_config, tiny_data, tmp_path):
    loop.train(tiny_config(**{"train.steps": 4}), tmp_path / "a", data_dir=tiny_data)
    wider = tiny_config(**{"system.nf": 8})
    for config, start, match in (
        (wider, tmp_path / "a", "does not fit"),
        (tiny_config(), tmp_path / "nothing", "expected a run folder"),
    ):
        with pytest.raises(UserError, match=match):
            loop.train(config, tmp_path / "b", data_dir=tiny_data, init_from=start)
        assert not (tmp_path / "b").exists()


def test_runs_from_before_bases_had_widths_go_on(tmp_path):
    stored = config_lib.to_dict(config_lib.load("progan_folder"))
    del stored["system"]["base"]
    (tmp_path / "config.json").write_text(
        json.dumps({"config": stored, "data_fingerprint": "0" * 64})
    )
    for base in ("4", "4x4", 4):
        values = config_lib.to_dict(config_lib.load("progan_folder"))
        values["system"]["base"] = base
        run_folder.check(tmp_path, config_lib.from_dict(values), "0" * 64)
    values["system"]["base"] = "3x5"
    with pytest.raises(UserError, match=r"system.base: '4' there, '3x5' here"):
        run_folder.check(tmp_path, config_lib.from_dict(values), "0" * 64)


def test_a_config_may_gain_the_key_of_mirroring(tmp_path):
    config = config_lib.load("stylegan2_fashion_mnist")
    stored = config_lib.to_dict(config)
    del stored["data"]["mirror"]
    (tmp_path / "config.json").write_text(
        json.dumps({"config": stored, "data_fingerprint": "0" * 64})
    )
    run_folder.check(tmp_path, config, "0" * 64)
    mirrored = config_lib.load("stylegan2_fashion_mnist", {"data.mirror": True})
    with pytest.raises(UserError, match=r"data.mirror: False there, True here"):
        run_folder.check(tmp_path, mirrored, "0" * 64)
