"""The health monitor in runs: settings, pages, going back, and being killed while going back."""

import json
import types

import numpy as np
import pytest
from PIL import Image

import ganpipe
from ganpipe import config as config_lib
from ganpipe.errors import UserError
from ganpipe.ops.optimizers import Adam, MomentumSGD
from ganpipe.train import (
    checkpoint,
    checks,
    incident,
    loop,
    monitor,
    monitor_detectors,
    monitor_journal,
)
from ganpipe.train.monitor_parts import Finding
from tests import harness


@pytest.fixture
def watched(tiny_config):
    """A tiny config with a `monitor` section."""

    def make(values=(), **section):
        plain = config_lib.to_dict(tiny_config(**dict(values)))
        return config_lib.from_dict(plain | {"monitor": section})

    return make


BAD = [
    ({"actoin": "warn"}, "config.monitor.actoin: unknown. Did you mean 'action'"),
    ({"action": "panic"}, "config.monitor.action='panic': expected one of warn, stop, rollback"),
    ({"actions": {"colapse": "stop"}}, "config.monitor.actions.colapse: unknown. Did you mean"),
    ({"actions": {"nan": "ignore"}}, "config.monitor.actions.nan='ignore'"),
    ({"every": 0}, "config.monitor.every=0: expected 1 or more"),
    ({"rollback_lr_factor": 1.5}, "expected more than 0, at most 1"),
    ({"vanishing_norm": -1.0}, "config.monitor.vanishing_norm=-1.0: expected 0 or more"),
]


