"""Replicas stay equal, and two of batch B/2 do what one of batch B does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ganpipe.errors import UserError
from ganpipe.train import distribute

SCRIPT = Path(__file__).with_name("replicas.py")


def launch(kind, folder, **environment):
    command = [sys.executable, str(SCRIPT), kind, str(folder)]
    return subprocess.Popen(command, env=os.environ | environment)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def finish(*processes):
    for process in processes:
        assert process.wait(timeout=120) == 0


def two_workers(folder):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(launch("multi_worker", folder, TF_CONFIG=json.dumps(task)))
    return processes


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Final variables by KIND_NORM: 1 step without norm layers, 20 with batch norm."""
    root = tmp_path_factory.mktemp("replicas")
    finish(launch("mirrored", root))
    finish(*two_workers(root))
    return {path.stem: np.load(path) for path in root.glob("*.npz")}


@pytest.mark.parametrize("kind", ["mirrored", "multi_worker"])
def test_replicas_are_equal_after_20_steps(results, kind):
    result = results[f"{kind}_batch"]
    assert result["replicas"] == 2
    assert result["drift"] == 0.0
    assert result["seen"] == pytest.approx(1.0)  # after one replica's copy was bent by 1


@pytest.mark.parametrize("kind", ["mirrored", "multi_worker"])
def test_without_norm_layers_the_update_is_that_of_one_replica(results, kind):
    one, two = results["one_none"], results[f"{kind}_none"]
    assert two["replicas"] == 2
    assert two["d_loss"] == pytest.approx(float(one["d_loss"]), abs=1e-5)
    names = [n for n in one.files if n.startswith("v")]
    assert len(names) == 18  # 2 + 2 + 2 weights, then Adam's counters, rates and moments
    for name in names:
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=1e-5, err_msg=name)


def test_unknown_strategy_and_missing_tf_config(monkeypatch):
    with pytest.raises(UserError, match="expected one of none, mirrored, multi_worker"):
        distribute.make("horovod")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="TF_CONFIG; found 'nothing'"):
        distribute.make("multi_worker")
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": []}, "task": {"index": 0}}')
    with pytest.raises(UserError, match="TF_CONFIG"):
        distribute.make("multi_worker")
    with pytest.raises(UserError, match="goes with --strategy=mirrored"):
        distribute.make("none", logical_cpus=2)
