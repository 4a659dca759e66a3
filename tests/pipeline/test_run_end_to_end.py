"""The whole pipeline, nothing pretended: a folder of pictures to a pushed model, on the CPU."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

ROOT = os.getcwd()
# As little as the real thing can do: it shows that the parts meet, not that anything is learnt.
ARGS = [
    "--config=dcgan_fashion_mnist:tiny",
    "--config.system.nf=8",
    "--config.train.steps=20",
    "--config.train.batch_size=16",
    "--config.train.log_every=10",
    "--config.train.sample_every=10",
    "--config.train.checkpoint_every=10",
    "--config.pipeline.evaluator.num=64",
    "--config.pipeline.evaluator.min_classifier_accuracy=0",
    "--config.pipeline.evaluator.min_label_accuracy=0",
    "--config.pipeline.evaluator.max_frechet=1e9",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes of 24 pictures of 32x32: bright bars, upright and lying."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name in ("upright", "lying"):
        (folder / name).mkdir()
        for i in range(24):
            image = rng.integers(0, 20, (32, 32), np.uint8)
            image[:, 8 + i % 12 : 14 + i % 12] += 200
            Image.fromarray(image if name == "upright" else image.T).save(
                folder / name / f"{i}.png"
            )
    return folder


def run(pictures, root, *more, code="from pipeline import run as m; m.app.run(m.main, m.FLAGS)"):
    command = [sys.executable, "-c", code, *ARGS, f"--config.pipeline.source=folder:{pictures}"]
    return subprocess.run(
        [*command, f"--root={root}", *more],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
        cwd=root.parent,
    )


def test_folder_to_pushed_model_and_again(pictures, tmp_path):
    root = tmp_path / "demo"
    first = run(pictures, root)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "version 1 of dcgan_fashion_mnist" in first.stdout
    version = root / "serving" / "dcgan_fashion_mnist" / "1"
    assert (version / "saved_model.pb").exists()

    # Every artifact knows what it is and holds what its name promises.
    latest = {p.name: p for p in (root / "latest").iterdir()}
    for kind, path in latest.items():
        assert json.loads((path / "artifact.json").read_text())["type"] == kind
    data = json.loads((latest["Examples"] / "data" / "dataset.json").read_text())
    lineage = json.loads((version / "assets.extra" / "ganpipe_lineage.json").read_text())
    assert lineage["data_fingerprint"] == data["fingerprint"]
    record = json.loads((latest["Model"] / "run" / "config.json").read_text())
    assert lineage["config_fingerprint"] == record["fingerprint"]
    assert json.loads((latest["ModelBlessing"] / "blessing.json").read_text())["blessed"]
    assert "the same ones again" in (latest["InfraBlessing"] / "infra.json").read_text()

    page = (root / "report.html").read_text()
    assert lineage["model"] in page and data["fingerprint"] in page and "upright" in page
    # The sample sheet, the grids at steps 0, 10 and 20, and the server's answer.
    assert page.count("data:image/png;base64,") == 5
    assert page.count("<svg") >= 6

    # Again: nothing runs, nothing heavy is even imported, and it takes seconds.
    started = time.monotonic()
    second = run(
        pictures,
        root,
        code="import sys; from pipeline import run as m\n"
        "try: m.app.run(m.main, m.FLAGS)\n"
        "finally: print('heavy:', sorted({'tensorflow', 'apache_beam', 'keras', 'matplotlib'} & "
        "set(sys.modules)))",
    )
    seconds = time.monotonic() - started
    assert second.returncode == 0, second.stdout + second.stderr
    assert second.stdout.count("skipped (unchanged)") == 9 and " ran " not in second.stdout
    assert "heavy: []" in second.stdout
    assert seconds < 20
    assert sorted(p.name for p in version.parent.iterdir()) == ["1"]