@pytest.mark.parametrize(("section", "message"), BAD)
def test_impossible_settings_are_refused(section, message, watched, tiny_data, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.train(watched(**section), tmp_path / "run", data_dir=tiny_data)
    assert not (tmp_path / "run").exists()


def test_missing_settings_take_their_defaults():
    assert monitor.settings(None) == config_lib.to_dict(config_lib.monitor())
    values = monitor.settings({"action": "stop", "actions": {"collapse": "off"}})
    assert monitor.action_of(values, "collapse") == "off"
    assert monitor.action_of(values, "saturation") == "stop"
    assert monitor.action_of(monitor.settings({"action": "off"}), "nan") == "stop"
    assert monitor.action_of(monitor.settings({"action": "rollback"}), "nan") == "rollback"


def test_unknown_sections_and_optimiser_keys_are_refused(tiny_config, tiny_data, tmp_path):
    plain = config_lib.to_dict(tiny_config())
    wrong = config_lib.from_dict(plain | {"penaltys": {"gp": 10.0}})
    with pytest.raises(UserError, match=r"config.penaltys: unknown section. Did you mean"):
        loop.train(wrong, tmp_path / "run", data_dir=tiny_data)
    plain["optimizer"]["n_critics"] = 2
    with pytest.raises(UserError, match=r"n_critics: dcgan has no such setting. Did you mean 'n_c"):
        loop.train(config_lib.from_dict(plain), tmp_path / "run", data_dir=tiny_data)
    plain = config_lib.to_dict(tiny_config()) | {"penalties": {"gpp": 1.0}}
    with pytest.raises(UserError, match=r"penalties.gpp"):
        loop.train(config_lib.from_dict(plain), tmp_path / "run", data_dir=tiny_data)


def test_multi_worker_cannot_roll_back(watched, tiny_data, tmp_path):
    config = watched(actions={"collapse": "rollback"})
    with pytest.raises(UserError, match="collapse is to roll back, which --strategy=multi_worker"):
        loop.train(config, tmp_path / "run", data_dir=tiny_data, strategy="multi_worker")


# --- Pages ---------------------------------------------------------------------------------------


def test_a_page_says_what_when_and_what_to_change(tmp_path):
    finding = Finding("saturation", 1234, 234, "D is right on <99.9%> of all")
    history = [(s, {"D/loss": 0.01, "G/loss": float("nan")}) for s in range(1200, 1234)]
    assert incident.folder(tmp_path, finding, 2).name == "step_00001234_saturation_2"
    page = incident.write(
        incident.folder(tmp_path, finding),
        finding,
        done="Training goes on.",
        config={"optimizer": {"d_learning_rate": 2e-4}, "tips": {"label_smoothing": 0.0}},
        history=history,
        health={"health/D_loss": 0.01},
        picture=lambda path: path.write_bytes(b"png"),
    )
    assert page == tmp_path / "incidents" / "step_00001234_saturation" / "index.html"
    text = page.read_text()
    assert "D overpowers G at step 1234" in text
    assert "D is right on &lt;99.9%&gt; of all." in text
    assert "step 234" in text
    assert "--config.optimizer.d_learning_rate" in text
    assert "--config.tips.label_smoothing" in text
    assert "n_critic" not in text  # this config has no such key
    assert 'src="curves.png"' in text
    assert "http" not in text
    record = json.loads((page.parent / "incident.json").read_text())
    assert record["kind"] == "saturation"
    assert record["scalars"] == {"D/loss": 0.01, "G/loss": "nan", "health/D_loss": 0.01}
    names = sorted(p.name for p in page.parent.iterdir())
    assert names == ["curves.png", "incident.json", "index.html", "samples.png"]
    from PIL import Image

    width, height = Image.open(page.parent / "curves.png").size
    assert width == 900
    assert height >= 200


@pytest.mark.parametrize(("side", "expected"), [(8, 73), (512, 4 * 513 + 1)])
def test_the_picture_of_an_incident_is_of_bounded_size(tmp_path, side, expected):
    watch = object.__new__(monitor.Monitor)
    images = np.broadcast_to(np.float32(0), (64, side, side, 1))
    watch.probe = types.SimpleNamespace(draw=lambda: images)
    watch._picture(tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as sheet:
        assert sheet.size == (expected, expected)


def test_every_kind_has_a_title_and_a_suggestion_that_a_config_can_take():
    plain = config_lib.to_dict(config_lib.load("dcgan_fashion_mnist"))
    plain["tips"] = config_lib.to_dict(config_lib.tips())
    plain["penalties"] = config_lib.to_dict(config_lib.penalties())
    for kind in monitor.settings(None)["actions"]:
        assert incident.TITLES[kind]
        assert incident.suggestions(kind, plain)


# --- Runs ----------------------------------------------------------------------------------------


class Trip(monitor_detectors.Detector):
    """Finds a collapse at a step as long as the run went back less than so often."""

    kind = "collapse"
    at, times, run = 10, 10**6, None

    def update(self, step, values):
        journal = monitor_journal.Journal(self.run)
        if step == self.at and journal.rollbacks < self.times:
            return self.finding(step, step, "a test")
        return None


@pytest.fixture
def trip(monkeypatch):
    """Puts `Trip` beside the other detectors: trip(run, at=..., times=...)."""
    plain = monitor_detectors.all_of

    def put(run, **values):
        kind = type("Trip", (Trip,), values | {"run": run})
        monkeypatch.setattr(
            monitor_detectors, "all_of", lambda *given: [*plain(*given), kind(*given)]
        )

    return put


def test_a_warning_leaves_a_page_and_changes_nothing(watched, tiny_data, tmp_path, trip, capsys):
    config = watched(every=4)
    quiet = harness.values(loop.train(config, tmp_path / "quiet", data_dir=tiny_data))
    assert not (tmp_path / "quiet" / "incidents").exists()
    trip(tmp_path / "run")
    values = harness.values(loop.train(config, tmp_path / "run", data_dir=tiny_data))
    harness.assert_equal(values, quiet)
    folder = tmp_path / "run" / "incidents" / "step_00000010_collapse"
    assert "Training goes on" in (folder / "index.html").read_text()
    lines = [s for s in capsys.readouterr().err.splitlines() if "G has collapsed" in s]
    assert len(lines) == 1
    assert str(folder / "index.html") in lines[0]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"incidents", "health/diversity", "health/G_moved", "health/G_grad_norm"} <= tags


def test_stop_names_the_page_and_saves_nothing_more(watched, tiny_data, tmp_path, trip):
    run = tmp_path / "run"
    trip(run, at=8)  # a checkpoint is due at this step
    with pytest.raises(UserError, match=r"collapse: a test at step 8.*is step 4 .*index.html"):
        loop.train(watched(actions={"collapse": "stop"}), run, data_dir=tiny_data)
    assert checkpoint.list_steps(run / "checkpoints") == [4]


def test_going_back_is_bounded(watched, tiny_data, tmp_path, trip):
    run = tmp_path / "run"
    trip(run, at=7)
    config = watched(action="rollback", max_rollbacks=2, every=2, rollback_lr_factor=0.1)
    with pytest.raises(UserError, match=r"back 2 times already .*max_rollbacks=2.*index.html"):
        loop.train(config, run, data_dir=tiny_data)
    journal = json.loads((run / "monitor.json").read_text())
    assert journal["rollbacks"] == 2
    assert [h["to"] for h in journal["history"]] == [4, 4]
    assert journal["lr_scale"] == pytest.approx(0.01)


class Killed(BaseException):
    """What a kill leaves is what is on disk."""


def interrupt(owner, name, when, after):
    """Makes `owner.name` raise Killed at its `when`-th call, before or after its work."""
    plain, calls = getattr(owner, name), []

    def work(*arguments, **values):
        calls.append(1)
        if len(calls) == when and not after:
            raise Killed
        result = plain(*arguments, **values)
        if len(calls) == when:
            raise Killed
        return result

    return work


PLACES = {
    "before anything is deleted": (monitor_journal.Journal, "settle", 2, False),
    "after the snapshot, before the checkpoint": (checkpoint, "save", 3, False),
    "before it is noted": (monitor_journal.Journal, "roll_back", 1, False),
    "before training goes on": (monitor_journal.Journal, "settle", 2, True),
    "after the second rollback": (checkpoint, "save", 3, True),
}
# Each takes seconds: two of them by default.
PLACES = [
    pytest.param(place, id=name, marks=[pytest.mark.slow] if i > 1 else [])
    for i, (name, place) in enumerate(PLACES.items())
]


@pytest.fixture(scope="module")
def gone_back():
    """Of a run that went back twice from step 10 to 8: filled by the first test that asks."""
    return {}


@pytest.mark.parametrize("place", PLACES)
def test_killed_while_going_back_equals_unbroken(
    place, watched, tiny_data, tmp_path, trip, monkeypatch, gone_back
):
    config = watched({"train.steps": 16}, action="rollback", every=2, rollback_lr_factor=0.1)
    if not gone_back:
        trip(tmp_path / "whole", times=2)
        gone_back["values"] = harness.values(
            loop.train(config, tmp_path / "whole", data_dir=tiny_data)
        )
        gone_back["journal"] = json.loads((tmp_path / "whole" / "monitor.json").read_text())
    run = tmp_path / "run"
    trip(run, times=2)
    owner, name, when, after = place
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupt(owner, name, when, after))
        with pytest.raises(Killed):
            loop.train(config, run, data_dir=tiny_data)
    system = loop.train(config, run, data_dir=tiny_data)
    harness.assert_equal(harness.values(system), gone_back["values"])
    journal = json.loads((run / "monitor.json").read_text())
    assert journal["rollbacks"] == 2
    assert journal["pending"] is None
    assert journal["snapshots"] == gone_back["journal"]["snapshots"]
    assert [h["to"] for h in journal["history"]] == [8, 8]
    rate = float(np.asarray(system.g_optimizer.learning_rate))
    assert rate == pytest.approx(2e-4 * 0.01)
    # Other data and latents, not only other rates.
    assert system.seed != config.train.seed


