"""A run of images that are not square: 3x5 grows to 6x10, and on to all that reads a run."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import ganpipe
from ganpipe import config as config_lib
from ganpipe import data as data_lib
from ganpipe.cli import eval as eval_cli
from ganpipe.errors import UserError
from ganpipe.export import savedmodel
from ganpipe.metrics import evaluate, suite
from ganpipe.models import progan
from ganpipe.train import checkpoint, checks, evaluation, loop
from tests import harness
from tests.data import folders

LEVELS = ((3, 5), (6, 10))


@pytest.fixture(scope="module")
def wide_data(tmp_path_factory):
    """60 grey pictures of 3x5 and 6x10."""
    root = tmp_path_factory.mktemp("wide") / "data"
    folders.make(root, splits=(("train", 60),), levels=LEVELS, channels=1)
    return root


def wide(name="progan_folder:tiny", **overrides):
    """3x5 -> 6x10: 4 steps, then 4 of fading, which do not end it; batches of 8 and 4."""
    values = {
        "data.resolution": 6,
        "data.channels": 1,
        "system.base": "3x5",
        "system.fmap_max": 4,
        "system.latent_dim": 6,
        "system.group_size": 2,
        "growth.start_resolution": 3,
        "growth.train_kimg": 0.03,
        "growth.fade_kimg": 0.02,
        "growth.total_kimg": 0.045,
        "growth.batch_sizes": {"px3": 8},
        "growth.repeats": 2,
        "train.batch_size": 4,
        "train.precision": "float32",
        "train.steps_per_execution": 1,
        "train.checkpoint_every": 2,
        "train.keep_checkpoints": 20,
        "train.log_every": 2,
        "train.sample_every": 100,
        "train.deterministic": True,
    }
    return config_lib.load(name, values | {k.replace("__", "."): v for k, v in overrides.items()})


@pytest.fixture(scope="module")
def run(wide_data, tmp_path_factory):
    """(run folder, trained system, what its train steps were traced with)."""
    folder, seen, step = tmp_path_factory.mktemp("run") / "run", [], progan.ProGAN.train_step

    def watched(self, data):
        seen.append((self.stage.resolution, self.stage.fading, tuple(data[0].shape)))
        return step(self, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progan.ProGAN, "train_step", watched)
        system = loop.train(wide(), folder, data_dir=wide_data)
    return folder, system, seen


def test_stages_of_the_run(run):
    folder, system, seen = run
    assert list(dict.fromkeys(seen)) == [
        (3, False, (8, 3, 5, 1)),
        (6, True, (4, 6, 10, 1)),
    ]
    assert int(system.step.numpy()) == checks.growth(wide()).steps
    with Image.open(folder / "reals.png") as sheet:  # columns and rows of 8 and a line each
        assert sheet.size == (8 * 11 + 1, 8 * 7 + 1)
    with Image.open(folder / "samples" / "step_00000000.png") as sheet:
        assert sheet.size == (8 * 11 + 1, 8 * 7 + 1)


def test_real_images_fade_in(wide_data):
    read = {"batch_size": 4, "shuffle": False, "repeat": False}
    whole = next(iter(data_lib.load(wide_data, 6, **read)))[0].numpy()
    faded = next(iter(data_lib.load(wide_data, 6, **read, fade=lambda step: 0.25)))[0].numpy()
    coarse = whole.reshape(4, 3, 2, 5, 2, 1).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(faded, 0.75 * whole + 0.25 * coarse, atol=1e-6)


@pytest.mark.slow
def test_going_on_in_a_fade_is_bit_equal(run, wide_data, tmp_path):
    stop = checks.growth(wide()).steps - 2
    shutil.copytree(run[0], tmp_path / "run")
    for step in checkpoint.list_steps(tmp_path / "run" / "checkpoints"):
        if step > stop:  # as if killed there
            shutil.rmtree(checkpoint.path_of(tmp_path / "run" / "checkpoints", step))
    again = loop.train(wide(), tmp_path / "run", data_dir=wide_data)
    harness.assert_equal(harness.values(run[1]), harness.values(again))


def test_a_run_is_read_back_exported_and_scored(run, wide_data):
    folder, trained, _ = run
    system = ganpipe.load(folder)
    assert system.generator_ema.resolution_now == 6 and system.generator_ema.fading
    images = system.sample(3)
    assert images.shape == (3, 6, 10, 1) and system.sample(0).shape == (0, 6, 10, 1)
    np.testing.assert_array_equal(images, trained.sample(3))
    _, functions = savedmodel.signatures(system)
    assert functions["generate"].structured_outputs["images"].shape == (None, 6, 10, 1)
    asked = tf.nest.flatten(functions["discriminate"].structured_input_signature)
    assert [s.shape for s in asked if s is not None] == [(None, 6, 10, 1)]
    inputs = {"seed": tf.range(3, dtype=tf.int64), "truncation": tf.ones(3)}
    np.testing.assert_array_equal(functions["serving_default"](**inputs)["images"], images)
    how = {"metrics": ("frechet", "kernel"), "split": "train", "extractor": "pixels"}
    scores = eval_cli.evaluate_run(folder, num=20, **how)["scores"]
    assert scores["frechet"] > 0
    of_files = eval_cli.evaluate_images(trained.sample(20), data_dir=wide_data, **how)["scores"]
    assert of_files["frechet"] == pytest.approx(scores["frechet"], rel=1e-6)
    with pytest.raises(UserError, match=r"images are 6x6, .* was read at 6x10"):
        eval_cli.evaluate_images(np.zeros((20, 6, 6, 1), np.uint8), data_dir=wide_data, **how)


SCORED = {"evaluate__every": 2, "evaluate__split": "train", "evaluate__num": 20}
REFUSED = [
    ({"system__base": "4"}, r"system.base=4: 4x4 .*is not 6x10.*such as 3x5"),
    ({"system__base": "3by5"}, "system.base: 3by5; expected HEIGHTxWIDTH"),
    ({"growth__start_resolution": 4}, "growth.start_resolution: 4; .*such as 3"),
    ({"system__base": "6x10"}, "growth from 3 to 6.*levels 6 .system.base"),
    ({"train__batch_size": 3}, "train.batch_size=3: .*groups of 2"),
    (SCORED, r"evaluate .every=2.: --extractor=auto is smallcnn.*are 6x10.*=pixels"),
]


@pytest.mark.parametrize(("overrides", "match"), REFUSED)
def test_what_does_not_fit_is_refused(wide_data, tmp_path, overrides, match):
    with pytest.raises(UserError, match=match):
        loop.train(wide(**overrides), tmp_path / "run", data_dir=wide_data)
    assert not (tmp_path / "run").exists()


def test_other_systems_refuse_it_and_square_data_refuse_the_base(wide_data, tiny_config, tmp_path):
    folders.make(tmp_path / "square", channels=1)
    with pytest.raises(UserError, match=r"resolution=6: .* 6 high and 10 wide; dcgan .*progan"):
        loop.train(tiny_config(**{"data.resolution": 6}), tmp_path / "a", data_dir=wide_data)
    with pytest.raises(UserError, match=r"system.base=3x5: .*is not 8x8.*such as 4x4"):
        loop.train(wide(data__resolution=8), tmp_path / "b", data_dir=tmp_path / "square")


@pytest.mark.parametrize("metric", suite.METRICS)
def test_every_metric_takes_images_that_are_not_square_or_says_so(wide_data, metric):
    info = data_lib.info(wide_data)
    source = evaluation.data_source(info, 6)
    square = {"sliced_wasserstein", "classification_score", "classification_score_resnet"}
    if metric in square:
        with pytest.raises(UserError, match=f"{metric[:20]}.* needs square images.* are 6x10"):
            suite.METRICS[metric].fits(source)
    elif metric != "ms_ssim" and "labels" not in suite.METRICS[metric].needs:
        spaces, classes = ("z", "w"), "classes" in suite.METRICS[metric].needs
        wanted = {"metrics": (metric,), "num": 200, "split": "train", "spaces": spaces}
        if suite.METRICS[metric].least <= 60:
            assert evaluate.check(source=source, classes_known=classes, **wanted).num == 200


@pytest.mark.slow
def test_pictures_to_export_on_the_command_line(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for i in range(40):
        shade = np.linspace(0, 200, 50)[None, :, None] + rng.integers(0, 55, (30, 50, 3))
        Image.fromarray(shade.astype(np.uint8)).save(tmp_path / "pictures" / f"{i}.png")

    def call(module, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]

    data, run = tmp_path / "data", tmp_path / "run"
    source = f"--source=folder:{tmp_path / 'pictures'}"
    call("pipeline.prepare", source, "--base=3x5", "--levels=3", f"--out={data}")
    values = {
        "data.resolution": 12,
        "system.base": "3x5",
        "system.fmap_max": 8,
        "system.latent_dim": 8,
        "growth.start_resolution": 6,
        "growth.train_kimg": 0.032,
        "growth.fade_kimg": 0.032,
        "growth.total_kimg": 0.096,
        "train.batch_size": 8,
        "train.sample_every": 4,
        "train.checkpoint_every": 4,
    }
    overrides = [f"--config.{key}={value}" for key, value in values.items()]
    name = "--config=progan_folder:tiny"
    call("ganpipe", "train", name, f"--data={data}", f"--workdir={run}", *overrides)
    call("ganpipe", "sample", f"--run={run}", "--n=6", f"--out={tmp_path / 'six.png'}")
    with Image.open(tmp_path / "six.png") as sheet:
        assert sheet.size == (3 * 21 + 1, 2 * 13 + 1)
    out = f"--out={tmp_path / 'scores.json'}"
    how = ("--metrics=frechet", "--extractor=pixels", "--split=train", "--num=20")
    call("ganpipe", "eval", f"--run={run}", *how, out)
    call("ganpipe", "latent", f"--run={run}", "--mode=truncate", f"--out={tmp_path / 'latent'}")
    call("ganpipe", "export", f"--run={run}", f"--out={tmp_path / 'model'}")
    served = tf.saved_model.load(str(tmp_path / "model" / "1")).signatures["serving_default"]
    images = served(seed=tf.range(2, dtype=tf.int64), truncation=tf.ones(2))["images"]
    assert images.shape == (2, 12, 20, 3)
