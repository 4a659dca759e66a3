"""Folders of pictures: layout, survey of every file, and the cut of a test split.

Three layouts, told apart by what is there:

* flat: pictures directly in the folder; no labels;
* classes: pictures only in sub-folders; each sub-folder is a class, searched to any depth;
* splits: the sub-folders are `train` and `test` (or `val`, `valid`, `validation` for lack of
  `test`), each of them flat or holding classes.

Names that start with a dot, `__MACOSX` and files that are no pictures by suffix are passed over.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ganpipe.data import transforms
from ganpipe.errors import UserError

_TRAIN, _TEST = "train", ("test", "val", "valid", "validation")


@dataclasses.dataclass(frozen=True)
class File:
    """One picture file: `key` is its path within the source, with forward slashes."""

    key: str
    split: str  # "" until the test split is cut
    label: int


@dataclasses.dataclass(frozen=True)
class Layout:
    """What a folder holds before any file is opened."""

    root: Path
    files: tuple[File, ...]
    class_names: tuple[str, ...]
    has_splits: bool
    passed_over: int  # files without a picture's suffix


def class_order(names: Sequence[str]) -> list[str]:
    """Label order: numeric when every name is a whole number (0..9, 00..61), else by code point."""
    if all(name.isascii() and name.isdigit() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _children(directory: Path) -> tuple[list[str], list[str], int]:
    """Names of sub-folders and of pictures right in a folder, and the number of other files."""
    folders, pictures, others = [], [], 0
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_dir():
            folders.append(entry.name)
        elif Path(entry.name).suffix.lower() in transforms.IMAGE_SUFFIXES:
            pictures.append(entry.name)
        else:
            others += 1
    return folders, pictures, others


def _pictures_below(directory: Path) -> tuple[list[str], int]:
    """Relative paths of all pictures below a folder, sorted, and the number of other files."""
    folders, found, others = _children(directory)
    for name in folders:
        below, more = _pictures_below(directory / name)
        found += [f"{name}/{path}" for path in below]
        others += more
    return found, others


def _scan_part(root: Path, prefix: str) -> tuple[dict[str, list[str]], list[str], int]:
    """({class: keys}, unlabelled keys, other files) of a folder or of one split of it."""
    here = root / prefix
    folders, pictures, others = _children(here)
    classes = {}
    for name in folders:
        below, more = _pictures_below(here / name)
        classes[name] = [f"{prefix}{name}/{path}" for path in below]
        others += more
    loose = [f"{prefix}{name}" for name in pictures]
    if loose and any(classes.values()):
        full = [name for name, keys in classes.items() if keys]
        raise UserError(
            f"{here} holds pictures beside sub-folders of pictures ({len(loose)} such as "
            f"{pictures[0]!r}, and {', '.join(repr(n) for n in full[:3])}): either put all into "
            "class sub-folders or all flat into one folder"
        )
    if not loose:
        empty = [name for name, keys in classes.items() if not keys]
        if empty and len(empty) < len(classes):
            raise UserError(
                f"class folder {here / empty[0]} holds no pictures "
                f"({', '.join(sorted(transforms.IMAGE_SUFFIXES))}); fill it or remove it"
            )
    return {k: v for k, v in classes.items() if v}, loose, others


def scan(root: str | Path) -> Layout:
    """Lists the pictures of a folder and finds its layout; no file is opened.

    Raises:
      UserError: missing or empty folder, an empty class folder, a mixture of layouts, classes of
        the test split that the train split lacks.
    """
    root = Path(root)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise UserError(f"--source=folder:{root}: this {what}; expected a folder of pictures")
    try:
        return _scan(root)
    except OSError as error:
        raise UserError(f"--source=folder:{root}: cannot be read ({error})") from error


def _scan(root: Path) -> Layout:
    folders, pictures, _ = _children(root)
    names = set(folders)
    test = next((name for name in _TEST if name in names), None)
    splits = {"": ""}
    if not pictures and test and _TRAIN in names:
        strange = names - {_TRAIN, test}
        if strange:
            raise UserError(
                f"{root} holds split folders {_TRAIN!r} and {test!r} beside "
                f"{', '.join(repr(s) for s in sorted(strange)[:3])}; keep one train and one test "
                "folder, or only class folders"
            )
        splits = {"train": f"{_TRAIN}/", "test": f"{test}/"}
    parts = {split: _scan_part(root, prefix) for split, prefix in splits.items()}
    passed_over = sum(others for _, _, others in parts.values())
    for split, (classes, loose, _) in parts.items():
        if not classes and not loose:
            where = root / splits[split]
            raise UserError(
                f"--source=folder:{root}: no pictures in {where} (looked for "
                f"{', '.join(sorted(transforms.IMAGE_SUFFIXES))}; {passed_over} other files)"
            )
    first = next(iter(parts.values()))[0]
    class_names = class_order(list(first))
    if "test" in parts:
        unknown = sorted(set(parts["test"][0]) - set(class_names))
        if unknown or bool(parts["test"][0]) != bool(class_names):
            raise UserError(
                f"{root}: train has {len(class_names)} class folders, {test} has "
                f"{len(parts['test'][0])}"
                + (f", among them {unknown[0]!r} that train lacks" if unknown else "")
                + "; both must use the same classes"
            )
    # A single sub-folder is a habit of other tools (folder/all/*.jpg), not a label.
    labelled = len(class_names) > 1
    files = []
    for split, (classes, loose, _) in parts.items():
        files += [File(key, split, 0) for key in loose]
        for name, keys in classes.items():
            label = class_names.index(name) if labelled else 0
            files += [File(key, split, label) for key in keys]
    return Layout(
        root, tuple(files), tuple(class_names) if labelled else (), len(parts) > 1, passed_over
    )


def fingerprint(layout: Layout) -> str:
    """SHA-256 over relative paths, sizes and modification times: cheap, no file is opened."""
    digest = hashlib.sha256()
    for file in sorted(layout.files, key=lambda f: f.key):
        stat = os.stat(layout.root / file.key)
        row = [file.key, file.label, file.split, stat.st_size, stat.st_mtime_ns]
        digest.update(json.dumps(row).encode())
    return digest.hexdigest()


def survey(root: Path, keys: Sequence[str]) -> Iterator[dict]:
    """Opens files (headers only) for their size and mode, and hashes their contents.

    Yields:
      {"key", "sha256", "grey": bool, "size": [width, height]} or {"key", "error": text}.
    """
    for key in keys:
        try:
            data = (root / key).read_bytes()
            image = transforms.open_picture(data)
            yield {
                "key": key,
                "sha256": hashlib.sha256(data).hexdigest(),
                "grey": transforms.is_grey(image),
                "size": list(image.size),  # EXIF may turn it; no size check minds
            }
        except OSError as error:
            yield {"key": key, "error": f"cannot be read ({error.strerror or error})"}
        except transforms.RejectedError as error:
            yield {"key": key, "error": str(error)}
        except Exception as error:  # a damaged header can raise nearly anything inside Pillow
            yield {"key": key, "error": f"not a readable image ({type(error).__name__})"}


def cut_test(files: Sequence[File], hashes: dict[str, str], fraction: float) -> list[File]:
    """Assigns every file to `train` or `test` by the hash of its content.

    Within each class the `fraction` of smallest hashes (at least one of two images) is test. So the
    cut does not depend on names or order, hardly changes as a folder grows, keeps the class mix,
    and never puts two copies of one picture on different sides.
    """
    by_label: dict[int, list[str]] = {}
    for file in files:
        by_label.setdefault(file.label, []).append(hashes[file.key])
    test: set[str] = set()
    for values in by_label.values():
        distinct = sorted(set(values))
        if fraction > 0 and len(distinct) > 1:
            wanted = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
            test.update(distinct[:wanted])
    return [
        dataclasses.replace(f, split="test" if hashes[f.key] in test else "train") for f in files
    ]


def shuffled(files: Sequence[File], hashes: dict[str, str], seed: int) -> list[File]:
    """Files in an order that depends on the seed, their contents and their keys only."""

    def rank(file: File) -> bytes:
        return hashlib.sha256(f"{seed}:{hashes[file.key]}:{file.key}".encode()).digest()

    return sorted(files, key=rank)


def read_batches(
    root: Path, files: Sequence[File], size: int
) -> Iterator[tuple[list[str], np.ndarray, list[bytes]]]:
    """Yields (keys, labels (n,) int64, encoded files) of at most `size` files, in order."""
    for start in range(0, len(files), size):
        part = files[start : start + size]
        contents = []
        for file in part:
            try:
                contents.append((root / file.key).read_bytes())
            except OSError:
                contents.append(b"")  # gone since the survey: quarantined as an empty file
        yield [f.key for f in part], np.array([f.label for f in part], np.int64), contents
