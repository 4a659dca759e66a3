"""The export stands alone, samples what the system samples, and is whole or absent."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from ganpipe.errors import UserError
from ganpipe.export import savedmodel
from tests import harness

SYSTEMS = [("gan", {}), ("cgan", {}), ("dcgan", {"channels": 3})]


@pytest.fixture(scope="module", params=SYSTEMS, ids=[name for name, _ in SYSTEMS])
def exported(request, tmp_path_factory):
    """(system, loaded SavedModel, path)."""
    name, arguments = request.param
    system = harness.small(name, **arguments)
    system.fit(harness.noise(system), steps_per_epoch=3, epochs=1, verbose=0)
    path = savedmodel.export_version(system, tmp_path_factory.mktemp(name) / "model")
    return system, tf.saved_model.load(str(path)), path


def rows(system, seeds, truncation, label):
    inputs = {
        "seed": tf.constant(seeds, tf.int64),
        "truncation": tf.fill([len(seeds)], float(truncation)),
    }
    if system.num_classes:
        inputs["label"] = tf.fill([len(seeds)], tf.constant(label, tf.int64))
    return inputs


def test_signatures_are_those_of_the_contract(exported):
    system, model, path = exported
    assert path.name == "1"
    label = {"label": (tf.int64, 1)} if system.num_classes else {}
    by_seed = {"seed": (tf.int64, 1), "truncation": (tf.float32, 1)} | label
    expected = {
        "serving_default": (by_seed, {"images": tf.uint8}),
        "generate": (
            {"latent": (tf.float32, 2), "truncation": (tf.float32, 1)} | label,
            {"images": tf.float32},
        ),
        "generate_png": (by_seed, {"png_bytes": tf.string}),
        "discriminate": ({"images": (tf.float32, 4)} | label, {"logits": tf.float32}),
    }
    assert set(model.signatures) == set(expected)
    for name, (inputs, outputs) in expected.items():
        function = model.signatures[name]
        specs = function.structured_input_signature[1]
        assert {k: (s.dtype, s.shape.rank) for k, s in specs.items()} == inputs
        assert {k: s.dtype for k, s in function.structured_outputs.items()} == outputs
        assert all(s.shape[0] is None for s in specs.values())


@pytest.mark.parametrize("label", [-1, 1])
@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_served_images_are_sampled_images(exported, label, truncation):
    system, model, _ = exported
    images = model.signatures["serving_default"](**rows(system, [4, 5, 9], truncation, label))
    labels = label if system.num_classes else None
    expected = system.sample(3, [4, 5, 9], labels, truncation)
    assert np.abs(images["images"].numpy().astype(int) - expected).max() <= 1


def test_png_decodes_to_the_same_image(exported):
    system, model, _ = exported
    inputs = rows(system, [4, 5], 1.0, 0)
    images = model.signatures["serving_default"](**inputs)["images"].numpy()
    encoded = model.signatures["generate_png"](**inputs)["png_bytes"].numpy()
    for image, png in zip(images, encoded, strict=True):
        decoded = np.asarray(Image.open(io.BytesIO(png))).reshape(image.shape)
        np.testing.assert_array_equal(decoded, image)


def test_generate_and_discriminate_equal_the_methods(exported):
    system, model, _ = exported
    z = tf.random.stateless_normal([3, system.latent_dim], [0, 1])
    label = {"label": tf.constant([0, 1, 2], tf.int64)} if system.num_classes else {}
    labels = [0, 1, 2] if system.num_classes else None
    images = model.signatures["generate"](latent=z, truncation=tf.ones([3]), **label)["images"]
    np.testing.assert_allclose(images, system.generate(z, labels), atol=1e-5)
    logits = model.signatures["discriminate"](images=images, **label)["logits"]
    np.testing.assert_allclose(logits, system.discriminate(images, labels), rtol=1e-4, atol=1e-5)


def test_label_out_of_range_names_the_field(exported):
    system, model, _ = exported
    if not system.num_classes:
        pytest.skip("unconditional")
    for name, label in (("serving_default", 3), ("serving_default", -2)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="label: expected classes -1 to 2"):
            model.signatures[name](**rows(system, [1], 1.0, label))


def test_warmup_records_fill_every_input(exported):
    _, model, path = exported
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    seen = set()
    for record in tf.data.TFRecordDataset(str(file)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        function = model.signatures[request.model_spec.signature_name]
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        assert set(inputs) == set(function.structured_input_signature[1])
        function(**inputs)
        seen.add((request.model_spec.signature_name, len(next(iter(inputs.values())))))
    assert len(seen) == 4 * len(savedmodel.WARMUP_ROWS)


def test_loads_where_ganpipe_cannot_be_imported(exported, tmp_path):
    system, _, path = exported
    script = """
import sys, numpy as np, tensorflow as tf
sys.modules["ganpipe"] = None  # any import of it now fails
model = tf.saved_model.load(sys.argv[1])
inputs = {"seed": tf.constant([7], tf.int64), "truncation": tf.ones([1])}
if len(sys.argv) > 3:
    inputs["label"] = tf.constant([1], tf.int64)
np.save(sys.argv[2], model.signatures["serving_default"](**inputs)["images"].numpy())
"""
    arguments = [str(path), str(tmp_path / "a.npy")] + (["label"] if system.num_classes else [])
    command = [sys.executable, "-c", script, *arguments]
    if system.system_name != "dcgan":
        pytest.skip("one system is enough for a process of its own")
    subprocess.run(
        command, check=True, cwd=tmp_path, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    expected = system.sample(1, seed=7, labels=1 if system.num_classes else None)
    assert np.abs(np.load(tmp_path / "a.npy").astype(int) - expected).max() <= 1


def test_versions_count_up_and_nothing_is_overwritten(tmp_path):
    system = harness.small("dcgan")
    base = tmp_path / "model"
    (base / "7").mkdir(parents=True)
    (base / "9.partial").mkdir()
    assert savedmodel.export_version(system, base).name == "8"
    with pytest.raises(UserError, match="exists; an export never overwrites"):
        system.export(base / "8")
    assert not list(base.glob(".writing*"))


def test_a_failing_export_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(savedmodel, "write_warmup", fail)
    with pytest.raises(UserError, match="No space left"):
        harness.small("dcgan").export(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
