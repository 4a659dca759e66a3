"""Fetching packages: with fake clients, so that no registry is asked."""

import io
import json
import multiprocessing
import os
import subprocess
import tarfile
import zipfile

import pytest

from ganpipe.data.sets import clients, packages
from ganpipe.data.sets.clients import FetchError
from ganpipe.data.sets.packages import Package
from ganpipe.errors import UserError

MEMBERS = {"data/a.txt": b"alpha", "data/b.txt": b"beta", "code/setup.py": b"boom"}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(packages, "_DPKG_INFO", tmp_path / "no-dpkg")
    return tmp_path / "cache" / "packages"


def wheel(members=MEMBERS) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def tgz(members=MEMBERS) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def package(registry="pypi", data=None, **changes) -> Package:
    import hashlib

    data = data if data is not None else {"pypi": wheel, "npm": tgz}[registry]()
    sha256 = hashlib.sha256(data).hexdigest()
    fields = {"name": "demo", "version": "1.0", "sha256": sha256, "megabytes": 1}
    return Package(registry, members=("data/*",), **(fields | changes))


def bring(monkeypatch, registry: str, file: str, data: bytes) -> list:
    """A client that leaves one archive; returns the list of its calls."""
    calls = []

    def client(name, version, megabytes, scratch, say):
        calls.append((name, version))
        (scratch / file).write_bytes(data)
        return scratch / file

    monkeypatch.setitem(packages._CLIENT, registry, client)
    return calls


@pytest.mark.parametrize(
    "registry, file, make", [("pypi", "demo-1.0-py3-none-any.whl", wheel), ("npm", "d.tgz", tgz)]
)
def test_used_files_are_unpacked_once(cache, monkeypatch, registry, file, make):
    calls = bring(monkeypatch, registry, file, make())
    said = []
    home = packages.fetch(package(registry), said.append)
    assert home == cache / f"{registry}-demo-1.0"
    assert (home / "data/a.txt").read_bytes() == b"alpha"
    assert not (home / "code").exists()  # not a member
    assert any("fetching 1.0" in line for line in said)
    assert packages.fetch(package(registry), said.append) == home and len(calls) == 1
    assert {p.name for p in cache.iterdir()} == {home.name, f"{home.name}.lock"}


def test_a_damaged_or_outdated_cache_is_fetched_again(cache, monkeypatch):
    calls = bring(monkeypatch, "pypi", "d.whl", wheel())
    home = packages.fetch(package(), lambda line: None)
    (home / "data/b.txt").write_bytes(b"bet")
    packages.fetch(package(), lambda line: None)
    assert len(calls) == 2 and (home / "data/b.txt").read_bytes() == b"beta"
    stamp = json.loads((home / ".package.json").read_text())
    (home / ".package.json").write_text(json.dumps(stamp | {"members": ["data/a*"]}))
    packages.fetch(package(), lambda line: None)
    assert len(calls) == 3


def test_leftovers_of_a_killed_run_go(cache, monkeypatch):
    bring(monkeypatch, "pypi", "d.whl", wheel())
    (cache / ".pypi-demo-1.0.killed/unpacked").mkdir(parents=True)
    (cache / ".pypi-another-1.0.alive").mkdir()
    packages.fetch(package(), lambda line: None)
    assert {p.name for p in cache.glob(".*")} == {".pypi-another-1.0.alive"}


def test_wrong_hash(cache, monkeypatch):
    bring(monkeypatch, "pypi", "demo-1.0-py3-none-any.whl", wheel({"data/a.txt": b"evil"}))
    with pytest.raises(UserError, match=r"SHA-256 of the archive .* not the pinned .*by hand"):
        packages.fetch(package(), lambda line: None)
    assert [p.name for p in cache.iterdir()] == ["pypi-demo-1.0.lock"]  # nothing half done


