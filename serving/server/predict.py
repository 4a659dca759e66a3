"""Answers a `PredictRequest` from one loaded version; used by gRPC and by warm-up."""

from tensorflow_serving.apis import predict_pb2

from serving.server import tensors
from serving.server.servable import Servable
from serving.server.signature import DEFAULT


def run(
    servable: Servable,
    request: predict_pb2.PredictRequest,
    *,
    max_rows: int | None = None,
    as_content: bool = True,
) -> predict_pb2.PredictResponse:
    """Checks a request, runs it and encodes the outputs asked for.

    Args:
      servable: the version that answers.
      request: its `model_spec` names the signature; model and version are not looked at.
      max_rows: the most rows a request may have; None for no bound.
      as_content: see `tensors.encode`.

    Returns:
      The response, with `model_spec.signature_name` filled in and nothing else of `model_spec`.

    Raises:
      ServingError: the request does not fit the signature, or the model failed.
    """
    signature = servable.signature(request.model_spec.signature_name or DEFAULT)
    signature.check_names(list(request.inputs))
    wanted = signature.check_outputs(list(request.output_filter))
    signature.check_tensors(
        {
            alias: (proto.dtype, tensors.proto_shape(alias, proto))
            for alias, proto in request.inputs.items()
        },
        max_rows,
    )
    outputs = servable.predict(
        signature, {alias: tensors.decode(alias, proto) for alias, proto in request.inputs.items()}
    )
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = signature.name
    for alias in wanted:
        dtype = signature.outputs[alias].dtype
        response.outputs[alias].CopyFrom(tensors.encode(outputs[alias], dtype, as_content))
    return response
