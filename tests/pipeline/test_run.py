"""What runs, what is skipped, what is pushed, and what is said: with components that only pretend.

The orchestration is the real one (Dagster in this process); the components are replaced by
functions of a millisecond, so every rule can be tried.
"""

import contextlib
import dataclasses
import json
import types

import dagster as dg
import pytest

from ganpipe import config as experiments
from ganpipe.errors import UserError
from pipeline import artifacts, definitions, report, run
from pipeline.components import (
    evaluator,
    example_gen,
    example_validator,
    infra_validator,
    statistics_gen,
    trainer,
)

ALL = [
    "example_gen",
    "statistics_gen",
    "example_validator",
    "trainer",
    "evaluator",
    "evaluator",
    "infra_validator",
    "pusher",
]


@dataclasses.dataclass
class World:
    """What the pretended components find and say; tests change it between runs."""

    source: str = "s1"  # fingerprint of the source
    images: str = "d1"  # fingerprint of the prepared data
    anomalies: tuple = ()
    frechet: float = 20.0
    answers: bool = True
    trainer_fails: int = 0  # tries that break off
    code: dict = dataclasses.field(default_factory=dict)  # first source -> version
    calls: list = dataclasses.field(default_factory=list)
    compared: list = dataclasses.field(default_factory=list)  # baseline of each validation


