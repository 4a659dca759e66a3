"""The latent space of a system as points that can be moved, and pictures of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from ganpipe.errors import UserError
from ganpipe.latent.outcome import Progress
from ganpipe.ops import images as image_ops
from ganpipe.ops import random

if TYPE_CHECKING:
    from ganpipe.models.base import GANSystem

SPACES = ("z", "w")


def has_styles(system: "GANSystem") -> bool:
    """Whether the generator has a mapping network and styles: w beside z."""
    # StyleGAN's configs A and B have a mapping, or none, but nothing to style.
    return bool(system.styles and getattr(system.generator_ema, "use_styles", True))


def needs_styles(system: "GANSystem", what: str) -> None:
    """UserError unless the system has styles."""
    if not has_styles(system):
        raise UserError(
            f"{what}: this {system.system_name} has no styles, only z; it needs a run of a style "
            "system (stylegan, stylegan2, stylegan2_grown)"
        )


class Space:
    """z or w of a system's averaged generator.

    A point is z (D,), or in w the styles of all layers (num_ws, w_dim), truncated already:
    truncation is affine, so it commutes with straight lines and with sums of weight 1.
    Pictures are made with constant noise: what changes between two of them is the latent alone.

    Args:
      system: a built system.
      name: "z" or "w"; None takes w where there is one.
      truncation: psi.
      cutoff: style layers below it are truncated; None takes the generator's own. Styles alone.
      batch_size: pictures computed at once; all batches have this size.

    Raises:
      UserError: no pictures (a system of points), no w, or a cutoff without styles.
    """

    def __init__(
        self,
        system: "GANSystem",
        name: str | None = None,
        *,
        truncation: float = 1.0,
        cutoff: int | None = None,
        batch_size: int = 16,
    ):
        if system.points:
            raise UserError(f"this {system.system_name} makes points, not pictures")
        if name not in (None, *SPACES):
            raise UserError(f"--space={name}: expected {' or '.join(SPACES)}")
        if name == "w":
            needs_styles(system, "--space=w")
        if cutoff is not None:
            needs_styles(system, "--cutoff")
            if not 0 <= cutoff <= self._layers(system):
                raise UserError(
                    f"--cutoff={cutoff}: expected 0 to {self._layers(system)}, the number of style "
                    "layers"
                )
        self.system, self.styles = system, has_styles(system)
        self.name = name or ("w" if self.styles else "z")
        self.truncation, self.cutoff, self.batch_size = float(truncation), cutoff, batch_size

    @staticmethod
    def _layers(system: "GANSystem") -> int:
        return int(system.generator_ema.num_ws)

    @property
    def num_ws(self) -> int:
        """Style layers; 0 without styles."""
        return self._layers(self.system) if self.styles else 0

    def labels(self, seeds: Sequence[int], given: Any = None, *, one: bool = False) -> Any:
        """(N,) int32 classes of seeds, or None for an unconditional system.

        Args:
          seeds: N of them.
          given: one class for all, or one a seed; None draws each from its seed.
          one: the classes must not differ, as z cannot pass between classes; None then draws the
            first seed's for all. In w classes are part of the point, and may differ.

        Raises:
          UserError: labels for an unconditional system, out of range, of another number, or unlike
            ones where `one` is asked for.
        """
        classes, count = self.system.num_classes, len(seeds)
        if not classes:
            if given is not None and len(np.atleast_1d(given)):
                raise UserError(
                    f"--labels: this {self.system.system_name} is unconditional; leave them out"
                )
            return None
        if given is None or not len(np.atleast_1d(given)):
            drawn = random.row_labels(tf.constant(seeds, tf.int64), tf.fill([count], -1), classes)
            found = drawn.numpy()
            found = np.full(count, found[0]) if one and self.name == "z" else found
        else:
            given = np.atleast_1d(np.asarray(given))
            if len(given) not in (1, count):
                raise UserError(
                    f"--labels: {len(given)} classes for {count} seeds; expected one for all, or "
                    "one a seed"
                )
            if given.min() < 0 or given.max() >= classes:
                bad = given[(given < 0) | (given >= classes)][0]
                raise UserError(f"--labels: {bad}; expected classes 0 to {classes - 1}")
            found = np.broadcast_to(given, (count,))
        if one and self.name == "z" and len(set(found.tolist())) > 1:
            raise UserError(
                "--labels: z cannot pass from one class to another: give one class for all seeds"
                + (", or --space=w" if self.styles else "")
            )
        return found.astype(np.int32)

    def z(self, seeds: Sequence[int]) -> np.ndarray:
        """(N, D) float32: what `sample` takes for these seeds."""
        rows = tf.constant(list(seeds), tf.int64)
        system = self.system
        return random.row_latents(rows, system.latent_dim, system.latent_distribution).numpy()

    def points(self, seeds: Sequence[int], labels: np.ndarray | None) -> np.ndarray:
        """The points of seeds: (N, D), or (N, num_ws, w_dim) in w."""
        return self.of_z(self.z(seeds), labels)

    def of_z(self, z: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """z (N, D) as points: themselves, or their styles."""
        return self.map(z, labels) if self.name == "w" else z

    def map(
        self, z: np.ndarray, labels: np.ndarray | None, truncation: float | None = None
    ) -> np.ndarray:
        """(N, D) -> styles (N, num_ws, w_dim) at `truncation` (None: the space's own)."""
        psi = self.truncation if truncation is None else truncation

        def call(z: np.ndarray, labels: np.ndarray | None) -> Any:
            return self.system.map_latents(z, labels, psi, cutoff=self.cutoff)

        return self._batched(call, z, labels)

    def images(
        self,
        points: np.ndarray,
        labels: np.ndarray | None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Pictures of points.

        Args:
          points: (N, D) or (N, num_ws, w_dim), as `points` gives them.
          labels: (N,) or None; ignored in w.
          progress: called with the number of pictures of every finished batch.

        Returns:
          (N, H, W, C) uint8.
        """
        return self._batched(self._pictures, np.asarray(points, np.float32), labels, progress)

    def _pictures(self, points: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        system = self.system
        if self.name == "w":
            found = system.synthesize_styles(points, "const")
        elif self.styles:
            styles = system.map_latents(points, labels, self.truncation, cutoff=self.cutoff)
            found = system.synthesize_styles(styles, "const")
        else:
            found = system.generate(points, labels, self.truncation)
        return image_ops.to_uint8(found).numpy()

    def _batched(
        self,
        call: Any,
        rows: np.ndarray,
        labels: np.ndarray | None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """`call` in batches of one size, the last filled up with its last row."""
        count, found = len(rows), []
        for start in range(0, count, self.batch_size):
            index = np.minimum(np.arange(start, start + self.batch_size), count - 1)
            part = None if labels is None else labels[index]
            found.append(np.asarray(call(rows[index], part))[: count - start])
            if progress is not None:
                progress(len(found[-1]))
        return np.concatenate(found)
