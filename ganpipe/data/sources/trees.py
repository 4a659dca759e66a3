"""Where files lie: a folder or a zip file, listed once and read by key.

A key is a path within the tree with forward slashes. Both kinds pass over names that start with a
dot and `__MACOSX`; what looks like a picture but cannot be read as a file is listed as a problem.

A file that cannot be had for a reason of its own (gone, not permitted) is a `RejectedError`: that
picture is left out. Any other failure (a bad disk, too many open files, a folder that this worker
does not see) says nothing of the picture, and stops the run.
"""

import dataclasses
import errno
import functools
import hashlib
import itertools
import json
import os
import socket
import stat
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from ganpipe.data import decode
from ganpipe.data.decode import RejectedError
from ganpipe.errors import UserError

# Files beside the pictures that may hold their labels (layout.py).
LABEL_FILES = ("dataset.json", "labels.json")
# Reasons of a file's own for which it, or a folder, cannot be had.
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
_BARRED = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a tree, none of them opened.

    Attributes:
      keys: pictures by suffix, sorted.
      stamps: one (size, change) per key: modification time in ns, or CRC in a zip file.
      folders: all folders, sorted, that with a picture below and others.
      labels: key of the file of labels, or "": at the top, or else in the one folder (or the one
        folder in that, ...) that all pictures are in, as an archive of a whole folder has it.
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
        """SHA-256 over keys, sizes and changes, folders and problems."""
        digest = hashlib.sha256(json.dumps([self.folders, self.problems]).encode())
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


def common_folder(keys: Sequence[str]) -> str:
    """The deepest folder that all of some sorted keys are in, with a slash behind; "" for none."""
    if not keys:
        return ""
    # What the first and the last share, all between them share.
    first, last = (key.split("/")[:-1] for key in (keys[0], keys[-1]))
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(f"{name}/" for name, _ in pairs)


def _listing(
    found: dict[str, tuple[int, int]],
    folders: Iterable[str],
    texts: set[str],
    others: int,
    problems: list[tuple[str, str]],
) -> Listing:
    """Sorts what was found; `texts` are the keys of files named like a file of labels."""
    keys = tuple(sorted(found))
    parts = common_folder(keys).split("/")
    places = ["/".join([*parts[:depth], ""]) for depth in range(len(parts))]
    labels = next((p + name for p in places for name in LABEL_FILES if p + name in texts), "")
    return Listing(
        keys,
        tuple(found[key] for key in keys),
        tuple(sorted(folders)),
        labels,
        others + len(texts) - bool(labels),
        tuple(sorted(problems)),
    )


@dataclasses.dataclass(frozen=True)
class LazyFile:
    """A file that is read when it is wanted, so that a batch is not whole files in memory."""

    tree: Tree
    key: str

    def read(self) -> bytes:
        """The file's bytes; RejectedError if they cannot be had."""
        return self.tree.read(self.key)


