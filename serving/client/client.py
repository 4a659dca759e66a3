"""`Client`: images from a served model as NumPy arrays."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from serving.client.errors import ClientError
from serving.client.signatures import Metadata
from serving.client.transports import GrpcTransport, RestTransport

BATCH_SIZE = 64


class Client:
    """Asks one served model for images and scores.

    Every row of a request has its own seed, label and truncation, and an image depends on those
    alone: the same row gives the same image in any request, from either API.

    Args:
      server: gRPC address, "host:port".
      model_name: what the server calls the model.
      timeout: seconds to wait for each answer.
      rest: "http://host:port" to use REST instead of gRPC.
      version: version number to ask; None for the newest.
      version_label: ask the version with this label, such as "stable", instead.
      batch_size: rows per request; longer calls are split.

    Raises:
      ClientError: from every method, if the server cannot be reached or refuses; the message says
        what to change.
    """

    def __init__(
        self,
        server: str = "localhost:8500",
        model_name: str = "default",
        *,
        timeout: float = 60.0,
        rest: str | None = None,
        version: int | None = None,
        version_label: str | None = None,
        batch_size: int = BATCH_SIZE,
    ):
        if version is not None and version_label is not None:
            raise ValueError("give version or version_label, not both")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        kind, address = (RestTransport, rest) if rest else (GrpcTransport, server)
        self._transport = kind(address, model_name, version, version_label, timeout)
        self.model_name = model_name
        self.batch_size = batch_size
        self._metadata: Metadata | None = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._transport.close()

    def status(self) -> list[dict[str, Any]]:
        """The versions the server knows: dicts of version, state, error_code, error_message."""
        return self._transport.status()

    def metadata(self) -> Metadata:
        """What the model takes and gives. Asked once, then kept."""
        if self._metadata is None:
            self._metadata = self._transport.metadata()
        return self._metadata

    @property
    def conditional(self) -> bool:
        """Whether the model takes labels."""
        return self.metadata().conditional

    def wait(self, seconds: float, pause: float = 0.25) -> None:
        """Waits until a version is AVAILABLE.

        Raises:
          ClientError: not available within `seconds`, or every version failed to load.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                states = self.status()
                if any(entry["state"] == "AVAILABLE" for entry in states):
                    return
                failure = ClientError(
                    "UNAVAILABLE", f'no version of "{self.model_name}" is available: {states}'
                )
                if all(entry["state"] == "END" and entry["error_code"] for entry in states):
                    raise failure
            except ClientError as error:
                if error.code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
                    raise
                failure = error
            if time.monotonic() + pause > deadline:
                raise ClientError(failure.code, f"after {seconds:g} s: {failure}")
            time.sleep(pause)

    def sample(
        self,
        seeds: int | Iterable[int],
        labels: int | Sequence[int] | None = None,
        truncation: float | Sequence[float] = 1.0,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Images from seeds.

        Args:
          seeds: one int64 per image (a single int is one image).
          labels: class per image, or one for all; -1 or None draws it from the row's seed.
          truncation: per image or one for all; 1 leaves the latents alone, 0 is their mean.
          progress: called with the number of images of each finished request.

        Returns:
          (N, H, W, C) uint8 in 0..255.

        Raises:
          ClientError: see the class; INVALID_ARGUMENT for labels given to an unconditional model.
        """
        return self._rows("serving_default", "images", _seeds(seeds), labels, truncation, progress)

    def sample_png(
        self,
        seeds: int | Iterable[int],
        labels: int | Sequence[int] | None = None,
        truncation: float | Sequence[float] = 1.0,
        progress: Callable[[int], object] | None = None,
    ) -> list[bytes]:
        """As `sample`, each image as the bytes of a PNG file."""
        rows = self._rows("generate_png", "png_bytes", _seeds(seeds), labels, truncation, progress)
        return rows.tolist()

    def generate(
        self,
        latent: np.ndarray,
        labels: int | Sequence[int] | None = None,
        truncation: float | Sequence[float] = 1.0,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Images from latents of shape (N, D), float32; a conditional model needs labels here.

        Returns:
          (N, H, W, C) float32 in [-1, 1].
        """
        rows = {"latent": np.asarray(latent, np.float32)}
        return self._rows("generate", "images", rows, labels, truncation, progress)

    def map_latents(
        self,
        latent: np.ndarray,
        labels: int | Sequence[int] | None = None,
        truncation: float | Sequence[float] = 1.0,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Styles of latents (N, D); of models with styles (StyleGAN, StyleGAN2) alone.

        Returns:
          (N, L, W) float32, a style for each of L layers, truncated.
        """
        rows = {"latent": np.asarray(latent, np.float32)}
        return self._rows("map", "styles", rows, labels, truncation, progress)

    def synthesize(
        self, styles: np.ndarray, progress: Callable[[int], object] | None = None
    ) -> np.ndarray:
        """Images of styles (N, L, W), as `map_latents` gives them, or mixed or moved.

        Returns:
          (N, H, W, C) float32 in [-1, 1].
        """
        rows = {"styles": np.asarray(styles, np.float32)}
        return self._rows("synthesize", "images", rows, None, None, progress)

    def mix(
        self,
        seeds_a: int | Iterable[int],
        seeds_b: int | Iterable[int],
        cutoff: int | Sequence[int],
        labels: int | Sequence[int] | None = None,
        truncation: float | Sequence[float] = 1.0,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """Images with the styles of one seed below a layer and of another from it on.

        Args:
          seeds_a: seeds of the coarse layers, 0 to cutoff - 1.
          seeds_b: as many seeds, of the layers from cutoff on.
          cutoff: per image or one for all; 0 is all of b, the number of layers all of a.
          labels: class of both seeds; -1 or None draws it from each seed.
          truncation: see `sample`.
          progress: see `sample`.

        Returns:
          (N, H, W, C) uint8 in 0..255.
        """
        first, second = _seeds(seeds_a)["seed"], _seeds(seeds_b)["seed"]
        if len(first) != len(second):
            raise ClientError(
                "INVALID_ARGUMENT", f"{len(first)} seeds to mix with {len(second)}: expected pairs"
            )
        rows = {"seed_a": first, "seed_b": second}
        rows["cutoff"] = _column("cutoff", cutoff, len(first), np.int64)
        return self._rows("mix", "images", rows, labels, truncation, progress)

    def discriminate(
        self,
        images: np.ndarray,
        labels: int | Sequence[int] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> np.ndarray:
        """The discriminator's logits; larger means more like a training image.

        Args:
          images: (N, H, W, C), uint8 in 0..255 or float in [-1, 1].
          labels: class per image, or one for all; needed by a conditional model.
          progress: see `sample`.

        Returns:
          (N,) float32.
        """
        images = np.asarray(images)
        if images.dtype == np.uint8:
            images = images.astype(np.float32) / 127.5 - 1.0
        rows = {"images": images.astype(np.float32)}
        return self._rows("discriminate", "logits", rows, labels, None, progress)

    def predict(
        self, signature: str, inputs: dict[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Any signature, as is: one request, nothing filled in or split."""
        return self._transport.predict(signature, inputs, outputs)

    def _rows(self, signature, output, rows, labels, truncation, progress) -> np.ndarray:
        rows = {**rows}
        count = len(next(iter(rows.values())))
        if count == 0:
            raise ClientError("INVALID_ARGUMENT", "no rows: expected at least one seed or image")
        known = self.metadata().signatures
        if signature not in known:
            raise ClientError(
                "FAILED_PRECONDITION",
                f'model "{self.model_name}" has no signature "{signature}"; it has {sorted(known)}',
            )
        wanted = known[signature].inputs
        if "label" in wanted:
            if labels is None and not any(name.startswith("seed") for name in wanted):
                raise ClientError(
                    "INVALID_ARGUMENT",
                    f'model "{self.model_name}" is conditional: "{signature}" needs labels, for '
                    "there is no seed to draw them from",
                )
            rows["label"] = _column("labels", -1 if labels is None else labels, count, np.int64)
        elif labels is not None:
            raise ClientError(
                "INVALID_ARGUMENT",
                f'model "{self.model_name}" is unconditional: it takes no labels (--labels)',
            )
        if "truncation" in wanted:
            rows["truncation"] = _column("truncation", truncation, count, np.float32)
        parts = []
        for start in range(0, count, self.batch_size):
            part = {name: value[start : start + self.batch_size] for name, value in rows.items()}
            parts.append(self._transport.predict(signature, part, [output])[output])
            if progress:
                progress(len(parts[-1]))
        return np.concatenate(parts)


def _seeds(seeds: int | Iterable[int]) -> dict[str, np.ndarray]:
    values = [seeds] if isinstance(seeds, int | np.integer) else list(seeds)
    try:
        return {"seed": np.array(values, np.int64)}
    except OverflowError as error:
        raise ClientError("INVALID_ARGUMENT", f"seeds must be int64: {error}") from error


def _column(name: str, value, count: int, dtype) -> np.ndarray:
    column = np.asarray(value, dtype)
    if column.ndim == 0:
        return np.full(count, column, dtype)
    if column.shape != (count,):
        raise ClientError(
            "INVALID_ARGUMENT", f"{name} has shape {list(column.shape)}, expected [{count}]"
        )
    return column
