"""Where files lie: a folder or a zip file, listed once and read by key.

A key is a path within the tree with forward slashes. Both kinds pass over names that start with a
dot and `__MACOSX`; what looks like a picture but cannot be read as a file is listed as a problem.
"""

import dataclasses
import functools
import hashlib
import json
import os
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from ganpipe.data import decode
from ganpipe.data.decode import RejectedError
from ganpipe.errors import UserError

# Files beside the pictures that may hold their labels (layout.py).
LABEL_FILES = ("dataset.json", "labels.json")


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a tree, none of them opened.

    Attributes:
      keys: pictures by suffix, sorted.
      stamps: one (size, change) per key: modification time in ns, or CRC in a zip file.
      folders: all folders, sorted, that with a picture below and others.
      labels: key of the file of labels at the top, or "".
      passed_over: number of files of other kinds.
      problems: (key, reason) of pictures by name that are no regular files.
    """

    keys: tuple[str, ...]
    stamps: tuple[tuple[int, int], ...]
    folders: tuple[str, ...]
    labels: str
    passed_over: int
    problems: tuple[tuple[str, str], ...]

    def fingerprint(self) -> str:
        """SHA-256 over keys, sizes and changes."""
        digest = hashlib.sha256()
        for key, stamp in zip(self.keys, self.stamps, strict=True):
            digest.update(json.dumps([key, *stamp]).encode())
        return digest.hexdigest()


class Tree(Protocol):
    """A folder or a zip file."""

    path: str
    kind: str

    def list(self) -> Listing:
        """Lists the files; UserError if there is no such tree."""
        ...

    def read(self, key: str) -> bytes:
        """A file's bytes; RejectedError if they cannot be had."""
        ...


def is_picture(name: str) -> bool:
    """Whether a file name ends like a picture's."""
    return os.path.splitext(name)[1].lower() in decode.IMAGE_SUFFIXES


def hidden(name: str) -> bool:
    """Whether a name is passed over."""
    return name.startswith(".") or name == "__MACOSX"


def suffixes() -> str:
    """The suffixes of pictures, for messages."""
    return ", ".join(sorted(decode.IMAGE_SUFFIXES))


@dataclasses.dataclass(frozen=True)
class FolderTree:
    """A folder; links are followed, loops of links are not."""

    path: str
    kind: str = "folder"

    def list(self) -> Listing:
        """Walks the folder.

        Raises:
          UserError: no such folder, or one that cannot be read.
        """
        root = Path(self.path)
        if not root.is_dir():
            what = "is a file" if root.exists() else "does not exist"
            raise UserError(f"--source={self.kind}:{root}: this {what}; expected a folder")
        try:
            return self._walk()
        except OSError as error:
            raise UserError(f"--source={self.kind}:{root}: cannot be read ({error})") from error

    def _walk(self) -> Listing:
        found: list[tuple[str, tuple[int, int]]] = []
        folders: list[str] = []
        problems: list[tuple[str, str]] = []
        labels, others = "", 0
        top = os.stat(self.path)
        # (prefix of keys, the folders above by device and inode): a link to one of these is a loop.
        todo = [("", ((top.st_dev, top.st_ino),))]
        while todo:
            prefix, above = todo.pop()
            for entry in os.scandir(os.path.join(self.path, prefix)):
                if hidden(entry.name):
                    continue
                key = prefix + entry.name
                try:
                    info = entry.stat()
                except OSError as error:
                    if is_picture(entry.name) or entry.is_symlink():
                        reason = f"link that leads nowhere ({error.strerror})"
                        problems.append((key, reason))
                    continue
                if stat.S_ISDIR(info.st_mode):
                    here = (info.st_dev, info.st_ino)
                    if here in above:
                        problems.append((f"{key}/", "symbolic link loop"))
                        continue
                    folders.append(key)
                    todo.append((f"{key}/", (*above, here)))
                elif not is_picture(entry.name):
                    if key in LABEL_FILES:
                        labels = min(labels or key, key)  # dataset.json before labels.json
                    else:
                        others += 1
                elif not stat.S_ISREG(info.st_mode):
                    problems.append((key, "not a regular file"))
                else:
                    found.append((key, (info.st_size, info.st_mtime_ns)))
        found.sort()
        keys, stamps = (tuple(part) for part in zip(*found, strict=True)) if found else ((), ())
        return Listing(
            keys, stamps, tuple(sorted(folders)), labels, others, tuple(sorted(problems))
        )

    def read(self, key: str) -> bytes:
        """A file's bytes."""
        try:
            with open(os.path.join(self.path, key), "rb") as file:
                return _bounded(file, os.fstat(file.fileno()).st_size)
        except OSError as error:
            raise RejectedError(
                "cannot be read", f"cannot be read ({error.strerror or error})"
            ) from error