def test_the_path_of_clipped_weights_is_not_judged(tmp_path):
    """WGAN's first clip moves D by its whole length."""

    class Thrown:
        def measure(self):
            return {"D_moved": 1.2, "G_moved": 0.1, "diversity": 0.8}

    for clip, seen in ((0.01, 0), (0.0, 1)):
        system = harness.small(
            "dcgan", compile_arguments={"loss": "wasserstein", "penalties": {"clip": clip}}
        )
        values = {"monitor": monitor.settings({"every": 1})}
        run = tmp_path / str(clip)
        journal = monitor_journal.Journal(run)
        watch = monitor.Monitor(run, values, journal, Thrown(), system.objective)
        watch._picture = lambda path: path.write_bytes(b"")
        watch.after(1, {"D/loss": np.float32([1.0])})
        assert len(list(run.glob("incidents/*"))) == seen


def test_training_that_never_went_back_has_the_seed_of_the_config(tmp_path):
    journal = monitor_journal.Journal(tmp_path)
    assert journal.seed(7) == 7
    seeds = set()
    for rollbacks in range(1, 4):
        journal.values["rollbacks"] = rollbacks
        seeds.add(journal.seed(7))
        assert journal.seed(7) == journal.seed(7) >= 0
    assert len(seeds) == 3


