"""The four phases give the official gradients; file by tools/make_stylegan2_training_golden.py."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.importers import contents, run
from ganpipe.layers import bodies_stylegan2_names as names
from ganpipe.models.stylegan2 import AUGMENT
from tests.golden import training_recipe as recipe
from tests.importers.conftest import GOLDEN


@pytest.fixture(scope="module", params=["unconditional", "conditional"])
def found_and_expected(request):
    """(phase/parameter -> our summary, the same of the official code)."""
    system = run.build(contents.read(GOLDEN / f"stylegan2_ada_{request.param}.pkl"))
    shape = (system.latent_dim, system.num_classes, system.resolution, system.channels)
    given = {key: tf.constant(value) for key, value in recipe.inputs(*shape).items()}
    labels = given["labels"] if system.num_classes else None
    system.compile(style_mixing=0.0, **recipe.SETTINGS)
    system._batch = system._images = recipe.BATCH
    caught = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "draw_latents", lambda batch, draw: (given["z"][:batch], None))
        seed = system._seed
        patch.setattr(system, "_seed", lambda use: seed(use) if use >= AUGMENT else "const")
        patch.setattr(
            tf.random, "stateless_normal", lambda shape, seed: given["direction"][: shape[0]]
        )
        patch.setattr(
            system,
            "minimize",
            lambda optimizer, gradients, variables, active=None: caught.append(
                {id(v): g.numpy() for v, g in zip(variables, gradients, strict=True)}
            ),
        )
        system._update_generator(given["images"], labels)
        system._regularise_generator(labels)
        system._update_discriminator(given["images"], labels)
        system._regularise_discriminator(given["images"], labels)
    intervals = {"Greg": system.g_reg_interval, "Dreg": system.d_reg_interval}
    found = {}
    for phase, gradients in zip(("Gmain", "Greg", "Dmain", "Dreg"), caught, strict=True):
        network = system.generator if phase[0] == "G" else system.discriminator
        for name, (variable, kind) in names.official_names(network).items():
            if id(variable) in gradients:
                value = names.to_official(gradients[id(variable)], kind)
                # The official loop hands the interval over as the gain.
                value = value / intervals.get(phase, 1)
                found[f"{phase}/{name}"] = recipe.summary(name, value)
    golden = np.load(GOLDEN / "stylegan2_training.npz")
    prefix = f"{request.param}/"
    return found, {k[len(prefix) :]: golden[k] for k in golden if k.startswith(prefix)}


@pytest.mark.parametrize("phase", ["Gmain", "Greg", "Dmain", "Dreg"])
def test_gradients_of_the_phase_are_the_official_ones(phase, found_and_expected):
    found, expected = (
        {key: value for key, value in part.items() if key.startswith(f"{phase}/")}
        for part in found_and_expected
    )
    assert found.keys() == expected.keys()
    largest = max(norm for norm, _ in expected.values())
    assert largest > 0.01
    for key, (norm, product) in expected.items():
        # Small gradients are sums of large terms: their error counts by the phase's largest.
        allowed = 1e-4 * norm + 1e-5 * largest
        assert abs(found[key][0] - norm) < allowed, key
        assert abs(found[key][1] - product) < 3 * allowed, key
