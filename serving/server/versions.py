"""The records behind the manager: a model, its versions, and the directories on disk."""

import dataclasses
import logging
import pathlib
import time

from serving.server.config import ModelConfig
from serving.server.errors import ServingError
from serving.server.servable import Servable

log = logging.getLogger("serving.server")

# ModelVersionStatus.State
STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}


@dataclasses.dataclass
class Version:
    """One version of a model, from its discovery on; kept after it is unloaded.

    Attributes:
      number: the directory's name as a number.
      path: the directory.
      state: a key of `STATES`.
      error: why the last load failed for good, or None.
      servable: the model in memory while AVAILABLE or UNLOADING.
      in_flight: requests that use it now.
      tries: failed loads so far.
      next_try: time.monotonic() of the next load.
    """

    number: int
    path: pathlib.Path
    state: str = "START"
    error: ServingError | None = None
    servable: Servable | None = None
    in_flight: int = 0
    tries: int = 0
    next_try: float = 0.0

    @property
    def waiting(self) -> bool:
        """Whether it is still to be loaded, for the first time or again."""
        return self.state in ("START", "LOADING")

    def loaded(self, servable: Servable) -> None:
        """Marks it as answering requests."""
        self.servable, self.state, self.error, self.tries = servable, "AVAILABLE", None, 0

    def failed_once(self, error: ServingError, options) -> bool:
        """Notes a failed load; returns whether there will be another try."""
        self.tries += 1
        if self.tries <= options.max_retries:
            self.next_try = time.monotonic() + options.retry_seconds
            return True
        self.state, self.error = "END", error
        return False


@dataclasses.dataclass
class Model:
    """A configured model. `active` is False once a reload left it out."""

    config: ModelConfig
    active: bool = True
    versions: dict[int, Version] = dataclasses.field(default_factory=dict)
    wanted: frozenset[int] = frozenset()

    def aspire(self, wanted: dict[int, pathlib.Path]) -> None:
        """Takes over which versions are to be served; records the new ones as START.

        A version whose load failed for good is tried again only after its directory (or the wish
        for it) has gone and come back, as in the real server.
        """
        for number, path in wanted.items():
            known = self.versions.get(number)
            came_back = known is not None and known.state == "END" and number not in self.wanted
            if known is None or came_back:
                self.versions[number] = Version(number, path)
        for version in self.versions.values():
            if version.waiting and version.number not in wanted:
                version.state = "END"
        self.wanted = frozenset(wanted)

    def available(self) -> list[int]:
        """The versions that answer requests, ascending."""
        return sorted(n for n, version in self.versions.items() if version.state == "AVAILABLE")

    @property
    def ready(self) -> bool:
        """Whether a request without a version would be answered."""
        return bool(self.available())

    @property
    def hopeless(self) -> bool:
        """Whether nothing answers, nothing is being loaded and a load failed for good."""
        wanted = [self.versions[number] for number in self.wanted]
        return (
            not self.ready
            and not any(version.waiting for version in wanted)
            and any(version.error for version in wanted)
        )

    def failure(self) -> str:
        """What failed, for a log line or an error."""
        failed = [self.versions[n] for n in sorted(self.wanted) if self.versions[n].error]
        return ", ".join(
            f"{{name: {self.config.name} version: {version.number}}} due to error: {version.error}"
            for version in failed
        )


def on_disk(base_path: pathlib.Path) -> dict[int, pathlib.Path]:
    """The version directories below a base path: number -> directory.

    Only names that are decimal numbers count; `.tmp-3` and `3.partial` are skipped, which is how
    a new version can be copied in peace and then renamed. Of two names with one number (`1`,
    `01`) the last in alphabetical order is taken, with a warning.

    Raises:
      OSError: if the base path is not there.
    """
    found: dict[int, pathlib.Path] = {}
    for path in sorted(base_path.iterdir(), reverse=True):
        name = path.name
        if not (name.isascii() and name.isdigit() and int(name) < 2**63 and path.is_dir()):
            continue
        if int(name) in found:
            log.warning("two directories for version %d; %s is not served", int(name), path)
            continue
        found[int(name)] = path
    return found
