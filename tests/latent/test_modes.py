"""Each mode on tiny systems: what its pictures are made of, and what it refuses."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent import (
    arithmetic,
    attributes,
    directions,
    interpolate,
    mix,
    truncate,
    walk,
)
from ganpipe.latent.space import Space
from tests.latent import systems


@pytest.fixture(scope="module")
def dcgan():
    return systems.plain("dcgan", channels=3)


@pytest.fixture(scope="module")
def cgan():
    return systems.plain("dcgan", num_classes=3)


@pytest.fixture(scope="module")
def styled():
    return systems.styled()


@pytest.fixture(scope="module")
def conditional():
    return systems.styled(num_classes=3)


# --- Spaces ---------------------------------------------------------------------------------------


def test_points_of_seeds_are_the_samples_of_seeds(dcgan, cgan, styled):
    space = systems.space(dcgan)
    images = space.images(space.points([3, 9, 4, 7, 1], None), None)
    np.testing.assert_array_equal(images, dcgan.sample(5, [3, 9, 4, 7, 1]))
    space = systems.space(cgan)
    classes = space.labels([3, 9])
    images = space.images(space.points([3, 9], classes), classes)
    np.testing.assert_array_equal(images, cgan.sample(2, [3, 9]))  # classes of the same draw
    for name in ("z", "w"):
        space = systems.space(styled, name, truncation=0.6)
        images = space.images(space.points([3, 9], None), None)
        expected = styled.sample(2, [3, 9], truncation=0.6, noise="const")
        assert np.abs(images.astype(int) - expected).max() <= 1


def test_batches_do_not_change_pictures(styled):
    points = systems.space(styled).points(range(5), None)
    ticks = []
    small = systems.space(styled, batch_size=2).images(points, None, ticks.append)
    assert ticks == [2, 2, 1]
    large = systems.space(styled, batch_size=5).images(points, None)
    assert np.abs(small.astype(int) - large).max() <= 1


def test_spaces_that_there_are_not(dcgan, styled):
    with pytest.raises(UserError, match="--space=w: this dcgan has no styles"):
        Space(dcgan, "w")
    with pytest.raises(UserError, match="--cutoff: this dcgan has no styles"):
        Space(dcgan, cutoff=2)
    with pytest.raises(UserError, match="--cutoff=5: expected 0 to 4"):
        Space(styled, cutoff=5)
    with pytest.raises(UserError, match="--space=v"):
        Space(styled, "v")
    assert Space(dcgan).name == "z" and Space(styled).name == "w"
    with pytest.raises(UserError, match="points, not pictures"):
        Space(systems.plain("dcgan", resolution=1, channels=2, body="points"))


def test_labels(dcgan, cgan, conditional):
    with pytest.raises(UserError, match="unconditional"):
        Space(dcgan).labels([1, 2], [0])
    space = Space(cgan)
    np.testing.assert_array_equal(space.labels([1, 2], [2]), [2, 2])
    for wrong, text in (([0, 1, 2], "3 classes for 2 seeds"), ([3], "classes 0 to 2")):
        with pytest.raises(UserError, match=text):
            space.labels([1, 2], wrong)
    with pytest.raises(UserError, match="z cannot pass from one class to another"):
        space.labels([1, 2], [0, 1], one=True)
    assert len(set(space.labels(range(9), one=True).tolist())) == 1
    np.testing.assert_array_equal(Space(conditional).labels([1, 2], [0, 1], one=True), [0, 1])


# --- interpolate, walk, truncate, mix, arithmetic -------------------------------------------------


def test_interpolation_passes_through_its_seeds(dcgan):
    space = systems.space(dcgan)
    found = interpolate.interpolate(space, [1, 2, 3], frames=4)
    assert found.figures["interpolation"] == "slerp" and found.frames.shape == (9, 8, 8, 3)
    expected = dcgan.sample(3, [1, 2, 3])
    assert np.abs(found.frames[[0, 4, 8]].astype(int) - expected).max() <= 1
    looped = interpolate.interpolate(space, [1, 2, 3], frames=4, loop=True)
    assert len(looped.frames) == 12 and looped.arrays["latents"].shape == (3, 5, 6)
    assert looped.sheets[""].shape[0] > found.sheets[""].shape[0]


def test_interpolation_in_w_is_a_line_of_styles(conditional):
    space = systems.space(conditional)
    found = interpolate.interpolate(space, [1, 2], [0, 2], frames=2)
    assert found.figures["interpolation"] == "linear"
    a, b = space.points([1, 2], np.array([0, 2], np.int32))
    middle = space.images(((a + b) / 2)[None], None)
    assert np.abs(found.frames[1].astype(int) - middle[0]).max() <= 1
    with pytest.raises(UserError, match="--interpolation=cubic"):
        interpolate.interpolate(space, [1, 2], interpolation="cubic")


def test_a_walk_shows_its_latents(cgan):
    space = systems.space(cgan)
    found = walk.walk(space, walkers=2, frames=5, harmonics=1, seed=3, labels=[0, 2])
    z = found.arrays["latents"]
    assert z.shape == (5, 2, 6) and found.frames.shape == (5, 66, 131, 1)
    expected = space.images(z[4], np.array([0, 2], np.int32))
    assert np.abs(found.frames[4, 1:65:8, 1:65:8].astype(int) - expected[0]).max() <= 1
    assert np.abs(found.frames[4, 1:65:8, 66:130:8].astype(int) - expected[1]).max() <= 1


@pytest.mark.parametrize("which", ["dcgan", "styled"])
def test_truncation_sweep(which, request):
    system = request.getfixturevalue(which)
    space = systems.space(system)
    found = truncate.truncate(space, [1, 2, 3], [1.0, 0.5, 0.0])
    spread = found.figures["pixel_spread"]
    assert spread[0] > spread[1] > spread[2] == pytest.approx(0.0, abs=0.2)
    with pytest.raises(UserError, match="--psi: 3; expected -2 to 2"):
        truncate.truncate(space, [1], [3.0])


def test_truncation_below_a_cutoff_leaves_the_rest(styled):
    space = systems.space(styled, cutoff=2)
    ws = space.map(space.z([1, 2]), None, truncation=0.0)
    whole = space.map(space.z([1, 2]), None, truncation=1.0)
    average = styled.generator_ema.w_average.numpy()
    np.testing.assert_allclose(ws[:, :2], np.broadcast_to(average, (2, 2, 6)), atol=1e-6)
    np.testing.assert_array_equal(ws[:, 2:], whole[:, 2:])
    assert truncate.truncate(space, [1, 2], [0.0]).figures["pixel_spread"][0] > 1


def test_mixing(styled, dcgan):
    space = systems.space(styled)
    found = mix.mix(space, [1, 2], [3, 4, 5], "1-2")
    rows, columns = found.arrays["row_styles"], found.arrays["column_styles"]
    assert rows.shape == (2, 4, 6) and columns.shape == (3, 4, 6)
    wanted = rows[1].copy()
    wanted[1:3] = columns[2, 1:3]
    cell = space.images(wanted[None], None)[0].repeat(8, 0).repeat(8, 1)
    drawn = found.sheets[""][-66:-2, -66:-2]
    assert np.abs(drawn.astype(int) - cell).max() <= 1
    with pytest.raises(UserError, match="no style layer 6"):
        mix.mix(space, [1], [2], "0-6")
    with pytest.raises(UserError, match="--mode=mix: this dcgan has no styles"):
        mix.mix(systems.space(dcgan), [1], [2], "0")


@pytest.mark.parametrize("which", ["dcgan", "styled"])
def test_arithmetic(which, request):
    space = systems.space(request.getfixturevalue(which))
    found = arithmetic.arithmetic(space, [1, 2], [3], [4, 5, 6])
    a, b, c = (space.points(s, None).mean(axis=0) for s in ([1, 2], [3], [4, 5, 6]))
    made = found.arrays["latents"]
    np.testing.assert_allclose(made[3], a - b + c, atol=1e-5)
    assert len(made) == 4 + arithmetic.NEIGHBOURS
    near = np.abs(made[4:] - made[3])
    assert 0 < near.max() <= 0.25 * (1 if which == "dcgan" else 2)
    again = arithmetic.arithmetic(space, [1, 2], [3], [4, 5, 6])
    np.testing.assert_array_equal(again.sheets[""], found.sheets[""])
    with pytest.raises(UserError, match="--b is missing"):
        arithmetic.arithmetic(space, [1], [], [2])


def test_turn_vector(dcgan):
    space = systems.space(dcgan)
    scales = np.linspace(0.0, 1.0, 8)  # wider than the title
    found = arithmetic.turn(space, [1, 2], [3, 4], [7, 8], scales=scales)
    z = space.points([1, 2, 3, 4, 8], None)
    np.testing.assert_allclose(found.arrays["direction"], z[:2].mean(0) - z[2:4].mean(0), atol=1e-6)
    last = space.images((z[4] + found.arrays["direction"])[None], None)[0]
    drawn = found.sheets[""][-66:-2, -66:-2]
    assert np.abs(drawn.astype(int) - last.repeat(8, 0).repeat(8, 1)).max() <= 1


# --- directions -----------------------------------------------------------------------------------


def test_factorisation_finds_the_axis_that_the_weights_stretch():
    rng = np.random.default_rng(0)
    axis = rng.normal(size=7)
    axis /= np.linalg.norm(axis)
    kernel = rng.normal(size=(7, 40)) * 0.1 + np.outer(axis, rng.choice([-1, 1], 40))
    found, values = directions.factorise(kernel, 7)
    assert abs(found[0] @ axis) > 0.99
    np.testing.assert_allclose(found @ found.T, np.eye(7), atol=1e-10)
    assert (np.diff(values) <= 0).all() and values.sum() == pytest.approx(40)
    assert all(row[np.abs(row).argmax()] > 0 for row in found)
    with pytest.raises(UserError, match="--count=8: expected 1 to 7"):
        directions.factorise(kernel, 8)


def test_first_kernel_is_the_one_that_z_meets(dcgan, cgan, styled):
    for system in (dcgan, cgan):
        kernel = directions.first_kernel(systems.space(system))
        dense = next(w for w in system.generator_ema.weights if len(w.shape) == 2)
        np.testing.assert_array_equal(kernel, dense.numpy()[:6])
    for system in (styled, systems.styled(num_classes=9)):  # more classes than coordinates
        kernel = directions.first_kernel(systems.space(system, "z"))
        layer = system.generator_ema.mapper.dense[0]
        np.testing.assert_allclose(kernel, layer.scaled_kernel()[:6], rtol=1e-6)


def test_style_kernels_by_layer(styled):
    kernels = directions.style_kernels(systems.space(styled))
    # conv1 of 4x4 | ToRGB and conv0 | conv1 | ToRGB
    assert {i: len(k) for i, k in kernels.items()} == {0: 1, 1: 2, 2: 1, 3: 1}
    network = styled.generator_ema
    w = np.random.default_rng(0).normal(size=(1, 6)).astype(np.float32)
    affine = network.blocks[0].conv1.style
    bias = affine(tf.zeros([1, 6]))
    np.testing.assert_allclose(affine(w) - bias, w @ kernels[0][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("space_name", [pytest.param("z", marks=pytest.mark.slow), "w"])
def test_sefa_moves_by_standard_deviations(styled, space_name):
    space = systems.space(styled, space_name)
    styles = "0-1" if space_name == "w" else None
    found = directions.sefa(space, [1, 2], 2, styles, scales=(-1.0, 0.0, 1.0))
    assert set(found.sheets) == {"", "_0", "_1"}
    directs, steps = found.arrays["directions"], found.arrays["steps"]
    points = space.points([2], None)[0]
    move = directs[1] * steps[1]
    if space_name == "w":
        whole = np.zeros((4, 6))
        whole[:2] = move
        move = whole
    else:
        np.testing.assert_allclose(steps, 1.0, atol=0.15)  # z is N(0, I)
    last = space.images((points + move)[None].astype(np.float32), None)[0]
    drawn = found.sheets["_1"][-66:-2, -66:-2]
    assert np.abs(drawn.astype(int) - last.repeat(8, 0).repeat(8, 1)).max() <= 1


def test_sefa_refuses(styled):
    with pytest.raises(UserError, match="--styles picks layers of w"):
        directions.sefa(systems.space(styled, "z"), [1], 1, "0-1")
    with pytest.raises(UserError, match="no style layer 9"):
        directions.sefa(systems.space(styled), [1], 1, "9")


class Linear:
    """A system whose pictures show coordinate 0 of z as brightness."""

    system_name, points, styles, num_classes = "linear", False, False, 0
    latent_dim, latent_distribution, resolution, channels = 5, "normal", 8, 1

    def generate(self, z, labels, truncation):
        shade = tf.tanh(z[:, 0] * truncation)[:, None, None, None]
        return tf.broadcast_to(shade, [len(z), 8, 8, 1])


def test_direction_of_a_label_is_found():
    space = systems.space(Linear(), batch_size=200)
    found = directions.from_labels(space, [1, 2], [attributes.brightness], samples=600)
    (direction,) = found.arrays["directions"]
    assert direction[0] > 0.99
    figures = found.figures["attributes"]["brightness"]
    assert figures["accuracy_fitted"] > 0.98 and figures["share"] == pytest.approx(0.5, abs=0.01)
    shares = figures["share_at_scales"]
    assert shares[0] < 0.05 and shares[-1] > 0.95 and np.all(np.diff(shares) >= 0)


def test_directions_need_both_labels():
    space = systems.space(Linear(), batch_size=200)
    never = attributes.Attribute("never", lambda images: -np.ones(len(images)))
    with pytest.raises(UserError, match="--attribute=never: 0 of 100 pictures have it"):
        directions.from_labels(space, [1], [never], samples=100)
    with pytest.raises(UserError, match="--samples=10"):
        directions.from_labels(space, [1], [never], samples=10)


# --- attributes -----------------------------------------------------------------------------------


def test_attributes():
    logits = np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0]])
    found = attributes.of_class(1, "one", lambda images: logits[: len(images)])
    np.testing.assert_allclose(found.score(np.zeros(2)), [1.0, -5.0])
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    bright = attributes.brightness(images)
    np.testing.assert_allclose(bright.score(images), [-2, -1, 0, 1, 2])


def test_classes_by_name_and_number():
    names = ["Top", "Bag", "2"]
    assert attributes.class_index("class:bag", names) == 1
    assert attributes.class_index("class:0", names) == 0
    with pytest.raises(UserError, match="no class '7'; there are 0 Top, 1 Bag"):
        attributes.class_index("class:7", names)
    with pytest.raises(UserError, match="no classes"):
        attributes.class_index("class:7", [])
