"""The registries' ordinary clients, run without root, within a time limit, into a folder of ours.

Each of `debian`, `pypi` and `npm` brings one archive of a pinned version into an empty folder and
returns its path. None installs anything, none keeps a cache outside that folder.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

Say = Callable[[str], None]

# Seconds: what refreshing package lists may take; a download may take START + PER_MB each megabyte.
_UPDATE_LIMIT, _START, _PER_MB = 90, 90, 4


class FetchError(Exception):
    """One way of fetching failed; the message is what the client said or lacks."""


def run(command: list[str], cwd: Path, limit: float) -> str | None:
    """Runs a program for at most `limit` seconds; None if it succeeded, else what it said."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return f"{command[0]} took longer than {limit:.0f} s"
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    if done.returncode == 0:
        return None
    return _reason(done.stderr or done.stdout) or f"{command[0]} ended with {done.returncode}"


def _reason(text: str) -> str:
    """The line in which a client says why; npm says it first, the others last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("npm error") for line in lines):
        return "; ".join([line for line in lines if line.startswith("npm error")][:2])
    told = [line for line in lines if line.startswith(("E: ", "ERROR", "error:"))]
    reason = (told or lines or [""])[-1]
    # pip's last word is "no matching distribution", whatever the reason.
    unreachable = any("Retrying" in line or "NewConnectionError" in line for line in lines)
    return f"{reason} (its server did not answer)" if unreachable else reason


def time_limit(megabytes: float) -> float:
    """Seconds that a download of this size may take."""
    return _START + _PER_MB * megabytes


def need(*programs: str) -> None:
    """FetchError unless the programs are on PATH."""
    for program in programs:
        if shutil.which(program) is None:
            raise FetchError(f"no {program} on this machine")


def debian(name: str, version: str, megabytes: float, scratch: Path, say: Say) -> Path:
    """`apt-get download`, with the system's package lists or, if these fail, private ones.

    Args:
      name: package.
      version: as Debian writes it, with the epoch; "" for whatever the lists name.
      megabytes: size of the download, for the time limit.
      scratch: empty folder; the archive and private lists are put there.
      say: receives a line for what takes time.

    Raises:
      FetchError: no such program, package or version, or too slow.
    """
    need("apt-get", "dpkg-deb")
    download = ["download", f"{name}={version}" if version else name]
    limit = time_limit(megabytes)
    problem = run(["apt-get", *_apt_options(None), *download], scratch, limit)
    if problem is not None:
        # No lists, stale lists, or lists we may not read: private ones.
        say(f"{name}: fetching package lists into a private folder")
        private = scratch / "apt"
        for folder in ("lists/partial", "cache/archives/partial"):
            (private / folder).mkdir(parents=True)
        options = _apt_options(private)
        # One unreachable third-party archive makes update fail as a whole: the download decides.
        update = run(["apt-get", *options, "update"], scratch, _UPDATE_LIMIT)
        problem = run(["apt-get", *options, *download], scratch, limit)
        if problem is not None:
            raise FetchError(problem if update is None else f"{problem} (update: {update})")
    return _only(scratch, f"{name}_*.deb")


def _apt_options(private: Path | None) -> list[str]:
    """Options for apt-get: short waits, and our own folders when `private` is given."""
    options = {
        "Acquire::http::Timeout": "10",
        "Acquire::https::Timeout": "10",
        "Acquire::Retries": "1",
        "Acquire::Languages": "none",
        # As root, apt would drop to user _apt, who may not enter our cache.
        "APT::Sandbox::User": "root",
        "Debug::NoLocking": "1",
    }
    if private is not None:
        options |= {
            "Dir::State::lists": f"{private}/lists",
            "Dir::Cache": f"{private}/cache",
            "Dir::Cache::archives": f"{private}/cache/archives",
            # Distributions hook cleaning jobs into update; they concern the system's folders.
            "APT::Update::Post-Invoke::": "true",
        }
    return ["-q", *(part for k, v in options.items() for part in ("-o", f"{k}={v}"))]


def pypi(name: str, version: str, megabytes: float, scratch: Path, say: Say) -> Path:
    """`pip download` of a wheel, by this Python's pip or else by the pip that `uv` brings.

    Raises:
      FetchError: neither pip nor uv, no such version, or too slow.
    """
    del say
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip"]
    elif shutil.which("uv"):
        pip = ["uv", "tool", "run", "pip"]
    else:
        raise FetchError("neither pip nor uv on this machine")
    flags = ["--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    flags += ["--retries=1", "--timeout=15"]
    command = [*pip, "download", *flags, "--only-binary=:all:", "-d", ".", f"{name}=={version}"]
    problem = run(command, scratch, time_limit(megabytes))
    if problem is not None:
        raise FetchError(problem)
    return _only(scratch, "*.whl")


def npm(name: str, version: str, megabytes: float, scratch: Path, say: Say) -> Path:
    """`npm pack`; no script of the package is run.

    Raises:
      FetchError: no npm, no such version, or too slow.
    """
    del say
    need("npm")
    command = ["npm", "pack", f"{name}@{version}", "--ignore-scripts", "--no-update-notifier"]
    command += ["--no-audit", "--no-fund", "--loglevel=error", "--cache", str(scratch / "npm")]
    command += ["--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000"]
    problem = run(command, scratch, time_limit(megabytes))
    if problem is not None:
        raise FetchError(problem)
    return _only(scratch, "*.tgz")


def _only(scratch: Path, pattern: str) -> Path:
    archives = sorted(scratch.glob(pattern))
    if not archives:
        raise FetchError(f"the client ended well but left no {pattern}")
    return archives[-1]


def reachable(url: str, limit: float = 8) -> bool:
    """Whether a server answers at all (with any status) within `limit` seconds."""
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "ganpipe"})
    try:
        with urllib.request.urlopen(request, timeout=limit):
            return True
    except urllib.error.HTTPError as error:
        return error.code < 500  # 5xx is what a proxy says that cannot get through
    except (OSError, ValueError):
        return False
