"""Each detector on made-up streams: silent just inside its threshold, heard just outside."""

import json
import math

import pytest

from ganpipe.ops import losses
from ganpipe.train import monitor, monitor_detectors, monitor_parts
from ganpipe.train.monitor_parts import Held, Median, Smooth


def run(detector, streams, steps, spacing=1):
    """Findings of a detector; `streams` maps names to functions of the step."""
    found = []
    for step in range(spacing, steps + 1, spacing):
        finding = detector.update(step, {k: float(f(step)) for k, f in streams.items()})
        if finding is not None:
            found.append(finding)
    return found


def make(kind, loss="non_saturating", scale=1.0, **settings):
    rules = monitor_parts.family(loss, scale)
    detectors = monitor_detectors.all_of(monitor.settings(settings), rules)
    return next(d for d in detectors if d.kind == kind)


def constant(value):
    return lambda step: value


def test_every_kind_has_a_rule_and_an_action():
    detectors = monitor_detectors.all_of(monitor.settings(None), monitor_parts.family("hinge"))
    kinds = {d.kind for d in detectors} | {"nan"}
    assert kinds == set(monitor_parts.KINDS) == set(monitor.settings(None)["actions"])


@pytest.mark.parametrize("spacing", [1, 10])
@pytest.mark.parametrize(("real", "fake", "heard"), [(0.995, 0.985, 0), (0.995, 0.992, 1)])
def test_saturation_by_accuracy(spacing, real, fake, heard):
    detector = make("saturation")
    streams = {"D/acc_real": constant(real), "D/acc_fake": constant(fake), "D/loss": constant(1)}
    found = run(detector, streams, 2000, spacing)
    assert len(found) == heard
    for finding in found:
        assert finding.onset == spacing
        assert finding.step == 1000 + spacing
        assert "99.5% of the real images" in finding.what


# (loss, scale, D loss just above and just below the alarm)
SATURATED = [
    ("non_saturating", 1.0, 0.051, 0.049),
    ("non_saturating", 0.5, 0.026, 0.024),
    ("fgan_gan_alt", 1.0, 0.051, 0.049),
    ("hinge", 1.0, 0.011, 0.009),
    ("least_squares", 1.0, 0.011, 0.009),
    ("rsgan", 1.0, 0.026, 0.024),
]


@pytest.mark.parametrize(("loss", "scale", "above", "below"), SATURATED)
def test_saturation_by_the_loss_of_d(loss, scale, above, below):
    assert not run(make("saturation", loss, scale), {"D/loss": constant(above)}, 1500)
    (finding,) = run(make("saturation", loss, scale), {"D/loss": constant(below)}, 1500)
    assert finding.step == 1001
    # A penalty is no part of what D wins.
    streams = {"D/loss": constant(below + 3), "D/penalty": constant(3)}
    assert len(run(make("saturation", loss, scale), streams, 1500)) == 1


def test_a_critic_has_no_accuracy_and_no_loss_that_says_it_won():
    streams = {k: constant(1.0) for k in ("D/acc_real", "D/acc_fake")} | {"D/loss": constant(-50)}
    assert not run(make("saturation", "wasserstein"), streams, 3000)
    streams = {"D/acc_fake": constant(0.0), "D/loss": constant(50)}
    assert not run(make("useless_discriminator", "wasserstein"), streams, 3000)
    assert run(make("useless_discriminator", "non_saturating"), streams, 3000)


@pytest.mark.parametrize("kind", ["saturation", "useless_discriminator"])
def test_without_accuracies_the_loss_of_d_still_speaks(kind):
    """They are logged only where a logit of 0 is the border."""
    low = kind == "saturation"
    good, bad = ({"D/loss": constant(v)} for v in (1.0, 0.01 if low else 9.0))
    assert not run(make(kind), good, 1500)
    (finding,) = run(make(kind), bad, 1500)
    assert "loss" in finding.what
    # A run that logged them once: what they said then does not hold for ever.
    detector = make(kind)
    run(detector, {f"D/acc_{s}": constant(float(low)) for s in ("real", "fake")} | good, 200)
    assert detector.onset == 1
    assert not run(detector, good, 5000)
    assert detector.calm


