"""The whole server as one object: ports, manager, gRPC and REST."""

import dataclasses
import logging
import os
import socket
import threading

from serving.server import grpc_api, net
from serving.server.config import ModelConfig, read
from serving.server.errors import ServingError
from serving.server.manager import LoadOptions, Manager
from serving.server.rest_api import RestApi, RestServer

log = logging.getLogger("serving.server")

MAX_ROWS = 1024


def _default_threads() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """What the flags set, beyond the models.

    Attributes:
      port: of gRPC; 0 for none.
      rest_api_port: of REST; 0 for none.
      host: address both bind.
      grpc_threads: gRPC requests that run at once.
      rest_threads: REST requests that run at once.
      rest_timeout: seconds.
      cors: see `RestApi`.
      max_rows: the most rows in one request; 0 for no bound.
      as_content: see `tensors.encode`.
      config_file: re-read every `config_poll_seconds` (0: never).
      config_poll_seconds: see `config_file`.
      grpc_options: more gRPC channel arguments.
      load: how versions are loaded.
    """

    port: int = 8500
    rest_api_port: int = 0
    host: str = "127.0.0.1"
    grpc_threads: int = dataclasses.field(default_factory=_default_threads)
    rest_threads: int = dataclasses.field(default_factory=_default_threads)
    rest_timeout: float = 30.0
    cors: bool = False
    max_rows: int = MAX_ROWS
    as_content: bool = True
    config_file: str | None = None
    config_poll_seconds: float = 0.0
    grpc_options: tuple[tuple[str, object], ...] = ()
    load: LoadOptions = dataclasses.field(default_factory=LoadOptions)


class ModelServer:
    """An embedded model server; also a context manager that waits until it is ready.

    ```python
    models = [ModelConfig("dcgan", "/abs/path/of/base")]
    with ModelServer(models, ServerOptions(port=8500)) as server:
        ...
    ```

    Raises:
      UsageError: a port is taken.
      ServingError: the configuration asks for what cannot be (labels of versions not loaded).
    """

    def __init__(
        self,
        models: list[ModelConfig],
        options: ServerOptions | None = None,
        held: dict[str, socket.socket] | None = None,
    ):
        self.options = options or ServerOptions()
        self._held = held if held is not None else hold_ports(self.options)
        self._grpc = None
        self._rest: RestServer | None = None
        self._stopped = threading.Event()
        self.manager = Manager(models, self.options.load)

    def start(self, timeout: float | None = None) -> bool:
        """Loads the models, then opens the ports.

        Args:
          timeout: seconds to wait for every model to have an available version; None for ever.

        Returns:
          False if the server was stopped, or the time ran out, before it was ready.

        Raises:
          ServingError: a model cannot be loaded.
          UsageError: a port was taken in the meantime.
        """
        options = self.options
        self.manager.start()
        if not self.manager.wait_available(timeout=timeout):
            return False
        max_rows = options.max_rows or None
        if options.port:
            self._held.pop("--port").close()
            try:
                self._grpc = grpc_api.create(
                    self.manager,
                    net.text(options.host, options.port),
                    threads=options.grpc_threads,
                    max_rows=max_rows,
                    as_content=options.as_content,
                    extra_options=options.grpc_options,
                )
            except RuntimeError as error:
                raise net.in_use(options.host, options.port, "--port") from error
            self._grpc.start()
        if options.rest_api_port:
            api = RestApi(
                self.manager,
                max_rows=max_rows,
                timeout=options.rest_timeout,
                threads=options.rest_threads,
                cors=options.cors,
            )
            self._rest = RestServer(api, self._held.pop("--rest_api_port"))
            try:
                self._rest.start()
            except OSError as error:
                raise net.in_use(options.host, options.rest_api_port, "--rest_api_port") from error
        if options.config_file and options.config_poll_seconds:
            threading.Thread(target=self._follow_config, name="config", daemon=True).start()
        return True

    def stop(self, grace: float = 5.0) -> None:
        """Refuses new requests, lets those running finish for `grace` seconds, closes the ports."""
        self._stopped.set()
        self.manager.stop()
        stopping = self._grpc.stop(grace) if self._grpc else None
        if self._rest:
            self._rest.stop()
        if stopping:
            stopping.wait()
        for holder in self._held.values():
            holder.close()

    def describe(self) -> str:
        """One line: where it listens and what it serves."""
        parts = []
        if self.options.port:
            parts.append(f"gRPC on {net.text(self.options.host, self.options.port)}")
        if self.options.rest_api_port:
            address = net.text(self.options.host, self.options.rest_api_port)
            parts.append(f"REST on http://{address}")
        parts += [f"{name} versions {found}" for name, found in self.manager.serving().items()]
        return ", ".join(parts)

    def __enter__(self) -> "ModelServer":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    def _follow_config(self) -> None:
        last: object = None
        while not self._stopped.wait(self.options.config_poll_seconds):
            try:
                models = read(self.options.config_file)
                if models != last:
                    self.manager.reload(models)
                    last = models
            except ServingError as error:
                # As in the real server: a bad file changes nothing and is tried again.
                log.error("--model_config_file not applied: %s", error)


def hold_ports(options: ServerOptions) -> dict[str, socket.socket]:
    """Reserves the ports, so that a taken one is told before a model is loaded.

    Raises:
      UsageError: a port is taken; names the flag.
    """
    held: dict[str, socket.socket] = {}
    try:
        for flag, port in (
            ("--port", options.port),
            ("--rest_api_port", options.rest_api_port),
        ):
            if port:
                held[flag] = net.reserve(options.host, port, flag)
    except BaseException:
        for holder in held.values():
            holder.close()
        raise
    return held
