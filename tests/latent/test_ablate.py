"""Ablation of feature maps: which there are, that dropping is zeroing, what it refuses."""

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.latent import ablate, attributes
from tests.latent import systems

MORE = ("sngan", "lsgan", "egan", "fgan", "multi_discriminator", "wgan")


@pytest.fixture(scope="module")
def dcgan():
    return systems.plain("dcgan", channels=3)


@pytest.fixture(scope="module")
def cgan():
    return systems.plain("dcgan", num_classes=3)


@pytest.fixture(scope="module")
def styled():
    return systems.styled()


@pytest.mark.parametrize(
    "name", ["dcgan", "wgan_gp", *(pytest.param(n, marks=pytest.mark.slow) for n in MORE)]
)
def test_convolutions_are_found_in_order(name):
    found = ablate.places(systems.space(systems.plain(name)))
    sides = [place.shape[0] for place in found]
    assert len(found) >= 1 and sides == sorted(sides) and sides[-1] in (4, 8)


def test_dense_generators_have_no_maps():
    with pytest.raises(UserError, match="the generator of this gan has none"):
        ablate.places(systems.space(systems.plain("gan")))


@pytest.mark.parametrize("which", ["dcgan", "styled"])
def test_dropping_maps_is_zeroing_them(which, request):
    system = request.getfixturevalue(which)
    space = systems.space(system)
    maps = ablate.Maps(space, -1)
    z = space.z(range(5))
    same, features = maps.run(z, None)
    expected = system.sample(5, range(5), **({"noise": "const"} if which == "styled" else {}))
    assert np.abs(same.astype(int) - expected).max() <= 1
    assert features.shape == (5, maps.place.shape[2])
    dropped, again = maps.run(z, None, dropped=[0, 2])
    np.testing.assert_allclose(again, features, rtol=1e-4, atol=1e-5)
    assert np.abs(dropped.astype(int) - same).max() > 0
    if which == "dcgan":  # the kernel without these inputs does the same
        kernel = maps.place.layer.kernel
        before = kernel.numpy()
        try:
            changed = before.copy()
            changed[:, :, :, [0, 2]] = 0
            kernel.assign(changed)
            expected = system.sample(5, range(5))
        finally:
            kernel.assign(before)
        np.testing.assert_array_equal(dropped, expected)
    # The generator is as it was: nothing of the watching stays.
    assert "call" not in vars(maps.place.layer)


def test_ablation_of_an_attribute(dcgan):
    space = systems.space(dcgan, batch_size=20)
    found = ablate.ablate(space, range(60), attributes.brightness, layer=-1, drop=1)
    figures = found.figures
    assert len(figures["dropped"]) == 1 and figures["frequency_before"] == 0.5
    assert 0 <= figures["probe_accuracy"] <= 1 and figures["samples"] == 60
    assert len(figures["frequency_random"]) == ablate.RANDOM_DRAWS
    assert figures["weights"][0] == max(found.arrays["weights"])
    again = ablate.ablate(space, range(60), attributes.brightness, layer=-1, drop=1)
    assert again.figures == figures


def test_ablation_inside_a_mask(dcgan):
    space = systems.space(dcgan, batch_size=20)
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    found = ablate.ablate(space, range(20), masks=mask, layer=-1, drop=1)
    # 4x4 maps: two rows of four positions in, as many out, in 20 pictures
    assert found.figures["samples"] == 20 * 16 and found.figures["positives"] == 20 * 8
    assert {"changed_inside", "changed_outside"} <= set(found.figures)


def test_masks_are_shrunk_by_area():
    mask = np.zeros((6, 6), bool)
    mask[:, :3] = True
    np.testing.assert_allclose(ablate.shrunk(mask, 2, 2), [[1, 0], [1, 0]])
    np.testing.assert_allclose(ablate.shrunk(mask, 4, 4), [[1, 1, 0, 0]] * 4)
    np.testing.assert_allclose(ablate.shrunk(mask, 1, 5), [[1, 1, 0.5, 0, 0]])


def test_what_is_dropped():
    weights, usable = np.array([0.5, -1.0, 2.0, 9.0, 0.1]), np.array([1, 1, 1, 0, 1], bool)
    np.testing.assert_array_equal(ablate.largest(weights, 2, usable), [0, 2])
    np.testing.assert_array_equal(ablate.largest(weights, 0, usable), [0, 2, 4])
    np.testing.assert_array_equal(ablate.largest(weights, None, usable), [2])
    with pytest.raises(UserError, match="--drop=4: 3 of 4 maps have a positive weight"):
        ablate.largest(weights, 4, usable)
    for drop in (None, 0, 2):  # nothing to drop, however many were asked for
        with pytest.raises(UserError, match="none of 4 maps has a positive weight"):
            ablate.largest(-np.abs(weights), drop, usable)


def test_label_planes_are_never_dropped(cgan):
    space = systems.space(cgan, batch_size=20)
    found = ablate.ablate(space, range(60), attributes.brightness, layer=-1, drop=0, labels=[1])
    place = ablate.Maps(space, -1).place
    assert place.shape[2] - found.figures["maps_usable"] >= cgan.num_classes


def test_ablation_refuses(dcgan):
    space = systems.space(dcgan)
    with pytest.raises(UserError, match="needs labels: --attribute=class:3"):
        ablate.ablate(space, range(20))
    with pytest.raises(UserError, match="--layer=7: no such convolution; there are 0 4x4"):
        ablate.ablate(space, range(20), attributes.brightness, layer=7)
    for mask, text in (
        (np.ones((8, 8)), "expected a region"),
        (np.eye(4), "expected \\(8, 8\\)"),
        (np.zeros((3, 8, 8)), "for each of 20 seeds"),
    ):
        with pytest.raises(UserError, match=text):
            ablate.ablate(space, range(20), masks=mask)
    never = attributes.Attribute("never", lambda images: -np.ones(len(images)))
    with pytest.raises(UserError, match="0 of 20 pictures have it"):
        ablate.ablate(space, range(20), never)