@pytest.fixture(scope="module")
def instance():
    """Setting up SQLite files takes seconds; in memory it is the same Dagster."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def world(monkeypatch, instance):
    world = World()
    monkeypatch.setattr(run, "open_instance", lambda home: contextlib.nullcontext(instance))

    def prepare(source, out, **reads):
        world.calls.append(("example_gen", reads))
        out.mkdir()
        return types.SimpleNamespace(fingerprint=world.images, name=source)

    def train(out, *, config, data_dir, strategy="none"):
        world.calls.append(("trainer", config.train.seed))
        (out / "run").mkdir(exist_ok=True)
        checkpoints = out / "run" / "checkpoints"
        checkpoints.write_text(checkpoints.read_text() + "+" if checkpoints.exists() else "+")
        if world.trainer_fails:
            world.trainer_fails -= 1
            raise RuntimeError("the power went")
        (out / "export" / "1").mkdir(parents=True)
        (out / "export" / "1" / "saved_model.pb").write_text(f"seed {config.train.seed}")
        return {
            "name": config.name,
            "resolution": 32,
            "channels": 1,
            "num_classes": 10,
            "config_fingerprint": experiments.fingerprint(config),
            "commit": "abc",
        }

    def score(out, **reads):
        world.calls.append(("evaluator", reads["run_dir"].parent.name))
        return {
            "scores": {"frechet": world.frechet, "kernel": 0.1, "label_accuracy": 0.9},
            "extractor": {"name": "smallcnn", "hash": "ab", "test_accuracy": 0.95},
        }

    def answer(out, **settings):
        return {"blessed": world.answers, "message": "fine" if world.answers else "no answer"}

    def measure(data_dir, out, beam_options=None):
        return {"images": 3}

    def validate(statistics, out, baseline=None, baseline_name=""):
        world.compared.append(baseline_name)
        found = {"anomalies": list(world.anomalies), "warnings": []}
        return found | {"baseline": baseline_name}

    monkeypatch.setattr(example_gen, "run", prepare)
    monkeypatch.setattr(example_gen, "source_fingerprint", lambda source: world.source)
    monkeypatch.setattr(statistics_gen, "run", measure)
    monkeypatch.setattr(example_validator, "run", validate)
    monkeypatch.setattr(trainer, "run", train)
    monkeypatch.setattr(evaluator, "run", score)
    monkeypatch.setattr(infra_validator, "run", answer)
    monkeypatch.setattr(artifacts, "code_version", lambda places: world.code.get(places[0], "v1"))
    monkeypatch.setattr(report, "facts", lambda runner: {"refusals": runner.refusals})
    monkeypatch.setattr(
        report,
        "render",
        lambda shown, state: f'<meta name="ganpipe-report" content="{state}">{shown}',
    )
    return world


def go(root, **overrides):
    overrides = {key.replace("__", "."): value for key, value in overrides.items()}
    overrides = {"pipeline.evaluator.max_frechet": 100.0, **overrides}
    config = experiments.load("dcgan_fashion_mnist", overrides, run.CONFIG_DIR)
    return run.execute(config, root)


def served(root):
    base = root / "serving" / "dcgan_fashion_mnist"
    names = sorted(p.name for p in base.iterdir()) if base.exists() else []
    return {name: (base / name / "saved_model.pb").read_text() for name in names}


def test_first_run_does_everything_and_the_second_nothing(world, tmp_path, capsys):
    first = go(tmp_path)
    assert first.executed == ALL and not first.refusals
    assert served(tmp_path) == {"1": "seed 0"}
    page = (tmp_path / "report.html").read_text()
    calls = len(world.calls)
    capsys.readouterr()

    second = go(tmp_path)
    assert second.executed == [] and not second.refusals and len(world.calls) == calls
    assert served(tmp_path) == {"1": "seed 0"}
    assert (tmp_path / "report.html").read_text() == page
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ALL) + 1 and all("skipped (unchanged)" in line for line in lines)


def test_artifacts_have_tfx_names_and_know_their_inputs(world, tmp_path):
    made = go(tmp_path).made
    assert list(made) == [t for t in artifacts.TYPES if t != "Schema"]
    assert made["Model"].inputs == {"examples": "d1"}
    assert made["ModelBlessing"].inputs["model"] == made["Model"].fingerprint
    for kind, artifact in made.items():
        assert (tmp_path / "latest" / kind).resolve() == artifact.path
    lineage = json.loads(
        (tmp_path / "serving/dcgan_fashion_mnist/1/assets.extra/ganpipe_lineage.json").read_text()
    )
    assert lineage["data_fingerprint"] == "d1" and lineage["commit"] == "abc"
    assert lineage["model"] == made["Model"].fingerprint


def test_training_key_runs_from_the_trainer_on(world, tmp_path):
    go(tmp_path)
    again = go(tmp_path, train__seed=2)
    assert again.executed == ["trainer", "evaluator", "evaluator", "infra_validator", "pusher"]
    assert served(tmp_path) == {"1": "seed 0", "2": "seed 2"}


def test_threshold_judges_again_without_scoring_or_training(world, tmp_path):
    go(tmp_path)
    assert go(tmp_path, pipeline__evaluator__max_frechet=50.0).executed == ["evaluator"]
    assert [name for name, _ in world.calls] == ["example_gen", "trainer", "evaluator"]


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ({"source": "s2", "images": "d2"}, "example_gen"),
        ({"code": {"pipeline/components/example_gen.py": "v2"}, "images": "d2"}, "example_gen"),
        ({"code": {"pipeline/components/trainer.py": "v2"}}, "trainer"),
        ({"code": {"pipeline/components/infra_validator.py": "v2"}}, "infra_validator"),
    ],
)
def test_changed_source_and_code_run_from_there_on(world, tmp_path, change, first):
    go(tmp_path)
    vars(world).update(change)
    executed = go(tmp_path).executed
    # The pusher's input is the model: what was served again unchanged is not pushed again. The
    # old model is scored on new data as well, to be compared with.
    expected = ["infra_validator"] if first == "infra_validator" else ALL[ALL.index(first) :]
    if first == "example_gen":
        expected = [*expected[:5], "evaluator", *expected[5:]]
    assert executed == expected


def test_same_images_from_new_code_set_off_nothing_downstream(world, tmp_path):
    go(tmp_path)
    world.code["pipeline/components/example_gen.py"] = "v2"
    assert go(tmp_path).executed == ["example_gen"]


def test_new_data_are_compared_with_those_of_the_last_blessed_model(world, tmp_path):
    go(tmp_path)
    vars(world).update({"source": "s2", "images": "d2"})
    go(tmp_path)
    assert world.compared == ["", "the data of the last blessed model (d1)"]
    assert go(tmp_path).executed == [], "blessed since, they keep the comparison they passed"
    vars(world).update({"source": "s3", "images": "d3", "anomalies": ("a new class",)})
    assert go(tmp_path).refusals == ["the data have anomalies: a new class"]
    assert world.compared[2:] == ["the data of the last blessed model (d2)"]
    world.anomalies = ()
    accepted = go(tmp_path, pipeline__example_validator__baseline="none")
    assert not accepted.refusals and world.compared[3:] == [""]
    assert go(tmp_path).executed == [], "what was let through stays so"


def test_unusable_settings_of_the_validator_stop_before_any_work(world, tmp_path):
    for key, value in (("baseline", "newest"), ("schema", str(tmp_path / "none.pbtxt"))):
        with pytest.raises(UserError, match=r"newest|none.pbtxt is missing"):
            go(tmp_path, **{f"pipeline__example_validator__{key}": value})
    assert not world.calls


def test_unblessed_model_is_not_pushed_and_stays_so(world, tmp_path):
    missed = {"pipeline__evaluator__max_frechet": 10.0}
    for executed in (ALL[:6], []):
        refused = go(tmp_path, **missed)
        assert refused.executed == executed
        (why,) = refused.refusals
        assert "frechet is 20, at most 10 was asked (max_frechet)" in why
        assert not (tmp_path / "serving").exists()
        assert "at most 10 was asked" in (tmp_path / "report.html").read_text()


def test_refused_model_leaves_the_served_one(world, tmp_path):
    go(tmp_path)
    before = served(tmp_path)
    world.frechet = 22.5  # ratio 1.125 of the last blessed: more than 1.1
    refused = go(tmp_path, train__seed=5)
    assert "1.1 x 20 of the last blessed model" in refused.refusals[0]
    assert served(tmp_path) == before
    # Neither is it a baseline for the next: that is still the first one.
    world.frechet = 22.3
    assert "1.1 x 20" in go(tmp_path, train__seed=6).refusals[0]
    world.frechet = 21.0
    assert not go(tmp_path, train__seed=7).refusals


def test_a_model_is_never_its_own_baseline(world, tmp_path):
    go(tmp_path)
    go(tmp_path, train__seed=1)
    assert go(tmp_path, train__seed=1).executed == []


def test_going_back_pushes_the_old_model_as_a_new_version(world, tmp_path):
    go(tmp_path)
    go(tmp_path, train__seed=1)
    back = go(tmp_path)
    assert back.executed == ["evaluator", "pusher"]  # judged against the other one, and pushed
    assert served(tmp_path) == {"1": "seed 0", "2": "seed 1", "3": "seed 0"}
    assert go(tmp_path).executed == []


def test_a_version_that_was_removed_is_pushed_again(world, tmp_path):
    go(tmp_path)
    (tmp_path / "serving/dcgan_fashion_mnist/1").rename(tmp_path / "gone")
    assert go(tmp_path).executed == ["pusher"]
    assert served(tmp_path) == {"1": "seed 0"}


def test_anomalies_stop_before_training(world, tmp_path):
    world.anomalies = ("class 3 has no images",)
    stopped = go(tmp_path)
    assert stopped.executed == ALL[:3]
    assert stopped.refusals == ["the data have anomalies: class 3 has no images"]
    assert "class 3 has no images" in (tmp_path / "report.html").read_text()


def test_server_that_does_not_answer_stops_the_push_and_is_asked_again(world, tmp_path):
    world.answers = False
    assert go(tmp_path).refusals == ["the model could not be served: no answer"]
    assert not (tmp_path / "serving").exists()
    world.answers = True
    assert go(tmp_path).executed == ["infra_validator", "pusher"]
    assert served(tmp_path) == {"1": "seed 0"}


def test_broken_off_training_goes_on_in_its_run_folder(world, tmp_path):
    world.trainer_fails = 2
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the power went"):
            go(tmp_path)
        assert not (tmp_path / "report.html").exists() and not (tmp_path / "serving").exists()
    done = go(tmp_path)
    assert done.executed == ALL[3:]
    assert (done.made["Model"].path / "run" / "checkpoints").read_text() == "+++"


def test_second_run_on_a_busy_root(world, tmp_path):
    with (
        artifacts.Store(tmp_path).lock(),
        pytest.raises(UserError, match="another pipeline run"),
    ):
        go(tmp_path)


def command(argv):
    """Runs the command line; returns its exit status."""
    run.FLAGS.unparse_flags()
    for name in ("config", "root", "beam"):
        run.FLAGS[name].unparse()
    with pytest.raises(SystemExit) as stopped:
        run.app.run(run.main, run.FLAGS, argv)
    return stopped.value.code


def test_exit_status_and_messages(world, tmp_path, capsys):
    world.frechet = 2.0
    argv = ["--config=dcgan_fashion_mnist", f"--root={tmp_path / 'r'}"]
    assert command(argv) == 0
    out = capsys.readouterr().out
    assert "version 1 of dcgan_fashion_mnist" in out and "report.html" in out
    assert command([*argv, "--config.pipeline.evaluator.min_label_accuracy=0.99"]) == 1
    assert (
        "not pushed: the model is not blessed: label_accuracy is 0.9, at least 0.99 was asked"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--root=r"], "--config is missing"),
        (["--config=dcgan_fashion_mnist"], "--root is missing"),
        (["--config=dcgan_fashion", "--root=r"], "Did you mean 'dcgan_fashion_mnist'?"),
        (["--config=dcgan_fashion_mnist:huge", "--root=r"], "huge"),
        (["--config=dcgan_fashion_mnist", "--root=r", "--config.train.stepz=1"], "stepz"),
        (["--config=dcgan_fashion_mnist", "--root=r", "--rot=1"], "unknown flag --rot"),
        (["--config=dcgan_fashion_mnist", "--root=/proc/r"], "cannot write there"),
        (
            ["--config=dcgan_fashion_mnist", "--root=r", "--config.name=a/b"],
            "names the serving folder",
        ),
        (
            ["--config=dcgan_fashion_mnist", "--root=r", "--config.pipeline.source="],
            "config.pipeline.source is empty",
        ),
        (
            ["--config=dcgan_fashion_mnist", "--root=r", "--config.data.conditional=false"],
            "label_accuracy, but the system is unconditional",
        ),
    ],
)
def test_bad_input_is_one_message_before_any_work(
    world, tmp_path, monkeypatch, capsys, argv, message
):
    monkeypatch.chdir(tmp_path)
    assert command(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [] and world.calls == []


def test_what_a_component_refuses_is_one_message(world, tmp_path, monkeypatch, capsys):
    def refuse(out, **_):
        raise UserError(f"--workdir={out} belongs to a run of another configuration")

    monkeypatch.setattr(trainer, "run", refuse)
    assert command(["--config=dcgan_fashion_mnist", f"--root={tmp_path / 'r'}"]) == 2
    err = capsys.readouterr().err
    assert "belongs to a run of another configuration" in err and err.count("\n") == 1
    assert not (tmp_path / "r" / "serving").exists()


def test_experiment_without_pipeline_section(tmp_path, capsys):
    path = experiments.CONFIG_DIR / "dcgan_fashion_mnist.py"
    assert command([f"--config={path}", f"--root={tmp_path / 'r'}"]) == 2
    assert "without a `pipeline` section" in capsys.readouterr().err


def test_schedule_is_daily_and_follows_the_config(tmp_path):
    overrides = {"pipeline.schedule.cron": "30 4 * * *"}
    for changes, cron in (({}, "0 3 * * *"), (overrides, "30 4 * * *")):
        config = experiments.load("dcgan_fashion_mnist", changes, run.CONFIG_DIR)
        (schedule,) = definitions.build(config, tmp_path).schedules
        assert schedule.cron_schedule == cron and schedule.execution_timezone == "UTC"


def test_dagster_dev_finds_config_and_root_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("GANPIPE_CONFIG", raising=False)
    monkeypatch.setenv("GANPIPE_ROOT", str(tmp_path))
    with pytest.raises(UserError, match="set GANPIPE_CONFIG, for example"):
        definitions.from_environment()
    monkeypatch.setenv("GANPIPE_CONFIG", "dcgan_fashion_mnist:tiny")
    job = definitions.from_environment().resolve_job_def(definitions.JOB)
    assert {node.name for node in job.nodes} == {t for t in artifacts.TYPES if t != "Schema"}


def test_run_started_by_dagster_itself_does_all_of_it(world, instance, tmp_path, monkeypatch):
    monkeypatch.setenv("GANPIPE_ROOT", str(tmp_path))
    monkeypatch.setenv("GANPIPE_CONFIG", "dcgan_fashion_mnist")
    world.frechet = 2.0
    job = definitions.from_environment().resolve_job_def(definitions.JOB)
    assert job.execute_in_process(instance=instance).success
    assert served(tmp_path) == {"1": "seed 0"} and (tmp_path / "report.html").exists()
    # By hand: the same root, the same rule.
    assert go(tmp_path, pipeline__evaluator__max_frechet=3.0).executed == []


def test_config_of_any_folder(tmp_path):
    config = experiments.load("folder", {"pipeline.source": "folder:/x"}, run.CONFIG_DIR)
    run.check(config)
    assert config.data.resolution == 64 and config.pipeline.evaluator.max_frechet is None