def saved(directory, step):
    """A checkpoint that `checkpoint.fault` finds sound."""
    folder = checkpoint.path_of(directory, step)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"files": {}}')


def test_a_good_checkpoint_is_old_enough_calm_and_sound(tmp_path):
    journal, kinds = monitor_journal.Journal(tmp_path), ["collapse", "saturation"]
    held = {400: ["vanishing_gradient", "collapse"], 500: ["vanishing_gradient"]}
    for step in (100, 200, 300, 400, 500):
        journal.save_snapshot(step, {"conditions": held.get(step, [])})
        saved(tmp_path / "checkpoints", step)
    assert journal.target(550, 50, kinds) == 500  # a kind that does not roll back
    assert journal.target(550, 50, ["vanishing_gradient"]) == 300
    assert journal.target(549, 50, kinds) == 300
    (tmp_path / "checkpoints" / "step_00000300" / "manifest.json").write_text("{")
    assert journal.target(549, 50, kinds) == 200
    assert journal.calm_steps(kinds) == [100, 200, 300, 500]
    journal.values["snapshots"] = {"100": {"calm": False}, "200": {"calm": True}}
    assert journal.calm_steps(kinds) == [200]


def test_without_a_good_checkpoint_the_oldest_sound_one_before_the_onset(tmp_path):
    journal, directory = monitor_journal.Journal(tmp_path), tmp_path / "checkpoints"
    assert journal.target(150, 50, ["collapse"]) == 0
    for step in (80, 90, 100, 200):
        saved(directory, step)
    # Without snapshots, and with those of trouble.
    assert journal.target(150, 50, ["collapse"]) == 80
    journal.values["snapshots"] = {"80": {"conditions": ["collapse"]}, "100": {"conditions": []}}
    assert journal.target(120, 50, ["collapse"]) == 80
    (directory / "step_00000080" / "manifest.json").write_text("{")
    assert journal.target(120, 50, ["collapse"]) == 90
    assert journal.target(85, 50, ["collapse"]) == 0  # those there are of the time of the trouble
    journal.roll_back(journal.target(120, 50, ["collapse"]), 0.5, {})
    assert checkpoint.list_steps(directory) == [80, 90]  # a damaged one is no worse for it


