import gzip
import hashlib
import shutil
import stat
import struct
import subprocess

import numpy as np
import pytest

from ganpipe.data.sets import fashion_mnist as F  # noqa: N812
from ganpipe.errors import UserError


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Debian's folder in small, 40 train and 20 test images, with its hashes pinned."""
    folder = tmp_path / "usr/share/datasets/fashion-mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pinned = {}
    for prefix, count in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, payload in (
            ("images-idx3", struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes()),
            ("labels-idx1", struct.pack(">II", 2049, count) + labels.tobytes()),
        ):
            with gzip.open(folder / f"{prefix}-{name}-ubyte.gz", "wb") as file:
                file.write(payload)
            pinned[f"{prefix}-{name}-ubyte"] = hashlib.sha256(payload).hexdigest()
    monkeypatch.setattr(F, "PINNED", pinned)
    monkeypatch.setattr(F, "DEBIAN_DIR", folder)
    monkeypatch.setenv("GANPIPE_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def elsewhere(installed, tmp_path, monkeypatch):
    """The same files as a Debian package that only apt can bring; no tfds."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    root = tmp_path / "package"
    inside = root / "usr/share/datasets/fashion-mnist"
    inside.parent.mkdir(parents=True)
    shutil.move(installed, inside)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        "Package: dataset-fashion-mnist\nVersion: 0\nArchitecture: all\n"
        "Maintainer: test <t@example.org>\nDescription: test\n"
    )
    deb = tmp_path / "dataset-fashion-mnist_0_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(root), str(deb)], check=True, capture_output=True)
    monkeypatch.setattr(F, "DEBIAN_DIR", F.Path("/usr/share/datasets/fashion-mnist"))
    monkeypatch.setattr(F, "check", _without_the_system(F.check))

    def no_tfds(scratch, say):
        raise F.FetchError("server is not reachable")

    monkeypatch.setattr(F, "_from_tfds", no_tfds)
    return deb


def _without_the_system(check):
    # A machine that has the real package must not make these tests pass.
    return lambda place: "no such folder" if place == F.DEBIAN_DIR else check(place)


def fake_apt(tmp_path, monkeypatch, deb, *, lists: bool):
    """An apt-get that knows the package at once, or only after a private update."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "apt-get"
    script.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
private=$(echo "$@" | sed -n 's/.*Dir::State::lists=\\([^ ]*\\).*/\\1/p')
case "$*" in
  *update*) test -n "$private" && touch $private/fetched;;
  *download*) if {"true" if lists else 'test -n "$private" -a -e "$private/fetched"'}; then
      cp {deb} .; else echo "E: Unable to locate package dataset-fashion-mnist" >&2; exit 100; fi;;
esac
"""
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{F.os.environ['PATH']}")
    return tmp_path / "calls"


def test_installed_package_comes_first(installed):
    assert F.locate() == installed
    images, labels = F.read(installed, "test")
    assert images.shape == (20, 28, 28, 1) and images.dtype == np.uint8
    assert labels.tolist() == [i % 10 for i in range(20)]


@pytest.mark.parametrize("lists", [True, False])
def test_package_is_fetched_without_root(elsewhere, tmp_path, monkeypatch, lists):
    calls = fake_apt(tmp_path, monkeypatch, elsewhere, lists=lists)
    said = []
    place = F.locate(said.append)
    assert place == tmp_path / "cache" / "fashion-mnist" and F.check(place) is None
    words = calls.read_text()
    assert ("update" in words) is (not lists)
    if not lists:  # only our own folders are written
        update = next(line for line in words.splitlines() if "update" in line)
        assert f"Dir::State::lists={tmp_path}/cache" in update
        assert f"Dir::Cache={tmp_path}/cache" in update
    assert any("Debian package" in line for line in said)
    left = {p.name for p in (tmp_path / "cache").iterdir()}
    assert left == {"fashion-mnist", "fashion-mnist.lock"}
    calls.unlink()
    assert F.locate() == place and not calls.exists()  # from the cache now


def test_a_damaged_cache_is_fetched_again(elsewhere, tmp_path, monkeypatch):
    fake_apt(tmp_path, monkeypatch, elsewhere, lists=True)
    place = F.locate(lambda line: None)
    victim = place / "t10k-labels-idx1-ubyte.gz"
    victim.write_bytes(victim.read_bytes()[:-9])
    assert "t10k-labels" in F.check(place)
    assert F.locate(lambda line: None) == place and F.check(place) is None


def test_wrong_contents_are_refused(elsewhere, tmp_path, monkeypatch):
    fake_apt(tmp_path, monkeypatch, elsewhere, lists=True)
    monkeypatch.setitem(F.PINNED, "train-labels-idx1-ubyte", "0" * 64)
    with pytest.raises(UserError, match=r"pinned SHA-256.*not reachable.*Install the Debian"):
        F.locate(lambda line: None)
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {"fashion-mnist.lock"}


def test_nothing_works(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"no apt-get on this machine.*server is not reachable"):
        F.locate(lambda line: None)


def test_unwritable_cache(installed, tmp_path, monkeypatch):
    monkeypatch.setattr(F, "DEBIAN_DIR", tmp_path / "none")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANPIPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="set GANPIPE_CACHE"):
        F.locate(lambda line: None)


def test_probe_is_bounded():
    assert not F.reachable("http://127.0.0.1:9/", limit=2)  # nobody listens on port 9


def test_prepare_pads_and_labels(installed, tmp_path):
    from ganpipe import data
    from pipeline.components import example_gen

    out = tmp_path / "out"
    info = example_gen.run("fashion_mnist", out, 32, say=lambda line: None, progress=False)
    assert (info.channels, info.num_classes, info.count("train")) == (1, 10, 40)
    assert info.class_names[0] == "T-shirt/top" and info.class_names[9] == "Ankle boot"
    images, labels = F.read(installed, "train")
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    by_pixels = {image.tobytes(): label for image, label in zip(padded, labels, strict=True)}
    for x, y in data.load(out, 32, 8, repeat=False):
        pixels = np.rint((x.numpy() + 1) * 127.5).astype(np.uint8)
        for image, label in zip(pixels, y.numpy(), strict=True):
            assert by_pixels[image.tobytes()] == label
    with pytest.raises(UserError, match=r"images of fashion_mnist are 28x28; use --resolution=32"):
        example_gen.run("fashion_mnist", tmp_path / "big", 64)