def test_hash_over_members_ignores_the_rest(cache, monkeypatch, tmp_path):
    bring(monkeypatch, "pypi", "d.whl", wheel(MEMBERS | {"code/setup.py": b"another platform"}))
    for name in ("data/a.txt", "data/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(MEMBERS[name])
    pinned = packages.members_sha256(tmp_path, ["data/b.txt", "data/a.txt"])
    wanted = package(sha256=pinned, hashed="members")
    assert packages.fetch(wanted, lambda line: None).is_dir()
    # By hand: sha256sum's own lines, in order of name.
    text = "".join(
        subprocess.run(
            ["sha256sum", name], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout
        for name in ("data/a.txt", "data/b.txt")
    )
    whole = subprocess.run(["sha256sum"], input=text, capture_output=True, text=True, check=True)
    assert whole.stdout.split()[0] == pinned


def test_failing_client_names_package_and_place(cache, monkeypatch):
    def fails(*arguments):
        raise FetchError("no npm on this machine")

    monkeypatch.setitem(packages._CLIENT, "npm", fails)
    wanted = package("npm", name="@scope/demo")
    with pytest.raises(UserError, match=r"@scope/demo 1.0 \(npm, 1 MB\).*no npm") as error:
        packages.fetch(wanted, lambda line: None)
    assert f"Put the file scope-demo-1.0.tgz into {cache}" in str(error.value)


def test_file_put_by_hand(cache, monkeypatch):
    calls = bring(monkeypatch, "npm", "d.tgz", tgz())
    cache.mkdir(parents=True)
    (cache / "scope-demo-1.0.tgz").write_bytes(tgz())
    data = (cache / "scope-demo-1.0.tgz").read_bytes()
    home = packages.fetch(package("npm", data=data, name="@scope/demo"), lambda line: None)
    assert (home / "data/b.txt").read_bytes() == b"beta" and not calls
    (cache / "scope-demo-2.0.tgz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="scope-demo-2.0.tgz is damaged"):
        packages.fetch(package("npm", name="@scope/demo", version="2.0"), lambda line: None)


@pytest.mark.parametrize("name", ["data/../../x.txt", "/data/x.txt"])
def test_archives_cannot_write_elsewhere(cache, monkeypatch, name):
    data = wheel({name: b"x"})
    bring(monkeypatch, "pypi", "d.whl", data)
    wanted = Package("pypi", "demo", "1.0", "0" * 64, 1, ("*",))
    with pytest.raises(UserError, match="names a file outside"):
        packages.fetch(wanted, lambda line: None)
    assert not list(cache.parent.parent.rglob("x.txt"))


def test_installed_debian_package(cache, monkeypatch, tmp_path):
    """Used only when dpkg lists it and the contents are right; never changed."""
    system, info = tmp_path / "system", tmp_path / "info"
    for name, data in MEMBERS.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_bytes(data)
    (system / "data/of-another.txt").write_bytes(b"not ours")
    info.mkdir()
    (info / "demo.list").write_text("/.\n/data\n/data/a.txt\n/data/b.txt\n/code/setup.py\n")
    monkeypatch.setattr(packages, "_SYSTEM", system)
    monkeypatch.setattr(packages, "_DPKG_INFO", info)
    pinned = packages.members_sha256(system, ["data/a.txt", "data/b.txt"])
    wanted = packages.debian("demo", "1.0", pinned, 1, "data/*.txt")
    home = packages.fetch(wanted, lambda line: None)
    assert sorted(p.name for p in (home / "data").iterdir()) == ["a.txt", "b.txt"]

    calls = []

    def fails(*arguments):
        calls.append(arguments)
        raise FetchError("no lists")

    monkeypatch.setitem(packages._CLIENT, "debian", fails)
    (system / "data/a.txt").write_bytes(b"another build")
    other = packages.debian("demo", "2:1.1", pinned, 1, "data/*.txt")
    with pytest.raises(UserError, match=r"demo_2%3a1.1_\*.deb"):
        packages.fetch(other, lambda line: None)
    assert calls


def test_unwritable_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GANPIPE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="demo needs a cache folder .* set GANPIPE_CACHE"):
        packages.fetch(package(), lambda line: None)


def _fetch_slowly(calls, barrier):
    def client(name, version, megabytes, scratch, say):
        with calls.get_lock():
            calls.value += 1
        (scratch / "d.whl").write_bytes(wheel())
        return scratch / "d.whl"

    packages._CLIENT["pypi"] = client
    barrier.wait()
    packages.fetch(package(), lambda line: None)


def test_two_processes_fetch_once(cache):
    context = multiprocessing.get_context("fork")
    calls, barrier = context.Value("i", 0), context.Barrier(2)
    workers = [context.Process(target=_fetch_slowly, args=(calls, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0] and calls.value == 1


def program(folder, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_clients_say_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(clients.importlib.util, "find_spec", lambda name: None)
    for client, words in (
        (clients.npm, "no npm on this machine"),
        (clients.debian, "no apt-get on this machine"),
        (clients.pypi, "neither pip nor uv on this machine"),
    ):
        with pytest.raises(FetchError, match=words):
            client("demo", "1.0", 1, tmp_path, print)


def test_uv_stands_in_for_pip(tmp_path, monkeypatch):
    program(tmp_path / "bin", "uv", f'echo "$@" > {tmp_path}/call; touch demo-1.0-py3.whl')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(clients.importlib.util, "find_spec", lambda name: None)
    assert clients.pypi("demo", "1.0", 1, tmp_path, print).name == "demo-1.0-py3.whl"
    assert "tool run pip download --no-deps" in (tmp_path / "call").read_text()


def test_clients_are_stopped_and_quoted(tmp_path, monkeypatch):
    program(tmp_path / "bin", "npm", "echo noise >&2; echo 'npm error 404 none' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    with pytest.raises(FetchError, match="npm error 404 none"):
        clients.npm("demo", "1.0", 1, tmp_path, print)
    assert clients.run(["sleep", "20"], tmp_path, 0.2) == "sleep took longer than 0 s"
    assert clients.run(["true"], tmp_path, 5) is None
