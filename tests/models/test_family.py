"""What every system of the classic family must do: train, come back, resume, be exported."""

import numpy as np
import pytest
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.export import savedmodel
from ganpipe.train import checkpoint
from tests import harness

# name: arguments of the system, arguments of compile
SYSTEMS = {
    "wgan": ({}, {"n_critic": 2, "warmup_iterations": 1, "warmup_critic": 4}),
    "wgan_gp": ({}, {"n_critic": 2}),
    "lsgan": ({}, {}),
    "fgan": ({}, {"divergence": "kl"}),
    "sngan": ({"num_classes": 3, "resolution": 32}, {"n_critic": 2}),
    "egan": ({}, {}),
    "multi_discriminator": ({}, {}),
    "defense_gan": ({"resolution": 28}, {"n_critic": 2}),
}


def make(case):
    arguments, compile_arguments = SYSTEMS[case]
    return harness.small(case, compile_arguments=compile_arguments, **arguments)


def everything(system):
    """All arrays of the checkpoint tree, by path."""
    found = {}
    for name, part in system.state().items():
        variables = getattr(part, "variables", None)
        for i, v in enumerate(variables if variables is not None else [part]):
            found[f"{name}/{i}"] = np.asarray(v)
    return found


SLOW = ("lsgan", "defense_gan")  # their steps are those of dcgan and wgan_gp
CASES = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SYSTEMS]


@pytest.fixture(scope="module", params=CASES)
def trained(request, tmp_path_factory):
    """(case, system after 2 steps, its checkpoint, history, data)."""
    system = make(request.param)
    data = harness.noise(system, batch=8 * system.n_critic, count=1)
    history = system.fit(data, steps_per_epoch=2, epochs=1, verbose=0).history
    folder = checkpoint.save(system, tmp_path_factory.mktemp("checkpoints"))
    return request.param, system, folder, history, data


def test_logs_are_finite_and_named(trained):
    _, system, _, history, _ = trained
    assert int(system.step.numpy()) == 2
    expected = {"D/loss", "G/loss", "D/logit_gap", "D/grad_norm", "G/grad_norm"}
    assert expected <= set(history)
    for name, values in history.items():
        assert np.isfinite(values).all(), name


def test_samples_are_functions_of_their_seeds(trained):
    _, system, _, _, _ = trained
    alone = system.sample(1, seed=5)
    assert alone.dtype == np.uint8
    labels = 1 if system.num_classes else None
    assert np.std(system.generate(np.eye(6, dtype=np.float32), labels)) > 1e-6
    # Rows of other batch sizes may differ in the last bit before rounding.
    difference = system.sample(4, seed=2)[3].astype(int) - alone[0]
    assert np.abs(difference).max() <= 1


def test_config_and_checkpoint_rebuild_it(trained):
    _, system, folder, _, _ = trained
    again = type(system).from_config(system.get_config())
    checkpoint.restore_networks(again, folder)
    np.testing.assert_array_equal(again.sample(2, seed=1), system.sample(2, seed=1))


def test_the_export_samples_what_the_system_samples(trained, tmp_path):
    _, system, _, _, _ = trained
    path = savedmodel.export_version(system, tmp_path / "model")
    model = tf.saved_model.load(str(path))
    inputs = {"seed": tf.constant([3, 4], tf.int64), "truncation": tf.ones([2])}
    labels = None
    if system.num_classes:
        labels = [1, 1]
        inputs["label"] = tf.constant(labels, tf.int64)
    images = model.signatures["serving_default"](**inputs)["images"].numpy()
    difference = images.astype(int) - system.sample(2, seed=3, labels=labels)
    assert np.abs(difference).max() <= 1


def test_a_restored_system_goes_on_as_if_nothing_had_happened(trained):
    # The last test of the fixture: it trains the fixture's system on.
    case, system, folder, _, data = trained
    again = make(case)
    assert checkpoint.restore(again, folder) == 2
    before = everything(system)
    harness.assert_equal(before, everything(again))
    for one in (system, again):
        one.fit(data, steps_per_epoch=1, epochs=1, verbose=0)
    harness.assert_equal(everything(system), everything(again))
    assert any(np.any(before[k] != v) for k, v in everything(again).items())


def test_bad_resolutions_are_refused():
    for name in ("wgan", "lsgan", "fgan"):
        with pytest.raises(UserError, match="power of two"):
            harness.small(name, resolution=12)
