"""Which versions of which models are loaded, and the thread that follows the disk.

Every poll lists the numbered directories of each model, asks its policy which to serve, loads the
new ones and then unloads the old ones (availability-preserving: two versions are in memory for a
moment, and a version that fails to load never takes a serving one down).
"""

import contextlib
import dataclasses
import gc
import logging
import pathlib
import threading
import time
from collections.abc import Iterator

from serving.server import versions, warmup
from serving.server.batching import BatchingParameters
from serving.server.config import ModelConfig
from serving.server.errors import ServingError, invalid, not_found
from serving.server.servable import Servable
from serving.server.versions import Model, Version

log = logging.getLogger("serving.server")


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """How versions are found and loaded; defaults as in the real server.

    Attributes:
      poll_seconds: time between two looks at the disk; 0 looks once.
      max_retries: how often a failed load is tried again.
      retry_seconds: time between two tries.
      warmup_iterations: how often each warm-up record runs; 0 for no warm-up.
      tags: the meta graph to load.
      batching: None for no batching.
      labels_for_unavailable: accept a *new* label that points to a version not available.
    """

    poll_seconds: float = 1.0
    max_retries: int = 5
    retry_seconds: float = 60.0
    warmup_iterations: int = 1
    tags: tuple[str, ...] = ("serve",)
    batching: BatchingParameters | None = None
    labels_for_unavailable: bool = False


