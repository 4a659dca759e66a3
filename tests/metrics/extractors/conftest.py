"""Seeded weights by name, and the golden files that published PyTorch modules gave with them."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="session")
def recipe():
    path = GOLDEN / "extractor_recipe.py"
    spec = importlib.util.spec_from_file_location("extractor_recipe", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden():
    """name -> (values, meta) of a golden file."""

    def read(name):
        with np.load(GOLDEN / f"{name}.npz") as archive:
            values = {k: archive[k] for k in archive.files if k != "meta_json"}
            return values, json.loads(str(archive["meta_json"]))

    return read


@pytest.fixture(scope="session")
def relative():
    """Largest difference over the largest value."""

    def distance(found, expected):
        assert found.shape == expected.shape
        return float(np.abs(found - expected).max() / np.abs(expected).max())

    return distance
