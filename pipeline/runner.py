"""Runs one component, or finds that it has been run: the skip rule, and a line about each.

Knows artifacts and lines on the screen, no orchestrator and no component. `pipeline/definitions.py`
calls it from each asset; `pipeline/run.py` and `dagster dev` share it.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganpipe import config as experiments
from pipeline import artifacts

Inputs = Mapping[str, artifacts.Artifact | str]


class Runner:
    """One run of a pipeline over one root.

    Args:
      config: pipeline config: an experiment plus its `pipeline` section (`pipeline/configs`).
      root: the pipeline's root folder.
      beam: flags for Apache Beam, as in `--beam`; where it runs is no part of any fingerprint.
      say: prints one line.

    Attributes:
      config: the frozen config as given.
      settings: the same as a plain dict of JSON values.
      made: artifact type -> artifact, of this run, made or found.
      refusals: why the run stops without a push; empty when all is well.
      executed: names of the components that really ran.
      error: the exception that stopped the run, for the caller that the orchestrator hid it from.
    """

    def __init__(
        self,
        config: Any,
        root: str | os.PathLike,
        beam: Sequence[str] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self.config = config
        self.beam = tuple(beam)
        self.settings = experiments.to_dict(config)
        self.name: str = config.name
        self.store = artifacts.Store(root)
        self.root = self.store.root
        self.serving = self.root / "serving" / self.name
        self.cache = self.root / "cache"
        self.made: dict[str, artifacts.Artifact] = {}
        self.refusals: list[str] = []
        self.executed: list[str] = []
        self.error: BaseException | None = None
        self._say = say

    @property
    def experiment(self) -> Any:
        """The experiment alone: the config without its `pipeline` section."""
        settings = self.config.to_dict()
        settings.pop("pipeline")
        return experiments.from_dict(settings)

    def shown(self, path: Path) -> str:
        """Returns a path as a reader would type it: relative when below the working folder."""
        return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)

    def line(self, component: str, status: str, seconds: float | None, path: Path | str) -> None:
        """Prints `component  status  seconds  path`."""
        clock = "" if seconds is None else f"{seconds:.1f} s"
        shown = self.shown(path) if isinstance(path, Path) else path
        self._say(f"{component:<20} {status:<20} {clock:>9}   {shown}")

    def component(
        self,
        name: str,
        kind: str,
        work: Callable[[Path], Mapping[str, Any] | None],
        *,
        code: tuple[str, ...],
        inputs: Inputs | Callable[[], Inputs],
        config: Mapping[str, Any] | None = None,
        reuse: Callable[[artifacts.Artifact], bool] = lambda artifact: True,
        content: Callable[[Mapping[str, Any]], str] | None = None,
        keep_work: bool = False,
        label: str = "",
    ) -> artifacts.Artifact:
        """Runs a component unless its artifact is there.

        Args:
          name: component, `trainer`.
          kind: artifact type, `Model`.
          work: does the work in the folder given; returns the artifact's properties.
          code: the sources whose change asks for a new execution, see `artifacts.code_version`.
          inputs: name -> artifact, or a fingerprint of something outside the store; or a function
            that finds them out.
          config: the part of the configuration that it reads.
          reuse: whether a finished artifact still serves; False has it made anew.
          content: see `artifacts.Store.make`.
          keep_work: a broken-off try is continued rather than cleared away.
          label: what its line on the screen begins with; `name` when empty.

        Returns:
          The artifact, made or found; also kept in `made`.
        """
        try:
            started = time.monotonic()
            hashes = {
                key: value.content if isinstance(value, artifacts.Artifact) else value
                for key, value in (inputs() if callable(inputs) else inputs).items()
            }
            config = dict(config or {})
            version = artifacts.code_version(code)
            fingerprint = self.store.fingerprint(name, kind, hashes, config, version)
            found = self.store.find(name, fingerprint)
            if found is not None and reuse(found):
                self.line(label or name, "skipped (unchanged)", None, found.path)
            else:
                found = self.store.make(
                    name,
                    kind,
                    work,
                    inputs=hashes,
                    config=config,
                    code=version,
                    content=content,
                    keep_work=keep_work,
                )
                self.executed.append(name)
                self.line(label or name, "ran", time.monotonic() - started, found.path)
        except BaseException as error:
            self.error = error
            raise
        self.made[kind] = found
        return found

    def last_blessed(self, model: artifacts.Artifact) -> artifacts.Artifact | None:
        """Returns the model of this pipeline that was blessed last, other than `model`; or None.

        A model is never its own baseline: a second run would otherwise judge it against itself and
        find that its inputs had changed. A model of another picture size, channel count or number
        of classes cannot be compared and does not count.
        """
        models = {a.content: a for a in self.store.all("trainer", "Model")}
        same = ("resolution", "channels", "num_classes")
        for blessing in reversed(self.store.all("evaluator", "ModelBlessing")):
            candidate = models.get(blessing.inputs.get("model", ""))
            if (
                blessing.properties.get("blessed")
                and candidate is not None
                and candidate.content != model.content
                and candidate.properties.get("name") == self.name
                and all(candidate.properties.get(k) == model.properties.get(k) for k in same)
            ):
                return candidate
        return None

    def link(self, kind: str, artifact: artifacts.Artifact) -> None:
        """Points `ROOT/latest/<kind>` at an artifact, in one step."""
        folder = self.root / "latest"
        folder.mkdir(exist_ok=True)
        fresh = folder / f".{kind}-{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(artifact.path, folder))
        os.replace(fresh, folder / kind)

    def linked(self, kind: str) -> artifacts.Artifact:
        """Returns the artifact that `ROOT/latest/<kind>` points at.

        Raises:
          UserError: if there is none.
        """
        return artifacts.Artifact.read((self.root / "latest" / kind).resolve())
