"""A StyleGAN2 exported by ganpipe, behind the server: map, synthesize, mix over gRPC and REST."""

import numpy as np
import pytest
import tensorflow as tf

import ganpipe
from ganpipe.ops import images as image_ops
from ganpipe.ops import random
from serving.client import Client, ClientError

LAYERS, WIDTH = 4, 6


@pytest.fixture(scope="module")
def system():
    made = ganpipe.create(
        "stylegan2",
        resolution=8,
        channels=3,
        num_classes=3,
        latent_dim=5,
        w_dim=WIDTH,
        mapping_layers=1,
        channel_base=64,
        channel_max=8,
        num_bf16_res=0,
    )
    made.generator_ema.w_average.assign(np.linspace(-1, 1, WIDTH))
    return made


@pytest.fixture(scope="module")
def served(system, tools, tmp_path_factory):
    base = tmp_path_factory.mktemp("styles") / "faces"
    system.export(base / "1")
    flags = ["--model_name=faces", f"--model_base_path={base}", "--enable_batching"]
    server = tools.start(flags, tools.free_ports(2))
    yield server
    tools.stop(server)


@pytest.fixture(params=["grpc", "rest"])
def client(request, served):
    where = {"rest": served.rest} if request.param == "rest" else {"server": served.grpc}
    with Client(model_name="faces", batch_size=2, **where) as opened:
        yield opened


def draw(*seeds):
    return random.row_latents(tf.constant(seeds, tf.int64), 5).numpy()


def close(served, expected):
    assert served.dtype == np.uint8 and served.shape == expected.shape
    assert np.abs(served.astype(int) - expected).max() <= 1


def test_styles_come_and_go(client, system):
    z, psi = draw(1, 2, 3), [1.0, 0.5, 0.0]
    ws = client.map_latents(z, [0, 1, 2], psi)
    assert ws.shape == (3, LAYERS, WIDTH) and ws.dtype == np.float32
    np.testing.assert_allclose(ws, system.map_latents(z, [0, 1, 2], psi), rtol=1e-4, atol=1e-5)
    images = client.synthesize(ws)
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, client.generate(z, [0, 1, 2], psi), rtol=1e-3, atol=1e-4)
    moved = client.synthesize(ws + 0.5)
    assert np.abs(moved - images).max() > 0.01
    np.testing.assert_allclose(moved, system.synthesize_styles(ws + 0.5), rtol=1e-3, atol=1e-4)


def test_mixing_and_truncation(client, system):
    images = client.mix([1, 2, 3], [7, 8, 9], cutoff=[0, 2, 4], labels=1, truncation=0.7)
    first, second = (
        system.map_latents(draw(*seeds), 1, 0.7).numpy() for seeds in ((1, 2, 3), (7, 8, 9))
    )
    below = np.arange(LAYERS)[None, :, None] < np.array([0, 2, 4])[:, None, None]
    mixed = system.synthesize_styles(np.where(below, first, second))
    close(images, image_ops.to_uint8(mixed).numpy())
    close(
        client.sample([4, 5], labels=[0, 2], truncation=0.3), system.sample(2, [4, 5], [0, 2], 0.3)
    )


def test_refusals(client):
    assert {"map", "synthesize", "mix"} < set(client.metadata().signatures)
    for call, text in (
        (lambda: client.mix([1], [2, 3], 1), "expected pairs"),
        (lambda: client.mix([1], [2], 5), "cutoff: expected 0"),
        (lambda: client.mix([1], [2], 1, labels=3), "label: expected classes -1 to 2"),
        (lambda: client.map_latents(draw(1)), "needs labels"),
        (lambda: client.synthesize(np.zeros((1, 3, WIDTH))), "styles"),
    ):
        with pytest.raises(ClientError, match=text):
            call()


def test_a_model_without_styles_says_so(client):
    client.metadata().signatures.pop("mix")
    with pytest.raises(ClientError, match='no signature "mix"; it has'):
        client.mix([1], [2], 1)
