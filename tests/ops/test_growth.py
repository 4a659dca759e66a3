"""The schedule of progressive growing against the official rule, written here as a loop."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.ops.growth import Growth

V2_1GPU = {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4}  # base 4


def official_lod(images, lod0, train, fade):
    """lod after a number of real images, as progan.md section 3 writes it."""
    kimg = images / 1000
    phase = math.floor(kimg / (train + fade))
    left = kimg - phase * (train + fade)
    lod = lod0 - phase
    if fade > 0:
        lod -= max(left - train, 0.0) / fade
    return max(lod, 0.0)


def walk(growth, lod0, train, fade, base_rate=1e-3):
    """(step, images, lod, resolution, batch, rate) at every look of the official loop."""
    images, step = 0, 0
    while images < growth.total:
        lod = official_lod(images, lod0, train, fade)
        resolution = growth.resolution >> math.floor(lod)
        batch = growth.batches[resolution]
        yield step, images, lod, resolution, batch, growth.rates.get(resolution, base_rate)
        images += growth.repeats * batch
        step += growth.repeats


@pytest.mark.parametrize(
    ("resolution", "start", "arguments"),
    [
        (1024, 4, {"batch_sizes": V2_1GPU, "learning_rates": {1024: 0.0015}}),
        (1024, 8, {"batch_sizes": {8: 256, 16: 128, 32: 64, 64: 32}, "total_kimg": 25_000}),
        (32, 4, {"train_kimg": 3, "fade_kimg": 5, "total_kimg": 40, "repeats": 10}),
        (32, 8, {"train_kimg": 0, "fade_kimg": 5, "total_kimg": 30}),
        (48, 6, {"train_kimg": 4, "fade_kimg": 0, "total_kimg": 30, "batch_sizes": {"px12": 8}}),
    ],
)
def test_forty_points_of_the_schedule(resolution, start, arguments):
    growth = Growth(resolution, 16, start_resolution=start, **arguments)
    lod0 = int(math.log2(resolution // start))
    looks = list(walk(growth, lod0, growth.train / 1000, growth.fade / 1000))
    assert growth.steps == looks[-1][0] + growth.repeats
    picked = np.linspace(0, len(looks) - 1, 40).astype(int)
    for step, images, lod, size, batch, rate in (looks[i] for i in picked):
        stage = growth.at(step)
        assert (stage.resolution, stage.batch_size) == (size, batch)
        assert growth.images(step) == images
        assert (stage.learning_rate or 1e-3) == rate
        assert stage.fading == (lod != math.floor(lod))
        assert growth.lod_at(images) == pytest.approx(lod, abs=1e-12)
        # All steps of a look have the lod of its first.
        for late in (step, step + growth.repeats - 1):
            assert float(growth.lod(stage, late)) == pytest.approx(lod, abs=1e-5)


def test_a_stage_ends_where_floor_or_ceiling_of_lod_changes():
    growth = Growth(1024, 4, batch_sizes=V2_1GPU, learning_rates={1024: 0.0015})
    changes, before = [], None
    for step, images, lod, *_ in walk(growth, 8, 600, 600):
        if (now := (math.floor(lod), math.ceil(lod))) != before:
            changes.append((step, images))
            before = now
    assert changes == [(s.first_step, s.first_image) for s in growth.stages]
    assert len(growth.stages) == 17
    assert [s.resolution for s in growth.stages[-3:]] == [512, 1024, 1024]


def test_alpha_falls_from_one_to_zero_in_a_fade_and_is_zero_else():
    growth = Growth(8, 10, train_kimg=1, fade_kimg=1, total_kimg=4, repeats=2)
    fade = growth.stages[1]
    alphas = [float(growth.alpha(fade, s)) for s in range(fade.first_step, fade.last_step)]
    assert alphas[:4] == pytest.approx([0.98, 0.98, 0.96, 0.96], abs=1e-6)
    assert alphas[-1] == pytest.approx(0.02, abs=1e-6)
    assert float(growth.alpha(growth.stages[0], 3)) == 0.0
    assert float(growth.alpha(growth.stages[2], fade.last_step + 7)) == 0.0


def test_alpha_in_a_graph_is_that_outside():
    growth = Growth(8, 10, train_kimg=1, fade_kimg=3, total_kimg=6)
    fade = growth.stages[1]
    inside = tf.function(lambda step: growth.alpha(fade, step))
    for step in (fade.first_step, fade.first_step + 101, fade.last_step - 1):
        value = inside(tf.constant(step, tf.int64))
        assert float(value) == float(growth.alpha(fade, step))


def test_no_growth_is_one_stage():
    growth = Growth.none(32, 64, 500)
    assert not growth.grows
    assert growth.steps == 500
    assert growth.images(200) == 12_800
    assert growth.images(600) == 38_400  # a run may go on


@pytest.mark.parametrize(
    ("resolution", "arguments", "match"),
    [
        (32, {"start_resolution": 5}, "start_resolution: 5; expected 32"),
        (32, {"start_resolution": 64}, "start_resolution"),
        (32, {"start_resolution": 0}, "start_resolution"),
        (32, {"train_kimg": -1.0}, "train_kimg"),
        (32, {"train_kimg": 0, "fade_kimg": 0}, "above 0"),
        (32, {"total_kimg": 0}, "total_kimg"),
        (32, {"repeats": 0}, "repeats"),
        (32, {"batch_sizes": {"sixteen": 4}}, "batch_sizes.sixteen"),
        (32, {"batch_sizes": {16: 0}}, "batch_sizes.px16"),
        (32, {"learning_rates": {"17": 0.1}}, "learning_rates.17"),
        (32, {"learning_rates": {"16": 0.0}}, "learning_rates.px16: 0.0"),
        (0, {}, "start_resolution: 4; expected 0"),
    ],
)
def test_what_does_not_fit_is_refused(resolution, arguments, match):
    with pytest.raises(UserError, match=match):
        Growth(resolution, 8, **arguments)


def test_a_table_may_name_sizes_beside_the_levels_of_any_base():
    table = {"px3": 32, "px4": 5, "px6": 16, "px192": 2}
    assert Growth(96, 4, start_resolution=6, batch_sizes=table).batches[6] == 16
    with pytest.raises(UserError, match=r"batch_sizes\.10: expected a resolution, such as px6"):
        Growth(96, 4, start_resolution=6, batch_sizes={"px10": 16})
