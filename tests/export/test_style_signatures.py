"""Exports of style systems: `map`, `synthesize`, `mix`, truncation, rows that stand alone."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import ganpipe
from ganpipe.export import savedmodel
from ganpipe.ops import images as image_ops
from ganpipe.ops import random

SMALL = {
    "stylegan2": {"channel_base": 128, "channel_max": 8, "num_bf16_res": 0},
    "stylegan": {"fmap_base": 64, "fmap_max": 8, "truncation_cutoff": 2},
    "stylegan2_grown": {"channel_base": 128, "channel_max": 8},
}
SHARED = {"latent_dim": 6, "w_dim": 6, "mapping_layers": 2}


def small(name, num_classes, **arguments):
    """A system whose parts that start at 0 or 1 were moved: noise, average of w, biases."""
    arguments = SHARED | SMALL[name] | arguments
    system = ganpipe.create(
        name, resolution=8, channels=3, num_classes=num_classes, seed=1, **arguments
    )
    rng = np.random.default_rng(0)
    for variable in system.generator_ema.variables:
        if variable.name in ("w_average", "noise_strength", "noise_weight"):
            variable.assign(rng.normal(0, 0.5, variable.shape).astype(np.float32))
    return system


SYSTEMS = [
    pytest.param(("stylegan2", 3), id="stylegan2"),
    pytest.param(("stylegan", 0), id="stylegan", marks=pytest.mark.slow),
    pytest.param(("stylegan2_grown", 3), id="stylegan2_grown", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=SYSTEMS)
def exported(request, tmp_path_factory):
    """(system, loaded SavedModel, path)."""
    system = small(*request.param)
    path = savedmodel.export_version(system, tmp_path_factory.mktemp("model") / "m")
    return system, tf.saved_model.load(str(path)), path


def label(system, values):
    return {"label": tf.constant(values, tf.int64)} if system.num_classes else {}


def latents(system, seeds):
    return random.row_latents(tf.constant(list(seeds), tf.int64), system.latent_dim)


def close(served, expected):
    """Pictures of uint8 agree up to a rounding of one level."""
    assert served.shape == expected.shape and served.dtype == np.uint8
    assert np.abs(served.astype(int) - np.asarray(expected).astype(int)).max() <= 1
    assert expected.std() > 5  # not all grey


def test_further_signatures(exported):
    system, model, _ = exported
    more = {"label"} if system.num_classes else set()
    expected = {
        "map": ({"latent", "truncation"} | more, "styles", tf.float32),
        "synthesize": ({"styles"}, "images", tf.float32),
        "mix": ({"seed_a", "seed_b", "cutoff", "truncation"} | more, "images", tf.uint8),
    }
    assert set(expected) < set(model.signatures) and len(model.signatures) == 7
    for name, (inputs, output, dtype) in expected.items():
        function = model.signatures[name]
        assert set(function.structured_input_signature[1]) == inputs
        assert {k: v.dtype for k, v in function.structured_outputs.items()} == {output: dtype}
        specs = function.structured_input_signature[1].values()
        assert all(spec.shape[0] is None for spec in specs)


@pytest.mark.parametrize("psi", [1.0, 0.5, 0.0])
def test_map_is_map_latents_and_synthesize_gives_its_pictures(exported, psi):
    system, model, _ = exported
    z, classes = latents(system, range(3)), [0, 1, 2]
    more = label(system, classes)
    given = classes if system.num_classes else None
    ws = model.signatures["map"](latent=z, truncation=tf.fill([3], psi), **more)["styles"]
    assert ws.shape == (3, system.generator_ema.num_ws, system.generator_ema.w_dim)
    np.testing.assert_allclose(ws, system.map_latents(z, given, psi), rtol=1e-4, atol=1e-5)
    images = model.signatures["synthesize"](styles=ws)["images"]
    np.testing.assert_allclose(images, system.synthesize_styles(ws, "const"), rtol=1e-3, atol=1e-4)
    whole = model.signatures["generate"](latent=z, truncation=tf.fill([3], psi), **more)["images"]
    np.testing.assert_allclose(images, whole, rtol=1e-3, atol=1e-4)


def test_truncation_of_served_samples(exported):
    system, model, _ = exported
    psi = np.array([1.0, 0.6, -0.5], np.float32)
    rows = {"seed": tf.constant([4, 5, 6], tf.int64), "truncation": tf.constant(psi)}
    images = model.signatures["serving_default"](**rows, **label(system, [-1, 2, 0]))["images"]
    for i in range(3):
        classes = [[-1], [2], [0]][i] if system.num_classes else None
        one = system.sample(1, [4 + i], classes if classes != [-1] else None, float(psi[i]))
        close(images.numpy()[i], one[0])


def test_mix_takes_layers_below_the_cutoff_from_a(exported):
    system, model, _ = exported
    layers = int(system.generator_ema.num_ws)
    cutoffs = [0, 3, layers]
    given = label(system, [1, 1, 1])
    images = model.signatures["mix"](
        seed_a=tf.constant([1, 1, 1], tf.int64),
        seed_b=tf.constant([2, 2, 2], tf.int64),
        cutoff=tf.constant(cutoffs, tf.int64),
        truncation=tf.fill([3], 0.8),
        **given,
    )["images"].numpy()
    classes = [1, 1] if system.num_classes else None
    ws = system.map_latents(latents(system, [1, 2]), classes, 0.8).numpy()
    mixed = np.stack([np.concatenate([ws[0, :c], ws[1, c:]]) for c in cutoffs])
    expected = image_ops.to_uint8(system.synthesize_styles(mixed, "const")).numpy()
    close(images, expected)
    assert np.abs(expected[0].astype(int) - expected[1]).max() > 8
    assert np.abs(expected[2].astype(int) - expected[1]).max() > 8


def test_mix_refuses_a_cutoff_out_of_range(exported):
    system, model, _ = exported
    layers = int(system.generator_ema.num_ws)
    for wrong in (-1, layers + 1):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"cutoff: expected 0 .*{layers}"):
            model.signatures["mix"](
                seed_a=tf.constant([1], tf.int64),
                seed_b=tf.constant([2], tf.int64),
                cutoff=tf.constant([wrong], tf.int64),
                truncation=tf.ones([1]),
                **label(system, [0]),
            )


def test_a_row_does_not_depend_on_its_neighbours(exported):
    _, model, _ = exported
    for function in model.signatures.values():
        rng, rows = np.random.default_rng(3), {}
        for key, spec in function.structured_input_signature[1].items():
            shape = (5, *spec.shape[1:])  # of which groups of 4 are no divisor
            whole = rng.integers(0, 3, shape) if spec.dtype == tf.int64 else rng.normal(size=shape)
            rows[key] = tf.constant(whole, spec.dtype)
        (together,) = function(**rows).values()
        (alone,) = function(**{key: value[2:3] for key, value in rows.items()}).values()
        if together.dtype == tf.string:
            together, alone = (tf.map_fn(tf.io.decode_png, x, tf.uint8) for x in (together, alone))
        a, b = (np.asarray(x, np.float64) for x in (together[2:3], alone))
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1 if together.dtype == tf.uint8 else 1e-4)


def test_served_logits_are_those_of_single_images(exported):
    system, model, _ = exported
    images = np.random.default_rng(4).uniform(-1, 1, (5, 8, 8, 3)).astype(np.float32)
    labels = [0, 2, 1, 0, 1] if system.num_classes else None
    served = model.signatures["discriminate"](images=images, **label(system, labels))["logits"]
    single = [
        float(system.discriminate(images[i : i + 1], None if labels is None else labels[i])[0])
        for i in range(5)
    ]
    np.testing.assert_allclose(served, single, rtol=1e-4, atol=1e-5)
    assert np.std(single) > 1e-3


def test_warmup_has_every_signature(exported):
    _, model, path = exported
    seen = set()
    for record in tf.data.TFRecordDataset(str(path / "assets.extra" / savedmodel.WARMUP_FILE)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        model.signatures[request.model_spec.signature_name](**inputs)
        rows = len(next(iter(inputs.values())))
        seen.add((request.model_spec.signature_name, rows))
    assert seen == {(name, rows) for name in model.signatures for rows in savedmodel.WARMUP_ROWS}


def test_a_growing_system_is_exported_at_its_stage(tmp_path):
    system = small("stylegan", 0)
    for network in (system.generator, system.generator_ema, system.discriminator):
        network.grow(4, False)
    model = tf.saved_model.load(system.export(tmp_path / "m"))
    rows = {"seed": tf.constant([3, 4], tf.int64), "truncation": tf.ones([2])}
    images = model.signatures["serving_default"](**rows)["images"].numpy()
    assert images.shape == (2, 8, 8, 3)
    np.testing.assert_array_equal(images, images[:, ::2, ::2].repeat(2, 1).repeat(2, 2))
    close(images, system.sample(2, [3, 4]))
    logits = model.signatures["discriminate"](images=tf.zeros([2, 8, 8, 3]))["logits"]
    np.testing.assert_allclose(logits, system.discriminate(np.zeros((2, 8, 8, 3))), rtol=1e-4)


def test_a_mapping_without_styles_has_none_of_them():
    system = small(
        "stylegan", 0, use_styles=False, mixing_prob=0.0, const_input=False, mapping_layers=0
    )
    _, functions = savedmodel.signatures(system)
    assert set(functions) == {"serving_default", "generate", "generate_png", "discriminate"}