def test_rules_by_accuracy_only_where_accuracies_are_logged():
    for loss in losses.NAMES:
        rules = monitor_parts.family(loss)
        assert losses.border(loss) == 0.0 or not rules.accuracy, loss


@pytest.mark.parametrize(
    ("streams", "heard"),
    [
        ({"D/acc_fake": 0.31, "D/loss": 1.4}, 0),
        ({"D/acc_fake": 0.29, "D/loss": 1.4}, 1),
        ({"D/acc_fake": 0.5, "D/loss": 1.49}, 0),
        ({"D/acc_fake": 0.5, "D/loss": 1.51}, 1),
    ],
)
def test_useless_discriminator(streams, heard):
    streams = {k: constant(v) for k, v in streams.items()}
    found = run(make("useless_discriminator"), streams, 1400)
    assert len(found) == heard


@pytest.mark.parametrize(
    ("g", "d", "heard"),
    [
        (1.1e-5, 1e-3, 0),
        (0.9e-5, 1e-3, 1),
        (1.1e-3, 10.0, 0),
        (0.9e-3, 10.0, 1),
        (1.0, 0.0, 0),
    ],
)
def test_vanishing_gradient(g, d, heard):
    streams = {"G/grad_norm": constant(g), "D/grad_norm": constant(d)}
    found = run(make("vanishing_gradient"), streams, 400, spacing=10)
    assert len(found) == heard
    for finding in found:
        assert (finding.onset, finding.step) == (10, 160)


@pytest.mark.parametrize(("norm", "heard"), [(499.0, 0), (501.0, 1)])
def test_exploding_gradient(norm, heard):
    streams = {"G/grad_norm": constant(1.0), "D/grad_norm": constant(norm)}
    assert len(run(make("exploding_gradient"), streams, 400)) == heard


def test_one_spike_is_no_explosion():
    streams = {"D/grad_norm": lambda step: 1e4 if step == 300 else 30.0}
    assert not run(make("exploding_gradient"), streams, 1000)


@pytest.mark.parametrize(("factor", "heard"), [(19.0, 0), (21.0, 1)])
def test_a_jump_beside_the_running_median(factor, heard):
    streams = {"G/loss": lambda step: -2.0 * (factor if step > 500 else 1.0)}
    found = run(make("learning_rate"), streams, 700)
    assert len(found) == heard
    for finding in found:
        assert (finding.onset, finding.step) == (501, 521)


def test_a_jump_that_does_not_last_is_none_and_slow_growth_neither():
    streams = {"D/grad_norm": lambda step: 300.0 if step % 100 < 15 else 1.0}
    assert not run(make("learning_rate"), streams, 2000)
    streams = {"D/grad_norm": lambda step: 1.002**step}  # 55-fold in 2000 steps
    assert not run(make("learning_rate"), streams, 2000)


@pytest.mark.parametrize(("moved", "heard"), [(0.99, 0), (1.01, 1)])
def test_weights_thrown_about_at_the_first_look(moved, heard):
    found = run(make("learning_rate"), {"D_moved": constant(moved)}, 50, spacing=50)
    assert len(found) == heard
    for finding in found:
        assert finding.onset == 0  # somewhere in the 50 steps before


@pytest.mark.parametrize(
    ("usual", "moved", "heard"), [(0.04, 0.39, 0), (0.04, 0.41, 1), (0.01, 0.24, 0)]
)
def test_weights_that_move_more_than_they_used_to(usual, moved, heard):
    streams = {"G_moved": lambda step: moved if step > 700 else usual}
    found = run(make("learning_rate"), streams, 800, spacing=50)
    assert len(found) == heard
    for finding in found:
        assert (finding.onset, finding.step) == (700, 750)


