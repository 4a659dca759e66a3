"""Which models to serve: from flags, or from a `ModelServerConfig` text file.

Field for field the file of the real server; `serving/config/models.config` is an example.
"""

import dataclasses
import pathlib

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.server.errors import ServingError, invalid


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model.

    Attributes:
      name: what requests call it.
      base_path: absolute path of the directory that holds the numbered versions.
      policy: "latest", "all" or "specific".
      num_versions: how many of the highest numbers, for "latest".
      versions: which numbers, for "specific".
      labels: label -> version number, so that requests may say "stable" or "canary".
    """

    name: str
    base_path: str
    policy: str = "latest"
    num_versions: int = 1
    versions: tuple[int, ...] = ()
    labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def wanted(self, on_disk: list[int]) -> list[int]:
        """The versions this policy serves out of those present, ascending."""
        if self.policy == "all":
            return sorted(on_disk)
        if self.policy == "specific":
            return sorted(set(on_disk) & set(self.versions))
        return sorted(on_disk)[-self.num_versions :]


def read(path: str) -> list[ModelConfig]:
    """Reads a text `ModelServerConfig`.

    Raises:
      ServingError: NOT_FOUND for a file that cannot be read, INVALID_ARGUMENT for one that cannot
        be understood; the message names the file and the place.
    """
    try:
        text = pathlib.Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError("NOT_FOUND", f"cannot read {path}: {error}") from error
    proto = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, proto)
    except text_format.ParseError as error:
        raise invalid(f"{path} is not a text ModelServerConfig: {error}") from error
    try:
        return from_proto(proto)
    except ServingError as error:
        raise ServingError(error.code, f"{path}: {error.message}") from error


def from_proto(proto: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """Checks a `ModelServerConfig` and turns it into `ModelConfig`s.

    Raises:
      ServingError: INVALID_ARGUMENT, naming the model and the field.
    """
    if proto.WhichOneof("config") == "custom_model_config":
        raise invalid("custom_model_config is not supported; use model_config_list")
    if proto.WhichOneof("config") is None:
        raise invalid("ServerCore's ModelServerConfig is empty: expected model_config_list")
    models = [_model(config) for config in proto.model_config_list.config]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"Illegal to list model {name} multiple times in config list")
    return models


def _model(config: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not config.name:
        raise invalid("a model in model_config_list has no name")
    if not pathlib.PurePosixPath(config.base_path).is_absolute():
        raise invalid(
            f"Expected model {config.name} to have an absolute path; "
            f'got base_path "{config.base_path}"'
        )
    if config.model_platform != "tensorflow":
        raise invalid(
            f'model {config.name}: model_platform is "{config.model_platform}", '
            'expected "tensorflow"'
        )
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice") or "latest"
    if choice == "specific" and not policy.specific.versions:
        raise invalid(f"model {config.name}: model_version_policy specific lists no versions")
    return ModelConfig(
        name=config.name,
        base_path=config.base_path,
        policy=choice,
        num_versions=policy.latest.num_versions or 1,
        versions=tuple(policy.specific.versions),
        labels=dict(config.version_labels),
    )
