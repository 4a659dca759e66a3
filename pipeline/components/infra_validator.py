"""InfraValidator: Model -> InfraBlessing. Starts a server on the export and asks it for images.

    OUT/server.log    what the server said
    OUT/answer.png    the images it returned
    OUT/infra.json    the verdict

What is checked is what a user of the pushed model relies on: the server loads it, the images have
the promised shape and dtype, are not one flat colour, differ between seeds, and come again for the
same seed.
"""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganpipe.errors import UserError

_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a started server listens: loopback ports of its gRPC and REST interfaces."""

    grpc: int
    rest: int

    @property
    def target(self) -> str:
        """`host:port` of the gRPC interface."""
        return f"localhost:{self.grpc}"


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback interface that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]


def _state(address: Address, model_name: str) -> str:
    """Returns the state of the model's newest version, `AVAILABLE` for one that answers."""
    url = f"http://127.0.0.1:{address.rest}/v1/models/{model_name}"
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            versions = json.load(reply)["model_version_status"]
    except (OSError, ValueError, KeyError):
        return "unreachable"
    states = [version["state"] for version in versions]
    return "AVAILABLE" if "AVAILABLE" in states else (states[0] if states else "no version")


def _tail(log: Path, letters: int = 400) -> str:
    """Returns the last line with an error that the server printed, or else its last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if "error" in line.lower()]
    line = (errors or lines or ["it printed nothing"])[-1].strip()
    return line if len(line) <= letters else line[:letters] + " ..."


@contextlib.contextmanager
def serve(
    model_name: str, base: Path, log: Path, timeout_seconds: float = 180.0
) -> Iterator[Address]:
    """Runs `python -m serving.server` on a serving folder for the time of a `with` block.

    Args:
      model_name: the name to serve under.
      base: folder of numbered versions.
      log: file for what the server prints.
      timeout_seconds: how long it may take until the model is available.

    Yields:
      Where it listens, once the model is available.

    Raises:
      UserError: it ended, or had no model available in time; the message has its last words.
    """
    grpc_port, rest_port = free_ports(2)
    address = Address(grpc_port, rest_port)
    command = [
        sys.executable,
        "-m",
        "serving.server",
        f"--model_name={model_name}",
        f"--model_base_path={base.resolve()}",
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        "--max_num_load_retries=0",  # A model that does not load is an answer.
    ]
    path = os.pathsep.join(p for p in (str(_CHECKOUT), os.environ.get("PYTHONPATH")) if p)
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        deadline = time.monotonic() + timeout_seconds
        while (state := _state(address, model_name)) != "AVAILABLE":
            if process.poll() is not None:
                raise UserError(
                    f"the server ended with status {process.returncode} before {model_name!r} was "
                    f"available: {_tail(log)} (all of it in {log.name})"
                )
            if time.monotonic() > deadline:
                raise UserError(
                    f"after {timeout_seconds:g} s the server has {model_name!r} not available "
                    f"({state}): {_tail(log)} (all of it in {log.name}; "
                    "config.pipeline.infra_validator.timeout_seconds gives it longer)"
                )
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(
    address: Address, model_name: str, num_images: int, num_classes: int, timeout_seconds: float
) -> Any:
    """Returns images with the seeds 1, 2, ... and, of a conditional model, the classes in turn.

    Args:
      address: where the server listens.
      model_name: what it calls the model.
      num_images: how many.
      num_classes: 0 for an unconditional model.
      timeout_seconds: for the answer.

    Returns:
      The ndarray that the client makes of the answer.

    Raises:
      UserError: the server refuses or does not answer.
    """
    from serving.client import Client, ClientError

    labels = [i % num_classes for i in range(num_images)] if num_classes else None
    try:
        with Client(address.target, model_name, timeout=timeout_seconds) as client:
            return client.sample(range(1, num_images + 1), labels)
    except ClientError as error:
        raise UserError(f"the server does not give images: {error}") from error


def judge(first: Any, again: Any, expected: Mapping[str, Any], num_images: int) -> list[str]:
    """Returns what is wrong with two answers to the same request; [] if nothing is.

    Args:
      first: ndarray as returned by the client; wanted is (num_images, R, R, C) uint8.
      again: the answer to the same request a second time.
      expected: `resolution` R and `channels` C of the system.
      num_images: images asked for.
    """
    import numpy as np

    size = expected["resolution"]
    shape = (num_images, size, size, expected["channels"])
    wrong = []
    if first.shape != shape:
        wrong.append(f"images have shape {first.shape}, expected {shape}")
    if first.dtype != np.uint8:
        wrong.append(f"images are {first.dtype}, expected uint8")
    if wrong:
        return wrong
    flat = [i for i, image in enumerate(first) if image.min() == image.max()]
    if flat:
        wrong.append(f"{len(flat)} of {num_images} images are one flat colour")
    elif num_images > 1 and all(np.array_equal(first[0], image) for image in first[1:]):
        wrong.append("different seeds gave the same image")
    if not np.array_equal(first, again):
        wrong.append("the same seeds gave other images the second time")
    return wrong


def run(
    out: Path,
    *,
    model_name: str,
    export_base: Path,
    expected: Mapping[str, Any],
    num_images: int = 4,
    timeout_seconds: float = 180.0,
) -> Mapping[str, Any]:
    """Serves an export, asks for images twice, and judges the answers.

    Args:
      out: an existing folder, see the module's text for what is written.
      model_name: the name to serve under.
      export_base: folder of numbered versions.
      expected: `resolution`, `channels` and `num_classes` of the system.
      num_images: images to ask for, with seeds 1, 2, ...
      timeout_seconds: for the server to come up, and for each answer.

    Returns:
      {"blessed": bool, "message": one sentence, "seconds_to_available": float}.
    """
    from serving.client import picture

    started = time.monotonic()
    waited = 0.0
    try:
        with serve(model_name, export_base, out / "server.log", timeout_seconds) as address:
            waited = time.monotonic() - started
            first, again = (
                ask(address, model_name, num_images, expected["num_classes"], timeout_seconds)
                for _ in range(2)
            )
        wrong = judge(first, again, expected, num_images)
        if first.dtype == "uint8" and first.ndim == 4:
            picture.grid(first, num_images).save(out / "answer.png")
        message = "; ".join(wrong) or (
            f"A server loaded the export in {waited:.1f} s and returned {num_images} images of "
            f"{' x '.join(map(str, first.shape[1:]))} uint8, the same ones again for the same "
            "seeds."
        )
    except UserError as error:
        wrong = [str(error)]
        message = wrong[0]
    result = {
        "blessed": not wrong,
        "message": message,
        "seconds_to_available": round(waited, 3),
    }
    (out / "infra.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result