@pytest.mark.parametrize(
    ("name", "above", "below"),
    [("diversity", 0.31, 0.29), ("diversity_least", 0.11, 0.09), ("modes", 0.31, 0.29)],
)
def test_collapse(name, above, below):
    fallen = {name: lambda step: below if step > 500 else 0.8}
    (finding,) = run(make("collapse"), fallen, 800, spacing=50)
    assert (finding.onset, finding.step) == (550, 600)  # the second look in a row
    kept = {name: lambda step: above if step > 500 else 0.8}
    assert not run(make("collapse"), kept, 800, spacing=50)
    once = {name: lambda step: below if step == 550 else 0.8}
    assert not run(make("collapse"), once, 800, spacing=50)


@pytest.mark.parametrize(("value", "heard"), [(0.27, 0), (0.26, 1)])
def test_a_sudden_fall_to_less_than_a_third_is_told_at_the_first_look(value, heard):
    streams = {"diversity": lambda step: value if step == 550 else 0.8}
    found = run(make("collapse"), streams, 800, spacing=50)
    assert [(f.onset, f.step) for f in found] == [(550, 550)] * heard
    kept = {"diversity": lambda step: value if step >= 550 else 0.8}
    assert len(run(make("collapse"), kept, 800, spacing=50)) == 1  # one episode, told once
    high = {"diversity": lambda step: 0.31 if step == 550 else 1.0}
    assert not run(make("collapse"), high, 800, spacing=50)


def test_a_young_generator_may_be_dull_until_the_grace_ends():
    found = run(make("collapse"), {"diversity": constant(0.1)}, 3000, spacing=50)
    assert [(f.onset, f.step) for f in found] == [(2050, 2100)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite(value):
    assert monitor_detectors.not_finite(3, {"D/loss": 1.0}) is None
    finding = monitor_detectors.not_finite(3, {"D/loss": 1.0, "G/loss": value})
    assert finding.kind == "nan"
    assert finding.what == f"G/loss is {value}"


def test_an_episode_is_told_once_and_the_next_after_a_pause():
    held = Held(0)
    told = [s for s in range(1, 2000) if held.update(s, s % 100 != 0) is not None]
    assert told == [1, 501, 1001, 1501]
    held = Held(0)
    assert [s for s in range(1, 2000) if held.update(s, True) is not None] == [1]


def test_smooth_forgets_by_steps_not_by_values():
    every, tenth = Smooth(0.99), Smooth(0.99)
    for step in range(1, 102):
        every.update(step, 0.0 if step == 1 else 1.0)
    for step in range(1, 102, 10):
        tenth.update(step, 0.0 if step == 1 else 1.0)
    assert every.value == pytest.approx(1 - 0.99**100, rel=1e-9)
    assert tenth.value == pytest.approx(every.value, rel=1e-9)


def test_median_waits_and_forgets():
    median = Median()
    for step in range(1, 5 * 39):
        median.update(step, 1.0)
    assert median.value is None
    for step in range(200, 1000):
        median.update(step, 7.0)
    assert median.value == 7.0
    assert len(median.values) == monitor_parts.WINDOW


@pytest.mark.parametrize("kind", [k for k in monitor_parts.KINDS if k != "nan"])
def test_a_detector_brought_back_from_json_goes_on_as_if_nothing_had_been(kind):
    def streams(step):
        wild = step > 640
        values = {"D/acc_real": 0.999, "D/acc_fake": 0.999, "D/loss": 60.0 if wild else 1.6}
        values |= {"G/grad_norm": 1e-6, "D/grad_norm": 900.0}
        values |= {"diversity": 0.1 if wild else 0.7, "G_moved": 0.6 if wild else 0.02}
        return {k: v + 1e-3 * math.sin(step) * v for k, v in values.items()}

    def feed(detector, steps):
        return [f for s in steps if (f := detector.update(s, streams(s))) is not None]

    settings = {"collapse_grace": 100}
    whole, first, second = (make(kind, **settings) for _ in range(3))
    expected = feed(whole, range(10, 1500, 10))
    found = feed(first, range(10, 660, 10))
    second.restore(json.loads(json.dumps(first.state())))
    found += feed(second, range(660, 1500, 10))
    assert found == expected
    assert found
    assert second.state() == whole.state()
