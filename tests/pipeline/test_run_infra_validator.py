"""The infra validator: what it takes for an answer, and what it says when there is none."""

import stat
import sys
import time

import numpy as np
import pytest

from ganpipe.errors import UserError
from pipeline.components import infra_validator

EXPECTED = {"resolution": 8, "channels": 1, "num_classes": 2}


def images():
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)


def test_sound_answer():
    assert infra_validator.judge(images(), images(), EXPECTED, 4) == []


def changed(change):
    answer = images()
    change(answer)
    return answer


@pytest.mark.parametrize(
    ("first", "again", "message"),
    [
        (images()[:3], images()[:3], r"shape \(3, 8, 8, 1\), expected \(4, 8, 8, 1\)"),
        (images().astype(np.float32), images(), "float32, expected uint8"),
        (changed(lambda a: a.__setitem__(2, 7)), images(), "1 of 4 images are one flat colour"),
        (np.repeat(images()[:1], 4, 0), images(), "different seeds gave the same image"),
        (images(), changed(lambda a: a.__setitem__((0, 0, 0, 0), 9)), "the second time"),
    ],
)
def test_each_fault_is_named(first, again, message):
    (fault, *_) = infra_validator.judge(first, again, EXPECTED, 4)
    import re

    assert re.search(message, "; ".join([fault, *_]))


def server(tmp_path, monkeypatch, script):
    """Has `serve` start a shell script in the server's place."""
    path = tmp_path / "server.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(path))


def run(tmp_path, **settings):
    return infra_validator.run(
        tmp_path, model_name="m", export_base=tmp_path, expected=EXPECTED, **settings
    )


def test_server_that_ends_is_told_with_its_last_words(tmp_path, monkeypatch):
    server(tmp_path, monkeypatch, "echo loading; echo 'error: no such model' >&2; echo bye; exit 3")
    result = run(tmp_path)
    assert not result["blessed"]
    assert "ended with status 3 before 'm' was available: error: no such model" in result["message"]
    assert (tmp_path / "infra.json").exists()


def test_server_that_never_gets_ready_is_stopped_in_time(tmp_path, monkeypatch):
    server(tmp_path, monkeypatch, "exec sleep 60")
    started = time.monotonic()
    result = run(tmp_path, timeout_seconds=1.0)
    assert time.monotonic() - started < 15  # far from the server's own minute
    assert not result["blessed"]
    assert "after 1 s the server has 'm' not available (unreachable)" in result["message"]
    assert "config.pipeline.infra_validator.timeout_seconds" in result["message"]


def test_client_error_is_a_verdict_not_a_crash():
    with pytest.raises(UserError, match="does not give images"):
        infra_validator.ask(infra_validator.Address(*infra_validator.free_ports(2)), "m", 1, 0, 2.0)


def test_ports_are_free_and_apart():
    ports = infra_validator.free_ports(4)
    assert len(set(ports)) == 4 and all(1024 <= port < 65536 for port in ports)