@pytest.mark.parametrize("spacing", [1, 10, 30, 50, 70, 500])
@pytest.mark.parametrize("trouble", [10**6, 1505])
def test_a_target_exists_however_often_checkpoints_come(spacing, trouble, tmp_path):
    """Keeps what `checkpoint.save` keeps; from `trouble` on a condition holds."""
    journal, directory = monitor_journal.Journal(tmp_path, is_chief=False), tmp_path / "checkpoints"
    every, kinds = 50, ["collapse"]
    for step in range(spacing, 2001, spacing):
        held = kinds if step >= trouble else []
        journal.save_snapshot(step, {"conditions": held})
        keep = journal.worth_keeping(min(step, trouble), every, kinds)
        saved(directory, step)
        for old in checkpoint.list_steps(directory)[:-3]:
            if old not in keep:
                (directory / f"step_{old:08d}" / "manifest.json").unlink()
                (directory / f"step_{old:08d}").rmdir()
        assert len(checkpoint.list_steps(directory)) <= 3 + 5
        onset = min(step, trouble)
        # The second: a path of the weights that was too long, seen at the end of the look.
        for first in (onset, onset - every):
            if first > every + 2 * (every + 3 * spacing):
                target = journal.target(first, every, kinds)
                assert first - 2 * every - 3 * spacing <= target <= first - every


def test_a_good_checkpoint_stays_however_long_trouble_lasts(
    watched, tiny_data, tmp_path, monkeypatch
):
    def all_of(settings, rules):
        never_calm = monitor_detectors.Saturation(settings, rules)
        never_calm.update = lambda step, values: never_calm.parts["loss"].update(step, step > 3)
        return [never_calm]

    monkeypatch.setattr(monitor_detectors, "all_of", all_of)
    values = {"train.steps": 8, "train.checkpoint_every": 1, "train.keep_checkpoints": 2}
    config = watched(values, every=2, actions={"saturation": "rollback"})
    loop.train(config, tmp_path / "run", data_dir=tiny_data)
    # 4 steps, the onset, less 2 and less 4, and the next to come of age.
    assert checkpoint.list_steps(tmp_path / "run" / "checkpoints") == [1, 2, 3, 7, 8]
    loop.train(watched(values, every=2), tmp_path / "warned", data_dir=tiny_data)
    assert checkpoint.list_steps(tmp_path / "warned" / "checkpoints") == [7, 8]


def test_a_kind_that_only_warns_makes_no_checkpoint_bad(watched, tiny_data, tmp_path, monkeypatch):
    """And 10 steps apart with looks every 50, in small: every 1 with looks every 4."""
    run = tmp_path / "run"

    def all_of(settings, rules):
        never_calm = monitor_detectors.Saturation(settings, rules)
        never_calm.update = lambda step, values: never_calm.parts["loss"].update(step, True)
        return [never_calm, type("Trip", (Trip,), {"run": run, "times": 1})(settings, rules)]

    monkeypatch.setattr(monitor_detectors, "all_of", all_of)
    values = {"train.checkpoint_every": 1, "train.keep_checkpoints": 2}
    actions = {"saturation": "warn", "collapse": "rollback"}
    loop.train(watched(values, every=4, actions=actions), run, data_dir=tiny_data)
    (entry,) = json.loads((run / "monitor.json").read_text())["history"]
    assert 10 - 2 * 4 <= entry["to"] <= 10 - 4


def test_a_journal_that_is_not_ours_is_refused(tmp_path):
    (tmp_path / "monitor.json").write_text('{"rollbacks": 1}')
    with pytest.raises(UserError, match="monitor.json is not readable"):
        monitor_journal.Journal(tmp_path)


def test_rates_are_scaled_from_the_compiled_ones_whatever_they_are():
    import keras

    schedule = keras.optimizers.schedules.PolynomialDecay(1e-3, 100, 0.0)
    optimizers = {"g": Adam(2e-4), "d": [MomentumSGD(0.1), Adam(schedule)]}
    rates = monitor_journal.base_rates(optimizers | {"other": 3})
    assert len(rates) == 3
    optimizers["g"].learning_rate = 5e-5  # as a checkpoint of a scaled run would
    monitor_journal.scale_rates(rates, 0.25)
    assert float(np.asarray(optimizers["g"].learning_rate)) == pytest.approx(5e-5)
    assert float(np.asarray(optimizers["d"][0].rates()[0])) == pytest.approx(0.025)
    assert float(np.asarray(optimizers["d"][1].learning_rate)) == pytest.approx(2.5e-4)
    monitor_journal.scale_rates(rates, 1.0)
    assert float(np.asarray(optimizers["g"].learning_rate)) == pytest.approx(5e-5)