class Manager:
    """Loads, unloads and lends versions of models. All methods may be called from any thread."""

    def __init__(self, configs: list[ModelConfig], options: LoadOptions | None = None):
        self.options = options or LoadOptions()
        self._models: dict[str, Model] = {}
        self._changed = threading.Condition()  # guards every Model and Version
        self._polling = threading.Lock()  # one poll at a time
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._missing: str | None = None
        self._apply(configs)

    def start(self) -> None:
        """Starts the polling thread; returns at once."""
        self._thread = threading.Thread(target=self._run, name="versions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stops polling. A load in progress is not waited for."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    def wait_available(self, names: list[str] | None = None, timeout: float | None = None) -> bool:
        """Waits until each of these models (default: all) has a version available.

        Returns:
          False if the manager was stopped or the time (seconds) ran out first.

        Raises:
          ServingError: UNKNOWN, if a model's loads all failed for good.
        """
        with self._changed:
            names = list(self._models) if names is None else names

            def settled() -> bool:
                models = [self._models[name] for name in names]
                return self._stopped.is_set() or all(m.ready or m.hopeless for m in models)

            in_time = self._changed.wait_for(settled, timeout)
            hopeless = [name for name in names if self._models[name].hopeless]
            if hopeless and not self._stopped.is_set():
                listed = ", ".join(self._models[name].failure() for name in hopeless)
                raise ServingError(
                    "UNKNOWN", f"{len(hopeless)} servable(s) did not become available: {{{listed}}}"
                )
            return in_time and not self._stopped.is_set()

    def serving(self) -> dict[str, list[int]]:
        """The versions of each model that answer now, ascending."""
        with self._changed:
            return {m.config.name: m.available() for m in self._models.values() if m.active}

    @contextlib.contextmanager
    def lend(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> Iterator[tuple[int, Servable]]:
        """Lends a version for one request; it is not unloaded meanwhile.

        Args:
          name: of the model.
          version: None for the highest available one.
          label: instead of a version.

        Raises:
          ServingError: NOT_FOUND or, for a label, INVALID_ARGUMENT.
        """
        with self._changed:
            entry = self._find(name, version, label)
            entry.in_flight += 1
        try:
            yield entry.number, entry.servable
        finally:
            with self._changed:
                entry.in_flight -= 1
                self._finish_unload(entry)

    def status(self, name: str, version: int | None = None) -> list[Version]:
        """Copies of the version records of a model, newest first, also of unloaded versions.

        Raises:
          ServingError: NOT_FOUND.
        """
        with self._changed:
            known = self._models[name].versions if name in self._models else {}
            if version is not None and version not in known:
                raise not_found(f"Could not find version {version} of model {name}")
            if not known:
                raise not_found(f"Could not find any versions of model {name}")
            chosen = sorted(known, reverse=True) if version is None else [version]
            return [dataclasses.replace(known[number], servable=None) for number in chosen]

    def reload(self, configs: list[ModelConfig], timeout: float | None = None) -> None:
        """Replaces the configuration: absent models unload, new ones load and are waited for.

        Raises:
          ServingError: a base path is missing, a label points to a version not available (then
            nothing has changed), or a new model could not be loaded.
        """
        for config in configs:
            if not pathlib.Path(config.base_path).is_dir():
                raise not_found(
                    f"Could not find base path {config.base_path} for servable {config.name}"
                )
        with self._changed:
            old = {name for name, model in self._models.items() if model.active}
            self._apply(configs)
        self.poll()
        fresh = [config.name for config in configs if config.name not in old]
        if not self.wait_available(fresh, timeout):
            raise ServingError("DEADLINE_EXCEEDED", f"no version available yet of {fresh}")

    def poll(self) -> None:
        """One look at the disk: loads, then unloads, what the policies ask for."""
        with self._polling:
            with self._changed:
                models = [model for model in self._models.values() if model.active]
                gone = [model for model in self._models.values() if not model.active]
            listings = []
            for model in models:
                try:
                    listings.append(versions.on_disk(pathlib.Path(model.config.base_path)))
                except OSError as error:
                    # As in the real server: one missing base path stops the whole poll, so a
                    # file system that is away for a moment unloads nothing.
                    if self._missing != model.config.base_path:
                        self._missing = model.config.base_path
                        log.error("poll given up, nothing changes: %s", error)
                    return
            self._missing = None
            for model, listing in zip(models, listings, strict=True):
                self._follow(model, listing)
            for model in gone:
                self._follow(model, {})

    # How a poll is carried out.

    def _run(self) -> None:
        while True:
            try:
                self.poll()
            except Exception:
                log.exception("the poll failed; the next one goes on")
            retrying = self._next_retry()
            if self.options.poll_seconds <= 0 and retrying is None:
                return
            wait = self.options.poll_seconds
            if wait <= 0:
                wait = max(0.05, retrying - time.monotonic())
            if self._stopped.wait(wait):
                return

    def _next_retry(self) -> float | None:
        with self._changed:
            times = [
                version.next_try
                for model in self._models.values()
                for version in model.versions.values()
                if version.waiting
            ]
            return min(times, default=None)

    def _follow(self, model: Model, listing: dict[int, pathlib.Path]) -> None:
        wanted = model.config.wanted(list(listing)) if model.active else []
        with self._changed:
            model.aspire({number: listing[number] for number in wanted})
            due = [v for v in model.versions.values() if v.waiting and v.number in wanted]
            self._changed.notify_all()
        # Newest first: it is the one that requests without a version get.
        for version in sorted(due, key=lambda v: -v.number):
            if self._stopped.is_set():
                return
            if version.next_try <= time.monotonic():
                self._load(model, version)
        with self._changed:
            covered = not wanted or any(number in wanted for number in model.available())
            for version in model.versions.values():
                if version.state == "AVAILABLE" and version.number not in wanted and covered:
                    version.state = "UNLOADING"
                self._finish_unload(version)
            self._changed.notify_all()

    def _load(self, model: Model, version: Version) -> None:
        title = f"version {version.number} of model {model.config.name}"
        with self._changed:
            version.state = "LOADING"
            self._changed.notify_all()
        start = time.monotonic()
        try:
            servable = Servable(version.path, self.options.tags, self.options.batching)
            records = 0
            if self.options.warmup_iterations:
                records = warmup.run(servable, version.path, self.options.warmup_iterations)
        except Exception as error:
            if not isinstance(error, ServingError):
                log.exception("unexpected failure while loading %s", title)
                error = ServingError("UNKNOWN", f"{type(error).__name__}: {error}")
            with self._changed:
                retry = version.failed_once(error, self.options)
                self._changed.notify_all()
            then = f"next try in {self.options.retry_seconds:g} s" if retry else "given up"
            log.error("%s does not load (try %d, %s): %s", title, version.tries, then, error)
            return
        with self._changed:
            version.loaded(servable)
            self._changed.notify_all()
        seconds = time.monotonic() - start
        log.info("%s available after %.1f s, %d warm-up records", title, seconds, records)

    def _finish_unload(self, version: Version) -> None:
        """Frees a version that is to go once its last request is done. Call with the lock held."""
        if version.state == "UNLOADING" and version.in_flight == 0:
            version.state = "END"
            version.servable = None
            gc.collect()  # a loaded model holds cycles
            log.info("version %d unloaded (%s)", version.number, version.path)
            self._changed.notify_all()

    def _find(self, name: str, version: int | None, label: str | None) -> Version:
        model = self._models.get(name)
        if label is not None:
            if model is None or not model.active or label not in model.config.labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            version = model.config.labels[label]
        if version is None:
            available = model.available() if model else []
            if not available:
                raise not_found(f"Servable not found for request: Latest({name})")
            return model.versions[available[-1]]
        entry = model.versions.get(version) if model else None
        if entry is None or entry.state != "AVAILABLE":
            raise not_found(f"Servable not found for request: Specific({name}, {version})")
        return entry

    def _apply(self, configs: list[ModelConfig]) -> None:
        for config in configs:
            old = self._models.get(config.name)
            for label, number in config.labels.items():
                known = old is not None and old.active and label in old.config.labels
                if old is not None and number in old.available():
                    continue
                if self.options.labels_for_unavailable and not known:
                    continue
                if known and old.config.labels[label] == number:
                    continue
                raise ServingError(
                    "FAILED_PRECONDITION",
                    f"Request to assign label to version {number} of model {config.name}, which "
                    "is not currently available for inference",
                )
        names = {config.name for config in configs}
        for name, model in self._models.items():
            model.active = name in names
        for config in configs:
            if config.name in self._models:
                self._models[config.name].config = config
            else:
                self._models[config.name] = Model(config)
