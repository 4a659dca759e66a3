import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.latent import ablate, blobs
from ganpipe.metrics import blobs as measure
from tests.latent import systems


@pytest.fixture(scope="module")
def style():
    return systems.styled(num_classes=3, resolution=32)


def test_figures_are_those_of_the_maps_that_convolutions_take_in(style):
    space = systems.space(style)
    found = blobs.blobs(space, range(6), 1)
    places = [place for place in ablate.places(space) if place.shape[0] >= 16]
    assert [row["maps"] for row in found.figures["convolutions"]] == [str(p) for p in places]
    assert {place.shape[0] for place in places} == {16, 32}
    assert found.arrays["share"].shape == found.arrays["peaks"].shape == (6, len(places))
    all_places = ablate.places(space)
    for i in (0, len(places) - 1):
        place, kept = places[i], []

        def keep(rows, index, kept=kept):
            kept.append(rows)
            return rows.mean(axis=(1, 2))

        number = next(k for k, p in enumerate(all_places) if p.layer is place.layer)
        ablate.Maps(space, number).run(space.z(range(6)), np.full(6, 1, np.int32), (), keep)
        expected = measure.find_blobs(np.concatenate(kept))
        np.testing.assert_allclose(found.arrays["share"][:, i], expected.share, rtol=1e-3)
        np.testing.assert_array_equal(found.arrays["peaks"][:, i], expected.peaks)
    assert "call" not in vars(places[0].layer)


def test_a_planted_droplet_is_seen_and_drawn(style, monkeypatch):
    """One place a thousand times stronger in every map, as in the paper's figure."""
    space = systems.space(style)
    plain = blobs.blobs(space, range(4), 0)
    look_for = measure.find_blobs

    def planted(maps):
        maps = maps.copy()
        maps[:, 5, 9] = 1000.0 * np.abs(maps).max()
        return look_for(maps)

    monkeypatch.setattr(measure, "find_blobs", planted)
    drops = blobs.blobs(space, range(4), 0)
    assert drops.figures["with_blobs"] == 1.0 and drops.figures["share"] > 0.99
    assert plain.figures["share"] < 0.5
    sheet = drops.sheets[""]
    assert sheet.dtype == np.uint8 and sheet.shape[1] > 64 * (1 + len(drops.lines) - 1)


def test_small_maps_have_no_place_beside_a_peak():
    with pytest.raises(UserError, match="16x16 and more, which this stylegan2 of 8 pixels has not"):
        blobs.blobs(systems.space(systems.styled()), range(2))
