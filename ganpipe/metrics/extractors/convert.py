"""From PyTorch's names and layouts to TensorFlow's: checked by name and shape, BN folded."""

from collections.abc import Mapping

import numpy as np

from ganpipe.errors import UserError

_SHOWN = 5


def check(state: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuses a state dict whose names or shapes are not the expected ones.

    `num_batches_tracked` (PyTorch's step counters) may be there or not.

    Raises:
      UserError: naming what is missing, too many or of another shape.
    """
    found = {name: value for name, value in state.items() if not _is_counter(name)}
    problems = []
    for kind, names in (
        ("missing", [n for n in expected if n not in found]),
        ("not expected", [n for n in found if n not in expected]),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            problems.append(f"{kind}: {', '.join(names[:_SHOWN])}{more}")
    for name, shape in expected.items():
        if name in found and tuple(found[name].shape) != tuple(shape):
            problems.append(f"{name} has shape {tuple(found[name].shape)}, expected {tuple(shape)}")
        elif name in found and not np.isfinite(found[name]).all():
            problems.append(f"{name} holds numbers that are not finite")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise UserError(
            f"these weights are of another network: {'; '.join(problems[:_SHOWN])}{more}"
        )


def kernel(weight: np.ndarray) -> np.ndarray:
    """(O, I, h, w) convolution weight -> (h, w, I, O)."""
    return np.ascontiguousarray(np.transpose(weight, (2, 3, 1, 0)))


def depthwise_kernel(weight: np.ndarray) -> np.ndarray:
    """(C, 1, h, w) grouped convolution weight -> (h, w, C, 1)."""
    return np.ascontiguousarray(np.transpose(weight, (2, 3, 0, 1)))


def fold(
    weight: np.ndarray, state: Mapping[str, np.ndarray], bn: str, eps: float
) -> tuple[np.ndarray, np.ndarray]:
    """A bias-free convolution and the batch normalisation after it, as one convolution.

    Args:
      weight: (O, I, h, w), output channels first.
      state: holds `<bn>.weight`, `.bias`, `.running_mean`, `.running_var`, each (O,).
      bn: name of the normalisation.
      eps: of the normalisation.

    Returns:
      (weight of the same layout, (O,) bias), float32, computed in float64.

    Raises:
      UserError: a negative running variance.
    """
    gamma, beta, mean, var = (
        np.asarray(state[f"{bn}.{part}"], np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    if (var < 0).any():
        raise UserError(f"{bn}.running_var is negative ({var.min():.4g}): damaged weights")
    scale = gamma / np.sqrt(var + eps)
    folded = np.asarray(weight, np.float64) * scale[:, None, None, None]
    return folded.astype(np.float32), (beta - mean * scale).astype(np.float32)


def batch_norm_shapes(bn: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes that a batch normalisation has in a state dict."""
    return {
        f"{bn}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")
    }


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == "num_batches_tracked"