@dataclasses.dataclass(frozen=True)
class ZipTree:
    """A zip file, read in place."""

    path: str
    kind: str = "zip"

    def list(self) -> Listing:
        """Reads the directory of the zip file.

        Raises:
          UserError: no such file, or no zip file.
        """
        members = _zip(self.path, _stamp(self.path)).infolist()
        found, folders, problems, labels, others = {}, set(), [], "", 0
        for member in members:
            key = member.filename
            parts = key.rstrip("/").split("/")
            if any(hidden(part) for part in parts) or ".." in parts:
                continue
            folders |= {"/".join(parts[:n]) for n in range(1, len(parts))}
            if member.is_dir():
                folders.add(key.rstrip("/"))
            elif not is_picture(key):
                if key in LABEL_FILES:
                    labels = min(labels or key, key)
                else:
                    others += 1
            elif member.flag_bits & 1:
                problems.append((key, "encrypted"))
            else:
                found[key] = (member.file_size, member.CRC)  # the last of one name counts
        keys = tuple(sorted(found))
        return Listing(
            keys,
            tuple(found[key] for key in keys),
            tuple(sorted(folders)),
            labels,
            others,
            tuple(sorted(problems)),
        )

    def read(self, key: str) -> bytes:
        """A member's bytes, checked against its CRC."""
        archive = _zip(self.path, _stamp(self.path))
        try:
            with archive.open(key) as file:
                return _bounded(file, archive.getinfo(key).file_size)
        except RejectedError:
            raise
        except Exception as error:  # bad CRC, unknown compression, cut short, no such member
            raise RejectedError("cannot be read", f"cannot be unpacked ({error})") from error


def _bounded(file, size: int) -> bytes:
    """All of an open file, refused when it is or turns out larger than any picture."""
    if size <= decode.MAX_FILE_BYTES:
        data = file.read(decode.MAX_FILE_BYTES + 1)
        if len(data) <= decode.MAX_FILE_BYTES:
            return data
    limit = decode.MAX_FILE_BYTES >> 20
    raise RejectedError("file too large", f"file of {size >> 20} MiB, at most {limit} MiB are read")


def _stamp(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise UserError(
            f"--source=zip:{path}: this file does not exist or cannot be read ({error.strerror})"
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"--source=zip:{path}: this is no file; expected a .zip of pictures")
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=4)
def _zip(path: str, stamp: tuple[int, int]) -> zipfile.ZipFile:
    """An open zip file; threads may read it at once (zipfile locks around every seek)."""
    del stamp  # makes the cached answer go stale
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"--source=zip:{path}: not a readable zip file ({error})") from error


def read_all(tree: Tree, keys: Sequence[str]) -> list[bytes]:
    """The bytes of several files; b"" (an empty file to the decoder) for what has gone."""
    contents = []
    for key in keys:
        try:
            contents.append(tree.read(key))
        except RejectedError:
            contents.append(b"")  # gone or changed since the survey
    return contents