@dataclasses.dataclass(frozen=True)
class FolderTree:
    """A folder; links are followed, but no folder is listed twice.

    A link to a folder that lies in the tree anyway, or that another link has led to, is a problem
    (`folder seen before`), so that links that fan out and join again do not multiply the files.
    """

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
        found: dict[str, tuple[int, int]] = {}
        folders: list[str] = []
        problems: list[tuple[str, str]] = []
        texts: set[str] = set()
        others = 0
        top = os.stat(self.path)
        seen: dict[tuple[int, int], str] = {}  # folder by device and inode -> its key
        # (key, the folder and those above it by device and inode); links wait until all that lies
        # in the tree itself is listed, then go by name: what is kept is the same on any machine.
        todo = [("", ((top.st_dev, top.st_ino),))]
        links: list[tuple[str, tuple[tuple[int, int], ...]]] = []
        while todo or links:
            if not todo:
                links.sort(reverse=True)
                todo.append(links.pop())
            folder, (*above, here) = todo.pop()
            prefix = f"{folder}/" if folder else ""
            if here in seen:
                first = f"{self.path}/{seen[here]}".rstrip("/")
                again = "symbolic link loop" if here in above else f"folder seen before, as {first}"
                problems.append((prefix, again))
                continue
            seen[here] = folder
            try:
                with os.scandir(os.path.join(self.path, folder)) as entries:
                    entries = list(entries)
            except OSError as error:
                if not folder or error.errno not in _GONE | _BARRED:
                    raise
                problems.append((prefix, f"folder cannot be read ({error.strerror})"))
                continue
            if folder:
                folders.append(folder)
            for entry in entries:
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
                    inner = (key, (*above, here, (info.st_dev, info.st_ino)))
                    (links if entry.is_symlink() else todo).append(inner)
                elif not is_picture(entry.name):
                    if entry.name in LABEL_FILES and stat.S_ISREG(info.st_mode):
                        texts.add(key)
                    else:
                        others += 1
                elif not stat.S_ISREG(info.st_mode):
                    problems.append((key, "not a regular file"))
                else:
                    found[key] = (info.st_size, info.st_mtime_ns)
        return _listing(found, folders, texts, others, problems)

    def read(self, key: str) -> bytes:
        """A file's bytes.

        Raises:
          RejectedError: gone, not permitted, no file, too large.
          UserError: the folder is not seen from here.
          OSError: anything else, which is not the picture's fault.
        """
        path = os.path.join(self.path, key)
        try:
            with open(path, "rb") as file:
                return _bounded(file, os.fstat(file.fileno()).st_size)
        except OSError as error:
            if error.errno in _GONE and not _seen(self.path):
                raise _unseen(self.kind, self.path, "folder", error) from error
            if error.errno not in _GONE | _BARRED:
                raise OSError(error.errno, error.strerror, path) from error  # now with its name
            raise RejectedError("cannot be read", f"cannot be read ({error.strerror})") from error


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
        found, folders, problems, texts, others = {}, set(), [], set(), 0
        for member in members:
            key = member.filename
            parts = key.rstrip("/").split("/")
            if any(hidden(part) for part in parts) or ".." in parts:
                continue
            folders |= {"/".join(parts[:n]) for n in range(1, len(parts))}
            if member.is_dir():
                folders.add(key.rstrip("/"))
            elif not is_picture(key):
                if parts[-1] in LABEL_FILES:
                    texts.add(key)
                else:
                    others += 1
            elif member.flag_bits & 1:
                problems.append((key, "encrypted"))
            else:
                found[key] = (member.file_size, member.CRC)  # the last of one name counts
        return _listing(found, folders, texts, others, problems)

    def read(self, key: str) -> bytes:
        """A member's bytes, checked against its CRC.

        Raises:
          RejectedError: damaged, of unknown compression, encrypted, no such member, too large.
          UserError: the zip file is not seen from here, or has become another file.
          OSError: the disk's or the machine's fault.
        """
        if not os.path.exists(self.path):
            gone = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            raise _unseen(self.kind, self.path, "file", gone)
        archive = _zip(self.path, _stamp(self.path))
        try:
            with archive.open(key) as file:
                return _bounded(file, archive.getinfo(key).file_size)
        except RejectedError:
            raise
        except Exception as error:  # bad CRC, unknown compression, cut short, no such member
            # Damaged contents end up here too: bz2 raises OSError without a number, and a wrong
            # offset an invalid seek.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise OSError(error.errno, error.strerror, self.path) from error
            raise RejectedError("cannot be read", f"cannot be unpacked ({error})") from error


def _seen(folder: str) -> bool:
    """Whether a folder is there; an empty one is the place where nothing has been mounted."""
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def _unseen(kind: str, path: str, what: str, error: OSError) -> UserError:
    return UserError(
        f"--source={kind}:{path}: the worker on {socket.gethostname()} does not see this {what} "
        f"({error.strerror}); mount it under this path on every machine that works, and leave it "
        "there until the run ends"
    )


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
    """An open zip file; threads may read it at once.

    zipfile locks around reads; opening is serialised by the GIL.
    """
    del stamp  # makes the cached answer go stale
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"--source=zip:{path}: not a readable zip file ({error})") from error
    except OSError as error:
        raise UserError(
            f"--source=zip:{path}: cannot be read ({error.strerror or error})"
        ) from error