def test_a_run_of_before_the_monitor_goes_on(watched, tiny_data, tmp_path):
    """A folder without monitor.json, and a config.json without a `monitor` section."""
    run = tmp_path / "run"
    loop.train(watched({"train.steps": 8}, every=2), run, data_dir=tiny_data)
    (run / "monitor.json").unlink()
    record = json.loads((run / "config.json").read_text())
    del record["config"]["monitor"]
    (run / "config.json").write_text(json.dumps(record))
    system = loop.train(watched(), run, data_dir=tiny_data)
    assert int(system.step.numpy()) == 12
    assert int(ganpipe.load(run).step.numpy()) == 12


def test_a_run_of_before_the_monitor_keeps_its_checkpoints(watched, tiny_data, tmp_path, trip):
    """Its first rollback used to wipe it."""
    run = tmp_path / "run"
    loop.train(watched({"train.steps": 8}, every=2), run, data_dir=tiny_data)
    (run / "monitor.json").unlink()
    trip(run, at=9, times=1)
    loop.train(watched(action="rollback", every=2), run, data_dir=tiny_data)
    (entry,) = json.loads((run / "monitor.json").read_text())["history"]
    assert entry["to"] == 4
    assert checkpoint.list_steps(run / "checkpoints") == [4, 8, 12]


# --- What a step would refuse, before the run folder ---------------------------------------------


def with_tips(config, **tips):
    plain = config_lib.to_dict(config)
    return config_lib.from_dict(plain | {"tips": config_lib.to_dict(config_lib.tips(**tips))})


def test_a_replay_pool_smaller_than_the_batch_is_refused_at_once(tiny_config, tiny_data, tmp_path):
    config = with_tips(tiny_config(), replay=0.5, replay_pool=7)
    with pytest.raises(UserError, match=r"tips.replay_pool=7: expected .* train.batch_size=8"):
        loop.train(config, tmp_path / "run", data_dir=tiny_data)
    assert not (tmp_path / "run").exists()
    info = ganpipe.data.info(tiny_data)
    checks.validate(with_tips(tiny_config(), replay_pool=7), info)  # off
    checks.validate(with_tips(tiny_config(), replay=0.5, replay_pool=8), info)


def test_a_replay_pool_on_two_replicas_is_refused_at_once(
    tiny_config, tiny_data, tmp_path, monkeypatch
):
    two = types.SimpleNamespace(num_replicas_in_sync=2)
    monkeypatch.setattr(loop.distribute, "make", lambda *given: two)
    monkeypatch.setattr(loop, "_stretch", lambda *given: None)
    config = with_tips(tiny_config(), replay=0.5)
    with pytest.raises(UserError, match=r"tips.replay=0.5: .* one replica, --strategy=mirrored"):
        loop.train(config, tmp_path / "run", data_dir=tiny_data, strategy="mirrored")
    loop.train(tiny_config(), tmp_path / "run", data_dir=tiny_data, strategy="mirrored")


def test_a_batch_that_gives_no_equal_slices_is_refused_at_once(tiny_data, tmp_path):
    values = {
        "data.resolution": 8,
        "system.discriminators": 3,
        "system.projection": False,
        "system.nf": 4,
        "optimizer.own_slices": True,
        "train.batch_size": 8,
    }
    config = config_lib.load("multi_discriminator_fashion_mnist:tiny", values)
    with pytest.raises(UserError, match=r"train.batch_size: 8 images .* multiple of 3"):
        loop.train(config, tmp_path / "run", data_dir=tiny_data)
    assert not (tmp_path / "run").exists()
