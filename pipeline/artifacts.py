"""Typed, fingerprinted artifact folders: what a component made, from what, and if it still holds.

Every execution of a component leaves one folder

    ROOT/artifacts/COMPONENT/<first 12 of the fingerprint>/
        artifact.json    type, component, fingerprint, inputs, config, code, created, properties
        ...              what the component wrote

The fingerprint is a SHA-256 over the component's name and artifact type, the content fingerprints
of its input artifacts, the part of the configuration that it reads, and the version of its code.
Nothing else: no path, no time, no process. So equal fingerprints mean equal work, and a component
whose folder is there is skipped.

What consumers hash of an artifact is its `content`. That is its own fingerprint, except for
artifacts that carry a fingerprint of their contents (Examples: the one in `dataset.json`): the same
images written again by other code do not set off a new training.

A folder appears complete or not at all: the component writes into `ROOT/work/COMPONENT/<id>/`,
which is renamed on success. The work place of a component that can continue (the trainer) is kept
between tries; that of every other one is emptied first.
"""

import ast
import contextlib
import dataclasses
import datetime
import fcntl
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError

FORMAT = 1
MANIFEST = "artifact.json"
TYPES = (
    "Examples",
    "ExampleStatistics",
    "Schema",
    "ExampleAnomalies",
    "Model",
    "ModelEvaluation",
    "ModelBlessing",
    "InfraBlessing",
    "PushedModel",
)
_CHECKOUT = Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One finished artifact folder.

    Attributes:
      path: the folder.
      type: one of `TYPES` (TFX's artifact names).
      component: the component that made it, for example `trainer`.
      fingerprint: SHA-256 hex of the execution that made it.
      content: what consumers put into their own fingerprints (see the module's text).
      inputs: input name -> content fingerprint.
      config: the part of the configuration that the component read.
      code: version of the component's code, SHA-256 hex.
      created: ISO 8601 time in UTC at which it was finished.
      seconds: wall time of the execution.
      properties: what the component reports; JSON values.
    """

    path: Path
    type: str
    component: str
    fingerprint: str
    content: str
    inputs: Mapping[str, str]
    config: Mapping[str, Any]
    code: str
    created: str
    seconds: float
    properties: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | os.PathLike) -> "Artifact":
        """Reads an artifact folder.

        Raises:
          UserError: if the folder has no readable `artifact.json` of this format.
        """
        path = Path(path)
        try:
            record = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            if record.pop("format") != FORMAT:
                raise ValueError("another format")
            return cls(path=path, **record)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: not a readable artifact ({error}); remove this folder and run the "
                "pipeline again to make it anew"
            ) from error


def canonical(value: Any) -> str:
    """Returns JSON that is equal for equal values: sorted keys, no spaces, tuples as lists.

    Raises:
      TypeError: if `value` holds something JSON has no form for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Returns the SHA-256 hex of `canonical(value)`."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def _strip_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree


@functools.cache
def _file_version(path: Path, mtime_ns: int) -> str:
    del mtime_ns  # Part of the cache key only: a process that lives long must see an edit.
    source = path.read_bytes()
    if path.suffix == ".py":
        source = ast.dump(_strip_docstrings(ast.parse(source))).encode()
    return hashlib.sha256(source).hexdigest()


def code_version(places: Sequence[str], base: Path = _CHECKOUT) -> str:
    """Returns the version of some source files: what they do, not how they are written.

    Python files count by their syntax tree without docstrings, so a comment, a docstring or a line
    break does not set off a new training. (The tree's form belongs to the Python version: moving to
    another minor version of Python runs everything once.)

    Args:
      places: files and folders relative to `base`; a folder stands for every `*.py` below it.
      base: the checkout, or wherever `ganpipe`, `pipeline` and `serving` lie.

    Returns:
      SHA-256 hex over relative names and versions.

    Raises:
      FileNotFoundError: if a place does not exist: a forgotten rename would go unnoticed otherwise.
    """
    versions: dict[str, str] = {}
    for place in places:
        path = base / place
        if not path.exists():
            raise FileNotFoundError(f"{path} is named in a component's code list, but is not there")
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(base).as_posix()
            versions[name] = _file_version(file, file.stat().st_mtime_ns)
    return digest(versions)


class Store:
    """The artifact folders below one pipeline root.

    Args:
      root: the pipeline's `--root`; made if missing.

    Raises:
      UserError: if `root` cannot be made or written to.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root).expanduser().resolve()
        try:
            for name in ("artifacts", "work"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
                probe = self.root / name / f".probe-{os.getpid()}"
                probe.touch()
                probe.unlink()
        except OSError as error:
            raise UserError(
                f"--root={root}: cannot write there ({error.strerror}); name a folder that can be "
                "made and written to"
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the root for one run; the lock goes with the process, even a killed one.

        Raises:
          UserError: if another process holds it.
        """
        with open(self.root / ".lock", "a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise UserError(
                    f"--root={self.root}: another pipeline run ({file.read().strip()}) is using "
                    "it; wait for it or name another folder"
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
            yield
            file.truncate(0)

    def fingerprint(
        self,
        component: str,
        kind: str,
        inputs: Mapping[str, str],
        config: Mapping[str, Any],
        code: str,
    ) -> str:
        """Returns the fingerprint of an execution (see the module's text)."""
        if kind not in TYPES:
            raise ValueError(f"artifact type {kind!r}: expected one of {TYPES}")
        return digest(
            {"component": component, "type": kind, "in": inputs, "config": config, "code": code}
        )

    def path(self, component: str, fingerprint: str) -> Path:
        """Returns the folder of an execution, there or not."""
        return self.root / "artifacts" / component / fingerprint[:12]

    def find(self, component: str, fingerprint: str) -> Artifact | None:
        """Returns the finished artifact of an execution, or None."""
        path = self.path(component, fingerprint)
        if not path.exists():
            return None
        artifact = Artifact.read(path)
        return artifact if artifact.fingerprint == fingerprint else None

    def all(self, component: str, kind: str) -> list[Artifact]:
        """Returns the finished artifacts of a component and type, oldest first."""
        folder = self.root / "artifacts" / component
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        found = [Artifact.read(path) for path in paths if (path / MANIFEST).exists()]
        return sorted((a for a in found if a.type == kind), key=lambda a: a.created)

    def make(
        self,
        component: str,
        kind: str,
        work: Callable[[Path], Mapping[str, Any] | None],
        *,
        inputs: Mapping[str, str],
        config: Mapping[str, Any],
        code: str,
        content: Callable[[Mapping[str, Any]], str] | None = None,
        keep_work: bool = False,
    ) -> Artifact:
        """Runs `work(folder)` and makes its folder an artifact, in one rename.

        Args:
          component: its name; a folder name.
          kind: artifact type, one of `TYPES`.
          work: writes into the (existing) folder given and returns the artifact's properties.
          inputs: input name -> content fingerprint.
          config: the part of the configuration that it reads; JSON values.
          code: `code_version` of its sources.
          content: properties -> content fingerprint; the execution's own when None.
          keep_work: keep what an earlier, broken-off try left in the work place.

        Returns:
          The artifact. One with the same fingerprint that was there is replaced.
        """
        fingerprint = self.fingerprint(component, kind, inputs, config, code)
        place = self.root / "work" / component / fingerprint[:12]
        if not keep_work:
            shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, exist_ok=True)
        started = datetime.datetime.now(datetime.UTC)
        try:
            properties = dict(work(place) or {})
        except BaseException:
            if not keep_work:
                shutil.rmtree(place, ignore_errors=True)
            raise
        finished = datetime.datetime.now(datetime.UTC)
        record = {
            "format": FORMAT,
            "type": kind,
            "component": component,
            "fingerprint": fingerprint,
            "content": content(properties) if content else fingerprint,
            "inputs": dict(inputs),
            "config": dict(config),
            "code": code,
            "created": finished.isoformat(timespec="microseconds"),
            "seconds": round((finished - started).total_seconds(), 3),
            "properties": properties,
        }
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        (place / MANIFEST).write_text(text, encoding="utf-8")
        target = self.path(component, fingerprint)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            # A folder cannot be renamed onto a full one: the old one steps aside first.
            aside = place.with_name(place.name + ".old")
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(target, aside)
            os.rename(place, target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(place, target)
        return Artifact.read(target)
