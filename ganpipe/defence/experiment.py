"""One measurement of a defence: attack images, project them, count what the classifier gets right.

All figures of a run are in one dictionary, with the counts, seeds and settings they came from.
"grey-box" attacks (FGSM, RAND+FGSM, PGD, C&W) know the classifier and nothing of the projection:
what Defense-GAN's paper calls white-box. BPDA knows both and is the figure to judge the defence by.
"""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from ganpipe.defence import attacks, batching, classifiers, detection
from ganpipe.errors import UserError

ATTACKS = ("fgsm", "rand_fgsm", "pgd", "cw", "bpda")

# 1000 projections a seed, all below 2^24: from there on the starts belong to BPDA's own search.
MOST_SEED = 16_000
BPDA_STARTS = 1 << 24

LEAST_ONE = (
    "pgd_steps",
    "pgd_restarts",
    "cw_steps",
    "cw_search",
    "bpda_images",
    "bpda_steps",
    "bpda_restarts",
    "bpda_projection_restarts",
    "chunk",
)
POSITIVE = ("pgd_step_size", "cw_constant", "cw_learning_rate")


@dataclasses.dataclass(frozen=True)
class Projection:
    """Settings of `reconstruct`: see `ganpipe.models.defense_gan.DefenseGAN.projector`."""

    steps: int = 200
    restarts: int = 10
    learning_rate: float = 10.0
    momentum: float = 0.7
    decay_at: float | None = None
    precision: str = "float32"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
      attacks: out of `ATTACKS`.
      epsilon: l_inf radius of FGSM, RAND+FGSM, PGD and BPDA.
      alpha: random part of RAND+FGSM.
      pgd_steps: of PGD.
      pgd_step_size: of PGD and of BPDA, a pixel.
      pgd_restarts: of PGD.
      cw_steps: Adam steps of C&W for each constant.
      cw_search: constants that C&W tries.
      cw_constant: the first of them.
      cw_learning_rate: of C&W's Adam.
      bpda_images: of the images, the first so many are attacked by BPDA.
      bpda_steps: of its ascent, in each restart; the attack's authors ask for 100 or more.
      bpda_restarts: random starts of its ascent.
      bpda_projection_steps: L of the projection inside the attack.
      bpda_projection_restarts: R of the projection inside the attack.
      projection: the defence; every accuracy "defended" is measured with it.
      chunk: images projected at once.
      seed: of projections and attacks, below `MOST_SEED`.
    """

    attacks: Sequence[str] = ("fgsm", "rand_fgsm", "bpda")
    epsilon: float = 0.3
    alpha: float = 0.05
    pgd_steps: int = 40
    pgd_step_size: float = 0.02
    pgd_restarts: int = 1
    cw_steps: int = 100
    cw_search: int = 4
    cw_constant: float = 1.0
    cw_learning_rate: float = 0.05
    bpda_images: int = 100
    bpda_steps: int = 100
    bpda_restarts: int = 1
    bpda_projection_steps: int = 50
    bpda_projection_restarts: int = 2
    projection: Projection = Projection()
    chunk: int = 50
    seed: int = 0

    def check(self) -> None:
        """Raises UserError for settings that cannot be."""
        unknown = sorted(set(self.attacks) - set(ATTACKS))
        if unknown:
            raise UserError(f"attack {unknown[0]!r}; expected some of {', '.join(ATTACKS)}.")
        if not 0.0 < self.epsilon <= 1.0:
            raise UserError(f"epsilon: {self.epsilon}; expected 0 < epsilon <= 1.")
        if not 0.0 <= self.alpha < self.epsilon:
            raise UserError(
                f"alpha: {self.alpha}; expected 0 <= alpha < epsilon = {self.epsilon}: it is the "
                "random part of epsilon."
            )
        for name in LEAST_ONE:
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)}; expected 1 or more.")
        for name in POSITIVE:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0.0):
                raise UserError(f"{name}: {value}; expected more than 0.")
        if self.bpda_projection_steps < 0:
            raise UserError(
                f"bpda_projection_steps: {self.bpda_projection_steps}; expected 0 or more."
            )
        if not 0 <= self.seed < MOST_SEED:
            raise UserError(f"seed: {self.seed}; expected 0 <= seed < {MOST_SEED}.")


def nearest(images: np.ndarray, gallery: np.ndarray, block: int = 4096) -> np.ndarray:
    """(N,) int64 rows of the gallery with the least squared distance.

    Args:
      images: (N, H, W, C) floats in [0, 1].
      gallery: (M, H, W, C) uint8.
      block: rows of the gallery compared at once.
    """
    flat = images.reshape(len(images), -1).astype(np.float32)
    best = np.full(len(flat), np.inf, np.float32)
    rows = np.zeros(len(flat), np.int64)
    for start in range(0, len(gallery), block):
        part = gallery[start : start + block].reshape(-1, flat.shape[1]).astype(np.float32) / 255.0
        # The images' own squares are the same for every row.
        distances = np.square(part).sum(axis=1) - 2.0 * flat @ part.T
        closest = distances.argmin(axis=1)
        values = distances[np.arange(len(flat)), closest]
        rows = np.where(values < best, start + closest, rows)
        best = np.minimum(best, values)
    return rows


class Experiment:
    """The images, the classifier, the defence, and what was measured so far.

    Args:
      system: has `reconstruct` and `projector`, as `DefenseGAN`.
      network: the classifier, on images in [0, 1].
      images: (N, H, W, C) uint8.
      labels: (N,).
      settings: see `Settings`.
      gallery: (M, H, W, C) uint8 training images; with them every line says what a generator that
        makes exactly these would be worth: the classifier on the nearest of them.
    """

    def __init__(
        self,
        system: Any,
        network: keras.Model,
        images: np.ndarray,
        labels: np.ndarray,
        settings: Settings,
        gallery: np.ndarray | None = None,
    ):
        settings.check()
        self.system, self.network, self.settings = system, network, settings
        self.clean = images.astype(np.float32) / 255.0
        self.labels = np.asarray(labels, np.int32)
        self.gallery = gallery
        self.attacked: dict[str, np.ndarray] = {}
        self.reconstructions: dict[str, np.ndarray] = {}
        self.errors: dict[str, np.ndarray] = {}
        self.hits: dict[str, np.ndarray] = {}
        self._sets = 0

    def reconstruct(self, images: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The full defence: images in [0, 1] -> (N, H, W, C) in [0, 1], (N,) errors."""
        # Every set of images meets starts of its own, so an attack cannot know them.
        seed, self._sets = 1000 * self.settings.seed + self._sets, self._sets + 1
        with tqdm(total=len(images), desc=f"projecting {name}", unit="image", disable=None) as bar:
            found = self.system.reconstruct(
                2.0 * images - 1.0,
                **dataclasses.asdict(self.settings.projection),
                seed=seed,
                chunk=self.settings.chunk,
                progress=bar.update,
            )
        return 0.5 * found.images + 0.5, found.errors

    def attack(self, name: str) -> np.ndarray:
        """Adversarial images in [0, 1] of all images, or of the first `bpda_images` for BPDA."""
        s, logits = self.settings, classifiers.logits_of(self.network)

        def seed(rows: tf.Tensor) -> tf.Tensor:
            # Noise of its own for every batch: the same pattern every 100 images is no noise.
            start = tf.constant([s.seed, ATTACKS.index(name)])
            return tf.random.experimental.stateless_fold_in(start, rows[0])

        if name == "bpda":
            return self._bpda(logits)
        functions = {
            "fgsm": lambda x, y, rows: attacks.fgsm(logits, x, y, s.epsilon),
            "rand_fgsm": lambda x, y, rows: attacks.rand_fgsm(
                logits, x, y, seed(rows), s.epsilon, s.alpha
            ),
            "pgd": lambda x, y, rows: attacks.pgd(
                logits, x, y, seed(rows), s.epsilon, s.pgd_step_size, s.pgd_steps, s.pgd_restarts
            ),
            "cw": lambda x, y, rows: attacks.carlini_wagner(
                logits, x, y, s.cw_steps, s.cw_search, s.cw_constant, s.cw_learning_rate
            )[0],
        }
        return batching.in_batches(
            functions[name],
            self.clean,
            self.labels,
            np.arange(len(self.clean), dtype=np.int32),
            batch_size=100,
            description=name,
        )

    def _bpda(self, logits: attacks.Logits) -> np.ndarray:
        s = self.settings
        count = min(s.bpda_images, len(self.clean))
        size = min(s.chunk, count)
        inner = dataclasses.asdict(s.projection) | {
            "steps": s.bpda_projection_steps,
            "restarts": s.bpda_projection_restarts,
        }
        projector = self.system.projector(**inner)

        def project(images: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
            # Starts that the defence's own evaluation never uses.
            keys = (tf.constant(BPDA_STARTS, tf.int64) + draw) * (1 << 28)
            keys += tf.range(images.shape[0], dtype=tf.int64)
            return 0.5 * projector(2.0 * images - 1.0, keys).images + 0.5

        attack = attacks.BPDA(logits, project, s.epsilon, s.pgd_step_size)
        parts = []
        total = -(-count // size) * s.bpda_steps * s.bpda_restarts
        with tqdm(total=total, desc="bpda", unit="step", disable=None) as progress:
            for number, start in enumerate(range(0, count, size)):
                rows = np.minimum(np.arange(start, start + size), count - 1)
                found = attack(
                    tf.constant(self.clean[rows]),
                    tf.constant(self.labels[rows]),
                    seed=1000 * s.seed + number,
                    steps=s.bpda_steps,
                    restarts=s.bpda_restarts,
                    on_step=progress.update,
                )
                parts.append(found.numpy()[: count - start])
        return np.concatenate(parts)

    def measure(self, name: str) -> dict[str, Any]:
        """One line of the result: "none" (clean images) or an attack.

        Returns:
          images, undefended and defended accuracy, mean reconstruction error, seconds of both
          parts; for attacks also the mean l2 and largest l_inf change, and the AUC with which the
          error tells these images from the clean ones (measure "none" first).
        """
        start = time.monotonic()
        images = self.clean if name == "none" else self.attack(name)
        attack_seconds = time.monotonic() - start
        count = len(images)
        labels = self.labels[:count]
        start = time.monotonic()
        reconstructions, errors = self.reconstruct(images, name)
        project_seconds = time.monotonic() - start
        self.attacked[name], self.reconstructions[name] = images, reconstructions
        self.errors[name] = errors
        undefended = classifiers.predict(self.network, images) == labels
        self.hits[name] = classifiers.predict(self.network, reconstructions) == labels
        line = {
            "images": count,
            "undefended": float(undefended.mean()),
            "defended": float(self.hits[name].mean()),
            "mean_error": float(errors.mean()),
            "project_seconds": round(project_seconds, 1),
        }
        if self.gallery is not None:
            found = self.gallery[nearest(images, self.gallery)]
            line["nearest"] = float((classifiers.predict(self.network, found) == labels).mean())
        if name == "none":
            return line
        change = images - self.clean[:count]
        line["attack_seconds"] = round(attack_seconds, 1)
        line["mean_l2"] = float(np.sqrt(np.square(change).sum(axis=(1, 2, 3))).mean())
        line["max_linf"] = float(np.abs(change).max())
        if "none" in self.errors:
            line["detection_auc"] = detection.roc_auc(self.errors["none"][:count], errors)
        # What the same images give without attack, and under FGSM: BPDA may see fewer images.
        if count < len(self.clean):
            same = {k: float(v[:count].mean()) for k, v in self.hits.items() if len(v) > count}
            line["defended_on_the_same_images"] = same
        return line

    def curve(
        self, count: int, steps: Sequence[int], restarts: Sequence[int]
    ) -> list[dict[str, float]]:
        """Error and accuracy on the first `count` clean images over L (at R) and R (at L).

        Args:
          count: images.
          steps: values of L, with the full R.
          restarts: values of R, with the full L.
        """
        full = self.settings.projection
        points = {(n, full.restarts) for n in steps} | {(full.steps, n) for n in restarts}
        lines = []
        for n_steps, n_restarts in sorted(points):
            arguments = dataclasses.asdict(full) | {"steps": n_steps, "restarts": n_restarts}
            found = self.system.reconstruct(
                2.0 * self.clean[:count] - 1.0,
                **arguments,
                seed=1000 * self.settings.seed,
                chunk=self.settings.chunk,
            )
            predicted = classifiers.predict(self.network, 0.5 * found.images + 0.5)
            lines.append(
                {
                    "steps": n_steps,
                    "restarts": n_restarts,
                    "images": count,
                    "mean_error": float(found.errors.mean()),
                    "defended": float(np.mean(predicted == self.labels[:count])),
                }
            )
        return lines

    def sheet(self, columns: int = 12) -> np.ndarray:
        """Rows of pictures: clean, its reconstruction, then attacked and reconstruction of each.

        Returns:
          (columns * rows, H, W, C) uint8, row by row, for a grid of `columns`.
        """
        rows = []
        for name in self.attacked:
            for images in (self.attacked[name], self.reconstructions[name]):
                row = np.ones((columns, *images.shape[1:]), np.float32)
                row[: len(images[:columns])] = images[:columns]
                rows.append(row)
        return np.uint8(np.round(255.0 * np.clip(np.concatenate(rows), 0.0, 1.0)))
