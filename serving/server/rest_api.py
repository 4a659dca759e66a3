"""The REST API: status, metadata and `:predict` below `/v1/models/`.

One handler matches the whole path, as the real server does: paths are case-insensitive, and
whatever does not match below `/v1/` is a 400 with a JSON body.
"""

import json
import logging
import re
import socket
import threading
import urllib.parse
import zlib

import anyio
import anyio.to_thread
import uvicorn
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

# Not used by name, but printing metadata as JSON needs its messages registered.
from tensorflow_serving.apis import get_model_metadata_pb2  # noqa: F401

from serving.server import grpc_api, json_tensors
from serving.server.errors import ServingError, invalid
from serving.server.manager import Manager
from serving.server.signature import DEFAULT

log = logging.getLogger("serving.server")

# As much as one protocol buffer may hold, so that both APIs have the same bound.
MOST_BYTES = 2**31 - 1

_MODEL = (
    r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
)
_READ = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE)
_CALL = re.compile(_MODEL + r":(?P<verb>predict|classify|regress)", re.IGNORECASE)
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]


class RestApi:
    """Answers REST requests from a `Manager`.

    Args:
      manager: the models.
      max_rows: the most rows a request may have; None for no bound.
      timeout: seconds after which a request is given up with 504.
      threads: how many requests run at once.
      cors: answer browsers on other sites.
    """

    def __init__(
        self,
        manager: Manager,
        *,
        max_rows: int | None = None,
        timeout: float = 30.0,
        threads: int = 8,
        cors: bool = False,
    ):
        self._manager = manager
        self._max_rows = max_rows
        self._timeout = timeout
        self._threads = threads
        self._limiter: anyio.CapacityLimiter | None = None
        self._cors = cors
        self.app = Starlette(routes=[Route("/{path:path}", self._handle, methods=_METHODS)])

    async def _handle(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        if not path.lower().startswith("/v1/"):
            # The real server's HTTP library answers here, in HTML and without JSON.
            return PlainTextResponse("Not Found\n", 404)
        try:
            if request.method == "OPTIONS" and self._cors:
                return self._preflight(request)
            body = await _read_body(request) if request.method == "POST" else b""
            # Created here because it belongs to the running event loop.
            self._limiter = self._limiter or anyio.CapacityLimiter(self._threads)
            with anyio.fail_after(self._timeout):
                text = await anyio.to_thread.run_sync(
                    self.answer,
                    request.method,
                    path,
                    body,
                    limiter=self._limiter,
                    abandon_on_cancel=True,
                )
            return self._response(text, 200)
        except ServingError as error:
            failure = error
        except TimeoutError:
            failure = ServingError(
                "DEADLINE_EXCEEDED",
                f"Timed out waiting for the model after {self._timeout:g} s "
                "(--rest_api_timeout_in_ms)",
            )
        except ClientDisconnect:
            failure = ServingError("CANCELLED", "the client went away")
        except Exception as error:
            log.exception("%s %s failed", request.method, path)
            failure = ServingError("INTERNAL", f"{type(error).__name__} in {path}")
        return self._response(error_text(failure), failure.http_status)

    def answer(self, method: str, path: str, body: bytes) -> str:
        """The JSON text that answers a request.

        Args:
          method: "GET", "POST", ...
          path: as sent, %-encoded.
          body: of a POST, already unpacked.

        Raises:
          ServingError: the code says which HTTP status to send.
        """
        if method == "POST" and (match := _CALL.fullmatch(path)):
            return self._call(match, body)
        if method == "GET" and (match := _READ.fullmatch(path)):
            return self._read(match)
        raise invalid(f"Malformed request: {method} {path}")

    def _read(self, match: re.Match) -> str:
        name, version, label = _model_choice(match)
        if match["metadata"]:
            message = grpc_api.metadata(self._manager, name, version, label)
            plain = json_format.MessageToDict(
                message,
                always_print_fields_with_no_presence=True,
                preserving_proto_field_name=True,
            )
            # The real server prints the map inside the Any without its type.
            plain["metadata"]["signature_def"].pop("@type")
        else:
            message = grpc_api.status(self._manager, name, version)
            plain = json_format.MessageToDict(
                message,
                always_print_fields_with_no_presence=True,
                preserving_proto_field_name=True,
            )
        return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"

    def _call(self, match: re.Match, body: bytes) -> str:
        name, version, label = _model_choice(match)
        verb = match["verb"].lower()
        if verb != "predict":
            raise ServingError("UNIMPLEMENTED", f":{verb} is not supported; use :predict")
        request = json_tensors.parse_request(body)
        with self._manager.lend(name, version, label) as (_, servable):
            key = request.get("signature_name") or DEFAULT
            if key not in servable.signatures:
                raise invalid(f'Serving signature name: "{key}" not found in signature def')
            signature = servable.signature(key)
            inputs = json_tensors.decode_inputs(request, signature)
            signature.check_names(list(inputs))
            signature.check_tensors(
                {
                    alias: (signature.inputs[alias].dtype.as_datatype_enum, array.shape)
                    for alias, array in inputs.items()
                },
                self._max_rows,
            )
            outputs = servable.predict(signature, inputs)
        return json_tensors.response_text(outputs, signature, "instances" in request)

    def _preflight(self, request: Request) -> Response:
        origin = request.headers.get("origin", "")
        if not origin.startswith(("http://", "https://")):
            raise invalid(f"Malformed request: OPTIONS with Origin {origin!r}")
        return self._response("", 200)

    def _response(self, text: str, status: int) -> Response:
        headers = {}
        if self._cors:
            headers = {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Methods": "POST, GET",
                "Access-Control-Allow-Headers": "Content-Type",
            }
        return Response(text, status, headers, media_type="application/json")


def error_text(error: ServingError) -> str:
    """The JSON body of an error: `{"error": "..."}`, indented."""
    return json.dumps({"error": error.message}, indent=4, ensure_ascii=False) + "\n"


def _model_choice(match: re.Match) -> tuple[str, int | None, str | None]:
    if match["name"] is None:
        raise invalid("Missing model name in request.")
    version = int(match["version"]) if match["version"] else None
    if version is not None and version >= 2**63:
        raise invalid(f"Malformed request: version {version} is no int64")
    label = urllib.parse.unquote(match["label"]) if match["label"] else None
    return urllib.parse.unquote(match["name"]), version, label


async def _read_body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MOST_BYTES:
            raise ServingError("RESOURCE_EXHAUSTED", f"the body is larger than {MOST_BYTES} bytes")
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise invalid(f"Content-Encoding {encoding} is not supported; send gzip or none")
    return await anyio.to_thread.run_sync(_gunzip, body)


def _gunzip(body: bytes) -> bytes:
    # A few kilobytes may unpack to gigabytes: the bound holds for what comes out.
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        text = unpacker.decompress(body, MOST_BYTES)
    except zlib.error as error:
        raise invalid(f"the body is not gzip although Content-Encoding says so: {error}") from error
    if unpacker.unconsumed_tail:
        raise ServingError("RESOURCE_EXHAUSTED", f"the body unpacks to over {MOST_BYTES} bytes")
    if not unpacker.eof:
        raise invalid("the gzip body ends early")
    return text


class RestServer:
    """Runs a `RestApi` under uvicorn in a thread of its own.

    Args:
      api: what answers.
      listener: a bound socket; closed on `stop`.
    """

    def __init__(self, api: RestApi, listener: socket.socket):
        self._listener = listener
        config = uvicorn.Config(
            api.app,
            http="h11",
            loop="asyncio",
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="rest", daemon=True)

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def start(self) -> None:
        """Starts to listen; connections made after this call are answered."""
        self._listener.listen(2048)
        self._thread.start()

    def stop(self) -> None:
        """Answers what has arrived, at most for 5 s, then closes."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._listener.close()
