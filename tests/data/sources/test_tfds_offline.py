"""A real TFDS set without a network: the authors' files put together again from Debian's.

Debian strips the name from the gzip header and sets another time, so TFDS' checksums refuse its
files; the deflate streams are the original ones (shared/specs/datasets.md, "TFDS 4.9.10 offline").
"""

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from ganpipe import data
from ganpipe.data import sources
from ganpipe.data.sources import tfds as tfds_source
from pipeline.components import example_gen

_TIMES = {"train": 1504176606, "t10k": 1504176627}


@pytest.mark.slow
def test_fashion_mnist_of_tfds_prepares_offline(tmp_path, monkeypatch):
    try:
        source = sources.open_source("fashion_mnist").fetch(lambda line: None)
    except Exception as error:
        pytest.skip(f"Fashion-MNIST is not here: {error}")
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    for part, time in _TIMES.items():
        for kind in ("images-idx3", "labels-idx1"):
            name = f"{part}-{kind}-ubyte"
            old = (Path(source.directory) / f"{name}.gz").read_bytes()
            head = (
                b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + b"\x00\x03" + name.encode() + b"\0"
            )
            (manual / f"{name}.gz").write_bytes(head + old[10:])
    monkeypatch.setattr(tfds_source, "reachable", lambda url, limit=8: False)
    quiet = {"say": lambda line: None, "progress": False}
    ours = example_gen.run("fashion_mnist", tmp_path / "ours", 32, **quiet)
    theirs = example_gen.run(
        "tfds:fashion_mnist", tmp_path / "out", 32, tfds_data_dir=str(tmp_path / "tfds"), **quiet
    )
    assert theirs.class_names == ours.class_names and theirs.splits == ours.splits
    for split in ("train", "test"):
        found = []
        for info in (ours, theirs):
            stream = data.load(info.dir, 8, 1000, split=split, shuffle=False, repeat=False)
            rows = np.concatenate([x.numpy().reshape(len(x), -1) for x, _ in stream])
            rows = rows[np.lexsort(rows.T)]
            found.append(hashlib.sha256(rows.tobytes()).hexdigest())
        assert found[0] == found[1]  # the same pictures, in another order
