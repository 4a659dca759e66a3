"""Every system of the classic family trains on two replicas that stay equal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("family_replicas.py")
NAMES = ("wgan", "wgan_gp", "lsgan", "fgan", "sngan", "multi_discriminator", "defense_gan")


@pytest.mark.slow
def test_two_replicas_stay_equal():
    root = SCRIPT.parents[2]
    result = subprocess.run(
        [sys.executable, str(SCRIPT), *NAMES],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split() == [word for name in NAMES for word in (name, "2", "0.0")]
