"""Fixtures that several rooms of the tests share."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A prepared data set: 180 grey 8x8 images of 3 classes (bright left, top or centre)."""
    from pipeline.components import example_gen

    root = tmp_path_factory.mktemp("tiny_data")
    rng = np.random.default_rng(0)
    for label, region in enumerate(
        [np.s_[:, :4], np.s_[:4, :], np.s_[2:6, 2:6]],
    ):
        folder = root / "images" / f"class{label}"
        folder.mkdir(parents=True)
        for i in range(60):
            pixels = rng.integers(0, 60, (8, 8)).astype(np.uint8)
            pixels[region] += 180
            Image.fromarray(pixels).save(folder / f"{i:03d}.png")
    example_gen.run(f"folder:{root / 'images'}", root / "data", 8)
    return root / "data"


@pytest.fixture
def tiny_config():
    """A config of a dcgan of 4 channels that a step of which takes milliseconds."""
    from ganpipe import config

    def make(**overrides):
        values = {
            "data.resolution": 8,
            "data.channels": 1,
            "system.nf": 4,
            "system.latent_dim": 6,
            "train.steps": 12,
            "train.batch_size": 8,
            "train.precision": "float32",
            "train.steps_per_execution": 1,
            "train.checkpoint_every": 4,
            "train.log_every": 4,
            "train.sample_every": 4,
            "train.deterministic": True,
        }
        return config.load("dcgan_fashion_mnist", values | overrides)

    return make
