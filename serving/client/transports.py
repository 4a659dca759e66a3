"""The two ways to a server, with one face: `predict`, `metadata`, `status`."""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from serving.client import signatures, wire
from serving.client.errors import ClientError

# HTTP status of TensorFlow Serving's REST API -> gRPC status name.
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GrpcTransport:
    """Speaks gRPC to "host:port".

    Args:
      server: the address.
      model_name: the model every call is about.
      version: a number, or None for the newest.
      label: instead of a version.
      timeout: seconds per call.
    """

    def __init__(
        self, server: str, model_name: str, version: int | None, label: str | None, timeout: float
    ):
        self.address = server
        self._timeout = timeout
        self._spec = wire.ModelSpec(name=model_name)
        if version is not None:
            self._spec.version.value = version
        if label is not None:
            self._spec.version_label = label
        # gRPC's own limit of 4 MiB is 85 float images of 64x64.
        unlimited = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        self._channel = grpc.insecure_channel(server, options=unlimited)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature; returns its outputs, or those named.

        Raises:
          ClientError: the server cannot be reached or refuses.
        """
        request = wire.PredictRequest(model_spec=self._spec, output_filter=outputs)
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(wire.to_proto(np.asarray(array)))
        response = self._call("PredictionService/Predict", request, wire.PredictResponse)
        return {name: wire.to_array(proto) for name, proto in response.outputs.items()}

    def metadata(self) -> signatures.Metadata:
        """What the model takes and gives.

        Raises:
          ClientError: the server cannot be reached or refuses.
        """
        request = wire.GetModelMetadataRequest(
            model_spec=self._spec, metadata_field=["signature_def"]
        )
        path = "PredictionService/GetModelMetadata"
        return signatures.from_grpc(self._call(path, request, wire.GetModelMetadataResponse))

    def status(self) -> list[dict[str, Any]]:
        """The state of each version.

        Raises:
          ClientError: the server cannot be reached or refuses.
        """
        request = wire.GetModelStatusRequest(model_spec=self._spec)
        response = self._call("ModelService/GetModelStatus", request, wire.GetModelStatusResponse)
        return [
            {
                "version": entry.version,
                "state": wire.STATES.get(entry.state, "UNKNOWN"),
                "error_code": entry.status.error_code,
                "error_message": entry.status.error_message,
            }
            for entry in response.model_version_status
        ]

    def _call(self, path: str, request, response_class):
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{path}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response_class.FromString,
        )
        try:
            return call(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code, text = error.code().name, error.details() or ""
            raise _explain(code, text, self.address, self._spec.name, self._timeout) from None


class RestTransport:
    """Speaks REST to "http://host:port"; arguments as for `GrpcTransport`."""

    def __init__(
        self, server: str, model_name: str, version: int | None, label: str | None, timeout: float
    ):
        self.address = server if "://" in server else f"http://{server}"
        self._name = model_name
        self._timeout = timeout
        self._url = f"{self.address.rstrip('/')}/v1/models/{urllib.parse.quote(model_name, '')}"
        if version is not None:
            self._url += f"/versions/{version}"
        if label is not None:
            self._url += f"/labels/{urllib.parse.quote(label, '')}"
        # A proxy of the environment is for the internet, not for the server beside us.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._metadata: signatures.Metadata | None = None

    def close(self) -> None:
        """Nothing is kept open between calls."""

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature; see `GrpcTransport.predict`."""
        body = {
            "signature_name": signature,
            "inputs": {name: _plain(np.asarray(array)) for name, array in inputs.items()},
        }
        answer = self._call(":predict", json.dumps(body).encode())["outputs"]
        # JSON does not say the dtypes, and leaves out the name of a single output.
        self._metadata = self._metadata or self.metadata()
        specs = self._metadata.signatures[signature].outputs
        if len(specs) == 1:
            answer = {next(iter(specs)): answer}
        return {
            name: _array(answer[name], spec)
            for name, spec in specs.items()
            if not outputs or name in outputs
        }

    def metadata(self) -> signatures.Metadata:
        """What the model takes and gives; see `GrpcTransport.metadata`."""
        return signatures.from_json(self._call("/metadata"))

    def status(self) -> list[dict[str, Any]]:
        """The state of each version; see `GrpcTransport.status`."""
        return [
            {
                "version": int(entry["version"]),
                "state": entry["state"],
                "error_code": _error_number(entry["status"]["error_code"]),
                "error_message": entry["status"]["error_message"],
            }
            for entry in self._call("")["model_version_status"]
        ]

    def _call(self, suffix: str, body: bytes | None = None) -> dict:
        request = urllib.request.Request(
            self._url + suffix, body, {"Content-Type": "application/json"}
        )
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            code, text = _CODES.get(error.code, "UNKNOWN"), error.read().decode("utf-8", "replace")
            try:
                text = json.loads(text)["error"]
            except (ValueError, KeyError, TypeError):
                text = f"HTTP {error.code}; is there a model server at this address?"
        except TimeoutError:
            code, text = "DEADLINE_EXCEEDED", "timed out"
        except urllib.error.URLError as error:
            late = isinstance(error.reason, TimeoutError)
            code, text = "DEADLINE_EXCEEDED" if late else "UNAVAILABLE", str(error.reason)
        except OSError as error:
            code, text = "UNAVAILABLE", str(error)
        except ValueError:
            code, text = "UNKNOWN", "the answer is not JSON; is there a model server?"
        raise _explain(code, text, self.address, self._name, self._timeout)


def _explain(code: str, text: str, address: str, model: str, timeout: float) -> ClientError:
    if code == "UNAVAILABLE" and "queue" in text:  # batching: it is there, but has too much to do
        return ClientError(code, f"{address} is busy ({text}); ask again later")
    if code == "UNAVAILABLE":
        return ClientError(
            code,
            f"no model server answers at {address} ({text}); is it started, and the port right?",
        )
    if code == "NOT_FOUND":
        return ClientError(
            code,
            f'{address} does not serve model "{model}" ({text}); --model_name must be the name '
            "the server was started with",
        )
    if code == "DEADLINE_EXCEEDED":
        return ClientError(code, f"{address} did not answer within {timeout:g} s (--timeout)")
    return ClientError(code, f"{address} answers {code}: {text}")


def _plain(array: np.ndarray) -> Any:
    if array.dtype.kind not in "OSU":
        return array.tolist()
    encoded = np.empty(array.shape, object)
    for index in np.ndindex(array.shape):
        value = array[index]
        value = value.encode() if isinstance(value, str) else bytes(value)
        encoded[index] = {"b64": base64.b64encode(value).decode()}
    return encoded.tolist()


def _array(value: Any, spec: signatures.Spec) -> np.ndarray:
    if spec.dtype != "DT_STRING":
        return np.array(value, spec.numpy)
    array = np.array(value, object)
    for index in np.ndindex(array.shape):
        item = array[index]
        array[index] = base64.b64decode(item["b64"]) if isinstance(item, dict) else item.encode()
    return array


def _error_number(name: str) -> int:
    names = {code.name: code.value[0] for code in grpc.StatusCode}
    return names.get(name, 0 if name == "OK" else 2)
