"""When a progressive network grows: resolution, batch, learning rate and fade by images seen.

Karras et al. 2018 (1710.10196, section 2 and appendix A), as in the official code. With lod = 0 the
full resolution R and lod0 = log2(R / start), after k thousand real images

    P = train_kimg + fade_kimg,  i = floor(k / P),  f = max(k - i P - train_kimg, 0) / fade_kimg
    lod = max(lod0 - i - f, 0),  working resolution R / 2^floor(lod)

so that batch and learning rate change where a fade begins. Both optimisers start anew where
floor(lod) or ceil(lod) changes, at either end of a fade. The schedule is looked at every `repeats`
steps only. A *stage* is a stretch of steps with one resolution, one batch size, and either a fade
or none; everything is a function of the step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ganpipe.errors import UserError


@dataclass(frozen=True)
class Stage:
    """Steps of one kind.

    Attributes:
      index: number of the stage.
      resolution: height of the images in pixels; their width is the system's own matter.
      fading: True while the finest level fades in.
      first_step: first step, counted from 0.
      last_step: the first step that is not in it.
      first_image: real images seen before `first_step`.
      batch_size: global.
      learning_rate: of both networks; None: that of the config.
      lod: floor(lod), halvings from the full resolution.
      fade_image: real images at which the fade began; None without a fade.
    """

    index: int
    resolution: int
    fading: bool
    first_step: int
    last_step: int
    first_image: int
    batch_size: int
    learning_rate: float | None
    lod: int
    fade_image: float | None

    def images(self, step: int) -> int:
        """Real images seen before a step of this stage."""
        return self.first_image + (step - self.first_step) * self.batch_size

    def __str__(self) -> str:
        return f"{self.resolution} pixels high" + (" fading in" if self.fading else "")


def odd_part(n: int) -> int:
    """n without its factors of two: what all sizes of one growth share. 0 for 0."""
    return n // (n & -n) if n else 0


class Growth:
    """The stages of a training.

    Args:
      resolution: full resolution, a power of two times the start. Resolutions are heights.
      batch_size: where `batch_sizes` names none; global.
      start_resolution: of the first stage.
      train_kimg: thousands of real images between two fades.
      fade_kimg: thousands of real images of a fade; 0 switches at once.
      total_kimg: thousands of real images at which training ends.
      batch_sizes: {working resolution: global batch}; keys may be words such as "px64", which a
        command line can name.
      learning_rates: {working resolution: learning rate of both networks}.
      repeats: steps between two looks at the schedule; stages are multiples of it.

    Raises:
      UserError: sizes that do not fit together, values out of range.
    """

    def __init__(
        self,
        resolution: int,
        batch_size: int,
        *,
        start_resolution: int = 4,
        train_kimg: float = 600.0,
        fade_kimg: float = 600.0,
        total_kimg: float = 12_000.0,
        batch_sizes: Mapping[Any, int] | None = None,
        learning_rates: Mapping[Any, float] | None = None,
        repeats: int = 4,
    ):
        sizes = min(resolution, start_resolution) > 0
        halvings = math.log2(resolution / start_resolution) if sizes else -1.0
        if halvings < 0 or halvings != int(halvings):
            least = resolution
            while least % 2 == 0 and least > 5:
                least //= 2
            raise UserError(
                f"growth.start_resolution: {start_resolution}; expected {resolution} (of "
                f"data.resolution) divided by a power of two, such as {least}."
            )
        for name, value, least in (
            ("train_kimg", train_kimg, 0.0),
            ("fade_kimg", fade_kimg, 0.0),
            ("total_kimg", total_kimg, 1e-3),
            ("repeats", repeats, 1),
        ):
            if not value >= least:
                raise UserError(f"growth.{name}: {value}; expected at least {least}.")
        if train_kimg + fade_kimg <= 0:
            raise UserError("growth.train_kimg and fade_kimg are 0: expected one of them above 0.")
        self.resolution, self.start_resolution = resolution, start_resolution
        self.lod0 = int(halvings)
        self.train, self.fade = 1000.0 * train_kimg, 1000.0 * fade_kimg
        self.total, self.repeats = 1000.0 * total_kimg, int(repeats)
        levels = [start_resolution << i for i in range(self.lod0 + 1)]
        batches = self._by_level("batch_sizes", batch_sizes, levels)
        self.batches = {level: int(batches.get(level, batch_size)) for level in levels}
        self.rates = self._by_level("learning_rates", learning_rates, levels)
        for level, batch in self.batches.items():
            if batch < 1:
                raise UserError(f"growth.batch_sizes.px{level}: {batch}; expected 1 or more.")
        for level, rate in self.rates.items():
            if not 0.0 < rate < math.inf:
                raise UserError(f"growth.learning_rates.px{level}: {rate}; expected more than 0.")
        self.stages = tuple(self._stages())

    @staticmethod
    def _by_level(name: str, given: Mapping[Any, Any] | None, levels: list[int]) -> dict[int, Any]:
        """The entries of the levels there are; a table may know larger and smaller ones."""
        table = {}
        for key, value in dict(given or {}).items():
            key = str(key).removeprefix("px")
            if not key.isdecimal() or odd_part(int(key)) not in (1, odd_part(levels[0])):
                raise UserError(
                    f"growth.{name}.{key}: expected a resolution, such as px{levels[0]}."
                )
            if int(key) in levels:
                table[int(key)] = value
        return table

    @classmethod
    def none(cls, resolution: int, batch_size: int, steps: int) -> "Growth":
        """One stage of `steps` steps at full resolution: what every other system has."""
        growth = cls.__new__(cls)
        growth.resolution = growth.start_resolution = resolution
        growth.lod0, growth.train, growth.fade, growth.repeats = 0, 0.0, 0.0, 1
        growth.total = float(steps * batch_size)
        growth.batches, growth.rates = {resolution: batch_size}, {}
        growth.stages = (Stage(0, resolution, False, 0, steps, 0, batch_size, None, 0, None),)
        return growth

    @property
    def grows(self) -> bool:
        """True when there is more than one stage."""
        return len(self.stages) > 1

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.stages[-1].last_step

    def lod_at(self, images: float) -> float:
        """lod after `images` real images."""
        phase = self.train + self.fade
        if not phase:
            return 0.0
        index = math.floor(images / phase)
        left = max(images - index * phase - self.train, 0.0)
        return max(self.lod0 - index - (left / self.fade if self.fade else 0.0), 0.0)

    def _stages(self) -> list[Stage]:
        stages: list[Stage] = []
        images, step, phase = 0, 0, self.train + self.fade

        def add(lod: int, fade_image: float | None, end: float, strictly: bool) -> None:
            nonlocal images, step
            resolution = self.resolution >> lod
            block = self.repeats * self.batches[resolution]
            left = min(end, self.total) - images
            # Stable stages end where lod is no integer any more: strictly after their images.
            past = strictly and end < self.total
            blocks = math.floor(left / block) + 1 if past else math.ceil(left / block)
            if images >= self.total or blocks <= 0:
                return
            rate, batch = self.rates.get(resolution), self.batches[resolution]
            last = step + blocks * self.repeats
            stages.append(
                Stage(
                    index=len(stages),
                    resolution=resolution,
                    fading=fade_image is not None,
                    first_step=step,
                    last_step=last,
                    first_image=images,
                    batch_size=batch,
                    learning_rate=None if rate is None else float(rate),
                    lod=lod,
                    fade_image=fade_image,
                )
            )
            images, step = images + blocks * block, last

        for index in range(self.lod0):
            lod = self.lod0 - index
            add(lod, None, index * phase + self.train, strictly=self.fade > 0)
            if self.fade:
                add(lod - 1, index * phase + self.train, (index + 1) * phase, strictly=False)
        add(0, None, math.inf, strictly=False)
        return stages

    def at(self, step: int) -> Stage:
        """The stage of a step; the last one from its end on."""
        for stage in self.stages:
            if step < stage.last_step:
                return stage
        return self.stages[-1]

    def images(self, step: int) -> int:
        """Real images seen before a step."""
        return self.at(step).images(step)

    def alpha(self, stage: Stage, step: tf.Tensor | int) -> tf.Tensor:
        """lod - floor(lod): the share of the old level at a step of `stage`, float32 in [0, 1).

        Args:
          stage: one of `stages`.
          step: integer scalar.
        """
        if not stage.fading:
            return tf.zeros((), tf.float32)
        looks = (tf.cast(step, tf.int64) - stage.first_step) // self.repeats
        images = stage.first_image + looks * (self.repeats * stage.batch_size)
        faded = (tf.cast(images, tf.float64) - stage.fade_image) / self.fade
        return tf.cast(tf.clip_by_value(1.0 - faded, 0.0, 1.0), tf.float32)

    def lod(self, stage: Stage, step: tf.Tensor | int) -> tf.Tensor:
        """lod at a step of `stage`, float32 scalar."""
        return float(stage.lod) + self.alpha(stage, step)
