"""The gRPC API: `tensorflow.serving.PredictionService` and `ModelService`.

Classify, Regress and MultiInference take `tf.Example`s, which an image generator has no use for;
they answer UNIMPLEMENTED.
"""

import functools
import logging
from concurrent import futures

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.server import config, predict
from serving.server.errors import CODES, ServingError, invalid
from serving.server.manager import Manager
from serving.server.versions import STATES

log = logging.getLogger("serving.server")

_STATUS = {code.value[0]: code for code in grpc.StatusCode}


def _answers(method):
    """Turns a `ServingError` into the RPC's status, and any other exception into INTERNAL."""

    @functools.wraps(method)
    def wrapped(self, request, context):
        try:
            return method(self, request, context)
        except ServingError as error:
            failure = error
        except Exception as error:
            # The caller learns that it is our fault, the log why; the server lives on.
            log.exception("%s failed", method.__name__)
            failure = ServingError("INTERNAL", f"{type(error).__name__} in {method.__name__}")
        return context.abort(_STATUS[CODES[failure.code]], failure.grpc_text)

    return wrapped


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata."""

    def __init__(self, manager: Manager, max_rows: int | None, as_content: bool):
        self._manager = manager
        self._max_rows = max_rows
        self._as_content = as_content

    @_answers
    def Predict(self, request, context) -> predict_pb2.PredictResponse:  # noqa: N802
        """Runs one signature on the rows of one request."""
        name, version, label = model_choice(request)
        with self._manager.lend(name, version, label) as (number, servable):
            response = predict.run(
                servable, request, max_rows=self._max_rows, as_content=self._as_content
            )
        response.model_spec.name = name
        response.model_spec.version.value = number
        return response

    @_answers
    def GetModelMetadata(  # noqa: N802
        self, request, context
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Returns the signatures of one version."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        return metadata(self._manager, *model_choice(request))


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, manager: Manager):
        self._manager = manager

    @_answers
    def GetModelStatus(  # noqa: N802
        self, request, context
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Returns the state of each version; a version label is not looked at."""
        name, version, _ = model_choice(request)
        return status(self._manager, name, version)

    @_answers
    def HandleReloadConfigRequest(  # noqa: N802
        self, request, context
    ) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the list of models, and waits for those newly named."""
        self._manager.reload(config.from_proto(request.config), context.time_remaining())
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = CODES["OK"]
        return response


def model_choice(request) -> tuple[str, int | None, str | None]:
    """(name, version or None, label or None) of a request's `model_spec`.

    A `version {}` that is present means version 0; only an absent one means the newest.

    Raises:
      ServingError: INVALID_ARGUMENT if there is no model name.
    """
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec: model_pb2.ModelSpec = request.model_spec
    if not spec.name:
        raise invalid("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def metadata(
    manager: Manager, name: str, version: int | None, label: str | None
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of one version, as both APIs return them.

    Raises:
      ServingError: see `Manager.lend`.
    """
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    with manager.lend(name, version, label) as (number, servable):
        response.model_spec.name = name
        response.model_spec.version.value = number
        response.metadata["signature_def"].Pack(servable.metadata)
    return response


def status(
    manager: Manager, name: str, version: int | None
) -> get_model_status_pb2.GetModelStatusResponse:
    """The state of the versions of a model, as both APIs return it.

    Raises:
      ServingError: NOT_FOUND.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for record in manager.status(name, version):
        entry = response.model_version_status.add(version=record.number, state=STATES[record.state])
        entry.status.error_code = CODES[record.error.code if record.error else "OK"]
        entry.status.error_message = record.error.message if record.error else ""
    return response


def create(
    manager: Manager,
    address: str,
    *,
    threads: int,
    max_rows: int | None = None,
    as_content: bool = True,
    extra_options: tuple[tuple[str, object], ...] = (),
) -> grpc.Server:
    """A gRPC server bound to `address` ("host:port"), not yet started.

    Raises:
      RuntimeError: if the address cannot be bound.
    """
    options = [
        # The real server's receive limit is 2 GiB; gRPC's own default is 4 MiB.
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # Two servers must not share a port and answer in turn.
        ("grpc.so_reuseport", 0),
        *extra_options,
    ]
    pool = futures.ThreadPoolExecutor(threads, thread_name_prefix="grpc")
    server = grpc.server(pool, options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(manager, max_rows, as_content), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager), server)
    server.add_insecure_port(address)
    return server
