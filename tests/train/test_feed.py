"""Under a strategy every replica is fed its rows of the one stream, and trains as one would."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganpipe import data
from tests.data import folders

SCRIPT = Path(__file__).with_name("feeding.py")


def start(kind, *folders_, **environment):
    command = [sys.executable, str(SCRIPT), kind, *map(str, folders_)]
    root = str(SCRIPT.parents[2])
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": root} | environment)


def two_addresses():
    sockets = [socket.socket() for _ in range(2)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(data folder, {file: what feeding.py saved}) of mirrored and of both workers."""
    root = tmp_path_factory.mktemp("feed")
    folders.make(root / "data", (("train", 40),), ((8, 8),), channels=1)
    workers = two_addresses()
    processes = [start("mirrored", root / "data", root)]
    for index in range(2):
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        processes.append(start("multi_worker", root / "data", root, TF_CONFIG=json.dumps(task)))
    for process in processes:
        assert process.wait(timeout=200) == 0
    return root / "data", {path.stem: np.load(path) for path in root.glob("*.npz")}


@pytest.mark.parametrize("kind", ["mirrored", "multi_worker"])
def test_replicas_are_fed_their_rows_of_one_stream(results, kind):
    folder, saved = results
    features = ("image", "key")
    stream = data.load(folder, 8, 8, seed=1, features=features, mirror=True).take(5)
    images, keys = (np.stack(v) for v in zip(*stream.as_numpy_iterator(), strict=True))
    parts = [saved[name] for name in sorted(saved) if name.startswith(kind)]
    assert len(parts) == (1 if kind == "mirrored" else 2)
    for name, whole in (("images", images), ("keys", keys.astype(bytes))):
        joined = np.concatenate([part[name] for part in parts], axis=1)  # (5, 2, 4, ...)
        assert joined.shape[:3] == (5, 2, 4)
        np.testing.assert_array_equal(joined.reshape(whole.shape), whole)


@pytest.mark.parametrize("name", ["mirrored0", "multi_worker0", "multi_worker1"])
def test_training_through_it_is_that_of_one_replica(results, name):
    _, saved = results
    weights = [k for k in saved["one"].files if k.startswith("v")]
    assert len(weights) == 4
    for key in weights:
        np.testing.assert_allclose(saved[name][key], saved["one"][key], rtol=0, atol=1e-5)
